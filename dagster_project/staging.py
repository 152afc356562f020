"""Staging: what a snapshot becomes before anybody sees it. Its rows are read, mapped, judged and written per table."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
from pydantic import ValidationError

from assets.ahead import ahead
from assets.harmonise import harmonise, wanted_columns
from assets.licence_words import licence_words
from assets.readers import reader
from catalog.dataset import Dataset
from catalog.errors import ContractError, HarmoniseError, SourceError
from catalog.parts import further_from_source
from catalog.records import Check, Found, GateReport, Snapshot, Stage, StagedTable, TableReport, Version
from catalog.rights.embargo import utc_day
from catalog.table import Table, load_table
from dagster_project.progress import Stopwatch
from dagster_project.streaming import Records, memory_kept, reader_of, shared
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

if TYPE_CHECKING:
    from dagster_project.curate import House

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


@dataclass
class Staging:
    """One run's work between its snapshot and its stage."""

    house: House
    dataset: Dataset
    snapshot: Snapshot
    run_id: str
    fingerprint: str
    current: Version | None
    clock: Stopwatch = field(default_factory=Stopwatch)
    found: list[Found] = field(default_factory=list)

    def run(self) -> tuple[Stage, GateReport]:
        """Stage every table that the dataset feeds; on an error nothing of this run stays."""
        self.found += licence_words(self.snapshot.files)
        if self.snapshot.size > LARGE:
            prepare_to_judge()
        tables = [_TableStaging(self, load_table(name)) for name in self.dataset.feeds]
        reports: list[TableReport] = []
        checks: list[Check] = []
        try:
            for _, together in groupby(tables, key=lambda table: self.dataset.options(table.table.name)):
                self._read([*together])
            for table in tables:
                report, found = self._judged(table)
                reports.append(report)
                checks.extend(found)
        except BaseException as error:
            for table in tables:
                table.discard()
            if not isinstance(error, SourceError | HarmoniseError) or self._terms().passed:
                raise
            # Bytes that cannot be read may still say on what terms they are: that comes first.
            tables, reports, checks = [], [], [UNREADABLE]
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
            tables=tuple(table.staged for table in tables if table.staged is not None),
            quarantine=tuple(file for table in tables for file in table.refused),
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

    def _read(self, tables: Sequence[_TableStaging], contested: frozenset[str] = frozenset()) -> None:
        """Read the snapshot once, for tables that want it read alike."""
        read, model = reader(self.dataset.source.format)
        options = _options(self.dataset, tables[0].table.name, model)
        wanted = [wanted_columns(self.dataset, table.table) for table in tables]
        with memory_kept(), self.clock.side_by_side():
            if len(tables) == 1:
                tables[0].stage(read(self.snapshot, options, wanted[0]), contested)
                return
            source = read(self.snapshot, options, frozenset().union(*wanted))
            # What one table does not want is not carried through its transform.
            names = [read(self.snapshot, options, columns).schema.names for columns in wanted]
            shared(source, names, [table.stage for table in tables])

    def _judged(self, table: _TableStaging) -> tuple[TableReport, list[Check]]:
        """What the table gates say of one table's staged files."""
        contract, gates = table.table, self.dataset.gates
        real, part = self.snapshot.origin == "source", self.snapshot.part
        expected = expectations(
            contract, gates, self._previous_rows(contract), real, None if self.snapshot.origin == "sample" else part
        )
        assert table.staged is not None
        with self._files(table.staged) as files:
            measured = profile(files, table.staged, expected)
            repeats = measured.get("duplicate_keys")
            contested = contested_keys(files, table.staged.files, contract) if repeats else frozenset()
        if contested:
            # Which rows share a key shows only when all are staged; a second pass keeps the first of each.
            table.discard()
            self._read([table], contested)
            with self._files(table.staged) as files:
                measured = profile(files, table.staged, expected)
        staged = table.staged
        assert table.report is not None
        with self._files(staged) as files:
            if staged.files and self.dataset.terms.row_licence is None:
                self.found += stated_licences(files, staged.files, contract)
            if not staged.files:
                checks: tuple[Check, ...] = (empty_table(contract.name, staged, table.report.dropped),)
            else:
                checks = judge(contract.name, measured, expected)
            if staged.files and real:
                checks = (*checks, *present(files, staged, contract, gates.present_in(part)))
        return table.report, [*row_checks(table.report, gates), *checks]

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


@dataclass
class _TableStaging:
    """One table's way from the reader's batches to staged files and quarantined records."""

    of: Staging
    table: Table
    staged: StagedTable | None = None
    report: TableReport | None = None
    refused: list[str] = field(default_factory=list)

    def stage(self, source: pa.RecordBatchReader, contested: frozenset[str] = frozenset()) -> None:
        """Map, judge and write all batches, each in a thread of its own, so that none waits for another."""
        dataset, part, clock = self.of.dataset, self.of.snapshot.part, self.of.clock
        gate = Gate(dataset.name, self.table, self._refuse, contested)
        records = Records(dataset.name)
        with clock.step("write"):
            counted = reader_of(source.schema, records.counted(clock.pulling("read", source)))
            with clock.step("harmonise"):
                canonical = harmonise(counted, dataset, self.table, part, key=self.of.snapshot.sha256)
            mapped = ahead(clock.pulling("harmonise", canonical))
            kept = gate.keep(reader_of(canonical.schema, clock.pulling(None, mapped)))
            gated = ahead(clock.pulling("gate", kept))
            with contextlib.closing(mapped), contextlib.closing(gated):
                waited = clock.pulling(None, gated)
                self.staged = self.of.house.warehouse.stage(waited, dataset.name, self.table, self.of.run_id, part)
        self.report = gate.report(records.read)

    def discard(self) -> None:
        """Remove what was written."""
        self.of.house.warehouse.discard([*(self.staged.files if self.staged else ()), *self.refused])
        self.staged, self.refused = None, []

    def _refuse(self, rows: pa.Table) -> None:
        house, index = self.of.house, len(self.refused)
        self.refused.append(house.warehouse.put_quarantine(rows, self.of.dataset.name, self.of.run_id, index))


def _options(dataset: Dataset, table: str, model: Any) -> Any:
    try:
        return model(**dataset.options(table))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors())
        raise ContractError(
            f"{dataset.name}: options of format {dataset.source.format!r}: {problems}",
            f"the options are: {', '.join(model.model_fields) or 'none'}",
        ) from None
