"""Signals: from the machine's units to those of the IMAS data dictionary, and from marks for no value to null.

Values keep all that they hold: a unit that does not convert back to the same numbers (to the last place of a double)
is a failure of the record.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from assets.shot_signals import is_missing
from assets.source_units import to_unit
from catalog.standards import imas_nodes

Floats = npt.NDArray[np.float64]
LEAST = float(np.finfo(np.float64).tiny)
"""Doubles nearer to 0 have fewer places, and no quantity here is as small."""
READS = frozenset({"path", "source_unit", "missing", "value"})


def transform(batch: pa.RecordBatch) -> pa.RecordBatch:
    """``value`` in the dictionary's unit with null for what is missing, and that ``unit`` after the batch's columns.

    What has no unit, one that is not known, or one of another quantity, gets ``_error``.
    """
    errors = batch["_error"].to_pylist()
    units: list[str | None] = [None] * batch.num_rows
    rows = zip(batch["path"].to_pylist(), batch["source_unit"].to_pylist(), batch["missing"].to_pylist(), strict=True)
    values: list[pa.Array | None] = [None] * batch.num_rows
    for number, (path, source_unit, marks) in enumerate(rows):
        if errors[number] is not None:
            continue
        try:
            units[number] = unit = _unit(path)
            given = np.asarray(batch["value"][number].values)
            values[number] = converted(given, source_unit, unit, marks)
        except ValueError as error:
            errors[number] = f"{path}: {error}; correct `unit` in the mapping of the source's options"
    batch = _replaced(batch, "_error", pa.array(errors, pa.string()))
    batch = _replaced(batch, "value", _lists(values))
    if "unit" in batch.schema.names:
        return _replaced(batch, "unit", pa.array(units, pa.string()))
    return batch.append_column("unit", pa.array(units, pa.string()))


def converted(given: Floats, source_unit: str | None, unit: str | None, marks: Any) -> pa.Array:
    """The values in ``unit``, null where they are NaN or one of ``marks``.

    Raises:
        ValueError: the unit is not known, is another quantity's, or does not convert back to the same numbers.
    """
    missing = is_missing(given, marks)
    factor, divisor = to_unit(source_unit or "", unit or "")
    found = given * factor / divisor
    if (factor, divisor) != (1.0, 1.0):
        with np.errstate(invalid="ignore", over="ignore"):
            away = np.abs(found * divisor / factor - given) > np.maximum(np.spacing(np.abs(given)), LEAST)
        if (away & ~missing & np.isfinite(given)).any():
            raise ValueError(f"values in {source_unit!r} do not keep their precision in {unit!r}")
    return pa.array(found, mask=missing)


def _unit(path: str) -> str | None:
    node = imas_nodes(path.partition(".")[0]).get(path)
    if node is None:
        raise ValueError("the IMAS data dictionary 4.1.1 has no such path")
    return node.unit or None


def _lists(values: list[pa.Array | None]) -> pa.Array:
    lengths = [0 if one is None else len(one) for one in values]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    there = [one for one in values if one is not None]
    flat = pa.concat_arrays(there) if there else pa.array([], pa.float64())
    absent = pa.array([one is None for one in values])
    return pa.ListArray.from_arrays(pa.array(offsets), flat, type=pa.list_(pa.float64()), mask=absent)


def _replaced(batch: pa.RecordBatch, name: str, values: pa.Array) -> pa.RecordBatch:
    place = batch.schema.get_field_index(name)
    return batch.set_column(place, pa.field(name, values.type), values)
