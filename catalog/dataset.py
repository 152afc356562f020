"""Dataset: what one ``defs.yaml`` may say; checked against tables, licences and units before anything runs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from catalog.cron import cron_problem
from catalog.errors import ContractError, UnknownDatasetError
from catalog.expressions import expression_columns
from catalog.json_schema import columns_schema, table_mapping_schema
from catalog.located import LocatedYaml, Location, Problem, refuse, validation_problems
from catalog.rights import licences
from catalog.rights.evidence import finding_problem
from catalog.rights.terms import DatasetTerms
from catalog.table import FOLDER as TABLES
from catalog.table import MAPPABLE_RESERVED, RESERVED, Table, load_table, table_names
from catalog.units import UNITS, conversion, convertible

FOLDER = Path(__file__).parent.parent / "assets" / "datasets"
COMPONENT = "dagster_project.component.Dataset"
DERIVED = "dagster_project.component.Derived"
SAMPLE_LIMIT = 50_000  # bytes; samples are in the repository, so they stay small


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Mapping(_Part):
    """Where one canonical column comes from."""

    from_: str = Field(alias="from", description="a source column, or an SQL scalar expression over source columns")
    unit: str | None = Field(None, description="the unit in the source, where it differs from the table's")
    values: dict[str, str] | None = Field(None, description="source value -> canonical value; others are refused")


class TableMapping(_Part):
    """How a dataset feeds one table."""

    columns: dict[str, str | Mapping] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict, description="reader options for this table only")
    drop: dict[str, str] = Field(
        default_factory=dict, description="rule name -> SQL condition; such records are left out and counted"
    )

    def mapping(self, column: str) -> Mapping | None:
        """The mapping of one canonical column, or None where the YAML says nothing."""
        value = self.columns.get(column)
        return Mapping.model_validate({"from": value}) if isinstance(value, str) else value


class Source(_Part):
    """Where the owner publishes the bytes, and in what form."""

    uri: str | None = None
    unpublished: str | None = Field(None, description="why there is no uri, when the owner publishes none")
    format: str
    options: dict[str, Any] = Field(default_factory=dict)
    storage_options: dict[str, Any] = Field(
        default_factory=dict, description="for fsspec, e.g. {anon: true}; never secrets"
    )
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="pins the bytes")

    @model_validator(mode="after")
    def _one_place(self) -> Source:
        if (self.uri is None) == (self.unpublished is None):
            raise ValueError("give `uri`, or `unpublished` with the reason why there is none")
        return self


class Gates(_Part):
    """The thresholds of the table gates."""

    min_rows: int = Field(1, ge=1, description="fewest rows of the real source; not applied to samples or --source")
    max_row_change: float = Field(
        0.2, ge=0, description="largest relative change of the row count against the current version"
    )
    max_null_fraction: dict[str, float] = Field(
        default_factory=dict, description="canonical column -> largest share of rows that may lack it"
    )
    max_quarantined: float = Field(
        0.1, ge=0, le=1, description="largest share of source records that may be quarantined"
    )


class Dataset(_Part):
    """One source under one set of terms: the ``attributes`` of a ``defs.yaml``."""

    title: str
    description: str = ""
    table: str | None = Field(None, description="the one canonical table that this dataset feeds")
    columns: dict[str, str | Mapping] | None = Field(
        None, description="canonical column -> source column or expression"
    )
    drop: dict[str, str] | None = None
    tables: dict[str, TableMapping] | None = Field(None, description="in place of `table`: several tables")
    source: Source
    sample: str = Field(description="a file in this folder with real records, at most 50 kB")
    terms: DatasetTerms
    gates: Gates = Gates()
    schedule: str | None = Field(None, description="cron, UTC")
    owner: str

    _name: str = PrivateAttr("")
    _folder: Path = PrivateAttr(Path())

    @model_validator(mode="after")
    def _one_form(self) -> Dataset:
        if (self.table is None) == (self.tables is None):
            raise ValueError("give `table` (with `columns`), or `tables`")
        if self.tables is not None and not self.tables:
            raise ValueError("`tables` names no table")
        if self.tables is not None and (self.columns is not None or self.drop is not None):
            raise ValueError("with `tables`, `columns` and `drop` stand below each table")
        return self

    @field_validator("schedule")
    @classmethod
    def _schedule_is_cron(cls, value: str | None) -> str | None:
        wrong = cron_problem(value) if value is not None else None
        if wrong:
            raise ValueError(wrong)
        return value

    @property
    def name(self) -> str:
        """``domain/dataset``, from the folder."""
        return self._name

    @property
    def domain(self) -> str:
        """``genomics`` of ``genomics/clinvar``."""
        return self._name.partition("/")[0]

    @property
    def short_name(self) -> str:
        """``clinvar`` of ``genomics/clinvar``."""
        return self._name.partition("/")[2]

    @property
    def folder(self) -> Path:
        """Where the ``defs.yaml`` and the sample lie."""
        return self._folder

    @property
    def sample_path(self) -> Path:
        """The bundled sample."""
        return self._folder / self.sample

    @property
    def feeds(self) -> dict[str, TableMapping]:
        """The tables that the dataset feeds, whichever form its YAML has."""
        if self.tables is not None:
            return self.tables
        assert self.table is not None
        return {self.table: TableMapping(columns=self.columns or {}, drop=self.drop or {})}

    def options(self, table: str) -> dict[str, Any]:
        """The reader options for one table: the source's, overlaid with the table's own."""
        return {**self.source.options, **self.feeds[table].options}

    def identity(self) -> str:
        """sha256 of all in this contract that the rows depend on; words, terms and schedules are not."""
        embargo = self.terms.embargo
        parts = {
            "format": self.source.format,
            "options": self.source.options,
            "tables": {name: mapping.model_dump(mode="json", by_alias=True) for name, mapping in self.feeds.items()},
            "row_licence": self.terms.row_licence and self.terms.row_licence.column,
            "embargo_column": [embargo.column, embargo.months] if embargo and embargo.column else None,
            "sensitive": [rule.model_dump(mode="json") for rule in self.terms.sensitive],
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Add what each table admits, so that `dg check yaml` finds unknown columns and units by itself."""
        schema = handler.resolve_ref_schema(handler(core))
        try:
            tables = [load_table(name) for name in table_names()]
        except ContractError as error:
            # `dg` shows a traceback for an exception, but what it misses it names: file, line, column, problem.
            return {"type": "object", "required": error.problem.splitlines()}
        schema["properties"]["table"] = {"enum": [table.name for table in tables]}
        schema["properties"]["tables"] = {
            "type": "object",
            "additionalProperties": False,
            "properties": {table.name: table_mapping_schema(table) for table in tables},
        }
        schema["allOf"] = [
            {
                "if": {"properties": {"table": {"const": table.name}}, "required": ["table"]},
                "then": {"properties": {"columns": columns_schema(table)}},
            }
            for table in tables
        ]
        return schema


def load_dataset(name: str, folder: Path = FOLDER) -> Dataset:
    """Read and check one dataset's contract.

    Raises:
        UnknownDatasetError: there is no such folder.
        ContractError: the YAML is wrong; every problem is listed with file, line and column.
    """
    if name not in dataset_names(folder):
        known = ", ".join(dataset_names(folder)) or "none yet"
        raise UnknownDatasetError(f"there is no dataset {name!r}", f"the datasets are: {known}")
    return read_dataset(folder / name / "defs.yaml")


def read_dataset(path: Path) -> Dataset:
    """Read and check the contract in one ``defs.yaml``; its folder gives its name. Raises ContractError."""
    source = LocatedYaml(path)
    refuse(source.duplicates)
    refuse(envelope_problems(source, COMPONENT))
    try:
        dataset = Dataset.model_validate(source.data["attributes"])
    except ValidationError as error:
        refuse(validation_problems(source, error, ("attributes",)))
        raise
    dataset._name = f"{path.parent.parent.name}/{path.parent.name}"
    dataset._folder = path.parent
    refuse(source.problem(("attributes", *place), message) for place, message in _problems(dataset))
    return dataset


def dataset_names(folder: Path = FOLDER) -> tuple[str, ...]:
    """``domain/dataset`` of every folder that has a ``defs.yaml`` and is no derived table's, sorted."""
    found = (path for path in folder.glob("*/*/defs.yaml") if not is_derived(path))
    return tuple(sorted(f"{path.parent.parent.name}/{path.parent.name}" for path in found))


def is_derived(path: Path) -> bool:
    """Whether a ``defs.yaml`` is a derived table's; whatever is not is held to be a dataset's."""
    return re.search(rf"(?m)^type:\s*{re.escape(DERIVED)}\s*(#.*)?$", path.read_text("utf-8", "replace")) is not None


def sound_datasets(folder: Path = FOLDER) -> tuple[tuple[Dataset, ...], dict[str, ContractError]]:
    """The datasets whose contracts are sound, and by name what is wrong with the others."""
    sound: list[Dataset] = []
    broken: dict[str, ContractError] = {}
    for name in dataset_names(folder):
        try:
            sound.append(load_dataset(name, folder))
        except ContractError as error:
            broken[name] = error
    return tuple(sound), broken


def load_datasets(folder: Path = FOLDER) -> tuple[Dataset, ...]:
    """All datasets. Raises ContractError with the problems of all of them."""
    sound, broken = sound_datasets(folder)
    if broken:
        problems = "\n".join(error.problem for error in broken.values())
        raise ContractError(problems, "correct the lines above, then run `winnow check` again")
    return sound


def envelope_problems(source: LocatedYaml, component: str) -> Iterator[Problem]:
    """What is wrong around the ``attributes`` of a ``defs.yaml`` of one kind of component."""
    for key in source.data:
        if key not in ("type", "attributes"):
            yield source.problem((key,), f"unknown key {key!r}; beside `type` there is only `attributes`")
    if source.data.get("type") != component:
        yield source.problem(("type",), f"`type` must be {component}")
    if not isinstance(source.data.get("attributes"), dict):
        yield source.problem(("attributes",), "`attributes` is missing")


def _problems(dataset: Dataset) -> Iterator[tuple[Location, str]]:
    """What pydantic cannot know: does it agree with the tables, the units, the licences, the files?"""
    if not re.fullmatch(r"[a-z]+/[a-z0-9_]+", dataset.name):
        yield (), f"folder {dataset.name!r} must be lower-case letters, digits and underscores"
    yield from _terms_problems(dataset.terms)
    if not dataset.sample_path.is_file():
        yield ("sample",), f"sample {dataset.sample!r} is not in {dataset.folder.name}/"
    elif dataset.sample_path.stat().st_size > SAMPLE_LIMIT:
        yield ("sample",), f"sample {dataset.sample!r} is larger than {SAMPLE_LIMIT} bytes"
    yield from _gate_problems(dataset)
    for name, mapping in dataset.feeds.items():
        place: Location = ("tables", name) if dataset.tables else ()
        if name not in table_names(TABLES):
            where: Location = place or ("table",)
            yield where, f"there is no table {name!r}; the tables are: {', '.join(table_names(TABLES))}"
            continue
        yield from _mapping_problems(place, load_table(name), mapping)
        if dataset.terms.sensitive and not any(column.locates for column in load_table(name).columns):
            yield ("terms", "sensitive"), f"table {name} has no column with `locates`, so no place would be hidden"


def _terms_problems(terms: DatasetTerms) -> Iterator[tuple[Location, str]]:
    unknown = licences.known(terms.licence)
    if unknown:
        yield ("terms", "licence"), unknown
    for index, finding in enumerate(terms.evidence):
        wrong = finding_problem(finding)
        if wrong:
            yield ("terms", "evidence", index), wrong
    for key, part in (("row_licence", terms.row_licence), ("embargo", terms.embargo)):
        if part is not None and part.column is not None:
            yield from _expression_problem(("terms", key, "column"), part.column)
    for index, rule in enumerate(terms.sensitive):
        yield from _expression_problem(("terms", "sensitive", index, "when"), rule.when)


def _gate_problems(dataset: Dataset) -> Iterator[tuple[Location, str]]:
    known = {c.name for name in dataset.feeds if name in table_names(TABLES) for c in load_table(name).all_columns}
    for name in dataset.gates.max_null_fraction:
        if name not in known:
            yield ("gates", "max_null_fraction", name), f"no table that the dataset feeds has a column {name!r}"


def _mapping_problems(place: Location, table: Table, mapping: TableMapping) -> Iterator[tuple[Location, str]]:
    for rule, condition in mapping.drop.items():
        yield from _expression_problem((*place, "drop", rule), condition)
    for name in mapping.columns:
        where = (*place, "columns", name)
        column = table.column(name)
        if column is None or (column in RESERVED and name not in MAPPABLE_RESERVED):
            yield (
                where,
                f"table {table.name} has no column {name!r}; it has: {', '.join(c.name for c in table.columns)}",
            )
            continue
        rule_ = mapping.mapping(name)
        assert rule_ is not None
        yield from _expression_problem(where, rule_.from_)
        if rule_.unit is not None:
            wrong = _unit_problem(rule_.unit, column.unit)
            if wrong:
                yield (*where, "unit"), f"column {name!r}: {wrong}"


def _expression_problem(place: Location, text: str) -> Iterator[tuple[Location, str]]:
    try:
        expression_columns(text)
    except ValueError as error:
        yield place, f"expression {text!r}: {error}"


def _unit_problem(unit: str, target: str | None) -> str | None:
    if target is None:
        return f"unit {unit!r} is given, but the table's column has none"
    if unit not in UNITS:
        return (
            f"unit {unit!r} is not listed in catalog/units.py; units for [{target}]: {', '.join(convertible(target))}"
        )
    try:
        conversion(unit, target)
    except ValueError as error:
        return f"{error}; units for [{target}]: {', '.join(convertible(target))}"
    return None
