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

from assets.info_scan import Array

_compiled = numba.njit(nogil=True, cache=True, error_model="numpy")
_copy: Any = types.ExternalFunction("memcpy", types.uintp(types.uintp, types.uintp, types.uintp))

_DOT, _ZERO, _SEMICOLON, _PERCENT = (ord(c) for c in ".0;%")
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


def bits(valid: Array) -> pa.Buffer | None:
    """Arrow's bitmap of what is valid; None if all is."""
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
    return pa.StringArray.from_buffers(len(valid), pa.py_buffer(offsets), pa.py_buffer(data), bits(valid))


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
    return pa.StringArray.from_buffers(len(begin), pa.py_buffer(offsets), pa.py_buffer(data), bits(valid))


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
    kind, buffers = pa.list_(pa.string()), [bits(valid), pa.py_buffer(offsets)]
    return pa.Array.from_buffers(kind, len(begin), buffers, children=[words])
