"""The append-only record of snapshots, stages, gate reports, versions, decisions, releases and withdrawals.

No update, no delete: a version that is taken back stays recorded under its tombstone, and is given to no reader.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa

from catalog.database import create_tables, open_engine, reaching
from catalog.errors import BusyError, GateError, UnknownVersionError, VersionConflictError
from catalog.records import ALL, Decision, GateReport, Record, Release, Snapshot, Stage, Version, Withdrawal

R = TypeVar("R", bound=Record)
OfPart = TypeVar("OfPart", Snapshot, Stage)
_PAUSE = 0.05  # seconds between two tries for a lock

_METADATA = sa.MetaData()


def _journal(name: str, *columns: sa.schema.SchemaItem) -> sa.Table:
    """One kind of record: what is looked up by has a column, the whole record is JSON beside it."""
    return sa.Table(
        name,
        _METADATA,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("dataset", sa.String, nullable=False, index=True),
        *columns,
        sa.Column("body", sa.Text, nullable=False),
    )


SNAPSHOTS = _journal(
    "snapshots", sa.Column("uri", sa.String, nullable=False), sa.Column("sha256", sa.String, nullable=False)
)
STAGES = _journal("stages", sa.Column("run_id", sa.String, nullable=False))
REPORTS = _journal(
    "gate_reports", sa.Column("run_id", sa.String, nullable=False), sa.Column("passed", sa.Boolean, nullable=False)
)
VERSIONS = _journal(
    "versions",
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("fingerprint", sa.String, nullable=False),
    sa.UniqueConstraint("dataset", "number"),
)
HANDOVERS = _journal("handovers", sa.Column("run_id", sa.String, nullable=False))
DECISIONS = _journal(
    "decisions",
    sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("door", sa.String, nullable=False),
    sa.Column("profile", sa.String, nullable=False),
    sa.Column("allowed", sa.Boolean, nullable=False),
)
RELEASES = _journal("releases", sa.Column("profile", sa.String, nullable=False))
WITHDRAWALS = _journal("withdrawals", sa.Column("number", sa.Integer, nullable=False))


class Ledger:
    """The ledger in one database: ``sqlite:///...`` for one machine, ``postgresql://...`` for many.

    Every method raises CatalogError if the database does not answer.
    """

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)
        create_tables(self._engine, _METADATA)

    def record_snapshot(self, snapshot: Snapshot) -> None:
        """Note the bytes that were fetched."""
        self._append(SNAPSHOTS, snapshot, dataset=snapshot.dataset, uri=snapshot.uri, sha256=snapshot.sha256)

    def snapshot(self, dataset: str, uri: str | None = None) -> Snapshot | None:
        """The latest snapshot of a dataset (from one address, if given)."""
        where = [SNAPSHOTS.c.dataset == dataset] + ([SNAPSHOTS.c.uri == uri] if uri else [])
        return self._latest(SNAPSHOTS, Snapshot, *where)

    def snapshot_by_sha256(self, dataset: str, sha256: str) -> Snapshot | None:
        """The latest snapshot of a dataset with these bytes."""
        return self._latest(SNAPSHOTS, Snapshot, SNAPSHOTS.c.dataset == dataset, SNAPSHOTS.c.sha256 == sha256)

    def latest_snapshots(self, dataset: str) -> list[Snapshot]:
        """The latest snapshot of each part of a dataset."""
        return _latest_of_parts(self._all(SNAPSHOTS, Snapshot, SNAPSHOTS.c.dataset == dataset))

    def datasets(self) -> list[str]:
        """The names of all datasets that were ever fetched, sorted."""
        with reaching(self._engine), self._engine.connect() as connection:
            return sorted(connection.scalars(sa.select(SNAPSHOTS.c.dataset).distinct()))

    def record_stage(self, stage: Stage) -> None:
        """Note what a run staged."""
        self._append(STAGES, stage, dataset=stage.dataset, run_id=stage.run_id)

    def stage(self, dataset: str, run_id: str | None = None) -> Stage | None:
        """What a run staged (the latest run, if none is given); None if that was taken back since."""
        where = [STAGES.c.dataset == dataset] + ([STAGES.c.run_id == run_id] if run_id else [])
        found = self._latest(STAGES, Stage, *where)
        return None if found is None or found.run_id in self.runs_taken_back(dataset) else found

    def latest_stages(self, dataset: str) -> list[Stage]:
        """What the latest run of each part of a dataset staged, but what was taken back since."""
        gone = self.runs_taken_back(dataset)
        return [stage for stage in _latest_of_parts(self.stages(dataset)) if stage.run_id not in gone]

    def stages(self, dataset: str) -> list[Stage]:
        """All stages of a dataset, oldest first."""
        return self._all(STAGES, Stage, STAGES.c.dataset == dataset)

    def record_report(self, report: GateReport) -> None:
        """Note what the gates said."""
        self._append(REPORTS, report, dataset=report.dataset, run_id=report.run_id, passed=report.passed)

    def report(self, dataset: str, run_id: str | None = None, part: str | None = None) -> GateReport | None:
        """The gate report of a run (the latest run, if none is given), on one part of the dataset (on any)."""
        where = [REPORTS.c.dataset == dataset] + ([REPORTS.c.run_id == run_id] if run_id else [])
        if part is None:
            return self._latest(REPORTS, GateReport, *where)
        found = [report for report in self._all(REPORTS, GateReport, *where) if report.part == part]
        return found[-1] if found else None

    def passed_report(self, stage: Stage) -> GateReport:
        """The report that lets a stage be committed.

        Raises:
            GateError: there is none for this run, it is about other inputs, or it did not pass.
        """
        report = self.report(stage.dataset, stage.run_id, stage.part)
        if report is None or report.fingerprint != stage.fingerprint:
            raise GateError(
                f"{stage.dataset}: run {stage.run_id} has no gate report for what it staged",
                "run the staged asset again; a version is committed only with a passing report",
            )
        if not report.passed:
            names = ", ".join(f"{check.gate}.{check.name}" for check in report.refusals()) or "no check ran"
            raise GateError(
                f"{stage.dataset}: the gates refused run {stage.run_id}: {names}",
                f"see `winnow quarantine {stage.dataset}`; mend the source or the contract and run again",
                report,
            )
        return report

    def record_version(self, version: Version) -> None:
        """Publish: from here on readers see this version.

        Raises:
            VersionConflictError: another run took this number.
        """
        keys = {"dataset": version.dataset, "number": version.number, "fingerprint": version.fingerprint}
        try:
            self._append(VERSIONS, version, **keys)
        except sa.exc.IntegrityError:
            raise VersionConflictError(
                f"{version} was committed by another run in the meantime", f"run `winnow run {version.dataset}` again"
            ) from None

    def version(self, dataset: str, number: int | None = None) -> Version:
        """One version of a dataset, the current one if no number is given.

        Raises:
            UnknownVersionError: there is none, or it was withdrawn.
        """
        found = self.recorded(dataset, number)
        if found is None:
            wanted = dataset if number is None else f"{dataset}@{number}"
            raise UnknownVersionError(f"there is no version {wanted}", f"see `winnow versions {dataset}`")
        tombstone = self.withdrawal(dataset, found.number)
        if tombstone is not None:
            raise UnknownVersionError(
                tombstone.words(), f"`winnow versions {dataset}` lists the versions that stand; read one with --at"
            )
        return found

    def recorded(self, dataset: str, number: int | None = None) -> Version | None:
        """What was recorded of a version (the newest, if no number is given), withdrawn or not: not for readers."""
        where = [VERSIONS.c.dataset == dataset] + ([] if number is None else [VERSIONS.c.number == number])
        return self._latest(VERSIONS, Version, *where, order=VERSIONS.c.number)

    def current(self, dataset: str) -> Version | None:
        """The current version; None if there is none, or if the newest was withdrawn: no older one takes its place."""
        newest = self.recorded(dataset)
        return None if newest is None or self.withdrawal(dataset, newest.number) else newest

    def versions(self, dataset: str | None = None) -> list[Version]:
        """All versions (of one dataset) that stand, oldest first."""
        where = [] if dataset is None else [VERSIONS.c.dataset == dataset]
        withdrawn = {(each.dataset, each.number) for each in self.withdrawals(dataset)}
        found = self._all(VERSIONS, Version, *where, order=VERSIONS.c.number)
        return [version for version in found if (version.dataset, version.number) not in withdrawn]

    def reports(self, dataset: str | None = None) -> list[GateReport]:
        """All gate reports (of one dataset), oldest first, but those about records that were taken back since."""
        found = self._all(REPORTS, GateReport, *([] if dataset is None else [REPORTS.c.dataset == dataset]))
        gone = {name: self.runs_taken_back(name) for name in {each.dataset for each in self.withdrawals(dataset)}}
        return [report for report in found if report.run_id not in gone.get(report.dataset, ())]

    def hand_over(self, asset: str, run_id: str, record: Record) -> None:
        """Note what one asset's run gives to the assets after it."""
        self._append(HANDOVERS, record, dataset=asset, run_id=run_id)

    def handed_over(self, asset: str, run_id: str, kind: type[R]) -> R | None:
        """What an asset gave in this run, or, if it did not run in it, what it gave last."""
        mine = self._latest(HANDOVERS, kind, HANDOVERS.c.dataset == asset, HANDOVERS.c.run_id == run_id)
        return mine or self._latest(HANDOVERS, kind, HANDOVERS.c.dataset == asset)

    def record_decision(self, dataset: str, door: str, decision: Decision, now: datetime) -> None:
        """Note what the policy said at a door (``query``, ``commit``, ...)."""
        keys = {"made_at": now, "door": door, "profile": decision.profile, "allowed": decision.allowed}
        self._append(DECISIONS, decision, dataset=dataset, **keys)

    def decisions(self, dataset: str) -> list[Decision]:
        """All recorded decisions about a dataset, oldest first."""
        return self._all(DECISIONS, Decision, DECISIONS.c.dataset == dataset)

    def record_release(self, release: Release) -> None:
        """Note a release that was cut."""
        self._append(RELEASES, release, dataset="", profile=release.profile)

    def releases(self, profile: str | None = None) -> list[Release]:
        """All releases (for one profile), oldest first."""
        return self._all(RELEASES, Release, *([] if profile is None else [RELEASES.c.profile == profile]))

    def record_withdrawal(self, withdrawal: Withdrawal) -> None:
        """Note that a version was taken back; from here on nobody reads it."""
        self._append(WITHDRAWALS, withdrawal, dataset=withdrawal.dataset, number=withdrawal.number)

    def withdrawal(self, dataset: str, number: int) -> Withdrawal | None:
        """The tombstone of a version, or None if it stands."""
        return self._latest(WITHDRAWALS, Withdrawal, WITHDRAWALS.c.dataset == dataset, WITHDRAWALS.c.number == number)

    def runs_taken_back(self, dataset: str) -> frozenset[str]:
        """The runs whose records were taken back: those of withdrawn versions, and others on the same bytes until then.

        Another run on the same bytes stands if a version that stands came of it or of these bytes.
        """
        tombstones = self.withdrawals(dataset)
        if not tombstones:
            return frozenset()
        standing = self.versions(dataset)
        parts_kept = [part for version in standing for part in version.made_of]
        bytes_kept = {part.snapshot_sha256 for part in parts_kept}
        until = {sha256: each.at for each in tombstones for sha256 in each.taken_back - bytes_kept}
        judged = {
            report.run_id: report.created_at for report in self._all(REPORTS, GateReport, REPORTS.c.dataset == dataset)
        }
        versions = (self.recorded(dataset, each.number) for each in tombstones)
        runs = {part.run_id for version in versions if version is not None for part in version.made_of}
        for stage in self.stages(dataset):
            end = until.get(stage.snapshot_sha256)
            if end is not None and judged.get(stage.run_id, end) <= end:
                runs.add(stage.run_id)
        return frozenset(runs - {part.run_id for part in parts_kept})

    def withdrawals(self, dataset: str | None = None) -> list[Withdrawal]:
        """All tombstones (of one dataset), oldest first."""
        return self._all(WITHDRAWALS, Withdrawal, *([] if dataset is None else [WITHDRAWALS.c.dataset == dataset]))

    @contextlib.contextmanager
    def hold(self, dataset: str, part: str | None = None, patience: float = 0.0) -> Iterator[None]:
        """Let one run at a time work on a dataset, or on a part of it beside runs on other parts.

        The lock ends with its process, however that ends.

        Args:
            dataset: its name.
            part: what to hold of it (default: all, so that no part is held by anybody else).
            patience: for how many seconds to wait for another run.

        Raises:
            BusyError: another run holds it.
        """
        with contextlib.ExitStack() as held:
            held.enter_context(self._waiting(dataset, part is not None, patience))
            if part is not None:
                held.enter_context(
                    self._waiting(dataset if part == ALL else f"{dataset} {part}", False, patience, ".part")
                )
            yield

    @contextlib.contextmanager
    def _waiting(self, name: str, shared: bool, patience: float, kind: str = "") -> Iterator[None]:
        lock = self._hold_postgresql if self._engine.dialect.name == "postgresql" else self._hold_file
        end = time.monotonic() + patience
        with contextlib.ExitStack() as held:
            while True:
                try:
                    held.enter_context(lock(name, shared, kind))
                    break
                except BusyError:
                    if time.monotonic() >= end:
                        raise
                    time.sleep(_PAUSE)
            yield

    @contextlib.contextmanager
    def _hold_file(self, name: str, shared: bool, kind: str) -> Iterator[None]:
        database = Path(self._engine.url.database or "ledger")
        folder = database.parent / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{name.replace('/', '.')}{kind}.lock").open("a+") as file:
            try:
                fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise _busy(name, f"process {file.read().strip() or 'unknown'}") from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    @contextlib.contextmanager
    def _hold_postgresql(self, name: str, shared: bool, kind: str) -> Iterator[None]:
        key = int.from_bytes(hashlib.sha256(f"{name}{kind}".encode()).digest()[:8], "big", signed=True)
        take = sa.func.pg_try_advisory_lock_shared if shared else sa.func.pg_try_advisory_lock
        give_back = sa.func.pg_advisory_unlock_shared if shared else sa.func.pg_advisory_unlock
        with contextlib.ExitStack() as session:
            with reaching(self._engine):
                # The lock is the session's: it ends with this connection, whichever way that ends.
                connection = session.enter_context(
                    self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
                )
                held = connection.scalar(sa.select(take(key)))
            if not held:
                raise _busy(name, "another process")
            try:
                yield
            finally:
                with contextlib.suppress(sa.exc.SQLAlchemyError):
                    connection.execute(sa.select(give_back(key)))

    def _append(self, table: sa.Table, record: Record, **keys: object) -> None:
        with reaching(self._engine), self._engine.begin() as connection:
            connection.execute(table.insert().values(body=record.model_dump_json(), **keys))

    def _latest(
        self, table: sa.Table, kind: type[R], *where: sa.ColumnElement[bool], order: sa.Column[int] | None = None
    ) -> R | None:
        by = table.c.id if order is None else order
        with reaching(self._engine), self._engine.connect() as connection:
            body = connection.scalar(sa.select(table.c.body).where(*where).order_by(by.desc()).limit(1))
        return None if body is None else kind.model_validate_json(body)

    def _all(
        self, table: sa.Table, kind: type[R], *where: sa.ColumnElement[bool], order: sa.Column[int] | None = None
    ) -> list[R]:
        by = table.c.id if order is None else order
        with reaching(self._engine), self._engine.connect() as connection:
            bodies: Sequence[str] = connection.scalars(sa.select(table.c.body).where(*where).order_by(by)).all()
        return [kind.model_validate_json(body) for body in bodies]


def _latest_of_parts(records: Sequence[OfPart]) -> list[OfPart]:
    """The latest record of each part; where a dataset came to have parts, or lost them, of those that it has now."""
    latest = {record.part: record for record in records}
    whole = bool(records) and records[-1].part == ALL
    return [record for record in latest.values() if (record.part == ALL) == whole]


def _busy(dataset: str, who: str) -> BusyError:
    return BusyError(f"{dataset} is being run by {who}", "wait until that run has ended, then run again")
