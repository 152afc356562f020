"""Table: a canonical schema, written once in YAML; Arrow, Iceberg, pandera and the docs are derived from it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from catalog import standards
from catalog.errors import ContractError
from catalog.located import LocatedYaml, Problem, refuse, validation_problems
from catalog.units import UNITS

FOLDER = Path(__file__).parent / "tables"

_SCALARS: dict[str, pa.DataType] = {
    "string": pa.string(),
    "bool": pa.bool_(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}


def arrow_type(text: str) -> pa.DataType:
    """Parse ``double``, ``list<list<double>>`` or ``struct<name: string, mass: list<double>>``.

    Raises:
        ValueError: the text is not such a type.
    """
    text = text.strip()
    if text in _SCALARS:
        return _SCALARS[text]
    if text.startswith("list<") and text.endswith(">"):
        return pa.list_(pa.field("element", arrow_type(text[5:-1])))
    if text.startswith("struct<") and text.endswith(">"):
        parts = [part.partition(":") for part in _split(text[7:-1])]
        return pa.struct([pa.field(name.strip(), arrow_type(inner)) for name, _, inner in parts])
    raise ValueError(f"type {text!r} is none of {', '.join(_SCALARS)}, list<...>, struct<name: ..., ...>")


def _split(text: str) -> list[str]:
    """Split at the commas that are outside of angle brackets."""
    parts, depth = [""], 0
    for char in text:
        depth += (char == "<") - (char == ">")
        if char == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return parts


class Checks(BaseModel):
    """What every non-null value of a column must satisfy; the names are pandera's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ge: float | None = Field(None, description="at least")
    gt: float | None = Field(None, description="more than")
    le: float | None = Field(None, description="at most")
    lt: float | None = Field(None, description="less than")
    isin: tuple[str | int, ...] | None = Field(None, description="one of these (for a list: each element)")
    str_matches: str | None = Field(
        None, description="a regular expression for the whole text (for a list: each element)"
    )
    shape: tuple[int | None, ...] | None = Field(
        None, description="lengths of nested lists; null where any length will do"
    )


class Column(BaseModel):
    """One canonical column: a standard's term with its type and unit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    type: str
    unit: str | None = None
    term: str | None = Field(None, description="vocabulary:name in catalog/standards, or imas:path")
    description: str
    nullable: bool = True
    max_null_fraction: float | None = Field(None, ge=0, le=1, description="a table gate on the share of nulls")
    locates: bool = Field(False, description="may give a place away: cleared where a record's place is generalised")
    checks: Checks = Checks()

    @field_validator("type")
    @classmethod
    def _type_parses(cls, value: str) -> str:
        arrow_type(value)
        return value

    @field_validator("unit")
    @classmethod
    def _unit_is_listed(cls, value: str | None) -> str | None:
        if value is not None and value not in UNITS:
            raise ValueError(f"unit {value!r} is not listed in catalog/units.py")
        return value

    @property
    def arrow(self) -> pa.Field:
        """The Arrow field, with description, unit and term as metadata."""
        metadata = {"description": self.description, "unit": self.unit, "term": self.term}
        return pa.field(
            self.name,
            arrow_type(self.type),
            nullable=self.nullable,
            metadata={key: value for key, value in metadata.items() if value},
        )


RESERVED = (
    Column(name="_dataset", type="string", nullable=False, description="The dataset that this row comes from"),
    Column(name="_record", type="string", nullable=False, description="The source's own identifier of the record"),
    Column(
        name="_part",
        type="string",
        nullable=False,
        description="The part of a source in several files; 'all' otherwise",
    ),
    Column(name="_licence", type="string", description="SPDX expression, where the source says one for this row"),
    Column(name="_embargo_until", type="date", description="First day this row may leave, where the source says one"),
)


MAPPABLE_RESERVED = ("_record",)
"""The reserved columns that a dataset may map; the others are Winnow's own."""


class View(BaseModel):
    """A convenience view over the table, for example its long form."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z]+\.[a-z_]+$")
    description: str
    sql: str


class Ratio(BaseModel):
    """A table gate: a number that SQL makes of all staged rows of one dataset, and the bounds it must keep.

    Null (nothing to divide by) passes, and so do tables of fewer rows than ``min_rows``: chance rules there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    description: str
    sql: str = Field(description="one SQL aggregate over the table's columns")
    least: float
    most: float
    min_rows: int = Field(1, ge=1, description="fewest rows for which the ratio is judged")

    @model_validator(mode="after")
    def _bounds_agree(self) -> Ratio:
        if self.least > self.most:
            raise ValueError("`least` is more than `most`")
        return self


class Table(BaseModel):
    """A canonical schema that many datasets map into."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z]+\.[a-z_]+$")
    description: str
    standard: str
    key: tuple[str, ...] = Field(min_length=1)
    sort: tuple[str, ...] = Field(min_length=1)
    transform: str | None = Field(None, description="the module in assets/transforms that runs before the mapping")
    columns: tuple[Column, ...] = Field(min_length=1)
    science: tuple[str, ...] = Field(min_length=3, description="named checks in validations/science")
    ratios: tuple[Ratio, ...] = Field((), description="table gates on all rows of a dataset together")
    views: tuple[View, ...] = ()
    attribution: tuple[str, ...] = Field((), description="columns that name whom a row is to be credited to")

    @model_validator(mode="after")
    def _names_agree(self) -> Table:
        names = [column.name for column in self.all_columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"columns given twice: {', '.join(twice)}")
        unknown = [name for name in (*self.key, *self.sort, *self.attribution) if name not in names]
        inexact = [c.name for c in self.all_columns if c.name in self.key and re.search("float|double", c.type)]
        if inexact:
            raise ValueError(f"the key has columns of inexact numbers: {', '.join(inexact)}")
        if unknown:
            raise ValueError(f"key, sort or attribution names columns that do not exist: {', '.join(unknown)}")
        return self

    @property
    def domain(self) -> str:
        """``genomics`` of ``genomics.variants``."""
        return self.name.partition(".")[0]

    @property
    def short_name(self) -> str:
        """``variants`` of ``genomics.variants``."""
        return self.name.partition(".")[2]

    @property
    def all_columns(self) -> tuple[Column, ...]:
        """The table's own columns and after them the reserved ones."""
        return (*self.columns, *RESERVED)

    def column(self, name: str) -> Column | None:
        """The column of that name, reserved ones included, or None."""
        return next((column for column in self.all_columns if column.name == name), None)

    @property
    def arrow_schema(self) -> pa.Schema:
        """The Arrow schema of the canonical rows, reserved columns last."""
        return pa.schema([column.arrow for column in self.all_columns])

    def identity(self) -> dict[str, Any]:
        """What a version depends on: all but words for people."""
        dump: dict[str, Any] = self.model_dump(mode="json", exclude={"description", "views", "attribution"})
        return dump


def term_problem(table: Table, column: Column) -> str | None:
    """What is wrong with the standard's term of a column, or None.

    A column either has a term that its vocabulary holds or starts with ``_winnow_``; in OPTIMADE tables
    what OPTIMADE does not have must carry that provider prefix (OPTIMADE 1.3, "Database-Provider-Specific
    Namespace Prefixes").
    """
    if column.name.startswith("_winnow_"):
        return None
    if column.term is None:
        return f"column {column.name!r} names no term of {table.standard}: give `term:`, or prefix it with `_winnow_`"
    wrong = standards.resolve(column.term)
    if wrong:
        return f"column {column.name!r}: {wrong}"
    if table.standard.startswith("OPTIMADE") and column.term != f"optimade:{column.name}":
        return f"column {column.name!r} is not the OPTIMADE property of that name: prefix it with `_winnow_`"
    return None


@cache
def load_table(name: str, folder: Path = FOLDER) -> Table:
    """Read and check one table contract.

    Raises:
        ContractError: it does not exist or is wrong; the message gives file, line and column.
    """
    if not re.fullmatch(r"[a-z]+\.[a-z_]+", name) or name not in table_names(folder):
        raise ContractError(f"there is no table {name!r}", f"the tables are: {', '.join(table_names(folder))}")
    return read_table(folder / f"{name.replace('.', '/')}.yaml")


def read_table(path: Path) -> Table:
    """Read one table contract from a file. Raises ContractError with file, line and column."""
    source = LocatedYaml(path)
    refuse(source.duplicates)
    try:
        table = Table.model_validate(source.data)
    except ValidationError as error:
        refuse(validation_problems(source, error))
        raise
    refuse(_term_problems(source, table))
    if path.parent.name != table.domain or path.stem != table.short_name:
        refuse([source.problem(("name",), f"table {table.name!r} must lie in {table.domain}/{table.short_name}.yaml")])
    return table


def _term_problems(source: LocatedYaml, table: Table) -> list[Problem]:
    found = []
    for index, column in enumerate(table.columns):
        wrong = term_problem(table, column)
        if wrong:
            found.append(source.problem(("columns", index), wrong))
    return found


def table_names(folder: Path = FOLDER) -> tuple[str, ...]:
    """The names of all canonical tables, sorted."""
    return tuple(sorted(f"{path.parent.name}.{path.stem}" for path in folder.glob("*/*.yaml")))
