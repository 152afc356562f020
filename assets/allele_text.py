"""Alleles as Arrow holds them: views of the bytes of string columns, and new columns written by compiled code."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numba
import numpy as np
import pyarrow as pa

Array: TypeAlias = np.ndarray[Any, Any]

_compiled = numba.njit(nogil=True, cache=True)

SNV, MNV, INSERTION, DELETION, DELINS, SAME, OTHER, NONE = range(8)
"""What an allele is. SAME: as the reference; OTHER: ``*``, symbolic or a breakend; NONE: no alternate, or a fault."""

_DOT, _DASH, _ZERO = (ord(c) for c in ".-0")
BASE = np.zeros(256, dtype=np.uint8)
"""Each byte as a base of an allele: upper-case A, C, G, T, N, or 0 where it is none."""

BASE[[ord(c) for c in "ACGTNacgtn"]] = [ord(c) for c in "ACGTNACGTN"]


class Text(NamedTuple):
    """A string column as Arrow holds it: offsets of shape (rows + 1,), whether each is there, and all bytes."""

    offsets: Array
    valid: Array
    data: Array

    @classmethod
    def of(cls, column: pa.Array) -> Text:
        """A view of a string column, plain or dictionary-encoded."""
        if column.type != pa.string():
            column = column.cast(pa.string())
        _, offsets, data = column.buffers()
        count, size = len(column), pa.int32().byte_width
        empty = np.zeros(count + 1, dtype=np.int32)
        bounds = np.frombuffer(offsets, np.int32, count + 1, column.offset * size) if offsets else empty
        return cls(fixed(bounds), _present(column), fixed(np.frombuffer(data or b"", dtype=np.uint8)))


class Rows(NamedTuple):
    """One row per alternate allele: which record it is of, the how manieth of its alternates, and its bytes in ALT."""

    record: Array
    ordinal: Array
    begin: Array
    size: Array


class Trimmed(NamedTuple):
    """Parsimonious alleles as spans of REF and ALT, and what is to be told of them.

    ``shift`` is -1, or how often a pure insertion or deletion was rotated when it moved left; then ``anchor`` is
    the base before it, or 0 if it begins the contig and so is anchored by the base behind it.
    """

    position: Array
    ref_begin: Array
    ref_size: Array
    alt_begin: Array
    alt_size: Array
    kind: Array
    rolls: Array
    shift: Array
    anchor: Array
    fault: Array


class Written(NamedTuple):
    """The columns of the alleles as they are published."""

    position: pa.Int64Array
    ref: pa.StringArray
    alt: pa.StringArray
    variant_id: pa.StringArray


def numbers(column: pa.Array) -> tuple[Array, Array]:
    """The values of an int64 column (0 where null) and whether each is there."""
    filled = column.fill_null(0) if column.null_count else column
    return fixed(filled.to_numpy()), _present(column)


def write(
    refs: Text, alts: Text, rows: Rows, trimmed: Trimmed, sound: Array, prefixes: tuple[Array, list[str]]
) -> Written:
    """The columns of the alleles.

    An unsound record's ref and alt are as written, and it has no position and no id.

    Args:
        refs: the records' REF.
        alts: the records' ALT.
        rows: of ``split``.
        trimmed: of ``trim``, and of ``align`` if there is a reference.
        sound: whether each record has alleles.
        prefixes: per record which of the texts its ids begin with, such as ``GRCh38-1-``; -1 for none.
    """
    which, texts = prefixes
    encoded = [text.encode() for text in texts]
    bounds = np.cumsum([0, *(len(text) for text in encoded)], dtype=np.int64)
    longest = max((len(text) for text in encoded), default=0)
    joined = fixed(np.frombuffer(b"".join(encoded), dtype=np.uint8))
    arrays = _write(
        refs.data, alts.valid, alts.data, rows.record, *trimmed[:6], trimmed.shift, trimmed.anchor, sound, which,
        bounds, joined, longest,
    )  # fmt: skip
    whole, ref_offsets, ref_data, alt_offsets, alt_valid, alt_data, id_offsets, id_data = arrays
    position = pa.array(trimmed.position, mask=None if whole.all() else ~whole)
    ref_valid = np.ones(0, dtype=np.bool_) if refs.valid.all() else refs.valid[rows.record]
    return Written(
        position,
        _strings(ref_offsets, ref_data, ref_valid),
        _strings(alt_offsets, alt_data, alt_valid),
        _strings(id_offsets, id_data, whole),
    )


def fixed(array: Array) -> Array:
    """The same array, not to be written to."""
    # Compiled code takes arrays that may be written to for another type, and would be compiled twice.
    array = array.view()
    array.flags.writeable = False
    return array


def _present(column: pa.Array) -> Array:
    if column.null_count == 0:
        return np.ones(len(column), dtype=np.bool_)
    return np.array(column.is_valid().to_numpy(zero_copy_only=False))


def _strings(offsets: Array, data: Array, valid: Array) -> pa.StringArray:
    mask = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data), mask)


@_compiled
def _copy(data: Array, begin: int, size: int, raised: bool, out: Array, at: int) -> int:
    for index in range(size):
        byte = data[begin + index]
        out[at + index] = BASE[byte] if raised else byte
    return at + size


@_compiled
def _turn(data: Array, begin: int, size: int, shift: int, anchor: int, out: Array, at: int) -> int:
    """Write the longer allele of a rotated insertion or deletion of ``size`` bases, with its anchor."""
    if anchor:
        out[at] = anchor
        at += 1
    first = (size - shift % size) % size
    for index in range(size):
        out[at + index] = BASE[data[begin + (first + index) % size]]
    if not anchor:
        out[at + size] = out[at]
        at += 1
    return at + size


@_compiled
def _digits(number: int, out: Array, at: int) -> int:
    size, power = 1, 10
    while size < 18 and number >= power:
        size += 1
        power *= 10
    # Unsigned, division by ten is a multiplication.
    rest = np.uint64(number)
    for place in range(at + size - 1, at - 1, -1):
        tenth = rest // np.uint64(10)
        out[place] = _ZERO + (rest - tenth * np.uint64(10))
        rest = tenth
    return at + size


@_compiled
def _write(
    refs: Array, alt_valid: Array, alts: Array, records: Array, position: Array, ref_begin: Array, ref_size: Array,
    alt_begin: Array, alt_size: Array, kind: Array, shift: Array, anchor: Array, sound: Array, which: Array,
    bounds: Array, prefixes: Array, longest: int,
) -> Any:  # fmt: skip
    count = records.size
    ref_total, alt_total = ref_size.sum(), alt_size.sum()
    whole = np.zeros(count, dtype=np.bool_)
    there = np.zeros(count, dtype=np.bool_)
    new_refs, new_alts = np.zeros(count + 1, dtype=np.int32), np.zeros(count + 1, dtype=np.int32)
    ids = np.zeros(count + 1, dtype=np.int32)
    ref_data, alt_data = np.empty(ref_total, dtype=np.uint8), np.empty(alt_total, dtype=np.uint8)
    id_data = np.empty(ref_total + alt_total + count * (longest + 23), dtype=np.uint8)
    ref_at, alt_at, id_at = 0, 0, 0
    for row in range(count):
        record = records[row]
        there[row], whole[row] = alt_valid[record], sound[record] and which[record] >= 0
        raised = sound[record] and kind[row] != OTHER
        if shift[row] >= 0:
            if ref_size[row] > 1:
                ref_at = _turn(refs, ref_begin[row], ref_size[row] - 1, shift[row], anchor[row], ref_data, ref_at)
                alt_data[alt_at] = anchor[row] if anchor[row] else ref_data[ref_at - 1]
                alt_at += 1
            else:
                alt_at = _turn(alts, alt_begin[row], alt_size[row] - 1, shift[row], anchor[row], alt_data, alt_at)
                ref_data[ref_at] = anchor[row] if anchor[row] else alt_data[alt_at - 1]
                ref_at += 1
        elif kind[row] == SNV:
            ref_data[ref_at], alt_data[alt_at] = BASE[refs[ref_begin[row]]], BASE[alts[alt_begin[row]]]
            ref_at, alt_at = ref_at + 1, alt_at + 1
        else:
            ref_at = _copy(refs, ref_begin[row], ref_size[row], sound[record], ref_data, ref_at)
            if there[row]:
                alt_at = _copy(alts, alt_begin[row], alt_size[row], raised, alt_data, alt_at)
        new_refs[row + 1], new_alts[row + 1] = ref_at, alt_at
        if whole[row]:
            prefix = which[record]
            id_at = _copy(prefixes, bounds[prefix], bounds[prefix + 1] - bounds[prefix], False, id_data, id_at)
            id_at = _digits(position[row], id_data, id_at)
            id_data[id_at] = _DASH
            id_at = _copy(ref_data, new_refs[row], ref_at - new_refs[row], False, id_data, id_at + 1)
            id_data[id_at] = _DASH
            id_at += 1
            if there[row]:
                id_at = _copy(alt_data, new_alts[row], alt_at - new_alts[row], False, id_data, id_at)
            else:
                id_data[id_at] = _DOT
                id_at += 1
        ids[row + 1] = id_at
    return whole, new_refs, ref_data[:ref_at], new_alts, there, alt_data[:alt_at], ids, id_data[:id_at]
