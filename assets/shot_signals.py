"""What every reader of a machine's signals gives: one record per signal of a shot, and what is wrong with one."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, field_validator

from assets.signal_mapping import Signal, Signals
from assets.source_units import to_unit
from catalog.errors import SourceError

Floats = npt.NDArray[np.float64]
Record = dict[str, Any]

_FLOATS = pa.list_(pa.float64())
SIGNAL = (
    pa.field("device", pa.string()),
    pa.field("pulse", pa.int64()),
    *(pa.field(name, pa.string()) for name in ("signal", "path", "ids", "name", "source_signal", "source_unit")),
    pa.field("missing", _FLOATS),
    pa.field("time", _FLOATS),
    pa.field("value", _FLOATS),
    pa.field("shape", pa.list_(pa.int64())),
    pa.field("dimensions", pa.list_(pa.string())),
    pa.field("samples", pa.int64()),
    pa.field("samples_present", pa.int64()),
    pa.field("effective_bits", pa.float64()),
)
"""Values in ``source_unit`` as the source has them, flattened with time first; times in s. The last three are
counted on the source's own array, before anything is done to it."""


class Options(BaseModel):
    """Which signals are read, what they are, and what to believe where the files are silent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str = Field(description="the machine, as IMAS's summary.machine has it")
    pulse: str = Field(r"(\d+)", description="a regular expression whose first group is the pulse in a file's name")
    clock: str = Field("time", description="the name of the times that belong to the signals")
    clock_unit: str = Field("s", description="the unit of the times, where the source says none")
    signals: Signals = Field(min_length=1, description="the machine's name of a signal -> what it is in IMAS")

    @field_validator("pulse")
    @classmethod
    def _has_a_group(cls, value: str) -> str:
        try:
            groups = re.compile(value).groups
        except re.error as error:
            raise ValueError(f"{value!r} is no regular expression: {error}") from None
        if groups != 1:
            raise ValueError(f"{value!r} has {groups} groups; expected 1, which is the pulse number")
        return value

    @field_validator("clock_unit")
    @classmethod
    def _is_a_time(cls, value: str) -> str:
        to_unit(value, "s")
        return value

    @field_validator("signals")
    @classmethod
    def _differ(cls, value: Signals) -> Signals:
        by_path: dict[str, str] = {}
        for source, rule in value.items():
            other = by_path.setdefault(rule.signal, source)
            if other != source:
                raise ValueError(f"{other!r} and {source!r} are both mapped to {rule.signal}")
        return value

    def pulse_of(self, name: str) -> int:
        """The pulse number in a file's name. Raises SourceError where there is none."""
        found = re.search(self.pulse, name.rpartition("/")[2])
        if found is None or not found[1].isdecimal() or int(found[1]) >= 2**63:
            raise SourceError(
                f"{name} does not name its pulse as {self.pulse!r} has it", "correct `pulse` in the source's options"
            )
        return int(found[1])


def seconds(clock: Any, unit: str) -> Floats:
    """Times in s. Raises ValueError where they are no numbers, or the unit is no time's."""
    factor, divisor = to_unit(unit, "s")
    return _numbers(clock, "the clock") * factor / divisor


def record(source: str, rule: Signal, value: Any, time: Floats, unit: str | None) -> Record:
    """One signal's columns of SIGNAL but for device and pulse.

    Args:
        source: the machine's name of it.
        rule: what it is.
        value: its array, time first, of any kind of real numbers; null is NaN.
        time: in s.
        unit: what the source says.

    Raises:
        ValueError: it cannot be this quantity; the message says why.
    """
    if np.iscomplexobj(value):
        raise ValueError("the values are complex, and IMAS has real ones; map their real or imaginary part")
    values = _numbers(value, "the signal")
    if values.ndim != rule.dimensions:
        raise ValueError(f"the values have {values.ndim} dimensions where {rule.signal} has {rule.dimensions}")
    if values.shape[0] != len(time):
        raise ValueError(f"there are {values.shape[0]:,} values at {len(time):,} times")
    if rule.unit is None and not unit and rule.node.unit not in ("", "1"):
        raise ValueError(f"the source says no unit, and {rule.path} has {rule.node.unit}; give `unit` in the mapping")
    flat = values.ravel()
    return {
        "signal": rule.signal,
        "path": rule.path,
        "ids": rule.path.partition(".")[0],
        "name": rule.name,
        "source_signal": source,
        "source_unit": rule.unit or unit,
        "missing": list(rule.missing),
        "time": time,
        "value": flat,
        "shape": values.shape,
        "dimensions": _dimensions(rule),
        **information(flat, rule.missing),
    }


def information(values: Floats, marks: Any) -> Record:
    """How many samples there are, how many of them are no mark for a missing one, and log2 of how many differ."""
    present = values[~is_missing(values, marks)]
    return {"samples": len(values), "samples_present": len(present), "effective_bits": effective_bits(present)}


def _dimensions(rule: Signal) -> list[str]:
    others = [one for one in rule.node.coordinates if not one.rpartition(".")[2].startswith("time")]
    timed = [one for one in rule.node.coordinates if one not in others] or [f"{rule.path.partition('.')[0]}.time"]
    return [*timed, *["1...N"] * (rule.dimensions - 1 - len(others)), *others]


def is_missing(values: Floats, marks: Any) -> npt.NDArray[np.bool_]:
    """Where there is no value: NaN, or one of the numbers that stand for it, also if they were stored as single."""
    missing = np.isnan(values)
    for mark in marks or ():
        missing |= values == mark
        if abs(mark) < float(np.finfo(np.float32).max):
            missing |= values == np.float64(np.float32(mark))
    return missing


def effective_bits(values: Floats) -> float | None:
    """log2 of how many different numbers there are; None of none."""
    different = pc.count_distinct(pa.array(values + 0.0)).as_py()  # -0.0 is 0.0
    return math.log2(different) if different else None


def _numbers(value: Any, what: str) -> Floats:
    found = np.asarray(value)
    if found.dtype.kind not in "iufb":
        raise ValueError(f"{what} holds {found.dtype}, expected numbers")
    return found.astype(np.float64, copy=False)


def failed(source: str, rule: Signal, why: str) -> Record:
    """The record of a signal that cannot be read."""
    return {"source_signal": source, "_error": f"{source} ({rule.signal}): {why}"}


def numbered(records: Iterator[Record], schema: pa.Schema, values: int = 1_000_000) -> Iterator[pa.RecordBatch]:
    """Records as batches of about so many values."""
    waiting: list[Record] = []
    held = 0
    for number, one in enumerate(records):
        waiting.append({**one, "_source": number})
        held += len(one["value"]) if one.get("value") is not None else 1
        if held >= values:
            yield pa.RecordBatch.from_pylist(waiting, schema=schema)
            waiting, held = [], 0
    if waiting:
        yield pa.RecordBatch.from_pylist(waiting, schema=schema)
