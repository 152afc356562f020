"""Checks on species occurrences. They refuse what cannot be; what is only doubtful is flagged in issue and kept."""

from __future__ import annotations

import polars as pl

from validations.science import science_check

LATITUDE, LONGITUDE = pl.col("decimalLatitude"), pl.col("decimalLongitude")
START, END = pl.col("_winnow_event_start"), pl.col("_winnow_event_end")

HALF_EQUATOR = 20_037_509.0
"""Metres, half of WGS84's equator rounded up: no two places are farther apart."""


def _answer(frame: pl.DataFrame, holds: pl.Expr) -> pl.Series:
    return frame.select(holds.alias("holds")).to_series()


@science_check
def coordinates_are_a_pair(frame: pl.DataFrame) -> pl.Series:
    """A latitude needs its longitude, and a longitude its latitude: half of a coordinate is a mistake, not a place."""
    return _answer(frame, LATITUDE.is_null() == LONGITUDE.is_null())


@science_check
def coordinates_are_finite(frame: pl.DataFrame) -> pl.Series:
    """Latitude and longitude must be finite numbers."""
    return _answer(frame, LATITUDE.is_finite() & LONGITUDE.is_finite())


@science_check
def event_runs_forward(frame: pl.DataFrame) -> pl.Series:
    """An event must not end before it starts, and must have both a first and a last day or neither."""
    return _answer(frame, (START.is_null() == END.is_null()) & (START <= END).fill_null(value=True))


@science_check
def event_agrees_with_year_month_day(frame: pl.DataFrame) -> pl.Series:
    """Year, month and day, where the event has a date, must be those of its first day and of its last."""
    agrees = [
        (pl.col(name) == getattr(START.dt, name)()) & (pl.col(name) == getattr(END.dt, name)())
        for name in ("year", "month", "day")
    ]
    return _answer(frame, pl.all_horizontal(one.fill_null(value=True) for one in agrees))


@science_check
def event_is_before_its_interpretation(frame: pl.DataFrame) -> pl.Series:
    """An event cannot be later than the day on which GBIF's machines interpreted it (a day is allowed for zones)."""
    day = pl.col("lastInterpreted").str.head(10).str.to_date("%Y-%m-%d", strict=False)
    return _answer(frame, day + pl.duration(days=1) >= START)


@science_check
def ranges_run_upwards(frame: pl.DataFrame) -> pl.Series:
    """The minimum of a range of elevation or depth must not be above its maximum."""
    ranges = [
        (pl.col(f"minimum{what}InMeters") <= pl.col(f"maximum{what}InMeters")).fill_null(value=True)
        for what in ("Elevation", "Depth")
    ]
    return _answer(frame, pl.all_horizontal(ranges))


@science_check
def uncertainty_is_of_this_earth(frame: pl.DataFrame) -> pl.Series:
    """The uncertainty of coordinates must be more than nothing and at most half the way round the Earth."""
    uncertainty = pl.col("coordinateUncertaintyInMeters")
    return _answer(frame, (uncertainty > 0) & (uncertainty <= HALF_EQUATOR))


@science_check
def rank_agrees_with_species_key(frame: pl.DataFrame) -> pl.Series:
    """A record that GBIF matched to a taxon of the rank of genus or above cannot have a species' key."""
    above = ["KINGDOM", "PHYLUM", "CLASS", "ORDER", "FAMILY", "GENUS"]
    rank = pl.col("taxonRank").is_in(above)
    # Only where GBIF matched name and rank together; a publisher's words may disagree, which is not for us to refuse.
    return _answer(frame, pl.when(rank & pl.col("taxonKey").is_not_null()).then(pl.col("speciesKey").is_null()))
