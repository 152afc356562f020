"""Licences: from an SPDX expression to the obligations it puts on whoever passes the data on.

Standard: SPDX licence expressions, annex "SPDX license expressions" of SPDX 2.3. What is not understood is an
``UnknownLicenceError``, never an empty set of obligations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from functools import cache, lru_cache
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any

from license_expression import LicenseSymbol, Licensing, get_spdx_licensing
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from catalog.located import LocatedYaml, refuse, validation_problems
from catalog.rights import spellings

FILE = Path(__file__).parent / "licences.yaml"
TEXTS = Path(__file__).parent / "texts"
UNSTATED = ("NOASSERTION", "NONE")

# Row licences are a stranger's text: these keep a hostile one from costing time.
_MAX_LENGTH = 1000
_MAX_ALTERNATIVES = 64


class Obligation(StrEnum):
    """One thing that a licence asks or forbids. They form sets, not a ladder."""

    ATTRIBUTION = "ATTRIBUTION"
    SHARE_ALIKE = "SHARE_ALIKE"
    NON_COMMERCIAL = "NON_COMMERCIAL"
    NO_DERIVATIVES = "NO_DERIVATIVES"
    INDICATE_CHANGES = "INDICATE_CHANGES"
    NO_ENDORSEMENT = "NO_ENDORSEMENT"
    DATABASE_RIGHT = "DATABASE_RIGHT"
    NO_REIDENTIFICATION = "NO_REIDENTIFICATION"
    NO_REDISTRIBUTION = "NO_REDISTRIBUTION"


IN_WORDS: Mapping[Obligation, str] = MappingProxyType(
    {
        Obligation.ATTRIBUTION: "ATTRIBUTION: name the source",
        Obligation.SHARE_ALIKE: "SHARE_ALIKE: pass on what you make of it under the same licence",
        Obligation.NON_COMMERCIAL: "NON_COMMERCIAL: no use for commercial advantage",
        Obligation.NO_DERIVATIVES: "NO_DERIVATIVES: pass it on unchanged or not at all",
        Obligation.INDICATE_CHANGES: "INDICATE_CHANGES: say what you changed",
        Obligation.NO_ENDORSEMENT: "NO_ENDORSEMENT: do not suggest that the source stands behind you",
        Obligation.DATABASE_RIGHT: "DATABASE_RIGHT: a work made from the database carries a notice of it",
        Obligation.NO_REIDENTIFICATION: "NO_REIDENTIFICATION: do not try to find out who a person is",
        Obligation.NO_REDISTRIBUTION: "NO_REDISTRIBUTION: do not pass it on",
    }
)


RESTRICTIONS = frozenset(
    {
        Obligation.NON_COMMERCIAL,
        Obligation.NO_DERIVATIVES,
        Obligation.NO_REIDENTIFICATION,
        Obligation.NO_REDISTRIBUTION,
    }
)
"""The obligations that narrow what may be done; the others say only how."""


class UnknownLicenceError(ValueError):
    """A licence text that is missing, not understood, or whose obligations nobody has written down.

    ``misspelt`` is the part of it that may be a misspelling of a known licence.
    """

    def __init__(self, problem: str, misspelt: str = "") -> None:
        self.misspelt = misspelt
        super().__init__(problem)


class Licence(BaseModel):
    """One entry of ``licences.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    url: str = Field(pattern=r"^https://")
    obligations: frozenset[Obligation]
    family: str | None = Field(None, description="share-alike licences of one family accept one another")
    aliases: tuple[str, ...] = Field((), description="other names that mean this licence and no other")
    words: tuple[str, ...] = Field((), description="phrases that name it in prose, perhaps among others")

    @model_validator(mode="after")
    def _family_is_for_share_alike(self) -> Licence:
        if (Obligation.SHARE_ALIKE in self.obligations) != (self.family is not None):
            raise ValueError("a licence has a `family` if it has SHARE_ALIKE, and only then")
        return self


@dataclass(frozen=True)
class Alternative:
    """One way to hold the data lawfully: these licences together, with all that they ask."""

    licences: frozenset[str]
    obligations: frozenset[Obligation]

    def __str__(self) -> str:
        return " AND ".join(sorted(self.licences))

    @property
    def rank(self) -> tuple[int, list[str], list[str]]:
        """Sorts alternatives: fewest obligations first, then by name, so that a choice never varies."""
        return (len(self.obligations), sorted(self.obligations), sorted(self.licences))


@cache
def load_licences(path: Path = FILE) -> Mapping[str, Licence]:
    """All licences whose obligations are written down, by SPDX id or ``LicenseRef-...``.

    Raises:
        ContractError: the file is wrong; the message gives file, line and column.
    """
    source = LocatedYaml(path)
    refuse(source.duplicates)
    try:
        return MappingProxyType(TypeAdapter(dict[str, Licence]).validate_python(source.data))
    except ValidationError as error:
        refuse(validation_problems(source, error))
        raise


def normalise(text: str) -> str:
    """The SPDX id of a known licence written as its address or by name; else the text, stripped.

    ``CC_BY_4_0``, ``Creative Commons 4.0 BY``, ``http://creativecommons.org/licenses/by/4.0/legalcode`` are all
    ``CC-BY-4.0``. A name without its version, a national variant, two licences in one text stay as they are, and
    so stay unknown.
    """
    text = text.strip()
    return text if len(text) > _MAX_LENGTH else _normalised(text)


@lru_cache(maxsize=4096)
def _normalised(text: str) -> str:
    if text in load_licences():
        return text
    found = {_one_name(part) for part in spellings.parts(spellings.hyphened(text))}
    return (found.pop() or text) if len(found) == 1 else text


def _one_name(text: str) -> str | None:
    """The licence that the whole text is an address or a name of."""
    return _folded_names().get(spellings.folded(text) or "") or spellings.spdx_of(text, load_licences())


@cache
def _folded_names() -> Mapping[str, str]:
    # An owner's own terms have a name of their own only in an alias: their `name` is ours.
    return MappingProxyType(
        {
            key: spdx
            for spdx, licence in load_licences().items()
            for name in (spdx, *licence.aliases, *(() if spdx.startswith("LicenseRef-") else (licence.name,)))
            if (key := spellings.folded(name))
        }
    )


def licence_text(spdx: str) -> str:
    """The licence in words, for whoever receives the data: its name, its address, and its text as SPDX holds it.

    Of a ``LicenseRef-`` there is no text but what is written of it here: its obligations.

    Raises:
        UnknownLicenceError: ``licences.yaml`` does not list it.
    """
    licence = load_licences().get(spdx)
    if licence is None:
        raise UnknownLicenceError(f"licence {_shown(spdx)} is not known", spdx)
    head = f"{licence.name} ({spdx})\n{licence.url}\n\n"
    if not spdx.startswith("LicenseRef-"):
        return head + (TEXTS / f"{spdx}.txt").read_text(encoding="utf-8")
    asked = "".join(f"- {IN_WORDS[each]}\n" for each in sorted(licence.obligations))
    return f"{head}What it asks of whoever passes the data on:\n{asked or '- nothing'}".rstrip("\n") + "\n"


@lru_cache(maxsize=1024)
def obligations(expression: str) -> tuple[Alternative, ...]:
    """What a licence expression asks: AND stacks obligations, OR gives alternatives. Best alternative first.

    Spellings that ``normalise`` knows are taken as the SPDX ids they mean.

    Raises:
        UnknownLicenceError: empty, unparsable, NOASSERTION, NONE, ``WITH`` an exception, or an id that
            ``licences.yaml`` does not list anywhere in it (a choice with an unknown side is unknown too).
    """
    return tuple(sorted(_alternatives(_parse(expression)), key=lambda each: each.rank))


def known(expression: str) -> str | None:
    """None if every licence of a contract's expression is known, else what is wrong and perhaps meant.

    NOASSERTION and NONE may be said (the policy withholds them). A contract writes SPDX: for another
    spelling of a known licence the answer is the SPDX id.
    """
    spdx = normalise(expression)
    if spdx in UNSTATED:
        return None
    try:
        obligations(spdx)
    except UnknownLicenceError as error:
        return f"{error}{_suggestion(error.misspelt)}"
    if spdx.lower() != expression.strip().lower():
        return f"{_shown(expression)} is not SPDX: write {spdx!r}"
    return None


def _parse(expression: str) -> Any:
    text = normalise(expression)
    if not text:
        raise UnknownLicenceError("no licence is given")
    if len(text) > _MAX_LENGTH:
        raise UnknownLicenceError(f"a text of {len(text)} characters is not a licence expression")
    try:
        return _licensing().parse(text, simple=True)
    except Exception:
        # On odd text the parser also raises IndexError and others; whatever it raises, the text is not SPDX.
        raise UnknownLicenceError(f"{_shown(text)} is not an SPDX expression", text) from None


@cache
def _licensing() -> Licensing:
    return Licensing([LicenseSymbol(spdx) for spdx in load_licences()])


@cache
def _spdx_ids() -> frozenset[str]:
    return frozenset(get_spdx_licensing().known_symbols)


def _alternatives(node: Any) -> frozenset[Alternative]:
    if isinstance(node, LicenseSymbol):
        return frozenset({_single(node.key)})
    licensing = _licensing()
    if isinstance(node, licensing.OR):
        return _bounded(each for part in node.args for each in _alternatives(part))
    if isinstance(node, licensing.AND):
        stacked = _alternatives(node.args[0])
        for part in node.args[1:]:
            stacked = _bounded(_both(*pair) for pair in product(stacked, _alternatives(part)))
        return stacked
    raise UnknownLicenceError(f"what {_shown(str(node))} asks is not known: exceptions (WITH) are not supported")


def _single(spdx: str) -> Alternative:
    licence = load_licences().get(spdx)
    if licence:
        return Alternative(frozenset({spdx}), licence.obligations)
    if spdx in UNSTATED:
        raise UnknownLicenceError(f"{spdx}: the source states no licence")
    if spdx in _spdx_ids():
        raise UnknownLicenceError(f"what {spdx!r} asks is not written in catalog/rights/licences.yaml")
    raise UnknownLicenceError(f"licence {_shown(spdx)} is not known", spdx)


def _both(one: Alternative, other: Alternative) -> Alternative:
    return Alternative(one.licences | other.licences, one.obligations | other.obligations)


def _bounded(found: Iterable[Alternative]) -> frozenset[Alternative]:
    distinct = frozenset(found)
    if len(distinct) > _MAX_ALTERNATIVES:
        raise UnknownLicenceError(f"the expression has more than {_MAX_ALTERNATIVES} alternatives")
    return distinct


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:80]}...")


def _suggestion(text: str) -> str:
    by_lower = {spdx.lower(): spdx for spdx in load_licences()}
    near = get_close_matches(text[:80].lower().replace(" ", "-"), by_lower, n=1)
    return f"; did you mean {by_lower[near[0]]!r}?" if near else ""
