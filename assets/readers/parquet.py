"""Parquet: one source record per row, in one file or in a folder of files that have the same columns.

Of a file only the columns are read that a mapping wants, a piece of a row group at a time. A row stands where its
number in the file says, from 0. (Signals of a shot as columns on a clock are the format ``shot_parquet``.)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from assets.readers import SOURCE_FIELDS
from catalog.errors import SourceError
from catalog.records import Snapshot, SourceFile

ROWS = 65_536


class Options(BaseModel):
    """Parquet needs no options."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def read(snapshot: Snapshot, options: Options, columns: Collection[str]) -> pa.RecordBatchReader:  # noqa: ARG001
    """Stream the rows; the columns are SOURCE_FIELDS, then those of the first file that are wanted.

    Raises:
        SourceError: there is no file, one is no Parquet or is damaged, or two have columns of different types (also
            while iterating).
    """
    if not snapshot.files:
        raise SourceError(f"{snapshot.uri} has no files", "point the source at one or more Parquet files")
    first = opened(snapshot.files[0]).schema_arrow
    spelled = {name.lower(): name for name in first.names}
    wanted = sorted({spelled[name.lower()] for name in columns if name.lower() in spelled})
    fields = [first.field(name).with_nullable(True).remove_metadata() for name in wanted]
    schema = pa.schema([*SOURCE_FIELDS, *fields])
    return pa.RecordBatchReader.from_batches(schema, _batches(snapshot, fields, schema))


def opened(file: SourceFile) -> pq.ParquetFile:
    """One file. Raises SourceError where it is no Parquet."""
    try:
        return pq.ParquetFile(file.path)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{file.name} is no Parquet: {error}", "fetch it again; it may be cut short") from None


def _batches(snapshot: Snapshot, fields: list[pa.Field], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    read = 0
    for file in snapshot.files:
        row = 0
        with opened(file) as table:
            _refuse_other_columns(file, table.schema_arrow, fields)
            try:
                for batch in table.iter_batches(ROWS, columns=[field.name for field in fields]):
                    rows = range(row, row + batch.num_rows)
                    position = pa.array([f"{file.name} row {number}" for number in rows], pa.string())
                    empty = pa.nulls(len(rows), pa.string())
                    numbers = pa.array(np.arange(read, read + len(rows)), pa.int64())
                    values = [batch[field.name] for field in fields]
                    yield pa.RecordBatch.from_arrays([numbers, position, empty, empty, empty, *values], schema=schema)
                    row, read = row + len(rows), read + len(rows)
            except (pa.ArrowException, OSError) as error:
                raise SourceError(
                    f"{file.name} cannot be read after row {row}: {error}", "it is damaged: fetch it again"
                ) from None


def _refuse_other_columns(file: SourceFile, schema: pa.Schema, fields: list[pa.Field]) -> None:
    for field in fields:
        place = schema.get_field_index(field.name)
        kind = schema.field(place).type if place >= 0 else None
        if kind != field.type:
            raise SourceError(
                f"{file.name}: column {field.name!r} is {kind or 'absent or there twice'}, in the first {field.type}",
                "files of one source have the same columns; give those that differ a dataset of their own",
            )
