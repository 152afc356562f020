"""Where the fields of VCF records and the wanted INFO keys lie in a block of text, found by compiled code.

Everything here speaks of byte positions in one block; nothing is copied until ``assets.vcf_values`` gathers a column.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numba
import numpy as np
from numba import types

Array: TypeAlias = np.ndarray[Any, Any]

FIELDS = 8
"""CHROM, POS, ID, REF, ALT, QUAL, FILTER, INFO; what follows (FORMAT and samples) is counted, not located."""

_compiled = numba.njit(nogil=True, cache=True)
# Long values are passed over by the C library's search, which looks at 32 bytes at once.
_search: Any = types.ExternalFunction("memchr", types.uintp(types.uintp, types.intc, types.uintp))

_NEWLINE, _RETURN, _TAB, _SEMICOLON, _EQUALS, _DOT, _COMMA, _STAR, _ZERO, _NINE = (ord(c) for c in "\n\r\t;=.,*09")
_BASES = np.zeros(256, dtype=np.bool_)
_BASES[[ord(base) for base in "ACGTNacgtn"]] = True
_SPACE = ord(" ")
_MAX_DIGITS = 18
_NEAR = 24
"""Bytes looked at one by one before the search is called."""


class Keys(NamedTuple):
    """The wanted INFO keys, laid out for a look-up that compares hardly any bytes twice."""

    names: tuple[str, ...]
    text: Array
    bounds: Array
    first: Array
    following: Array


class Spans(NamedTuple):
    """Where the value of each wanted key begins (-1: key absent) and how long it is (-1: key without ``=``).

    Both are of shape (keys, records). ``twice`` has, per record, a key that occurs more than once, or -1.
    """

    begin: Array
    size: Array
    twice: Array


def prepare(names: tuple[str, ...]) -> Keys:
    """Lay out the wanted keys as one text with bounds and a chained hash table of 256 places."""
    encoded = [name.encode() for name in names]
    bounds = np.cumsum([0, *(len(name) for name in encoded)], dtype=np.int64)
    first = np.full(256, -1, dtype=np.int64)
    following = np.full(len(names), -1, dtype=np.int64)
    for index, name in enumerate(encoded):
        place = _place(len(name), name[0], name[-1])
        following[index], first[place] = first[place], index
    return Keys(names, np.frombuffer(b"".join(encoded), dtype=np.uint8), bounds, first, following)


@_compiled
def _next(text: Array, at: int, stop: int, sought: int) -> Any:
    """Where ``sought`` comes next in ``text[at:stop]``, or ``stop``."""
    near = min(stop, at + _NEAR)
    while at < near:
        if text[at] == sought:
            return at
        at += 1
    if at >= stop:
        return stop
    base = text.ctypes.data
    found = _search(base + np.uintp(at), sought, np.uintp(stop - at))
    return stop if found == 0 else np.int64(found - base)


@_compiled
def _larger(values: Array) -> Array:
    larger = np.empty(2 * values.size, dtype=np.int64)
    larger[: values.size] = values
    return larger


@_compiled
def lines(text: Array) -> tuple[Array, Array]:
    """Begin and end of every line of a block whose last byte ends a line; CR LF counts as one end."""
    begin = np.empty(text.size // 128 + 16, dtype=np.int64)
    end = np.empty(begin.size, dtype=np.int64)
    rows, at = 0, 0
    while at < text.size:
        if rows == begin.size:
            begin, end = _larger(begin), _larger(end)
        feed = _next(text, at, text.size, _NEWLINE)
        begin[rows] = at
        end[rows] = feed - 1 if feed > at and text[feed - 1] == _RETURN else feed
        at = feed + 1
        rows += 1
    return begin[:rows].copy(), end[:rows].copy()


@_compiled
def fields(text: Array, begin: Array, end: Array) -> tuple[Array, Array]:
    """Edges of the first eight fields of each line, shape (9, lines), and the number of fields it has.

    Field ``i`` lies at ``edges[i] : edges[i + 1] - 1``.
    """
    edges = np.empty((FIELDS + 1, begin.size), dtype=np.int64)
    counts = np.empty(begin.size, dtype=np.int64)
    for row in range(begin.size):
        at, stop, count = begin[row], end[row], 0
        while count < FIELDS and at <= stop:
            edges[count, row] = at
            at = _next(text, at, stop, _TAB) + 1
            count += 1
        for rest in range(count, FIELDS + 1):
            edges[rest, row] = stop + 1
        if at <= stop:
            edges[FIELDS, row] = at
            count += 1
            for rest in range(at, stop):
                count += text[rest] == _TAB
        counts[row] = count
    return edges, counts


@_compiled
def returns(text: Array, begin: Array, end: Array) -> Array:
    """True where ``text[begin:end]`` has a carriage return within."""
    found = np.empty(begin.size, dtype=np.bool_)
    for row in range(begin.size):
        found[row] = _next(text, begin[row], end[row], _RETURN) < end[row]
    return found


@_compiled
def _place(length: int, head: int, tail: int) -> int:
    return (length * 31 + head * 7 + tail) & 255


@_compiled
def _look_up(text: Array, begin: int, end: int, keys: Array, bounds: Array, first: Array, following: Array) -> Any:
    length = end - begin
    if length == 0:
        return -1
    key = first[_place(length, text[begin], text[end - 1])]
    while key >= 0:
        if bounds[key + 1] - bounds[key] == length:
            same = 0
            while same < length and text[begin + same] == keys[bounds[key] + same]:
                same += 1
            if same == length:
                return key
        key = following[key]
    return key


@_compiled
def _stands_at(text: Array, at: int, stop: int, key: int, keys: Array, bounds: Array) -> bool:
    """Whether ``key=`` is what is written at ``at``."""
    length = bounds[key + 1] - bounds[key]
    if at + length >= stop or text[at + length] != _EQUALS:
        return False
    for index in range(length):  # noqa: SIM110  (numba compiles no generator expression)
        if text[at + index] != keys[bounds[key] + index]:
            return False
    return True


@_compiled
def _key_end(text: Array, at: int, stop: int) -> int:
    while at < stop and text[at] != _EQUALS and text[at] != _SEMICOLON:
        at += 1
    return at


@_compiled
def _find(
    text: Array, begin: Array, end: Array, keys: Array, bounds: Array, first: Array, following: Array
) -> tuple[Array, Array, Array]:
    found = np.full((following.size, begin.size), -1, dtype=np.int64)
    size = np.full((following.size, begin.size), -1, dtype=np.int64)
    twice = np.full(begin.size, -1, dtype=np.int64)
    # Records mostly have their keys in one order, so the key that last came next is tried first.
    successor = np.zeros(following.size + 1, dtype=np.int64)
    for row in range(begin.size):
        at, stop, last = begin[row], end[row], following.size
        while at < stop:
            key = successor[last]
            if _stands_at(text, at, stop, key, keys, bounds):
                equals = at + bounds[key + 1] - bounds[key]
            else:
                equals = _key_end(text, at, stop)
                key = _look_up(text, at, equals, keys, bounds, first, following)
            close = _next(text, equals, stop, _SEMICOLON)
            if key >= 0:
                successor[last], last = key, key
                if found[key, row] >= 0:
                    twice[row] = key
                else:
                    found[key, row] = min(equals + 1, close)
                    size[key, row] = close - equals - 1
            at = close + 1
    return found, size, twice


def find(text: Array, begin: Array, end: Array, keys: Keys) -> Spans:
    """Locate all wanted keys in the INFO fields ``text[begin:end]`` of whole lines, each byte read once."""
    if not keys.names:
        none = np.empty((0, len(begin)), dtype=np.int64)
        return Spans(none, none, np.full(len(begin), -1, dtype=np.int64))
    return Spans(*_find(text, begin, end, keys.text, keys.bounds, keys.first, keys.following))


@_compiled
def positions(text: Array, begin: Array, end: Array) -> Array:
    """The positive integers written at ``text[begin:end]``; 0 where there is none."""
    numbers = np.zeros(begin.size, dtype=np.int64)
    for row in range(begin.size):
        number = 0
        if end[row] - begin[row] <= _MAX_DIGITS:
            for at in range(begin[row], end[row]):
                if text[at] < _ZERO or text[at] > _NINE:
                    number = 0
                    break
                number = number * 10 + text[at] - _ZERO
        numbers[row] = number
    return numbers


@_compiled
def _spelled(text: Array, begin: int, end: int) -> bool:
    for at in range(begin, end):
        if not _BASES[text[at]]:
            return False
    return end > begin


@_compiled
def references(text: Array, begin: Array, end: Array) -> Array:
    """True where ``text[begin:end]`` is one or more of the bases A, C, G, T, N."""
    sound = np.empty(begin.size, dtype=np.bool_)
    for row in range(begin.size):
        sound[row] = _spelled(text, begin[row], end[row])
    return sound


@_compiled
def alternates(text: Array, begin: Array, end: Array) -> Array:
    """True where ``text[begin:end]`` is ``.`` or a comma-separated list of bases and ``*``.

    Symbolic alleles and breakends are False too: they are few and need a closer look.
    """
    plain = np.empty(begin.size, dtype=np.bool_)
    for row in range(begin.size):
        start, sound = begin[row], end[row] > begin[row]
        lone = end[row] - begin[row] == 1
        for at in range(begin[row], end[row] + 1):
            if at == end[row] or text[at] == _COMMA:
                star = at == start + 1 and (text[start] == _STAR or (lone and text[start] == _DOT))
                sound = sound and (star or _spelled(text, start, at))
                start = at + 1
        plain[row] = sound
    return plain


@_compiled
def changes(text: Array, begin: Array, end: Array) -> Array:
    """True where ``text[begin:end]`` differs from the row before; the first row does."""
    differs = np.ones(begin.size, dtype=np.bool_)
    for row in range(1, begin.size):
        length = end[row] - begin[row]
        if length == end[row - 1] - begin[row - 1]:
            same = 0
            while same < length and text[begin[row] + same] == text[begin[row - 1] + same]:
                same += 1
            differs[row] = same < length
    return differs


@_compiled
def labels(text: Array, begin: Array, end: Array, reserved: int) -> Array:
    """True where ``text[begin:end]`` is ``.`` or a list of non-empty words with ``;`` between, without white space.

    Neither ``.`` nor the ``reserved`` character by itself is a word of such a list.
    """
    sound = np.empty(begin.size, dtype=np.bool_)
    for row in range(begin.size):
        start, right = begin[row], True
        for at in range(begin[row], end[row] + 1):
            if at == end[row] or text[at] == _SEMICOLON:
                taken = at == start + 1 and (text[start] == _DOT or text[start] == reserved)
                right = right and at > start and not taken
                start = at + 1
            elif text[at] <= _SPACE:
                right = False
        sound[row] = right or (end[row] - begin[row] == 1 and text[begin[row]] == _DOT)
    return sound
