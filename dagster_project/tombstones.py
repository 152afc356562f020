"""Tombstones: what a withdrawn version keeps out, and the fetched bytes that go with it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from assets.snapshot import prune_files
from catalog.dataset import Dataset
from catalog.errors import GateError
from catalog.ledger import Ledger
from catalog.records import Snapshot


def contract_of(dataset: Dataset) -> str:
    """sha256 of a contract as a tombstone remembers it: all that the rows and who may have them depend on."""
    terms = dataset.terms.model_dump_json(include={"licence", "embargo", "resolution"})
    return hashlib.sha256(f"{dataset.identity()}\n{terms}".encode()).hexdigest()


def refuse_withdrawn(ledger: Ledger, dataset: Dataset, sha256: str) -> None:
    """Keep withdrawn bytes out, whatever the code makes of them, until they or the contract change.

    Raises:
        GateError: a version of these bytes was withdrawn under this contract, or under one that is not known any more.
    """
    for tombstone in reversed(ledger.withdrawals()):
        if sha256 not in tombstone.taken_back:
            continue
        if tombstone.dataset != dataset.name:
            raise GateError(
                f"{dataset.name}: {tombstone.words()}; this source has the same bytes",
                "bytes that were taken back do not come in under another name: leave them out of the source",
            )
        if tombstone.contract in ("", contract_of(dataset)):
            raise GateError(
                f"{dataset.name}: {tombstone.words()}; the source still has the same bytes",
                "wait for other bytes, or change the contract (its licence, a `drop` rule); then run again",
            )


def kept_files(ledger: Ledger, dataset: str) -> set[str]:
    """The sha256 of the fetched files that are still needed: of versions that stand, and of the latest fetch.

    The latest fetch (of each part) is not needed if a version of its bytes was withdrawn and none stands.
    """
    standing = _bytes_that_stand(ledger, dataset)
    withdrawn = {sha256 for each in ledger.withdrawals(dataset) for sha256 in each.taken_back} - standing
    snapshots = [ledger.snapshot_by_sha256(dataset, sha256) for sha256 in standing]
    snapshots += [latest for latest in ledger.latest_snapshots(dataset) if latest.sha256 not in withdrawn]
    return {file.sha256 for snapshot in snapshots if snapshot for file in snapshot.files}


def _bytes_that_stand(ledger: Ledger, dataset: str) -> set[str]:
    return {part.snapshot_sha256 for version in ledger.versions(dataset) for part in version.made_of}


def remove_raw(ledger: Ledger, raw: Path, snapshot: Snapshot) -> list[Path]:
    """Remove a snapshot's bytes from the raw store, but for files that a version that stands, or another dataset, has.

    Raises:
        StorageError: a file cannot be removed.
    """
    standing = _bytes_that_stand(ledger, snapshot.dataset)
    mine = (ledger.snapshot_by_sha256(snapshot.dataset, sha256) for sha256 in standing)
    keep = {file.sha256 for each in mine if each for file in each.files}
    for other in ledger.datasets():
        if other != snapshot.dataset:
            keep |= kept_files(ledger, other)
    return prune_files(raw, {file.sha256 for file in snapshot.files} - keep)
