"""The frozen records that pass between stages and that the ledger keeps as JSON. No behaviour here."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

Origin = Literal["source", "sample", "override"]
RowGate = Literal["structure", "science"]
Profile = Literal["open", "noncommercial", "internal"]
ALL = "all"
"""The one part of a dataset whose source has no parts."""


class Record(BaseModel):
    """Base of all records: immutable, and strict about its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceFile(Record):
    """One fetched file: ``name`` is its path relative to the source's address, ``path`` where its bytes lie."""

    name: str
    path: Path
    size: int
    sha256: str


class Snapshot(Record):
    """A source's bytes as fetched. ``validator`` is what tells a changed source without a download."""

    dataset: str
    part: str = ALL
    uri: str
    origin: Origin
    sha256: str
    validator: str
    size: int
    fetched_at: datetime
    files: tuple[SourceFile, ...]


class Failure(Record):
    """How many source records one check refused in one column, and why."""

    table: str
    gate: RowGate
    column: str
    check: str
    reason: str
    records: int


class TableReport(Record):
    """The account of one table: ``read == kept + quarantined + sum(dropped.values())``, in source records.

    ``rows`` are what the kept records became; ``dropped_rows`` are rows that a rule left out, of records that it
    dropped whole or kept in part.
    """

    table: str
    read: int
    kept: int
    quarantined: int
    dropped: dict[str, int]
    dropped_rows: dict[str, int] = {}
    rows: int
    failures: tuple[Failure, ...] = ()


class Check(Record):
    """One verdict of one gate (``structure``, ``science``, ``expectations`` or ``terms``)."""

    gate: Literal["structure", "science", "expectations", "terms"]
    name: str
    table: str
    passed: bool
    observed: str
    expected: str
    remedy: str = ""


class GateReport(Record):
    """What the gates said of one staging. ``commit`` refuses without ``passed``."""

    dataset: str
    part: str = ALL
    run_id: str
    fingerprint: str
    tables: tuple[TableReport, ...]
    checks: tuple[Check, ...]
    created_at: datetime

    @property
    def passed(self) -> bool:
        """True only if there was something to check and nothing failed."""
        return bool(self.tables) and bool(self.checks) and all(check.passed for check in self.checks)

    def refusals(self) -> tuple[Check, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if not check.passed)


class RowTerms(Record):
    """What some rows say of themselves: an SPDX expression and an embargo date, with how many rows say so."""

    licence: str | None
    embargo_until: date | None
    rows: int


class Found(Record):
    """Licence words that stand in a source's own bytes: where, and which licences they may mean (none: unknown).

    ``files`` says in how many files they stand; ``file`` and ``place`` are the first.
    """

    file: str
    place: str
    words: str
    means: tuple[str, ...]
    files: int = 1


class StagedTable(Record):
    """Parquet data files of one table that no Iceberg snapshot refers to yet.

    ``repeats`` are the rows whose key an earlier row has; None where only a look at all rows can tell.
    """

    table: str
    files: tuple[str, ...]
    rows: int
    bytes: int
    row_terms: tuple[RowTerms, ...]
    repeats: int | None = None


class Stage(Record):
    """All that one run staged: the whole dataset, or one part of it.

    ``base_version`` is the latest version then (0: none); ``seconds`` says how long each step took; ``found`` are
    the licence words in the source's own bytes, ``row_rules`` the contract's rules for single rows.
    """

    dataset: str
    part: str = ALL
    run_id: str
    fingerprint: str
    base_version: int
    origin: Origin
    snapshot_sha256: str
    tables: tuple[StagedTable, ...]
    quarantine: tuple[str, ...]
    seconds: dict[str, float] = {}
    unchanged: bool = False
    found: tuple[Found, ...] = ()
    row_rules: str = ""


class VersionTable(Record):
    """Where one table of a version lies: an Iceberg table and the snapshot in it."""

    table: str
    iceberg_table: str
    iceberg_snapshot: int
    rows: int
    bytes: int
    row_terms: tuple[RowTerms, ...]


class PartTable(Record):
    """What one part has of one table of a version."""

    table: str
    rows: int
    bytes: int
    row_terms: tuple[RowTerms, ...]


class VersionPart(Record):
    """One part of a version: the run that made its rows, and of which bytes."""

    name: str
    fingerprint: str
    origin: Origin
    snapshot_sha256: str
    run_id: str
    tables: tuple[PartTable, ...]
    found: tuple[Found, ...] = ()
    row_rules: str = ""


class Version(Record):
    """One committed, immutable state of one dataset.

    Of a dataset with parts ``run_id`` is the run that made this version, by replacing one of ``parts``;
    ``fingerprint`` and ``snapshot_sha256`` are over those of all parts, and what is said of rows, words found and rules
    is theirs together.
    """

    dataset: str
    number: int
    fingerprint: str
    origin: Origin
    snapshot_sha256: str
    run_id: str
    tables: tuple[VersionTable, ...]
    committed_at: datetime
    found: tuple[Found, ...] = ()
    row_rules: str = ""
    parts: tuple[VersionPart, ...] = ()

    def __str__(self) -> str:
        return f"{self.dataset}@{self.number}"

    @property
    def made_of(self) -> tuple[VersionPart, ...]:
        """Its parts; the one that is all of it where the dataset has none."""
        if self.parts:
            return self.parts
        tables = tuple(PartTable(**table.model_dump(include=set(PartTable.model_fields))) for table in self.tables)
        about = self.model_dump(include=set(VersionPart.model_fields) - {"tables"})
        return (VersionPart(name=ALL, tables=tables, **about),)

    def part(self, name: str) -> VersionPart | None:
        """One of its parts, or None."""
        return next((part for part in self.made_of if part.name == name), None)


class Decision(Record):
    """What the policy says of some terms under a profile. ``changes_on`` is the day it would be otherwise."""

    allowed: bool
    profile: Profile
    reason: str
    obligations: tuple[str, ...]
    changes_on: date | None = None


class Withdrawal(Record):
    """The tombstone of a version: who took it back, when and why.

    ``contract`` is the contract's identity, terms included, so that the same bytes under the same contract stay out.
    ``snapshots`` are the bytes that were taken back, part by part; none stand for ``snapshot_sha256``.
    """

    dataset: str
    number: int
    by: str
    at: datetime
    reason: str
    snapshot_sha256: str
    contract: str
    snapshots: tuple[str, ...] = ()

    @property
    def taken_back(self) -> frozenset[str]:
        """The sha256 of all bytes that were taken back."""
        return frozenset(self.snapshots or (self.snapshot_sha256,))

    def __str__(self) -> str:
        return f"{self.dataset}@{self.number}"

    def words(self) -> str:
        """Who took it back, when and why."""
        return f"{self} was withdrawn by {self.by} on {self.at:%Y-%m-%d}: {self.reason}"


class Release(Record):
    """A frozen choice of versions, cut for one profile on one day. ``lapses_on``: when a recut would hold more."""

    profile: Profile
    day: date
    address: str
    versions: tuple[str, ...]
    rows: int
    bytes: int
    manifest_sha256: str
    cut_at: datetime
    lapses_on: date | None = None


def utc_now() -> datetime:
    """The clock that production passes in; tests pass their own."""
    return datetime.now(UTC)
