"""The query door: DuckDB over the permitted rows of chosen versions, and over the catalog itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import duckdb
import pyarrow as pa

from catalog.dataset import Dataset
from catalog.errors import QueryError
from catalog.expressions import parse_query
from catalog.ledger import Ledger
from catalog.records import Decision, GateReport, Profile, RowTerms, Version, VersionTable
from catalog.rights.policy import decide, effective
from catalog.sql_types import literal, sql_type
from catalog.table import Table, load_table, table_names
from catalog.warehouse import Warehouse, table_name

TABLE_FUNCTIONS = frozenset({"range", "generate_series", "unnest", "repeat"})
FORBIDDEN_FUNCTIONS = frozenset({"getenv", "getvariable", "current_setting"})

_CATALOG_TABLES: dict[str, pa.Schema] = {
    "datasets": pa.schema(
        [
            ("dataset", pa.string()),
            ("title", pa.string()),
            ("tables", pa.list_(pa.string())),
            ("licence", pa.string()),
            ("attribution", pa.string()),
            ("allowed", pa.bool_()),
            ("reason", pa.string()),
            ("changes_on", pa.date32()),
            ("version", pa.int64()),
            ("rows", pa.int64()),
            ("owner", pa.string()),
            ("schedule", pa.string()),
        ]
    ),
    "versions": pa.schema(
        [
            ("dataset", pa.string()),
            ("version", pa.int64()),
            ("table", pa.string()),
            ("rows", pa.int64()),
            ("bytes", pa.int64()),
            ("origin", pa.string()),
            ("committed_at", pa.timestamp("us", tz="UTC")),
            ("snapshot_sha256", pa.string()),
            ("fingerprint", pa.string()),
            ("run_id", pa.string()),
        ]
    ),
    "gates": pa.schema(
        [
            ("dataset", pa.string()),
            ("run_id", pa.string()),
            ("created_at", pa.timestamp("us", tz="UTC")),
            ("gate", pa.string()),
            ("name", pa.string()),
            ("table", pa.string()),
            ("passed", pa.bool_()),
            ("observed", pa.string()),
            ("expected", pa.string()),
        ]
    ),
    "quarantine": pa.schema(
        [
            ("dataset", pa.string()),
            ("run_id", pa.string()),
            ("table", pa.string()),
            ("read", pa.int64()),
            ("kept", pa.int64()),
            ("quarantined", pa.int64()),
            ("dropped", pa.int64()),
            ("check", pa.string()),
            ("column", pa.string()),
            ("reason", pa.string()),
            ("records", pa.int64()),
        ]
    ),
}


@dataclass(frozen=True)
class Withheld:
    """Rows that the door keeps back, and why."""

    dataset: str
    table: str
    rows: int
    decision: Decision


class Door:
    """What one reader under one profile may see today."""

    def __init__(
        self,
        warehouse: Warehouse,
        ledger: Ledger,
        datasets: Iterable[Dataset],
        profile: Profile,
        today: date,
        at: Mapping[str, int] | None = None,
    ) -> None:
        self._warehouse = warehouse
        self._ledger = ledger
        self._datasets = {dataset.name: dataset for dataset in datasets}
        self.profile = profile
        self._today = today
        self._versions = {name: self._version(name, (at or {}).get(name)) for name in self._datasets}
        self.withheld: list[Withheld] = []

    def _version(self, dataset: str, number: int | None) -> Version | None:
        return self._ledger.current(dataset) if number is None else self._ledger.version(dataset, number)

    # -- what may be seen ---------------------------------------------------------------------------

    def decision(self, dataset: str) -> Decision:
        """What the policy says of a dataset's rows that say nothing of themselves."""
        return decide(effective(self._datasets[dataset].terms, None, None), self.profile, self._today)

    def permitted(self, dataset: str, part: VersionTable) -> list[RowTerms]:
        """The row terms of a version's table that may be seen; the others are noted as withheld."""
        allowed = []
        for terms in part.row_terms:
            in_force = effective(self._datasets[dataset].terms, terms.licence, terms.embargo_until)
            decision = decide(in_force, self.profile, self._today)
            if decision.allowed:
                allowed.append(terms)
            else:
                self.withheld.append(Withheld(dataset, part.table, terms.rows, decision))
        return allowed

    def select(self, version: Version, table: Table) -> tuple[str, list[str]]:
        """SQL for the permitted rows of one table of a version with their effective terms, and the files it reads."""
        part = next((part for part in version.tables if part.table == table.name), None)
        allowed = self.permitted(version.dataset, part) if part else []
        if not allowed:
            return _no_rows(table), []
        files = self._warehouse.files(version, table.name)
        listed = ", ".join(map(literal, files))
        terms = self._datasets[version.dataset].terms
        rows = []
        for row in allowed:
            in_force = effective(terms, row.licence, row.embargo_until)
            values = (row.licence, row.embargo_until, in_force.licence, in_force.embargo_until)
            rows.append("(" + ", ".join(literal(value) for value in values) + ")")
        # An inner join, so that a row whose terms were not decided on cannot come out.
        return (
            "SELECT data.* REPLACE (CAST(terms.licence AS VARCHAR) AS _licence, CAST(terms.embargo AS DATE) AS _embargo_until) "
            f"FROM read_parquet([{listed}]) AS data JOIN (VALUES {', '.join(rows)}) AS terms(said_licence, said_embargo, licence, embargo) "
            "ON data._licence IS NOT DISTINCT FROM CAST(terms.said_licence AS VARCHAR) "
            "AND data._embargo_until IS NOT DISTINCT FROM CAST(terms.said_embargo AS DATE)",
            files,
        )

    # -- the connection -----------------------------------------------------------------------------

    def open(self) -> tuple[duckdb.DuckDBPyConnection, frozenset[str]]:
        """A locked connection with a view for every table, and the names of what can be queried."""
        views, files = self._views()
        connection = self._warehouse.connect(files)
        for schema in sorted({name.partition(".")[0] for name, _ in views} | {"catalog"}):
            connection.execute(f'CREATE SCHEMA "{schema}"')
        for name, sql in views:
            schema, _, table = name.partition(".")
            connection.execute(f'CREATE VIEW "{schema}"."{table}" AS {sql}')
        for name, rows in self._catalog_rows().items():
            connection.register("catalog_rows", pa.Table.from_pylist(rows, schema=_CATALOG_TABLES[name]))
            connection.execute(f"CREATE TABLE catalog.{name} AS FROM catalog_rows")
            connection.unregister("catalog_rows")
        return connection, frozenset({name for name, _ in views} | {f"catalog.{name}" for name in _CATALOG_TABLES})

    def answer(self, sql: str) -> duckdb.DuckDBPyRelation:
        """Run one SELECT.

        Raises:
            QueryError: it does not parse, reads files, names a table that is not there, or fails.
        """
        connection, names = self.open()
        query = _guard(sql, names)
        if self.profile != "open":
            self._record(query)
        try:
            return connection.sql(sql)
        except duckdb.Error as error:
            raise QueryError(f"the query failed: {error}", "`FROM catalog.datasets` lists what there is") from None

    def _record(self, tables: frozenset[str]) -> None:
        from catalog.records import utc_now

        for dataset in self._datasets.values():
            own = {".".join(table_name(dataset.name, table)) for table in dataset.feeds} | set(dataset.feeds)
            if own & tables:
                self._ledger.record_decision(dataset.name, "query", self.decision(dataset.name), utc_now())

    def _views(self) -> tuple[list[tuple[str, str]], list[str]]:
        views: list[tuple[str, str]] = []
        files: list[str] = []
        for name in table_names():
            table = load_table(name)
            members = []
            for dataset in self._datasets.values():
                version = self._versions[dataset.name]
                if name not in dataset.feeds or version is None:
                    continue
                sql, needed = self.select(version, table)
                member = table_name(dataset.name, name)
                views.append((".".join(member), sql))
                members.append(f'SELECT * FROM "{member[0]}"."{member[1]}"')
                files += needed
            views.append((name, " UNION ALL BY NAME ".join(members) or _no_rows(table)))
            views += [(view.name, view.sql) for view in table.views]
        return views, files

    def _catalog_rows(self) -> dict[str, list[dict[str, Any]]]:
        allowed = [name for name in self._datasets if self.decision(name).allowed]
        versions = [version for version in self._ledger.versions() if version.dataset in allowed]
        reports = [report for report in self._ledger.reports() if report.dataset in allowed]
        return {
            "datasets": [self._dataset_row(dataset) for dataset in self._datasets.values()],
            "versions": [self._version_row(version, part) for version in versions for part in version.tables],
            "gates": [
                {
                    "dataset": report.dataset,
                    "run_id": report.run_id,
                    "created_at": report.created_at,
                    **check.model_dump(),
                }
                for report in reports
                for check in report.checks
            ],
            "quarantine": [row for report in reports for row in _quarantine_rows(report)],
        }

    def _dataset_row(self, dataset: Dataset) -> dict[str, Any]:
        decision = self.decision(dataset.name)
        version = self._versions[dataset.name]
        shown = version if version is not None and decision.allowed else None
        return {
            "dataset": dataset.name,
            "title": dataset.title,
            "tables": list(dataset.feeds),
            "licence": dataset.terms.licence,
            "attribution": dataset.terms.attribution,
            "allowed": decision.allowed,
            "reason": decision.reason,
            "changes_on": decision.changes_on,
            "version": shown and shown.number,
            "rows": shown and sum(row.rows for part in shown.tables for row in self.permitted(dataset.name, part)),
            "owner": dataset.owner,
            "schedule": dataset.schedule,
        }

    def _version_row(self, version: Version, part: VersionTable) -> dict[str, Any]:
        return {
            "dataset": version.dataset,
            "version": version.number,
            "table": part.table,
            "rows": sum(row.rows for row in self.permitted(version.dataset, part)),
            "bytes": part.bytes,
            "origin": version.origin,
            "committed_at": version.committed_at,
            "snapshot_sha256": version.snapshot_sha256,
            "fingerprint": version.fingerprint,
            "run_id": version.run_id,
        }

    # -- two versions beside one another ------------------------------------------------------------

    def diff(self, older: Version, newer: Version) -> list[dict[str, Any]]:
        """Per table: rows added, removed and changed by key, and columns that came or went; permitted rows only."""
        found = []
        for name in self._datasets[newer.dataset].feeds:
            table = load_table(name)
            (old_sql, old_files), (new_sql, new_files) = self.select(older, table), self.select(newer, table)
            with self._warehouse.connect([*old_files, *new_files]) as connection:
                connection.execute(f"CREATE VIEW older AS {old_sql}")
                connection.execute(f"CREATE VIEW newer AS {new_sql}")
                found.append({"table": name, **_compare(connection, table.key)})
        return found

    def quarantine(self, dataset: str, limit: int) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Refused records of the latest run with their reasons; they inherit their dataset's terms.

        Raises:
            QueryError: the dataset is withheld under this profile.
        """
        decision = self.decision(dataset)
        if not decision.allowed:
            raise QueryError(
                f"{dataset} is withheld under {self.profile}: {decision.reason}",
                "ask with `--profile internal` if you may",
            )
        stage = self._ledger.stage(dataset)
        if stage is None or not stage.quarantine:
            return [], []
        listed = ", ".join(map(literal, stage.quarantine))
        with self._warehouse.connect(stage.quarantine) as connection:
            relation = connection.sql(f"FROM read_parquet([{listed}]) ORDER BY source LIMIT {int(limit)}")
            return relation.columns, relation.fetchall()


def _quarantine_rows(report: GateReport) -> list[dict[str, Any]]:
    rows = []
    for table in report.tables:
        counts = {
            "dataset": report.dataset,
            "run_id": report.run_id,
            "table": table.table,
            "read": table.read,
            "kept": table.kept,
            "quarantined": table.quarantined,
            "dropped": sum(table.dropped.values()),
        }
        rows.append(counts)
        rows += [{**counts, **failure.model_dump()} for failure in table.failures]
    return rows


def _guard(sql: str, names: frozenset[str]) -> frozenset[str]:
    """The tables that a query reads, if it reads nothing but what the door shows."""
    try:
        query = parse_query(sql)
    except ValueError as error:
        raise QueryError(
            f"the query is not one SELECT: {error}", "write one SELECT, FROM, WITH, DESCRIBE or SUMMARIZE"
        ) from None
    functions = (query.table_functions - TABLE_FUNCTIONS) | (query.functions & FORBIDDEN_FUNCTIONS)
    if functions:
        raise QueryError(
            f"function {min(functions)!r} is not available here: it reaches outside the permitted rows",
            "query the tables that `FROM catalog.datasets` lists; for files use DuckDB directly on a release",
        )
    known = {name.lower() for name in names}
    unknown = sorted(name for name in query.tables if name.lower() not in known)
    if unknown:
        raise QueryError(
            f"there is no table {unknown[0]!r} here (files and paths are not read at this door)",
            f"the tables are: {', '.join(sorted(names))}",
        )
    return frozenset(name.lower() for name in query.tables)


def _compare(connection: duckdb.DuckDBPyConnection, key: Sequence[str]) -> dict[str, Any]:
    old, new = connection.sql("FROM older").columns, connection.sql("FROM newer").columns
    kinds = {
        name: dict(zip(relation.columns, map(str, relation.types), strict=True))
        for name in ("older", "newer")
        for relation in [connection.sql(f"FROM {name}")]
    }
    both = [name for name in new if name in old]
    compared = ", ".join(f'"{name}"' for name in both)
    keys = ", ".join(f'"{name}"' for name in key)
    ((added, removed, changed),) = connection.sql(
        f"""
        WITH a AS (SELECT {keys}, hash(row({compared})) AS content FROM older),
             b AS (SELECT {keys}, hash(row({compared})) AS content FROM newer)
        SELECT count(*) FILTER (a.content IS NULL), count(*) FILTER (b.content IS NULL), count(*) FILTER (a.content <> b.content)
        FROM a FULL JOIN b USING ({keys})
        """
    ).fetchall()
    retyped = [
        f"{name}: {kinds['older'][name]} -> {kinds['newer'][name]}"
        for name in both
        if kinds["older"][name] != kinds["newer"][name]
    ]
    return {
        "rows_added": added,
        "rows_removed": removed,
        "rows_changed": changed,
        "columns_added": [name for name in new if name not in old],
        "columns_removed": [name for name in old if name not in new],
        "columns_retyped": retyped,
    }


def _no_rows(table: Table) -> str:
    columns = ", ".join(
        f'CAST(NULL AS {sql_type(column.arrow.type)}) AS "{column.name}"' for column in table.all_columns
    )
    return f"SELECT {columns} WHERE false"
