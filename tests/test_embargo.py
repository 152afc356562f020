"""Embargo: the day is a UTC day, it is lifted at its first second, and nothing else lifts it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from catalog.rights.embargo import Embargo, add_months, utc_day


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{until: 2027-06-01}", {"until": date(2027, 6, 1)}),
        ("{until: '2027-06-01'}", {"until": date(2027, 6, 1)}),
        ("{column: deposited, months: 12}", {"column": "deposited", "months": 12}),
        ("{column: deposited}", {"column": "deposited", "months": 0}),
        (
            "{event: publication, review_by: 2027-01-01}",
            {"event": "publication", "review_by": date(2027, 1, 1)},
        ),
    ],
)
def test_a_contract_may_say_these(text: str, expected: dict[str, Any]) -> None:
    embargo = Embargo.model_validate(yaml.safe_load(text))
    assert {name: getattr(embargo, name) for name in expected} == expected
    assert Embargo.model_validate_json(embargo.model_dump_json()) == embargo


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "{until: null}",
        "{until: 2027-06-01, column: deposited}",
        "{until: 2027-06-01, event: publication, review_by: 2027-01-01}",
        "{column: deposited, event: publication, review_by: 2027-01-01}",
        "{event: publication}",
        "{review_by: 2027-01-01}",
        "{until: 2027-06-01, review_by: 2027-01-01}",
        "{until: 2027-06-01, months: 3}",
        "{column: deposited, months: -1}",
        "{column: deposited, months: true}",
        "{column: deposited, months: 1.5}",
        "{column: deposited, months: 99999}",
        "{column: ''}",
        "{event: '', review_by: 2027-01-01}",
        "{until: 20270601}",
        "{until: 1}",
        "{until: true}",
        "{until: 2027-06-01T00:00:00Z}",
        "{until: 2027-02-29}",
        "{until: 2027-6-1}",
        "{until: '20270601'}",
        "{until: '1/6/2027'}",
        "{untill: 2027-06-01}",
    ],
)
def test_a_contract_may_not_say_these(text: str) -> None:
    try:
        said = yaml.safe_load(text)
    except ValueError:
        said = {"until": text}  # PyYAML refuses a day that the calendar does not have
    with pytest.raises(ValidationError):
        Embargo.model_validate(said)


def test_the_second_before_midnight_utc_is_the_day_before_wherever_the_clock_is() -> None:
    midnight = datetime(2028, 2, 29, tzinfo=UTC)
    for zone in (
        UTC,
        ZoneInfo("Pacific/Kiritimati"),
        ZoneInfo("America/Los_Angeles"),
        ZoneInfo("Asia/Kolkata"),
    ):
        assert utc_day((midnight - timedelta(seconds=1)).astimezone(zone)) == date(2028, 2, 28)
        assert utc_day(midnight.astimezone(zone)) == date(2028, 2, 29)
        assert utc_day((midnight + timedelta(days=1)).astimezone(zone)) == date(2028, 3, 1)


def test_a_clock_far_east_does_not_lift_a_day_early() -> None:
    east = timezone(timedelta(hours=14))
    assert utc_day(datetime(2027, 6, 1, 0, 0, tzinfo=east)) == date(2027, 5, 31)
    assert utc_day(datetime(2027, 6, 1, 14, 0, tzinfo=east)) == date(2027, 6, 1)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        utc_day(datetime(2027, 6, 1))


@pytest.mark.parametrize(
    ("start", "months", "expected"),
    [
        (date(2027, 1, 31), 1, date(2027, 2, 28)),
        (date(2028, 1, 31), 1, date(2028, 2, 29)),
        (date(2028, 2, 29), 12, date(2029, 2, 28)),
        (date(2028, 2, 29), 48, date(2032, 2, 29)),
        (date(2099, 12, 31), 2, date(2100, 2, 28)),
        (date(2027, 3, 31), 1, date(2027, 4, 30)),
        (date(2027, 12, 15), 1, date(2028, 1, 15)),
        (date(2027, 11, 30), 13, date(2028, 12, 30)),
        (date(2027, 5, 5), 0, date(2027, 5, 5)),
    ],
)
def test_months_are_clamped_to_the_end_of_a_short_month(start: date, months: int, expected: date) -> None:
    assert add_months(start, months) == expected


def test_months_agree_with_duckdb() -> None:
    connection = duckdb.connect()
    rows = connection.execute(
        """
        SELECT day::DATE, months::INTEGER, (day + to_months(months::INTEGER))::DATE
        FROM range(DATE '2027-01-01', DATE '2029-01-01', INTERVAL 1 DAY) days(day), range(0, 30) more(months)
        """
    ).fetchall()
    assert len(rows) == 731 * 30
    assert [row for row in rows if add_months(row[0], row[1]) != row[2]] == []


@given(st.dates(max_value=date(9000, 1, 1)), st.integers(0, 1200), st.integers(0, 1200))
def test_more_months_never_end_sooner(day: date, fewer: int, more: int) -> None:
    assert day <= add_months(day, min(fewer, more)) <= add_months(day, max(fewer, more))


def test_an_embargo_beyond_the_calendar_is_an_error_and_not_a_day() -> None:
    with pytest.raises(ValueError, match="year"):
        add_months(date(9999, 12, 1), 1)
