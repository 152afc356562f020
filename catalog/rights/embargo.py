"""Embargo: until a day, until a day that each row says, or until an event. Only the calendar lifts one.

An embargo until a day is lifted at 00:00 UTC of that day: on the day itself the data may leave.
"""

from __future__ import annotations

import calendar
import re
from datetime import UTC, date, datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _only_a_day(value: object) -> object:
    # pydantic by itself would read the number 20270601 as a time in 1970, and lift the embargo.
    if value is None or (isinstance(value, date) and not isinstance(value, datetime)):
        return value
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value, re.ASCII):
        return date.fromisoformat(value)
    raise ValueError(f"{value!r} is not a day: write it as 2027-06-01")


Day = Annotated[date, BeforeValidator(_only_a_day)]


class Embargo(BaseModel):
    """What a contract may say: exactly one of ``until``, ``column`` and ``event``.

    ``months`` belongs to ``column`` and ``review_by`` to ``event``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    until: Day | None = Field(None, description="the first day, in UTC, that the data may leave")
    column: str | None = Field(None, min_length=1, description="source column with each row's day")
    months: int = Field(0, ge=0, le=1200, strict=True, description="months after the day in `column`")
    event: str | None = Field(None, min_length=1, description="what must happen first, such as publication")
    review_by: Day | None = Field(None, description="when a person must ask whether the event has happened")

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> Embargo:
        kinds = [name for name in ("until", "column", "event") if getattr(self, name) is not None]
        if len(kinds) != 1:
            raise ValueError(f"give exactly one of until, column, event; given: {', '.join(kinds) or 'none'}")
        if self.months and not self.column:
            raise ValueError("`months` goes with `column`")
        if (self.event is None) != (self.review_by is None):
            raise ValueError("`event` and `review_by` go together")
        return self


def utc_day(now: datetime) -> date:
    """The day that it is in UTC, the only calendar by which embargoes lift.

    Raises:
        ValueError: ``now`` has no time zone, so nobody can tell which day it is in UTC.
    """
    if now.utcoffset() is None:
        raise ValueError(f"{now!r} has no time zone")
    return now.astimezone(UTC).date()


def add_months(day: date, months: int) -> date:
    """The same day of the month so many months later, or the last day of a month that is too short.

    Raises:
        ValueError: the result lies beyond the year 9999.
    """
    years, month = divmod(day.month - 1 + months, 12)
    first = date(day.year + years, month + 1, 1)
    return first.replace(day=min(day.day, calendar.monthrange(first.year, first.month)[1]))
