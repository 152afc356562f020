"""Shots in Parquet: the signals of a shot as columns on one clock, one file per shot, named for its pulse.

Of a file only the clock and the mapped columns are read. A mapped column that a shot lacks, or that is no signal, is a
record that says so; so is a file that is no Parquet. A column's unit is that of its field's metadata (``unit`` or
``units``), unless the mapping gives one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from assets.readers import SOURCE_FIELDS
from assets.readers.parquet import opened
from assets.shot_signals import SIGNAL, Options, Record, failed, numbered, record, seconds
from catalog.errors import HarmoniseError, SourceError
from catalog.records import Snapshot, SourceFile

__all__ = ["Options", "read"]

SCHEMA = pa.schema([*SOURCE_FIELDS, *SIGNAL])
_UNIT_KEYS = (b"unit", b"units")


def read(snapshot: Snapshot, options: Options, columns: Collection[str]) -> pa.RecordBatchReader:
    """Stream the signals of all shots: ``assets.shot_signals.SIGNAL`` says what they hold.

    Raises:
        HarmoniseError: a column is wanted that there is not.
        SourceError: there is no file, or the only one is no Parquet (while iterating).
    """
    unknown = sorted(set(columns) - set(SCHEMA.names))
    if unknown:
        raise HarmoniseError(
            f"signals of {snapshot.uri} have no column {', '.join(map(repr, unknown))}",
            f"the columns are: {', '.join(field.name for field in SIGNAL)}",
        )
    return pa.RecordBatchReader.from_batches(SCHEMA, numbered(_records(snapshot, options), SCHEMA))


def _records(snapshot: Snapshot, options: Options) -> Iterator[Record]:
    for file in snapshot.files:
        try:
            pulse = options.pulse_of(file.name)
            with opened(file) as shot:
                yield from _of_shot(file, shot, pulse, options)
        except SourceError as error:
            if len(snapshot.files) == 1:
                raise
            yield {"_position": file.name, "_error": error.problem}


def _of_shot(file: SourceFile, shot: pq.ParquetFile, pulse: int, options: Options) -> Iterator[Record]:
    columns = _Columns(shot)
    time, problem = _clock(columns, options)
    for source, rule in options.signals.items():
        if rule.optional and source not in columns.fields:
            continue
        who = {"device": options.device, "pulse": pulse}
        place = {"_position": f"{file.name} {source}", "_record": f"{options.device}/{pulse}/{source}"}
        try:
            if time is None:
                raise ValueError(problem)
            value, unit = columns.numbers(source)
            yield {**place, **who, **record(source, rule, value, time, unit)}
        except (ValueError, pa.ArrowException, OSError) as error:
            yield {**place, **failed(source, rule, str(error))}


def _clock(columns: _Columns, options: Options) -> tuple[npt.NDArray[np.float64] | None, str]:
    """The times in s, or why there are none."""
    try:
        value, unit = columns.numbers(options.clock)
        return seconds(value, unit or options.clock_unit), ""
    except (ValueError, pa.ArrowException, OSError) as error:
        return None, f"the shot has no clock {options.clock!r}: {error}"


class _Columns:
    """The columns of one file, each read when it is asked for."""

    def __init__(self, shot: pq.ParquetFile) -> None:
        self._shot = shot
        self._places: dict[str, list[int]] = {}
        schema = shot.schema
        for place in range(len(schema)):
            self._places.setdefault(schema.column(place).path, []).append(place)
        self._counts = Counter(shot.schema_arrow.names)
        self.fields: dict[str, pa.Field] = {field.name: field for field in shot.schema_arrow}

    def numbers(self, name: str) -> tuple[Any, str | None]:
        """The numbers of a column with NaN for null, and its unit.

        Raises:
            ValueError: there is no such column, or two, or it holds no numbers.
        """
        if self._counts[name] != 1:
            raise ValueError(f"the file has {self._counts[name] or 'no'} columns named {name!r}, expected one")
        field = self.fields[name]
        if not (pa.types.is_integer(field.type) or pa.types.is_floating(field.type)):
            raise ValueError(f"the column holds {field.type}, expected numbers")
        metadata = field.metadata or {}
        unit = next((metadata[key].decode("utf-8", "replace") for key in _UNIT_KEYS if key in metadata), None)
        # By its place: by names, which may hold dots, Arrow looks through all columns each time.
        (column,) = self._shot.reader.read_all(column_indices=self._places[name]).columns
        return column.cast(pa.float64()).to_numpy(), unit
