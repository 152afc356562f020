"""What must hold for the signals and pulses of fusion experiments."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import polars as pl

from catalog.standards import imas_units
from validations.science import science_check

MAX_PLASMA_CURRENT = 20e6  # A; ITER's is 15 MA
MAX_FIELD = 20.0  # T; on the magnetic axis SPARC has 12 T
MAX_DURATION = 1000.0  # s
LEAST_Q_95 = 1.5  # at 2 and below a tokamak's plasma is rarely stable
MOST_Q_95 = 100.0
ON_AXIS = 0.05  # of the flux between axis and boundary, by which the grid's flux on the axis may differ
SAME_BITS = 0.01
EMPTY = 1e30  # IMAS writes -9e40 for a real number that is not there

_PLASMA_CURRENTS = (
    "magnetics.ip.data",
    "equilibrium.time_slice.global_quantities.ip",
    "summary.global_quantities.ip.value",
)


def _unit(path: str) -> str | None:
    """The dictionary's unit of a path, '' if it gives none; None if it has no such path."""
    return _units(path.partition(".")[0]).get(path)


@cache
def _units(ids: str) -> dict[str, str]:
    return imas_units(ids)


def _expected_units(frame: pl.DataFrame) -> pl.Series:
    paths = frame["path"].unique().drop_nulls().to_list()
    expected = {path: _unit(path) for path in paths}
    return frame["path"].replace_strict(list(expected), list(expected.values()), return_dtype=pl.String, default=None)


def _finite(column: str) -> pl.Expr:
    element = pl.element()
    return pl.col(column).list.eval((element.is_finite() & (element.abs() < EMPTY)).fill_null(False))


def _largest(column: str) -> pl.Expr:
    """The largest magnitude among the numbers of a list; null if it has none."""
    element = pl.element()
    magnitude = element.abs().filter(element.is_finite() & (element.abs() < EMPTY))
    return pl.col(column).list.eval(magnitude.max()).list.first()


@science_check
def signal_is_in_the_dictionary(frame: pl.DataFrame) -> pl.Series:
    """The path must be one of the IMAS data dictionary 4.1.1, and the signal that path with indices."""
    without_indices = frame["signal"].str.replace_all(r"\[[^\]]*\]", "")
    return _expected_units(frame).is_not_null() & (without_indices == frame["path"])


@science_check
def signal_unit_is_the_dictionarys(frame: pl.DataFrame) -> pl.Series:
    """The unit must be the one that the IMAS data dictionary gives for the path (SI and eV)."""
    return frame["unit"].fill_null("") == _expected_units(frame)


@science_check
def signal_time_increases(frame: pl.DataFrame) -> pl.Series:
    """Times must be finite numbers of seconds and strictly increasing."""
    finite = _finite("time").list.all()
    rising = pl.col("time").list.diff(null_behavior="drop").list.eval(pl.element() > 0).list.all()
    return frame.select(finite & rising).to_series()


@science_check
def signal_fills_its_shape(frame: pl.DataFrame) -> pl.Series:
    """There must be as many values as the shape says, and as many times as its first dimension."""
    size = pl.col("shape").list.eval(pl.element().product()).list.first()
    filled = pl.col("value").list.len() == size
    timed = pl.col("time").list.len() == pl.col("shape").list.first()
    return frame.select((filled & timed).fill_null(False)).to_series()


@science_check
def signal_keeps_its_samples(frame: pl.DataFrame) -> pl.Series:
    """There must be as many samples as in the source, and as many of them must not be missing."""
    value = pl.col("value").list
    present = value.eval(pl.element().is_not_null() & pl.element().is_not_nan()).list.sum().fill_null(0)
    return frame.select((value.len() == pl.col("samples")) & (present == pl.col("samples_present"))).to_series()


@science_check
def signal_keeps_its_precision(frame: pl.DataFrame) -> pl.Series:
    """The values must be as many different ones as in the source: their effective bits must be the same to 0.01."""
    known = pl.element().filter(pl.element().is_not_null() & pl.element().is_not_nan())
    different = pl.col("value").list.eval(known.n_unique()).list.first()
    bits = different.cast(pl.Float64).log(2)
    return frame.select((different == 0) | ((bits - pl.col("effective_bits")).abs() < SAME_BITS)).to_series()


@science_check
def signal_is_mostly_finite(frame: pl.DataFrame) -> pl.Series:
    """There must be a value, and at least half of those not null be finite and other than IMAS's empty mark -9e40."""
    finite = _finite("value").list.sum()
    there = pl.col("value").list.drop_nulls().list.len()
    return frame.select(2 * finite >= there.clip(lower_bound=1)).to_series()


@science_check
def signal_is_within_physical_limits(frame: pl.DataFrame) -> pl.Series:
    """Plasma currents must be below 20 MA and magnetic fields below 20 T."""
    largest = _largest("value")
    limit = (
        pl.when(pl.col("path").is_in(_PLASMA_CURRENTS))
        .then(MAX_PLASMA_CURRENT)
        .when(pl.col("unit") == "T")
        .then(MAX_FIELD)
    )
    return frame.select(largest < limit).to_series()


@science_check
def plasma_current_is_plausible(frame: pl.DataFrame) -> pl.Series:
    """The magnitude of the plasma current must be below 20 MA."""
    return frame["ip"].abs() < MAX_PLASMA_CURRENT


@science_check
def toroidal_field_is_plausible(frame: pl.DataFrame) -> pl.Series:
    """The magnitude of the vacuum toroidal field must be above 0 and below 20 T."""
    return (frame["b0"].abs() < MAX_FIELD) & (frame["b0"] != 0)


@science_check
def plasma_duration_is_plausible(frame: pl.DataFrame) -> pl.Series:
    """The plasma must last more than 0 s and less than 1000 s."""
    return (frame["plasma_duration"] > 0) & (frame["plasma_duration"] < MAX_DURATION)


@science_check
def flat_top_ends_after_it_begins(frame: pl.DataFrame) -> pl.Series:
    """A flat top must end after it begins, and last less than 1000 s."""
    lasts = frame["flat_top_end"] - frame["flat_top_begin"]
    return (lasts > 0) & (lasts < MAX_DURATION)


@science_check
def disruption_current_is_plausible(frame: pl.DataFrame) -> pl.Series:
    """The magnitude of the plasma current at a disruption must be below 20 MA."""
    return frame["disruption_ip"].abs() < MAX_PLASMA_CURRENT


@science_check
def pulse_has_signals(frame: pl.DataFrame) -> pl.Series:
    """A pulse must have at least one signal."""
    return frame["signals"] > 0


@science_check
def equilibrium_current_is_plausible(frame: pl.DataFrame) -> pl.Series:
    """The plasma current must be below 20 MA and the vacuum field below 20 T, and neither 0."""
    current = (frame["ip"].abs() < MAX_PLASMA_CURRENT) & (frame["ip"] != 0)
    return current & (frame["b0"].abs() < MAX_FIELD) & (frame["b0"] != 0)


@science_check
def safety_factor_is_plausible(frame: pl.DataFrame) -> pl.Series:
    """The magnitude of q at 95 % of the flux must be above 1.5 and below 100."""
    return (frame["q_95"].abs() > LEAST_Q_95) & (frame["q_95"].abs() < MOST_Q_95)


@science_check
def betas_and_inductance_are_plausible(frame: pl.DataFrame) -> pl.Series:
    """Where given, beta_pol must be in [0, 10], beta_tor in [0, 1], beta_tor_norm in [0, 15], li_3 in [0.1, 5]."""
    ranges = {"beta_pol": (0, 10), "beta_tor": (0, 1), "beta_tor_norm": (0, 15), "li_3": (0.1, 5)}
    held = [pl.col(name).is_between(*limits).fill_null(True) for name, limits in ranges.items()]
    return frame.select(pl.all_horizontal(held)).to_series()


@science_check
def psi_fills_its_grid(frame: pl.DataFrame) -> pl.Series:
    """There must be a list of fluxes for each radius of the grid, and in each a finite flux for each height."""
    lines = pl.col("grid_psi").list.len() == pl.col("grid_r").list.len()
    heights = pl.col("grid_psi").list.eval(pl.element().list.len())
    even = (heights.list.min() == pl.col("grid_z").list.len()) & (heights.list.max() == pl.col("grid_z").list.len())
    finite = pl.col("grid_psi").list.eval(pl.element().list.eval(pl.element().is_finite()).list.all()).list.all()
    return frame.select(lines & even & finite).to_series()


@science_check
def boundary_lies_on_the_grid(frame: pl.DataFrame) -> pl.Series:
    """The plasma's boundary and its magnetic axis must lie within the grid of psi, and the axis within the boundary."""
    held = []
    for axis in ("r", "z"):
        grid, outline, middle = pl.col(f"grid_{axis}"), pl.col(f"boundary_{axis}"), pl.col(f"magnetic_axis_{axis}")
        held += [outline.list.min() >= grid.list.min(), outline.list.max() <= grid.list.max()]
        held += [middle > outline.list.min(), middle < outline.list.max()]
    return frame.select(pl.all_horizontal(held)).to_series()


@science_check
def psi_is_monotone_from_axis_to_boundary(frame: pl.DataFrame) -> pl.Series:
    """Psi must be psi_axis on the axis, to 5 %, and on its height change one way only up to the boundary."""
    names = ("grid_r", "grid_z", "grid_psi", "boundary_r", "boundary_z")
    needed = [*names, "psi_axis", "psi_boundary", "magnetic_axis_r", "magnetic_axis_z"]
    return pl.Series([_is_monotone(row) for row in frame.select(needed).iter_rows(named=True)], dtype=pl.Boolean)


def _is_monotone(row: dict[str, Any]) -> bool | None:
    if (
        any(row[name] is None for name in row)
        or min(len(row["boundary_r"]), len(row["grid_r"]), len(row["grid_z"])) < 3
    ):
        return None
    r, z = np.array(row["grid_r"]), np.array(row["grid_z"])
    if len(row["grid_psi"]) != len(r) or any(len(line) != len(z) for line in row["grid_psi"]):
        return None
    span = row["psi_boundary"] - row["psi_axis"]
    place = [(np.interp(row["magnetic_axis_z"], z, line) - row["psi_axis"]) / span for line in row["grid_psi"]]
    if abs(np.interp(row["magnetic_axis_r"], r, place)) > ON_AXIS:
        return False
    inner, outer = _crossings(row)
    # On a coarse grid the points beside the axis may both be near its flux.
    outward, inward = (r >= row["magnetic_axis_r"]) & (r <= outer), (r <= row["magnetic_axis_r"]) & (r >= inner)
    flux = np.array(place)
    return bool((np.diff(flux[outward]) > 0).all() and (np.diff(flux[inward]) < 0).all())


def _crossings(row: dict[str, Any]) -> tuple[float, float]:
    """Where the boundary has the height of the axis, within and without: the outline's nearest points there."""
    r = np.array(row["boundary_r"])
    away = np.abs(np.array(row["boundary_z"]) - row["magnetic_axis_z"])
    outside = r > row["magnetic_axis_r"]
    if outside.all() or not outside.any():
        return row["magnetic_axis_r"], row["magnetic_axis_r"]
    return float(r[~outside][away[~outside].argmin()]), float(r[outside][away[outside].argmin()])
