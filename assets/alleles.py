"""Alleles of variant records: split, trimmed, aligned to the left and written out, by compiled code over Arrow's bytes.

Trimming and left alignment are those of Tan, Abecasis and Kang (2015, doi:10.1093/bioinformatics/btv112), as
``bcftools norm -f`` does them: the common suffix goes first; an allele that it would use up is extended by the
base to the left, as long as there is one; then the common prefix goes, and one base of each allele stays.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numba
import numpy as np

from assets.allele_text import BASE, DELETION, DELINS, INSERTION, MNV, NONE, OTHER, SAME, SNV, Rows, Text, Trimmed

Array: TypeAlias = np.ndarray[Any, Any]

_compiled = numba.njit(nogil=True, cache=True)

BAD_REF, BAD_ALT, BAD_PLACE, MISMATCH, BEYOND = range(1, 6)
"""Faults: REF or ALT is not what may stand there, no position, not the reference's bases, beyond the contig."""

_COMMA, _STAR, _DOT, _LESS, _MORE, _OPEN, _CLOSE = (ord(c) for c in ",*.<>[]")
# Each byte as a base of a reference, where ambiguity codes count as N, as bcftools takes them.
_REFERENCE = np.where(BASE > 0, BASE, np.uint8(ord("N")))


class Window(NamedTuple):
    """A piece of a contig: its bases, the base (from 0) with which it begins, and the contig's whole length."""

    text: Array
    start: int
    length: int


def without_dots(alts: Text) -> Text:
    """The same ALT, where ``.``, which says that there is no alternate, counts as null."""
    return alts._replace(valid=_said(alts.offsets, alts.valid, alts.data))


def count(alts: Text, sound: Array) -> Array:
    """How many alternates each record has; an unsound record none."""
    found: Array = _alternates(alts.offsets, alts.valid, alts.data, sound)[0]
    return found


def split(alts: Text, sound: Array) -> tuple[Rows, Array]:
    """The rows to come, and how many alternates each record has; an unsound record stays one row."""
    alternates, total = _alternates(alts.offsets, alts.valid, alts.data, sound)
    return Rows(*_rows(alts.offsets, alts.data, alternates, total)), alternates


def trim(places: tuple[Array, Array], refs: Text, alts: Text, rows: Rows, sound: Array) -> Trimmed:
    """The parsimonious form of each row's allele, without a look at any reference sequence.

    Args:
        places: the records' positions (from 1), and whether each is there.
        refs: the records' REF.
        alts: the records' ALT, with commas.
        rows: of ``split``.
        sound: whether each record is to be looked at; rows of the others are NONE, without a fault.
    """
    positions, placed = places
    position, ref_begin, ref_size, alt_begin, alt_size, kind, rolls, fault = _trim(
        positions, placed, refs.offsets, refs.valid, refs.data, alts.valid, alts.data, rows.record, rows.begin,
        rows.size, sound,
    )  # fmt: skip
    shift, anchor = np.full(len(kind), -1, dtype=np.int64), np.zeros(len(kind), dtype=np.uint8)
    return Trimmed(position, ref_begin, ref_size, alt_begin, alt_size, kind, rolls, shift, anchor, fault)


def align(rows: Rows, refs: Text, alts: Text, trimmed: Trimmed, places: Array, order: Array, window: Window) -> int:
    """Check REF and move insertions and deletions left, row after row of ``order``, as far as a window reaches.

    Returns:
        How many rows of ``order`` are done. ``trimmed`` is changed in place.
    """
    return int(_align(
        order, refs.offsets, refs.data, alts.data, rows.record, *trimmed[:5], *trimmed[6:], places, *window
    ))  # fmt: skip


@_compiled
def _said(offsets: Array, valid: Array, data: Array) -> Array:
    said = valid.copy()
    for row in range(valid.size):
        if said[row] and offsets[row + 1] - offsets[row] == 1:
            said[row] = data[offsets[row]] != _DOT
    return said


@_compiled
def _alternates(offsets: Array, valid: Array, data: Array, sound: Array) -> tuple[Array, int]:
    count = np.zeros(valid.size, dtype=np.int64)
    total = 0
    for row in range(valid.size):
        if valid[row] and sound[row]:
            count[row] = 1
            if offsets[row + 1] - offsets[row] > 1:
                for at in range(offsets[row], offsets[row + 1]):
                    count[row] += data[at] == _COMMA
        total += max(count[row], 1)
    return count, total


@_compiled
def _rows(offsets: Array, data: Array, alternates: Array, total: int) -> tuple[Array, Array, Array, Array]:
    record = np.empty(total, dtype=np.int64)
    ordinal = np.empty(total, dtype=np.int64)
    begin = np.empty(total, dtype=np.int64)
    size = np.empty(total, dtype=np.int64)
    row = 0
    for source in range(alternates.size):
        at, end = offsets[source], offsets[source + 1]
        for alternate in range(max(alternates[source], 1)):
            stop = end
            if alternates[source] > 1:
                stop = at
                while stop < end and data[stop] != _COMMA:
                    stop += 1
            record[row], ordinal[row], begin[row], size[row] = source, alternate, at, stop - at
            at = stop + 1
            row += 1
    return record, ordinal, begin, size


@_compiled
def _plain(data: Array, begin: int, size: int) -> bool:
    for at in range(begin, begin + size):
        if BASE[data[at]] == 0:
            return False
    return size > 0


@_compiled
def _other(data: Array, begin: int, size: int) -> bool:
    """Whether it is ``*``, symbolic, or a breakend."""
    if size == 0:
        return False
    first, last = data[begin], data[begin + size - 1]
    if size == 1:
        return bool(first == _STAR)
    if first in (_LESS, _DOT) or last == _DOT:
        return bool(first != _LESS or last == _MORE)
    for at in range(begin, begin + size):  # noqa: SIM110  (numba compiles no generator expression)
        if data[at] == _OPEN or data[at] == _CLOSE:
            return True
    return False


@_compiled
def _kind(refs: Array, ref: int, m: int, alts: Array, alt: int, n: int) -> int:
    """What a trimmed allele of ``m`` bases that becomes ``n`` bases is."""
    if m == n:
        for at in range(m):
            if BASE[refs[ref + at]] != BASE[alts[alt + at]]:
                return SNV if m == 1 else MNV
        return SAME
    first = BASE[refs[ref]] == BASE[alts[alt]]
    last = BASE[refs[ref + m - 1]] == BASE[alts[alt + n - 1]]
    if min(m, n) == 1 and (first or last):
        return INSERTION if m == 1 else DELETION
    return DELINS


@_compiled
def _common(refs: Array, ref: int, m: int, alts: Array, alt: int, n: int) -> tuple[int, int]:
    """How many bases of a common suffix, and then of a common prefix, may go."""
    suffix, most = 0, min(m, n) - 1
    while suffix < most and BASE[refs[ref + m - 1 - suffix]] == BASE[alts[alt + n - 1 - suffix]]:
        suffix += 1
    prefix, most = 0, most - suffix
    while prefix < most and BASE[refs[ref + prefix]] == BASE[alts[alt + prefix]]:
        prefix += 1
    return suffix, prefix


@_compiled
def _trim(
    positions: Array, placed: Array, ref_offsets: Array, ref_valid: Array, refs: Array, alt_valid: Array, alts: Array,
    records: Array, begins: Array, sizes: Array, sound: Array,
) -> Any:  # fmt: skip
    count = records.size
    position = np.empty(count, dtype=np.int64)
    ref_begin, ref_size = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    alt_begin, alt_size = begins.copy(), sizes.copy()
    kind = np.full(count, NONE, dtype=np.int8)
    rolls = np.zeros(count, dtype=np.bool_)
    fault = np.zeros(count, dtype=np.int8)
    for row in range(count):
        record = records[row]
        ref, m, alt, n = ref_offsets[record], ref_offsets[record + 1] - ref_offsets[record], begins[row], sizes[row]
        position[row], ref_begin[row], ref_size[row] = positions[record], ref, m
        if not sound[record]:
            continue
        if not placed[record] or positions[record] < 1:
            fault[row] = BAD_PLACE
        elif not ref_valid[record] or not _plain(refs, ref, m):
            fault[row] = BAD_REF
        elif not alt_valid[record]:
            continue
        elif not _plain(alts, alt, n):
            kind[row] = OTHER
            if not _other(alts, alt, n):
                kind[row], fault[row] = NONE, BAD_ALT
        elif m == 1 and n == 1:
            kind[row] = SAME if BASE[refs[ref]] == BASE[alts[alt]] else SNV
        else:
            kind[row] = _kind(refs, ref, m, alts, alt, n)
            if kind[row] != SAME:
                suffix, prefix = _common(refs, ref, m, alts, alt, n)
                position[row] += prefix
                ref_begin[row], ref_size[row] = ref + prefix, m - suffix - prefix
                alt_begin[row], alt_size[row] = alt + prefix, n - suffix - prefix
                ref, m, alt, n = ref_begin[row], ref_size[row], alt_begin[row], alt_size[row]
                kind[row] = _kind(refs, ref, m, alts, alt, n)
                same_end = BASE[refs[ref + m - 1]] == BASE[alts[alt + n - 1]]
                rolls[row] = min(m, n) == 1 and m != n and same_end
    return position, ref_begin, ref_size, alt_begin, alt_size, kind, rolls, fault


@_compiled
def _fits(refs: Array, begin: int, end: int, text: Array, at: int) -> bool:
    for index in range(end - begin):  # noqa: SIM110  (numba compiles no generator expression)
        if BASE[refs[begin + index]] != _REFERENCE[text[at + index]]:
            return False
    return True


@_compiled
def _rolled(data: Array, begin: int, size: int, place: int, text: Array, start: int) -> tuple[int, int, int]:
    """Move an insertion or deletion of ``size`` bases before ``place`` (from 0) to the left.

    Returns where its anchor then lies, how often it was rotated, and the anchor's base: 0 if the contig begins
    there. A place of -1 says that the window does not reach far enough.
    """
    shift = 0
    while place > 0:
        if place - 1 < start:
            return -1, 0, 0
        place -= 1
        base = _REFERENCE[text[place - start]]
        if base != BASE[data[begin + (size - 1 - shift) % size]]:
            return place, shift, base
        shift += 1
    return 0, shift, 0


@_compiled
def _align(
    order: Array, ref_offsets: Array, refs: Array, alts: Array, records: Array, position: Array, ref_begin: Array,
    ref_size: Array, alt_begin: Array, alt_size: Array, rolls: Array, shift: Array, anchor: Array,
    fault: Array, places: Array, text: Array, start: int, length: int,
) -> int:  # fmt: skip
    for done in range(order.size):
        row = order[done]
        record = records[row]
        begin, end, place = ref_offsets[record], ref_offsets[record + 1], places[record] - 1
        if place + end - begin > length:
            fault[row] = BEYOND
            continue
        if place < start or place + end - begin > start + text.size:
            return done
        if not _fits(refs, begin, end, text, place - start):
            fault[row] = MISMATCH
            continue
        if rolls[row]:
            longer = ref_size[row] > 1
            data = refs if longer else alts
            first, size = (ref_begin[row], ref_size[row]) if longer else (alt_begin[row], alt_size[row])
            found, turns, base = _rolled(data, first, size - 1, position[row] - 1, text, start)
            if found < 0:
                return done
            if base or turns:
                position[row], shift[row], anchor[row] = found + 1, turns, base
    return order.size
