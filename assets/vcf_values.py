"""Columns from spans of VCF text, built by compiled code straight into Arrow's buffers.

A span is a begin and a size in one block of bytes; a size of -1 is an absent value, and the text ``.`` a missing
one: both become null. Which values do not fit is told by row, never thrown.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import types

from assets.info_scan import LEFT, NULL, SOUND, Array

_compiled = numba.njit(nogil=True, cache=True, error_model="numpy")
_copy: Any = types.ExternalFunction("memcpy", types.uintp(types.uintp, types.uintp, types.uintp))

_DOT, _COMMA, _ZERO, _NINE, _PLUS, _MINUS, _SEMICOLON, _PERCENT, _SMALL_E = (ord(c) for c in ".,09+-;%e")
_LOWER = 0x20
_WRONG, _LONG = LEFT + 1, LEFT + 2
_MAX_DIGITS = 18
_MAX_EXPONENT = 22
_EXACT = 1 << 53
_POWERS = 10.0 ** np.arange(_MAX_EXPONENT + 1)
_SHORT = 16
# What VCF 4.3, section 1.2, lets be written with a percent sign.
_CODES = np.zeros(256, dtype=np.bool_)
_CODES[[ord(character) for character in ":;=%,\r\n\t"]] = True
_HEX = np.full(256, -1, dtype=np.int64)
for _character in "0123456789abcdefABCDEF":
    _HEX[ord(_character)] = int(_character, 16)


class Column(NamedTuple):
    """A column, and the rows whose text does not fit its type (null there)."""

    array: pa.Array
    wrong: Array


class Elements(NamedTuple):
    """The parts of comma-separated values: ``offsets`` (rows + 1) into their spans, and which rows are null."""

    offsets: Array
    begin: Array
    size: Array
    null: Array


def _bits(valid: Array) -> pa.Buffer | None:
    return None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))


def column(values: Array) -> pa.Array:
    """Numbers as a column without nulls, not copied.

    For ``pa.array`` to see that they are no data frame's, it would load the library of data frames.
    """
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])


def flags(values: Array) -> pa.BooleanArray:
    """Truth values as a column without nulls."""
    bits = pa.py_buffer(np.packbits(values, bitorder="little"))
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, bits])


def words(written: list[str]) -> pa.StringArray:
    """A few strings as a column."""
    encoded = [word.encode() for word in written]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(written), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded)))


def texts(offsets: Array, data: Array, valid: Array) -> pa.StringArray:
    """A string column of Arrow's own parts, not copied."""
    return pa.StringArray.from_buffers(len(valid), pa.py_buffer(offsets), pa.py_buffer(data), _bits(valid))


# --- text ------------------------------------------------------------


@_compiled
def _gather(text: Array, begin: Array, size: Array) -> tuple[Array, Array, Array]:
    offsets = np.zeros(begin.size + 1, dtype=np.int32)
    valid = np.zeros(begin.size, dtype=np.bool_)
    for row in range(begin.size):
        valid[row] = size[row] >= 0 and not (size[row] == 1 and text[begin[row]] == _DOT)
        offsets[row + 1] = offsets[row] + (size[row] if valid[row] else 0)
    data = np.empty(offsets[-1], dtype=np.uint8)
    source, target = text.ctypes.data, data.ctypes.data
    for row in range(begin.size):
        start, length = offsets[row], offsets[row + 1] - offsets[row]
        if length > _SHORT:
            _copy(target + np.uintp(start), source + np.uintp(begin[row]), np.uintp(length))
        else:
            for at in range(length):
                data[start + at] = text[begin[row] + at]
    return offsets, valid, data


def strings(text: Array, begin: Array, size: Array) -> pa.StringArray:
    """A string column from spans of UTF-8 text."""
    offsets, valid, data = _gather(text, begin, size)
    return pa.StringArray.from_buffers(len(begin), pa.py_buffer(offsets), pa.py_buffer(data), _bits(valid))


@_compiled
def _unescape(offsets: Array, data: Array) -> tuple[Array, Array]:
    kept = np.zeros(offsets.size, dtype=np.int32)
    made = np.empty(offsets[-1] - offsets[0], dtype=np.uint8)
    used = 0
    for row in range(offsets.size - 1):
        at, stop = offsets[row], offsets[row + 1]
        while at < stop:
            character = data[at]
            at += 1
            if character == _PERCENT and at + 1 < stop and _HEX[data[at]] >= 0 and _HEX[data[at + 1]] >= 0:
                code = 16 * _HEX[data[at]] + _HEX[data[at + 1]]
                if code < 256 and _CODES[code]:
                    character = np.uint8(code)
                    at += 2
            made[used] = character
            used += 1
        kept[row + 1] = used
    return kept, made[:used]


def unescape(column: pa.Array) -> pa.Array:
    """Strings, or strings in lists and structs, with the eight characters that VCF lets be percent-encoded."""
    if pa.types.is_struct(column.type):
        parts = [unescape(column.field(index)) for index in range(column.type.num_fields)]
        return pa.StructArray.from_arrays(parts, fields=list(column.type), mask=_mask(column))
    if pa.types.is_list(column.type):
        return pa.ListArray.from_arrays(column.offsets, unescape(column.values), column.type, mask=_mask(column))
    if not pa.types.is_string(column.type) or not pc.any(pc.match_substring(column, "%"), min_count=0).as_py():
        return column
    valid, offsets, data = column.buffers()
    if column.offset:
        return unescape(pa.concat_arrays([column, pa.array([], pa.string())]))
    bounds = np.frombuffer(offsets, dtype=np.int32, count=len(column) + 1)
    kept, made = _unescape(bounds, np.frombuffer(data, dtype=np.uint8))
    return pa.StringArray.from_buffers(len(column), pa.py_buffer(kept), pa.py_buffer(made), valid)


def _mask(column: pa.Array) -> pa.Array | None:
    return column.is_null() if column.null_count else None


@_compiled
def _numbered(prefix: Array, first: int, rows: int) -> tuple[Array, Array]:
    offsets = np.zeros(rows + 1, dtype=np.int32)
    data = np.empty(rows * (prefix.size + 20), dtype=np.uint8)
    digits = np.empty(20, dtype=np.uint8)
    used = 0
    for row in range(rows):
        for at in range(prefix.size):
            data[used + at] = prefix[at]
        used += prefix.size
        number, count = first + row, 0
        while number > 0 or count == 0:
            digits[count] = _ZERO + number % 10
            number //= 10
            count += 1
        for at in range(count):
            data[used + at] = digits[count - 1 - at]
        used += count
        offsets[row + 1] = used
    return offsets, data[:used]


def numbered(prefix: str, first: int, rows: int) -> pa.StringArray:
    """The prefix followed by the numbers from ``first`` (not negative) on, in ``rows`` strings."""
    offsets, data = _numbered(np.frombuffer(prefix.encode(), dtype=np.uint8), first, rows)
    return pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(data))


# --- lists -----------------------------------------------------------


@_compiled
def _split(text: Array, begin: Array, size: Array, separator: int) -> tuple[Array, Array, Array, Array]:
    offsets = np.zeros(begin.size + 1, dtype=np.int32)
    null = np.zeros(begin.size, dtype=np.bool_)
    for row in range(begin.size):
        null[row] = size[row] < 0 or (size[row] == 1 and text[begin[row]] == _DOT)
        count = 0
        if not null[row]:
            count = 1
            for at in range(begin[row], begin[row] + size[row]):
                count += text[at] == separator
        offsets[row + 1] = offsets[row] + count
    starts, sizes = np.empty(offsets[-1], dtype=np.int64), np.empty(offsets[-1], dtype=np.int64)
    part = 0
    for row in range(begin.size):
        if not null[row]:
            start, stop = begin[row], begin[row] + size[row]
            for at in range(start, stop + 1):
                if at == stop or text[at] == separator:
                    starts[part], sizes[part] = start, at - start
                    part += 1
                    start = at + 1
    return offsets, starts, sizes, null


def split(text: Array, begin: Array, size: Array, separator: str = ",") -> Elements:
    """The spans of the parts of each value; an absent or missing value has none and is null."""
    return Elements(*_split(text, begin, size, ord(separator)))


def as_list(elements: Elements, values: Column) -> Column:
    """Lists of values that were read from the elements; a list with a wrong one is wrong."""
    null = elements.null
    if len(values.wrong):
        null = null.copy()
        rows = np.unique(np.searchsorted(elements.offsets, values.wrong, side="right") - 1)
        null[rows] = True
    else:
        rows = values.wrong
    offsets = pa.Array.from_buffers(pa.int32(), len(elements.offsets), [None, pa.py_buffer(elements.offsets)])
    mask = pa.array(null) if null.any() else None
    return Column(pa.ListArray.from_arrays(offsets, values.array, mask=mask), rows)


@_compiled
def _passed(text: Array, at: int, size: int) -> bool:
    return size == 4 and text[at] == 80 and text[at + 1] == 65 and text[at + 2] == 83 and text[at + 3] == 83


@_compiled
def _words(text: Array, begin: Array, size: Array) -> Any:
    """Lists of the words between ``;``: where each list ends, whether there is one, where each word ends, and all."""
    rows, words, length = begin.size, 0, 0
    offsets, valid = np.zeros(rows + 1, dtype=np.int32), np.zeros(rows, dtype=np.bool_)
    for row in range(rows):
        valid[row] = size[row] >= 0 and not (size[row] == 1 and text[begin[row]] == _DOT)
        if valid[row] and not _passed(text, begin[row], size[row]):
            words += 1
            length += size[row]
            for at in range(begin[row], begin[row] + size[row]):
                words += text[at] == _SEMICOLON
        offsets[row + 1] = words
    ends, data = np.zeros(words + 1, dtype=np.int32), np.empty(length, dtype=np.uint8)
    word, used = 0, 0
    for row in range(rows):
        if offsets[row + 1] > offsets[row]:
            for at in range(begin[row], begin[row] + size[row]):
                if text[at] == _SEMICOLON:
                    word += 1
                    ends[word] = used
                else:
                    data[used] = text[at]
                    used += 1
            word += 1
            ends[word] = used
    return offsets, valid, ends, data[:used]


def filters(text: Array, begin: Array, size: Array) -> pa.ListArray:
    """FILTER as lists of words: empty where it says PASS, null where it says ``.``."""
    offsets, valid, ends, data = _words(text, begin, size)
    words = pa.StringArray.from_buffers(len(ends) - 1, pa.py_buffer(ends), pa.py_buffer(data))
    kind, buffers = pa.list_(pa.string()), [_bits(valid), pa.py_buffer(offsets)]
    return pa.Array.from_buffers(kind, len(begin), buffers, children=[words])


# --- numbers ---------------------------------------------------------


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
            values[long] = pc.cast(pc.replace_substring(written, "+", ""), pa.float64()).to_numpy(zero_copy_only=False)
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
    states[left[elements.null]] = NULL
    offsets, valid, flat, flat_states = _merge(
        values.view(np.int64), states, elements.offsets, parts.view(np.int64), part_states
    )
    if len(wrong):
        valid[left[wrong]] = False
    found = pa.Array.from_buffers(
        pa.list_(kind), len(valid), [_bits(valid), pa.py_buffer(offsets)],
        children=[_array(flat.view(values.dtype), flat_states)],
    )  # fmt: skip
    return Column(found, left[wrong])


def _array(values: Array, states: Array) -> pa.Array:
    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [_bits(states == SOUND), pa.py_buffer(values)])
