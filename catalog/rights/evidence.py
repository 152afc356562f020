"""Evidence: whether what people read and what the files themselves say agrees with the licence declared.

Words that contradict it block until a person has set them aside by name. No evidence is not agreement.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from catalog.records import Found
from catalog.rights.licences import (
    RESTRICTIONS,
    UNSTATED,
    Alternative,
    Obligation,
    UnknownLicenceError,
    known,
    load_licences,
    normalise,
    obligations,
)
from catalog.rights.mentions import mentions
from catalog.rights.phrases import carrying
from catalog.rights.terms import Finding, Resolution

State = Literal["agreement", "conflict", "unknown"]
_Verdict = Literal["agrees", "may mean", "says", "set aside"]

_MOST_NAMED = 3


@dataclass(frozen=True)
class Evidence:
    """``conflicts``: one sentence for each statement that contradicts; ``diff``: all statements, to be read.

    Both quote the files. ``contradicting`` names only the licences that those statements mean.
    """

    state: State
    conflicts: tuple[str, ...]
    diff: str
    contradicting: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Statement:
    where: str
    words: str
    means: frozenset[str]

    @property
    def shown(self) -> str:
        """The licences it may mean, in few words."""
        if not self.means:
            return "a licence not known"
        named = sorted(self.means)
        more = len(named) - _MOST_NAMED
        return " or ".join(named[:_MOST_NAMED]) + (f" or {more} more" if more > 0 else "")


def judge(licence: str, findings: Sequence[Finding], found: Sequence[Found], resolution: Resolution | None) -> Evidence:
    """What the evidence makes of a declared licence.

    A statement agrees if one of the licences that it may mean is named in the declaration; else it contradicts,
    also where it means a licence that nobody knows. Where the declaration leaves a choice, the words that hold the
    statement must name every side of it. ``agreement`` takes one that agrees (or a resolution) and none that
    contradicts and is not set aside. NOASSERTION, NONE and what is not understood declare nothing, so nothing
    contradicts them: ``unknown``.
    """
    declared = _alternatives(licence)
    statements = list(dict.fromkeys([*_read(findings), *_surfaced(found)]))
    named = _by_words(statements)
    judged = [(_verdict(each, named[each.where, each.words], declared, resolution), each) for each in statements]
    against = [each for verdict, each in judged if verdict == "says"] if declared else []
    agrees = resolution is not None or any(verdict == "agrees" for verdict, _ in judged)
    state: State = "conflict" if against else "agreement" if declared and agrees else "unknown"
    conflicts = tuple(f'{each.where} says {each.shown}, not {licence}: "{each.words}"' for each in against)
    contradicting = tuple(sorted({each.shown for each in against}))
    return Evidence(state, conflicts, _diff(licence, judged, resolution), contradicting)


def row_problem(licence: str, found: Sequence[Found], resolution: Resolution | None) -> str | None:
    """Why the words in the bytes do not let rows have this licence of their own, if their dataset declares none.

    Words may speak of other rows than these. So one statement that restricts no more than the rows' licence will
    do; where all of them do, or are not understood, the rows are in doubt.
    """
    statements = [each for each in dict.fromkeys(_surfaced(found)) if not _set_aside(each, resolution)]
    sides = _alternatives(licence)
    if not statements or not sides:
        return None
    asked = frozenset.intersection(*(each.obligations for each in sides))
    beyond = frozenset[str]().union(*(carrying(each) for each in RESTRICTIONS if each not in asked))
    if any(each.means and not each.means & beyond for each in statements):
        return None
    said = ", ".join(sorted({each.shown for each in statements}))
    return f"the evidence contradicts the rows' own {licence}: it names {said}"


def finding_problem(finding: Finding) -> str | None:
    """What is wrong with how a person read a finding: not a licence, or not one that the quoted words may mean."""
    if finding.licence is None:
        return None
    read = _named(finding.licence)
    if not read and finding.licence.strip() not in UNSTATED:
        return known(finding.licence) or f"{finding.licence!r} is not known"
    quoted = frozenset().union(*_means(finding.quote))
    if not quoted or quoted & read:
        return None
    meant = _Statement("", "", quoted).shown
    return f'the words "{finding.quote}" mean {meant}, not {finding.licence}'


def _alternatives(expression: str) -> tuple[Alternative, ...]:
    """The sides of the choice that an expression leaves; none if it is not understood."""
    try:
        return obligations(expression)
    except UnknownLicenceError:
        return ()


def _named(expression: str) -> frozenset[str]:
    """The licences that an expression names."""
    return frozenset(spdx for each in _alternatives(expression) for spdx in each.licences)


def _means(quote: str) -> list[frozenset[str]]:
    """What each licence statement in quoted words may mean. The whole may be one name, such as ``MIT``."""
    whole = _named(quote)
    return [whole] if whole else [mention.means for mention in mentions(quote)]


def _read(findings: Sequence[Finding]) -> Iterator[_Statement]:
    for each in findings:
        where = f"{each.url or each.file or 'a finding'}, read {each.read_on}"
        quote = " ".join(each.quote.split())
        if each.licence is None:
            yield from (_Statement(where, quote, means) for means in _means(each.quote))
        elif each.licence.strip() not in UNSTATED:
            yield _Statement(where, quote, _named(each.licence))


def _surfaced(found: Sequence[Found]) -> Iterator[_Statement]:
    return (_Statement(f"{each.file}, {each.place}", each.words, frozenset(each.means)) for each in found)


def _by_words(statements: Sequence[_Statement]) -> dict[tuple[str, str], frozenset[str]]:
    """All licences that the same words in the same place may mean."""
    named: dict[tuple[str, str], frozenset[str]] = {}
    for each in statements:
        key = (each.where, each.words)
        named[key] = named.get(key, frozenset()) | each.means
    return named


def _verdict(
    statement: _Statement,
    beside: frozenset[str],
    declared: tuple[Alternative, ...],
    resolution: Resolution | None,
) -> _Verdict:
    """``beside``: what the words that hold the statement mean in all."""
    meant = any(statement.means & side.licences for side in declared)
    if meant and all(beside & side.licences for side in declared):
        # "Creative Commons" alone may mean any of its licences: it bears none of them out.
        others = statement.means.difference(*(side.licences for side in declared))
        barred = carrying(Obligation.NON_COMMERCIAL)
        return "may mean" if others & barred and not statement.means <= barred else "agrees"
    return "set aside" if _set_aside(statement, resolution) else "says"


def _set_aside(statement: _Statement, resolution: Resolution | None) -> bool:
    """By ids, if they are all that it may mean; or by its words, whole."""
    over = [] if resolution is None else resolution.over
    ids = {normalise(each) for each in over} & load_licences().keys()
    whole = {_folded(each) for each in over}
    return bool(statement.means and statement.means <= ids) or _folded(statement.words) in whole


def _folded(words: str) -> str:
    return " ".join(words.split()).casefold()


def _diff(licence: str, judged: list[tuple[_Verdict, _Statement]], resolution: Resolution | None) -> str:
    rows = [(verdict, each.shown, f'{each.where}: "{each.words}"') for verdict, each in judged]
    width = max(len(shown) for shown in (licence, *(row[1] for row in rows)))
    lines = [f"{label:<9}  {shown:<{width}}   {what}" for label, shown, what in rows]
    if resolution:
        lines.append(
            f"{'resolved':<9}  {licence:<{width}}   {resolution.by} on {resolution.decided_on}: {resolution.why}"
        )
    return "\n".join([f"{'declared':<9}  {licence}", *lines])
