"""Spans of a block of text as columns: text, coded text, and the words that say where a record stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numba
import numpy as np
import pyarrow as pa

Array: TypeAlias = np.ndarray[Any, Any]

_compiled = numba.njit(nogil=True, cache=True)

_ZERO = ord("0")
_PRIME = np.uint64(0x100000001B3)


class Codes:
    """The values of one column met so far, so that batch after batch refers to the same dictionary.

    ``spelled`` gives a value its one spelling. Once there are ``MOST`` values they begin anew, so that they do not
    grow with the source.
    """

    MOST = 4096

    def __init__(self, spelled: Callable[[str], str] = str) -> None:
        self._spelled = spelled
        self._known: dict[str, int] = {}
        self._values: pa.StringArray = pa.array([], pa.string())

    def column(self, codes: Array, values: list[str]) -> pa.DictionaryArray:
        """A dictionary column of ``values[codes]``, null where a code is -1."""
        values = [self._spelled(value) for value in values]
        if len(values) > self.MOST:
            return dictionary(codes, pa.array(values, pa.string()))
        if len(self._known) + len(values) > self.MOST:
            self._known, self._values = {}, pa.array([], pa.string())
        places = [self._known.setdefault(value, len(self._known)) for value in values]
        if len(self._known) > len(self._values):
            self._values = pa.array(list(self._known), pa.string())
        if places != list(range(len(places))):
            # The last place is where -1 leads to.
            codes = np.array([*places, -1], dtype=np.int32)[codes]
        return dictionary(codes, self._values)


def dictionary(codes: Array, values: pa.StringArray) -> pa.DictionaryArray:
    """``values[codes]``, null where a code is -1."""
    valid = codes >= 0
    mask = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
    indices = pa.Array.from_buffers(pa.int32(), len(codes), [mask, pa.py_buffer(codes)])
    return pa.DictionaryArray.from_arrays(indices, values, safe=False)


def coded(text: Array, begin: Array, size: Array) -> tuple[Array, list[str]]:
    """Each distinct text at ``text[begin : begin + size]`` once, and for each span which it is; -1 for an empty one."""
    # Twice as many places as spans, so that a search in it ends.
    places = np.full(1 << (2 * len(begin)).bit_length(), -1, dtype=np.int32)
    codes, first = _coded(text, begin, size, places)
    return codes, [text[begin[row] : begin[row] + size[row]].tobytes().decode("utf-8") for row in first]


@_compiled
def _same(text: Array, one: int, other: int, size: int) -> bool:
    for index in range(size):  # noqa: SIM110  (numba compiles no generator expression)
        if text[one + index] != text[other + index]:
            return False
    return True


@_compiled
def _coded(text: Array, begin: Array, size: Array, places: Array) -> tuple[Array, Array]:
    codes = np.full(begin.size, -1, dtype=np.int32)
    first = np.empty(begin.size, dtype=np.int32)
    count, last = 0, -1
    mask = np.uint64(places.size - 1)
    for row in range(begin.size):
        at, length = begin[row], size[row]
        if length <= 0:
            continue
        # Values mostly come in runs, or alternate between a few.
        if last >= 0 and size[last] == length and _same(text, at, begin[last], length):
            codes[row] = codes[last]
            continue
        hashed = np.uint64(length)
        for index in range(at, at + length):
            hashed = (hashed ^ np.uint64(text[index])) * _PRIME
        place = (hashed ^ (hashed >> np.uint64(29))) & mask
        while places[place] >= 0:
            other = first[places[place]]
            if size[other] == length and _same(text, at, begin[other], length):
                break
            place = (place + np.uint64(1)) & mask
        if places[place] < 0:
            places[place] = count
            first[count] = row
            count += 1
        codes[row] = places[place]
        last = row
    return codes, first[:count].copy()


@_compiled
def blank_out(text: Array, begin: Array, size: Array, words: Array, bounds: Array) -> None:
    """Set to 0 the size of each span that is one of the words ``words[bounds[i] : bounds[i + 1]]``."""
    longest = 0
    for word in range(bounds.size - 1):
        longest = max(longest, bounds[word + 1] - bounds[word])
    for row in range(begin.size):
        if 0 < size[row] <= longest:
            for word in range(bounds.size - 1):
                length = bounds[word + 1] - bounds[word]
                if length == size[row]:
                    same = 0
                    while same < length and text[begin[row] + same] == words[bounds[word] + same]:
                        same += 1
                    if same == length:
                        size[row] = 0
                        break


def numbered(prefix: str, numbers: Array) -> pa.StringArray:
    """The prefix followed by each of the numbers (0 or more), such as ``am.tsv line 5``."""
    written = np.frombuffer(prefix.encode(), dtype=np.uint8)
    data = np.empty(len(numbers) * (len(written) + 20), dtype=np.uint8)
    offsets = np.zeros(len(numbers) + 1, dtype=np.int32)
    used = _numbered(written, numbers, data, offsets)
    return pa.StringArray.from_buffers(len(numbers), pa.py_buffer(offsets), pa.py_buffer(data[:used]))


@_compiled
def _numbered(written: Array, numbers: Array, data: Array, offsets: Array) -> int:
    to = 0
    for row in range(numbers.size):
        for index in range(written.size):
            data[to + index] = written[index]
        to += written.size
        number, digits = numbers[row], 1
        power = np.int64(10)
        while digits < 19 and number >= power:
            power *= 10
            digits += 1
        for index in range(digits - 1, -1, -1):
            data[to + index] = _ZERO + number % 10
            number //= 10
        to += digits
        offsets[row + 1] = to
    return to
