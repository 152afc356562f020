"""Work on the distinct values of a column: text is read once per value, not once per row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Mask = npt.NDArray[np.bool_]


def translated(column: pa.Array, read: Callable[[str], Any], kind: pa.DataType) -> pa.Array:
    """``read`` of each value; null stays null."""
    if column.null_count == len(column):
        return pa.nulls(len(column), kind)
    coded = pc.dictionary_encode(column)
    known = pa.array([read(text) for text in coded.dictionary.to_pylist()], kind)
    return known.take(coded.indices)


def mask(condition: pa.Array) -> Mask:
    """A boolean column as a mask; null is false."""
    found: Mask = pc.fill_null(condition, False).to_numpy(zero_copy_only=False)
    return found


def given(column: pa.Array) -> Mask:
    """Which rows have a value."""
    if column.null_count in (0, len(column)):
        return np.full(len(column), column.null_count == 0 and len(column) > 0)
    return mask(pc.is_valid(column))


def numbers(column: pa.Array, kind: pa.DataType, read: Callable[[str], Any]) -> pa.Array:
    """Text as numbers: by Arrow where all of it is plain, else ``read`` of each value; what is none becomes null."""
    if column.null_count == len(column):
        return pa.nulls(len(column), kind)
    try:
        found = pc.cast(column, kind)
    except pa.ArrowInvalid:
        return translated(column, read, kind)
    if pa.types.is_floating(kind) and not pc.all(pc.is_finite(found)).as_py() and len(found) > found.null_count:
        return translated(column, read, kind)
    return found
