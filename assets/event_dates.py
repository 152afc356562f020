"""Event dates as people write them: to the first and last day that they can mean, and to ISO 8601. Nothing is guessed.

Read are ISO 8601 dates, with or without a time, and intervals of them (``2007-11-13/15``), a year or a month alone,
year-first dates with other separators, months by name or Roman numeral (``25-May-2010``, ``3.VII.1999``), and
``25/12/2010``, of which one part can be no month. ``03/04/2005`` has two readings and is not read. A day is the day on
the calendar at the place, so that a time's zone does not move it.
"""

from __future__ import annotations

import calendar
import re
from datetime import date
from functools import lru_cache
from typing import Literal, NamedTuple

Problem = Literal["impossible", "unreadable", "doubtful"]
"""No day of the calendar; not understood; or understood but for a part (day 00, an hour of 25)."""

Days = tuple[date, date]

_MONTHS = {name: number for number in range(1, 13) for name in (calendar.month_name[number].lower(),)}
_MONTHS |= {name[:3]: number for name, number in _MONTHS.items()} | {"sept": 9}
_ROMAN = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii")
_MONTHS |= {name: number for number, name in enumerate(_ROMAN, start=1)}

_CLOCK = r"(?:(?:[01]\d|2[0-3])(?::?[0-5]\d(?::?[0-5]\d(?:[.,]\d+)?)?)?|24:00(?::00(?:[.,]0+)?)?)"
_ZONE = r" ?(?:Z|UTC|[+-](?:0\d|1[0-4])(?::?[0-5]\d)?)"
_ISO = re.compile(
    r"(?P<year>\d{4})(?:(?P<mark>[-/.])(?P<month>\d{1,2})(?:(?P=mark)(?P<day>\d{1,2}))?)?(?:[T ](?P<clock>[^/]*))?"
)
_TIME = re.compile(f"{_CLOCK}(?:{_ZONE})?")
_COMPACT = re.compile(r"(\d{4})(\d{2})(\d{2})")
_NAMED = re.compile(r"(?:(\d{1,2})(?:st|nd|rd|th)?[-./ ]+)?([A-Za-z]+)[-./, ]+(\d{4})")
_NAME_FIRST = re.compile(r"([A-Za-z]{3,})\.? +(\d{1,2})(?:st|nd|rd|th)?,? +(\d{4})")
_YEAR_NAMED = re.compile(r"(\d{4})[-./ ]+([A-Za-z]{3,})(?:[-./ ]+(\d{1,2}))?")
_NUMBERS = re.compile(r"(\d{1,2})([-./])(\d{1,2})\2(\d{4})")


class Event(NamedTuple):
    """When an event can have been: its first and last day, as ISO 8601, and what is wrong with the words."""

    start: date | None = None
    end: date | None = None
    text: str | None = None
    problem: Problem | None = None
    wide: bool = False
    """A year or a month alone, which other words may narrow; a stated interval is not."""


UNREADABLE = Event(problem="unreadable")
IMPOSSIBLE = Event(problem="impossible")


@lru_cache(maxsize=50_000)
def event(text: str) -> Event:
    """Read one date or interval."""
    text = " ".join(text.split())
    single = _single(text)
    if single != UNREADABLE:
        return single
    first, mark, last = text.partition("/")
    return _interval(first.strip(), last.strip()) if mark and last.strip() else UNREADABLE


@lru_cache(maxsize=50_000)
def event_of(year: int, month: int | None, day: int | None) -> Event:
    """The event of a year, month and day; a month or day of 0 counts as not given, and is doubtful."""
    doubtful = month == 0 or day == 0 or (day is not None and month is None)
    month, day = month or None, day or None
    if month is None:
        day = None
    days = _days(year, month, day)
    if days is None:
        return IMPOSSIBLE
    parts = [f"{year:04}", *(f"{part:02}" for part in (month, day) if part is not None)]
    return Event(*days, "-".join(parts), "doubtful" if doubtful else None, wide=day is None)


def _days(year: int, month: int | None, day: int | None) -> Days | None:
    """First and last day, or None where the calendar has no such day."""
    try:
        first = date(year, month or 1, day or 1)
    except ValueError:
        return None
    if month is None:
        return first, date(year, 12, 31)
    return first, (first if day is not None else date(year, month, calendar.monthrange(year, month)[1]))


def _single(text: str) -> Event:
    if found := _ISO.fullmatch(text):
        return _iso(found)
    if found := _COMPACT.fullmatch(text):
        return event_of(*(int(part) for part in found.groups()))
    if found := _NAMED.fullmatch(text):
        return _named(found[3], found[2], found[1])
    if found := _NAME_FIRST.fullmatch(text):
        return _named(found[3], found[1], found[2])
    if found := _YEAR_NAMED.fullmatch(text):
        return _named(found[1], found[2], found[3])
    if found := _NUMBERS.fullmatch(text):
        return _numbers(int(found[1]), int(found[3]), int(found[4]))
    return UNREADABLE


def _iso(found: re.Match[str]) -> Event:
    year, month, day = (int(part) if part else None for part in found.group("year", "month", "day"))
    clock = found["clock"]
    if (found["mark"] or "-") != "-" and day is None:
        return UNREADABLE  # 1999/07 may be a month or an interval
    if clock is not None and day is None:
        return UNREADABLE
    assert year is not None
    known = event_of(year, month, day)
    if clock is None or known.text is None:
        return known
    if known.wide or not _TIME.fullmatch(clock):
        return known._replace(problem="doubtful")
    return known._replace(text=f"{known.text}T{clock.replace(' ', '').replace('UTC', 'Z')}")


def _named(year: str, name: str, day: str | None) -> Event:
    month = _MONTHS.get(name.lower())
    return UNREADABLE if month is None else event_of(int(year), month, int(day) if day else None)


def _numbers(first: int, second: int, year: int) -> Event:
    """A date that ends with its year: read where only one of the two orders is a day."""
    readings = {known for known in (event_of(year, second, first), event_of(year, first, second)) if known.text}
    readings = {known for known in readings if known.problem is None}
    if len(readings) == 1:
        return readings.pop()
    return UNREADABLE if readings else IMPOSSIBLE


def _interval(first: str, last: str) -> Event:
    begin = _single(first)
    if begin.start is None:
        return begin
    end = _single(_completed(first, last))
    if end.start is None or end.end is None:
        return end
    if end.end < begin.start:
        return IMPOSSIBLE
    doubt: Problem | None = "doubtful" if begin.problem or end.problem else None
    text = begin.text if begin.text == end.text else f"{begin.text}/{end.text}"
    return Event(begin.start, end.end, text, doubt)


def _completed(first: str, last: str) -> str:
    """The end of an interval with what ISO 8601 lets it leave out: ``2007-11-13/15`` ends on 2007-11-15."""
    if re.fullmatch(_CLOCK + f"(?:{_ZONE})?", last) and "T" in first and ":" in last:
        return f"{first.partition('T')[0]}T{last}"
    if re.fullmatch(r"\d\d(-\d\d)?(T.*)?", last) and re.fullmatch(r"\d{4}(-\d\d)+(T.*)?", first):
        day = first.partition("T")[0]
        parts = last.partition("T")[0].count("-") + 1
        kept = day.split("-")[:-parts]
        return "-".join([*kept, last]) if kept else last
    return last
