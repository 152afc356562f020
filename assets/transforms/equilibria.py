"""Equilibria: from the source's sign convention to COCOS 17, with what follows from boundary and profiles.

The convention is found from the numbers themselves: the power of 2 pi from Ampere's law, the two signs from those of
current, field, flux and q. Which way the toroidal angle runs no number tells, so two conventions always remain; the
one that the contract states decides, and without it the one with the angle anti-clockwise from above, as EFIT has it.

Source: O. Sauter and S. Yu. Medvedev, Comput. Phys. Commun. 184 (2013) 293.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from assets.cocos import Factors, candidates, factors, power
from assets.equilibrium_records import EQUILIBRIUM
from catalog.table import load_table

CANONICAL = 17
Floats = npt.NDArray[np.float64]
Row = dict[str, Any]

READS = frozenset(field.name for field in EQUILIBRIUM)
DERIVED = (
    "cocos", "_winnow_cocos_candidates", "q_axis", "q_95", "geometric_axis_r", "geometric_axis_z", "minor_radius",
    "elongation", "triangularity_upper", "triangularity_lower",
)  # fmt: skip
_TURNED = {
    "psi": ("psi_axis", "psi_boundary", "grid_psi"),
    "field": ("b0", "profiles_f"),
    "ip": ("ip",),
    "q": ("profiles_q",),
    "per_psi": ("profiles_f_df_dpsi", "profiles_dpressure_dpsi"),
}


def transform(batch: pa.RecordBatch) -> pa.RecordBatch:
    """EQUILIBRIUM in COCOS 17, and DERIVED; what fits no convention, or not the one stated, gets ``_error``."""
    rows = [row if row["_error"] is not None else _converted(row) for row in batch.to_pylist()]
    found = pa.RecordBatch.from_pylist(rows, schema=batch.schema)
    for column in load_table("fusion.equilibria").columns:
        if column.name in DERIVED:
            values = pa.array([row.get(column.name) for row in rows], column.arrow.type)
            found = found.append_column(column.name, values)
    return found


def _converted(row: Row) -> Row:
    try:
        _refuse_misfits(row)
        number, both = convention(row)
    except ValueError as error:
        return {**row, "_error": str(error), **dict.fromkeys(DERIVED)}
    turned = in_cocos_17(row, factors(number, CANONICAL))
    return {**turned, **shape(turned), "cocos": number, "_winnow_cocos_candidates": list(both)}


def _refuse_misfits(row: Row) -> None:
    for name in ("ip", "b0", "psi_axis", "psi_boundary"):
        if row[name] is None or not np.isfinite(row[name]) or (name in ("ip", "b0") and not row[name]):
            raise ValueError(f"{name} is {row[name]}; the sign convention is found from finite numbers")
    width, height = len(row["grid_r"] or ()), len(row["grid_z"] or ())
    if any(len(line) != height for line in row["grid_psi"] or ()) or len(row["grid_psi"] or ()) != width:
        raise ValueError(f"psi is no grid of {width} by {height} points, as its axes have")
    if len(row["boundary_r"] or ()) != len(row["boundary_z"] or ()):
        raise ValueError(f"the boundary has {len(row['boundary_r'] or ())} R and {len(row['boundary_z'] or ())} Z")
    points = len(row["profiles_psi_norm"] or ())
    for name in ("profiles_q", "profiles_f", "profiles_pressure", "profiles_f_df_dpsi", "profiles_dpressure_dpsi"):
        if row[name] is not None and len(row[name]) != points:
            raise ValueError(f"{name} has {len(row[name])} values on {points} points of normalised flux")


def convention(row: Row) -> tuple[int, tuple[int, ...]]:
    """The source's COCOS, and all that its numbers allow.

    Raises:
        ValueError: the numbers fit no convention, or not the stated one; the message says what they say.
    """
    stated = row["cocos_stated"]
    exponent = power(row["ip"], current_around(row))
    if exponent is None:
        exponent = power(row["ip"], row["current_of_sources"] or 0.0)
    if exponent is None:
        if stated is None:
            raise ValueError(
                "neither psi nor p' and FF' tell whether the flux is in Wb or Wb/rad: "
                f"the current within the boundary is {current_around(row):.4g} A, and ip is {row['ip']:.4g} A"
            )
        exponent = stated // 10
    q = next((value for value in row["profiles_q"] or () if value is not None and np.isfinite(value) and value), None)
    if q is None:
        raise ValueError("q has no finite value, and without its sign the sign convention is not known")
    both = candidates(row["ip"], row["b0"], row["psi_axis"], row["psi_boundary"], q, exponent)
    if not both:
        raise ValueError("psi does not change from axis to boundary, so the sign convention is not known")
    if stated is not None and stated not in both:
        raise ValueError(
            f"COCOS {stated} is stated, but by the signs of ip, b0, q and psi and by Ampere's law "
            f"it is {' or '.join(map(str, both))}"
        )
    return stated if stated is not None else both[0], both


def current_around(row: Row) -> float:
    """The current [A] that Ampere's law finds within the boundary, were psi in Wb/rad; 0 where there is no boundary."""
    from scipy.ndimage import map_coordinates

    r, z = _floats(row["boundary_r"]), _floats(row["boundary_z"])
    psi = np.array(row["grid_psi"] or [], np.float64)
    if len(r) < 8 or min(psi.shape, default=0) < 3 or not (np.isfinite(r).all() and np.isfinite(z).all()):
        return 0.0
    axes = _floats(row["grid_r"]), _floats(row["grid_z"])
    step = axes[0][1] - axes[0][0], axes[1][1] - axes[1][0]
    if not (min(step) > 0 and r.min() > 0):
        return 0.0
    along_r, along_z = np.gradient(psi, *step)
    middle = np.array([(r + np.roll(r, -1)) / 2, (z + np.roll(z, -1)) / 2])
    place = [(middle[0] - axes[0][0]) / step[0], (middle[1] - axes[1][0]) / step[1]]
    slope_r, slope_z = (map_coordinates(slope, place, order=1, mode="nearest") for slope in (along_r, along_z))
    length_r, length_z = np.roll(r, -1) - r, np.roll(z, -1) - z
    # B_R = -(d psi / dZ) / R and B_Z = (d psi / dR) / R, but for a sign.
    around = (-slope_z * length_r + slope_r * length_z) / middle[0]
    return float(abs(around.sum()) / (4e-7 * np.pi))


def in_cocos_17(row: Row, turn: Factors) -> Row:
    """The row with all that turns between conventions turned."""
    by = {"psi": turn.psi, "field": turn.b0, "ip": turn.ip, "q": turn.q, "per_psi": 1 / turn.psi}
    return {**row, **{name: _times(row[name], by[kind]) for kind, names in _TURNED.items() for name in names}}


def _times(value: Any, factor: float) -> Any:
    if value is None or factor == 1:
        return value
    if isinstance(value, list):
        return [_times(one, factor) for one in value]
    return value * factor


def shape(row: Row) -> Row:
    """Q on the axis and at 95 % of the flux, and the shape of the boundary as IMAS defines it; null where unknown."""
    found: Row = dict.fromkeys(DERIVED)
    psi_norm, q = _floats(row["profiles_psi_norm"]), _floats(row["profiles_q"])
    if len(q) > 1 and np.isfinite(q).all():
        found["q_axis"], found["q_95"] = float(q[0]), float(np.interp(0.95, psi_norm, q))
    r, z = _floats(row["boundary_r"]), _floats(row["boundary_z"])
    if len(r) > 2 and np.isfinite(r).all() and np.isfinite(z).all() and r.max() > r.min():
        radius, middle = (r.max() - r.min()) / 2, (r.max() + r.min()) / 2
        found |= {
            "geometric_axis_r": float(middle),
            "geometric_axis_z": float((z.max() + z.min()) / 2),
            "minor_radius": float(radius),
            "elongation": float((z.max() - z.min()) / 2 / radius),
            "triangularity_upper": float((middle - r[z.argmax()]) / radius),
            "triangularity_lower": float((middle - r[z.argmin()]) / radius),
        }
    return found


def _floats(values: Any) -> Floats:
    return np.array(values if values is not None else [], np.float64)
