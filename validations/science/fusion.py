"""What must hold for the signals and pulses of fusion experiments."""

from __future__ import annotations

from functools import cache

import polars as pl

from catalog.standards import imas_units
from validations.science import science_check

MAX_PLASMA_CURRENT = 20e6  # A; ITER's is 15 MA
MAX_FIELD = 20.0  # T; on the magnetic axis SPARC has 12 T
MAX_DURATION = 1000.0  # s
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
def signal_is_mostly_finite(frame: pl.DataFrame) -> pl.Series:
    """At least half of the values must be finite numbers other than IMAS's empty mark -9e40."""
    finite = _finite("value").list.sum()
    return frame.select(2 * finite >= pl.col("value").list.len().clip(lower_bound=1)).to_series()


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
def pulse_has_signals(frame: pl.DataFrame) -> pl.Series:
    """A pulse must have at least one signal."""
    return frame["signals"] > 0
