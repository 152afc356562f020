"""Releases of this house: cut, moved and verified with its contracts, its ledger and its clock."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from catalog import release, release_catalog
from catalog import verify as verification
from catalog.dataset import Dataset, sound_datasets
from catalog.derived import Derived
from catalog.errors import ReleaseError
from catalog.query import Door
from catalog.records import Profile
from catalog.release_folder import ReleaseFolder, refuse_private
from catalog.rights.embargo import utc_day
from catalog.store import storing
from dagster_project.curate import House


def cut(
    house: House,
    profile: Profile,
    out: str | None = None,
    base_url: str | None = None,
    at: Mapping[str, int] | None = None,
    force: bool = False,
    datasets: Iterable[Dataset] | None = None,
    derived: Iterable[Derived] | None = None,
) -> release.Cut:
    """Cut a release of what the profile permits today.

    Args:
        house: where versions and contracts are.
        profile: for whom.
        out: a folder or ``s3://`` address (default: ``releases/<profile>/<day>`` in the home).
        base_url: where readers will find it, if elsewhere.
        at: dataset to version, where not the current one.
        force: put it in the place of another release there.
        datasets: the contracts to go by (default: all sound ones).
        derived: the derived tables (default: all sound ones).

    Raises:
        ReleaseError: it cannot lie there.
        BusyError: another release for this profile is being cut.
    """
    now = house.clock()
    day = utc_day(now)
    address = _absolute(out or str(house.settings.home / "releases" / profile / str(day)))
    _refuse(house, address)
    contracts = sound_datasets()[0] if datasets is None else tuple(datasets)
    door = Door(house.warehouse, house.ledger, contracts, profile, day, at, derived)
    with house.ledger.hold(f"release/{profile}"), storing(f"cutting {address}", house.settings.home / "tmp"):
        folder = ReleaseFolder(address, profile, house.settings.home / "tmp", force)
        return release.cut(house.warehouse, door, day, folder, base_url or address, now)


def rebase(house: House, path: str, base_url: str | None = None) -> str:
    """Let a release's views point to where it lies now, or to ``base_url``; gives that address. Raises ReleaseError."""
    address = _absolute(path)
    target = base_url or address
    release_catalog.rebase(address, target, house.settings.home / "tmp")
    return target


def verify(house: House, path: str, datasets: Iterable[Dataset] | None = None) -> verification.Verification:
    """Check a release's bytes, and its rights by what this house knows today. Raises ReleaseError."""
    contracts = sound_datasets()[0] if datasets is None else tuple(datasets)
    known = verification.House({dataset.name: dataset for dataset in contracts}, house.ledger)
    with storing(f"reading {path}", house.settings.home / "tmp"):
        return verification.verify(_absolute(path), utc_day(house.clock()), known)


def _refuse(house: House, address: str) -> None:
    if address.startswith(("http:", "https:")):
        raise ReleaseError(
            f"a release cannot be written to {address}", "write it to a folder or s3://, and say `--base-url`"
        )
    home = house.settings.home
    inside = [home / "raw", home / "tmp", home / "dagster", home / "locks", home / "private", home / "warehouse"]
    refuse_private(address, [house.settings.warehouse, str(house.settings.raw), *map(str, inside)])


def _absolute(address: str) -> str:
    return address if "://" in address else os.path.realpath(Path(address).absolute())
