"""Withdrawal: a version is taken back. The tombstone comes first, so that readers stop at once; then its bytes go."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from catalog.dataset import Dataset
from catalog.errors import BusyError, UnknownVersionError
from catalog.ledger import Ledger
from catalog.records import Release, Version, Withdrawal
from dagster_project.component import asset_key
from dagster_project.curate import House
from dagster_project.settings import Settings
from dagster_project.tombstones import contract_of, remove_raw


@dataclass(frozen=True)
class Withdrawn:
    """What came of a withdrawal. ``releases`` hold the version still: they are files in other hands.

    ``others`` are the tombstones of versions that had some of its parts.
    """

    tombstone: Withdrawal
    files_removed: int
    raw_removed: int
    runs_forgotten: int
    releases: tuple[Release, ...]
    others: tuple[Withdrawal, ...] = ()


def sharing(ledger: Ledger, version: Version) -> list[Version]:
    """The other versions that stand and have some of a version's parts: they go with it."""
    runs = {part.run_id for part in version.made_of}
    standing = (each for each in ledger.versions(version.dataset) if each.number != version.number)
    return [each for each in standing if any(part.run_id in runs for part in each.made_of)]


def withdraw(house: House, name: str, number: int, reason: str, by: str, contract: Dataset | None) -> Withdrawn:
    """Take a version back: no reader gets it from now on, and its bytes are removed from warehouse and raw store.

    May be repeated: a repeated call keeps the first tombstone and goes on with what was left. The number is never
    used again; if the version is the newest, the dataset has no current version until a new run commits one.

    Args:
        house: where the version is.
        name: of its dataset.
        number: of the version.
        reason: why, for everyone who asks for it later.
        by: who decided.
        contract: the dataset's contract; None if it is gone or broken, so that the same bytes stay out under any.

    Raises:
        UnknownVersionError: there never was such a version.
        BusyError: a run is at work on the dataset; the tombstone stands, the bytes wait for a repeated call.
        StorageError: a file cannot be removed; the tombstone stands.
    """
    ledger = house.ledger
    version = ledger.recorded(name, number)
    if version is None:
        raise UnknownVersionError(f"there is no version {name}@{number}", f"see `winnow versions {name}`")
    tombstone = ledger.withdrawal(name, number)
    if tombstone is None:
        tombstone = Withdrawal(
            dataset=name,
            number=number,
            by=by,
            at=house.clock(),
            reason=reason,
            snapshot_sha256=version.snapshot_sha256,
            contract=contract_of(contract) if contract else "",
            snapshots=tuple(part.snapshot_sha256 for part in version.parts),
        )
        ledger.record_withdrawal(tombstone)
    _withdraw_sharing(ledger, version, tombstone)
    try:
        with ledger.hold(name):
            # Again, as a version that was being committed may have kept some of its parts.
            _withdraw_sharing(ledger, version, tombstone)
            others = [each for each in ledger.withdrawals(name) if _shares(ledger, each, version)]
            gone = [version, *(each for other in others if (each := ledger.recorded(name, other.number)))]
            removed = [_remove(house, each) for each in gone]
    except BusyError as error:
        raise BusyError(
            f"{error.problem}: {version} is withdrawn and nobody reads it any more, but its bytes are still there",
            "when that run has ended, give the same command again to remove them",
        ) from None
    runs = sum(_forget_runs(house.settings, each) for each in gone)
    names = {str(each) for each in gone}
    releases = tuple(release for release in ledger.releases() if names & set(release.versions))
    files, raw = (sum(counts) for counts in zip(*removed, strict=True))
    return Withdrawn(tombstone, files, raw, runs, releases, tuple(others))


def _withdraw_sharing(ledger: Ledger, version: Version, because: Withdrawal) -> None:
    """Take back the versions that have parts of a withdrawn one; what they have beside these is not refused later."""
    runs = {part.run_id for part in version.made_of}
    for other in sharing(ledger, version):
        shared = [part for part in other.made_of if part.run_id in runs]
        told = {
            "number": other.number,
            "reason": f"{because.reason} (it has part {', '.join(part.name for part in shared)} of {version})",
            "snapshot_sha256": other.snapshot_sha256,
            "snapshots": tuple(part.snapshot_sha256 for part in shared),
        }
        ledger.record_withdrawal(because.model_copy(update=told))


def _shares(ledger: Ledger, tombstone: Withdrawal, version: Version) -> bool:
    """Whether a withdrawn version is another one, with some of the same parts."""
    other = ledger.recorded(tombstone.dataset, tombstone.number)
    if other is None or other.number == version.number:
        return False
    return not {part.run_id for part in other.made_of}.isdisjoint(part.run_id for part in version.made_of)


def _remove(house: House, version: Version) -> tuple[int, int]:
    """Remove a withdrawn version's files from the warehouse and from the raw store; how many they were."""
    ledger, name = house.ledger, version.dataset
    gone = ledger.runs_taken_back(name)
    kept = [stage for stage in ledger.stages(name) if stage.run_id not in gone]
    spare = [file for stage in kept for table in stage.tables for file in table.files]
    spare += [file for stage in kept for file in stage.quarantine]
    tombstones = (ledger.recorded(name, each.number) for each in ledger.withdrawals(name))
    withdrawn = [each for each in tombstones if each is not None]
    files = house.warehouse.withdraw(version, ledger.versions(name), withdrawn, spare)
    fetched = [ledger.snapshot_by_sha256(name, part.snapshot_sha256) for part in version.made_of]
    raw = [path for each in fetched if each for path in remove_raw(ledger, house.settings.raw, each)]
    with suppress(FileNotFoundError):
        shutil.rmtree(house.settings.private(name))  # errors that quote records
    return len(files), len(raw)


def _forget_runs(settings: Settings, version: Version) -> int:
    """Remove Dagster's records of the runs that showed rows of a version in their preview."""
    if not settings.dagster.is_dir():
        return 0
    import dagster as dg

    from dagster_project.run import dagster_instance

    key = asset_key("published", version.dataset)
    forgotten = set()
    with dagster_instance(settings) as instance:
        cursor = None
        while True:
            page = instance.fetch_materializations(key, limit=100, cursor=cursor)
            for record in page.records:
                shown = record.asset_materialization
                if shown and shown.metadata.get("version") == dg.MetadataValue.text(str(version)):
                    forgotten.add(record.run_id)
            cursor = page.cursor
            if not page.has_more:
                break
        keys = [asset_key(layer, version.dataset) for layer in ("raw", "staged", "published")]
        latest = {each: instance.get_latest_materialization_event(each) for each in keys}
        for run_id in forgotten:
            with suppress(dg.DagsterRunNotFoundError):
                instance.delete_run(run_id)
        # Dagster keeps a copy of the latest event with the asset: rows, the source's sha256, why records were refused.
        told = [each for each, event in latest.items() if event is not None and event.run_id in forgotten]
        if told:
            instance.wipe_assets(told)
    if forgotten:
        _overwrite(settings.dagster)
    return len(forgotten)


def _overwrite(folder: Path) -> None:
    """SQLite leaves deleted rows' bytes in its files until it writes them anew."""
    for path in folder.rglob("*.db"):
        with suppress(sqlite3.Error), closing(sqlite3.connect(path, timeout=10)) as database:
            database.execute("VACUUM")
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
