"""Versions of datasets whose source comes in parts: what a commit of one part keeps of the others, and their sums."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import chain

from catalog.records import (
    ALL,
    Origin,
    PartTable,
    RowTerms,
    Stage,
    StagedTable,
    Version,
    VersionPart,
    VersionTable,
)

_CLOSENESS: tuple[Origin, ...] = ("sample", "override", "source")


def further_from_source(origin: Origin, than: Origin) -> bool:
    """Whether bytes are less the owner's own than others: a sample less than a copy, that less than the source."""
    return _CLOSENESS.index(origin) < _CLOSENESS.index(than)


def kept_parts(current: Version | None, staged: Stage, expected: Sequence[str]) -> tuple[VersionPart, ...]:
    """The parts of the current version that stay beside a staged one.

    Not those that the contract does not name any more, and never a sample's rows beside others.
    """
    return tuple(
        part
        for part in (current.made_of if current else ())
        if part.name in expected
        and part.name != staged.part
        and (part.origin == "sample") == (staged.origin == "sample")
    )


def moved(versions: Iterable[Version | None], base: Version | None, name: str) -> bool:
    """Whether a part is another in one of some versions than it is in the version that a stage rests on."""
    return any(_run(version, name) != _run(base, name) for version in versions)


def _run(version: Version | None, name: str) -> str | None:
    part = version.part(name) if version else None
    return part.run_id if part else None


def replaced_parts(current: Version, kept: Sequence[VersionPart]) -> set[str]:
    """The names of the parts whose rows do not stay: the staged one's former rows, and those not beside it any more."""
    return {part.name for part in current.made_of} - {part.name for part in kept}


def version_table(staged: StagedTable, kept: Sequence[VersionPart], iceberg_table: str, snapshot: int) -> VersionTable:
    """One table of a version: what was staged of it and what the kept parts have of it, together."""
    tables: list[StagedTable | PartTable] = [staged]
    tables += (table for part in kept for table in part.tables if table.table == staged.table)
    return VersionTable(
        table=staged.table,
        iceberg_table=iceberg_table,
        iceberg_snapshot=snapshot,
        rows=sum(table.rows for table in tables),
        bytes=sum(table.bytes for table in tables),
        row_terms=_together(said for table in tables for said in table.row_terms),
    )


def next_version(
    staged: Stage, number: int, kept: Sequence[VersionPart], tables: tuple[VersionTable, ...], now: datetime
) -> Version:
    """The version that a stage makes, with the parts that it keeps.

    Args:
        staged: the part that is new.
        number: of the version.
        kept: the parts beside it.
        tables: what it has of each table, and where.
        now: when it is committed.
    """
    mine = VersionPart(
        name=staged.part,
        fingerprint=staged.fingerprint,
        origin=staged.origin,
        snapshot_sha256=staged.snapshot_sha256,
        run_id=staged.run_id,
        tables=tuple(_part_table(table) for table in staged.tables),
        found=staged.found,
        row_rules=staged.row_rules,
    )
    parts = sorted([mine, *kept], key=lambda part: part.name)
    whole = staged.part == ALL
    return Version(
        dataset=staged.dataset,
        number=number,
        fingerprint=staged.fingerprint if whole else _digest(parts, "fingerprint"),
        origin=min((part.origin for part in parts), key=_CLOSENESS.index),
        snapshot_sha256=staged.snapshot_sha256 if whole else _digest(parts, "snapshot_sha256"),
        run_id=staged.run_id,
        tables=tables,
        committed_at=now,
        found=tuple(dict.fromkeys(chain.from_iterable(part.found for part in parts))),
        # Parts made under different rules: a text that is no contract's, so that the rows are withheld.
        row_rules="+".join(sorted({part.row_rules for part in parts})),
        parts=() if whole else tuple(parts),
    )


def missing_parts(version: Version | None, expected: Sequence[str]) -> tuple[str, ...]:
    """The parts of the contract that a version lacks, in the contract's order."""
    return tuple(name for name in expected if version is None or version.part(name) is None)


def parts_in_words(version: Version | None, expected: Sequence[str]) -> str:
    """``24``, or ``22 of 24, without X, Y``; empty for a dataset without parts."""
    if tuple(expected) == (ALL,):
        return ""
    missing = missing_parts(version, expected)
    total = len(expected)
    return f"{total - len(missing)} of {total}, without {', '.join(missing)}" if missing else str(total)


def _part_table(table: StagedTable) -> PartTable:
    return PartTable(table=table.table, rows=table.rows, bytes=table.bytes, row_terms=table.row_terms)


def _digest(parts: Sequence[VersionPart], field: str) -> str:
    lines = "".join(f"{getattr(part, field)}  {part.name}\n" for part in parts)
    return hashlib.sha256(lines.encode()).hexdigest()


def _together(row_terms: Iterable[RowTerms]) -> tuple[RowTerms, ...]:
    rows: dict[tuple[object, object], RowTerms] = {}
    for said in row_terms:
        key = (said.licence, said.embargo_until)
        before = rows[key].rows if key in rows else 0
        rows[key] = said.model_copy(update={"rows": before + said.rows})
    return tuple(rows.values())
