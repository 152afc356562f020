"""Where lines, fields and the wanted INFO keys of VCF records lie in a block of text, found by compiled code.

Everything here speaks of byte positions in one block. Numbers are read where their key is found, if they are written
plainly; lists of several, missing, long and faulty ones are left to ``assets.vcf_values``, as is all text.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numba
import numpy as np
from numba import types

Array: TypeAlias = np.ndarray[Any, Any]

TEXT, FLAG, INTEGER, FLOAT = range(4)
"""What a key's value is looked at as."""
NULL, SOUND, LEFT = range(3)
"""States of a number: there is none, it was read, or it is left to be looked at more closely."""

_compiled = numba.njit(nogil=True, cache=True, error_model="numpy")
_inlined = numba.njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
# Long values are passed over by the C library's search, which looks at 32 bytes at once.
_search: Any = types.ExternalFunction("memchr", types.uintp(types.uintp, types.intc, types.uintp))

_NEWLINE, _RETURN, _SEMICOLON, _EQUALS, _DOT, _MINUS, _PLUS, _ZERO = (ord(c) for c in "\n\r;=.-+0")
_LOWER, _SMALL_E = 0x20, ord("e")
_MAX_DIGITS = 18
_MAX_EXPONENT = 22
_EXACT = 1 << 53
_POWERS = 10.0 ** np.arange(_MAX_EXPONENT + 1)
_NEAR = 24
"""Bytes looked at one by one before the search is called."""


class Keys(NamedTuple):
    """The wanted INFO keys, laid out for a look-up that compares hardly any bytes twice."""

    names: tuple[str, ...]
    kinds: Array
    text: Array
    bounds: Array
    first: Array
    following: Array


class Spans(NamedTuple):
    """Where the value of each wanted key begins (-1: key absent) and how long it is (-1: key without ``=``).

    ``begin``, ``size``, ``states`` and ``numbers`` are of shape (keys, records); a float's number is its bits. Per
    record, ``twice`` has a key that occurs more than once, ``bare`` one that has no value though it is no flag, or -1.
    """

    begin: Array
    size: Array
    states: Array
    numbers: Array
    twice: Array
    bare: Array


def prepare(names: tuple[str, ...], kinds: tuple[int, ...] = ()) -> Keys:
    """Lay out the wanted keys as one text with bounds and a chained hash table of 256 places.

    ``kinds`` says how each is looked at; without it, all as text.
    """
    encoded = [name.encode() for name in names]
    bounds = np.cumsum([0, *(len(name) for name in encoded)], dtype=np.int64)
    first = np.full(256, -1, dtype=np.int64)
    following = np.full(len(names), -1, dtype=np.int64)
    for index, name in enumerate(encoded):
        place = _hash(len(name), name[0], name[-1])
        following[index], first[place] = first[place], index
    looked_at = np.array(kinds or (TEXT,) * len(names), dtype=np.int64)
    return Keys(names, looked_at, np.frombuffer(b"".join(encoded), dtype=np.uint8), bounds, first, following)


def _hash(length: int, head: int, tail: int) -> int:
    return (length * 31 + head * 7 + tail) & 255


_place = _compiled(_hash)


@_compiled
def passed_over(text: Array, at: int, stop: int, sought: int) -> Any:
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
        feed = passed_over(text, at, text.size, _NEWLINE)
        begin[rows] = at
        end[rows] = feed - 1 if feed > at and text[feed - 1] == _RETURN else feed
        at = feed + 1
        rows += 1
    return begin[:rows].copy(), end[:rows].copy()


@_compiled
def returns(text: Array, begin: Array, end: Array) -> Array:
    """True where ``text[begin:end]`` has a carriage return within."""
    found = np.empty(begin.size, dtype=np.bool_)
    for row in range(begin.size):
        found[row] = passed_over(text, begin[row], end[row], _RETURN) < end[row]
    return found


# --- numbers ---------------------------------------------------------


@_inlined
def _digits(text: Array, at: int, stop: int, number: Any) -> Any:
    """The number that the digits from ``at`` go on with, and where they end."""
    while at < stop and 0 <= np.int64(text[at]) - _ZERO <= 9:
        number = number * 10 + np.int64(text[at]) - _ZERO
        at += 1
    return number, at


@_inlined
def whole(text: Array, at: int, stop: int) -> Any:
    """A whole number of at most 18 digits at ``at``, where it ends, and whether there is one."""
    negative = at < stop and text[at] == _MINUS
    start = at + 1 if negative else at
    number, at = _digits(text, start, stop, np.int64(0))
    return (-number if negative else number), at, 0 < at - start <= _MAX_DIGITS


@_inlined
def decimal(text: Array, at: int, stop: int) -> Any:
    """A decimal number at ``at``, where it ends, and whether it is one that one operation rounds correctly."""
    negative = at < stop and text[at] == _MINUS
    start = at + 1 if negative else at
    number, at = _digits(text, start, stop, np.int64(0))
    written, power = at - start, 0
    if at < stop and text[at] == _DOT:
        start = at + 1
        number, at = _digits(text, start, stop, number)
        power = start - at
        written -= power
    sound = 0 < written <= _MAX_DIGITS
    if at < stop and text[at] | _LOWER == _SMALL_E:
        less = at + 1 < stop and text[at + 1] == _MINUS
        start = at + 2 if less or (at + 1 < stop and text[at + 1] == _PLUS) else at + 1
        exponent, at = _digits(text, start, stop, np.int64(0))
        sound = sound and 0 < at - start <= 3
        power += -exponent if less else exponent
    # A whole number up to 2**53 and a power of ten up to 22 are exact doubles, so one operation rounds once.
    if not sound or number > _EXACT or power > _MAX_EXPONENT or power < -_MAX_EXPONENT:
        return 0.0, at, False
    value = number / _POWERS[-power] if power < 0 else number * _POWERS[power]
    return (-value if negative else value), at, True


# --- INFO ------------------------------------------------------------


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


@_inlined
def _stands_at(text: Array, at: int, stop: int, key: int, keys: Array, bounds: Array) -> bool:
    """Whether ``key=`` is what is written at ``at``."""
    length = bounds[key + 1] - bounds[key]
    if at + length >= stop or text[at + length] != _EQUALS:
        return False
    for index in range(length):  # noqa: SIM110  (numba compiles no generator expression)
        if text[at + index] != keys[bounds[key] + index]:
            return False
    return True


@_inlined
def _key_end(text: Array, at: int, stop: int) -> int:
    while at < stop and text[at] != _EQUALS and text[at] != _SEMICOLON:
        at += 1
    return at


@_compiled
def _find(
    text: Array, begin: Array, end: Array,
    kinds: Array, keys: Array, bounds: Array, first: Array, following: Array,
) -> tuple[Array, Array, Array, Array, Array, Array]:  # fmt: skip
    shape = (following.size, begin.size)
    found, size = np.full(shape, -1, dtype=np.int64), np.full(shape, -1, dtype=np.int64)
    states, numbers = np.zeros(shape, dtype=np.uint8), np.zeros(shape, dtype=np.int64)
    reals = numbers.view(np.float64)
    twice, bare = np.full(begin.size, -1, dtype=np.int64), np.full(begin.size, -1, dtype=np.int64)
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
            close = -1
            numeric = key >= 0 and kinds[key] >= INTEGER and found[key, row] < 0
            if numeric and equals < stop and text[equals] == _EQUALS:
                if kinds[key] == INTEGER:
                    numbers[key, row], close, sound = whole(text, equals + 1, stop)
                else:
                    reals[key, row], close, sound = decimal(text, equals + 1, stop)
                sound = sound and (close == stop or text[close] == _SEMICOLON)
                states[key, row] = SOUND if sound else LEFT
                close = close if sound else -1
            if close < 0:
                close = passed_over(text, equals, stop, _SEMICOLON)
            if key >= 0:
                successor[last], last = key, key
                if found[key, row] >= 0:
                    twice[row] = key
                else:
                    found[key, row] = min(equals + 1, close)
                    size[key, row] = close - equals - 1
                    if close == equals and kinds[key] != FLAG:
                        bare[row] = key
            at = close + 1
    return found, size, states, numbers, twice, bare


def find(text: Array, begin: Array, end: Array, keys: Keys) -> Spans:
    """Locate all wanted keys in the INFO fields ``text[begin:end]`` of whole lines, each byte read once."""
    if not keys.names:
        none = np.empty((0, len(begin)), dtype=np.int64)
        nowhere = np.full(len(begin), -1, dtype=np.int64)
        return Spans(none, none, none, none, nowhere, nowhere)
    return Spans(*_find(text, begin, end, *keys[1:]))
