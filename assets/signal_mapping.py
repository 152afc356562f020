"""A machine's own signal names -> IMAS: the mapping in a contract's reader options, checked against the dictionary."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from assets.source_units import to_unit
from catalog.standards import ImasNode, imas_node, imas_problem

_INDEX = re.compile(r"\[(\d+|:)\]")


class Signal(BaseModel):
    """Which IMAS quantity a signal of the machine is, and what to believe of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    signal: str = Field(description="IMAS path with indices: magnetics.ip[0].data; [:] for a dimension of the values")
    unit: str | None = Field(None, description="the unit in the source, where it says none or a wrong one")
    missing: tuple[float, ...] = Field((), description="numbers that stand for no value, such as -999")
    name: str | None = Field(None, description="what the machine calls the channel, where the path has an index")
    optional: bool = Field(False, description="whether shots may lack it without that being said")

    @field_validator("signal")
    @classmethod
    def _resolves(cls, value: str) -> str:
        wrong = imas_problem(without_indices(value))
        if wrong:
            raise ValueError(wrong)
        if imas_node(without_indices(value)).dimensions is None:
            raise ValueError(f"{without_indices(value)} holds no numbers in the IMAS data dictionary")
        return value

    @model_validator(mode="after")
    def _has_the_dictionarys_dimension(self) -> Signal:
        if self.unit is not None:
            to_unit(self.unit, self.node.unit)
        return self

    @property
    def path(self) -> str:
        """As the data dictionary lists it."""
        return without_indices(self.signal)

    @property
    def node(self) -> ImasNode:
        """The dictionary's."""
        return imas_node(self.path)

    @property
    def dimensions(self) -> int:
        """How many the values have: the node's own, and one for each ``[:]``."""
        return (self.node.dimensions or 0) + self.signal.count("[:]")


def _long(value: Any) -> Any:
    return {"signal": value} if isinstance(value, str) else value


Signals = dict[str, Annotated[Signal, BeforeValidator(_long)]]
"""Source signal -> what it is; a text is the IMAS path alone."""


def without_indices(signal: str) -> str:
    """``magnetics.ip.data`` of ``magnetics.ip[0].data``."""
    return _INDEX.sub("", signal)
