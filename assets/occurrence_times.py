"""When an occurrence was: the event's first and last day from eventDate, else from year, month and day."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from assets.distinct import Mask, given, mask, numbers
from assets.event_dates import UNREADABLE, Event, event, event_of

Days = npt.NDArray[np.int64]

EARLIEST = np.datetime64("1600-01-01", "D").astype(np.int64)
"""Before this GBIF holds a recorded date unlikely."""

_PLAIN = r"^\d{4}-\d\d-\d\d(T([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d+)?)?(Z|[+-](0\d|1[0-4]):?[0-5]\d)?)?$"
_EPOCH = 719_163  # date(1970, 1, 1).toordinal()
_NONE = np.iinfo(np.int64).min
_BEFORE_YEAR_1 = -719_163
_LAST_YEAR, _MONTHS = 9999, 12


class Spans(NamedTuple):
    """For each row the first and last day (since 1970, where known), ISO 8601, and what was said of it."""

    start: Days
    end: Days
    text: pa.Array
    known: Mask
    wide: Mask
    doubtful: Mask
    unreadable: Mask
    impossible: Mask


class Times:
    """The times of one batch: derived columns by name, masks of rows by GBIF's issue names, and impossible dates."""

    def __init__(self, source: dict[str, pa.Array], rows: int) -> None:
        self._source, self._rows = source, rows
        self.columns: dict[str, pa.Array] = {}
        self.issues: dict[str, Mask] = {}
        said, parts = self._said("eventDate"), self._parts()
        stated, counted = _stated(said), _counted(parts)
        verbatim = self._said("verbatimEventDate")
        self.error = _refusals(said, stated, parts, counted)
        chosen, told = self._chosen(stated, counted, parts), stated.known | counted.known
        if (given(verbatim) & ~told).any():
            first = _stated(pc.if_else(pa.array(told), None, verbatim))
            chosen = _merged(chosen, first, first.known)
        self._columns_of(chosen, parts)
        kept = stated.unreadable & ~given(verbatim)
        self.columns["verbatimEventDate"] = pc.if_else(pa.array(kept), said, verbatim) if kept.any() else verbatim
        apart = (stated.end < counted.start) | (counted.end < stated.start)
        unread = [given(self._said(name)) & ~given(part) for name, part in parts.items()]
        self.issues["RECORDED_DATE_INVALID"] = (
            stated.unreadable | stated.doubtful | counted.doubtful | unread[0] | unread[1] | unread[2]
        )
        self.issues["RECORDED_DATE_MISMATCH"] = stated.known & counted.known & apart
        self.issues["RECORDED_DATE_UNLIKELY"] = chosen.known & ((chosen.start < EARLIEST) | self._after(chosen.start))

    def _said(self, name: str) -> pa.Array:
        column = self._source.get(name)
        return pa.nulls(self._rows, pa.string()) if column is None else column

    def _parts(self) -> dict[str, pa.Array]:
        return {name: numbers(self._said(name), pa.int32(), _whole) for name in ("year", "month", "day")}

    def _chosen(self, stated: Spans, counted: Spans, parts: dict[str, pa.Array]) -> Spans:
        """eventDate, unless year, month and day say the same more exactly, or eventDate says nothing."""
        within = (counted.start >= stated.start) & (counted.end <= stated.end)
        shorter = counted.end - counted.start < stated.end - stated.start
        narrower = stated.known & stated.wide & counted.known & within & shorter
        used = (~stated.known & counted.known) | narrower
        return _merged(stated, counted._replace(text=_written(parts, used)), used) if used.any() else stated

    def _columns_of(self, chosen: Spans, parts: dict[str, pa.Array]) -> None:
        unknown = ~chosen.known
        start, end = (np.where(unknown, 0, days) for days in (chosen.start, chosen.end))
        self.columns["eventDate"] = pc.if_else(pa.array(unknown), None, chosen.text)
        for name, days in (("_winnow_event_start", start), ("_winnow_event_end", end)):
            self.columns[name] = pa.array(days.astype("datetime64[D]"), pa.date32(), mask=unknown)
        first, last = (_calendar(days) for days in (start, end))
        same = chosen.known
        for name, one, other in zip(("year", "month", "day"), first, last, strict=True):
            same = same & (one == other)
            derived = pa.array(one, pa.int32(), mask=~same)
            # Without a date the parts stay what the source says: a month of no known year.
            self.columns[name] = pc.if_else(pa.array(unknown), parts[name], derived)

    def _after(self, start: Days) -> Mask:
        """Which events are later than the source's last change of the record, by more than zones can explain."""
        late = np.zeros(self._rows, dtype=np.bool_)
        for name in ("modified", "lastInterpreted"):
            if name in self._source:
                changed = _stated(self._source[name])
                late |= changed.known & (start > changed.end + 1)
        return late


def _stated(column: pa.Array) -> Spans:
    """Read a column of dates: plain ISO 8601 all at once by its day, the rest by its distinct values."""
    plain = mask(pc.match_substring_regex(column, _PLAIN))
    if plain.any():
        try:
            days = pc.cast(pc.if_else(pa.array(plain), pc.utf8_slice_codeunits(column, 0, 10), None), pa.date32())
        except pa.ArrowInvalid:  # some day is none of the calendar's
            return _worded(column)
        start = pc.fill_null(pc.cast(days, pa.int32()), 0).to_numpy(zero_copy_only=False).astype(np.int64)
        if (start[plain] > _BEFORE_YEAR_1).all():
            return _mixed(column, plain, start)
    return _worded(column)


def _mixed(column: pa.Array, plain: Mask, start: Days) -> Spans:
    start = np.where(plain, start, _NONE)
    never = np.zeros(len(plain), dtype=np.bool_)
    found = Spans(start, start, column, plain, never, never, never, never)
    rest = given(column) & ~plain
    if not rest.any():
        return found
    other = _worded(pc.if_else(pa.array(rest), column, None))
    found = found._replace(wide=other.wide, doubtful=other.doubtful)
    found = found._replace(unreadable=other.unreadable, impossible=other.impossible)
    return _merged(found, other, rest)


def _worded(column: pa.Array) -> Spans:
    if column.null_count == len(column):
        return _spans([UNREADABLE], np.zeros(len(column), dtype=np.int64), ~given(column))
    coded = pc.dictionary_encode(column)
    events = [event(text) for text in coded.dictionary.to_pylist()]
    codes = pc.fill_null(coded.indices, 0).to_numpy(zero_copy_only=False)
    return _spans(events, codes, ~given(column))


def _counted(parts: dict[str, pa.Array]) -> Spans:
    """The spans of year, month and day, without their text; a month or day of 0 is not given, and doubtful."""
    has = {name: given(part) for name, part in parts.items()}
    year, month, day = (
        pc.fill_null(part, 0).to_numpy(zero_copy_only=False).astype(np.int64) for part in parts.values()
    )
    with_month, with_day = month != 0, (day != 0) & (month != 0)
    sound = (year >= 1) & (year <= _LAST_YEAR) & ((month >= 0) & (month <= _MONTHS))
    first = np.where(sound, (year - 1970) * _MONTHS + np.where(with_month, month - 1, 0), 0)
    start, after = _day_of(first), _day_of(first + np.where(with_month, 1, _MONTHS))
    sound &= ~with_day | ((day >= 1) & (day <= after - start))
    known = has["year"] & sound
    start = start + np.where(with_day, day - 1, 0)
    end = np.where(with_day, start, after - 1)
    zero = (has["month"] & (month == 0)) | (has["day"] & (day == 0)) | (has["day"] & ~has["month"])
    return Spans(
        start=np.where(known, start, _NONE),
        end=np.where(known, end, _NONE),
        text=pa.nulls(len(year), pa.string()),
        known=known,
        wide=known & ~with_day,
        doubtful=known & zero,
        unreadable=np.zeros(len(year), dtype=np.bool_),
        impossible=has["year"] & ~sound,
    )


def _day_of(months: Days) -> Days:
    """The first day of months since January 1970, in days since then."""
    found: Days = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    return found


def _written(parts: dict[str, pa.Array], rows: Mask) -> pa.Array:
    """ISO 8601 of year, month and day on some rows; null on the others."""
    at = np.flatnonzero(rows)
    told = zip(*(part.take(pa.array(at)).to_pylist() for part in parts.values()), strict=True)
    texts = pa.array([event_of(*each).text for each in told], pa.string())
    return pc.replace_with_mask(pa.nulls(len(rows), pa.string()), pa.array(rows), texts)


def _spans(events: list[Event], codes: Days, absent: Mask) -> Spans:
    def days(name: str) -> Days:
        known = [getattr(one, name) for one in events]
        return np.array([_NONE if day is None else day.toordinal() - _EPOCH for day in known], dtype=np.int64)[codes]

    def flag(of: list[bool]) -> Mask:
        found: Mask = np.array(of, dtype=np.bool_)[codes] & ~absent
        return found

    text = pa.array([one.text for one in events], pa.string()).take(pa.array(codes))
    return Spans(
        start=days("start"),
        end=days("end"),
        text=pc.if_else(pa.array(absent), None, text) if absent.any() else text,
        known=flag([one.start is not None for one in events]),
        wide=flag([one.wide for one in events]),
        doubtful=flag([one.problem == "doubtful" for one in events]),
        unreadable=flag([one.problem == "unreadable" for one in events]),
        impossible=flag([one.problem == "impossible" for one in events]),
    )


def _merged(one: Spans, other: Spans, use_other: Mask) -> Spans:
    """``other`` on the rows of the mask, else ``one``."""
    if not use_other.any():
        return one
    return one._replace(
        start=np.where(use_other, other.start, one.start),
        end=np.where(use_other, other.end, one.end),
        text=pc.if_else(pa.array(use_other), other.text, one.text),
        known=one.known | (use_other & other.known),
    )


def _refusals(said: pa.Array, stated: Spans, parts: dict[str, pa.Array], counted: Spans) -> pa.Array | None:
    """Why records are refused whose date no calendar has, or None."""
    if not (stated.impossible | counted.impossible).any():
        return None
    words = pc.binary_join_element_wise("eventDate ", said, " is no date of the calendar", "")
    texts = [pc.fill_null(pc.cast(part, pa.string()), "none") for part in parts.values()]
    figures = pc.binary_join_element_wise("year, month, day ", *texts, ", ")
    figures = pc.binary_join_element_wise(figures, " are no date of the calendar", "")
    found = pc.if_else(pa.array(stated.impossible), words, pa.scalar(None, pa.string()))
    return pc.if_else(pa.array(counted.impossible & ~stated.impossible), figures, found)


def _calendar(days: Days) -> tuple[Days, Days, Days]:
    dates = days.astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    years = months.astype("datetime64[Y]").astype(np.int64) + 1970
    return years, months.astype(np.int64) % 12 + 1, (dates - months).astype(np.int64) + 1


def _whole(text: str) -> int | None:
    found = re.fullmatch(r"\s*([+-]?\d{1,6})(?:\.0*)?\s*", text)
    return int(found[1]) if found else None
