"""The way of the data as plain functions: fetch, stage, commit. Dagster's assets and ``winnow check`` call these."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
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
from catalog.dataset import PART, Dataset
from catalog.errors import ContractError, GateError, HarmoniseError, SourceError
from catalog.ledger import Ledger
from catalog.parts import further_from_source
from catalog.records import (
    ALL,
    Check,
    Found,
    GateReport,
    Snapshot,
    Stage,
    StagedTable,
    TableReport,
    Version,
    utc_now,
)
from catalog.rights.embargo import utc_day
from catalog.table import Table, load_table
from catalog.warehouse import Warehouse
from dagster_project.progress import Stopwatch, tell
from dagster_project.publish import commit as commit
from dagster_project.publish import refuse_sample_over_source, unchanged
from dagster_project.settings import Settings
from dagster_project.streaming import Records, memory_kept, reader_of
from dagster_project.tombstones import refuse_withdrawn, remove_raw
from validations.expectations import (
    contested_keys,
    empty_table,
    expectations,
    judge,
    prepare_to_judge,
    present,
    profile,
    row_checks,
)
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
LARGE = 64 << 20  # bytes of a source that take longer than it takes to load great-expectations
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


def address(dataset: Dataset, sample: bool = False, override: str | None = None, part: str | None = None) -> Address:
    """Where a run takes the bytes of a dataset from, or of one part of it (by default the one that has a sample).

    Raises:
        SourceError: its owner publishes none, and neither the sample nor another address was asked for; or the
            sample is of another part.
    """
    part = part or dataset.sample_part
    if override is not None:
        return Address(override.replace(PART, part), "override", None, dataset.source.storage_options)
    if sample:
        if part != dataset.sample_part:
            raise SourceError(
                f"{dataset.name}: the bundled sample is of part {dataset.sample_part}, not of {part}",
                f"run part {dataset.sample_part} with the sample, or {part} from its source",
            )
        return Address(str(dataset.sample_path), "sample")
    if dataset.source.uri is None:
        raise SourceError(
            f"{dataset.name} has no public location: {dataset.source.unpublished}",
            f"`winnow run {dataset.name} --sample`, or give the bytes with `--source URI`",
        )
    return Address(
        dataset.source.uri.replace(PART, part), "source", dataset.source.sha256, dataset.source.storage_options
    )


def fetch(house: House, dataset: Dataset, where: Address, part: str | None = None) -> Snapshot:
    """Fetch the bytes of a part (by default the one that has a sample), or find them unchanged.

    The ledger notes a new snapshot.

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
    snapshot = snapshot.model_copy(update={"part": part or dataset.sample_part})
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
        *([snapshot.part] if snapshot.part != ALL else []),
        dataset.identity(),
        *(json.dumps(table.identity(), sort_keys=True) for table in tables),
    ]
    parts += [hashlib.sha256(path.read_bytes()).hexdigest() for path in _code_behind(dataset, tables)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _code_behind(dataset: Dataset, tables: list[Table]) -> list[Path]:
    paths = [
        *_CODE.glob("assets/*.py"),
        *_with_siblings(_CODE / f"assets/readers/{known_format(dataset.source.format)}.py"),
        *(
            _CODE / f"catalog/{name}.py"
            for name in ("units", "standards", "assemblies", "table", "sql_types", "parquet", "row_order")
        ),
        *(
            _CODE / f"{package}/__init__.py"
            for package in ("assets/readers", "assets/transforms", "validations/science")
        ),
        *(_CODE / f"validations/{name}.py" for name in ("gate", "structure", "coded")),
    ]
    paths += [_CODE / f"validations/science/{table.domain}.py" for table in tables]
    for table in tables:
        if table.transform:
            paths += _with_siblings(_CODE / f"assets/transforms/{table.transform}.py")
    return sorted(set(paths))


def _with_siblings(module: Path) -> list[Path]:
    """A reader or transform, and the modules beside it that it builds on."""
    named = re.findall(rf"(?m)^from assets\.{module.parent.name}(?:\.(\w+))? import (.+)$", module.read_text("utf-8"))
    names = {name for package, imported in named for name in (package, *re.findall(r"\w+", imported))}
    return [module, *(path for path in module.parent.glob("*.py") if path.stem in names and path != module)]


def stage(house: House, dataset: Dataset, snapshot: Snapshot, run_id: str) -> tuple[Stage, GateReport]:
    """Read, harmonise, gate and stage every table; nothing is visible yet. A refusal is in the report, not raised.

    Raises:
        BusyError: another run is at work on this part of the dataset.
        GateError: a version of these bytes was withdrawn.
        WinnowError: the source cannot be read, or does not fit the contract.
    """
    with house.ledger.hold(dataset.name, snapshot.part):
        current = house.ledger.current(dataset.name)
        before = current.part(snapshot.part) if current else None
        print_ = fingerprint(dataset, snapshot)
        if current is not None and before is not None and before.fingerprint == print_:
            report = house.ledger.report(dataset.name, before.run_id, before.name)
            if report is not None:
                return unchanged(current, before), report
        refuse_withdrawn(house.ledger, dataset, snapshot.sha256)
        refuse_sample_over_source(current, snapshot.origin)
        staging = _Staging(house, dataset, snapshot, run_id, print_, current)
        done, report = staging.run()
        house.ledger.record_report(report)
        house.ledger.record_stage(done)
        if not report.passed:
            house.warehouse.discard([file for table in done.tables for file in table.files])
        return done, report


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
        if self.snapshot.size > LARGE:
            prepare_to_judge()
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
            part=self.snapshot.part,
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
            part=self.snapshot.part,
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
            measured = profile(files, staged, expected)
            contested = contested_keys(files, staged.files, table) if measured.get("duplicate_keys") else frozenset()
        if contested:
            # Which rows share a key shows only when all are staged; a second pass keeps the first of each.
            self.house.warehouse.discard(staged.files)
            staged, report = self._pass(table, contested)
            self.staged[-1] = staged
            with self._files(staged) as files:
                measured = profile(files, staged, expected)
        self.quarantine += self.refused
        self.refused = []
        if staged.files and self.dataset.terms.row_licence is None:
            with self._files(staged) as files:
                self.found += stated_licences(files, staged.files, table)
        with self.clock.step("expectations"):
            checks = judge(table.name, measured, expected) if staged.files else [empty_table(table.name, staged)]
        if staged.files and self.snapshot.origin == "source":
            with self._files(staged) as files:
                checks = [*checks, *present(files, staged, table, self.dataset.gates.present_in(self.snapshot.part))]
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
                canonical = harmonise(counted, self.dataset, table, self.snapshot.part, key=self.snapshot.sha256)
            # Each in a thread of its own, so that one batch is read while another is judged and a third written.
            mapped = ahead(self.clock.pulling("harmonise", canonical))
            kept = gate.keep(reader_of(canonical.schema, self.clock.pulling(None, mapped)))
            gated = ahead(self.clock.pulling("gate", kept))
            with contextlib.closing(mapped), contextlib.closing(gated):
                waited = self.clock.pulling(None, gated)
                staged = self.house.warehouse.stage(waited, self.dataset.name, table, self.run_id, self.snapshot.part)
        return staged, gate.report(records.read)

    @contextlib.contextmanager
    def _files(self, staged: StagedTable) -> Iterator[duckdb.DuckDBPyConnection]:
        with (
            self.clock.step("expectations"),
            contextlib.closing(self.house.warehouse.connect(staged.files, memory=GATE_MEMORY)) as files,
        ):
            yield files

    def _previous_rows(self, table: Table) -> int | None:
        """Rows of the same part of the current version; none if those are further from the source than these."""
        before = self.current.part(self.snapshot.part) if self.current else None
        if before is None or further_from_source(before.origin, self.snapshot.origin):
            return None
        return next((part.rows for part in before.tables if part.table == table.name), None)

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
