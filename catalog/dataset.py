"""Dataset: what one ``defs.yaml`` may say; checked against tables, licences and units before anything runs."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

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
from catalog.json_schema import columns_schema, table_mapping_schema
from catalog.located import LocatedYaml, Problem, refuse, validation_problems
from catalog.records import ALL
from catalog.rights.terms import DatasetTerms
from catalog.table import load_table, table_names

FOLDER = Path(__file__).parent.parent / "assets" / "datasets"
COMPONENT = "dagster_project.component.Dataset"
DERIVED = "dagster_project.component.Derived"
SAMPLE_LIMIT = 50_000  # bytes; samples are in the repository, so they stay small
PART = "{part}"
"""What stands for the part's name in a contract."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


PartName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,15}$", json_schema_extra={"type": ["string", "integer"]}),
]
"""Safe in a path and a URL; no longer than what Iceberg keeps whole of a column's bounds."""


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
    parts: tuple[PartName, ...] | None = Field(
        None, min_length=1, description="names of the parts that are fetched, judged and published one by one"
    )
    sample_part: str | None = Field(None, description="the part that the sample is of; default: the first")

    @field_validator("parts", mode="before")
    @classmethod
    def _numbers_are_names(cls, value: Any) -> Any:
        return [str(name) if type(name) is int else name for name in value] if isinstance(value, list) else value

    @model_validator(mode="after")
    def _one_place(self) -> Source:
        if (self.uri is None) == (self.unpublished is None):
            raise ValueError("give `uri`, or `unpublished` with the reason why there is none")
        if (self.parts is None) == (PART in (self.uri or "")):
            raise ValueError(f"`parts` and {PART} in `uri` go together: each part has an address of its own")
        if self.parts is None:
            if self.sample_part is not None:
                raise ValueError("`sample_part` goes with `parts`")
            return self
        if len({name.lower() for name in self.parts}) < len(self.parts) or ALL in self.parts:
            raise ValueError(f"the names of `parts` must differ, in more than case, and none may be {ALL!r}")
        if self.sample_part not in (None, *self.parts):
            raise ValueError(f"`sample_part` {self.sample_part!r} is none of `parts`")
        if self.sha256 is not None:
            raise ValueError("`sha256` pins one file, and every part has its own: leave it out")
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
    present: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="canonical column -> values that rows of the real source must hold; {part} is the part's name",
    )
    only: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="canonical column -> the only values that rows may hold; {part} is the part's name",
    )

    def present_in(self, part: str) -> dict[str, tuple[str, ...]]:
        """Canonical column -> values that the rows of one part must hold."""
        return _of_part(self.present, part)

    def only_in(self, part: str) -> dict[str, tuple[str, ...]]:
        """Canonical column -> the only values that the rows of one part may hold."""
        return _of_part(self.only, part)


def _of_part(values: dict[str, tuple[str, ...]], part: str) -> dict[str, tuple[str, ...]]:
    return {name: tuple(value.replace(PART, part) for value in listed) for name, listed in values.items()}


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
    transform: dict[str, Any] = Field(
        default_factory=dict, description="options of the tables' transform, such as a reference sequence"
    )
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
    def parts(self) -> tuple[str, ...]:
        """The names of its parts; where its source has none, the one that is all of it."""
        return self.source.parts or (ALL,)

    @property
    def sample_part(self) -> str:
        """The part that the bundled sample is of."""
        return self.source.sample_part or self.parts[0]

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
            **({"transform": self.transform} if self.transform else {}),
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
    return _read(path, contract_state(path))


def contract_state(path: Path) -> tuple[bytes, tuple[tuple[str, int], ...]]:
    """All that a contract and its problems depend on: its bytes, and which files of what sizes lie beside it."""
    try:
        return path.read_bytes(), tuple(sorted((file.name, file.stat().st_size) for file in os.scandir(path.parent)))
    except OSError:  # whoever reads it says what is wrong
        return b"", ()


@lru_cache(maxsize=512)  # every question at a door asks all contracts for their terms
def _read(path: Path, _state: object) -> Dataset:
    from catalog.dataset_problems import problems

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
    refuse(source.problem(("attributes", *place), message) for place, message in problems(dataset))
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
