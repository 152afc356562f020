"""Where the records and the wanted fields of delimited text lie in a block of bytes, found by compiled code.

Everything here speaks of byte positions in one block of UTF-8 text; nothing is copied until ``strings`` gathers
the columns. ``scan`` locates; what a fault means to the record is the caller's to say.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numba
import numpy as np
import pyarrow as pa
from numba.cpython.unsafe.numbers import trailing_zeros

Array: TypeAlias = np.ndarray[Any, Any]

_compiled = numba.njit(nogil=True, cache=True)

_FEED, _RETURN = ord("\n"), ord("\r")
_BLANK = np.zeros(256, dtype=np.bool_)
_BLANK[[ord(character) for character in " \t\n\r\v\f"]] = True
# U+00A0, the no-break space, is C2 A0 in UTF-8.
_NO_BREAK = (0xC2, 0xA0)
MOST = 1 << 18
"""Records of one scan, so that a block of nothing but short lines needs no more memory than any other."""
_TILE = 512
"""Records; their text is in the processor's cache."""
_WORD = 8
_ONES, _LOW = np.uint64(0x0101010101010101), np.uint64(0x7F7F7F7F7F7F7F7F)


class Scan(NamedTuple):
    """The records of a block; lines without any character are none.

    ``begin`` and ``size`` have the shape (wanted fields, records), the others (records). ``doubled`` tells fields
    in which a quote is written twice; it has no records where nothing is quoted.
    """

    start: Array
    """The first byte of the record, and in ``end`` the byte after its last."""
    end: Array
    line: Array
    """How many line ends of the block come before the record."""
    counts: Array
    """How many fields it has."""
    stray: Array
    """The number (from 1) of a field with text after its closing quote, or 0."""
    begin: Array
    size: Array
    doubled: Array
    consumed: int
    """Up to where the records were located: at most to where the block holds whole ones."""
    lines: int
    """How many line ends lie before that."""


def scan(text: Array, delimiter: int, quote: int, newline: int, slots: Array, wanted: int, most: int = MOST) -> Scan:
    """Locate the records of a block, and of field ``i`` the slot ``slots[i]`` (-1: not wanted).

    Of more than ``most`` records the first are located. Characters are given as byte values; ``quote`` is -1 where
    nothing is quoted. With LF as ``newline``, CR LF is a line end too. A record that the block does not end is left
    for the next block.
    """
    # One more for the record that the block does not end.
    rows = min(int(_count(text, newline)) + 1, most)
    start, end, line, counts, stray = np.zeros((5, rows), dtype=np.int32)
    begin, size = np.zeros((2, wanted, rows), dtype=np.int32)
    doubled = np.zeros((wanted, rows if quote >= 0 else 0), dtype=np.bool_)
    basic = (start, end, line, counts)
    if quote < 0:
        records, consumed, lines = _plain(text, *_words(text), delimiter, newline, slots, *basic, begin, size)
    else:
        records, consumed, lines = _quoted(text, delimiter, quote, newline, slots, *basic, stray, begin, size, doubled)
    n = int(records)
    return Scan(
        start[:n], end[:n], line[:n], counts[:n], stray[:n], begin[:, :n], size[:, :n], doubled[:, :n],
        int(consumed), int(lines),
    )  # fmt: skip


@_compiled
def _count(text: Array, sought: int) -> int:
    number = 0
    for at in range(text.size):
        number += text[at] == sought
    return number


@_compiled
def _trimmed(text: Array, begin: int, end: int, newline: int) -> int:
    """The end without the CR of a CR LF."""
    if newline == _FEED and end > begin and text[end - 1] == _RETURN:
        return end - 1
    return end


def _words(text: Array) -> tuple[Array, Array]:
    """The text eight bytes at a time, and the last of them filled up with zeros."""
    whole = text.size // _WORD * _WORD
    last = np.zeros(_WORD, dtype=np.uint8)
    last[: text.size - whole] = text[whole:]
    return text[:whole].view("<u8"), last.view("<u8")


@_compiled
def _marks(word: np.uint64, sought: np.uint64) -> np.uint64:
    """The highest bit of each byte that is the same in both words."""
    difference = word ^ sought
    return ~(((difference & _LOW) + _LOW) | difference | _LOW)


@_compiled
def _plain(
    text: Array,
    words: Array,
    last: Array,
    delimiter: int,
    newline: int,
    slots: Array,
    start: Array,
    end: Array,
    line: Array,
    count: Array,
    begin: Array,
    size: Array,
) -> tuple[int, int, int]:
    row, lines, opened, field, number = 0, 0, 0, 0, 0
    delimiters, newlines = np.uint64(delimiter) * _ONES, np.uint64(newline) * _ONES
    for index in range(words.size + 1):
        word = words[index] if index < words.size else last[0]
        marks = _marks(word, delimiters) | _marks(word, newlines)
        while marks != np.uint64(0):
            at = index * _WORD + np.int64(trailing_zeros(marks) >> np.uint64(3))  # type: ignore[call-arg]
            marks &= marks - np.uint64(1)
            ends = text[at] == newline
            stop = _trimmed(text, field, at, newline) if ends else at
            if number < slots.size and slots[number] >= 0:
                begin[slots[number], row] = field
                size[slots[number], row] = stop - field
            number += 1
            field = at + 1
            if ends:
                if stop > opened:
                    start[row], end[row], line[row], count[row] = opened, stop, lines, number
                    row += 1
                lines += 1
                opened, number = at + 1, 0
                if row == start.size:
                    return row, opened, lines
    return row, opened, lines


@_compiled
def _closing(text: Array, at: int, quote: int, newline: int) -> tuple[int, bool, int]:
    """Of a quoted field that begins at ``at``: its closing quote (or -1), whether it has quotes, its line ends."""
    doubled, lines = False, 0
    while at < text.size:
        if text[at] == quote:
            if at + 1 < text.size and text[at + 1] == quote:
                doubled = True
                at += 1
            else:
                return at, doubled, lines
        elif text[at] == newline:
            lines += 1
        at += 1
    return -1, doubled, lines


@_compiled
def _ending(text: Array, at: int, delimiter: int, newline: int) -> int:
    """The delimiter or line end that comes next, or the end of the text."""
    while at < text.size and text[at] != delimiter and text[at] != newline:
        at += 1
    return at


@_compiled
def _field(text: Array, at: int, delimiter: int, quote: int, newline: int) -> tuple[int, int, int, bool, bool, int]:
    """Begin and end of the value at ``at``, what ends it (-1: not in this block), doubled, stray, line ends."""
    if at < text.size and text[at] == quote:
        close, doubled, lines = _closing(text, at + 1, quote, newline)
        if close < 0:
            return at, at, -1, False, False, 0
        stop = _ending(text, close + 1, delimiter, newline)
        after = stop
        if stop < text.size and text[stop] == newline:
            after = _trimmed(text, close + 1, stop, newline)
        return at + 1, close, stop if stop < text.size else -1, doubled, after > close + 1, lines
    stop = _ending(text, at, delimiter, newline)
    if stop >= text.size:
        return at, at, -1, False, False, 0
    end = _trimmed(text, at, stop, newline) if text[stop] == newline else stop
    return at, end, stop, False, False, 0


@_compiled
def _quoted(
    text: Array,
    delimiter: int,
    quote: int,
    newline: int,
    slots: Array,
    start: Array,
    end: Array,
    line: Array,
    count: Array,
    stray: Array,
    begin: Array,
    size: Array,
    doubled: Array,
) -> tuple[int, int, int]:
    row, lines, opened, at, number, inside, wrong = 0, 0, 0, 0, 0, 0, 0
    while at < text.size and row < start.size:
        first, last, stop, twice, stands_out, within = _field(text, at, delimiter, quote, newline)
        if stop < 0:
            break
        if number < slots.size and slots[number] >= 0:
            begin[slots[number], row] = first
            size[slots[number], row] = last - first
            doubled[slots[number], row] = twice
        number += 1
        inside += within
        if stands_out and wrong == 0:
            wrong = number
        at = stop + 1
        if text[stop] == newline:
            if _trimmed(text, opened, stop, newline) > opened:
                start[row], end[row], line[row] = opened, _trimmed(text, opened, stop, newline), lines
                count[row], stray[row] = number, wrong
                row += 1
            lines += inside + 1
            opened, number, inside, wrong = at, 0, 0, 0
    return row, opened, lines


@_compiled
def _is_blank(text: Array, begin: int, size: int) -> bool:
    at, stop = begin, begin + size
    while at < stop:
        if _BLANK[text[at]]:
            at += 1
        elif text[at] == _NO_BREAK[0] and at + 1 < stop and text[at + 1] == _NO_BREAK[1]:
            at += 2
        else:
            return False
    return True


@_compiled
def _gather(
    text: Array, begin: Array, size: Array, doubled: Array, quote: int, base: Array, data: Array
) -> tuple[Array, Array, Array]:
    """Copy the values of all slots to ``data``, slot ``i`` from ``base[i]`` on: offsets, validity bits, and nulls.

    A tile of records at a time, since the fields of one record lie side by side and those of one slot far apart.
    One quote is copied for each two where ``doubled``, which may have no records.
    """
    slots, rows = size.shape
    offsets = np.zeros((slots, rows + 1), dtype=np.int32)
    bits = np.zeros((slots, (rows + 7) // 8), dtype=np.uint8)
    nulls = np.zeros(slots, dtype=np.int64)
    for first in range(0, rows, _TILE):
        for slot in range(slots):
            to = base[slot] + offsets[slot, first]
            for row in range(first, min(first + _TILE, rows)):
                at, length = begin[slot, row], size[slot, row]
                if length > 0 and not _is_blank(text, at, length):
                    bits[slot, row >> 3] |= 1 << (row & 7)
                    if doubled.shape[1] > 0 and doubled[slot, row]:
                        to += _unquoted(text, at, at + length, quote, data, to)
                    else:
                        for index in range(length):
                            data[to + index] = text[at + index]
                        to += length
                else:
                    nulls[slot] += 1
                offsets[slot, row + 1] = to - base[slot]
    return offsets, bits, nulls


@_compiled
def _unquoted(text: Array, at: int, stop: int, quote: int, data: Array, to: int) -> int:
    """Copy a value with one quote for each two; how many bytes that makes."""
    written = 0
    while at < stop:
        data[to + written] = text[at]
        written += 1
        at += 2 if text[at] == quote else 1
    return written


def strings(text: Array, found: Scan, quote: int) -> list[pa.StringArray]:
    """The wanted fields as columns, by slot; what is empty or blank becomes null."""
    rows = len(found.counts)
    base = np.concatenate(([0], np.cumsum(found.size.sum(axis=1, dtype=np.int64))))
    data = np.empty(base[-1], dtype=np.uint8)
    offsets, bits, nulls = _gather(text, found.begin, found.size, found.doubled, quote, base[:-1], data)
    return [
        pa.StringArray.from_buffers(
            rows,
            pa.py_buffer(offsets[slot]),
            pa.py_buffer(data[base[slot] : base[slot + 1]]),
            pa.py_buffer(bits[slot]) if nulls[slot] else None,
            int(nulls[slot]),
        )
        for slot in range(len(nulls))
    ]
