"""Tab-separated tables of variants and of what is known of them, plain or gzip: one row per line, typed as options say.

AlphaMissense (genomic and amino-acid files), ClinVar's ``variant_summary`` and gnomAD-style tables are such. The header
is the last of the leading lines with ``#`` that has the delimiter, else the first line after them. Columns may be
renamed to what the transforms know: CHROM, POS (int64), REF, ALT and assembly, which are given wherever they are there.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator
from contextlib import ExitStack, closing
from itertools import chain
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from assets import bgzf, dwc_meta
from assets.ahead import ahead
from assets.delimited import Lines
from assets.delimited_columns import CODED, TYPES, Column, distinct, joined, split_loci, texts, typed
from assets.delimited_records import Records
from assets.delimited_values import Codes, blank_out, numbered
from assets.dwc_archive import refuse_bomb
from assets.dwc_meta import Dialect
from assets.readers import SOURCE_FIELDS
from catalog.assemblies import assembly_of
from catalog.errors import SourceError
from catalog.records import Snapshot, SourceFile

ALLELES = ("CHROM", "POS", "REF", "ALT", "assembly")
"""What places an allele on a chromosome, by the names that transforms know."""

BLOCK = 4 << 20
"""Bytes: what is located in so many is still in the processor's cache when it is gathered."""

_LOCI = ("locus", "alleles")
_CODED, _PLAIN = ("CHROM", "assembly"), ("REF", "ALT")
_RESERVED = frozenset(field.name for field in SOURCE_FIELDS)
_FEWER = 8
"""A column is coded if its first block has less than one distinct value in so many rows."""


class Options(BaseModel):
    """How a dataset's tab-separated files are to be read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    delimiter: str = Field("\t", min_length=1, max_length=1)
    quote: str = Field("", max_length=1, description="what values are quoted with; by default nothing is special")
    comment: str = Field("##", min_length=1, description="what leading lines begin with that are never the header")
    encoding: str = "UTF-8"
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="new name -> column of the file, such as {CHROM: Chromosome, POS: PositionVCF}",
    )
    types: dict[str, Literal["int64", "double", "string"]] = Field(
        default_factory=dict, description="column (by its new name) -> type; string where nothing is said, POS int64"
    )
    nulls: tuple[str, ...] = Field((), description='what stands for no value, such as "-"; empty always does')
    assembly: str | None = Field(
        None, pattern=r"^[A-Za-z0-9._-]+$", description="the reference assembly, where no column says it"
    )
    id: str | None = Field(None, description="the column that identifies a record")

    @model_validator(mode="after")
    def _one_assembly(self) -> Options:
        if self.assembly and "assembly" in self.columns:
            raise ValueError("give `assembly`, or a column for it below `columns`, not both")
        return self


class _File(NamedTuple):
    """One file, its header's cells, and where the column of each name stands in it."""

    source: SourceFile
    header: tuple[str, ...]
    places: dict[str, int]


def read(snapshot: Snapshot, options: Options, columns: Collection[str]) -> pa.RecordBatchReader:
    """Stream the records of all files of a snapshot, in batches of about 4 MB of text.

    Columns: what of ALLELES the files have, then the other wanted ones that they have. Text of few distinct values is
    coded (a dictionary). A record with too many or too few fields, with bytes that are no text, or with a number that
    is none has its reason in ``_error``. Lines without any character are passed over.

    Raises:
        SourceError: a file is empty, cut short or damaged, or its header lacks a column that the options name.
    """
    if not snapshot.files:
        raise SourceError(f"{snapshot.uri} has no files", "check source.uri")
    files = [_described(file, options) for file in snapshot.files]
    there = set(files[0].places)
    names = [name for name in ALLELES if name in there]
    names += sorted(name for name in set(columns) - _RESERVED - set(names) if name in there)
    _refuse_differences(files, names)
    stream = _Stream(files, names, options)
    return pa.RecordBatchReader.from_batches(stream.schema, ahead(stream.batches()))


# --- header ------------------------------------------------------------


class _Bytes:
    """The decompressed bytes of a file, as ``Lines`` takes them."""

    def __init__(self, file: SourceFile, stack: ExitStack) -> None:
        self.name = file.name
        self._file = file
        self._taken = 0
        self._stream = stack.enter_context(bgzf.open_text(file))

    def read(self, size: int) -> bytes:
        """Up to so many bytes; none only at the end."""
        data = bgzf.take(self._stream, self._file, size)
        self._taken += len(data)
        refuse_bomb(self.name, self._file.size, self._taken)
        return data


def _opened(file: SourceFile, options: Options, stack: ExitStack) -> tuple[Lines, str]:
    """The file's lines after its header, and that."""
    lines = Lines(_Bytes(file, stack), Dialect(options.delimiter, options.quote, options.encoding, 1, "\n"), BLOCK)
    if lines.is_empty:
        raise SourceError(f"{file.name} is empty", "check source.uri, and fetch it again")
    headers = [
        line
        for line in lines.leading("#", options.comment)
        if options.delimiter in line and not line.startswith(options.comment)
    ]
    return lines, headers[-1].lstrip("#") if headers else lines.skip(1)


def _described(file: SourceFile, options: Options) -> _File:
    with ExitStack() as stack:
        lines, line = _opened(file, options, stack)
    header = tuple(dwc_meta.cells(line, lines.dialect))
    places = {name: index for index, name in enumerate(header)}
    for name, source in options.columns.items():
        if source not in header:
            raise _lacks(file, header, source, f"source.options.columns gives for {name}")
        places[name] = header.index(source)
    for name in (*options.types, *([options.id] if options.id else [])):
        if name not in places:
            raise _lacks(file, header, name, "source.options names")
    for name in {*options.columns.values(), *options.types} & {name for name in header if header.count(name) > 1}:
        raise SourceError(
            f"the header of {file.name} names {name!r} more than once", "ask its publisher which is meant"
        )
    if _has_loci(places):
        places |= dict.fromkeys(ALLELES[:4], -1)
    if options.assembly and "CHROM" in places and "assembly" not in places:
        places["assembly"] = -1
    return _File(file, header, places)


def _has_loci(places: dict[str, int]) -> bool:
    """Whether alleles are written as Hail writes them, in two columns."""
    return set(_LOCI) <= places.keys() and places.get("CHROM", -1) < 0


def _lacks(file: SourceFile, header: tuple[str, ...], name: str, said: str) -> SourceError:
    listed = ", ".join(header[:60])
    return SourceError(
        f"{file.name} has no column {name!r}, which {said}", f"correct source.options; the header names: {listed}"
    )


def _refuse_differences(files: list[_File], names: list[str]) -> None:
    for file in files:
        for name in names:
            if file.header.count(name) > 1:
                raise SourceError(
                    f"the header of {file.source.name} names {name!r} more than once",
                    "ask its publisher which is meant",
                )
            if name not in file.places:
                raise SourceError(
                    f"{file.source.name} has no column {name!r}, which {files[0].source.name} has",
                    "give files that differ in their headers datasets of their own",
                )


# --- records -----------------------------------------------------------


class _Stream:
    """The batches of all files; the types of their columns are settled by the first block."""

    def __init__(self, files: list[_File], names: list[str], options: Options) -> None:
        self._options = options
        self._names = names
        self._constant = None if options.assembly is None else assembly_of(options.assembly) or options.assembly
        self._codes = {name: Codes(_assembly) if name == "assembly" else Codes() for name in names}
        self._nulls = [null.encode() for null in options.nulls]
        self._records = self._of_all(files)
        first = next(self._records, None)
        self._first = [] if first is None else [first]
        self._kinds = {name: self._kind(name, first) for name in names}
        fields = [(name, TYPES[kind]) for name, kind in self._kinds.items()]
        self.schema = pa.schema([*SOURCE_FIELDS, *fields])

    def batches(self) -> Iterator[pa.RecordBatch]:
        source = 0
        with closing(self._records):
            for found in chain(self._first, self._records):
                self._first = []
                batch = self._batch(*found, source)
                source += batch.num_rows
                yield batch

    def _of_all(self, files: list[_File]) -> Generator[tuple[_File, Records, dict[str, int]], None, None]:
        """Per block its file, its records, and the slot of each name."""
        for file in files:
            wanted = {name: file.places[name] for name in self._needed(file) if file.places[name] >= 0}
            order = sorted(set(wanted.values()))
            slots = np.full(max(order, default=-1) + 1, -1, dtype=np.int64)
            slots[order] = np.arange(len(order))
            where = {name: int(slots[place]) for name, place in wanted.items()}
            with ExitStack() as stack:
                lines, _ = _opened(file.source, self._options, stack)
                for block in lines.blocks(slots, len(order)):
                    records = Records(block, lines.dialect, lines.encoding, len(file.header), file.header)
                    yield file, records, self._split(records, self._without_nulls(records, where))

    def _needed(self, file: _File) -> set[str]:
        needed = {name for name in self._names if name in file.places}
        needed |= {self._options.id} if self._options.id else set()
        return needed | (set(_LOCI) if _has_loci(file.places) else set())

    def _without_nulls(self, records: Records, where: dict[str, int]) -> dict[str, int]:
        if self._nulls:
            words = np.frombuffer(b"".join(self._nulls), dtype=np.uint8)
            bounds = np.cumsum([0, *map(len, self._nulls)], dtype=np.int64)
            for slot in range(len(records.scan.size)):
                blank_out(records.block.text, records.scan.begin[slot], records.scan.size[slot], words, bounds)
        return where

    def _split(self, records: Records, where: dict[str, int]) -> dict[str, int]:
        if not set(_LOCI) <= where.keys() or "CHROM" in where:
            return where
        return where | dict(zip(ALLELES, split_loci(records, *(where[name] for name in _LOCI)), strict=False))

    def _kind(self, name: str, first: tuple[_File, Records, dict[str, int]] | None) -> str:
        kind = self._options.types.get(name, "int64" if name == "POS" else "string")
        if kind != "string" or name in _PLAIN:
            return kind
        if name in _CODED:
            return CODED
        if first is None:
            return kind
        _, records, where = first
        return CODED if len(distinct(records, where[name])[1]) * _FEWER < records.rows else kind

    def _batch(self, file: _File, records: Records, where: dict[str, int], source: int) -> pa.RecordBatch:
        rows = records.rows
        wrong = np.flatnonzero(records.scan.counts != len(file.header))
        records.scan.size[:, wrong] = 0
        record = texts(records, [where[self._options.id]])[0] if self._options.id else pa.nulls(rows, pa.string())
        wanted = [Column(name, kind, where[name]) for name, kind in self._kinds.items() if name in where]
        made = typed(records, wanted, self._codes)
        if "ALT" in made and _has_loci(file.places):
            made["ALT"] = joined(made["ALT"])
        if self._constant is not None and "assembly" not in made:
            made["assembly"] = self._codes["assembly"].column(np.zeros(rows, dtype=np.int32), [self._constant])
        made |= {
            "_source": pa.array(np.arange(source, source + rows)),
            "_position": numbered(f"{file.source.name} line ", records.lines()),
            "_record": record,
            "_error": records.errors(),
            "_raw": records.raws(),
        }
        return pa.record_batch([made[name] for name in self.schema.names], schema=self.schema)


def _assembly(said: str) -> str:
    return assembly_of(said) or said
