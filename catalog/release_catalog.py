"""The ``catalog.duckdb`` of a release: views over its Parquet files, with units and meaning.

The tables about the release lie in the schema ``main``: the database's own name is ``catalog``, so that
``FROM catalog.datasets`` finds them, and with a schema of that name DuckDB would call it ambiguous.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import duckdb

from catalog.errors import ReleaseError
from catalog.manifest import (
    CATALOG,
    MANIFEST,
    SUMS,
    DescribedColumn,
    Manifest,
    ReleasedPart,
    ReleasedTable,
    ReleasedTerms,
    parse_manifest,
    parse_sums,
    sums_text,
)
from catalog.release_folder import open_address, read_small
from catalog.sql_types import literal
from catalog.store import is_local, storing
from catalog.warehouse import table_name

STORAGE = "v1.2.0"  # the newest that DuckDB 1.2 to 2.0 all read

_COLUMNS = {
    "tables": {"table": "VARCHAR", "kind": "VARCHAR", "dataset": "VARCHAR", "rows": "BIGINT", "description": "VARCHAR"},
    "columns": {
        "table": "VARCHAR",
        "column": "VARCHAR",
        "type": "VARCHAR",
        "unit": "VARCHAR",
        "term": "VARCHAR",
        "description": "VARCHAR",
    },
    "datasets": {
        "dataset": "VARCHAR",
        "title": "VARCHAR",
        "licence": "VARCHAR",
        "attribution": "VARCHAR",
        "citation": "MAP(VARCHAR, VARCHAR)",
        "version": "BIGINT",
        "rows": "BIGINT",
    },
    "terms": {
        "table": "VARCHAR",
        "dataset": "VARCHAR",
        "licence": "VARCHAR",
        "embargo_until": "DATE",
        "obligations": "VARCHAR[]",
        "rows": "BIGINT",
    },
}
_ABOUT = {
    "tables": "All views of this release",
    "columns": "Columns of the tables, with unit and the standard's term",
    "datasets": "The datasets whose rows are here: licence, attribution, citation, version, rows",
    "terms": "Under which licence how many rows of which table and dataset are, and what it asks",
}


def write_catalog(manifest: Manifest, address: str, path: Path) -> None:
    """Write the database for a release that readers will find at an address. Nothing is read but the manifest."""
    with contextlib.closing(duckdb.connect()) as connection:
        connection.execute("SET threads=1")
        connection.execute(f"ATTACH {literal(path)} AS release (STORAGE_VERSION '{STORAGE}')")
        connection.execute("USE release")
        connection.begin()  # or each comment would be put on the disk by itself
        for name, rows in _tables(manifest).items():
            _write_table(connection, name, rows)
        for table in manifest.tables:
            _write_views(connection, table, address)
        connection.commit()
        connection.execute("USE memory")
        connection.execute("DETACH release")


def rebase(address: str, target: str, scratch: Path) -> None:
    """Let a release's views point to another address: only ``catalog.duckdb`` and its sum change.

    Raises:
        ReleaseError: there is no release, or its manifest is not the one that was released.
        StorageError: the disk or the object store did not take the bytes.
    """
    filesystem, root = open_address(address)
    if not (filesystem.exists(f"{root}/{MANIFEST}") and filesystem.exists(f"{root}/{SUMS}")):
        raise ReleaseError(f"{address} is no release: it has no {MANIFEST} or no {SUMS}", "give a release's folder")
    sums = parse_sums(read_small(filesystem, f"{root}/{SUMS}", address), address)
    text = read_small(filesystem, f"{root}/{MANIFEST}", address)
    if sums.get(MANIFEST) != hashlib.sha256(text).hexdigest():
        raise ReleaseError(
            f"{MANIFEST} in {address} is not the file that was released", f"`winnow verify {address}` tells more"
        )
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as folder, storing(f"writing {address}", scratch):
        database, listed = Path(folder) / CATALOG, Path(folder) / SUMS
        write_catalog(parse_manifest(text, address), target, database)
        listed.write_text(
            sums_text({**sums, CATALOG: hashlib.sha256(database.read_bytes()).hexdigest()}), encoding="utf-8"
        )
        for path in (database, listed):
            partial = f"{root}/.{path.name}.partial" if is_local(filesystem) else f"{root}/{path.name}"
            filesystem.put_file(str(path), partial)
            if is_local(filesystem):
                Path(partial).replace(f"{root}/{path.name}")


def _tables(manifest: Manifest) -> dict[str, list[tuple[object, ...]]]:
    """The rows of the tables about the release."""
    return {
        "tables": list(_table_rows(manifest)),
        "columns": [
            (table.name, column.name, column.type, column.unit, column.term, column.description)
            for table in manifest.tables
            for column in table.columns
        ],
        "datasets": [
            (each.name, each.title, each.licence, each.attribution, each.citation, each.version, each.rows)
            for each in manifest.datasets
        ],
        "terms": [
            (table.name, part.dataset, each.licence, each.embargo_until, each.obligations, each.rows)
            for table, part in manifest.parts()
            for each in _in_force(part.terms)
        ],
    }


def _write_table(connection: duckdb.DuckDBPyConnection, name: str, rows: Sequence[tuple[object, ...]]) -> None:
    # A view of constants: in a table's storage DuckDB leaves bytes of this process's memory, which may be of withheld
    # rows, and never the same.
    columns = _COLUMNS[name]
    values = [f"({', '.join(map(_constant, row))})" for row in rows] or [f"({', '.join(['NULL'] * len(columns))})"]
    cast = ", ".join(f'CAST("{column}" AS {kind}) AS "{column}"' for column, kind in columns.items())
    named = ", ".join(f'"{column}"' for column in columns)
    where = "" if rows else " WHERE false"
    _view(
        connection,
        f"main.{name}",
        f"SELECT {cast} FROM (VALUES {', '.join(values)}) AS t({named}){where}",
        _ABOUT[name],
    )


def _constant(value: object) -> str:
    if isinstance(value, dict):
        return f"MAP {{{', '.join(f'{literal(key)}: {literal(value[key])}' for key in sorted(value))}}}"
    if isinstance(value, tuple):
        return f"CAST([{', '.join(map(literal, value))}] AS VARCHAR[])"
    return literal(value)


def _table_rows(manifest: Manifest) -> Iterator[tuple[str, str, str | None, int | None, str]]:
    for table in manifest.tables:
        yield table.name, table.kind, None, table.rows, table.description
        for part in table.parts:
            if part.dataset:
                yield _part_name(table, part.dataset), "dataset", part.dataset, part.rows, table.description
        for view in table.views:
            yield view.name, "view", None, None, view.description


def _in_force(terms: Sequence[ReleasedTerms]) -> list[ReleasedTerms]:
    """Those that hold alike, whatever the rows say themselves, as one."""
    found: dict[tuple[object, ...], ReleasedTerms] = {}
    for each in terms:
        same = (each.licence, each.embargo_until)
        rows = each.rows + (found[same].rows if same in found else 0)
        found[same] = each.model_copy(update={"rows": rows})
    return list(found.values())


def _part_name(table: ReleasedTable, dataset: str) -> str:
    return ".".join(table_name(dataset, table.name))


def _write_views(connection: duckdb.DuckDBPyConnection, table: ReleasedTable, address: str) -> None:
    words = {column.name: column for column in table.columns}
    empty = f"SELECT {', '.join(_typed_null(each.name, each.type) for each in table.columns)} WHERE false"
    members = []
    for part in table.parts:
        _pretend(connection, part)
        sql = _rows_of(part, address)
        name = _part_name(table, part.dataset) if part.dataset else None
        if name:
            _view(connection, name, sql, table.description, {each.name: words.get(each.name) for each in part.columns})
        members.append(f"SELECT * FROM {_quoted(name)}" if name else sql)
    union = " UNION ALL BY NAME ".join([empty, *members])
    _view(connection, table.name, union, table.description, words)
    for view in table.views:
        _view(connection, view.name, view.sql, view.description)


def _pretend(connection: duckdb.DuckDBPyConnection, part: ReleasedPart) -> None:
    """Let ``read_parquet`` mean, while a view is made, no rows of the part's columns.

    DuckDB wants to read the files of a view as it is made. They are not yet at their address, or never within reach.
    """
    columns = ", ".join(_typed_null(each.name, each.type) for each in part.columns)
    connection.execute(
        "CREATE OR REPLACE TEMP MACRO read_parquet(files, hive_partitioning := false) AS TABLE "
        f"SELECT {columns} WHERE false"
    )


def _rows_of(part: ReleasedPart, address: str) -> str:
    """SQL for a part's rows with their effective terms."""
    files = ", ".join(literal(f"{address.rstrip('/')}/{file.path}") for file in part.files)
    source = f"FROM read_parquet([{files}], hive_partitioning = false) AS data"
    silent = all(each.said_licence is None and each.said_embargo_until is None for each in part.terms)
    as_said = all(
        (each.said_licence, each.said_embargo_until) == (each.licence, each.embargo_until) for each in part.terms
    )
    if as_said:
        return f"SELECT data.* {source}"
    if silent:
        (only,) = part.terms
        return f"SELECT data.* REPLACE ({_effective(literal(only.licence), literal(only.embargo_until))}) {source}"
    values = ", ".join(
        f"({', '.join(map(literal, (t.said_licence, t.said_embargo_until, t.licence, t.embargo_until)))})"
        for t in part.terms
    )
    return (
        f"SELECT data.* REPLACE ({_effective('terms.licence', 'terms.embargo')}) {source} "
        f"JOIN (VALUES {values}) AS terms(said_licence, said_embargo, licence, embargo) "
        "ON data._licence IS NOT DISTINCT FROM CAST(terms.said_licence AS VARCHAR) "
        "AND data._embargo_until IS NOT DISTINCT FROM CAST(terms.said_embargo AS DATE)"
    )


def _effective(licence: str, embargo: str) -> str:
    return f"CAST({licence} AS VARCHAR) AS _licence, CAST({embargo} AS DATE) AS _embargo_until"


def _view(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    sql: str,
    description: str,
    columns: Mapping[str, DescribedColumn | None] = MappingProxyType({}),
) -> None:
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {_quoted(name).partition('.')[0]}")
    connection.execute(f"CREATE VIEW {_quoted(name)} AS {sql}")
    connection.execute(f"COMMENT ON VIEW {_quoted(name)} IS {literal(description)}")
    for column, about in columns.items():
        if about is not None:
            unit = f" [{about.unit}]" if about.unit else ""
            words = literal(f"{about.description}{unit}")
            connection.execute(f'COMMENT ON COLUMN {_quoted(name)}."{column}" IS {words}')


def _quoted(name: str) -> str:
    """``"genomics"."variants"``; what is about the catalog lies in ``main``."""
    schema, _, table = name.partition(".")
    return f'"{"main" if schema == "catalog" else schema}"."{table}"'


def _typed_null(name: str, kind: str) -> str:
    return f'CAST(NULL AS {kind}) AS "{name}"'
