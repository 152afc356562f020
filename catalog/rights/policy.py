"""Policy: the only place that decides whether rows may leave. What it does not know, it withholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from types import MappingProxyType

from pydantic import model_validator

from catalog.records import Decision, Found, Profile, Record
from catalog.rights.embargo import Day
from catalog.rights.evidence import judge, row_problem
from catalog.rights.licences import UNSTATED, Alternative, Obligation, UnknownLicenceError, normalise, obligations
from catalog.rights.terms import DatasetTerms, Finding, Resolution

_OPEN = frozenset(
    {
        Obligation.ATTRIBUTION,
        Obligation.SHARE_ALIKE,
        Obligation.INDICATE_CHANGES,
        Obligation.NO_ENDORSEMENT,
        Obligation.DATABASE_RIGHT,
    }
)
_NONCOMMERCIAL = _OPEN | {Obligation.NON_COMMERCIAL}
PERMITTED: Mapping[Profile, frozenset[Obligation]] = MappingProxyType(
    {"open": _OPEN, "noncommercial": _NONCOMMERCIAL, "internal": frozenset(Obligation)}
)


class Terms(Record):
    """The terms in force for some rows; what ``effective`` makes of their dataset's and their own.

    ``undated_column`` names the column that should say when their embargo ends, and does not. ``doubt`` says why
    the evidence does not bear the dataset's licence out.
    """

    licence: str | None
    embargo_until: Day | None
    embargo_event: str | None = None
    review_by: Day | None = None
    undated_column: str | None = None
    doubt: str | None = None

    @model_validator(mode="after")
    def _event_has_a_review(self) -> Terms:
        if (self.embargo_event is None) != (self.review_by is None):
            raise ValueError("`embargo_event` and `review_by` go together")
        return self


@dataclass(frozen=True)
class _Verdict:
    allowed: bool
    reason: str
    obligations: tuple[str, ...] = ()


def effective(
    dataset: DatasetTerms,
    row_licence: str | None,
    row_embargo: date | None,
    found: Sequence[Found] = (),
    row_rules: str | None = None,
) -> Terms:
    """The terms in force for rows that say this of themselves.

    A row's own licence counts before its dataset's; only null means that the row says nothing. Of two embargo
    days the later one counts, and a dataset's event holds all its rows: no row lifts its dataset's embargo.
    Doubt about the dataset's licence holds all its rows too. Where the dataset declares none, the words in the bytes
    are held against the rows' own.

    Args:
        dataset: the terms in the dataset's contract.
        row_licence: the rows' ``_licence``.
        row_embargo: the rows' ``_embargo_until``, with the contract's months already added.
        found: the licence words in the bytes that the rows were read from.
        row_rules: what ``row_rules`` of the contract was when the rows were made; None if it is not about such rows.
    """
    embargo = dataset.embargo
    days = [day for day in (embargo.until if embargo else None, row_embargo) if day is not None]
    return Terms(
        licence=normalise(dataset.licence if row_licence is None else row_licence),
        embargo_until=max(days, default=None),
        embargo_event=embargo.event if embargo else None,
        review_by=embargo.review_by if embargo else None,
        undated_column=embargo.column if embargo and row_embargo is None else None,
        doubt=_outdated(dataset, row_rules)
        or _doubt(dataset.licence, row_licence, tuple(dataset.evidence), tuple(found), dataset.resolution),
    )


def _outdated(dataset: DatasetTerms, row_rules: str | None) -> str | None:
    """Rows made under other rules may lack the licence, the embargo or the coarser place that they should have."""
    if row_rules is None or row_rules == dataset.row_rules():
        return None
    return "made when the contract had other rules for single rows: run the dataset again"


def decide(terms: Terms, profile: Profile, today: date) -> Decision:
    """Whether rows under these terms may leave under a profile on a day (in UTC, see ``embargo.utc_day``).

    Raises:
        ValueError: there is no such profile.
        TypeError: ``today`` is not a plain day.
    """
    if profile not in PERMITTED:
        raise ValueError(f"there is no profile {profile!r}; the profiles are {', '.join(PERMITTED)}")
    if isinstance(today, datetime) or not isinstance(today, date):
        raise TypeError(f"today must be a day in UTC, not {today!r}; see catalog.rights.embargo.utc_day")
    licence = _judge(terms.licence, profile)
    holds = _lasting_holds(terms, today)
    lifts_on = terms.embargo_until if terms.embargo_until and today < terms.embargo_until else None
    embargo = [*holds, f"under embargo until {lifts_on}"] if lifts_on else holds
    use = ["internal use"] if profile == "internal" else []
    return Decision(
        allowed=profile == "internal" or (licence.allowed and not embargo),
        profile=profile,
        reason="; ".join([*use, licence.reason, *embargo]),
        obligations=licence.obligations,
        changes_on=lifts_on if profile != "internal" and licence.allowed and not holds else None,
    )


@lru_cache(maxsize=256)
def _doubt(
    licence: str,
    row_licence: str | None,
    evidence: tuple[Finding, ...],
    found: tuple[Found, ...],
    resolution: Resolution | None,
) -> str | None:
    if normalise(licence) in UNSTATED:  # then rows without a licence of their own are withheld in any case
        return row_problem(normalise(row_licence), found, resolution) if row_licence else None
    judged = judge(licence, evidence, found, resolution)
    if judged.state == "agreement":
        return None
    if judged.state == "conflict":
        # The words themselves are bytes of a source that is withheld: they are not quoted at a door.
        return f"the evidence contradicts {licence}: it names {', '.join(judged.contradicting)}"
    return f"no evidence names {licence}: say with `licence:` beside a quote how its words read"


def _judge(expression: str | None, profile: Profile) -> _Verdict:
    try:
        alternatives = obligations(expression or "")
    except UnknownLicenceError as error:
        return _Verdict(allowed=False, reason=f"licence unknown: {error}")
    # `obligations` has sorted them, and `min` keeps the first of equals: the choice is the same every time.
    best = min(alternatives, key=lambda each: len(each.obligations - PERMITTED[profile]))
    asked = tuple(sorted(best.obligations))
    if best.obligations <= PERMITTED[profile]:
        return _Verdict(allowed=True, reason=f"{best} asks {', '.join(asked) or 'nothing'}", obligations=asked)
    return _Verdict(allowed=False, reason=_refusal(best, profile, len(alternatives)), obligations=asked)


def _refusal(nearest: Alternative, profile: Profile, alternatives: int) -> str:
    never = sorted(nearest.obligations - _NONCOMMERCIAL)
    reasons = [f"{', '.join(never)}, which no release permits"] if never else []
    not_here = sorted(nearest.obligations - PERMITTED[profile] - set(never))
    reasons += [f"{', '.join(not_here)}, which {profile} does not permit"] if not_here else []
    choice = f"none of {alternatives} alternatives is permitted; the nearest, " if alternatives > 1 else ""
    return f"{choice}{nearest} carries {' and '.join(reasons)}"


def _lasting_holds(terms: Terms, today: date) -> list[str]:
    """The holds that the calendar does not lift."""
    holds = [] if terms.doubt is None else [terms.doubt]
    if terms.embargo_event is not None:
        state = "due by" if terms.review_by and today <= terms.review_by else "overdue since"
        holds.append(f"under embargo until {terms.embargo_event}; review {state} {terms.review_by}")
    if terms.undated_column is not None:
        plain = terms.undated_column.isidentifier()
        where = f"column {terms.undated_column!r}" if plain else "the contract's embargo.column"
        holds.append(f"under embargo: {where} does not say until when")
    return holds
