"""Derived: a table computed from canonical tables; what its ``defs.yaml`` may say, checked before anything runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path

import duckdb
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from catalog.dataset import DERIVED, FOLDER, contract_state, envelope_problems, is_derived
from catalog.errors import ContractError
from catalog.expressions import parse_query
from catalog.lineage import CARRIED, traced
from catalog.located import LocatedYaml, Location, refuse, validation_problems
from catalog.sql_types import sql_type
from catalog.table import Column, Table, load_table, table_names

RESERVED_COLUMNS = (
    Column(
        name="_datasets",
        type="list<string>",
        nullable=False,
        description="The datasets of the rows that this row was made of",
    ),
    Column(name="_licence", type="string", description="SPDX expression of what those rows ask together"),
    Column(name="_embargo_until", type="date", description="The latest day on which one of them may leave"),
)


class Derived(BaseModel):
    """A table that SQL makes of canonical tables: the ``attributes`` of its ``defs.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str = Field(min_length=1)
    description: str = ""
    sql: str = Field(description="one SELECT over canonical tables")
    columns: tuple[Column, ...] = Field(min_length=1, description="what the SELECT gives; `term` may be left out")
    key: tuple[str, ...] = Field(min_length=1, description="columns that tell each row from all others")
    sort: tuple[str, ...] = ()
    owner: str

    _name: str = PrivateAttr("")
    _folder: Path = PrivateAttr(Path())

    @model_validator(mode="after")
    def _names_agree(self) -> Derived:
        names = [column.name for column in self.columns]
        twice = sorted({name for name in names if [each.lower() for each in names].count(name.lower()) > 1})
        if twice:
            raise ValueError(f"columns given twice: {', '.join(twice)}")
        own = [name for name in names if name.startswith("_")]
        if own:
            raise ValueError(f"names that start with _ are Winnow's own: {', '.join(own)}")
        unknown = [name for name in (*self.key, *self.sort) if name not in names]
        if unknown:
            raise ValueError(f"key or sort names columns that do not exist: {', '.join(unknown)}")
        return self

    @property
    def name(self) -> str:
        """``biodiversity.species_by_cell``, from the folder."""
        return self._name

    @property
    def domain(self) -> str:
        """``biodiversity`` of ``biodiversity.species_by_cell``."""
        return self._name.partition(".")[0]

    @property
    def folder(self) -> Path:
        """Where the ``defs.yaml`` lies."""
        return self._folder

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The tables that the SQL reads, by their canonical names, sorted."""
        return tuple(sorted(parse_query(self.sql).tables))

    @property
    def arrow_schema(self) -> pa.Schema:
        """The columns and after them ``_datasets``, ``_licence`` and ``_embargo_until``."""
        return pa.schema([column.arrow for column in (*self.columns, *RESERVED_COLUMNS)])

    @property
    def order(self) -> tuple[str, ...]:
        """The columns by which the rows are sorted: ``sort``, and the key, so that the order is always the same."""
        return tuple(dict.fromkeys((*self.sort, *self.key)))


def read_derived(path: Path) -> Derived:
    """Read and check the contract in one ``defs.yaml``; its folder gives its name.

    Raises:
        ContractError: the YAML is wrong, or its SQL is; every problem is listed with file, line and column.
    """
    return _read(path, contract_state(path))


@lru_cache(maxsize=512)
def _read(path: Path, _state: object) -> Derived:
    source = LocatedYaml(path)
    refuse(source.duplicates)
    refuse(envelope_problems(source, DERIVED))
    try:
        derived = Derived.model_validate(source.data["attributes"])
    except ValidationError as error:
        refuse(validation_problems(source, error, ("attributes",)))
        raise
    derived._name = f"{path.parent.parent.name}.{path.parent.name}"
    derived._folder = path.parent
    refuse(source.problem(("attributes", *place), message) for place, message in _problems(derived))
    return derived


def derived_paths(folder: Path = FOLDER) -> tuple[Path, ...]:
    """The ``defs.yaml`` of every derived table, sorted."""
    return tuple(path for path in sorted(folder.glob("*/*/defs.yaml")) if is_derived(path))


def sound_derived(folder: Path = FOLDER) -> tuple[tuple[Derived, ...], dict[str, ContractError]]:
    """The derived tables whose contracts are sound, and by name what is wrong with the others."""
    sound: list[Derived] = []
    broken: dict[str, ContractError] = {}
    for path in derived_paths(folder):
        try:
            sound.append(read_derived(path))
        except ContractError as error:
            broken[f"{path.parent.parent.name}.{path.parent.name}"] = error
    return tuple(sound), broken


def load_derived(folder: Path = FOLDER) -> tuple[Derived, ...]:
    """All derived tables. Raises ContractError with the problems of all of them."""
    sound, broken = sound_derived(folder)
    if broken:
        problems = "\n".join(error.problem for error in broken.values())
        raise ContractError(problems, "correct the lines above, then run `winnow check` again")
    return sound


def no_rows(table: Table, carried: bool = False) -> str:
    """SQL for a canonical table's columns without a row; ``carried``: with those that trace the terms, too."""
    columns = [f'CAST(NULL AS {sql_type(column.arrow.type)}) AS "{column.name}"' for column in table.all_columns]
    if carried:
        columns += [f"CAST(NULL AS BIT) AS {CARRIED[0]}", f"CAST(NULL AS DATE) AS {CARRIED[1]}"]
    return f"SELECT {', '.join(columns)} WHERE false"


def _problems(derived: Derived) -> Iterator[tuple[Location, str]]:
    """What pydantic cannot know: does the name stand alone, and does the SQL give these columns?"""
    if not re.fullmatch(r"[a-z]+\.[a-z]+(_[a-z]+)*", derived.name):
        yield (), f"folder {derived.name!r} must be lower-case letters, and single underscores between them"
    taken = {view.name: "a view" for name in table_names() for view in load_table(name).views}
    taken |= dict.fromkeys(table_names(), "a canonical table")
    taken |= {f"catalog.{name}": "a table about the catalog" for name in CATALOG}
    if derived.name in taken:
        yield (), f"{derived.name} is already {taken[derived.name]}: name the folder otherwise"
    try:
        unknown = [name for name in derived.inputs if name not in table_names()]
        if unknown:
            known = ", ".join(table_names())
            yield ("sql",), f"it reads {unknown[0]!r}, which is no canonical table; those are: {known}"
            return
        sql = traced(derived.sql)
        found = _result(sql, derived.inputs)
    except (ContractError, ValueError) as error:
        yield ("sql",), str(error)
    else:
        yield from _column_problems(derived, found)


CATALOG = ("tables", "columns", "datasets", "versions", "gates", "quarantine", "terms")
"""Names in the schema ``catalog`` that are Winnow's own, at the query door or in a release."""


@lru_cache(maxsize=256)
def _result(sql: str, inputs: tuple[str, ...]) -> dict[str, str]:
    """The columns that traced SQL gives, with DuckDB's names of their types."""
    with duckdb.connect() as connection:
        connection.execute("SET enable_external_access=false")
        connection.execute("SET lock_configuration=true")
        for name in inputs:
            schema, _, table = name.partition(".")
            connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
            connection.execute(f'CREATE VIEW "{schema}"."{table}" AS {no_rows(load_table(name), carried=True)}')
        try:
            described = connection.execute(f"DESCRIBE {sql}").fetchall()
        except duckdb.Error as error:
            raise ValueError(str(error).strip().splitlines()[0]) from None
        return {row[0]: row[1] for row in described}


def _column_problems(derived: Derived, found: dict[str, str]) -> Iterator[tuple[Location, str]]:
    declared = {column.name for column in derived.columns}
    surplus = [name for name in found if name not in declared and name not in CARRIED]
    if surplus:
        yield ("sql",), f"it gives {surplus[0]!r}, which `columns` does not list"
    with duckdb.connect() as connection:
        for index, column in enumerate(derived.columns):
            if column.name not in found:
                yield ("columns", index), f"the SQL gives no column {column.name!r}; it gives: {', '.join(found)}"
                continue
            wanted = connection.execute(f"DESCRIBE SELECT CAST(NULL AS {sql_type(column.arrow.type)})").fetchall()[0][1]
            if found[column.name] != wanted:
                kinds = f"{found[column.name]} in the SQL, and {wanted} here"
                yield ("columns", index), f"{column.name!r} is {kinds}: write CAST(... AS {wanted})"
