"""Allele counts from the genotypes of VCF records, for sources whose INFO does not give them.

What is counted follows VCF 4.2 section 1.4.2 (GT) and section 1.4.1 (AC, AN, AF): every called allele of every
sample, of whatever ploidy and phase; a missing one (``.``) counts for nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numba
import numpy as np
import pyarrow as pa

Array: TypeAlias = np.ndarray[Any, Any]

_compiled = numba.njit(nogil=True, cache=True)

_TAB, _COLON, _BAR, _SLASH, _DOT, _ZERO, _NINE, _G, _T = (ord(character) for character in "\t:|/.09GT")
_SOUND, _NO_GENOTYPES, _UNREADABLE, _NO_SUCH_ALLELE = range(4)
_MAX_ALLELE = 1 << 30
_MISSING, _NO_NUMBER = -1, -2


class Counts(NamedTuple):
    """What the genotypes of each record add up to; null where it has none (no sample, or no GT in FORMAT).

    ``ac``, ``af`` and ``nhomalt`` have one value for each alternate allele: list<int64>, list<double> (null where
    nothing is called), list<int64>. ``an`` is int64. ``nhomalt`` counts the calls of at least two alleles that are
    all this one. ``faults`` says, for each record whose genotypes cannot be right, what is wrong; it is null too.
    """

    ac: pa.ListArray
    an: pa.Int64Array
    af: pa.ListArray
    nhomalt: pa.ListArray
    faults: dict[int, str]


def count(text: Array, begin: Array, end: Array, alleles: Array) -> Counts:
    """Count the alleles that the samples of a block's records carry.

    Args:
        text: the block, uint8.
        begin: where FORMAT begins in each record.
        end: where the record ends.
        alleles: how many alternate alleles it has.
    """
    offsets = np.zeros(len(begin) + 1, dtype=np.int32)
    np.cumsum(alleles, out=offsets[1:])
    carried, homozygous = np.zeros(offsets[-1], dtype=np.int64), np.zeros(offsets[-1], dtype=np.int64)
    called, state, sample = _count(text, begin, end, offsets, carried, homozygous)
    faults = {
        int(row): _fault(text, int(begin[row]), int(end[row]), int(state[row]), int(sample[row]), int(alleles[row]))
        for row in np.flatnonzero(state > _NO_GENOTYPES)
    }
    total = np.repeat(called, alleles)
    frequency = np.divide(carried, total, out=np.zeros(len(total)), where=total > 0)
    absent = state != _SOUND
    return Counts(
        _lists(pa.array(carried), offsets, absent),
        pa.array(called, mask=absent),
        _lists(pa.array(frequency, mask=total == 0), offsets, absent),
        _lists(pa.array(homozygous), offsets, absent),
        faults,
    )


def _lists(values: pa.Array, offsets: Array, absent: Array) -> pa.ListArray:
    mask = pa.py_buffer(np.packbits(~absent, bitorder="little")) if absent.any() else None
    kind = pa.list_(values.type)
    return pa.Array.from_buffers(kind, len(absent), [mask, pa.py_buffer(offsets)], children=[values])


def _fault(text: Array, begin: int, end: int, state: int, sample: int, alleles: int) -> str:
    parts = text[begin:end].tobytes().split(b"\t")
    place = parts[0].split(b":").index(b"GT")
    written = b"".join(parts[sample].split(b":")[place : place + 1]).decode("utf-8", "replace")[:80]
    if state == _NO_SUCH_ALLELE:
        return f"GT of sample {sample} is {written!r}, but the record has {alleles} alternate alleles"
    return f"GT of sample {sample} is {written!r}, expected numbers of alleles or '.', between '/' or '|'"


@_compiled
def _place(text: Array, begin: int, end: int) -> tuple[int, int]:
    """Which of the keys in FORMAT is GT (-1: none), and where FORMAT ends."""
    place, key, start, at = -1, 0, begin, begin
    while True:
        ends = at >= end or text[at] == _TAB
        if ends or text[at] == _COLON:
            if at - start == 2 and text[start] == _G and text[start + 1] == _T and place < 0:
                place = key
            key += 1
            start = at + 1
        if ends:
            return place, at
        at += 1


@_compiled
def _past(text: Array, at: int, end: int) -> int:
    """Where the next sample begins."""
    while at < end and text[at] != _TAB:
        at += 1
    return at + 1


@_compiled
def _nth(text: Array, at: int, end: int, place: int) -> int:
    """Where that part of a sample begins; -1 if the sample is cut short, as VCF permits."""
    while place > 0:
        if at >= end or text[at] == _TAB:
            return -1
        place -= text[at] == _COLON
        at += 1
    return at


@_compiled
def _ends(text: Array, at: int, end: int) -> bool:
    return at >= end or text[at] == _TAB or text[at] == _COLON


@_compiled
def _allele(text: Array, at: int, end: int) -> tuple[int, int]:
    """The number of one allele, and where it ends; _MISSING for ``.``, _NO_NUMBER for what is neither."""
    if at < end and text[at] == _DOT:
        return _MISSING, at + 1
    start, number = at, 0
    while at < end and text[at] >= _ZERO and text[at] <= _NINE:
        number = min(number * 10 + text[at] - _ZERO, _MAX_ALLELE)
        at += 1
    return (number if at > start else _NO_NUMBER), at


@_compiled
def _call(
    text: Array, at: int, end: int, first: int, alleles: int, carried: Array, homozygous: Array
) -> tuple[int, int, int]:
    """Count one genotype of any form: how many alleles are called, the state, and where it ends."""
    if at < end and (text[at] == _BAR or text[at] == _SLASH):  # VCF 4.4: the phase of the first allele
        at += 1
    called, parts, same, before = 0, 0, True, _MISSING
    while True:
        allele, at = _allele(text, at, end)
        if allele == _NO_NUMBER:
            return called, _UNREADABLE, at
        if allele > alleles:
            return called, _NO_SUCH_ALLELE, at
        called += allele >= 0
        if allele > 0:
            carried[first + allele - 1] += 1
        same = same and (parts == 0 or allele == before)
        before = allele
        parts += 1
        if _ends(text, at, end):
            break
        if text[at] != _BAR and text[at] != _SLASH:
            return called, _UNREADABLE, at
        at += 1
    if parts > 1 and same and before > 0:
        homozygous[first + before - 1] += 1
    return called, _SOUND, at


@_compiled
def _count(
    text: Array, begin: Array, end: Array, offsets: Array, carried: Array, homozygous: Array
) -> tuple[Array, Array, Array]:
    """Called alleles, state, and the sample at fault (from 1) of each record."""
    called = np.zeros(begin.size, dtype=np.int64)
    state = np.full(begin.size, _NO_GENOTYPES, dtype=np.int64)
    faulty = np.zeros(begin.size, dtype=np.int64)
    for row in range(begin.size):
        stop, first = end[row], offsets[row]
        if begin[row] >= stop:
            continue
        place, at = _place(text, begin[row], stop)
        if place < 0 or at >= stop:
            continue
        state[row], alleles, sample, total = _SOUND, offsets[row + 1] - first, 0, 0
        at += 1
        while at <= stop and state[row] == _SOUND:
            sample += 1
            # Nearly all genotypes are two alleles of the first two, which one look tells.
            if place == 0 and at + 3 <= stop and alleles > 0 and (text[at + 1] == _BAR or text[at + 1] == _SLASH):
                one, other = text[at] - _ZERO, text[at + 2] - _ZERO
                if one >= 0 and one <= 1 and other >= 0 and other <= 1 and _ends(text, at + 3, stop):
                    total += 2
                    carried[first] += one + other
                    homozygous[first] += one & other
                    at = at + 4 if at + 3 >= stop or text[at + 3] == _TAB else _past(text, at + 3, stop)
                    continue
            found = _nth(text, at, stop, place)
            if found >= 0:
                more, state[row], at = _call(text, found, stop, first, alleles, carried, homozygous)
                total += more
            at = _past(text, at, stop)
        called[row], faulty[row] = total, sample
    return called, state, faulty
