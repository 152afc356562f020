"""What a release says of itself: ``manifest.json``. Nothing in it comes from, counts or names what was withheld."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, ValidationError

from catalog.errors import ReleaseError
from catalog.records import Profile, Record

FORMAT = "winnow-release-1"
MANIFEST, SUMS, CATALOG, ATTRIBUTION = "manifest.json", "SHA256SUMS", "catalog.duckdb", "ATTRIBUTION.md"
LARGEST = 256 << 20  # bytes of a manifest or a list of sums that is still read

_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+=-]*(/[A-Za-z0-9_][A-Za-z0-9._+=-]*)*", re.ASCII)


def safe_path(path: str) -> str:
    """A path that stays inside the release and means the same everywhere.

    Raises:
        ValueError: it is absolute, goes up, or holds a character that a release's paths never have.
    """
    if not _PATH.fullmatch(path):
        raise ValueError(f"{path[:80]!r} is not a path inside a release")
    return path


Path = Annotated[str, AfterValidator(safe_path)]


class ReleasedFile(Record):
    """One Parquet file."""

    path: Path
    rows: int
    bytes: int
    sha256: str


class ReleasedTerms(Record):
    """The terms in force for some rows.

    ``said_licence`` and ``said_embargo_until`` are what the rows say of themselves in the files (null: nothing);
    ``licence`` and ``embargo_until`` (a day that has come) are what holds.
    """

    said_licence: str | None
    said_embargo_until: date | None
    licence: str
    embargo_until: date | None
    rows: int
    obligations: tuple[str, ...]


class ReleasedColumn(Record):
    """A column as it stands in the files, with DuckDB's name of its type."""

    name: str
    type: str


class ReleasedPart(Record):
    """What a table has of one dataset, or of all where the table is derived (``dataset`` is null then)."""

    dataset: str | None
    columns: tuple[ReleasedColumn, ...]
    files: tuple[ReleasedFile, ...]
    terms: tuple[ReleasedTerms, ...]

    @property
    def rows(self) -> int:
        """Rows of all terms."""
        return sum(said.rows for said in self.terms)


class DescribedColumn(Record):
    """A column of a table's contract."""

    name: str
    type: str
    unit: str | None = None
    term: str | None = None
    description: str = ""


class ReleasedView(Record):
    """A convenience view over a table."""

    name: str
    description: str
    sql: str


class ReleasedTable(Record):
    """A canonical or derived table.

    ``attribution`` are the columns that name whom rows are to be credited to; ``sources`` the versions that a derived
    table's rows were made of.
    """

    name: str
    kind: Literal["canonical", "derived"]
    description: str
    standard: str | None
    columns: tuple[DescribedColumn, ...]
    attribution: tuple[str, ...] = ()
    views: tuple[ReleasedView, ...] = ()
    parts: tuple[ReleasedPart, ...] = ()
    sources: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Rows of all parts."""
        return sum(part.rows for part in self.parts)


class ReleasedDataset(Record):
    """A dataset of which rows were kept. ``fingerprint`` tells its inputs; null where some rows were not kept."""

    name: str
    title: str
    version: int
    fingerprint: str | None
    licence: str
    attribution: str
    citation: dict[str, str]
    rows: int

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


class Manifest(Record):
    """The whole account of a release; from the same versions, contracts, profile and day always the same."""

    format: Literal["winnow-release-1"]
    profile: Profile
    day: date
    datasets: tuple[ReleasedDataset, ...]
    tables: tuple[ReleasedTable, ...]

    def parts(self) -> Iterator[tuple[ReleasedTable, ReleasedPart]]:
        """Each part with its table."""
        return ((table, part) for table in self.tables for part in table.parts)

    @property
    def rows(self) -> int:
        """Rows of the canonical tables."""
        return sum(table.rows for table in self.tables if table.kind == "canonical")

    @property
    def bytes(self) -> int:
        """Bytes of all Parquet files."""
        return sum(file.bytes for _, part in self.parts() for file in part.files)

    def to_json(self) -> str:
        """The text of ``manifest.json``."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"


def parse_manifest(text: bytes, where: str) -> Manifest:
    """Read a ``manifest.json`` that may be anybody's.

    Raises:
        ReleaseError: it is cut short, of another format, or says what no release says.
    """
    remedy = "cut the release anew with `winnow release`, or fetch it again"
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ReleaseError(f"{where}/{MANIFEST} is not JSON: {error}", remedy) from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ReleaseError(f"{where}/{MANIFEST} is not a release's of format {FORMAT}", remedy)
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ReleaseError(f"{where}/{MANIFEST}, {place}: {first['msg']}", remedy) from None


def sums_text(sums: dict[str, str]) -> str:
    """The text of ``SHA256SUMS``, as ``sha256sum --check`` reads it, sorted by path."""
    return "".join(f"{sums[path]}  {path}\n" for path in sorted(sums))


def parse_sums(text: bytes, where: str) -> dict[str, str]:
    """Path to sha256 of a ``SHA256SUMS`` that may be anybody's.

    Raises:
        ReleaseError: a line is not one of sha256sum's, its path leads out of the release, or comes twice.
    """
    sums: dict[str, str] = {}
    for number, line in enumerate(text.decode("utf-8", "replace").splitlines(), start=1):
        digest, gap, path = line[:64], line[64:66], line[66:]
        sound = re.fullmatch("[0-9a-f]{64}", digest) and gap == "  " and _PATH.fullmatch(path)
        if not sound or path in sums:
            raise ReleaseError(
                f"{where}/{SUMS}, line {number}: {line[:120]!r} is not the sum of one more file of the release",
                "cut the release anew with `winnow release`, or fetch it again",
            )
        sums[path] = digest
    return sums


def part_folder(table: str, dataset: str | None) -> str:
    """Where a part's files lie in the release: ``genomics/variants/dataset=gnomad``, or for a derived table its own.

    A dataset of another domain than the table's has its domain in the name, as two may have one short name.
    """
    folder = table.replace(".", "/")
    if dataset is None:
        return folder
    domain, _, short = dataset.partition("/")
    return f"{folder}/dataset={short if domain == table.partition('.')[0] else f'{domain}.{short}'}"
