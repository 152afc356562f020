"""The science checks of occurrences: what cannot be is refused, what is only doubtful is not."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from catalog.table import load_table
from validations.science import science_checks

TABLE = load_table("biodiversity.occurrences")
BEFORE = "event_is_before_its_interpretation"


def ask(check: str, **row: object) -> bool | None:
    schema = pl.from_arrow(TABLE.arrow_schema.empty_table()).schema
    return science_checks()[check](pl.DataFrame([row], schema=schema))[0]


def test_every_check_of_the_table_exists_has_a_reason_and_nothing_against_an_empty_row():
    for name in TABLE.science:
        assert science_checks()[name].__doc__
        assert ask(name) in (None, True)


@pytest.mark.parametrize(
    ("check", "row", "holds"),
    [
        ("coordinates_are_a_pair", {"decimalLatitude": 1.0}, False),
        ("coordinates_are_a_pair", {"decimalLongitude": 1.0}, False),
        ("coordinates_are_a_pair", {"decimalLatitude": 1.0, "decimalLongitude": 1.0}, True),
        ("coordinates_are_finite", {"decimalLatitude": float("nan"), "decimalLongitude": 1.0}, False),
        ("coordinates_are_finite", {"decimalLatitude": 1.0, "decimalLongitude": float("inf")}, False),
        ("coordinates_are_finite", {"decimalLatitude": 1.0, "decimalLongitude": 1.0}, True),
        ("event_runs_forward", {"_winnow_event_start": date(2000, 1, 2), "_winnow_event_end": date(2000, 1, 1)}, False),
        ("event_runs_forward", {"_winnow_event_start": date(2000, 1, 2)}, False),
        ("event_runs_forward", {"_winnow_event_start": date(2000, 1, 2), "_winnow_event_end": date(2000, 1, 2)}, True),
        (BEFORE, {"_winnow_event_start": date(2030, 1, 1), "lastInterpreted": "2020-01-01T00:00Z"}, False),
        (BEFORE, {"_winnow_event_start": date(2020, 1, 2), "lastInterpreted": "2020-01-01T23:00Z"}, True),
        (BEFORE, {"_winnow_event_start": date(2020, 1, 2), "lastInterpreted": "lately"}, None),
        ("ranges_run_upwards", {"minimumElevationInMeters": 2.0, "maximumElevationInMeters": 1.0}, False),
        ("ranges_run_upwards", {"minimumDepthInMeters": 2.0, "maximumDepthInMeters": 1.0}, False),
        ("ranges_run_upwards", {"minimumDepthInMeters": 2.0}, True),
        ("uncertainty_is_of_this_earth", {"coordinateUncertaintyInMeters": 0.0}, False),
        ("uncertainty_is_of_this_earth", {"coordinateUncertaintyInMeters": 3e7}, False),
        ("uncertainty_is_of_this_earth", {"coordinateUncertaintyInMeters": 30.0}, True),
        ("rank_agrees_with_species_key", {"taxonRank": "FAMILY", "taxonKey": "1", "speciesKey": "2"}, False),
        ("rank_agrees_with_species_key", {"taxonRank": "FAMILY", "taxonKey": "1"}, True),
        ("rank_agrees_with_species_key", {"taxonRank": "SPECIES", "taxonKey": "1", "speciesKey": "2"}, None),
    ],
)  # fmt: skip
def test_a_check_refuses_what_cannot_be(check, row, holds):
    assert ask(check, **row) is holds


@pytest.mark.parametrize(
    ("parts", "holds"),
    [
        ({"year": 1999, "month": 12, "day": 31}, True),
        ({"year": 1999}, True),
        ({"year": 1998}, False),
        ({"year": 1999, "month": 11}, False),
        ({"year": 1999, "month": 12, "day": 30}, False),
    ],
)
def test_year_month_and_day_are_those_of_the_event(parts, holds):
    day = date(1999, 12, 31)
    assert ask("event_agrees_with_year_month_day", _winnow_event_start=day, _winnow_event_end=day, **parts) is holds
