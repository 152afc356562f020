"""Verify: whether a release is whole and unchanged, and whether all that it holds would be permitted today."""

from __future__ import annotations

import hashlib
from collections import Counter
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
    ReleasedFile,
    ReleasedPart,
    ReleasedTable,
    ReleasedTerms,
    parse_manifest,
    parse_sums,
)
from catalog.records import Version
from catalog.release_folder import open_address, read_small
from catalog.released_rows import Said, opened, said_in
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
    """What was found.

    ``problems`` are about bytes and whose they are, ``refused`` about rights, ``notes`` about what was not checked.
    """

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
    text = _small(filesystem, root, MANIFEST, address)
    manifest = parse_manifest(text, address)
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
    house = house or House()
    sound = {path for path, digest in digests.items() if digest == sums[path]}
    held: set[str] = set()
    problems += _content_problems(filesystem, root, manifest, sums, sound, held)
    digest = hashlib.sha256(text).hexdigest()
    if _is_of(house, manifest, held):
        problems += _house_problems(house, manifest, digest)
    else:
        notes.append(
            f"only the house that cut it can tell whether {MANIFEST} is as it was cut, licences that rows do not "
            f"say themselves included: its sha256 is {digest}; compare it with what they tell you"
        )
    refused = tuple(_refused(manifest, today, house))
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


@dataclass(frozen=True)
class _Told:
    """What a Parquet file itself says: its columns, and of its rows how many, their terms and their datasets."""

    columns: list[tuple[str, str]]
    rows: int
    said: Mapping[Said, int]
    datasets: frozenset[str | None]


def _told(filesystem: Any, path: str) -> _Told:
    with opened(filesystem, path) as file:
        schema = file.schema_arrow
        columns = [(each.name, sql_type(each.type)) for each in schema]
        name = "_datasets" if "_datasets" in schema.names else "_dataset"
        datasets: set[str | None] = set()
        for batch in file.iter_batches(columns=[name]):
            (values,) = batch.columns
            datasets.update((values.flatten() if name == "_datasets" else values).unique().to_pylist())
        return _Told(columns, file.metadata.num_rows, said_in(file), frozenset(datasets))


def _content_problems(
    filesystem: Any, root: str, manifest: Manifest, sums: Mapping[str, str], sound: set[str], held: set[str]
) -> Iterator[str]:
    """What the manifest says otherwise than its files; only unchanged files are opened.

    Adds to ``held`` the datasets that rows are of by their own words.
    """
    for table, part in manifest.parts():
        where = f"{table.name} of {part.dataset or 'no single dataset'}"
        said: Counter[Said] = Counter()
        datasets: set[str | None] = set()
        for released in part.files:
            if released.path not in sound or sums[released.path] != released.sha256:
                continue
            try:
                told = _told(filesystem, f"{root}/{released.path}")
            except (pa.ArrowException, KeyError, IndexError, OSError, ValueError) as error:
                yield f"{released.path} cannot be read as Parquet of a release: {str(error).partition(chr(10))[0]}"
                continue
            yield from _file_problems(released, part, told)
            said.update(told.said)
            datasets |= told.datasets
        held |= {name for name in datasets if name}
        whole = {file.path for file in part.files} <= sound
        yield from _terms_problems(where, part, said, whole)
        if whole:
            yield from _dataset_problems(where, manifest, table, part, datasets)


def _file_problems(released: ReleasedFile, part: ReleasedPart, told: _Told) -> Iterator[str]:
    if told.rows != released.rows:
        yield f"{released.path} has {told.rows} rows, not the {released.rows} of {MANIFEST}"
    if told.columns != [(each.name, each.type) for each in part.columns]:
        yield f"{released.path} has other columns than {MANIFEST} says"


def _dataset_problems(
    where: str, manifest: Manifest, table: ReleasedTable, part: ReleasedPart, datasets: set[str | None]
) -> Iterator[str]:
    """Rows name their dataset themselves, so that a manifest cannot pass them off as another's."""
    listed = {str(dataset): dataset.name for dataset in manifest.datasets}
    claimed = {part.dataset} if part.dataset else {listed.get(source, source) for source in table.sources}
    if datasets != claimed:
        words = [", ".join(sorted(str(name) for name in names)) or "no dataset" for names in (datasets, claimed)]
        yield f"{where} has rows of {words[0]}, not of {words[1]} as {MANIFEST} says"
    for source in sorted(set(table.sources) - listed.keys()):
        yield f"{where} is made of {source}, which is not among the datasets of {MANIFEST}"


def _terms_problems(where: str, part: ReleasedPart, said: Mapping[Said, int], whole: bool) -> Iterator[str]:
    listed = {(terms.said_licence, terms.said_embargo_until): terms.rows for terms in part.terms}
    for licence, day in said.keys() - listed.keys():
        told = f"licence {licence or 'not said'}, embargo until {day or 'not said'}"
        yield f"{where} has rows whose terms {MANIFEST} does not list: {told}"
    if whole and not (said.keys() - listed.keys()) and dict(said) != listed:
        yield f"{where} has other numbers of rows per licence than {MANIFEST} says"


# -- the house -----------------------------------------------------------------------------------------


def _is_of(house: House, manifest: Manifest, held: set[str]) -> bool:
    """Whether this house can tell its own releases: it has cut some, or has the datasets that are in this one."""
    ledger = house.ledger
    if ledger is None:
        return False
    names = held | {dataset.name for dataset in manifest.datasets}
    return bool(ledger.releases()) or any(_recorded(house, name) for name in sorted(names))


def _house_problems(house: House, manifest: Manifest, digest: str) -> Iterator[str]:
    assert house.ledger is not None
    if digest not in {release.manifest_sha256 for release in house.ledger.releases()}:
        yield f"it is not a release that this house cut: its ledger knows no {MANIFEST} of sha256 {digest}"
    for dataset in manifest.datasets:
        if _recorded(house, dataset.name, dataset.version) is None:
            yield f"this house's ledger knows no version {dataset}"


def _recorded(house: House, name: str, number: int | None = None) -> Version | None:
    """What this house recorded of a version (the newest, if no number is given), withdrawn or not."""
    return house.ledger.recorded(name, number) if house.ledger else None


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
    """What this house knows of the rows' terms today, what they say, and what the manifest says: all must permit."""
    contract = house.datasets.get(dataset.name) if dataset else None
    if dataset and contract:
        recorded = _recorded(house, dataset.name, dataset.version)
        yield effective(
            contract.terms,
            terms.said_licence,
            terms.said_embargo_until,
            recorded.found if recorded else (),
            recorded.row_rules if recorded else None,
        )
    if terms.said_licence is not None or terms.said_embargo_until is not None:
        licence = terms.licence if terms.said_licence is None else terms.said_licence
        yield Terms(licence=licence, embargo_until=terms.said_embargo_until)
    yield Terms(licence=terms.licence, embargo_until=terms.embargo_until)


def _withdrawn(dataset: ReleasedDataset, house: House) -> str | None:
    """The tombstone's words, if this version was taken back here."""
    tombstone = house.ledger.withdrawal(dataset.name, dataset.version) if house.ledger else None
    return tombstone.words() if tombstone else None
