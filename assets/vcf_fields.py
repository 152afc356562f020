"""The eight fixed fields of VCF records, in one pass over each line by compiled code.

What nearly every record has is read at once: POS, QUAL, plain bases, and the text of ID, REF and ALT, which is copied
to where a column of it lies. Of the others the pass says only what is odd about them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types

from assets.info_scan import LEFT, NULL, SOUND, Array, decimal, passed_over, whole

FIELDS = 8
"""CHROM, POS, ID, REF, ALT, QUAL, FILTER, INFO; what follows (FORMAT and samples) is counted, not located."""
CHROM, POS, ID, REF, ALT, QUAL, FILTER, INFO, FORMAT = range(9)

BAD_ID, BAD_REF, LOW_REF, ODD_ALT, LOW_ALT, BAD_FILTER, NEW_CHROM, BAD_POS = (1 << bit for bit in range(8))
"""What is odd: not the form that VCF gives the field (ALT: not bases alone), small letters, or another CHROM."""

_compiled = numba.njit(nogil=True, cache=True, error_model="numpy")
_copy: Any = types.ExternalFunction("memcpy", types.uintp(types.uintp, types.uintp, types.uintp))

_TAB, _SEMICOLON, _DOT, _COMMA, _STAR, _SPACE, _ZERO = (ord(c) for c in "\t;.,* 0")
_NOTHING = 0
_SHORT = 16
_LAST_CAPITAL = ord("Z") + 4
_CAPITALS = np.zeros(256, dtype=np.bool_)
_CAPITALS[[ord(base) for base in "ACGTN"]] = True
_BASES = np.zeros(256, dtype=np.bool_)
_BASES[[ord(base) for base in "ACGTNacgtn"]] = True


class Fields(NamedTuple):
    """The fields of each of so many lines.

    ``edges`` has shape (9, lines): field ``i`` lies at ``edges[i] : edges[i + 1] - 1``; ``counts`` is how many fields
    a line has, ``odd`` what is odd about it. ``offsets`` (3, lines + 1) and ``data`` are the text of ID, REF and ALT,
    of which ``valid`` (3, lines) says where it is not ``.``.
    """

    edges: Array
    counts: Array
    position: Array
    quality: Array
    quality_state: Array
    odd: Array
    offsets: Array
    data: tuple[Array, Array, Array]
    valid: Array


@_compiled
def _spelled(text: Array, begin: int, end: int) -> bool:
    for at in range(begin, end):
        if not _BASES[text[at]]:
            return False
    return end > begin


@_compiled
def _plain(text: Array, begin: int, end: int) -> bool:
    """Whether it is ``.`` or a comma-separated list of bases and ``*``.

    Symbolic alleles and breakends are not: they are few and need a closer look.
    """
    start, sound, lone = begin, end > begin, end - begin == 1
    for at in range(begin, end + 1):
        if at == end or text[at] == _COMMA:
            star = at == start + 1 and (text[start] == _STAR or (lone and text[start] == _DOT))
            sound = sound and (star or _spelled(text, start, at))
            start = at + 1
    return sound


@_compiled
def _listed(text: Array, begin: int, end: int, reserved: int) -> bool:
    """Whether it is ``.`` or a list of non-empty words with ``;`` between, without white space.

    Neither ``.`` nor the ``reserved`` character by itself is a word of such a list.
    """
    if end - begin == 1 and text[begin] == _DOT:
        return True
    start, right = begin, True
    for at in range(begin, end + 1):
        if at == end or text[at] == _SEMICOLON:
            taken = at == start + 1 and (text[start] == _DOT or text[start] == reserved)
            right = right and at > start and not taken
            start = at + 1
        elif text[at] <= _SPACE:
            right = False
    return right


@_compiled
def _small(text: Array, begin: int, end: int) -> bool:
    for at in range(begin, end):  # noqa: SIM110  (numba compiles no generator expression)
        if text[at] > _LAST_CAPITAL:
            return True
    return False


@_compiled
def _same(text: Array, one: int, other: int, length: int) -> bool:
    for index in range(length):  # noqa: SIM110  (numba compiles no generator expression)
        if text[one + index] != text[other + index]:
            return False
    return True


@_compiled
def _append(text: Array, begin: int, size: int, data: Array, used: int) -> None:
    if size > _SHORT:
        _copy(data.ctypes.data + np.uintp(used), text.ctypes.data + np.uintp(begin), np.uintp(size))
    else:
        for at in range(size):
            data[used + at] = text[begin + at]


@_compiled
def _cut(text: Array, at: int, stop: int, edges: Array) -> int:
    """The edges of a line's fields, and how many fields it has."""
    count = 0
    while count < FIELDS and at <= stop:
        edges[count] = at
        at = passed_over(text, at, stop, _TAB) + 1
        count += 1
    for rest in range(count, FIELDS + 1):
        edges[rest] = stop + 1
    if at <= stop:
        edges[FIELDS] = at
        count += 1
        for rest in range(at, stop):
            count += text[rest] == _TAB
    return count


@_compiled
def _oddities(text: Array, edge: Array) -> int:
    odd = 0
    if not _listed(text, edge[ID], edge[REF] - 1, _NOTHING):
        odd |= BAD_ID
    if not _capital(text, edge[REF], edge[ALT] - 1):
        odd |= 0 if _spelled(text, edge[REF], edge[ALT] - 1) else BAD_REF
        odd |= LOW_REF if _small(text, edge[REF], edge[ALT] - 1) else 0
    if not _capital(text, edge[ALT], edge[QUAL] - 1):
        odd |= 0 if _plain(text, edge[ALT], edge[QUAL] - 1) else ODD_ALT
        odd |= LOW_ALT if _small(text, edge[ALT], edge[QUAL] - 1) else 0
    if not _passed(text, edge[FILTER], edge[INFO] - 1) and not _listed(text, edge[FILTER], edge[INFO] - 1, _ZERO):
        odd |= BAD_FILTER
    return odd


@_compiled
def _capital(text: Array, begin: int, end: int) -> bool:
    for at in range(begin, end):
        if not _CAPITALS[text[at]]:
            return False
    return end > begin


@_compiled
def _passed(text: Array, begin: int, end: int) -> Any:
    if end - begin != 4:
        return False
    return text[begin] == 80 and text[begin + 1] == 65 and text[begin + 2] == 83 and text[begin + 3] == 83


@_compiled
def _quality(text: Array, begin: int, end: int) -> Any:
    if end - begin == 1 and text[begin] == _DOT:
        return 0.0, NULL
    value, after, sound = decimal(text, begin, end)
    sound = sound and after == end and value >= 0
    return value if sound else 0.0, SOUND if sound else LEFT


@_compiled
def _scan(
    text: Array, begin: Array, end: Array
) -> tuple[Array, Array, Array, Array, Array, Array, Array, tuple[Array, Array, Array], Array]:
    rows = begin.size
    edges, edge = np.empty((FIELDS + 1, rows), dtype=np.int64), np.zeros(FIELDS + 1, dtype=np.int64)
    counts, position = np.empty(rows, dtype=np.int64), np.empty(rows, dtype=np.int64)
    quality, state, odd = np.empty(rows, dtype=np.float64), np.empty(rows, dtype=np.uint8), np.empty(rows, np.uint8)
    offsets, valid = np.zeros((3, rows + 1), dtype=np.int32), np.empty((3, rows), dtype=np.bool_)
    # As long as the text, since a field may be.
    data = (np.empty(text.size, np.uint8), np.empty(text.size, np.uint8), np.empty(text.size, np.uint8))
    chrom, length = 0, -2
    for row in range(rows):
        counts[row] = _cut(text, begin[row], end[row], edge)
        edges[:, row] = edge
        number, after, sound = whole(text, edge[POS], edge[ID] - 1)
        sound = sound and number >= 0 and after == edge[ID] - 1 and text[edge[POS]] >= _ZERO
        position[row] = number if sound else -1
        found = _oddities(text, edge)
        found |= 0 if sound else BAD_POS
        size = edge[POS] - 1 - edge[CHROM]
        if size != length or not _same(text, edge[CHROM], chrom, size):
            found |= NEW_CHROM
        chrom, length = edge[CHROM], size
        odd[row] = found
        quality[row], state[row] = _quality(text, edge[QUAL], edge[FILTER] - 1)
        for each in range(3):
            at, size = edge[ID + each], edge[ID + each + 1] - 1 - edge[ID + each]
            valid[each, row] = size >= 0 and not (size == 1 and text[at] == _DOT)
            used = offsets[each, row]
            if not valid[each, row]:
                size = 0
            _append(text, at, size, data[each], used)
            offsets[each, row + 1] = used + size
    copies = (
        data[0][: offsets[0, rows]].copy(),
        data[1][: offsets[1, rows]].copy(),
        data[2][: offsets[2, rows]].copy(),
    )
    return edges, counts, position, quality, state, odd, offsets, copies, valid


def scan(text: Array, begin: Array, end: Array) -> Fields:
    """The fixed fields of the lines ``text[begin:end]``."""
    return Fields(*_scan(text, begin, end))
