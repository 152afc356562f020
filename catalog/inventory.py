"""The ``catalog`` schema at the query door: what there is, as SQL tables. It tells nothing of what is withheld."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from catalog.dataset import Dataset
from catalog.parts import parts_in_words
from catalog.records import GateReport, Version, VersionTable
from catalog.sight import Access, Sight
from catalog.table import load_table, table_names

_TEXT, _NUMBER, _TIME = pa.string(), pa.int64(), pa.timestamp("us", tz="UTC")

INVENTORY: dict[str, pa.Schema] = {
    "tables": pa.schema({"table": _TEXT, "kind": _TEXT, "dataset": _TEXT, "description": _TEXT}),
    "columns": pa.schema(
        {"table": _TEXT, "column": _TEXT, "type": _TEXT, "unit": _TEXT, "term": _TEXT, "description": _TEXT}
    ),
    "datasets": pa.schema(
        {
            "dataset": _TEXT,
            "title": _TEXT,
            "tables": pa.list_(_TEXT),
            "licence": _TEXT,
            "attribution": _TEXT,
            "access": _TEXT,
            "reason": _TEXT,
            "changes_on": pa.date32(),
            "version": _NUMBER,
            "rows": _NUMBER,
            "parts": _TEXT,
            "owner": _TEXT,
            "schedule": _TEXT,
        }
    ),
    "versions": pa.schema(
        {
            "dataset": _TEXT,
            "version": _NUMBER,
            "table": _TEXT,
            "rows": _NUMBER,
            "bytes": _NUMBER,
            "origin": _TEXT,
            "committed_at": _TIME,
            "snapshot_sha256": _TEXT,
            "fingerprint": _TEXT,
            "run_id": _TEXT,
            "parts": _TEXT,
        }
    ),
    "gates": pa.schema(
        {
            "dataset": _TEXT,
            "run_id": _TEXT,
            "created_at": _TIME,
            "gate": _TEXT,
            "name": _TEXT,
            "table": _TEXT,
            "passed": pa.bool_(),
            "observed": _TEXT,
            "expected": _TEXT,
            "remedy": _TEXT,
        }
    ),
    "quarantine": pa.schema(
        {
            "dataset": _TEXT,
            "run_id": _TEXT,
            "table": _TEXT,
            "read": _NUMBER,
            "kept": _NUMBER,
            "quarantined": _NUMBER,
            "dropped": _NUMBER,
            "check": _TEXT,
            "column": _TEXT,
            "reason": _TEXT,
            "records": _NUMBER,
        }
    ),
}

_ABOUT = {
    "tables": "All that can be queried",
    "columns": "Columns of the canonical and derived tables, with unit and the standard's term",
    "datasets": "Datasets: licence, attribution, current version, who may have it",
    "versions": "History of the datasets, table by table",
    "gates": "What each check of each run saw and wanted",
    "quarantine": "How many records of each run were read, kept and refused, and why",
}


def inventory(sight: Sight, name: str) -> list[dict[str, Any]]:
    """The rows of one of the tables in INVENTORY, for the reader's profile."""
    rows = {
        "tables": _tables,
        "columns": _columns,
        "datasets": _datasets,
        "versions": _versions,
        "gates": _gates,
        "quarantine": _quarantine,
    }
    return list(rows[name](sight))


def _tables(sight: Sight) -> Iterator[dict[str, Any]]:
    for name, relation in sight.relations.items():
        kind = "view" if relation.view else "dataset" if relation.dataset else "canonical"
        words = relation.view.description if relation.view else relation.table.description
        yield {"table": name, "kind": kind, "dataset": relation.dataset, "description": words.strip()}
    for name, derived in sight.derived.items():
        yield {"table": name, "kind": "derived", "description": derived.description.strip() or derived.title}
    for name in INVENTORY:
        yield {"table": f"catalog.{name}", "kind": "catalog", "description": _ABOUT[name]}


def _columns(sight: Sight) -> Iterator[dict[str, Any]]:
    for name in table_names():
        for column in load_table(name).all_columns:
            about = column.model_dump(include={"type", "unit", "term", "description"})
            yield {"table": name, "column": column.name, **about}
    for derived in sight.derived.values():
        for column in derived.columns:
            yield {
                "table": derived.name,
                "column": column.name,
                **column.model_dump(include={"type", "unit", "term", "description"}),
            }


def _datasets(sight: Sight) -> Iterator[dict[str, Any]]:
    for dataset in sight.datasets.values():
        yield _dataset_row(sight, dataset)


def _dataset_row(sight: Sight, dataset: Dataset) -> dict[str, Any]:
    decision = sight.decision(dataset.name)
    version = sight.versions[dataset.name]
    access: Access = sight.access(version) if version else "permitted" if decision.allowed else "withheld"
    shown = version if access != "withheld" else None
    return {
        "dataset": dataset.name,
        "title": dataset.title,
        "tables": list(dataset.feeds),
        "licence": dataset.terms.licence,
        "attribution": dataset.terms.attribution,
        "access": access,
        "reason": decision.reason,
        "changes_on": decision.changes_on,
        "version": shown and shown.number,
        "rows": shown and sum(_permitted_rows(sight, shown, part) for part in shown.tables),
        "parts": (access != "withheld" and parts_in_words(shown, dataset.parts)) or None,
        "owner": dataset.owner,
        "schedule": dataset.schedule,
    }


def _permitted_rows(sight: Sight, version: Version, part: VersionTable) -> int:
    return sum(said.rows for said, _, decision in sight.judged(version, part) if decision.allowed)


def _versions(sight: Sight) -> Iterator[dict[str, Any]]:
    for version in sight.ledger.versions():
        if version.dataset not in sight.datasets or sight.access(version) == "withheld":
            continue
        whole = sight.access(version) == "permitted"
        sums = sight.tells_sums_of(version)
        for part in version.tables:
            yield {
                "dataset": version.dataset,
                "version": version.number,
                "table": part.table,
                "rows": _permitted_rows(sight, version, part),
                "bytes": part.bytes if whole else None,
                "origin": version.origin,
                "committed_at": version.committed_at,
                "snapshot_sha256": version.snapshot_sha256 if sums else None,
                "fingerprint": version.fingerprint if sums else None,
                "run_id": version.run_id,
                "parts": parts_in_words(version, sight.datasets[version.dataset].parts) or None,
            }


def _reports(sight: Sight) -> Iterator[GateReport]:
    telling = {name for name in sight.datasets if sight.tells_of(name)}
    return (report for report in sight.ledger.reports() if report.dataset in telling)


def _gates(sight: Sight) -> Iterator[dict[str, Any]]:
    for report in _reports(sight):
        about = {"dataset": report.dataset, "run_id": report.run_id, "created_at": report.created_at}
        for check in report.checks:
            yield {**about, **check.model_dump()}


def _quarantine(sight: Sight) -> Iterator[dict[str, Any]]:
    for report in _reports(sight):
        for table in report.tables:
            counts = {
                "dataset": report.dataset,
                "run_id": report.run_id,
                **table.model_dump(include={"table", "read", "kept", "quarantined"}),
                "dropped": sum(table.dropped.values()),
            }
            yield counts
            for failure in table.failures:
                yield {**counts, **failure.model_dump()}
