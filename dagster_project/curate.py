"""The way of the data as plain functions: fetch, stage, commit. Dagster's assets and ``winnow check`` call these."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from pydantic import ValidationError

from assets.ahead import ahead
from assets.harmonise import harmonise, wanted_columns
from assets.licence_words import licence_words
from assets.readers import known_format, reader
from assets.snapshot import Address
from assets.snapshot import fetch as fetch_snapshot
from assets.source import is_text
from catalog.dataset import Dataset
from catalog.errors import ContractError, GateError, HarmoniseError, SourceError, VersionConflictError
from catalog.ledger import Ledger
from catalog.records import (
    Check,
    Found,
    GateReport,
    Origin,
    Snapshot,
    Stage,
    StagedTable,
    TableReport,
    Version,
    utc_now,
)
from catalog.rights.embargo import utc_day
from catalog.rights.policy import PERMITTED, decide, effective
from catalog.table import Table, load_table
from catalog.warehouse import Warehouse
from dagster_project.progress import Stopwatch, tell
from dagster_project.settings import Settings
from dagster_project.streaming import Records, memory_kept, reader_of
from dagster_project.tombstones import refuse_withdrawn, remove_raw
from validations.expectations import contested_keys, empty_table, expectations, judge, profile, row_checks
from validations.gate import Gate
from validations.terms import stated_licences, terms_check

UNREADABLE = Check(
    gate="structure",
    name="readable",
    table="",
    passed=False,
    observed="the source does not fit its format or its mapping either",
    expected="a source that can be read",
    remedy="settle the terms first; the next run says what is wrong with the bytes",
)
GATE_MEMORY = "192MB"  # beyond this DuckDB's profile of the staged files spills to disk

_CODE = Path(__file__).parent.parent


@dataclass(frozen=True)
class House:
    """What a run needs: where things are, the ledger, the warehouse, and a clock."""

    settings: Settings
    clock: Callable[[], datetime] = utc_now

    @cached_property
    def ledger(self) -> Ledger:
        """Opened on first use."""
        return Ledger(self.settings.catalog)

    @cached_property
    def warehouse(self) -> Warehouse:
        """Opened on first use."""
        return Warehouse(self.settings.warehouse, self.settings.catalog, self.settings.home / "tmp")


def address(dataset: Dataset, sample: bool = False, override: str | None = None) -> Address:
    """Where a run takes a dataset's bytes from.

    Raises:
        SourceError: its owner publishes none, and neither the sample nor another address was asked for.
    """
    if override is not None:
        return Address(override, "override", None, dataset.source.storage_options)
    if sample:
        return Address(str(dataset.sample_path), "sample")
    if dataset.source.uri is None:
        raise SourceError(
            f"{dataset.name} has no public location: {dataset.source.unpublished}",
            f"`winnow run {dataset.name} --sample`, or give the bytes with `--source URI`",
        )
    return Address(dataset.source.uri, "source", dataset.source.sha256, dataset.source.storage_options)


def fetch(house: House, dataset: Dataset, where: Address) -> Snapshot:
    """Fetch the source's bytes, or find them unchanged; the ledger notes a new snapshot.

    Raises:
        SourceError: the bytes cannot be had, or their address cannot be written down.
        GateError: a version of these bytes was withdrawn; they are not kept.
    """
    if not is_text(where.uri):
        raise SourceError(
            f"{dataset.name}: the address {where.uri!r} has characters that are not text",
            "rename the file or its folder",
        )
    if where.sha256 is not None:
        refuse_withdrawn(house.ledger, dataset, where.sha256)
    previous = house.ledger.snapshot(dataset.name, where.uri)

    def progress(done: int, total: int | None) -> None:
        tell(dataset.name, "fetch", done, total)

    snapshot = fetch_snapshot(dataset.name, where, house.settings.raw, previous, house.clock(), progress)
    try:
        refuse_withdrawn(house.ledger, dataset, snapshot.sha256)
    except GateError:
        remove_raw(house.ledger, house.settings.raw, snapshot)
        raise
    if snapshot != previous:
        house.ledger.record_snapshot(snapshot)
    return snapshot


def fingerprint(dataset: Dataset, snapshot: Snapshot) -> str:
    """sha256 of all that a version is a function of: bytes, contracts, the code that reads, maps and judges."""
    tables = [load_table(name) for name in sorted(dataset.feeds)]
    names = [file.name for file in snapshot.files]  # a record without an id is known by its file
    parts = [
        snapshot.sha256,
        *names,
        dataset.identity(),
        *(json.dumps(table.identity(), sort_keys=True) for table in tables),
    ]
    parts += [hashlib.sha256(path.read_bytes()).hexdigest() for path in _code_behind(dataset, tables)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _code_behind(dataset: Dataset, tables: list[Table]) -> list[Path]:
    paths = [
        *_CODE.glob("assets/*.py"),
        _CODE / f"assets/readers/{known_format(dataset.source.format)}.py",
        *(_CODE / f"catalog/{name}.py" for name in ("units", "standards", "table", "sql_types", "parquet")),
        *(
            _CODE / f"{package}/__init__.py"
            for package in ("assets/readers", "assets/transforms", "validations/science")
        ),
        *(_CODE / f"validations/{name}.py" for name in ("gate", "structure")),
    ]
    paths += [_CODE / f"validations/science/{table.domain}.py" for table in tables]
    paths += [_CODE / f"assets/transforms/{table.transform}.py" for table in tables if table.transform]
    return sorted(set(paths))


def stage(house: House, dataset: Dataset, snapshot: Snapshot, run_id: str) -> tuple[Stage, GateReport]:
    """Read, harmonise, gate and stage every table; nothing is visible yet. A refusal is in the report, not raised.

    Raises:
        BusyError: another run is at work on this dataset.
        GateError: a version of these bytes was withdrawn.
        WinnowError: the source cannot be read, or does not fit the contract.
    """
    with house.ledger.hold(dataset.name):
        current = house.ledger.current(dataset.name)
        print_ = fingerprint(dataset, snapshot)
        if current is not None and current.fingerprint == print_:
            report = house.ledger.report(dataset.name, current.run_id)
            if report is not None:
                return _unchanged(current), report
        refuse_withdrawn(house.ledger, dataset, snapshot.sha256)
        _refuse_sample_over_source(current, snapshot)
        staging = _Staging(house, dataset, snapshot, run_id, print_, current)
        done, report = staging.run()
        house.ledger.record_report(report)
        house.ledger.record_stage(done)
        if not report.passed:
            house.warehouse.discard([file for table in done.tables for file in table.files])
        return done, report


def commit(house: House, dataset: Dataset, staged: Stage) -> Version:
    """Publish a stage as the next version, if its gate report in the ledger passes.

    Raises:
        GateError: there is no passing report for it, or a version of its bytes was withdrawn.
        VersionConflictError: another version was committed since it was staged.
    """
    with house.ledger.hold(dataset.name):
        current = house.ledger.current(dataset.name)
        if current is not None and current.fingerprint == staged.fingerprint:
            return current
        refuse_withdrawn(house.ledger, dataset, staged.snapshot_sha256)
        house.ledger.passed_report(staged)
        newest = house.ledger.recorded(dataset.name)
        if (newest.number if newest else 0) != staged.base_version:
            raise VersionConflictError(
                f"{newest} was committed after this run had staged", f"run `winnow run {dataset.name}` again"
            )
        tell(dataset.name, "commit", 0, None)
        tables = house.warehouse.commit(staged, [load_table(table.table) for table in staged.tables])
        version = Version(
            dataset=dataset.name,
            number=staged.base_version + 1,
            fingerprint=staged.fingerprint,
            origin=staged.origin,
            snapshot_sha256=staged.snapshot_sha256,
            run_id=staged.run_id,
            tables=tables,
            committed_at=house.clock(),
            found=staged.found,
            row_rules=staged.row_rules,
        )
        house.ledger.record_version(version)
        for name in PERMITTED:
            decision = decide(effective(dataset.terms, None, None, version.found), name, utc_day(house.clock()))
            house.ledger.record_decision(dataset.name, "commit", decision, house.clock())
        return version


def _refuse_sample_over_source(current: Version | None, snapshot: Snapshot) -> None:
    if current is not None and snapshot.origin == "sample" and current.origin != "sample":
        raise GateError(
            f"{current} was curated from the real source; the bundled sample would replace it",
            "run samples in another WINNOW_HOME",
        )


def _unchanged(current: Version) -> Stage:
    return Stage(
        dataset=current.dataset,
        run_id=current.run_id,
        fingerprint=current.fingerprint,
        base_version=current.number,
        origin=current.origin,
        snapshot_sha256=current.snapshot_sha256,
        tables=(),
        quarantine=(),
        unchanged=True,
        found=current.found,
        row_rules=current.row_rules,
    )


@dataclass
class _Staging:
    """One run's work between its snapshot and its stage, table by table."""

    house: House
    dataset: Dataset
    snapshot: Snapshot
    run_id: str
    fingerprint: str
    current: Version | None
    quarantine: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    clock: Stopwatch = field(default_factory=Stopwatch)
    staged: list[StagedTable] = field(default_factory=list)

    def run(self) -> tuple[Stage, GateReport]:
        """Stage every table that the dataset feeds; on an error nothing of this run stays."""
        reports: list[TableReport] = []
        checks: list[Check] = []
        self.found += licence_words(self.snapshot.files)
        try:
            for name in self.dataset.feeds:
                report, found = self._table(load_table(name))
                reports.append(report)
                checks.extend(found)
        except BaseException as error:
            staged = [file for table in self.staged for file in table.files]
            self.house.warehouse.discard([*staged, *self.quarantine, *self.refused])
            if not isinstance(error, SourceError | HarmoniseError) or self._terms().passed:
                raise
            # Bytes that cannot be read may still say on what terms they are: that comes first.
            self.staged, self.quarantine, reports, checks = [], [], [], [UNREADABLE]
        checks.insert(0, self._terms())
        newest = self.house.ledger.recorded(self.dataset.name)
        stage = Stage(
            dataset=self.dataset.name,
            run_id=self.run_id,
            fingerprint=self.fingerprint,
            base_version=newest.number if newest else 0,  # a withdrawn version's number is not used again
            origin=self.snapshot.origin,
            snapshot_sha256=self.snapshot.sha256,
            tables=tuple(self.staged),
            quarantine=tuple(self.quarantine),
            seconds={step: round(seconds, 3) for step, seconds in self.clock.seconds.items()},
            found=tuple(self.found),
            row_rules=self.dataset.terms.row_rules(),
        )
        gates = GateReport(
            dataset=self.dataset.name,
            run_id=self.run_id,
            fingerprint=self.fingerprint,
            tables=tuple(reports),
            checks=tuple(checks),
            created_at=self.house.clock(),
        )
        return stage, gates

    def _terms(self) -> Check:
        return terms_check(self.dataset, utc_day(self.house.clock()), self.found)

    def _table(self, table: Table) -> tuple[TableReport, list[Check]]:
        expected = expectations(table, self.dataset.gates, self._previous_rows(table), self.snapshot.origin == "source")
        staged, report = self._pass(table, frozenset())
        self.staged.append(staged)
        with self._files(staged) as files:
            measured = profile(files, staged.files, expected)
            contested = contested_keys(files, staged.files, table) if measured.get("duplicate_keys") else frozenset()
        if contested:
            # Which rows share a key shows only when all are staged; a second pass keeps the first of each.
            self.house.warehouse.discard(staged.files)
            staged, report = self._pass(table, contested)
            self.staged[-1] = staged
            with self._files(staged) as files:
                measured = profile(files, staged.files, expected)
        self.quarantine += self.refused
        self.refused = []
        if staged.files and self.dataset.terms.row_licence is None:
            with self._files(staged) as files:
                self.found += stated_licences(files, staged.files, table)
        with self.clock.step("expectations"):
            checks = judge(table.name, measured, expected) if staged.files else [empty_table(table.name, staged)]
        return report, [*row_checks(report, self.dataset.gates), *checks]

    def _pass(self, table: Table, contested: frozenset[str]) -> tuple[StagedTable, TableReport]:
        """Read, harmonise, gate and stage once."""
        read, model = reader(self.dataset.source.format)
        options = _options(self.dataset, table.name, model)
        self.house.warehouse.discard(self.refused)
        self.refused = []
        gate = Gate(self.dataset.name, table, self._refuse, contested)
        records = Records(self.dataset.name)
        with memory_kept(), self.clock.side_by_side(), self.clock.step("write"):
            source = read(self.snapshot, options, wanted_columns(self.dataset, table))
            counted = reader_of(source.schema, records.counted(self.clock.pulling("read", source)))
            with self.clock.step("harmonise"):
                canonical = harmonise(counted, self.dataset, table, key=self.snapshot.sha256)
            kept = gate.keep(reader_of(canonical.schema, self.clock.pulling("harmonise", canonical)))
            # In a thread of its own, so that one batch is judged while the one before it is written.
            gated = ahead(self.clock.pulling("gate", kept))
            with contextlib.closing(gated):
                waited = self.clock.pulling(None, gated)
                staged = self.house.warehouse.stage(waited, self.dataset.name, table, self.run_id)
        return staged, gate.report(records.read)

    @contextlib.contextmanager
    def _files(self, staged: StagedTable) -> Iterator[duckdb.DuckDBPyConnection]:
        with (
            self.clock.step("expectations"),
            contextlib.closing(self.house.warehouse.connect(staged.files, memory=GATE_MEMORY)) as files,
        ):
            yield files

    def _previous_rows(self, table: Table) -> int | None:
        """Rows of the current version; none if that is a sample or an override, and this comes closer to the source."""
        order: list[Origin] = ["sample", "override", "source"]
        if self.current is None or order.index(self.current.origin) < order.index(self.snapshot.origin):
            return None
        return next((part.rows for part in self.current.tables if part.table == table.name), None)

    def _refuse(self, rows: pa.Table) -> None:
        index = len(self.quarantine) + len(self.refused)
        self.refused.append(self.house.warehouse.put_quarantine(rows, self.dataset.name, self.run_id, index))


def _options(dataset: Dataset, table: str, model: Any) -> Any:
    try:
        return model(**dataset.options(table))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors())
        raise ContractError(
            f"{dataset.name}: options of format {dataset.source.format!r}: {problems}",
            f"the options are: {', '.join(model.model_fields) or 'none'}",
        ) from None
