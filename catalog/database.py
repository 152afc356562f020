"""The one SQL database that the ledger and the Iceberg catalog share: SQLite on one machine, PostgreSQL for many."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from catalog.errors import CatalogError, how_to_install

LOCK_WAIT_SECONDS = 60
CREATION_LOCK = 0x57494E4E4F57  # "WINNOW"


def open_engine(url: str) -> sa.Engine:
    """An engine for WINNOW_CATALOG; nothing is connected yet.

    Raises:
        CatalogError: it is not a database URL, or there is no driver for it.
    """
    try:
        parsed = sa.engine.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        # What does not parse is not repeated: some of it may be a password.
        raise CatalogError(
            "WINNOW_CATALOG is not a database URL",
            "write sqlite:////PATH/catalog.db or postgresql://USER:PASSWORD@HOST/DATABASE, "
            "with @ : / # and % in the password as %40 %3A %2F %23 and %25",
        ) from None
    try:
        if parsed.get_backend_name() == "sqlite":
            return _open_sqlite(parsed)
        # No pool: a run opens many ledgers, and a server has few connections.
        return sa.create_engine(parsed, poolclass=sa.pool.NullPool)
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        raise CatalogError(
            f"{place(parsed)}: {error}",
            "the catalog is SQLite or PostgreSQL; for the latter " + how_to_install("postgresql"),
        ) from None
    except OSError as error:
        raise CatalogError(f"{place(parsed)}: {error}", "check WINNOW_HOME and its permissions") from None


def _open_sqlite(url: sa.engine.URL) -> sa.Engine:
    if url.database and url.database != ":memory:":
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url, connect_args={"timeout": LOCK_WAIT_SECONDS})

    @sa.event.listens_for(engine, "connect")
    def _use_wal(connection: sa.engine.interfaces.DBAPIConnection, _: object) -> None:
        # The switch to WAL, alone of all statements, does not wait while another process makes it.
        deadline = time.monotonic() + LOCK_WAIT_SECONDS
        cursor = connection.cursor()
        while True:
            try:
                cursor.execute("PRAGMA journal_mode=WAL")
                break
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        cursor.close()

    return engine


def create_tables(engine: sa.Engine, tables: sa.MetaData) -> None:
    """Create the tables that are missing, one process at a time."""
    with reaching(engine), engine.begin() as connection:
        if sa.inspect(connection).get_table_names() and _has_all(connection, tables):
            return
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(CREATION_LOCK)))
        tables.create_all(connection)


def _has_all(connection: sa.Connection, tables: sa.MetaData) -> bool:
    return tables.tables.keys() <= set(sa.inspect(connection).get_table_names())


@contextlib.contextmanager
def reaching(engine: sa.Engine) -> Iterator[None]:
    """Say in words, and without the password, when the database cannot be reached or does not do as asked.

    A broken constraint passes unchanged: it is the caller's to understand.
    """
    try:
        yield
    except sa.exc.IntegrityError:
        raise
    except sa.exc.SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        raise CatalogError(
            f"the catalog at {place(engine.url)} does not answer as it should: {str(cause).strip()}",
            _remedy(engine, str(cause)),
        ) from None


def place(url: sa.engine.URL) -> str:
    """Where a database is, without user, password or options."""
    if url.get_backend_name() == "sqlite":
        return url.database or ":memory:"
    port = f":{url.port}" if url.port else ""
    return f"{url.get_backend_name()}://{url.host or url.query.get('host', 'localhost')}{port}/{url.database or ''}"


def _remedy(engine: sa.Engine, words: str) -> str:
    if engine.dialect.name == "sqlite":
        return "check that WINNOW_HOME is a folder on a local disk with room, and yours to write"
    if "authentication failed" in words or "no password supplied" in words:
        return "check user and password in WINNOW_CATALOG, or give the password in PGPASSWORD or ~/.pgpass"
    if "permission denied" in words:
        return "grant this user CREATE on the database's schema, then run again"
    return "check WINNOW_CATALOG, and that the database server runs and can be reached from here; then run again"
