"""Removing what no version refers to, across the warehouse and the raw store."""

from __future__ import annotations

from contextlib import ExitStack

from assets.snapshot import prune
from catalog.dataset import dataset_names
from dagster_project.curate import House
from dagster_project.tombstones import kept_files


def vacuum(house: House) -> tuple[int, int]:
    """Clean up while no dataset is being run; every version that stands and each dataset's latest quarantine are kept.

    Returns:
        How many files were removed, and their bytes.

    Raises:
        BusyError: a run is at work.
    """
    ledger = house.ledger
    names = sorted({*dataset_names(), *ledger.datasets(), *(version.dataset for version in ledger.versions())})
    with ExitStack() as held:
        for name in names:
            held.enter_context(ledger.hold(name))
        quarantines = [path for name in names for stage in ledger.latest_stages(name) for path in stage.quarantine]
        tombstones = (ledger.recorded(each.dataset, each.number) for each in ledger.withdrawals())
        withdrawn = [version for version in tombstones if version is not None]
        gone, freed = house.warehouse.vacuum(ledger.versions(), quarantines, withdrawn)
        keep = set[str]().union(*(kept_files(ledger, name) for name in names))
        before = _size(house)
        raw = prune(house.settings.raw, keep)
    return len(gone) + len(raw), freed + before - _size(house)


def _size(house: House) -> int:
    return sum(path.stat().st_size for path in house.settings.raw.rglob("*") if path.is_file())
