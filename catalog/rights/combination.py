"""Combination: the terms of a derived row, an adaptation of rows that each came under terms of their own.

The rows side by side would be a collection, in which each keeps its licence; this is not for those. What is kept
is the choice that OR gives: sets of licences, of which no set contains another. Joining two combinations takes one
set of each. That is commutative, associative and idempotent, and no set ever asks less than one it was made of.
Whether the licences of a set can be obeyed together is asked at the end. (More than ``_MOST`` sets are refused as
unknown, and those laws with them: nobody means such an expression.)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from itertools import combinations
from typing import TypeAlias

from catalog.rights.licences import (
    RESTRICTIONS,
    Alternative,
    Obligation,
    UnknownLicenceError,
    load_licences,
    obligations,
)

_MOST = 4096

_Choice: TypeAlias = frozenset[str]


@dataclass(frozen=True)
class Combination:
    """What stands for an adaptation: the choices among licences, and what of its parts is unknown."""

    choices: frozenset[_Choice]
    unknown: frozenset[str] = frozenset()

    def join(self, other: Combination) -> Combination:
        """The terms of an adaptation made of both."""
        unknown = self.unknown | other.unknown
        if self.choices == other.choices:
            return Combination(self.choices, unknown)
        both = frozenset(one | two for one in self.choices for two in other.choices)
        if len(both) > _MOST:
            return Combination(NOTHING.choices, unknown | {f"a combination of more than {_MOST} choices"})
        return Combination(_least(both), unknown)

    @property
    def alternatives(self) -> tuple[Alternative, ...]:
        """The choices whose licences can be obeyed together, best first; none on a conflict."""
        if self.unknown or self == NOTHING:
            return ()
        return tuple(each for each in self._all() if not _conflicts(each.licences))

    @property
    def expression(self) -> str | None:
        """The SPDX expression of a derived row; None where there is a conflict."""
        found = self.alternatives
        bracketed = (f"({each})" if len(found) > 1 and len(each.licences) > 1 else str(each) for each in found)
        return " OR ".join(bracketed) or None

    @property
    def obligations(self) -> frozenset[Obligation]:
        """What the best choice asks. On a conflict: what all choices ask together. Of the unknown: everything."""
        if self.unknown:
            return frozenset(Obligation)
        if self.alternatives:
            return self.alternatives[0].obligations
        return frozenset().union(*(each.obligations for each in self._all()))

    @property
    def conflict(self) -> str | None:
        """Why no adaptation may be passed on, naming both sides; None where one may."""
        if self.unknown:
            return f"not known: {'; '.join(sorted(self.unknown))}"
        if self == NOTHING:
            return "made of nothing that has a licence"
        if self.alternatives:
            return None
        choices = self._all()
        why = "; ".join(_conflicts(choices[0].licences))
        return f"none of {len(choices)} choices can be obeyed; the nearest: {why}" if len(choices) > 1 else why

    def _all(self) -> list[Alternative]:
        return sorted((_alternative(choice) for choice in self.choices), key=lambda each: each.rank)


NOTHING = Combination(frozenset({frozenset()}))
"""The combination of nothing: joined with any other it is that other. By itself it has no expression."""


def combine(parts: Iterable[str | Combination]) -> Combination:
    """The terms of an adaptation made of rows under these SPDX expressions (or combinations); of none, ``NOTHING``.

    An expression that is not understood, NOASSERTION or NONE makes the whole unknown; nothing is raised.
    """
    return reduce(Combination.join, (_single(part) for part in dict.fromkeys(parts)), NOTHING)


def _single(part: str | Combination) -> Combination:
    if isinstance(part, Combination):
        return part
    try:
        return Combination(_least(frozenset(each.licences for each in obligations(part))))
    except UnknownLicenceError as error:
        return Combination(NOTHING.choices, frozenset({str(error)}))


def _least(choices: frozenset[_Choice]) -> frozenset[_Choice]:
    """Those that contain no other: whoever may choose A alone gains nothing by the choice of A with B."""
    kept: list[_Choice] = []
    for choice in sorted(choices, key=len):
        if not any(smaller <= choice for smaller in kept):
            kept.append(choice)
    return frozenset(kept)


def _alternative(choice: _Choice) -> Alternative:
    return Alternative(choice, frozenset().union(*(load_licences()[spdx].obligations for spdx in choice)))


def _conflicts(choice: _Choice) -> list[str]:
    """Why these licences cannot all be obeyed in one adaptation."""
    licences = load_licences()
    others = {spdx: ", ".join(sorted(choice - {spdx})) or "itself" for spdx in choice}
    found = [
        f"{spdx} forbids an adaptation (NO_DERIVATIVES), here one with {others[spdx]}"
        for spdx in sorted(choice)
        if Obligation.NO_DERIVATIVES in licences[spdx].obligations
    ]
    for one, two in combinations(sorted(choice), 2):
        mine, theirs = licences[one].family, licences[two].family
        if mine and theirs and mine != theirs:
            found.append(f"{one} and {two} each ask that the whole be under its own kind (SHARE_ALIKE)")
            continue
        for sharing, other in ((one, two), (two, one)):
            extra = (licences[other].obligations & RESTRICTIONS) - licences[sharing].obligations
            if licences[sharing].family and extra:
                found.append(
                    f"{sharing} asks that the whole be under its own kind (SHARE_ALIKE), "
                    f"which does not carry the {', '.join(sorted(extra))} of {other}"
                )
    return found
