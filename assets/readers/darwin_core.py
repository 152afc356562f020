"""Darwin Core archives (zip or folder), GBIF downloads, and single CSV or TSV files with Darwin Core terms on top.

The columns are the terms' local names (``decimalLatitude``, ``license``), all text as written; what is empty or
blank is null, and a default of ``meta.xml`` stands in for it. Where two terms have one local name, a term of Darwin
Core goes before one of dcterms, and that before others. A record is known by the core's id, and in files without
``meta.xml`` by ``gbifID``, else ``occurrenceID``, else ``id``. Lines without any text are passed over.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from assets import dwc_meta
from assets.ahead import ahead
from assets.delimited import Lines
from assets.dwc_archive import Archive
from assets.dwc_meta import Described, Dialect, Meta
from assets.dwc_records import records
from assets.readers import SOURCE_FIELDS
from catalog.errors import SourceError
from catalog.records import Snapshot

MAX_EXTENSION = 512 << 20
ORPHANS = 16_384

_RESERVED = frozenset(field.name for field in SOURCE_FIELDS)
_DATA = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")


class Options(BaseModel):
    """How a dataset's archive is to be read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    core: str | None = Field(
        None, description="the row type to read as records; needed where the core's is not Occurrence"
    )
    file: str | None = Field(
        None, description="the data file to read instead of the core's; for example verbatim.txt of a GBIF download"
    )
    encoding: str | None = Field(None, description="the encoding of the data files, where the archive says a wrong one")
    extensions: tuple[str, ...] = Field(
        (),
        description="row types whose rows become a column each, named for the row type: the list of a record's rows, "
        "each a struct of text",
    )


def read(snapshot: Snapshot, options: Options, columns: Collection[str]) -> pa.RecordBatchReader:
    """Stream the records of an archive's core, or of what the options name, in batches of about 16 MB of text.

    A record that cannot be read has its reason in ``_error``. So has each row of a joined extension that no readable
    record claims: these come last, known by the id they refer to.

    Raises:
        SourceError: there is no data file, or the archive is damaged, ambiguous, or not to be trusted.
    """
    archive = Archive(snapshot)
    meta = dwc_meta.read_meta(archive)
    described = _present(archive, _recoded(_select(archive, meta, options), options))
    extensions = [
        _Extension(archive, _recoded(_extension(archive, meta, described, name), options))
        for name in options.extensions
    ]
    lists = {extension.name: extension.kind for extension in extensions}
    # A transform may want every term it knows; that a mapped column is absent is harmonise's to refuse.
    wanted = sorted(name for name in set(columns) - _RESERVED - set(lists) if described.field(name) is not None)
    schema = pa.schema([*SOURCE_FIELDS, *((name, pa.string()) for name in wanted), *lists.items()])
    batches = ahead(_batches(archive, described, wanted, extensions, schema))
    return pa.RecordBatchReader.from_batches(schema, batches)


# --- what is to be read ------------------------------------------------


def _select(archive: Archive, meta: Meta | None, options: Options) -> Described:
    if options.file is not None:
        return _named(archive, meta, options.file)
    if meta is None:
        return _lone(archive)
    if options.core is not None:
        return _of_type(archive, (meta.core, *meta.extensions), options.core)
    if meta.core.name.lower() != "occurrence":
        types = ", ".join(each.name for each in (meta.core, *meta.extensions))
        raise SourceError(
            f"the core of {archive.name} has rows of type {meta.core.name}, not Occurrence",
            f"say with source.options.core which rows are meant; there are: {types}",
        )
    return meta.core


def _of_type(archive: Archive, there: tuple[Described, ...], row_type: str) -> Described:
    known = {each: (each.name.lower(), each.row_type.lower()) for each in there}
    found = [each for each, names in known.items() if row_type.lower() in names]
    if not found:
        names = ", ".join(each.name for each in there) or "none"
        raise SourceError(f"{archive.name} has no rows of type {row_type!r}", f"the types there are: {names}")
    return found[0]


def _named(archive: Archive, meta: Meta | None, file: str) -> Described:
    for each in (meta.core, *meta.extensions) if meta else ():
        for name in each.files:
            if file in (name, posixpath.basename(name)):
                return replace(each, files=(name,))
    found = [name for name in archive.names if file in (name, name.partition("/")[2])]
    if not found:
        raise SourceError(
            f"{archive.name} has no file {file!r}", f"source.options.file may be one of: {_listed(archive)}"
        )
    described = _by_header(archive, found[0])
    if described is None:
        raise SourceError(
            f"{archive.name}: the first line of {file} is no header of Darwin Core terms", "name another file"
        )
    return described


def _lone(archive: Archive) -> Described:
    """The one file with a Darwin Core header, of an archive without ``meta.xml``."""
    names = [name for name in archive.names if archive.is_single or name.lower().endswith(_DATA)]
    found = [described for name in names if (described := _by_header(archive, name))]
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(each.files[0] for each in found)
        raise SourceError(
            f"{archive.name} has no meta.xml, but several data files: {several}", "choose one in source.options.file"
        )
    raise SourceError(
        f"{archive.name} has neither a meta.xml nor a file whose first line names Darwin Core terms",
        f"check source.uri; the files there are: {_listed(archive)}",
    )


def _by_header(archive: Archive, name: str) -> Described | None:
    with archive.open(name) as stream:
        lines = Lines(stream, Dialect("\t", "", "UTF-8", 1, "\n"))
        return dwc_meta.by_header(name, lines.skip(1), lines.encoding)


def _extension(archive: Archive, meta: Meta | None, described: Described, name: str) -> Described:
    others = tuple(each for each in (meta.extensions if meta else ()) if each.files != described.files)
    found = _of_type(archive, others, name)
    if sum(each.row_type == found.row_type for each in others) > 1:
        raise SourceError(f"{archive.name} has several extensions of type {name}", "leave it out of extensions")
    if found.identity is None:
        raise SourceError(f"extension {name} of {archive.name} does not say its coreid in meta.xml", "mend meta.xml")
    return _present(archive, found)


def _recoded(described: Described, options: Options) -> Described:
    if options.encoding is None:
        return described
    return replace(described, dialect=described.dialect._replace(encoding=options.encoding))


def _present(archive: Archive, described: Described) -> Described:
    for name in described.files:
        if name not in archive:
            raise SourceError(
                f"{archive.name}: the data file {name} ({described.name}) that meta.xml names is not there",
                f"ask the publisher for a whole archive; the files there are: {_listed(archive)}",
            )
    return described


def _listed(archive: Archive) -> str:
    names = archive.names
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


# --- records -----------------------------------------------------------


def _batches(
    archive: Archive, described: Described, wanted: list[str], extensions: list[_Extension], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    source = 0
    try:
        for batch in records(archive, described, wanted):
            joined = [*batch.columns, *(extension.rows_of(batch) for extension in extensions)]
            yield _numbered(joined, source, schema)
            source += batch.num_rows
        for extension in extensions:
            for orphans in extension.orphans(schema):
                yield _numbered(orphans, source, schema)
                source += len(orphans[0])
    finally:
        archive.close()


def _numbered(columns: list[pa.Array], source: int, schema: pa.Schema) -> pa.RecordBatch:
    columns[0] = pa.array(np.arange(source, source + len(columns[0])))
    return pa.record_batch(columns, schema=schema)


# --- extensions --------------------------------------------------------


class _Extension:
    """The rows of an extension by the core id they refer to, all in memory.

    Raises:
        SourceError: they need more than ``MAX_EXTENSION`` bytes.
    """

    def __init__(self, archive: Archive, described: Described) -> None:
        self.name = described.name
        lower = {field.name.lower(): field.name for field in reversed(described.fields)}
        names = [lower[name] for name in dict.fromkeys(field.name.lower() for field in described.fields)]
        batches, size = [], 0
        for batch in records(archive, described, names, keeps_raw=True, may_be_empty=True):
            batches.append(batch)
            size += batch.nbytes
            if size > MAX_EXTENSION:
                raise SourceError(
                    f"extension {self.name} of {archive.name} has more than {MAX_EXTENSION >> 20} MB of rows, the most "
                    "that are joined to records",
                    f"leave it out of extensions, and read it by itself, with source.options.core: {self.name}",
                )
        schema = pa.schema([*SOURCE_FIELDS, *((name, pa.string()) for name in names)])
        rows = pa.Table.from_batches(batches, schema)
        sound = pc.and_(pc.is_null(rows["_error"]), pc.is_valid(rows["_record"]))
        self._refused = rows.filter(pc.invert(sound)).select(list(_RESERVED))
        claimable = rows.filter(sound).combine_chunks()
        codes = claimable["_record"].combine_chunks().dictionary_encode()
        self._keys: pa.StringArray = codes.dictionary
        self._codes = codes.indices.to_numpy()
        self._rows = claimable.select(list(_RESERVED))
        self._claimed = np.zeros(len(self._keys), dtype=np.bool_)
        self._lists = _grouped(claimable.select(names), self._codes, len(self._keys))

    @property
    def kind(self) -> pa.DataType:
        """The type of its column."""
        return self._lists.type

    def rows_of(self, batch: pa.RecordBatch) -> pa.Array:
        """The rows that refer to each of these records; null for none. A record that cannot be read claims none."""
        ids = pc.if_else(pc.is_null(batch["_error"]), batch["_record"], None)
        found = pc.index_in(ids, value_set=self._keys)
        self._claimed[found.drop_null().to_numpy()] = True
        return self._lists.take(found)

    def orphans(self, schema: pa.Schema) -> Iterator[list[pa.Array]]:
        """The columns of a record with its reason for each row that could not be read or that no record claimed."""
        orphaned = self._rows.filter(pa.array(~self._claimed[self._codes]))
        for table in (self._refused, orphaned):
            for batch in table.to_batches(ORPHANS):
                yield self._refusals(batch, schema)

    def _refusals(self, batch: pa.RecordBatch, schema: pa.Schema) -> list[pa.Array]:
        claim = pc.binary_join_element_wise(
            f"the row of extension {self.name} refers to the record ",
            pc.fill_null(batch["_record"], "without an id"),
            ", which is not there or cannot be read",
            "",
        )
        columns = {
            "_source": batch["_source"],
            "_position": batch["_position"],
            "_record": batch["_record"],
            "_error": pc.coalesce(batch["_error"], claim),
            "_raw": batch["_raw"],
        }
        return [
            columns[field.name] if field.name in columns else pa.nulls(batch.num_rows, field.type) for field in schema
        ]


def _grouped(rows: pa.Table, codes: np.ndarray, groups: int) -> pa.ListArray:
    """The rows as one list of structs per code, in their order."""
    order = np.argsort(codes, kind="stable")
    offsets = np.concatenate(([0], np.cumsum(np.bincount(codes, minlength=groups)))).astype(np.int32)
    sorted_rows = rows.take(pa.array(order))
    fields = [pa.field(name, pa.string()) for name in rows.column_names]
    columns = [
        pa.concat_arrays(column.chunks) if column.chunks else pa.array([], pa.string()) for column in sorted_rows
    ]
    structs = pa.StructArray.from_arrays(columns, fields=fields)
    return pa.ListArray.from_arrays(pa.array(offsets), structs)
