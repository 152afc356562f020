"""GNoME: one source record per row of its summary table, with the structure from its archive of CIFs.

A snapshot is the folder that GNoME publishes (the summary as CSV beside ``by_id.zip``), or one zip archive with the
summary and the CIFs. A row and its CIF have one ``MaterialId``; a row without a CIF, or a CIF without a row, is a
record that says so. Source columns are those of the CIF reader, and those of the summary by their names. The CIFs are
written without symmetry, so the space group that counts as declared is the summary's.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Collection, Iterator
from difflib import get_close_matches
from typing import IO

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from assets.cif_blocks import STRUCTURE, Text, Wanted, lost, read_texts, schema
from assets.cif_texts import MAX_TEXT, records
from assets.members import DAMAGED, damaged
from assets.readers import SOURCE_FIELDS
from catalog.errors import HarmoniseError, SourceError
from catalog.records import Snapshot, SourceFile

IDENTIFIER = "MaterialId"
_NUMBER, _SYMBOL = "Space Group Number", "Space Group"


class Options(BaseModel):
    """Which of the files are read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    summary: str = Field("stable_materials_summary.csv", description="the table with a row for each material")
    structures: str = Field("by_id.zip", description="the archive with a CIF for each row, named for its MaterialId")


def read(snapshot: Snapshot, options: Options, columns: Collection[str]) -> pa.RecordBatchReader:
    """Stream the rows of the summary with their structures, parsed in processes of their own.

    Raises:
        SourceError: summary or archive is missing or broken (also while iterating).
        HarmoniseError: a wanted column is not in the summary and looks like a misspelling of one that is.
    """
    header = _header(snapshot, options)
    if IDENTIFIER not in header:
        raise SourceError(f"{options.summary} has no column {IDENTIFIER!r}", f"it has: {', '.join(header)}")
    known = {*STRUCTURE, *(field.name for field in SOURCE_FIELDS)}
    for name in sorted(set(columns) - known - set(header)):
        if meant := get_close_matches(name, header, n=1, cutoff=0.85):
            raise HarmoniseError(
                f"{options.summary} has no column {name!r}; did you mean {meant[0]!r}?",
                f"it has: {', '.join(name for name in header if name)}",
            )
    beside = tuple(name for name in header if name in columns or name in (_NUMBER, _SYMBOL))
    wanted = Wanted((), beside)
    return pa.RecordBatchReader.from_batches(schema(wanted), _batches(snapshot, options, wanted))


def _batches(snapshot: Snapshot, options: Options, wanted: Wanted) -> Iterator[pa.RecordBatch]:
    for batch in records(_texts(snapshot, options, wanted.beside), wanted, set(), read_texts, lost):
        for name, column in (("space_group_it_number", _NUMBER), ("space_group_name_h-m", _SYMBOL)):
            if column in wanted.beside:
                place = batch.schema.get_field_index(name)
                batch = batch.set_column(place, batch.schema.field(name), _declared(batch[column], name))
        yield batch


def _declared(column: pa.Array, name: str) -> pa.Array:
    if name == "space_group_name_h-m":
        return column
    numbers = [
        int(text) if text and text.isdecimal() and 1 <= int(text) <= 230 else None for text in column.to_pylist()
    ]
    return pa.array(numbers, pa.int32())


def _texts(snapshot: Snapshot, options: Options, beside: tuple[str, ...]) -> Iterator[Text]:
    try:
        with zipfile.ZipFile(_file(snapshot, options.structures).path) as archive:
            # Of a name only what stands between folder and ending is the identifier.
            members = {_identifier(name): name for name in archive.namelist() if name.lower().endswith(".cif")}
            for number, row in enumerate(_rows(snapshot, options), 1):
                identifier = row.get(IDENTIFIER) or ""
                place = f"{options.summary} row {number}"
                values = tuple(row.get(name) or None for name in beside)
                text = _text(archive, members.pop(identifier, None), f"{place} {identifier}".strip(), options)
                yield text._replace(record=identifier or None, values=values)
            for identifier, name in members.items():
                problem = f"no row of {options.summary} has the {IDENTIFIER} {identifier}, or a second one has it"
                text = _text(archive, name, f"{options.structures} {name}", options)
                yield text._replace(record=identifier, problem=problem, values=(None,) * len(beside))
    except DAMAGED as error:
        raise damaged(options.structures, error) from error


def _text(archive: zipfile.ZipFile, name: str | None, place: str, options: Options) -> Text:
    if name is None:
        return Text(place, b"", f"{options.structures} has no CIF of this {IDENTIFIER}, or an earlier row has it")
    if archive.getinfo(name).file_size > MAX_TEXT:
        return Text(place, b"", f"{name} is larger than {MAX_TEXT >> 20} MB")
    return Text(place, archive.read(name))


def _identifier(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[0]


def _header(snapshot: Snapshot, options: Options) -> list[str]:
    with _summary(snapshot, options) as stream:
        return next(csv.reader(stream), [])


def _rows(snapshot: Snapshot, options: Options) -> Iterator[dict[str, str]]:
    with _summary(snapshot, options) as stream:
        for row in csv.DictReader(stream):
            yield {name: value for name, value in row.items() if isinstance(name, str) and isinstance(value, str)}


def _summary(snapshot: Snapshot, options: Options) -> IO[str]:
    """The summary as text: a file of its own, or a member of the one archive."""
    file = _file(snapshot, options.summary)
    if file.name.rpartition("/")[2] == options.summary:
        return file.path.open(encoding="utf-8-sig", errors="replace", newline="")
    try:
        with zipfile.ZipFile(file.path) as archive:
            name = next((name for name in archive.namelist() if name.rpartition("/")[2] == options.summary), None)
            if name is None:
                raise SourceError(f"{file.name} holds no {options.summary}", "check source.uri and source.options")
            # Opened once more, so that it stays readable when this archive is closed.
            return io.TextIOWrapper(zipfile.ZipFile(file.path).open(name), "utf-8-sig", errors="replace", newline="")
    except DAMAGED as error:
        raise damaged(file.name, error) from error


def _file(snapshot: Snapshot, wanted: str) -> SourceFile:
    """The file of that name, or the only one, which then is an archive of all."""
    for file in snapshot.files:
        if file.name.rpartition("/")[2] == wanted:
            return file
    if len(snapshot.files) == 1 and zipfile.is_zipfile(snapshot.files[0].path):
        return snapshot.files[0]
    raise SourceError(
        f"{snapshot.uri} holds no {wanted}", "give the folder that has it, or a zip archive with summary and CIFs"
    )
