"""The query door: DuckDB over the permitted rows of chosen versions, and over the catalog itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from typing import Any

import duckdb
import pyarrow as pa

from catalog.dataset import Dataset
from catalog.derivation import MadeOf, Marks, compute, made_of
from catalog.derived import Derived, no_rows
from catalog.errors import ContractError, QueryError
from catalog.expressions import QUERY_GROUPS, SCALAR_FUNCTIONS, parse_query
from catalog.inventory import INVENTORY, inventory
from catalog.ledger import Ledger
from catalog.lineage import AGGREGATES, traced, varies_with_order
from catalog.records import Decision, Profile, RowTerms, Version, utc_now
from catalog.rights.policy import Terms
from catalog.sight import Sight
from catalog.sql_types import literal
from catalog.table import Table, load_table, table_names
from catalog.warehouse import Warehouse

TABLE_FUNCTIONS = frozenset({"range", "generate_series", "unnest", "repeat", "json_each", "json_tree"})
QUERY_FUNCTIONS = SCALAR_FUNCTIONS | AGGREGATES | {name for group in QUERY_GROUPS.values() for name in group}
"""The functions that see nothing but their arguments; others might tell of withheld rows, or of the machine."""

# DuckDB evaluates a reader's WHERE below a join where it can, so that an error in it would quote a withheld value.
# It does not move it below a LIMIT.
_BARRIER = "LIMIT 9223372036854775807"


@dataclass(frozen=True)
class Withheld:
    """Rows that the door keeps back, and why. ``of_its_own``: their embargo is their own, and so is its day."""

    dataset: str
    table: str
    rows: int
    decision: Decision
    of_its_own: bool = False

    @property
    def reason(self) -> str:
        """Why, without a value of the rows."""
        return "under an embargo of their own" if self.of_its_own else self.decision.reason


class Door(Sight):
    """Answers queries over what one reader under one profile may see today."""

    def __init__(
        self,
        warehouse: Warehouse,
        ledger: Ledger,
        datasets: Iterable[Dataset],
        profile: Profile,
        today: date,
        at: Mapping[str, int] | None = None,
        derived: Iterable[Derived] | None = None,
    ) -> None:
        super().__init__(ledger, datasets, profile, today, at, derived)
        self._warehouse = warehouse
        self.withheld: list[Withheld] = []
        self.unpublished: set[str] = set()

    def select(self, version: Version, table: Table) -> tuple[str, list[str]]:
        """SQL for the permitted rows of one table of a version with their effective terms, and the files it reads."""
        part = next((part for part in version.tables if part.table == table.name), None)
        judged = self.judged(version, part) if part else []
        refused = [(said, decision) for said, _, decision in judged if not decision.allowed]
        self.withheld += [
            Withheld(version.dataset, table.name, said.rows, decision, said.embargo_until is not None)
            for said, decision in refused
        ]
        allowed = [(said, terms) for said, terms, decision in judged if decision.allowed]
        if not allowed:
            return no_rows(table), []
        files = self._warehouse.files(version, table.name)
        # An inner join, so that a row whose terms were not decided on cannot come out.
        sql = (
            "SELECT data.* REPLACE "
            "(CAST(terms.licence AS VARCHAR) AS _licence, CAST(terms.embargo AS DATE) AS _embargo_until) "
            f"FROM read_parquet([{', '.join(map(literal, files))}]{_by_name(version)}) AS data "
            f"JOIN (VALUES {', '.join(_terms_row(*pair) for pair in allowed)}) "
            "AS terms(said_licence, said_embargo, licence, embargo) "
            "ON data._licence IS NOT DISTINCT FROM CAST(terms.said_licence AS VARCHAR) "
            "AND data._embargo_until IS NOT DISTINCT FROM CAST(terms.said_embargo AS DATE)"
        )
        return (f"{sql} {_BARRIER}" if refused else sql), files

    # -- the connection -----------------------------------------------------------------------------

    def answer(self, sql: str) -> duckdb.DuckDBPyRelation:
        """Run one SELECT. The rows come as they are fetched; fetch them within ``query_errors``.

        Raises:
            QueryError: it does not parse, reads files, names a table that is not there, or fails.
        """
        wanted = self._wanted(sql)
        with query_errors():
            connection = self._open(wanted)
            self._record(wanted)
            return connection.sql(sql)

    def _wanted(self, sql: str) -> frozenset[str]:
        return _guard(sql, frozenset({*self.relations, *self.derived, *(f"catalog.{name}" for name in INVENTORY)}))

    def _open(
        self, wanted: frozenset[str], marks: Marks | None = None, threads: int | None = None
    ) -> duckdb.DuckDBPyConnection:
        """A locked connection that has the wanted tables and what they rest on, and can read their files only.

        With ``marks``, each row carries its terms.
        """
        views: dict[str, str] = {}
        files: list[str] = []
        for name in sorted(wanted & self.relations.keys()):
            self._add(name, views, files, marks)
        connection = self._warehouse.connect(files, threads=threads)
        for schema in sorted(
            {name.partition(".")[0] for name in {*views, *(wanted & self.derived.keys())}} | {"catalog"}
        ):
            connection.execute(f'CREATE SCHEMA "{schema}"')
        for name, sql in views.items():
            connection.execute(f"CREATE VIEW {_quoted(name)} AS {sql}")
        for name in sorted(INVENTORY.keys() & {name.removeprefix("catalog.") for name in wanted}):
            self._keep(connection, f"catalog.{name}", pa.Table.from_pylist(inventory(self, name), INVENTORY[name]))
        for name in sorted(wanted & self.derived.keys()):
            self._keep(connection, name, self.derive(self.derived[name]))
        return connection

    @staticmethod
    def _keep(connection: duckdb.DuckDBPyConnection, name: str, rows: pa.Table | pa.RecordBatchReader) -> None:
        connection.register("rows_to_keep", rows)
        connection.execute(f"CREATE TABLE {_quoted(name)} AS FROM rows_to_keep")
        connection.unregister("rows_to_keep")

    def _add(self, name: str, views: dict[str, str], files: list[str], marks: Marks | None) -> None:
        """Put a view after those that it rests on."""
        if name in views:
            return
        relation = self.relations[name]
        if relation.view is not None:
            for below in sorted(parse_query(relation.view.sql).tables):
                self._add(below, views, files, marks)
            views[name] = relation.view.sql
        elif relation.dataset is None:
            members = self._members(relation.table)
            for member in members:
                self._add(member, views, files, marks)
            selected = (f"SELECT * FROM {_quoted(member)}" for member in members)
            # No rows, but all columns: a version from before a column's time has it as null.
            views[name] = " UNION ALL BY NAME ".join([no_rows(relation.table, marks is not None), *selected])
        else:
            version = self.versions[relation.dataset]
            if version is None:
                self.unpublished.add(relation.dataset)
            sql, needed = self.select(version, relation.table) if version else (no_rows(relation.table), [])
            views[name] = marks.on(sql, relation.dataset) if marks else sql
            files += needed

    def _members(self, table: Table) -> list[str]:
        return [name for name, relation in self.relations.items() if relation.dataset and relation.table == table]

    def _record(self, wanted: frozenset[str]) -> None:
        """Note in the ledger whose rows were asked for under a profile that not everybody has."""
        asked: set[str] = set()
        behind = {name for derived in wanted & self.derived.keys() for name in self.derived[derived].inputs}
        for relation in (self.relations[name] for name in (wanted | behind) & self.relations.keys()):
            of_table = [name for name, dataset in self.datasets.items() if relation.table.name in dataset.feeds]
            asked.update([relation.dataset] if relation.dataset else of_table)
        if any(name.startswith("catalog.") and name not in self.derived for name in wanted):
            asked.update(self.datasets)  # counts, refusals and versions of all
        for dataset in sorted(asked):
            self._note(dataset, "query")

    def _note(self, dataset: str, door: str) -> None:
        if self.profile != "open":
            self.ledger.record_decision(dataset, door, self.decision(dataset), utc_now())

    # -- derived tables, and what an answer is made of ------------------------------------------------

    def derive(self, derived: Derived) -> pa.RecordBatchReader:
        """The rows of a derived table that may be seen, made of permitted rows only, sorted, in its ``arrow_schema``.

        Rows whose combined terms the policy refuses (a conflict of licences) are added to ``withheld``.

        Raises:
            ContractError: the rows do not keep what the contract says of its key and its columns.
            QueryError: the SQL fails on them.
        """
        marks = Marks.of(self.permitted_terms(derived.inputs))
        threads = 1 if varies_with_order(derived.sql) else None
        with query_errors():
            connection = self._open(frozenset(derived.inputs), marks, threads)
            rows, refused = compute(connection, derived, marks, self.judged_together)
        for made, decision in refused:
            datasets = ", ".join(sorted({dataset for dataset, _ in made.held}))
            self.withheld.append(Withheld(datasets, derived.name, made.rows, decision))
        return rows

    def made_of(self, sql: str) -> tuple[list[MadeOf], str | None]:
        """The distinct terms of the rows of one SELECT's answer.

        Where they cannot be traced row by row, all permitted terms of the tables that it reads stand for every row:
        one ``MadeOf`` of no certain number of rows (0), and the reason.

        Raises:
            QueryError: it is no query that this door answers.
        """
        wanted = self._wanted(sql)
        self._record(wanted)
        tables = self._tables_behind(wanted)
        marks = Marks.of(self.permitted_terms(tables))
        try:
            rewritten = traced(sql)
            other = sorted(name for name in wanted if name not in self.relations or self.relations[name].view)
            if other:
                raise ContractError(f"its rows cannot be traced through {other[0]}, which is computed")
        except ContractError as error:
            return [MadeOf(marks.held, None, 0)] if marks.held else [], error.problem
        with query_errors(), self._open(wanted, marks) as connection:
            connection.sql(sql)  # what is wrong in it is told in its own words
            connection.execute(f"CREATE TEMP TABLE answered AS {rewritten}")
            return made_of(connection, marks, "answered"), None

    def _tables_behind(self, wanted: Iterable[str]) -> set[str]:
        """The canonical tables that some relations rest on."""
        found: set[str] = set()
        for name in wanted:
            if name in self.derived:
                found.update(self.derived[name].inputs)
            elif name in self.relations:
                found.add(self.relations[name].table.name)
        return found

    # -- two versions beside one another, and what was refused ---------------------------------------

    def diff(self, older: Version, newer: Version) -> list[dict[str, Any]]:
        """Per table: rows added, removed and changed by key, and columns that came or went; permitted rows only.

        Raises:
            QueryError: nothing of either version may be seen under this profile.
        """
        if self.access(older) == self.access(newer) == "withheld":
            raise self._refusal(newer.dataset, self.decision(newer.dataset).reason)
        self._note(newer.dataset, "diff")
        found = []
        for name in sorted({part.table for part in (*older.tables, *newer.tables)} & set(table_names())):
            table = load_table(name)
            (old_sql, old_files), (new_sql, new_files) = self.select(older, table), self.select(newer, table)
            with query_errors(), self._warehouse.connect([*old_files, *new_files]) as connection:
                connection.execute(f"CREATE VIEW older AS {old_sql}")
                connection.execute(f"CREATE VIEW newer AS {new_sql}")
                found.append({"table": name, **_compare(connection, table.key)})
        return found

    def quarantine(self, dataset: str) -> duckdb.DuckDBPyRelation | None:
        """Refused records of the latest run (of each part) with their reasons; fetch them within ``query_errors``.

        They inherit their dataset's terms.

        Raises:
            QueryError: they are withheld under this profile.
        """
        if not self.tells_of(dataset):
            decision = self.decision(dataset)
            its_own = "its records have terms of their own, which a refused record does not tell reliably"
            raise self._refusal(dataset, its_own if decision.allowed else decision.reason)
        self._note(dataset, "quarantine")
        files = [file for stage in self.ledger.latest_stages(dataset) for file in stage.quarantine]
        if not files:
            return None
        listed = ", ".join(map(literal, files))
        with query_errors():
            connection = self._warehouse.connect(files)
            return connection.sql(f'FROM read_parquet([{listed}]) ORDER BY source, "table", "column", "check", value')

    def _refusal(self, dataset: str, reason: str) -> QueryError:
        return QueryError(
            f"{dataset} is withheld under {self.profile}: {reason}",
            f"`winnow terms {dataset}` says what each profile may have; ask with `--profile internal` if you may",
        )


@contextmanager
def query_errors() -> Iterator[None]:
    """Turn what DuckDB raises while a query is bound or its rows are fetched into a QueryError."""
    try:
        yield
    except (duckdb.Error, pa.ArrowException) as error:
        raise QueryError(
            f"the query failed: {str(error).strip()}",
            "`DESCRIBE <table>` shows a table's columns, `FROM catalog.tables` the tables",
        ) from None


def _guard(sql: str, names: frozenset[str]) -> frozenset[str]:
    """The tables that a query reads, in lower case, if it reads nothing but what the door shows."""
    try:
        query = parse_query(sql)
    except ValueError as error:
        raise QueryError(str(error), _how_to_ask(sql)) from None
    functions = (query.table_functions - TABLE_FUNCTIONS) | (query.functions - QUERY_FUNCTIONS)
    if functions:
        raise QueryError(*_no_such_function(min(functions), min(functions) in query.table_functions))
    unknown = sorted(query.tables - names)
    if unknown:
        raise QueryError(*_no_such_table(unknown[0], names))
    return query.tables


def _how_to_ask(sql: str) -> str:
    if re.match(r"\s*pivot\b", sql, re.IGNORECASE):
        return "write the values out: PIVOT table ON column IN ('a', 'b') USING count(*)"
    return "write one SELECT, FROM, WITH, DESCRIBE, SUMMARIZE or PIVOT"


def _no_such_function(name: str, is_table: bool) -> tuple[str, str]:
    if is_table:
        return (
            f"function {name!r} is not available here: it reaches outside the permitted rows",
            "query the tables that `FROM catalog.tables` lists; to read files, use DuckDB itself",
        )
    near = get_close_matches(name, sorted(QUERY_FUNCTIONS), n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return (
        f"function {name!r} is not available here: it is not known to see nothing but its arguments",
        f"{hint}docs/reference/queries.md lists the functions that may be called",
    )


def _no_such_table(name: str, names: frozenset[str]) -> tuple[str, str]:
    if re.search(r"[/\\*?]|://|\.(parquet|csv|json|tsv|txt|gz|zst|db|duckdb|xlsx)$", name):
        return (
            f"{name!r} is a file: files and paths are not read at this door, because rows there may be withheld",
            "query the tables that `FROM catalog.tables` lists; to read files, use DuckDB itself",
        )
    short = {known.partition(".")[2]: known for known in names}
    near = get_close_matches(name, [*names, *short], n=1)
    hint = f"did you mean {short.get(near[0], near[0])}? " if near else ""
    return f"there is no table {name!r} here", f'{hint}`winnow query "FROM catalog.tables"` lists them'


def _by_name(version: Version) -> str:
    """Parts that were made at different times may differ in their columns."""
    return ", union_by_name = true" if len(version.parts) > 1 else ""


def _terms_row(said: RowTerms, in_force: Terms) -> str:
    values = (said.licence, said.embargo_until, in_force.licence, in_force.embargo_until)
    return "(" + ", ".join(literal(value) for value in values) + ")"


def _quoted(name: str) -> str:
    schema, _, table = name.partition(".")
    return f'"{schema}"."{table}"'


def _compare(connection: duckdb.DuckDBPyConnection, key: Sequence[str]) -> dict[str, Any]:
    old, new = (
        dict(zip(relation.columns, map(str, relation.types), strict=True))
        for relation in (connection.sql("FROM older"), connection.sql("FROM newer"))
    )
    both = [name for name in new if name in old]
    compared = ", ".join(f'"{name}"' for name in both)
    keys = ", ".join(f'"{name}"' for name in key)
    matched = " AND ".join(f'a."{name}" IS NOT DISTINCT FROM b."{name}"' for name in key)
    ((added, removed, changed),) = connection.sql(
        f"""
        WITH a AS (SELECT {keys}, hash(row({compared})) AS content FROM older),
             b AS (SELECT {keys}, hash(row({compared})) AS content FROM newer)
        SELECT count(*) FILTER (a.content IS NULL), count(*) FILTER (b.content IS NULL),
               count(*) FILTER (a.content <> b.content)
        FROM a FULL JOIN b ON {matched}
        """
    ).fetchall()
    return {
        "rows_added": added,
        "rows_removed": removed,
        "rows_changed": changed,
        "columns_added": [name for name in new if name not in old],
        "columns_removed": [name for name in old if name not in new],
        "columns_retyped": [f"{name}: {old[name]} -> {new[name]}" for name in both if old[name] != new[name]],
    }
