"""Embargo: the day is a UTC day, it is lifted at its first second, and nothing else lifts it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from catalog.dataset import load_dataset
from catalog.query import Door
from catalog.rights.embargo import Embargo, add_months, utc_day
from dagster_project import curate
from dagster_project.settings import Settings


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


# -- at the door, under a clock that a test sets ---------------------------------------------------------

TABLE = "genomics.clinical_significance"
HEADER = """##fileformat=VCFv4.2
##reference=GRCh38
##INFO=<ID=DAY,Number=1,Type=String,Description="deposited">
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO
"""


class Clockwork:
    """A dataset under an embargo in a house whose clock a test sets."""

    def __init__(self, root: Path, embargo: dict[str, Any], rows: dict[str, str | None]) -> None:
        self.root = root
        self.now = datetime(2027, 1, 1, tzinfo=UTC)
        self.house = curate.House(Settings.at(root / "home"), clock=lambda: self.now)
        self.write(embargo, rows)
        self.run()

    def write(self, embargo: dict[str, Any], rows: dict[str, str | None]) -> None:
        place = self.root / "datasets" / "genomics" / "held"
        place.mkdir(parents=True, exist_ok=True)
        lines = (
            f"1\t{100 + i}\t{name}\tA\tC\t.\t.\t{f'DAY={day}' if day else '.'}\n"
            for i, (name, day) in enumerate(rows.items())
        )
        (place / "sample.vcf").write_text(HEADER + "".join(lines))
        attributes = {
            "title": "held",
            "table": TABLE,
            "source": {"unpublished": "made for a test", "format": "vcf"},
            "sample": "sample.vcf",
            "gates": {"max_row_change": 10, "max_quarantined": 0.9},
            "terms": {
                "licence": "CC0-1.0",
                "evidence": [{"file": "sample.vcf", "read_on": "2026-11-23", "quote": "CC0 1.0"}],
                "attribution": "nobody",
                "embargo": embargo,
            },
            "columns": {},
            "owner": "tests",
        }
        document = {"type": "dagster_project.component.Dataset", "attributes": attributes}
        (place / "defs.yaml").write_text(yaml.safe_dump(document))
        self.dataset = load_dataset("genomics/held", self.root / "datasets")

    def run(self) -> int:
        """Curate the source as it is now; the number of the version that is current then."""
        snapshot = curate.fetch(self.house, self.dataset, curate.address(self.dataset, sample=True))
        stage, report = curate.stage(self.house, self.dataset, snapshot, f"run-{self.now:%s}")
        assert report.passed, report.refusals()
        return curate.commit(self.house, self.dataset, stage).number

    def seen(self, at: datetime) -> list[str]:
        """What anyone may have at a moment."""
        self.now = at
        today = utc_day(self.house.clock())
        door = Door(self.house.warehouse, self.house.ledger, [self.dataset], "open", today, derived=[])
        return sorted(name for (name,) in door.answer(f"SELECT _record FROM {TABLE}").fetchall())


SECOND = timedelta(seconds=1)


@pytest.mark.parametrize("day", [date(2027, 6, 1), date(2028, 2, 29), date(2028, 3, 1), date(2027, 12, 31)])
def test_the_door_opens_with_the_first_second_of_the_day_in_utc(tmp_path: Path, day: date) -> None:
    held = Clockwork(tmp_path, {"until": str(day)}, {"one": None})
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    assert held.seen(midnight - SECOND) == []
    assert held.seen(midnight) == ["one"]
    assert held.seen(midnight + SECOND) == ["one"]


def test_half_past_eleven_at_night_in_new_york_is_the_next_day(tmp_path: Path) -> None:
    held = Clockwork(tmp_path, {"until": "2027-06-02"}, {"one": None})
    new_york, tokyo = ZoneInfo("America/New_York"), ZoneInfo("Asia/Tokyo")
    assert held.seen(datetime(2027, 6, 1, 23, 30, tzinfo=new_york)) == ["one"]
    assert held.seen(datetime(2027, 6, 1, 19, 59, 59, tzinfo=new_york)) == []
    assert held.seen(datetime(2027, 6, 2, 8, 59, 59, tzinfo=tokyo)) == []
    assert held.seen(datetime(2027, 6, 2, 9, 0, tzinfo=tokyo)) == ["one"]


def test_each_row_has_its_own_day(tmp_path: Path) -> None:
    rows = {"early": "2027-06-01", "late": "2028-02-29", "silent": None}
    held = Clockwork(tmp_path, {"column": "DAY"}, rows)
    assert held.seen(datetime(2027, 6, 1, tzinfo=UTC) - SECOND) == []
    assert held.seen(datetime(2027, 6, 1, tzinfo=UTC)) == ["early"]
    assert held.seen(datetime(2028, 2, 29, tzinfo=UTC) - SECOND) == ["early"]
    assert held.seen(datetime(2028, 2, 29, tzinfo=UTC)) == ["early", "late"], "what says no day is never lifted"
    assert held.seen(datetime(9999, 12, 31, tzinfo=UTC)) == ["early", "late"]


def test_months_are_counted_from_each_deposit_to_the_end_of_a_short_month(tmp_path: Path) -> None:
    rows = {"january": "2028-01-31", "leap": "2028-02-29", "zoned": "2028-01-31T23:30:00-05:00"}
    held = Clockwork(tmp_path, {"column": "DAY", "months": 12}, rows)
    lifts = {"january": datetime(2029, 1, 31, tzinfo=UTC), "leap": datetime(2029, 2, 28, tzinfo=UTC)}
    lifts["zoned"] = datetime(2029, 2, 1, tzinfo=UTC)
    for name, moment in lifts.items():
        assert name not in held.seen(moment - SECOND)
        assert name in held.seen(moment)
    held.write({"column": "DAY", "months": 1}, {"january": "2027-01-31"})
    held.run()
    assert held.seen(datetime(2027, 2, 28, tzinfo=UTC) - SECOND) == []
    assert held.seen(datetime(2027, 2, 28, tzinfo=UTC)) == ["january"]


def test_an_event_holds_past_its_review_date(tmp_path: Path) -> None:
    held = Clockwork(tmp_path, {"event": "publication", "review_by": "2027-06-01"}, {"one": None})
    for year in (2027, 2028, 9999):
        assert held.seen(datetime(year, 12, 31, tzinfo=UTC)) == []


def test_a_rerun_before_the_day_does_not_lift_and_one_after_it_does_not_impose(tmp_path: Path) -> None:
    held = Clockwork(tmp_path, {"until": "2027-06-01"}, {"one": None})
    assert held.seen(datetime(2027, 5, 31, 23, 59, 59, tzinfo=UTC)) == []
    assert held.run() == 1
    assert held.seen(held.now) == []
    held.write({"until": "2027-06-01"}, {"one": None, "two": None})
    assert held.run() == 2
    assert held.seen(held.now) == []
    assert held.seen(datetime(2027, 6, 1, tzinfo=UTC)) == ["one", "two"], "without a run"
    assert held.run() == 2, "nothing new"
    assert held.seen(held.now) == ["one", "two"]
    held.write({"until": "2027-06-01"}, {"one": None, "three": None})
    assert held.run() == 3
    assert held.seen(held.now) == ["one", "three"]


def test_reruns_of_rows_with_days_of_their_own_neither_lift_nor_impose(tmp_path: Path) -> None:
    embargo = {"column": "DAY", "months": 3}
    held = Clockwork(tmp_path, embargo, {"one": "2027-03-01"})
    held.seen(datetime(2027, 5, 31, tzinfo=UTC))
    held.write(embargo, {"one": "2027-03-01", "two": "2027-03-02"})
    assert held.run() == 2
    assert held.seen(held.now) == []
    assert held.seen(datetime(2027, 6, 1, tzinfo=UTC)) == ["one"]
    held.write(embargo, {"one": "2027-03-01", "two": "2027-03-02", "three": "2027-02-28"})
    assert held.run() == 3
    assert held.seen(held.now) == ["one", "three"]
