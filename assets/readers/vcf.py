"""VCF 4.0 to 4.5, plain, gzip or BGZF: one row per data line, with the wanted INFO keys as columns.

The body is cut into blocks at line ends; ``assets.info_scan`` locates fields and INFO keys in one pass over the
bytes. Each line thus has its exact number, a bad byte or a bad value spoils its own record only, no line is too
long for a block, and a block full of bad lines costs no more memory than a good one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from assets import info_scan
from assets.ahead import ahead
from assets.annotations import MATCHING
from assets.bgzf import Opener, blocks, open_text
from assets.readers import SOURCE_FIELDS
from assets.vcf_fields import INFO, scan
from assets.vcf_header import RESERVED, Header, Info, read_header
from assets.vcf_records import COUNTED, FIXED, Records, Wanted, keys
from catalog.errors import HarmoniseError, SourceError
from catalog.records import Snapshot, SourceFile

BLOCK = 8 << 20
_INDEXES = (".tbi", ".csi", ".idx")


class Options(BaseModel):
    """How a dataset's VCF is to be read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    assembly: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._-]+$",
        description="the reference assembly, where the header does not say it",
    )
    annotations: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._]+$",
        description="the INFO key of the annotation string, where it is not the first of CSQ, ANN and vep; "
        "none leaves such strings unsplit",
    )
    undeclared: tuple[str, ...] = Field(
        (),
        description="INFO keys that records may have though the header does not declare them, "
        "where those that begin the file have none",
    )


def read(
    snapshot: Snapshot, options: Options, columns: Collection[str], opener: Opener = open_text
) -> pa.RecordBatchReader:
    """Stream the records of all files of a snapshot (VCF 4.0 to 4.5), in batches of about 8 MB of text.

    Columns: CHROM, POS (1-based), ID, REF, ALT (commas as written, bases in capitals), QUAL, FILTER (a list: empty
    where it says PASS), assembly, then what is wanted: an INFO key, typed as the header declares it; AC, AN, AF and
    nhomalt, counted from the genotypes where INFO does not give them; fields of the annotation string, as one
    column that the string's key names. ``.`` is null. A column's metadata says the declared ``number``.

    ``opener`` gives the text of a file, more than once; indexes beside the files are not looked at.

    Raises:
        SourceError: a file is not VCF, is cut short, or does not say its assembly.
        HarmoniseError: what is wanted is neither declared nor in the records.
    """
    # An index alone is told by its bytes for what it is.
    files = tuple(file for file in snapshot.files if not file.name.endswith(_INDEXES)) or snapshot.files
    if not files:
        raise SourceError(f"{snapshot.uri} has no files", "check source.uri")
    headers = [read_header(file, opener, options.assembly, options.annotations) for file in files]
    names = sorted(set(columns) - set(FIXED) - {field.name for field in SOURCE_FIELDS})
    wanted = _wanted(files, opener, headers, names, options.undeclared)
    schema = pa.schema(
        [
            *SOURCE_FIELDS,
            *(pa.field(name, kind) for name, kind in FIXED.items()),
            *(one.field for one in wanted),
        ]
    )
    return pa.RecordBatchReader.from_batches(schema, _batches(files, opener, headers, wanted, schema))


def _batches(
    files: tuple[SourceFile, ...],
    opener: Opener,
    headers: list[Header],
    wanted: tuple[Wanted, ...],
    schema: pa.Schema,
) -> Iterator[pa.RecordBatch]:
    source, looked_up = 0, keys(wanted)
    for file, header in zip(files, headers, strict=True):
        line = header.lines + 1
        for block, size in ahead(blocks(file, opener, header.lines, BLOCK)):
            records = Records(block, size, header)
            batch = records.batch(looked_up, wanted, f"{file.name} line ", line, source, schema)
            source, line = source + batch.num_rows, line + batch.num_rows
            yield batch


# --- what is wanted ---------------------------------------------------


def _wanted(
    files: tuple[SourceFile, ...],
    opener: Opener,
    headers: list[Header],
    names: list[str],
    listed: tuple[str, ...],
) -> tuple[Wanted, ...]:
    """What each name stands for, the same in every file."""
    unknown = [name for name in names if any(_known(header, name) is None for header in headers)]
    seen = {*listed, *(_seen(files, opener, headers, unknown) if unknown else ())}
    first: dict[str, Wanted] = {}
    for file, header in zip(files, headers, strict=True):
        found: dict[str, Wanted] = {}
        for name in names:
            one = _known(header, name) or (_undeclared(name) if name in seen else None)
            if one is None:
                raise _no_column(file, header, name)
            found[one.field.name] = one
        for name, one in found.items():
            before = first.setdefault(name, one)
            if before.field.type != one.field.type:
                raise SourceError(
                    f"{file.name} declares INFO key {name} as {one.field.type}, "
                    f"but {files[0].name} as {before.field.type}",
                    "give files that differ in their headers datasets of their own",
                )
    return tuple(_annotated(headers[0], one, names) for one in first.values())


def _known(header: Header, name: str) -> Wanted | None:
    if (
        header.annotations
        and name in (header.annotations[0], *filter(None, header.annotations[1]))
        and (name == header.annotations[0] or name not in header.info)
    ):
        return Wanted(pa.field(header.annotations[0], pa.list_(pa.struct([])), metadata={"annotations": "true"}))
    if name in header.info:
        info = header.info[name]
        computed = header.samples and name in COUNTED and info.type == RESERVED[name].type
        return Wanted(_field(name, info), computed)
    if header.samples and name in COUNTED:
        return Wanted(_field(name, RESERVED[name]), True)
    return None


def _undeclared(name: str) -> Wanted:
    return Wanted(_field(name, RESERVED.get(name, Info(pa.string(), "."))))


def _field(name: str, info: Info) -> pa.Field:
    return pa.field(name, info.type, metadata={"number": info.number})


def _annotated(header: Header, one: Wanted, names: list[str]) -> Wanted:
    """An annotation column with the fields that are wanted, and those that say which allele an entry is of."""
    if header.annotations is None or one.field.name != header.annotations[0]:
        return one
    key, fields = header.annotations
    chosen = tuple(
        name for name in dict.fromkeys(fields) if name and (key in names or name in names or name in MATCHING)
    )
    kind = pa.list_(pa.struct([pa.field(name, pa.string()) for name in chosen]))
    return Wanted(one.field.with_type(kind), False, fields, chosen)


def _seen(files: tuple[SourceFile, ...], opener: Opener, headers: list[Header], names: list[str]) -> set[str]:
    """Which of the keys the first records of the files have, though no header declares them."""
    sought = info_scan.prepare(tuple(names))
    found: set[str] = set()
    for file, header in zip(files, headers, strict=True):
        block, size = next(blocks(file, opener, header.lines, BLOCK), (b"", 0))
        if size:
            text = np.frombuffer(block, dtype=np.uint8, count=size)
            edges = scan(text, *info_scan.lines(text)).edges
            begin = info_scan.find(text, edges[INFO], edges[INFO + 1] - 1, sought).begin
            found |= {name for name, row in zip(names, begin, strict=True) if (row >= 0).any()}
    return found


def _no_column(file: SourceFile, header: Header, name: str) -> HarmoniseError:
    fields = [field for field in header.annotations[1] if field] if header.annotations else []
    declared = ", ".join([*FIXED, *sorted(header.info), *fields])
    return HarmoniseError(
        f"{file.name} has no column {name!r}: it is no INFO key that the header declares",
        f"map one of the columns there are: {declared}; or, if records have it all the same, name it in "
        "source.options.undeclared",
    )
