"""Spellings: how real files write the names of licences. Texts in, candidate SPDX ids out; it knows no obligations.

A spelling is read whole or not at all: a word that does not belong to it, a second licence, a version that is
missing make it unreadable. National variants of the Creative Commons licences are other licences.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

ADDRESS = re.compile(
    r"(?:https?://)?(?:www\.)?(?:creativecommons\.org/(?:licen[sc]es|publicdomain)/|opendatacommons\.org/licen[sc]es/"
    r"|spdx\.org/licen[sc]es/|opensource\.org/licen[sc]es?/|apache\.org/licen[sc]es/|gnu\.org/licen[sc]es/"
    r"|nationalarchives\.gov\.uk/doc/(?:open-government|non-commercial-government)-licen[sc]e/)"
    r"[A-Za-z0-9._/+-]*[A-Za-z0-9/+-]",
    re.ASCII | re.IGNORECASE,
)

_ADDRESSES = tuple(
    (re.compile(pattern, re.ASCII), spdx)
    for pattern, spdx in (
        (r"creativecommons\.org/licenses/(by(?:-nc)?(?:-(?:sa|nd))?)/(\d\.\d)(/igo)?{deed}", ""),
        (r"creativecommons\.org/publicdomain/zero/1\.0{deed}", "CC0-1.0"),
        (r"creativecommons\.org/publicdomain/mark/1\.0{deed}", "CC-PDM-1.0"),
        (r"opendatacommons\.org/licenses/odbl(?:/(?:1[.-]0|summary))?", "ODbL-1.0"),
        (r"opendatacommons\.org/licenses/by(?:/(?:1[.-]0|summary))?", "ODC-By-1.0"),
        (r"opendatacommons\.org/licenses/pddl(?:/(?:1[.-]0|summary))?", "PDDL-1.0"),
        (r"nationalarchives\.gov\.uk/doc/open-government-licence/version/3", "OGL-UK-3.0"),
        (r"apache\.org/licenses/license-2\.0(?:\.txt|\.html)?", "Apache-2.0"),
    )
    for pattern in (pattern.replace("{deed}", r"(?:/(?:legalcode|deed)(?:[.-][a-z]{2,3})?)?"),)
)
_BY_ID = re.compile(r"(?:spdx|opensource)\.org/licenses?/([a-z0-9.+-]+?)(?:\.html|\.json|\.txt)?", re.ASCII)

# Signs that look like a hyphen or are not seen at all, and full-width letters: one sign for one, so that offsets stay.
_HYPHENS = dict.fromkeys(
    [0xAD, *range(0x2010, 0x2016), 0x2043, 0x2212, 0xFE58, 0xFE63, 0xFF0D, 0x200B, 0x200C, 0x200D, 0x2060], "-"
)
_SIGNS = {**{0xFEE0 + sign: chr(sign) for sign in range(0x21, 0x7F)}, **_HYPHENS}
_AROUND_ADDRESS = re.compile(r"[\s.,;<>()\[\]\"']*")

_PARTS = {"attribution": "BY", "noncommercial": "NC", "sharealike": "SA", "noderivatives": "ND"}
_CODES = {"by": "BY", "nc": "NC", "sa": "SA", "nd": "ND"}
_FILLERS = frozenset(
    [
        "license",
        "licence",
        "deed",
        "generic",
        "international",
        "unported",
        "universal",
        "public",
        "domain",
        "dedication",
    ]
)
_FITTING = {"international": "4.0", "unported": "3.0", "universal": "1.0"}
_JOINED = (
    (re.compile(r"\bcreative ?commons\b"), "cc"),
    (re.compile(r"\bcc ?(?:0|zero)\b"), "cc0"),
    (re.compile(r"\bcc (?=public domain mark)"), ""),
    (re.compile(r"\bcc (?=cc)"), ""),
    (re.compile(r"\bnon commercial\b"), "noncommercial"),
    (re.compile(r"\bshare alike\b"), "sharealike"),
    (re.compile(r"\bno ?deriv(?:ative)?s?(?: works)?\b"), "noderivatives"),
    (re.compile(r"\b(?:intergovernmental organi[sz]ations?)\b"), "igo"),
    (re.compile(r"\b(?:version |v ?)(?=\d\b|\d\.\d)"), ""),
)


@dataclass(frozen=True)
class CreativeCommons:
    """A Creative Commons licence as named: ``kind`` is ``CC0`` or as ``CC-BY-NC``; no ``version``: none is given."""

    kind: str
    version: str | None
    igo: bool

    @property
    def spdx(self) -> str | None:
        """The SPDX id it would have, or None without a version. CC0 has only ever had one."""
        version = self.version or ("1.0" if self.kind == "CC0" else None)
        return f"{self.kind}-{version}{'-IGO' if self.igo else ''}" if version else None


def hyphened(text: str) -> str:
    """The same text, as long as it was, with plain hyphens."""
    return text.translate(_HYPHENS)


def plain(text: str) -> str:
    """The same text, as long as it was, with plain hyphens and plain Latin letters."""
    return text.translate(_SIGNS)


def parts(text: str) -> tuple[str, ...]:
    """The addresses in a text, and what is left of it if that is more than what may stand around an address."""
    addresses = tuple(found[0] for found in ADDRESS.finditer(text))
    rest = ADDRESS.sub(" ", text)
    return addresses if addresses and _AROUND_ADDRESS.fullmatch(rest) else (*addresses, rest)


def folded(text: str) -> str | None:
    """A name without case, separators, and the words that say nothing; None if it holds other signs.

    ``Apache License, Version 2.0`` and ``apache-2.0`` are both ``apache 2.0``.
    """
    plain = re.sub(r"\(([^()]*)\)", r" \1 ", text.lower().strip().removesuffix("."))
    plain = re.sub(r'[\s_"-]+|, +', " ", re.sub(r"(?<![a-z0-9])(\d)_(\d)", r"\1.\2", plain)).strip()
    if not re.fullmatch(r"[a-z0-9. &]+", plain, re.ASCII):
        return None
    plain = re.sub(r"\b(?:version |v ?)(?=\d)", "", plain)
    return " ".join(word for word in plain.split() if word not in ("the", "license", "licence"))


def address_of(text: str, ids: Collection[str]) -> str | None:
    """The one of ``ids`` whose address the text is, with http or https, and with or without what follows it."""
    address = re.sub(r"^(?:https?://)?(?:www\.)?", "", text.strip().lower()).rstrip("/")
    for pattern, spdx in _ADDRESSES:
        if found := pattern.fullmatch(address):
            spdx = spdx or f"CC-{found[1].upper()}-{found[2]}{'-IGO' if found[3] else ''}"
            return spdx if spdx in ids else None
    found = _BY_ID.fullmatch(address)
    return next((each for each in ids if found and each.lower() == found[1]), None)


def spdx_of(text: str, ids: Collection[str]) -> str | None:
    """The one of ``ids`` that a whole text is an address of, or names by the words of Creative Commons."""
    if ADDRESS.fullmatch(text.strip()):
        return address_of(text, ids)
    named = creative_commons(text)
    return named.spdx if named and named.spdx in ids else None


def creative_commons(text: str) -> CreativeCommons | None:
    """What a text that names one Creative Commons licence, and nothing else, names.

    Words (``Attribution Non Commercial``) and letters (``CC-BY-NC``) may stand side by side if they agree.
    """
    plain = re.sub(r"\(([^()]*)\)", r" \1 ", text.lower().strip().removesuffix("."))
    plain = re.sub(r"[\s_-]+|, +", " ", re.sub(r"(?<![a-z0-9])(\d)_(\d)", r"\1.\2", plain)).strip()
    plain = re.sub(r"\b(\d) (\d)$", r"\1.\2", plain)
    plain = re.sub(r"^(?:this (?:work|data ?set|data|file) is )?licen[sc]ed under (?:an? |the )?", "", plain)
    for pattern, word in _JOINED:
        plain = pattern.sub(word, plain)
    return _read(plain.split())


def _read(words: list[str]) -> CreativeCommons | None:
    """Every word is known and none contradicts another; otherwise None."""
    long = [_PARTS[word] for word in words if word in _PARTS]
    short = [_CODES[word] for word in words if word in _CODES]
    versions = {word for word in words if re.fullmatch(r"\d\.\d", word, re.ASCII)}
    marks = {word for word in words if word in ("cc", "cc0", "mark")}
    rest = set(words) - _PARTS.keys() - _CODES.keys() - versions - marks - _FILLERS - {"igo"}
    fits = all(versions <= {version} for word, version in _FITTING.items() if word in words)
    if rest or not marks or len(versions) > 1 or not fits or _repeats(long) or _repeats(short):
        return None
    if long and short and set(long) != set(short):
        return None
    kind = _kind(set(long or short), marks, "igo" in words)
    return CreativeCommons(kind, next(iter(versions), None), "igo" in words) if kind else None


def _repeats(found: list[str]) -> bool:
    return len(found) != len(set(found))


def _kind(of: set[str], marks: set[str], igo: bool) -> str | None:
    if marks & {"cc0", "mark"}:
        alone = len(marks - {"cc"}) == 1 and not of and not igo
        return ("CC0" if "cc0" in marks else "CC-PDM") if alone else None
    if "BY" not in of or {"SA", "ND"} <= of:
        return None
    return "-".join(["CC", "BY", *(each for each in ("NC", "SA", "ND") if each in of)])
