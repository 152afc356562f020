"""Release: the door for everybody. Cuts the permitted rows of chosen versions into a folder that stands alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, TypeVar

import pyarrow as pa

from catalog.attribution import CreditsOf, licences_of, write_attribution
from catalog.derived import Derived
from catalog.errors import ReleaseError
from catalog.manifest import (
    ATTRIBUTION,
    CATALOG,
    FORMAT,
    MANIFEST,
    DescribedColumn,
    Manifest,
    ReleasedColumn,
    ReleasedDataset,
    ReleasedFile,
    ReleasedPart,
    ReleasedTable,
    ReleasedTerms,
    ReleasedView,
    part_folder,
)
from catalog.parquet import FILE_BYTES, ParquetFile
from catalog.query import Door, query_errors
from catalog.records import Decision, Release, Version, VersionTable
from catalog.release_catalog import write_catalog
from catalog.release_folder import ReleaseFolder
from catalog.released_rows import SAID, Said, keep_permitted, opened, reading, said_in
from catalog.rights.licences import UNSTATED, licence_text
from catalog.rights.policy import Terms, decide
from catalog.sql_types import sql_type
from catalog.store import open_store
from catalog.table import Table, load_table, table_names
from catalog.warehouse import Warehouse

T = TypeVar("T")
R = TypeVar("R")

THREADS = 2  # files in work at a time; each holds a row group


@dataclass(frozen=True)
class Cut:
    """What came of cutting: the release, its manifest, and whether it is new (False: the same lay there already)."""

    release: Release
    manifest: Manifest
    is_new: bool


@dataclass(frozen=True)
class _Kept:
    """One data file of the warehouse of which rows go into a release, and what those say of their terms."""

    source: str
    path: str
    said: frozenset[Said]
    rows: int
    is_whole: bool


@dataclass(frozen=True)
class _Chosen:
    """What a release takes of one table of one version."""

    version: Version
    table: Table
    schema: pa.Schema
    files: tuple[_Kept, ...]
    terms: tuple[ReleasedTerms, ...]


@dataclass(frozen=True)
class _Made:
    """A derived table as it was written, and the datasets that its rows were made of."""

    derived: Derived
    part: ReleasedPart
    datasets: frozenset[str]


def cut(warehouse: Warehouse, door: Door, day: date, folder: ReleaseFolder, address: str, now: datetime) -> Cut:
    """Cut what the door permits on a day into a folder, and note it in the ledger.

    Files of which every row is permitted are linked or copied, others rewritten with their permitted rows. The
    bytes depend on versions, contracts, profile, day and address alone.

    Args:
        warehouse: where the versions' files lie.
        door: says which versions, for which profile, and what the policy permits on ``day``.
        day: the day (in UTC) that the door decides by.
        folder: where the release is put.
        address: where readers will find it, for the views in ``catalog.duckdb``.
        now: the time that the ledger notes.

    Raises:
        ReleaseError: another release lies in the folder, or a version was withdrawn meanwhile.
        StorageError: the disk or the object store did not take or give the bytes.
    """
    if door.profile != "open":
        for name in sorted(name for name, version in door.versions.items() if version is not None):
            door.ledger.record_decision(name, "release", door.decision(name), now)
    with folder:
        chosen = [each for each in _choose(warehouse, door) if each.files]
        parts = _write_parts(open_store(warehouse.root), folder, chosen)
        made = [_write_derived(door, day, folder, derived) for _, derived in sorted(door.derived.items())]
        manifest = _manifest(door, day, chosen, parts, made)
        _write_words(manifest, folder, lambda *which: _credits(warehouse, door, *which), address)
        _refuse_withdrawn(door, manifest)
        is_new = folder.finish()
    release = Release(
        profile=door.profile,
        day=day,
        address=folder.address,
        versions=tuple(map(str, manifest.datasets)),
        rows=manifest.rows,
        bytes=manifest.bytes,
        manifest_sha256=folder.sums[MANIFEST],
        cut_at=now,
        lapses_on=_lapses_on(door),
    )
    door.ledger.record_release(release)
    try:
        # Whoever withdraws looks for releases after the tombstone: one of the two sees the other.
        _refuse_withdrawn(door, manifest)
    except ReleaseError:
        if is_new:
            folder.remove()
        raise
    return Cut(release, manifest, is_new)


def _refuse_withdrawn(door: Door, manifest: Manifest) -> None:
    """Nothing is shown of a version that was taken back while it was being cut."""
    for dataset in manifest.datasets:
        tombstone = door.ledger.withdrawal(dataset.name, dataset.version)
        if tombstone is not None:
            raise ReleaseError(tombstone.words(), "cut the release again: it leaves that version out")


def _lapses_on(door: Door) -> date | None:
    """The first day on which a release would hold more."""
    refused = [
        word
        for version in filter(None, door.versions.values())
        for part in version.tables
        for _, _, word in door.judged(version, part)
        if not word.allowed
    ]
    return min((word.changes_on for word in refused if word.changes_on), default=None)


# -- choosing ----------------------------------------------------------------------------------------


def _choose(warehouse: Warehouse, door: Door) -> Iterator[_Chosen]:
    """What is permitted of each table and dataset, by what each file's rows say of themselves."""
    for name in table_names():
        for dataset in sorted(door.datasets):
            version = door.versions[dataset]
            part = next((part for part in version.tables if part.table == name), None) if version else None
            if version and part and name in door.datasets[dataset].feeds:
                yield _chosen(warehouse, door, version, part)


def _chosen(warehouse: Warehouse, door: Door, version: Version, part: VersionTable) -> _Chosen:
    permitted = {
        (said.licence, said.embargo_until): (terms, word)
        for said, terms, word in door.judged(version, part)
        if word.allowed
    }
    table, filesystem = load_table(part.table), open_store(warehouse.root)
    sources = warehouse.files(version, part.table) if permitted else []
    counted = list(_at_once(lambda source: _said(filesystem, source), sources))
    folder = part_folder(table.name, version.dataset)
    files: list[_Kept] = []
    rows: Counter[Said] = Counter()
    for source, said in zip(sources, counted, strict=True):
        # What the policy was not asked about is not permitted.
        kept = {each: said[each] for each in said if each in permitted}
        rows.update(kept)
        if kept:
            path = f"{folder}/part-{len(files):05d}.parquet"
            files.append(_Kept(source, path, frozenset(kept), sum(kept.values()), len(kept) == len(said)))
    terms = tuple(_released(said, *permitted[said], rows[said]) for said in sorted(rows, key=_order))
    schema = _schema(filesystem, files[0].source) if files else table.arrow_schema
    return _Chosen(version, table, schema, tuple(files), terms)


def _said(filesystem: Any, source: str) -> Counter[Said]:
    with reading(source), opened(filesystem, source) as file:
        return said_in(file)


def _schema(filesystem: Any, source: str) -> pa.Schema:
    with reading(source), opened(filesystem, source) as file:
        return file.schema_arrow


def _released(said: Said, terms: Terms, word: Decision, rows: int) -> ReleasedTerms:
    return ReleasedTerms(
        said_licence=said[0],
        said_embargo_until=said[1],
        licence=terms.licence or UNSTATED[0],
        embargo_until=terms.embargo_until,
        rows=rows,
        obligations=word.obligations,
    )


def _order(said: Said) -> tuple[bool, str, bool, date]:
    """Sorts terms: those that rows do not say themselves come first."""
    licence, day = said
    return (licence is not None, licence or "", day is not None, day or date.min)


def _at_once(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """The function's results in order, some items at a time; after an error no other item is begun."""
    with ThreadPoolExecutor(THREADS) as pool:
        waiting = [pool.submit(function, item) for item in items]
        try:
            yield from (each.result() for each in waiting)
        finally:
            pool.shutdown(cancel_futures=True)


# -- writing -----------------------------------------------------------------------------------------


def _write_parts(filesystem: Any, folder: ReleaseFolder, chosen: Sequence[_Chosen]) -> list[ReleasedPart]:
    files = [kept for each in chosen for kept in each.files]
    written = dict(zip(files, _at_once(lambda kept: _write_file(filesystem, folder, kept), files), strict=True))
    return [
        ReleasedPart(
            dataset=each.version.dataset,
            columns=_columns(each.schema),
            files=tuple(written[kept] for kept in each.files),
            terms=each.terms,
        )
        for each in chosen
    ]


def _write_file(filesystem: Any, folder: ReleaseFolder, kept: _Kept) -> ReleasedFile:
    if kept.is_whole:
        folder.take(kept.path, filesystem, kept.source)
    else:
        with folder.writing(kept.path) as path, reading(kept.source), opened(filesystem, kept.source) as file:
            keep_permitted(file, kept.said, path)
    return _file(folder, kept.path, kept.rows)


def _file(folder: ReleaseFolder, path: str, rows: int) -> ReleasedFile:
    return ReleasedFile(path=path, rows=rows, bytes=folder.sizes[path], sha256=folder.sums[path])


def _columns(schema: pa.Schema) -> tuple[ReleasedColumn, ...]:
    return tuple(ReleasedColumn(name=field.name, type=sql_type(field.type)) for field in schema)


def _write_derived(door: Door, day: date, folder: ReleaseFolder, derived: Derived) -> _Made:
    """Write what the door computes from permitted rows."""
    files: list[ReleasedFile] = []
    said: Counter[Said] = Counter()
    datasets: set[str] = set()
    batches = (batch for batch in door.derive(derived) if batch.num_rows)
    batch = next(batches, None)
    while batch is not None:
        path, rows = f"{part_folder(derived.name, None)}/part-{len(files):05d}.parquet", 0
        with folder.writing(path) as local, ParquetFile(local, derived.arrow_schema) as file:
            while batch is not None and file.bytes < FILE_BYTES:
                file.write(batch)
                rows += batch.num_rows
                said.update(zip(*(batch[name].to_pylist() for name in SAID), strict=True))
                datasets.update(batch["_datasets"].flatten().unique().to_pylist())
                batch = next(batches, None)
        files.append(_file(folder, path, rows))
    terms = []
    for each in sorted(said, key=_order):
        in_force = Terms(licence=each[0], embargo_until=each[1])
        terms.append(_released(each, in_force, decide(in_force, door.profile, day), said[each]))
    part = ReleasedPart(dataset=None, columns=_columns(derived.arrow_schema), files=tuple(files), terms=tuple(terms))
    return _Made(derived, part, frozenset(datasets))


def _write_words(manifest: Manifest, folder: ReleaseFolder, credits_of: CreditsOf, address: str) -> None:
    """Write all that goes beside the rows; the manifest last."""
    for spdx in sorted(licences_of(manifest)):
        with folder.writing(f"LICENSES/{spdx}.txt") as path:
            path.write_text(licence_text(spdx), encoding="utf-8")
    with folder.writing(ATTRIBUTION) as path, path.open("w", encoding="utf-8") as file:
        write_attribution(manifest, credits_of, file)
    with folder.writing(CATALOG) as path:
        write_catalog(manifest, address, path)
    with folder.writing(MANIFEST) as path:
        path.write_text(manifest.to_json(), encoding="utf-8")


def _credits(warehouse: Warehouse, door: Door, dataset: str, table: str, column: str) -> Iterator[str]:
    """The distinct values of a column among the rows that the door permits, sorted."""
    version = door.versions[dataset]
    assert version is not None
    contract = load_table(table)
    sql, files = door.select(version, contract)
    described = contract.column(column)
    is_list = described is not None and described.type.startswith("list<")
    value = f'unnest("{column}")' if is_list else f'"{column}"'
    with query_errors(), warehouse.connect(files) as connection:
        found: Any = connection.execute(
            f"SELECT DISTINCT CAST(value AS VARCHAR) AS value FROM (SELECT {value} AS value FROM ({sql})) "
            "WHERE value IS NOT NULL ORDER BY value"
        )
        while rows := found.fetchmany(1000):
            yield from (value for (value,) in rows)


# -- saying what is there ----------------------------------------------------------------------------


def _manifest(
    door: Door, day: date, chosen: Sequence[_Chosen], parts: Sequence[ReleasedPart], made: Sequence[_Made]
) -> Manifest:
    datasets = tuple(
        _dataset(door, version, [part for part in parts if part.dataset == name])
        for name, version in sorted({each.version.dataset: each.version for each in chosen}.items())
    )
    canonical = [_table(load_table(name), parts, chosen) for name in table_names()]
    versions = {dataset.name: str(dataset) for dataset in datasets}
    derived = [
        ReleasedTable(
            name=each.derived.name,
            kind="derived",
            description=f"{each.derived.title}. {each.derived.description}".strip(),
            standard=None,
            columns=_described(each.derived.arrow_schema),
            parts=(each.part,) if each.part.files else (),
            sources=tuple(versions[name] for name in sorted(each.datasets)),
        )
        for each in made
    ]
    return Manifest(format=FORMAT, profile=door.profile, day=day, datasets=datasets, tables=(*canonical, *derived))


def _dataset(door: Door, version: Version, parts: Sequence[ReleasedPart]) -> ReleasedDataset:
    contract = door.datasets[version.dataset]
    licences = sorted({terms.licence for part in parts for terms in part.terms})
    return ReleasedDataset(
        name=version.dataset,
        title=contract.title,
        version=version.number,
        # It is a hash over all bytes of the source, those of withheld rows and of exact places included.
        fingerprint=version.fingerprint if door.tells_sums_of(version) else None,
        licence=" AND ".join(f"({each})" if " " in each and len(licences) > 1 else each for each in licences),
        attribution=contract.terms.attribution,
        citation=contract.terms.citation,
        rows=sum(part.rows for part in parts),
    )


def _table(table: Table, parts: Sequence[ReleasedPart], chosen: Sequence[_Chosen]) -> ReleasedTable:
    return ReleasedTable(
        name=table.name,
        kind="canonical",
        description=table.description.strip(),
        standard=table.standard,
        columns=_described(table.arrow_schema),
        views=tuple(ReleasedView(**view.model_dump()) for view in table.views),
        attribution=table.attribution,
        parts=tuple(part for part, each in zip(parts, chosen, strict=True) if each.table.name == table.name),
    )


def _described(schema: pa.Schema) -> tuple[DescribedColumn, ...]:
    found = []
    for field in schema:
        told = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        found.append(DescribedColumn(name=field.name, type=sql_type(field.type), **told))
    return tuple(found)
