"""Shots: a pulse summed up at the moment when its plasma current is greatest.

From the traces ``ip_time``, ``ip_value``, ``b0_time`` and ``b0_value`` (s, A, s, T) come ``time``, ``ip``,
``plasma_duration`` and ``b0``. Sources without such traces pass through untouched.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

PLASMA_CURRENT_THRESHOLD = 10_000.0
"""A; there is a plasma while the magnitude of the plasma current is at least this."""

Floats = NDArray[np.float64]
_TRACES = ("ip_time", "ip_value", "b0_time", "b0_value")
_DERIVED = ("time", "ip", "plasma_duration", "b0")


def transform(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Add ``time`` [s], ``ip`` [A], ``plasma_duration`` [s] and ``b0`` [T]; null where no trace tells.

    A record whose trace has another number of times than of values gets ``_error``.
    """
    if not set(_TRACES) <= set(batch.schema.names):
        return batch
    errors = batch["_error"].to_pylist()
    derived: list[dict[str, float | None]] = []
    for row in range(batch.num_rows):
        ip_time, ip, b0_time, b0 = (_floats(batch[name][row]) for name in _TRACES)
        errors[row] = errors[row] or _length_error("ip", ip_time, ip) or _length_error("b0", b0_time, b0)
        derived.append({} if errors[row] else summary(ip_time, ip, b0_time, b0))
    batch = batch.set_column(
        batch.schema.get_field_index("_error"), batch.schema.field("_error"), pa.array(errors, pa.string())
    )
    for name in _DERIVED:
        batch = batch.append_column(name, pa.array([row.get(name) for row in derived], pa.float64()))
    return batch


def summary(ip_time: Floats, ip: Floats, b0_time: Floats, b0: Floats) -> dict[str, float | None]:
    """The moment [s] of the greatest |ip|, ``ip`` [A] and ``b0`` [T] then, and the plasma's duration [s].

    The duration is that of the uninterrupted spell around the moment in which |ip| is at least
    ``PLASMA_CURRENT_THRESHOLD``; null if it never is. ``b0`` is interpolated linearly. NaN is no plasma.
    """
    if not np.isfinite(ip).any():
        return {}
    size = np.abs(np.where(np.isfinite(ip), ip, 0.0))
    peak = int(size.argmax())
    moment = float(ip_time[peak])
    below = np.flatnonzero(size < PLASMA_CURRENT_THRESHOLD)
    begin = int(below[below < peak].max(initial=-1)) + 1
    end = int(below[below > peak].min(initial=len(size))) - 1
    return {
        "time": moment,
        "ip": float(ip[peak]),
        "plasma_duration": float(ip_time[end] - ip_time[begin]) if peak not in below else None,
        "b0": float(np.interp(moment, b0_time, b0)) if len(b0) else None,
    }


def _floats(value: Any) -> Floats:
    return np.array(value.as_py() or [], np.float64) if value.is_valid else np.empty(0)


def _length_error(name: str, time: Floats, value: Floats) -> str | None:
    if len(time) == len(value):
        return None
    return f"{name} has {len(value)} values at {len(time)} times; expected as many values as times"
