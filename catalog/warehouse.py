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
from catalog.iceberg import emptied, evolve, is_empty, referred
from catalog.parts import replaced_parts, version_table
from catalog.records import ALL, Stage, StagedTable, Version, VersionPart, VersionTable
from catalog.sql_types import literal
from catalog.store import is_local, open_store, storing
from catalog.table import Table

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
        self, batches: Iterable[pa.RecordBatch], dataset: str, table: Table, run_id: str, part: str = ALL
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
                repeats=written.repeats,
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

    def commit(
        self, stage: Stage, tables: Sequence[Table], current: Version | None = None, kept: Sequence[VersionPart] = ()
    ) -> tuple[VersionTable, ...]:
        """Make staged files the state of their Iceberg tables. Nothing shows until the ledger records the version.

        Args:
            stage: what was staged, of the whole dataset or of one part.
            tables: the contracts of its tables.
            current: the version in which other parts are.
            kept: the parts of ``current`` whose files stay as they are.

        Raises:
            StorageError: the disk or the object store did not take the metadata.
        """
        contracts = {table.name: table for table in tables}
        with self._at_iceberg(f"committing {stage.dataset}"):
            return tuple(
                self._commit_table(stage, staged, contracts[staged.table], current if kept else None, kept)
                for staged in stage.tables
            )

    def _commit_table(
        self, stage: Stage, staged: StagedTable, contract: Table, current: Version | None, kept: Sequence[VersionPart]
    ) -> VersionTable:
        missing = [file for file in staged.files if not self._filesystem.exists(file)]
        if missing:
            raise CatalogError(
                f"{stage.dataset}: staged file {missing[0]} is gone",
                f"run `winnow run {stage.dataset}` again to stage anew",
            )
        from pyiceberg.expressions import AlwaysFalse, AlwaysTrue, BooleanExpression, In

        table = self._open_or_create(stage.dataset, contract)
        base = next((part for part in current.tables if part.table == staged.table), None) if current else None
        replaced: BooleanExpression = AlwaysTrue()
        if current is not None and base is not None:
            names = replaced_parts(current, kept)
            replaced = In(term="_part", literals=names) if names else AlwaysFalse()
            # A run that was cut off before its version was recorded may have left rows that no version has.
            if table.current_snapshot().snapshot_id != base.iceberg_snapshot:
                table.manage_snapshots().set_current_snapshot(base.iceberg_snapshot).commit()
                table = table.refresh()
        with table.transaction() as transaction:
            if not is_empty(table) and replaced != AlwaysFalse():
                transaction.delete(replaced)
            transaction.add_files(
                list(staged.files),
                snapshot_properties={"winnow.run": stage.run_id, "winnow.fingerprint": stage.fingerprint},
                check_duplicate_files=False,  # no staged file lies where another one lay
            )
        snapshot = table.refresh().current_snapshot().snapshot_id
        return version_table(staged, kept, ".".join(table.name()), snapshot)

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
        evolve(table, contract.arrow_schema)
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
                    standing, shown = referred(".".join(identifier), versions, withdrawn)
                    if standing:
                        keep |= self._expire(identifier, standing, shown)
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
                    keep = self._expire(identifier, *referred(part.iceberg_table, versions, withdrawn), history=False)
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
        self, identifier: tuple[str, ...], standing: Sequence[int], shown: int | None, history: bool = True
    ) -> set[str]:
        """Expire all snapshots but these, make one current (an empty one, if None); the files that are still needed.

        Without ``history`` the table's former metadata files are not among them.
        """
        table = self.iceberg.load_table(identifier)
        if shown is None:
            shown = emptied(table)
        elif table.current_snapshot().snapshot_id != shown:
            table.manage_snapshots().set_current_snapshot(shown).commit()
        kept = {*standing, shown}
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
