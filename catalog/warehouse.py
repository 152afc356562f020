"""The warehouse: Parquet data files in Iceberg tables, one table per dataset and canonical table.

stage writes files that nothing refers to; commit makes them the new state of their tables in one Iceberg
transaction each; which snapshots form a version is the ledger's to say.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy.exc import IntegrityError

from catalog import parquet
from catalog.database import create_tables, open_engine, reaching
from catalog.errors import CatalogError, StorageError
from catalog.records import Stage, StagedTable, Version, VersionTable
from catalog.sql_types import literal
from catalog.store import is_local, open_store, storing
from catalog.table import Table

_EMPTY = "winnow.withdrawn"  # marks the empty snapshot that stands for a withdrawn one
_OWN = re.compile(r"(\w+/\w+__\w+/(data|metadata)|quarantine/\w+/\w+)/")


def table_name(dataset: str, table: str) -> tuple[str, str]:
    """Namespace and name of a dataset's Iceberg table: ``("genomics", "clinvar__clinical_significance")``."""
    domain, _, short = dataset.partition("/")
    table_domain, _, table_short = table.partition(".")
    return domain, f"{short}__{table_short}" if table_domain == domain else f"{short}__{table_domain}_{table_short}"


class Warehouse:
    """A root folder or bucket prefix for data, and the SQL database of the Iceberg catalog."""

    def __init__(self, root: str, catalog_url: str, scratch: Path) -> None:
        self.root = root.rstrip("/")
        self._catalog_url = catalog_url
        self._scratch = scratch
        self._filesystem = open_store(self.root)
        self._iceberg: Any = None

    # -- writing ------------------------------------------------------------------------------------

    def stage(
        self, batches: Iterable[pa.RecordBatch], dataset: str, table: Table, run_id: str, part: str = "all"
    ) -> StagedTable:
        """Write canonical rows as sorted Parquet files that no table refers to yet. Streams; sorts out of core.

        Raises:
            StorageError: the disk or the object store did not take the bytes; what was written is removed.
        """
        namespace, name = table_name(dataset, table.name)
        # Never the folder of an earlier staging, whatever its run was called.
        target = f"{self.root}/{namespace}/{name}/data/{run_id}-{secrets.token_hex(4)}"
        with self._writing(target), self.scratch() as scratch:
            written = parquet.write(batches, table, scratch)
            row_terms = parquet.row_terms(written.paths) if written.paths else ()
            parts = written.paths if written.is_sorted else parquet.sort(written.paths, table, scratch)
            files = [self._put(path, f"{target}/{part}-{index:05d}.parquet") for index, path in enumerate(parts)]
            return StagedTable(
                table=table.name,
                files=tuple(files),
                rows=written.rows,
                bytes=sum(self._filesystem.size(file) for file in files),
                row_terms=row_terms,
            )

    def put_quarantine(self, rows: pa.Table, dataset: str, run_id: str, index: int) -> str:
        """Keep refused records as one Parquet file, apart from the tables."""
        target = f"{self.root}/quarantine/{dataset}/{run_id}/{index:05d}-{secrets.token_hex(4)}.parquet"
        with self._writing(target), self.scratch() as scratch:
            local = scratch / "quarantine.parquet"
            pq.write_table(rows, local, compression="zstd")
            return self._put(local, target)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder on the local disk that is gone afterwards."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=self._scratch))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def _writing(self, target: str) -> Iterator[None]:
        """On any error, interrupts included, nothing stays below the target."""
        try:
            with storing(f"writing below {target}", self._scratch):
                yield
        except BaseException:
            self.discard([target])
            raise

    def _put(self, local: Path, target: str) -> str:
        if is_local(self._filesystem):
            path = Path(self._filesystem._strip_protocol(target))
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(local, path)
            return str(path)
        self._filesystem.put_file(str(local), target)
        local.unlink()
        return target

    def discard(self, targets: Sequence[str]) -> None:
        """Remove staged files or folders that were not committed; what cannot be removed now is left to vacuum."""
        for target in targets:
            with contextlib.suppress(FileNotFoundError, StorageError), storing(f"removing {target}", self._scratch):
                self._filesystem.rm(target, recursive=True)

    # -- committing ---------------------------------------------------------------------------------

    @property
    def iceberg(self) -> Any:
        """The pyiceberg catalog (opened on first use: importing it takes a second)."""
        if self._iceberg is None:
            from pyiceberg.catalog.sql import SqlCatalog, SqlCatalogBaseTable

            engine = open_engine(self._catalog_url)
            create_tables(engine, SqlCatalogBaseTable.metadata)
            # For s3:// the same client as ours, so that it finds the same keys and the same endpoint.
            client = {} if is_local(self._filesystem) else {"py-io-impl": "pyiceberg.io.fsspec.FsspecFileIO"}
            with reaching(engine):
                self._iceberg = SqlCatalog("winnow", uri=self._catalog_url, warehouse=self.root, **client)
            self._iceberg.engine.dispose()
            self._iceberg.engine = engine  # ours waits for locks and pools nothing
        return self._iceberg

    @contextlib.contextmanager
    def _at_iceberg(self, doing: str) -> Iterator[None]:
        with reaching(self.iceberg.engine), storing(doing, self._scratch):
            yield

    def commit(self, stage: Stage, tables: Sequence[Table]) -> tuple[VersionTable, ...]:
        """Make staged files the state of their Iceberg tables. Nothing shows until the ledger records the version.

        Raises:
            StorageError: the disk or the object store did not take the metadata.
        """
        contracts = {table.name: table for table in tables}
        with self._at_iceberg(f"committing {stage.dataset}"):
            return tuple(self._commit_table(stage, staged, contracts[staged.table]) for staged in stage.tables)

    def _commit_table(self, stage: Stage, staged: StagedTable, contract: Table) -> VersionTable:
        from pyiceberg.expressions import AlwaysTrue

        missing = [file for file in staged.files if not self._filesystem.exists(file)]
        if missing:
            raise CatalogError(
                f"{stage.dataset}: staged file {missing[0]} is gone",
                f"run `winnow run {stage.dataset}` again to stage anew",
            )
        table = self._open_or_create(stage.dataset, contract)
        with table.transaction() as transaction:
            if not _is_empty(table):
                transaction.delete(AlwaysTrue())
            transaction.add_files(
                list(staged.files),
                snapshot_properties={"winnow.run": stage.run_id, "winnow.fingerprint": stage.fingerprint},
                check_duplicate_files=False,  # the delete above already dropped every older file
            )
        return VersionTable(
            table=staged.table,
            iceberg_table=".".join(table.name()),
            iceberg_snapshot=table.refresh().current_snapshot().snapshot_id,
            rows=staged.rows,
            bytes=staged.bytes,
            row_terms=staged.row_terms,
        )

    def _open_or_create(self, dataset: str, contract: Table) -> Any:
        from pyiceberg.exceptions import NoSuchTableError
        from pyiceberg.partitioning import PartitionSpec

        identifier = table_name(dataset, contract.name)
        try:
            table = self.iceberg.load_table(identifier)
        except NoSuchTableError:
            with contextlib.suppress(IntegrityError):  # another dataset of the domain was quicker
                self.iceberg.create_namespace_if_not_exists(identifier[0])
            namespace, name = identifier
            table = self.iceberg.create_table(
                identifier,
                schema=contract.arrow_schema,
                location=f"{self.root}/{namespace}/{name}",
                partition_spec=PartitionSpec(),
                properties={"write.parquet.compression-codec": "zstd"},
            )
            with table.update_spec() as spec:
                spec.add_identity("_part")
            return table.refresh()
        _evolve(table, contract.arrow_schema)
        return table.refresh()

    # -- reading ------------------------------------------------------------------------------------

    def files(self, version: Version, table: str) -> list[str]:
        """The Parquet data files of one table of one version."""
        part = next((part for part in version.tables if part.table == table), None)
        if part is None:
            return []
        with self._at_iceberg(f"reading {version}"):
            scan = self.iceberg.load_table(part.iceberg_table).scan(snapshot_id=part.iceberg_snapshot)
            return sorted(task.file.file_path for task in scan.plan_files())

    def connect(
        self, files: Sequence[str] = (), memory: str | None = None, threads: int | None = None
    ) -> duckdb.DuckDBPyConnection:
        """A DuckDB connection that can read the warehouse's files and nothing else, with its settings locked.

        Beyond ``memory`` (DuckDB's own default: most of the machine's) it spills to the local disk.
        """
        connection = duckdb.connect()
        connection.execute("SET TimeZone='UTC'")
        connection.execute("SET enable_progress_bar=false")
        connection.execute(f"SET temp_directory={literal(self._scratch / 'spill')}")
        if memory is not None:
            connection.execute(f"SET memory_limit={literal(memory)}")
        if threads is not None:
            connection.execute(f"SET threads={threads}")
        if not is_local(self._filesystem):
            connection.register_filesystem(self._filesystem)
        paths = ", ".join(literal(file) for file in files)
        connection.execute(f"SET allowed_paths=[{paths}]")
        connection.execute("SET enable_external_access=false")
        connection.execute("SET lock_configuration=true")
        return connection

    # -- cleaning -----------------------------------------------------------------------------------

    def vacuum(
        self, versions: Sequence[Version], quarantines: Sequence[str], withdrawn: Sequence[Version] = ()
    ) -> tuple[list[str], int]:
        """Expire snapshots and remove files that no version (and no kept quarantine) refers to.

        The caller holds every dataset, so that nothing is being staged meanwhile. ``withdrawn`` versions keep
        nothing; where one is the newest, its table stays empty.

        Returns:
            The files removed, and their bytes.
        """
        keep = set(map(self._strip, quarantines))
        with self._at_iceberg("vacuum"):
            for namespace in self.iceberg.list_namespaces():
                for identifier in self.iceberg.list_tables(namespace):
                    referred, shown = _referred(".".join(identifier), versions, withdrawn)
                    if referred:
                        keep |= self._expire(identifier, referred, shown)
                    else:
                        self.iceberg.drop_table(identifier)
            return self._remove_all_but(keep, self.root)

    def withdraw(
        self, version: Version, versions: Sequence[Version], withdrawn: Sequence[Version], spare: Sequence[str]
    ) -> list[str]:
        """Remove every byte of a version's rows: data files, quarantine, and what of Iceberg's metadata tells of them.

        Where the version is its table's newest an empty snapshot takes its place. The caller holds the dataset.

        Args:
            version: whose tombstone the ledger has.
            versions: those of its dataset that stand; their bytes stay.
            withdrawn: those of its dataset that do not.
            spare: files, staged or in quarantine, of its dataset's runs that were not taken back.

        Returns:
            The files removed.

        Raises:
            StorageError: the disk or the object store did not remove them; the same call goes on from there.
        """
        from pyiceberg.exceptions import NoSuchTableError

        removed: list[str] = []
        spared = set(map(self._strip, spare))
        with self._at_iceberg(f"withdrawing {version}"):
            for part in version.tables:
                identifier = tuple(part.iceberg_table.split("."))
                keep: set[str] = set()
                with contextlib.suppress(NoSuchTableError):  # vacuum drops a table that no version is in
                    keep = self._expire(identifier, *_referred(part.iceberg_table, versions, withdrawn), history=False)
                removed += self._remove_all_but(keep | spared, f"{self.root}/{'/'.join(identifier)}")[0]
            removed += self._remove_all_but(spared, f"{self.root}/quarantine/{version.dataset}")[0]
        return removed

    def _remove_all_but(self, keep: set[str], below: str) -> tuple[list[str], int]:
        """Remove our files below a folder that are not in ``keep``; tell which, and their bytes."""
        held = self._filesystem.find(below, detail=True)
        removed = [path for path in held if self._is_ours(path) and self._strip(path) not in keep]
        if removed:
            self._filesystem.rm(removed)
        return removed, sum(held[path]["size"] for path in removed)

    def _is_ours(self, path: str) -> bool:
        """Whether a file lies where the warehouse writes; others may keep theirs beside."""
        return _OWN.match(self._strip(path).removeprefix(f"{self._strip(self.root)}/")) is not None

    def _strip(self, path: str) -> str:
        return str(self._filesystem._strip_protocol(path))

    def _expire(
        self, identifier: tuple[str, ...], referred: Sequence[int], shown: int | None, history: bool = True
    ) -> set[str]:
        """Expire all snapshots but these, make one current (an empty one, if None); the files that are still needed.

        Without ``history`` the table's former metadata files are not among them.
        """
        table = self.iceberg.load_table(identifier)
        if shown is None:
            shown = _emptied(table)
        elif table.current_snapshot().snapshot_id != shown:
            table.manage_snapshots().set_current_snapshot(shown).commit()
        kept = {*referred, shown}
        unreferred = [each.snapshot_id for each in table.refresh().snapshots() if each.snapshot_id not in kept]
        if unreferred:
            table.maintenance.expire_snapshots().by_ids(unreferred).commit()
        table = table.refresh()
        keep = {table.metadata_location}
        if history:
            keep.update(entry.metadata_file for entry in table.metadata.metadata_log)
        for snapshot in table.snapshots():
            keep.add(snapshot.manifest_list)
            for manifest in snapshot.manifests(table.io):
                keep.add(manifest.manifest_path)
                keep.update(entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io))
        return set(map(self._strip, keep))


def _referred(
    iceberg_table: str, versions: Sequence[Version], withdrawn: Sequence[Version]
) -> tuple[list[int], int | None]:
    """The snapshots of a table that versions refer to, and the one to show: None if its newest version is withdrawn."""

    def snapshots(of: Sequence[Version]) -> list[tuple[int, int]]:
        parts = ((version.number, part) for version in of for part in version.tables)
        return sorted((number, part.iceberg_snapshot) for number, part in parts if part.iceberg_table == iceberg_table)

    standing, gone = snapshots(versions), snapshots(withdrawn)
    newest = standing[-1] if standing and (not gone or standing[-1][0] > gone[-1][0]) else None
    return [snapshot for _, snapshot in standing], newest and newest[1]


def _is_empty(table: Any) -> bool:
    """Whether nothing was ever committed to a table, or what was committed last was withdrawn."""
    current = table.current_snapshot()
    return current is None or (current.summary is not None and _EMPTY in current.summary.additional_properties)


def _emptied(table: Any) -> int:
    """Make an empty snapshot the current one, and give its id."""
    from pyiceberg.expressions import AlwaysTrue

    if not _is_empty(table):
        with table.transaction() as transaction:
            transaction.delete(AlwaysTrue())
            # A second snapshot: the first one's manifest tells of the files that it deletes, bounds included.
            transaction.append(table.schema().as_arrow().empty_table(), snapshot_properties={_EMPTY: "true"})
    return int(table.refresh().current_snapshot().snapshot_id)


def _evolve(table: Any, schema: pa.Schema) -> None:
    """Let an existing Iceberg table follow its contract: new columns are added, those given up are dropped."""
    from pyiceberg.exceptions import ValidationError

    present = [field.name for field in table.schema().fields]
    surplus = [name for name in present if name not in schema.names]
    try:
        # Tried first, and not committed: the change proper must allow a column to become required, and so any type.
        same = [field.with_nullable(True) for field in schema if field.name in present]
        table.update_schema().union_by_name(pa.schema(same))
        with table.update_schema(allow_incompatible_changes=True) as update:
            update.union_by_name(schema)
            for name in surplus:
                update.delete_column(name)
    except (ValueError, TypeError, ValidationError) as error:
        raise CatalogError(
            f"table {'.'.join(table.name())} cannot follow its contract: {error}",
            "a column may be added, dropped or widened; for another type give it another name",
        ) from error
