"""CIF (Crystallographic Information File), core dictionary: one source record per data block.

A snapshot is one CIF, a folder of them, or a zip or tar archive of them; ``.gz`` files and members are unpacked in
memory. With ``text_column`` it is a CSV or Parquet table instead, with a CIF in that column of each row; its other
columns can be wanted by their names.

Source columns are the core dictionary's data names in lower case without the leading underscore
(``cell_length_a``); a dot in a name counts as an underscore, which makes the dotted names of newer files the same
columns. Numbers lose their standard uncertainty (``3.475(1)`` is 3.475); ``?`` and ``.`` are null. A name that the
file gives as a loop is the loop's values joined by ``; ``. ``file_name`` is that of the file, without its ending.
What strict CIF does not allow is set right by the rules of ``assets.cif_repairs``, which ``repairs`` names.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator
from difflib import get_close_matches
from pathlib import Path

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from assets.cif_blocks import NUMBERS, STRUCTURE, TEXTS, Text, Wanted, lost, read_texts, schema
from assets.cif_texts import MAX_TEXT, records, texts
from assets.members import DAMAGED, damaged, unpacked
from assets.readers import SOURCE_FIELDS
from catalog.errors import HarmoniseError, SourceError
from catalog.records import Snapshot


class Options(BaseModel):
    """Where the CIF texts are, if they are not files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text_column: str | None = Field(
        None, description="the column of a CSV or Parquet file that holds a CIF in each row"
    )
    id_column: str | None = Field(None, description="the column of that file with the identifiers of the records")


def read(snapshot: Snapshot, options: Options, columns: Collection[str]) -> pa.RecordBatchReader:
    """Stream a snapshot's data blocks as records, parsed in processes of their own.

    Args:
        snapshot: one file, one archive, or a folder of files.
        options: whether the texts are in a column of a table.
        columns: data names that the mapping wants besides those of the structure itself, or columns of that table.

    Raises:
        SourceError: the snapshot holds no CIF, or an archive is broken (also while iterating).
        HarmoniseError: at the end of the stream, if a wanted data name was in none of its blocks and looks like a
            misspelling of one that exists. (Any data name may be absent from any block: it is null there.)
    """
    beside = _columns_beside(snapshot, options, columns)
    known = {*STRUCTURE, *beside, *(field.name for field in SOURCE_FIELDS)}
    names = sorted({name.lower() for name in columns if name not in beside} - known)
    wanted = Wanted(tuple(names), beside)
    return pa.RecordBatchReader.from_batches(schema(wanted), _batches(snapshot, options, wanted))


def _batches(snapshot: Snapshot, options: Options, wanted: Wanted) -> Iterator[pa.RecordBatch]:
    seen: set[str] = set()
    given = texts(snapshot) if options.text_column is None else _cells(snapshot, options, wanted.beside)
    some = False
    for batch in records(given, wanted, seen, read_texts, lost):
        some = True
        yield batch
    if not some:
        raise SourceError(
            f"{snapshot.uri} holds no CIF", "expected files named *.cif, *.cif.gz or *.mcif, or a zip or tar of them"
        )
    _refuse_misspelt(snapshot, set(wanted.names) - seen - NUMBERS - TEXTS, seen)


def _refuse_misspelt(snapshot: Snapshot, missing: set[str], seen: set[str]) -> None:
    for name in sorted(missing):
        meant = get_close_matches(name, sorted(seen | NUMBERS | TEXTS), n=1, cutoff=0.92)
        if meant:
            raise HarmoniseError(
                f"no data block of {snapshot.uri} has _{name}; did you mean {meant[0]!r}?",
                f"the data names there are: {', '.join(sorted(seen))}",
            )


def _columns_beside(snapshot: Snapshot, options: Options, columns: Collection[str]) -> tuple[str, ...]:
    """The wanted columns that are those of a table, not data names."""
    if options.text_column is None:
        return ()
    names = _header(snapshot, snapshot.files[0].path)
    for setting, name in (("text_column", options.text_column), ("id_column", options.id_column)):
        if name is not None and name not in names:
            raise SourceError(
                f"{snapshot.files[0].name} has no column {name!r}; it has {', '.join(names)}",
                f"correct source.options.{setting}",
            )
    return tuple(name for name in names if name in columns and name != options.text_column)


def _header(snapshot: Snapshot, path: Path) -> list[str]:
    for row in _table(snapshot, path):
        return list(row)
    raise SourceError(f"{path.name} has no rows", "check source.uri")


def _cells(snapshot: Snapshot, options: Options, beside: tuple[str, ...]) -> Iterator[Text]:
    for file in snapshot.files:
        for number, row in enumerate(_table(snapshot, file.path), 1):
            content = (row.get(options.text_column or "") or "").encode("utf-8", errors="surrogateescape")
            record = _words(row.get(options.id_column)) if options.id_column else None
            problem = "" if content.strip() else f"column {options.text_column!r} is empty; expected a CIF"
            values = tuple(_words(row.get(name)) for name in beside)
            yield Text(f"{file.name} row {number}", content[:MAX_TEXT], problem, record, values)


def _words(value: str | None) -> str | None:
    """A cell as text, with what is not UTF-8 in it marked."""
    return None if value is None else value.encode("utf-8", errors="surrogateescape").decode("utf-8", errors="replace")


def _table(snapshot: Snapshot, path: Path) -> Iterator[dict[str, str | None]]:
    """The rows of a CSV or Parquet file as texts."""
    with path.open("rb") as stream:
        if stream.read(4) == b"PAR1":
            yield from _parquet(snapshot, path)
            return
    csv.field_size_limit(MAX_TEXT)
    with path.open("rb") as packed:
        try:
            lines = io.TextIOWrapper(unpacked(packed), "utf-8-sig", errors="surrogateescape", newline="")
            for row in csv.DictReader(lines):
                yield {name: value for name, value in row.items() if isinstance(name, str)}
        except (csv.Error, *DAMAGED) as error:
            raise damaged(f"{snapshot.uri} {path.name}", error) from error


def _parquet(snapshot: Snapshot, path: Path) -> Iterator[dict[str, str | None]]:
    import pyarrow.parquet as pq

    try:
        for batch in pq.ParquetFile(path).iter_batches(1024):
            yield from (
                {name: None if value is None else str(value) for name, value in row.items()}
                for row in batch.to_pylist()
            )
    except pa.ArrowException as error:
        raise damaged(f"{snapshot.uri} {path.name}", error) from error
