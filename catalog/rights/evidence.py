"""Evidence: whether what people read and what the files themselves say agrees with the licence declared.

Words that contradict it block until a person has set them aside by name. No evidence is not agreement.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal, Protocol

from catalog.rights.licences import UNSTATED, UnknownLicenceError, known, load_licences, normalise, obligations
from catalog.rights.mentions import mentions

State = Literal["agreement", "conflict", "unknown"]
_Verdict = Literal["agrees", "says", "set aside"]

_SHORTEST = 4
_MOST_NAMED = 3


class FindingLike(Protocol):
    """What a person read, where and when; ``licence`` is how the person read the words, as SPDX."""

    @property
    def url(self) -> str | None:
        """The page, if it is one."""

    @property
    def file(self) -> str | None:
        """The file, if it is one."""

    @property
    def quote(self) -> str:
        """The words, as they stand there."""

    @property
    def read_on(self) -> date:
        """The day."""

    @property
    def licence(self) -> str | None:
        """SPDX, or None: the words speak for themselves."""


class ResolutionLike(Protocol):
    """A person's decision for the declared licence; ``over``: the SPDX ids, or words, that it sets aside."""

    @property
    def by(self) -> str:
        """Who."""

    @property
    def on(self) -> date:
        """When."""

    @property
    def why(self) -> str:
        """The reason."""

    @property
    def over(self) -> tuple[str, ...]:
        """What is set aside."""


class FoundLike(Protocol):
    """Licence words that stand in the files: ``place`` as in ``line 3``, ``means`` what they may mean."""

    @property
    def file(self) -> str:
        """Its name."""

    @property
    def place(self) -> str:
        """Where in the file."""

    @property
    def words(self) -> str:
        """As quoted."""

    @property
    def means(self) -> tuple[str, ...]:
        """SPDX ids; none: a licence not known."""


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


def judge(
    licence: str, findings: Sequence[FindingLike], found: Sequence[FoundLike], resolution: ResolutionLike | None
) -> Evidence:
    """What the evidence makes of a declared licence.

    A statement agrees if one of the licences that it may mean is named in the declaration; else it contradicts,
    also where it means a licence that nobody knows. ``agreement`` takes one that agrees (or a resolution) and none
    that contradicts and is not set aside. NOASSERTION, NONE and what is not understood declare nothing, so nothing
    contradicts them: ``unknown``.
    """
    declared = _named(licence)
    statements = [*_read(findings), *(_Statement(f"{x.file}, {x.place}", x.words, frozenset(x.means)) for x in found)]
    judged = [(_verdict(each, declared, resolution), each) for each in dict.fromkeys(statements)]
    against = [each for verdict, each in judged if verdict == "says"] if declared else []
    agrees = resolution is not None or any(verdict == "agrees" for verdict, _ in judged)
    state: State = "conflict" if against else "agreement" if declared and agrees else "unknown"
    conflicts = tuple(f'{each.where} says {each.shown}, not {licence}: "{each.words}"' for each in against)
    contradicting = tuple(sorted({each.shown for each in against}))
    return Evidence(state, conflicts, _diff(licence, judged, resolution), contradicting)


def finding_problem(finding: FindingLike) -> str | None:
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


def _named(expression: str) -> frozenset[str]:
    """The licences that an expression names; none if it is not understood."""
    try:
        return frozenset(spdx for each in obligations(expression) for spdx in each.licences)
    except UnknownLicenceError:
        return frozenset()


def _means(quote: str) -> list[frozenset[str]]:
    """What each licence statement in quoted words may mean. The whole may be one name, such as ``MIT``."""
    whole = _named(quote)
    return [whole] if whole else [mention.means for mention in mentions(quote)]


def _read(findings: Sequence[FindingLike]) -> Iterator[_Statement]:
    for each in findings:
        where = f"{each.url or each.file or 'a finding'}, read {each.read_on}"
        quote = " ".join(each.quote.split())
        if each.licence is None:
            yield from (_Statement(where, quote, means) for means in _means(each.quote))
        elif each.licence.strip() not in UNSTATED:
            yield _Statement(where, quote, _named(each.licence))


def _verdict(statement: _Statement, declared: frozenset[str], resolution: ResolutionLike | None) -> _Verdict:
    if statement.means & declared:
        return "agrees"
    covered = resolution is not None and any(_covers(over, statement) for over in resolution.over)
    return "set aside" if covered else "says"


def _covers(over: str, statement: _Statement) -> bool:
    spdx = normalise(over)
    if spdx in load_licences():
        return spdx in statement.means
    words = " ".join(over.split()).casefold()
    # A letter or two stand in any words, and would set aside all.
    return len(words) >= _SHORTEST and words in " ".join(statement.words.split()).casefold()


def _diff(licence: str, judged: list[tuple[_Verdict, _Statement]], resolution: ResolutionLike | None) -> str:
    rows = [(verdict, each.shown, f'{each.where}: "{each.words}"') for verdict, each in judged]
    width = max(len(shown) for shown in (licence, *(row[1] for row in rows)))
    lines = [f"{label:<9}  {shown:<{width}}   {what}" for label, shown, what in rows]
    if resolution:
        lines.append(f"{'resolved':<9}  {licence:<{width}}   {resolution.by} on {resolution.on}: {resolution.why}")
    return "\n".join([f"{'declared':<9}  {licence}", *lines])
