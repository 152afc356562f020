"""Texts of few values, encoded by a dictionary: what holds of each value is asked once, not of every row."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from validations.structure import Condition

TRIED = 4096


class Coding:
    """Encodes texts that have rules to keep, where the first rows show that they repeat."""

    def __init__(self, ruled: Collection[str]) -> None:
        self._ruled = ruled
        self._repeats: dict[str, bool] = {}

    def of(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The same rows; of the texts that are plain the repeating ones are encoded by a dictionary."""
        coded = {
            name: batch[name].dictionary_encode()
            for name in self._ruled
            if pa.types.is_string(batch.schema.field(name).type) and self._repeat(name, batch[name])
        }
        if not coded:
            return batch
        columns = {
            name: coded.get(name, column) for name, column in zip(batch.schema.names, batch.columns, strict=True)
        }
        fields = [field.with_type(columns[field.name].type) for field in batch.schema]
        return pa.RecordBatch.from_arrays([*columns.values()], schema=pa.schema(fields, batch.schema.metadata))

    def _repeat(self, name: str, column: pa.StringArray) -> bool:
        if name not in self._repeats:
            tried = column.slice(0, TRIED).drop_null()
            if len(tried) == 0:
                return False
            self._repeats[name] = 2 * pc.count_distinct(tried).as_py() < len(tried)
        return self._repeats[name]


def coded_columns(batch: pa.RecordBatch) -> tuple[str, ...]:
    """The columns of a batch that are encoded by a dictionary smaller than the batch."""
    return tuple(
        name
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
        if pa.types.is_dictionary(column.type) and len(column.dictionary) < len(column)
    )


def present(column: pa.DictionaryArray) -> pa.Array:
    """The values that rows of a column have, each once; null if a row has none."""
    counts = np.bincount(column.indices.drop_null().to_numpy(), minlength=len(column.dictionary))
    values = column.dictionary.take(pa.array(np.flatnonzero(counts)))
    return values if column.null_count == 0 else pa.concat_arrays([values, pa.nulls(1, values.type)])


def verdicts(column: pa.DictionaryArray, conditions: Sequence[Condition]) -> list[pl.Series | None]:
    """For each condition on a column which rows keep it; None where all its values do."""
    values = pa.concat_arrays([column.dictionary, pa.nulls(1 if column.null_count else 0, column.dictionary.type)])
    frame = as_frame(values, conditions[0].column)
    asked = [
        condition.holds.fill_null(condition.check != "not_null").alias(str(index))
        for index, condition in enumerate(conditions)
    ]
    return [None if kept.all() else _spread(column, kept) for kept in frame.select(asked).get_columns()]


def as_frame(values: pa.Array, name: str) -> pl.DataFrame:
    """Texts as a polars frame of one column."""
    return pl.DataFrame({name: pl.Series(values, dtype=pl.String)})


def _spread(column: pa.DictionaryArray, kept: pl.Series) -> pl.Series:
    """The verdict on each value, as a verdict on each row."""
    codes = column.indices.fill_null(len(column.dictionary)).to_numpy()
    return pl.Series(np.asarray(kept)[codes])
