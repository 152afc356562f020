"""Mentions: where licence words stand in prose, comment lines and the text of XML, and what they may mean.

For evidence, not for decisions: words that name no version may mean every version, and words that only restrict
may mean no licence that is known. Time is linear in the length of the text.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from catalog.rights import spellings
from catalog.rights.licences import Obligation, load_licences, normalise
from catalog.rights.phrases import carrying, load_phrases, owners_words

QUOTE = 200

_NEAR = 100
_MARKS = re.compile(r"^[ \t]*\"?(?:#+|//+|;|\*|%+)", re.MULTILINE)
_PARAGRAPH = re.compile(r"\n\s*\n")
_SENTENCE = re.compile(r"[.!?;](?= [^\d])|(?=<)|>")
_GAP = r"[\s_/(),-]"

_VERSION = r"v?\d[._]\d(?![\d])"
_AFTER = rf"(?:version|{_VERSION}|international|unported|generic|universal|igo)"
_CODE = r"(?:attribution|by|non[\s_-]?commercial|nc|share[\s_-]?alike|sa|no[\s_-]?deriv(?:ative)?s?|nd)"
_CREATIVE_COMMONS = re.compile(
    rf"""(?<![a-z0-9])(?:
        (?:(?:creative\s?commons|cc){_GAP}{{1,2}})?(?:cc[\s_-]?0|cc[\s_-]zero|(?<=commons\s)zero)
            (?:{_GAP}{{1,3}}(?:{_AFTER}|public\sdomain|dedication)(?![a-z0-9]))*
      | (?:creative\s?commons(?!\.org)|attribution(?=[\s-](?:non[\s-]?commercial|share[\s-]?alike|no[\s-]?deriv))
                |cc(?={_GAP}{{1,2}}(?:{_CODE}|{_VERSION})(?![a-z0-9])))
            (?:{_GAP}{{1,3}}(?:{_CODE}|{_AFTER}|cc)(?![a-z0-9]))*
            (?:\)?\s(?:public\s)?licen[sc]e(?:{_GAP}{{1,3}}{_AFTER}(?![a-z0-9]))*)?
    )(?![a-z0-9])
    """,
    re.ASCII | re.IGNORECASE | re.VERBOSE,
)
# The national variants that Creative Commons published: other licences than the ones they were made from.
_PORT = re.compile(
    r"[-_/](?:a[rtu]|b[er]|c[aehlnorz]|d[ek]|e[cegs]|fi|fr|g[brt]|h[kru]|i[elnt]|jp|kr|lu|m[ktxy]|n[loz]|p[ehlrt]|r[os]"
    r"|s[egi]|t[hw]|u[kgs]|v[ne]|za)\b"
    r"|[\s,(]{1,2}(?:argentina|australia|austria|belgium|brazil|bulgaria|canada|chile|china|colombia|costa rica|croatia"
    r"|czech republic|denmark|ecuador|egypt|estonia|finland|france|germany|deutschland|greece|guatemala|hong kong"
    r"|hungary|india|ireland|israel|italy|japan|korea|luxembourg|macedonia|malaysia|malta|mexico|netherlands"
    r"|new zealand|norway|peru|philippines|poland|portugal|puerto rico|romania|serbia|singapore|slovenia|south africa"
    r"|spain|sweden|switzerland|taiwan|thailand|uganda|uk|united kingdom|united states|us|vietnam)\b",
    re.ASCII | re.IGNORECASE,
)
_IDENTIFIER = re.compile(r"\bSPDX-License-Identifier: ?([\w.+-]{1,80})|\b(LicenseRef-[\w.-]{1,80})", re.ASCII)
_NOTHING = re.compile(
    r"[\s\"':=]*(?:not\s(?:supplied|given|stated|specified|known)|unknown|unspecified|none|null|n/?a|noassertion|\?|$)"
    r"(?![\w-])[\s\"'.,]*",
    re.IGNORECASE,
)
_WORD = re.compile(r"\S+")
_PIECE = re.compile(r"(?<![a-z0-9])(?:creative\s?commons|cc0?(?![a-z]))", re.IGNORECASE)
# The letters alone, with or without signs between them: CCBYNC, by-nc-sa.
_LETTERS = re.compile(
    r"(?<![\w-])(?:cc[ _:-]?by(?:[ _:-]?(?:nc|sa|nd)){0,2}|by-(?:nc|sa|nd)(?:-(?:sa|nd))?)"
    r"(?:[ _-]?v?(\d\.\d))?(?![a-z0-9])",
    re.ASCII | re.IGNORECASE,
)
_VAGUE = re.compile(r"creative\s?commons(?: (?:public )?licen[sc]e)?", re.IGNORECASE)
_SUFFIX = re.compile(r"[-_/+](?!licen|publi|compat|data\b)[^\W\d]")


@dataclass(frozen=True)
class Mention:
    """``words``: the sentence or line that holds them, as quoted; ``means``: the licences that they may mean."""

    words: str
    means: frozenset[str]


@dataclass(frozen=True)
class _Span:
    start: int
    end: int
    means: frozenset[str]


def mentions(text: str) -> list[Mention]:
    """Every place where a text speaks of a licence, in order; the same words with the same meaning once.

    ``means`` is empty where the words are a licence statement of no licence in ``licences.yaml``.
    """
    return list(dict.fromkeys(mention for _, mention in located(text)))


def located(text: str) -> Iterator[tuple[int, Mention]]:
    """As ``mentions``, each with the offset in the text of the words themselves; not merged."""
    # Marks of comments give way to as many spaces, so that offsets stay true.
    bare = _MARKS.sub(lambda mark: " " * len(mark[0]), spellings.plain(text))
    begin = 0
    for end in [*(found.end() for found in _PARAGRAPH.finditer(bare)), len(bare)]:
        folded = _Folded(bare, begin, end)
        for span, first, last in _told(folded.text):
            yield _quoted(text, span, *(folded.offset(at) for at in (span.start, span.end, first, last)))
        begin = end


def stated(text: str) -> list[Mention]:
    """What a field says whose purpose is to state rights.

    Where it says nothing that is known, or conditions beside what is known, the field as a whole is one more
    mention, of a licence not known.
    """
    folded = " ".join(spellings.plain(text).split())
    if is_unstated(folded):
        return []
    found = mentions(text)
    phrases = load_phrases()
    rest = phrases.boilerplate.sub(" ", folded)
    for span in reversed(_spans(rest, _edges(rest))):
        rest = f"{rest[: span.start]} {rest[span.end :]}"
    if found and not phrases.condition.search(rest):
        return found
    return [*found, Mention(" ".join(text.split())[:QUOTE], frozenset())]


def is_unstated(text: str) -> bool:
    """Whether a field that should state a licence says that it does not: empty, "not supplied", "none"."""
    return bool(_NOTHING.fullmatch(text))


class _Folded:
    """A part of a text with one space for each run of white space, and the way back to offsets in the text."""

    def __init__(self, text: str, begin: int, end: int) -> None:
        words = list(_WORD.finditer(text, begin, end))
        self.text = " ".join(word[0] for word in words)
        self._there = [begin, *(word.start() for word in words)]
        self._here = [-1, *accumulate((len(word[0]) + 1 for word in words[:-1]), initial=0)][: len(self._there)]

    def offset(self, at: int) -> int:
        word = bisect_right(self._here, at) - 1
        return self._there[word] + at - max(self._here[word], 0)


def _edges(text: str) -> list[int]:
    """Where the sentences of a text begin and end."""
    return [0, *(found.end() for found in _SENTENCE.finditer(text)), len(text)]


def _told(text: str) -> Iterator[tuple[_Span, int, int]]:
    """What a paragraph tells, with where the sentence around it begins and ends."""
    edges = _edges(text)
    by_sentence: dict[int, list[_Span]] = {}
    for span in _spans(text, edges):
        by_sentence.setdefault(bisect_right(edges, span.start, hi=len(edges) - 1) - 1, []).append(span)
    for sentence, spans in by_sentence.items():
        exact = {span.means for span in spans if span.means}
        for span in spans:
            # "Creative Commons Attribution (CC BY 4.0)": the first words say no more than the second.
            if not any(means < span.means for means in exact):
                yield span, edges[sentence], max(edges[sentence + 1], span.end)


def _quoted(text: str, span: _Span, start: int, end: int, first: int, last: int) -> tuple[int, Mention]:
    """The line or lines around some words, no further than their sentence, with the offset at which they stand."""
    line = max(text.rfind("\n", max(0, start - _NEAR), start) + 1, start - _NEAR, 0)
    if line and line == start - _NEAR:
        line = text.find(" ", line, start) + 1 or line
    # The mark of a comment is part of the line as it stands in the file.
    begin = line if not text[line:first].strip(" \t#*;/") else max(line, first)
    newline = text.find("\n", end, end + QUOTE)
    last = min(last if newline < 0 else newline, last, end + QUOTE)
    return start, Mention(" ".join(text[begin:last].split())[:QUOTE], span.means)


def _spans(text: str, edges: Sequence[int]) -> list[_Span]:
    """Where the words stand, in order, none inside another; a bare statement only where no licence follows it."""
    phrases = load_phrases()
    taken: list[_Span] = []
    for group in (_addresses(text), _identifiers(text), _creative_commons(text), _letters(text), _named(text)):
        taken = _merged(taken, group)
    taken = _merged(taken, _owners(text))
    taken = [_in_context(text, span, edges) for span in taken]
    taken = _merged(taken, _plain(text, phrases.not_commercial, carrying(Obligation.NON_COMMERCIAL)))
    taken = _merged(taken, _plain(text, phrases.restriction))
    # "the licence" is the one that was named, if one was.
    first = min((span.start for span in taken if span.means), default=len(text))
    back = [span for span in _plain(text, phrases.back_reference) if span.start < first]
    return _merged(_merged(taken, _statements(text, taken)), back)


def _in_context(text: str, span: _Span, edges: Sequence[int]) -> _Span:
    """A name that its own sentence denies, or takes a part of, is of a licence not known."""
    if span.means and span.means <= carrying(Obligation.NO_REDISTRIBUTION):
        return span
    at = bisect_right(edges, span.start, hi=len(edges) - 1) - 1
    before = text[max(edges[at], span.start - _NEAR) : span.start]
    after = text[span.end : min(max(edges[at + 1], span.end), span.end + _NEAR)]
    phrases = load_phrases()
    holds = not phrases.denied.search(before) and not phrases.qualified.match(after)
    return span if holds else replace(span, means=frozenset())


def _merged(taken: list[_Span], more: Iterable[_Span]) -> list[_Span]:
    """Those taken and, of the others, those that lie beside them."""
    starts = [span.start for span in taken]
    added: list[_Span] = []
    for span in sorted(more, key=lambda each: (each.start, -each.end)):
        after = bisect_right(starts, span.start)
        before = max(taken[after - 1].end if after else 0, added[-1].end if added else 0)
        following = taken[after].start if after < len(taken) else span.end
        if before <= span.start and span.end <= following:
            added.append(span)
    return sorted([*taken, *added], key=lambda span: span.start)


def _addresses(text: str) -> Iterator[_Span]:
    for found in spellings.ADDRESS.finditer(text):
        spdx = spellings.address_of(found[0].rstrip(".-"), load_licences())
        yield _Span(*found.span(), _only(spdx))


def _identifiers(text: str) -> Iterator[_Span]:
    for found in _IDENTIFIER.finditer(text):
        spdx = normalise((found[1] or found[2]).rstrip(".-"))
        yield _Span(*found.span(), _only(spdx if spdx in load_licences() else None))


def _creative_commons(text: str) -> Iterator[_Span]:
    for run in _CREATIVE_COMMONS.finditer(text):
        if run[0] == "cc by":
            continue  # of a letter, most likely
        named = _name(run[0])
        if named or not (pieces := [*_PIECE.finditer(run[0])][1:]):
            yield _Span(*run.span(), _kinds(run[0], named, text[run.end() : run.end() + 40]))
            continue
        # Two licences side by side: each is told by itself.
        cuts = [0, *(piece.start() for piece in pieces), len(run[0])]
        for begin, end in pairwise(cuts):
            part = run[0][begin:end].strip(" ,(/-_)")
            yield _Span(run.start() + begin, run.start() + end, _kinds(part, _name(part), ""))


def _name(text: str) -> spellings.CreativeCommons | None:
    plain = text.replace("(", " ").replace(")", " ")
    return spellings.creative_commons(plain) or spellings.creative_commons(f"cc {plain}")


def _kinds(text: str, named: spellings.CreativeCommons | None, following: str) -> frozenset[str]:
    """The licences that a name may mean: those of its kind where it gives no version."""
    ids = load_licences()
    if named is None:
        vague = _VAGUE.fullmatch(text) and not load_phrases().foreign.match(following)
        return frozenset(spdx for spdx in ids if vague and re.match("CC[-0]", spdx))
    if named.version != "4.0" and named.kind.startswith("CC-BY") and _PORT.match(following):
        return frozenset()
    if _SUFFIX.match(following):
        return frozenset()
    if named.spdx:
        return _only(named.spdx if named.spdx in ids else None)
    kind = re.compile(rf"{named.kind}-\d\.\d{'-IGO' if named.igo else '(?:-IGO)?'}")
    return frozenset(spdx for spdx in ids if kind.fullmatch(spdx))


def _letters(text: str) -> Iterator[_Span]:
    for found in _LETTERS.finditer(text):
        codes = re.findall("by|nc|sa|nd", found[0].lower().removeprefix("cc"))
        if found[0] != "cc by":
            named = spellings.creative_commons(" ".join(["cc", *codes, found[1] or ""]))
            yield _Span(*found.span(), _kinds(found[0], named, text[found.end() : found.end() + 40]))


def _named(text: str) -> Iterator[_Span]:
    for pattern, means in load_phrases().named:
        yield from _plain(text, pattern, means)


def _owners(text: str) -> Iterator[_Span]:
    pattern, means = owners_words()
    yield from (_Span(*found.span(), means[found[0].lower()]) for found in pattern.finditer(text))


def _plain(text: str, pattern: re.Pattern[str], means: frozenset[str] = frozenset()) -> Iterator[_Span]:
    yield from (_Span(*found.span(), means) for found in pattern.finditer(text))


def _statements(text: str, taken: Sequence[_Span]) -> Iterator[_Span]:
    """Words by which somebody states some licence, unless they say none or the licence itself follows."""
    starts = [span.start for span in taken]
    phrases = load_phrases()
    for found in phrases.statement.finditer(text):
        after = bisect_right(starts, found.end() - 1)
        # The licence may stand within the words themselves: then they overlap, and are not told twice.
        following = starts[after] if after < len(starts) else len(text)
        near = after < len(starts) and following <= found.end() + _NEAR
        announced = near and phrases.filler.fullmatch(text, found.end(), following)
        empty = found[0].rstrip(" \"'")[-1] in ":=" and _NOTHING.match(text, found.end(), found.end() + 40)
        if not announced and not empty:
            yield _Span(*found.span(), frozenset())


def _only(spdx: str | None) -> frozenset[str]:
    return frozenset([spdx] if spdx else [])
