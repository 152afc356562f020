"""Removing what no version refers to, across the warehouse and the raw store."""

from __future__ import annotations

from contextlib import ExitStack

from assets.snapshot import prune
from catalog.dataset import dataset_names
from catalog.records import SourceFile
from dagster_project.curate import House


def vacuum(house: House) -> tuple[int, int]:
    """Clean up while no dataset is being run; every version and each dataset's latest quarantine are kept.

    Returns:
        How many files were removed, and their bytes.

    Raises:
        BusyError: a run is at work.
    """
    ledger = house.ledger
    versions = ledger.versions()
    names = sorted({*dataset_names(), *(version.dataset for version in versions)})
    with ExitStack() as held:
        for name in names:
            held.enter_context(ledger.hold(name))
        latest = [stage for name in names if (stage := ledger.stage(name)) is not None]
        quarantines = [path for stage in latest for path in stage.quarantine]
        gone, freed = house.warehouse.vacuum(versions, quarantines)
        keep = {file.sha256 for name in names for file in _raw_files(house, name)}
        before = _size(house)
        raw = prune(house.settings.raw, keep)
    return len(gone) + len(raw), freed + before - _size(house)


def _raw_files(house: House, dataset: str) -> list[SourceFile]:
    snapshots = [house.ledger.snapshot(dataset)]
    snapshots += [house.ledger.snapshot_by_sha256(dataset, v.snapshot_sha256) for v in house.ledger.versions(dataset)]
    return [file for snapshot in snapshots if snapshot for file in snapshot.files]


def _size(house: House) -> int:
    return sum(path.stat().st_size for path in house.settings.raw.rglob("*") if path.is_file())
