"""The last step on the way of the data: a stage becomes the next version, beside the parts that it leaves alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from catalog.dataset import Dataset
from catalog.errors import GateError, VersionConflictError
from catalog.parts import kept_parts, moved, next_version
from catalog.records import Origin, Stage, Version, VersionPart
from catalog.rights.embargo import utc_day
from catalog.rights.policy import PERMITTED, decide, effective
from catalog.table import load_table
from dagster_project.progress import tell
from dagster_project.tombstones import refuse_withdrawn

if TYPE_CHECKING:
    from dagster_project.curate import House

PATIENCE = 600.0  # seconds that a commit waits for those of other parts, each of which takes a few
_COMMITS = "to commit"  # no part is called so


def commit(house: House, dataset: Dataset, staged: Stage) -> Version:
    """Publish a stage, if its gate report in the ledger passes, as the next version, which keeps the other parts.

    Raises:
        BusyError: all of the dataset is held, or another part's commit does not end.
        GateError: there is no passing report for it, or a version of its bytes was withdrawn.
        VersionConflictError: another version of what was staged was committed since.
    """
    ledger = house.ledger
    with ledger.hold(dataset.name, _COMMITS, PATIENCE if dataset.source.parts else 0.0):
        current = ledger.current(dataset.name)
        before = current.part(staged.part) if current else None
        if current is not None and before is not None and before.fingerprint == staged.fingerprint:
            return current
        refuse_withdrawn(ledger, dataset, staged.snapshot_sha256)
        refuse_sample_over_source(current, staged.origin)
        ledger.passed_report(staged)
        newest = ledger.recorded(dataset.name)
        number = newest.number if newest else 0
        _refuse_moved(house, staged, number)
        kept = kept_parts(current, staged, dataset.parts)
        tell(dataset.name, "commit", 0, None)
        tables = [load_table(table.table) for table in staged.tables]
        committed = house.warehouse.commit(staged, tables, current, kept)
        version = next_version(staged, number + 1, kept, committed, house.clock())
        if kept and ledger.current(dataset.name) != current:
            raise VersionConflictError(
                f"{current}, whose other parts this run keeps, was withdrawn meanwhile",
                f"run `winnow run {dataset.name}` again",
            )
        ledger.record_version(version)
        for name in PERMITTED:
            terms = effective(dataset.terms, None, None, version.found, version.row_rules)
            ledger.record_decision(dataset.name, "commit", decide(terms, name, utc_day(house.clock())), house.clock())
        return version


def _refuse_moved(house: House, staged: Stage, newest: int) -> None:
    recorded = house.ledger.recorded
    since = (recorded(staged.dataset, number) for number in range(staged.base_version + 1, newest + 1))
    if moved(since, recorded(staged.dataset, staged.base_version), staged.part):
        raise VersionConflictError(
            f"{staged.dataset}@{newest} was committed after this run had staged",
            f"run `winnow run {staged.dataset}` again",
        )


def refuse_sample_over_source(current: Version | None, origin: Origin) -> None:
    """Keep the bundled sample from standing in for, or beside, rows of the real source.

    Raises:
        GateError: the current version is of other bytes than a sample's.
    """
    if current is not None and origin == "sample" and current.origin != "sample":
        raise GateError(
            f"{current} was curated from the real source; the bundled sample would replace it",
            "run samples in another WINNOW_HOME",
        )


def unchanged(current: Version, part: VersionPart) -> Stage:
    """The stage of a run that found a part as the current version has it."""
    return Stage(
        dataset=current.dataset,
        part=part.name,
        run_id=part.run_id,
        fingerprint=part.fingerprint,
        base_version=current.number,
        origin=part.origin,
        snapshot_sha256=part.snapshot_sha256,
        tables=(),
        quarantine=(),
        unchanged=True,
        found=part.found,
        row_rules=part.row_rules,
    )
