"""Verify: whether a release is whole and unchanged, and whether all that it holds would be permitted today."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pyarrow as pa

from catalog.dataset import Dataset
from catalog.errors import ReleaseError
from catalog.ledger import Ledger
from catalog.manifest import (
    MANIFEST,
    SUMS,
    Manifest,
    ReleasedDataset,
    ReleasedPart,
    ReleasedTable,
    ReleasedTerms,
    parse_manifest,
    parse_sums,
)
from catalog.records import Found
from catalog.release_folder import open_address, read_small
from catalog.released_rows import opened, said_in
from catalog.rights.policy import Terms, decide, effective
from catalog.sql_types import sql_type

THREADS = 2  # files in work at a time


@dataclass(frozen=True)
class Refused:
    """Rows of a release that it could not hold if it were cut today."""

    source: str
    table: str
    rows: int
    reason: str


@dataclass(frozen=True)
class Verification:
    """What was found. ``problems`` are about bytes, ``refused`` about rights, ``notes`` about what was not checked."""

    manifest: Manifest
    files: int
    problems: tuple[str, ...] = ()
    refused: tuple[Refused, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """True only if nothing at all is wrong."""
        return not self.problems and not self.refused


@dataclass
class House:
    """What the house that verifies knows itself: its contracts and its ledger. A stranger knows nothing."""

    datasets: Mapping[str, Dataset] = field(default_factory=dict)
    ledger: Ledger | None = None


def verify(address: str, today: date, house: House | None = None) -> Verification:
    """Check a release's sums both ways, its manifest against its files, and its rights as of today.

    Args:
        address: a folder or a URL.
        today: the day (in UTC) to decide by.
        house: whose contracts, tombstones and findings count beside what the manifest says.

    Raises:
        ReleaseError: there is no release, or its manifest or its list of sums cannot be read.
    """
    filesystem, root = open_address(address)
    sums = parse_sums(_small(filesystem, root, SUMS, address), address)
    manifest = parse_manifest(_small(filesystem, root, MANIFEST, address), address)
    present, notes = _present(filesystem, root)
    problems = list(_listing_problems(sums, manifest, present))
    there = sorted(path for path in sums if present is None or path in present)
    with ThreadPoolExecutor(THREADS) as pool:
        digests = dict(zip(there, pool.map(lambda path: _sha256(filesystem, f"{root}/{path}"), there), strict=True))
    for path, digest in digests.items():
        if digest is None:
            problems.append(f"{path} is missing")
        elif digest != sums[path]:
            problems.append(f"{path} is not the file that was released: its sha256 differs")
    sound = {path for path, digest in digests.items() if digest == sums[path]}
    problems += _content_problems(filesystem, root, manifest, sums, sound)
    refused = tuple(_refused(manifest, today, house or House()))
    return Verification(manifest, len(sums), tuple(sorted(problems)), refused, tuple(notes))


# -- bytes -------------------------------------------------------------------------------------------


def _small(filesystem: Any, root: str, name: str, address: str) -> bytes:
    try:
        return read_small(filesystem, f"{root}/{name}", address)
    except (OSError, ValueError) as error:
        raise ReleaseError(
            f"{address} is no release: {name} cannot be read there ({error})",
            "give the folder or URL that `winnow release` wrote to; if files were lost, cut it anew",
        ) from None


def _present(filesystem: Any, root: str) -> tuple[set[str] | None, list[str]]:
    """The files at the address; None where the store does not tell."""
    if "http" in filesystem.protocol or "https" in filesystem.protocol:
        return None, ["a web server does not tell which files it has: surplus files were not looked for"]
    found = filesystem.find(root)
    return {str(path)[len(root) :].lstrip("/") for path in found}, []


def _listing_problems(sums: Mapping[str, str], manifest: Manifest, present: set[str] | None) -> Iterator[str]:
    if present is not None:
        yield from (f"{path} is missing" for path in sums if path not in present)
        yield from (f"{path} is surplus: it is not in {SUMS}" for path in present - {SUMS} if path not in sums)
    if MANIFEST not in sums:
        yield f"{MANIFEST} is not in {SUMS}"
    listed = [file for _, part in manifest.parts() for file in part.files]
    paths = [file.path for file in listed]
    yield from (f"{path} is in {MANIFEST} twice" for path in {path for path in paths if paths.count(path) > 1})
    for file in listed:
        if sums.get(file.path) != file.sha256:
            yield f"{file.path} has another sha256 in {MANIFEST} than in {SUMS}"
    for path in sums:
        if path.endswith(".parquet") and path not in set(paths):
            yield f"{path} is not in {MANIFEST}"


def _sha256(filesystem: Any, path: str) -> str | None:
    try:
        with filesystem.open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def _content_problems(
    filesystem: Any, root: str, manifest: Manifest, sums: Mapping[str, str], sound: set[str]
) -> Iterator[str]:
    """What the manifest says otherwise than its files; only unchanged files are opened."""
    for table, part in manifest.parts():
        where = f"{table.name} of {part.dataset or 'no single dataset'}"
        said: dict[Any, int] = {}
        for released in part.files:
            if released.path not in sound or sums[released.path] != released.sha256:
                continue
            try:
                with opened(filesystem, f"{root}/{released.path}") as file:
                    found, rows, schema = said_in(file), file.metadata.num_rows, file.schema_arrow
                    columns = [(each.name, sql_type(each.type)) for each in schema]
            except (pa.ArrowException, KeyError, OSError) as error:
                yield f"{released.path} cannot be read as Parquet: {str(error).splitlines()[0]}"
                continue
            if rows != released.rows:
                yield f"{released.path} has {rows} rows, not the {released.rows} of {MANIFEST}"
            if columns != [(each.name, each.type) for each in part.columns]:
                yield f"{released.path} has other columns than {MANIFEST} says"
            for terms, count in found.items():
                said[terms] = said.get(terms, 0) + count
        yield from _terms_problems(where, part, said, {file.path for file in part.files} <= sound)


def _terms_problems(where: str, part: ReleasedPart, said: Mapping[Any, int], whole: bool) -> Iterator[str]:
    listed = {(terms.said_licence, terms.said_embargo_until): terms.rows for terms in part.terms}
    for licence, day in said.keys() - listed.keys():
        told = f"licence {licence or 'not said'}, embargo until {day or 'not said'}"
        yield f"{where} has rows whose terms {MANIFEST} does not list: {told}"
    if whole and not (said.keys() - listed.keys()) and dict(said) != listed:
        yield f"{where} has other numbers of rows per licence than {MANIFEST} says"


# -- rights ------------------------------------------------------------------------------------------


def _refused(manifest: Manifest, today: date, house: House) -> Iterator[Refused]:
    versions = {dataset.name: dataset for dataset in manifest.datasets}
    gone: dict[str, str] = {}
    for table, part in manifest.parts():
        found = list(_refused_rows(manifest, table, part, versions, today, house))
        yield from found
        if part.dataset and found:
            gone[str(versions.get(part.dataset, part.dataset))] = found[0].reason
    for table in manifest.tables:
        for source in table.sources:
            if source in gone:
                rows = table.rows
                yield Refused(source, table.name, rows, f"it was made of rows that are refused: {gone[source]}")


def _refused_rows(
    manifest: Manifest,
    table: ReleasedTable,
    part: ReleasedPart,
    versions: Mapping[str, ReleasedDataset],
    today: date,
    house: House,
) -> Iterator[Refused]:
    dataset = versions.get(part.dataset or "")
    source = str(dataset or part.dataset or table.name)
    if part.dataset and dataset is None:
        yield Refused(source, table.name, part.rows, f"{MANIFEST} does not say which version it is of")
        return
    withdrawn = _withdrawn(dataset, house) if dataset else None
    if withdrawn:
        yield Refused(source, table.name, part.rows, withdrawn)
        return
    refused: dict[str, int] = {}
    for terms in part.terms:
        for in_force in _in_force(terms, dataset, house):
            word = decide(in_force, manifest.profile, today)
            if not word.allowed:
                refused[word.reason] = refused.get(word.reason, 0) + terms.rows
                break
    yield from (Refused(source, table.name, rows, reason) for reason, rows in refused.items())


def _in_force(terms: ReleasedTerms, dataset: ReleasedDataset | None, house: House) -> Iterator[Terms]:
    """The terms that the manifest says, and those that this house knows of today: both must permit."""
    contract = house.datasets.get(dataset.name) if dataset else None
    if dataset and contract:
        found = _found(dataset, house)
        yield effective(contract.terms, terms.said_licence, terms.said_embargo_until, found)
    yield Terms(licence=terms.licence, embargo_until=terms.embargo_until)


def _found(dataset: ReleasedDataset, house: House) -> tuple[Found, ...]:
    """The licence words in the bytes of the version, if it is one of this house."""
    recorded = house.ledger.recorded(dataset.name, dataset.version) if house.ledger else None
    return recorded.found if recorded else ()


def _withdrawn(dataset: ReleasedDataset, house: House) -> str | None:
    """The tombstone's words, if this version was taken back here."""
    tombstone = house.ledger.withdrawal(dataset.name, dataset.version) if house.ledger else None
    return tombstone.words() if tombstone else None
