"""Identifiers of alleles in NCBI's notation SPDI, written by compiled code straight into an Arrow buffer.

SPDI is the sequence, a position from 0, what is deleted there and what is inserted (Holmes and others 2019,
doi:10.1093/bioinformatics/btz856). Shared ends, and so VCF's anchor base, are not part of it. NCBI's contextual
allele spells an insertion or deletion over the whole stretch in which it could be placed: that needs the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assets.allele_text import Text, numbers
from catalog import assemblies

Array: TypeAlias = np.ndarray[Any, Any]
Offset: TypeAlias = int | np.int64
Sequence: TypeAlias = Callable[[str, int, int], bytes]
"""Bases of a contig, from ``start`` to before ``end`` counted from 0, upper-case, cut at the contig's ends."""

FARTHEST = 1 << 20
"""Bases on each side over which an ambiguous allele is followed; one that goes on is given no identifier."""

_compiled = numba.njit(nogil=True, cache=True)

_COLON, _ZERO = ord(":"), ord("0")
_NEAR = 64
_BASE = np.zeros(256, dtype=np.bool_)
_BASE[[ord(base) for base in "ACGTN"]] = True


class Places(NamedTuple):
    """A name for each combination of assembly and contig of a batch, and which of them each row has (-1: none)."""

    names: tuple[str, ...]
    codes: Array


class Justified(NamedTuple):
    """An insertion or deletion spelt over its whole ambiguity: [start, end) from 0, the reference's and its bases."""

    start: int
    end: int
    ref: bytes
    alt: bytes


class _Spans(NamedTuple):
    """What differs between REF and ALT, as spans of their bytes; ``plain`` is False where that cannot be said."""

    start: Array
    ref_begin: Array
    ref_end: Array
    alt_begin: Array
    alt_end: Array
    plain: Array


def spdi(
    assembly: pa.Array, contig: pa.Array, position: pa.Array, ref: pa.Array, alt: pa.Array, sequence: Sequence | None
) -> pa.StringArray:
    """SPDI of each allele: ``NC_000001.11:69133:A:G``.

    Position is VCF's (from 1). Without ``sequence`` it is the plain translation of the trimmed allele; with it,
    insertions and deletions are spelt as NCBI's contextual alleles. Null where the contig has no accession, an
    allele is not plain bases (A, C, G, T, N), or the sequence does not hold what is said to be deleted.
    Assembly and contig may be dictionary-encoded.
    """
    places = places_of(assembly, contig, assemblies.accessions)
    refs, alts, spans = spans_of(places, position, ref, alt)
    written = _plain(places, refs, alts, spans)
    if sequence is None:
        return written
    found = list(contextual(sequence, contig, refs, alts, spans))
    if not found:
        return written
    mask = np.zeros(len(written), dtype=np.bool_)
    mask[[row for row, _ in found]] = True
    return pc.replace_with_mask(
        written, pa.array(mask), pa.array([_text(places, *pair) for pair in found], pa.string())
    )


def places_of(assembly: pa.Array, contig: pa.Array, names: Callable[[str], Mapping[str, str]]) -> Places:
    """Look up a name (accession) of each row's contig in its assembly; ``names`` gives those of one assembly."""
    of_assembly, of_contig = _coded(assembly), _coded(contig)
    contigs = of_contig.dictionary.to_pylist()
    width = len(contigs) + 1
    table = np.full((len(of_assembly.dictionary) + 1, width), -1, dtype=np.int32)
    told: list[str] = []
    for row, name in enumerate(of_assembly.dictionary.to_pylist()):
        known = names(name) if name is not None else {}
        for column, spelling in enumerate(contigs):
            if spelling in known:
                table[row, column] = len(told)
                told.append(known[spelling])
    # A null index is -1: the last row and column of the table, which name nothing.
    rows, columns = (pc.fill_null(coded.indices, -1).to_numpy() for coded in (of_assembly, of_contig))
    return Places(tuple(told), table[rows, columns])


def spans_of(places: Places, position: pa.Array, ref: pa.Array, alt: pa.Array) -> tuple[Text, Text, _Spans]:
    """What is deleted and inserted by each allele, and where (from 0)."""
    refs, alts = Text.of(ref), Text.of(alt)
    given, there = numbers(position)
    spans = _differing(places.codes, given, there, refs, alts, _BASE)
    return refs, alts, _Spans(*spans)


def contextual(
    sequence: Sequence, contig: pa.Array, refs: Text, alts: Text, spans: _Spans
) -> Iterator[tuple[int, Justified | None]]:
    """Row number and justified form of each pure insertion and deletion; None where it has none."""
    pure = spans.plain & ((spans.ref_begin == spans.ref_end) != (spans.alt_begin == spans.alt_end))
    rows = np.flatnonzero(pure)
    names = contig.take(pa.array(rows)).cast(pa.string()).to_pylist() if len(rows) else []
    for row, name in zip(rows.tolist(), names, strict=True):
        deleted = refs.data[spans.ref_begin[row] : spans.ref_end[row]].tobytes()
        inserted = alts.data[spans.alt_begin[row] : spans.alt_end[row]].tobytes()
        yield row, justified(sequence, name, int(spans.start[row]), deleted, inserted)


def justified(sequence: Sequence, contig: str, start: int, deleted: bytes, inserted: bytes) -> Justified | None:
    """A pure insertion or deletion, expanded to both sides as far as it can be placed otherwise.

    None if the sequence does not hold what is deleted, or the stretch is longer than ``FARTHEST``. This is the
    fully justified form of GA4GH VRS 2 and the contextual allele of SPDI.
    """
    near = _near(sequence, contig, start, deleted, inserted)
    return near if isinstance(near, Justified) or near is None else _far(sequence, contig, start, deleted, inserted)


def _near(sequence: Sequence, contig: str, start: int, deleted: bytes, inserted: bytes) -> Justified | bool | None:
    """The answer from one look at the bases around, which mostly do; False if they do not reach far enough."""
    first, end = max(start - _NEAR, 0), start + len(deleted)
    text = sequence(contig, first, end + _NEAR)
    low, high = start - first, end - first
    # Of an insertion, a base beside it must exist: a place beyond the contig holds nothing that could be asked.
    if text[low:high] != deleted or len(text) < max(low, 1):
        return None
    unit = deleted or inserted
    size, left, right = len(unit), low, high
    while left and text[left - 1] == unit[(left - 1 - low) % size]:
        left -= 1
    while right < len(text) and text[right] == unit[(right - high) % size]:
        right += 1
    if (left == 0 and first) or right == high + _NEAR:
        return False
    return Justified(first + left, first + right, text[left:right], text[left:low] + inserted + text[high:right])


def _far(sequence: Sequence, contig: str, start: int, deleted: bytes, inserted: bytes) -> Justified | None:
    end, unit = start + len(deleted), deleted or inserted
    left = _rolled(lambda at, size: sequence(contig, max(start - at - size, 0), start - at)[::-1], unit[::-1])
    right = _rolled(lambda at, size: sequence(contig, end + at, end + at + size), unit)
    if left is None or right is None:
        return None
    before, after = sequence(contig, start - left, start), sequence(contig, end, end + right)
    return Justified(start - left, end + right, before + deleted + after, before + inserted + after)


def _rolled(ahead: Callable[[int, int], bytes], unit: bytes) -> int | None:
    """How many bases ahead repeat the unit, the last repeat perhaps in part; None if they do not end in time."""
    done, size = 0, _NEAR
    while done < FARTHEST:
        text = ahead(done, size)
        turn = done % len(unit)
        expected = (unit * ((turn + len(text)) // len(unit) + 1))[turn : turn + len(text)]
        if text != expected:
            pairs = enumerate(zip(text, expected, strict=True))
            return done + next(index for index, (base, other) in pairs if base != other)
        if len(text) < size:
            return done + len(text)
        done, size = done + size, size * 2
    return None


def _text(places: Places, row: int, allele: Justified | None) -> str | None:
    if allele is None:
        return None
    accession = places.names[places.codes[row]]
    return f"{accession}:{allele.start}:{allele.ref.decode()}:{allele.alt.decode()}"


def _coded(column: pa.Array) -> pa.DictionaryArray:
    return column if pa.types.is_dictionary(column.type) else pc.dictionary_encode(column)


def _plain(places: Places, refs: Text, alts: Text, spans: _Spans) -> pa.StringArray:
    encoded = [name.encode() for name in places.names]
    bounds = np.cumsum([0, *(len(name) for name in encoded)], dtype=np.int64)
    names = np.frombuffer(b"".join(encoded) or b" ", dtype=np.uint8)
    offsets = _sizes(places.codes, bounds, spans)
    data = np.empty(offsets[-1], dtype=np.uint8)
    _write(data, offsets, places.codes, names, bounds, refs.data, alts.data, spans)
    valid = pa.py_buffer(np.packbits(spans.plain, bitorder="little"))
    buffers = [valid, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(data)]
    return pa.StringArray.from_buffers(len(spans.plain), buffers[1], buffers[2], buffers[0])


@_compiled
def _differing(codes: Array, position: Array, there: Array, refs: Text, alts: Text, base: Array) -> tuple[Array, ...]:
    count = len(codes)
    start, ref_begin, ref_end = np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros(count, np.int64)
    alt_begin, alt_end = np.zeros(count, np.int64), np.zeros(count, np.int64)
    plain = np.zeros(count, np.bool_)
    for row in range(count):
        r, s = np.int64(refs.offsets[row]), np.int64(refs.offsets[row + 1])
        a, b = np.int64(alts.offsets[row]), np.int64(alts.offsets[row + 1])
        sound = codes[row] >= 0 and there[row] and position[row] > 0
        sound = sound and refs.valid[row] and alts.valid[row] and s > r and b > a
        sound = sound and _all(refs.data, r, s, base) and _all(alts.data, a, b, base)
        if not sound:
            continue
        first = r
        if not _same(refs.data, r, s, alts.data, a, b):
            while s > r and b > a and refs.data[s - 1] == alts.data[b - 1]:
                s, b = s - 1, b - 1
            while s > r and b > a and refs.data[r] == alts.data[a]:
                r, a = r + 1, a + 1
        start[row], plain[row] = position[row] - 1 + r - first, True
        ref_begin[row], ref_end[row], alt_begin[row], alt_end[row] = r, s, a, b
    return start, ref_begin, ref_end, alt_begin, alt_end, plain


@_compiled
def _all(text: Array, begin: Offset, end: Offset, base: Array) -> bool:
    for at in range(begin, end):  # noqa: SIM110  (compiled: a generator would not be)
        if not base[text[at]]:
            return False
    return True


@_compiled
def _same(one: Array, begin: Offset, end: Offset, other: Array, start: Offset, stop: Offset) -> bool:
    if end - begin != stop - start:
        return False
    for at in range(end - begin):  # noqa: SIM110
        if one[begin + at] != other[start + at]:
            return False
    return True


@_compiled
def _sizes(codes: Array, bounds: Array, spans: _Spans) -> Array:
    offsets = np.zeros(len(codes) + 1, np.int64)
    for row in range(len(codes)):
        size = 0
        if spans.plain[row]:
            size = bounds[codes[row] + 1] - bounds[codes[row]] + 3 + _digits(spans.start[row])
            size += spans.ref_end[row] - spans.ref_begin[row] + spans.alt_end[row] - spans.alt_begin[row]
        offsets[row + 1] = offsets[row] + size
    return offsets


@_compiled
def _write(
    data: Array, offsets: Array, codes: Array, names: Array, bounds: Array, ref: Array, alt: Array, spans: _Spans
) -> None:
    for row in range(len(codes)):
        if not spans.plain[row]:
            continue
        at = _copy(data, offsets[row], names, bounds[codes[row]], bounds[codes[row] + 1])
        digits = _digits(spans.start[row])
        rest = spans.start[row]
        for place in range(at + digits, at, -1):
            data[place] = _ZERO + rest % 10
            rest //= 10
        data[at] = _COLON
        at += digits + 1
        data[at] = _COLON
        at = _copy(data, at + 1, ref, spans.ref_begin[row], spans.ref_end[row])
        data[at] = _COLON
        _copy(data, at + 1, alt, spans.alt_begin[row], spans.alt_end[row])


@_compiled
def _copy(data: Array, at: int, text: Array, begin: int, end: int) -> int:
    for index in range(begin, end):
        data[at] = text[index]
        at += 1
    return at


@_compiled
def _digits(number: int) -> int:
    digits = 1
    while number >= 10:
        number //= 10
        digits += 1
    return digits
