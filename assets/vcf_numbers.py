"""Columns of numbers from spans of VCF text, and from what ``assets.info_scan`` has read already.

The spans are those of ``assets.vcf_values``. What it does not take to be plain is read here, digit by digit, and at
last by Arrow: each value is the one nearest to what is written.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assets.info_scan import LEFT, NULL, SOUND, Array
from assets.vcf_values import Column, bits, split, strings

_compiled = numba.njit(nogil=True, cache=True, error_model="numpy")

_DOT, _ZERO, _NINE, _PLUS, _MINUS, _SMALL_E = (ord(c) for c in ".09+-e")
_LOWER = 0x20
_WRONG, _LONG = LEFT + 1, LEFT + 2
_MAX_DIGITS = 18
_MAX_EXPONENT = 22
_EXACT = 1 << 53
_POWERS = 10.0 ** np.arange(_MAX_EXPONENT + 1)


@_compiled
def _integers(text: Array, begin: Array, size: Array) -> tuple[Array, Array]:
    values = np.zeros(begin.size, dtype=np.int64)
    states = np.zeros(begin.size, dtype=np.uint8)
    for row in range(begin.size):
        at, stop = begin[row], begin[row] + size[row]
        if size[row] < 0 or (size[row] == 1 and text[at] == _DOT):
            states[row] = NULL
            continue
        negative = at < stop and text[at] == _MINUS
        if at < stop and (negative or text[at] == _PLUS):
            at += 1
        number, sound = np.int64(0), 0 < stop - at <= _MAX_DIGITS
        while sound and at < stop:
            sound = _ZERO <= text[at] <= _NINE
            number = number * 10 + (np.int64(text[at]) - _ZERO)
            at += 1
        values[row] = (-number if negative else number) if sound else 0
        states[row] = SOUND if sound else _WRONG
    return values, states


@_compiled
def _named(text: Array, at: int, stop: int) -> float:
    """inf, infinity and nan, in any case; 0 for what is none of them."""
    first, second, third = 0, 0, 0
    if stop - at >= 3:
        first, second, third = text[at] | _LOWER, text[at + 1] | _LOWER, text[at + 2] | _LOWER
    if stop - at == 3 and first == 110 and second == 97 and third == 110:
        return np.nan
    if first != 105 or second != 110 or third != 102:
        return 0.0
    if stop - at == 3:
        return np.inf
    for index in range(3, 8):
        if stop - at != 8 or text[at + index] | _LOWER != (105, 110, 105, 116, 121)[index - 3]:
            return 0.0
    return np.inf


@_compiled
def _digits(text: Array, at: int, stop: int, number: Any, count: int) -> tuple[int, Any, int]:
    """Where the digits from ``at`` end, the number they go on with, and how many significant ones it has."""
    while at < stop and _ZERO <= text[at] <= _NINE:
        if count < _MAX_DIGITS:
            number = number * 10 + (np.int64(text[at]) - _ZERO)
        count += number > 0
        at += 1
    return at, number, count


@_compiled
def _decimal(text: Array, at: int, stop: int) -> tuple[float, int]:
    """The value of ``[0-9]+.?[0-9]*|.[0-9]+`` with an exponent or without, and its state."""
    start = at
    at, number, count = _digits(text, at, stop, 0, 0)
    written, power = at - start, 0
    if at < stop and text[at] == _DOT:
        after, number, count = _digits(text, at + 1, stop, number, count)
        power = at + 1 - after
        written -= power
        at = after
    if written == 0:
        return 0.0, _WRONG
    if at < stop and text[at] | _LOWER == _SMALL_E:
        at += 1
        negative = at < stop and text[at] == _MINUS
        if at < stop and (negative or text[at] == _PLUS):
            at += 1
        after, exponent, _ = _digits(text, at, stop, 0, 0)
        if after == at:
            return 0.0, _WRONG
        power += -exponent if negative else exponent
        at = after
    if at < stop:
        return 0.0, _WRONG
    if count == 0:
        return 0.0, SOUND
    # A whole number below 2**53 and a power of ten up to 22 are exact doubles, so one operation rounds once.
    if count > _MAX_DIGITS - 1 or number > _EXACT or power > _MAX_EXPONENT or power < -_MAX_EXPONENT:
        return 0.0, _LONG
    return (number / _POWERS[-power] if power < 0 else number * _POWERS[power]), SOUND


@_compiled
def _floats(text: Array, begin: Array, size: Array) -> tuple[Array, Array]:
    values = np.zeros(begin.size, dtype=np.float64)
    states = np.zeros(begin.size, dtype=np.uint8)
    for row in range(begin.size):
        at, stop = begin[row], begin[row] + size[row]
        if size[row] < 0 or (size[row] == 1 and text[at] == _DOT):
            states[row] = NULL
            continue
        negative = at < stop and text[at] == _MINUS
        if at < stop and (negative or text[at] == _PLUS):
            at += 1
        value, state = _decimal(text, at, stop)
        if state == _WRONG:
            value = _named(text, at, stop)
            state = SOUND if value != 0 else _WRONG
        values[row] = -value if negative else value
        states[row] = state
    return values, states


def _floats_and_long(text: Array, begin: Array, size: Array) -> tuple[Array, Array]:
    values, states = _floats(text, begin, size)
    long = np.flatnonzero(states == _LONG)
    if len(long):
        written = strings(text, begin[long], size[long])
        try:
            read = pc.cast(pc.replace_substring(written, "+", ""), pa.float64())
            values[long] = np.frombuffer(read.buffers()[1], dtype=np.float64, count=len(long))
        except pa.ArrowInvalid:  # beyond the range of doubles
            values[long] = [float(number) for number in written.to_pylist()]
        states[long] = SOUND
    return values, states


def _parsed(text: Array, begin: Array, size: Array, kind: pa.DataType) -> tuple[Array, Array]:
    return (_integers if kind == pa.int64() else _floats_and_long)(text, begin, size)


def integers(text: Array, begin: Array, size: Array) -> Column:
    """An int64 column: an optional sign and at most 18 digits."""
    values, states = _integers(text, begin, size)
    return Column(_array(values, states), np.flatnonzero(states == _WRONG))


def floats(text: Array, begin: Array, size: Array) -> Column:
    """A double column: decimals rounded correctly, inf and nan in any case."""
    values, states = _floats_and_long(text, begin, size)
    return Column(_array(values, states), np.flatnonzero(states == _WRONG))


def numbers(text: Array, begin: Array, size: Array, states: Array, values: Array) -> Column:
    """A column of numbers, int64 or double as the values are, of which those LEFT are yet to be read."""
    left = np.flatnonzero(states == LEFT)
    kind = pa.from_numpy_dtype(values.dtype)
    if len(left):
        values[left], states[left] = _parsed(text, begin[left], size[left], kind)
    return Column(_array(values, states), left[states[left] == _WRONG])


@_compiled
def _merge(values: Array, states: Array, begin: Array, parts: Array, part_states: Array) -> Any:
    """Lists of the single values that were read and of the parts of those that were left, in the order of rows."""
    rows, most = values.size, values.size + parts.size
    offsets, valid = np.zeros(rows + 1, dtype=np.int32), np.zeros(rows, dtype=np.bool_)
    flat, flat_states = np.empty(most, dtype=np.int64), np.empty(most, dtype=np.uint8)
    used, next_left = 0, 0
    for row in range(rows):
        if states[row] == SOUND:
            flat[used], flat_states[used] = values[row], SOUND
            used += 1
        elif states[row] == LEFT:
            for part in range(begin[next_left], begin[next_left + 1]):
                flat[used], flat_states[used] = parts[part], part_states[part]
                used += 1
            next_left += 1
        valid[row] = states[row] == SOUND or states[row] == LEFT
        offsets[row + 1] = used
    return offsets, valid, flat[:used], flat_states[:used]


def number_lists(text: Array, begin: Array, size: Array, states: Array, values: Array) -> Column:
    """A column of lists of numbers; where one was LEFT, the list has several, or is missing, or a number is odd."""
    left = np.flatnonzero(states == LEFT)
    kind = pa.from_numpy_dtype(values.dtype)
    elements = split(text, begin[left], size[left])
    parts, part_states = _parsed(text, elements.begin, elements.size, kind)
    wrong = np.unique(np.searchsorted(elements.offsets, np.flatnonzero(part_states == _WRONG), side="right") - 1)
    offsets, valid, flat, flat_states = _merge(
        values.view(np.int64), states, elements.offsets, parts.view(np.int64), part_states
    )
    valid[left[elements.null]] = False
    valid[left[wrong]] = False
    found = pa.Array.from_buffers(
        pa.list_(kind), len(valid), [bits(valid), pa.py_buffer(offsets)],
        children=[_array(flat.view(values.dtype), flat_states)],
    )  # fmt: skip
    return Column(found, left[wrong])


def _array(values: Array, states: Array) -> pa.Array:
    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [bits(states == SOUND), pa.py_buffer(values)])
