"""VCF 4.x, plain, gzip or BGZF: one row per data line, with the wanted INFO keys as columns.

The body is cut into blocks at line ends; ``assets.info_scan`` locates fields and INFO keys in one pass over the
bytes. Each line thus has its exact number, a bad byte or a bad value spoils its own record only, no line is too
long for a block, and a block full of bad lines costs no more memory than a good one.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from assets import info_scan
from assets.readers import SOURCE_FIELDS
from catalog.errors import HarmoniseError, SourceError
from catalog.records import Snapshot, SourceFile

BLOCK = 4 << 20
MAX_LINE = 256 << 20
MAX_RAW = 64_000

FIXED = {
    "CHROM": pa.string(),
    "POS": pa.int64(),
    "ID": pa.string(),
    "REF": pa.string(),
    "ALT": pa.string(),
    "QUAL": pa.float64(),
    "FILTER": pa.string(),
    "assembly": pa.string(),
}
_MANDATORY = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO"]
_NUMBERS = {"Integer": pa.int64(), "Float": pa.float64()}
_INTEGER = r"^[+-]?[0-9]{1,18}$"
_FLOAT = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$|^(?i:[+-]?(inf|infinity|nan))$"
_ASSEMBLIES = {
    "GRCh37": re.compile(r"(?i)grch37|hg19|\bb37|hs37|g1k_v37"),
    "GRCh38": re.compile(r"(?i)grch38|hg38|\bb38|hs38"),
}
_BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
# What VCF 4.3 sections 1.6.1 and 5.4 allow beside plain bases: <ID>, the four breakends, single breakends, *
_CONTIG = r"(<[^<>\s,]+>|[^<>\[\]*\s,:][^<>\[\]\s,]*)"
_ALLELE = re.compile(
    rf"[ACGTNacgtn]+|\*|<[^<>\s,]+>|[ACGTNacgtn]*(\[{_CONTIG}:\d+\[|\]{_CONTIG}:\d+\])"
    rf"|(\[{_CONTIG}:\d+\[|\]{_CONTIG}:\d+\])[ACGTNacgtn]*|\.[ACGTNacgtn]+|[ACGTNacgtn]+\."
)


class Options(BaseModel):
    """How a dataset's VCF is to be read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    assembly: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._-]+$",
        description="the reference assembly, where the header does not say it",
    )


class Header(NamedTuple):
    """What the meta-information of one file says."""

    info: dict[str, pa.DataType]
    width: int
    assembly: str
    lines: int


def read(snapshot: Snapshot, options: Options, columns: Collection[str]) -> pa.RecordBatchReader:
    """Stream the records of all files of a snapshot (VCF 4.x), in batches of about 4 MB of text.

    Columns: CHROM, POS (1-based), ID, REF, ALT, QUAL, FILTER, assembly, then the wanted INFO keys. An INFO key
    is int64 or double if its header declares one Integer or Float, bool if a Flag (false where absent), else the
    text as written: neither split nor percent-decoded. ``.`` is null.

    Raises:
        SourceError: a file is not VCF, is cut short, or does not say its assembly.
        HarmoniseError: a wanted INFO key is not declared.
    """
    if not snapshot.files:
        raise SourceError(f"{snapshot.uri} has no files", "check source.uri")
    headers = [_read_header(file, options) for file in snapshot.files]
    keys = tuple(sorted(set(columns) - set(FIXED) - {field.name for field in SOURCE_FIELDS}))
    types = _types(snapshot.files, headers, keys)
    schema = pa.schema([*SOURCE_FIELDS, *(pa.field(name, kind) for name, kind in {**FIXED, **types}.items())])
    return pa.RecordBatchReader.from_batches(schema, _batches(snapshot.files, headers, types, schema))


def _types(files: tuple[SourceFile, ...], headers: list[Header], keys: tuple[str, ...]) -> dict[str, pa.DataType]:
    for file, header in zip(files, headers, strict=True):
        for key in keys:
            if key not in header.info:
                declared = ", ".join([*FIXED, *sorted(header.info)])
                raise HarmoniseError(
                    f"{file.name} has no column {key!r}: it is no INFO key that the header declares",
                    f"map one of the columns there are: {declared}",
                )
            if header.info[key] != headers[0].info[key]:
                raise SourceError(
                    f"{file.name} declares INFO key {key} as {header.info[key]}, "
                    f"but {files[0].name} as {headers[0].info[key]}",
                    "give files that differ in their headers datasets of their own",
                )
    return {key: headers[0].info[key] for key in keys}


# --- header ------------------------------------------------------------


def _open(file: SourceFile) -> BinaryIO:
    """The file's text. Whether it is compressed is told by its first bytes, not by its name."""
    try:
        with Path(file.path).open("rb") as raw:
            head = raw.read(14)
            if head.startswith(b"\x1f\x8b") and head[12:14] == b"BC":
                raw.seek(max(0, file.path.stat().st_size - len(_BGZF_END)))
                if raw.read() != _BGZF_END:
                    raise SourceError(f"{file.name} is cut short: it lacks the end marker of BGZF", "fetch it again")
        return cast("BinaryIO", gzip.open(file.path) if head.startswith(b"\x1f\x8b") else file.path.open("rb"))
    except OSError as error:
        raise SourceError(f"{file.name} cannot be opened: {error}", "fetch it again") from error


def _take(stream: BinaryIO, file: SourceFile, size: int) -> bytes:
    """Up to ``size`` bytes; with ``size`` 0, one line."""
    try:
        return stream.read(size) if size else stream.readline(MAX_LINE)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{file.name} is cut short or damaged: {error}", "fetch it again") from error


def _read_header(file: SourceFile, options: Options) -> Header:
    with _open(file) as stream:
        first = _take(stream, file, 0).decode("utf-8", "replace").rstrip("\r\n")
        if not first:
            raise SourceError(
                f"{file.name} is empty or begins with an empty line", "check source.uri, and fetch it again"
            )
        if not first.startswith("##fileformat=VCF"):
            raise SourceError(
                f"{file.name} is not VCF: its first line is {first[:80]!r}, not '##fileformat=VCF...'",
                "check source.uri and source.format",
            )
        meta = [first]
        while (line := _take(stream, file, 0).decode("utf-8", "replace").rstrip("\r\n")).startswith("##"):
            meta.append(line)
    names = line.split("\t")
    if names[: len(_MANDATORY)] != _MANDATORY:
        raise SourceError(
            f"{file.name} line {len(meta) + 1}: expected the line '#CHROM POS ID REF ALT QUAL FILTER INFO', "
            f"with tabs, not {line[:80]!r}",
            "check that the file is complete VCF",
        )
    return Header(_declared(meta), len(names), _assembly(file, meta, options), len(meta) + 1)


def _declared(meta: list[str]) -> dict[str, pa.DataType]:
    """The Arrow type of each INFO key that is declared with ID, Number and Type; of two the first counts."""
    found: dict[str, pa.DataType] = {}
    for line in meta:
        if line.startswith("##INFO=<"):
            unquoted = re.sub(r'"(?:[^"\\]|\\.)*"', '""', line[7:])
            said = dict(re.findall(r"[<,](ID|Number|Type)=([^,>]*)", unquoted))
            if len(said) == 3:
                found.setdefault(said["ID"], _arrow(said["Number"], said["Type"]))
    return found


def _arrow(number: str, kind: str) -> pa.DataType:
    if kind == "Flag":
        return pa.bool_()
    return _NUMBERS.get(kind, pa.string()) if number == "1" else pa.string()


def _canonical(text: str) -> set[str]:
    return {name for name, pattern in _ASSEMBLIES.items() if pattern.search(text)}


def _assembly(file: SourceFile, meta: list[str], options: Options) -> str:
    said = [line[12:] for line in meta if line.startswith("##reference=")]
    said += re.findall(r"(?m)^##contig=<.*?\bassembly=([^,>]+)", "\n".join(meta))
    found = {name for text in said for name in _canonical(text)}
    given = next(iter(_canonical(options.assembly)), options.assembly) if options.assembly else None
    if len(found) > 1:
        raise SourceError(
            f"the header of {file.name} names two assemblies: {', '.join(sorted(found))}", "mend the header"
        )
    if given and found and found != {given}:
        raise SourceError(
            f"source.options.assembly is {given}, but the header of {file.name} says {', '.join(found)}",
            "correct source.options.assembly, or leave it out",
        )
    if not given and not found:
        raise SourceError(
            f"the header of {file.name} does not say its assembly in ##reference or ##contig",
            "set source.options.assembly, for example to GRCh38",
        )
    return given or found.pop()


# --- body ------------------------------------------------------------


def _blocks(file: SourceFile, header: Header) -> Iterator[bytes]:
    """Whole lines, about 4 MB at a time; empty lines at the end of the file are left out."""
    with _open(file) as stream:
        for _ in range(header.lines):
            _take(stream, file, 0)
        rest = b""
        while more := _take(stream, file, BLOCK):
            text = rest + more
            cut = _last_record(text)
            rest = text[cut:]
            if len(rest) > MAX_LINE:
                raise SourceError(f"{file.name} has a line longer than {MAX_LINE >> 20} MB", "check that it is VCF")
            if cut:
                yield text[:cut]
        if rest.strip(b"\r\n"):
            yield rest + b"\n"


def _last_record(text: bytes) -> int:
    """Where the last whole line ends that is not empty; empty lines count only once a record follows them."""
    filled = len(text.rstrip(b"\r\n"))
    if filled == 0:
        return 0
    after = text.find(b"\n", filled)
    return (after if after >= 0 else text.rfind(b"\n", 0, filled)) + 1


def _batches(
    files: tuple[SourceFile, ...], headers: list[Header], types: dict[str, pa.DataType], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    source, keys = 0, info_scan.prepare(tuple(types))
    for file, header in zip(files, headers, strict=True):
        line = header.lines + 1
        for block in _blocks(file, header):
            records = _Records(block, line, header)
            columns = {**records.fixed(), **records.info(keys, types)}
            batch = records.batch(columns, file.name, source, schema)
            source, line = source + batch.num_rows, line + batch.num_rows
            yield batch


class _Records:
    """The lines of one block, each a record or a fault; a record tells the first fault found in it."""

    def __init__(self, block: bytes, line: int, header: Header) -> None:
        self.block = block
        self.line = line
        self.header = header
        self.faults: dict[int, str] = {}
        self.text = np.frombuffer(block, dtype=np.uint8)
        self.begin, self.end = info_scan.lines(self.text)
        self.raw_begin = self.begin.copy()
        self._refuse_undecodable()
        self.edges, self.counts = info_scan.fields(self.text, self.begin, self.end)
        for row in np.flatnonzero(self.begin == self.end):
            self._refuse(row, "the line is empty, where a record was expected")
        for row in np.flatnonzero(self.counts != header.width):
            self._refuse(row, f"the line has {self.counts[row]} fields, where the header names {header.width}")

    def fixed(self) -> dict[str, pa.Array]:
        """The columns that every VCF has, and the assembly."""
        columns = {name: self._strings(index) for index, name in enumerate(FIXED) if name not in ("POS", "assembly")}
        columns["POS"] = pa.array(info_scan.positions(self.text, *self._span(1)))
        self._check_places(columns["CHROM"], columns["POS"])
        self._check_alleles()
        columns["QUAL"] = self._numbers(columns["QUAL"], pa.float64(), "QUAL")
        columns["assembly"] = pa.repeat(pa.scalar(self.header.assembly), len(self.begin))
        return columns

    def info(self, keys: info_scan.Keys, types: dict[str, pa.DataType]) -> dict[str, pa.Array]:
        """The wanted INFO keys, typed as the header declares them."""
        begin, size, twice = info_scan.find(self.text, *self._span(7), keys)
        for row in np.flatnonzero(twice >= 0):
            self._refuse(row, f"INFO has the key {keys.names[twice[row]]} more than once")
        columns = {}
        for index, (name, kind) in enumerate(types.items()):
            if kind == pa.bool_():
                columns[name] = self._flags(name, begin[index], size[index])
                continue
            for row in np.flatnonzero((begin[index] >= 0) & (size[index] < 0)):
                self._refuse(row, f"INFO key {name} has no value, but the header does not declare it a Flag")
            text = info_scan.strings(self.text, begin[index], size[index])
            columns[name] = text if kind == pa.string() else self._numbers(text, kind, f"INFO key {name}")
        return columns

    def batch(self, columns: dict[str, pa.Array], file: str, source: int, schema: pa.Schema) -> pa.RecordBatch:
        """The columns as a batch, null in the records at fault."""
        rows = len(self.begin)
        numbers = pa.array(np.arange(self.line, self.line + rows)).cast(pa.string())
        record, errors, raw = columns["ID"], pa.nulls(rows, pa.string()), pa.nulls(rows, pa.string())
        if self.faults:
            sound = np.ones(rows, dtype=np.bool_)
            sound[list(self.faults)] = False
            columns = {name: pc.if_else(pa.array(sound), column, None) for name, column in columns.items()}
            record = pc.if_else(pa.array(self.counts == self.header.width), record, None)
            errors = pa.array([self.faults.get(row) for row in range(rows)], pa.string())
            raw = pa.array([self._raw(row) if row in self.faults else None for row in range(rows)], pa.string())
        columns |= {
            "_source": pa.array(np.arange(source, source + rows)),
            "_position": pc.binary_join_element_wise(f"{file} line ", numbers, ""),
            "_record": record,
            "_error": errors,
            "_raw": raw,
        }
        return pa.record_batch([columns[name] for name in schema.names], schema=schema)

    def _refuse(self, row: int | np.integer, reason: str) -> None:
        self.faults.setdefault(int(row), reason)

    def _refuse_undecodable(self) -> None:
        """Blank out the lines that are not UTF-8, so that their bytes reach no column."""
        if self.block.isascii():
            return
        try:
            self.block.decode("utf-8")
        except UnicodeDecodeError:
            for row in range(len(self.begin)):
                try:
                    self.block[self.begin[row] : self.end[row]].decode("utf-8")
                except UnicodeDecodeError as error:
                    self._refuse(row, f"the line is not UTF-8 text at its byte {error.start + 1}")
            bad = list(self.faults)
            self.begin[bad] = self.end[bad]

    def _span(self, field: int) -> tuple[np.ndarray, np.ndarray]:
        return self.edges[field], self.edges[field + 1] - 1

    def _strings(self, field: int) -> pa.StringArray:
        begin, end = self._span(field)
        return info_scan.strings(self.text, begin, end - begin)

    def _value(self, field: int, row: int | np.integer) -> str:
        begin, end = self._span(field)
        return self.block[begin[row] : end[row]].decode("utf-8", "replace")

    def _raw(self, row: int) -> str:
        return self.block[self.raw_begin[row] : self.end[row]][:MAX_RAW].decode("utf-8", "replace")

    def _check_places(self, contigs: pa.StringArray, positions: pa.Int64Array) -> None:
        for row in np.flatnonzero(pc.fill_null(pc.equal(pc.binary_length(contigs), 0), True)):
            self._refuse(row, "CHROM is missing, expected the name of a contig")
        for row in np.flatnonzero(positions.to_numpy() <= 0):
            self._refuse(row, f"POS is {self._value(1, row)[:80]!r}, expected a positive integer")

    def _check_alleles(self) -> None:
        for row in np.flatnonzero(~info_scan.references(self.text, *self._span(3))):
            shown = self._value(3, row)[:80]
            self._refuse(row, f"REF is {shown!r}, expected bases: VCF permits only A, C, G, T and N there")
        for row in np.flatnonzero(~info_scan.alternates(self.text, *self._span(4))):
            wrong = [allele for allele in self._value(4, row).split(",") if not _ALLELE.fullmatch(allele)]
            if wrong:
                self._refuse(row, f"ALT has {wrong[0][:80]!r}, expected bases A, C, G, T, N, '*', <ID> or a breakend")

    def _flags(self, name: str, begin: np.ndarray, size: np.ndarray) -> pa.BooleanArray:
        """A Flag holds where its key is found; some writers give it the value 1, or deny it with 0."""
        found = begin >= 0
        for row in np.flatnonzero(size >= 0):
            value = self.block[begin[row] : begin[row] + size[row]].decode("utf-8", "replace")
            found[row] = value == "1"
            if value not in ("0", "1"):
                self._refuse(row, f"INFO key {name} has the value {value[:80]!r}, but is declared a Flag")
        return pa.array(found)

    def _numbers(self, text: pa.StringArray, kind: pa.DataType, name: str) -> pa.Array:
        # Asked of every value, not only where Arrow's cast fails: that also takes 0x1F.
        right = pc.match_substring_regex(text, _INTEGER if kind == pa.int64() else _FLOAT)
        if pc.all(right, min_count=0).as_py():
            return pc.cast(pc.replace_substring(text, "+", ""), kind)
        expected = "an Integer" if kind == pa.int64() else "a Float"
        for row in np.flatnonzero(pc.fill_null(pc.invert(right), False)):
            self._refuse(row, f"{name} is {text[int(row)].as_py()[:80]!r}, expected {expected}")
        return pc.cast(pc.replace_substring(pc.if_else(right, text, None), "+", ""), kind)
