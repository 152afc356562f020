"""The annotation strings of VEP, snpEff and gnomAD (INFO keys CSQ, ANN, vep) as lists of structs.

One INFO value holds many entries between commas, each with fields between bars; only the header's description says
which. Every byte is looked at once, and only the wanted fields are gathered.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple, TypeAlias

import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import types

Array: TypeAlias = np.ndarray[Any, Any]

KEYS = ("CSQ", "ANN", "vep")
"""The INFO keys that annotation strings go by, in the order in which they are looked for."""

MATCHING = ("Allele", "ALLELE_NUM")
"""The fields that say which alternate allele an entry is of."""

_compiled = numba.njit(nogil=True, cache=True)
# The C library's search looks at 32 bytes at once.
_search: Any = types.ExternalFunction("memchr", types.uintp(types.uintp, types.intc, types.uintp))

_BAR, _COMMA, _DOT, _PERCENT = (ord(character) for character in "|,.%")
_WORD = 16
_FORMAT = re.compile(r"(?i)\bformat:\s*['\"]?(?P<vep>[^'\"]+)|'(?P<snpeff>[^']*\|[^']*)'|^(?P<bare>\s*Allele\s*\|.*)$")
# What a value of INFO may not hold is written so, by VEP in every version of VCF; the escape's own sign comes last.
_ESCAPES = {"3A": ":", "3B": ";", "3D": "=", "2C": ",", "7C": "|", "09": "\t", "0A": "\n", "0D": "\r", "25": "%"}


class Annotations(NamedTuple):
    """The entries of each record, list<struct<field: string>>, null where there is none.

    ``faults`` says, for each record that does not fit the header's description, what is wrong; it is null too.
    """

    values: pa.ListArray
    faults: dict[int, str]


def fields(description: str) -> tuple[str, ...] | None:
    """The names of an annotation string's fields, as the description of its INFO key gives them; else None.

    VEP writes ``Format: Allele|Consequence|...``, snpEff ``Functional annotations: 'Allele | Annotation | ...'``,
    early gnomAD nothing but the names. A name may be empty where the writer left one out. snpEff's ``Annotation``
    goes by VEP's name for the same terms, ``Consequence``: rows of annotations number them as ``annotation``.
    """
    found = _FORMAT.search(description)
    if found is None:
        return None
    names = tuple(name.strip() for name in (found["vep"] or found["snpeff"] or found["bare"]).split("|"))
    if len(names) < 2:
        return None
    return tuple("Consequence" if name == "Annotation" and "Consequence" not in names else name for name in names)


def split(text: Array, begin: Array, size: Array, names: tuple[str, ...], wanted: tuple[str, ...]) -> Annotations:
    """Split the annotation strings of a block's records.

    Entries are parted by commas, fields by ``|``; ``&`` stays. An empty field and ``.`` are null; the characters that
    INFO values may not hold are restored from their percent-encoding.

    Args:
        text: the block, uint8.
        begin: where each record's string begins.
        size: how long it is, in bytes; -1 where the record has none.
        names: of all fields, in their order.
        wanted: the fields to gather, each one of ``names``.
    """
    begin, size = np.asarray(begin, dtype=np.int64), np.asarray(size, dtype=np.int64)
    slots = np.full(len(names), -1, dtype=np.int64)
    for slot, name in enumerate(wanted):
        slots[names.index(name)] = slot
    last = int(np.flatnonzero(slots >= 0).max(initial=-1))
    offsets, valid = _entries(text, begin, size, len(names))
    starts, sizes, wrong, had = _scan(text, begin, size, offsets, slots, last, len(wanted))
    faults = {int(row): _fault(int(wrong[row]), int(had[row]), len(names)) for row in np.flatnonzero(had >= 0)}
    valid &= had < 0
    columns = [_strings(text, starts[slot], sizes[slot]) for slot in range(len(wanted))]
    entries = _struct(columns, wanted, int(offsets[-1]))
    mask = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
    kind = pa.list_(entries.type)
    return Annotations(
        pa.Array.from_buffers(kind, len(begin), [mask, pa.py_buffer(offsets)], children=[entries]), faults
    )


def _fault(entry: int, had: int, expected: int) -> str:
    which = f"annotation {entry + 1} has {had} fields" if had else "an annotation has too few fields"
    return f"{which}, where the header names {expected}"


def _struct(columns: list[pa.Array], wanted: tuple[str, ...], rows: int) -> pa.StructArray:
    kind = pa.struct([pa.field(name, pa.string()) for name in wanted])
    return pa.Array.from_buffers(kind, rows, [None], children=columns)


@_compiled
def _comma(text: Array, at: int, stop: int) -> Any:
    """Where the next comma of ``text[at:stop]`` stands, or ``stop``."""
    if at >= stop:
        return stop
    base = text.ctypes.data
    found = _search(base + np.uintp(at), _COMMA, np.uintp(stop - at))
    return stop if found == 0 else np.int64(found - base)


@_compiled
def _entries(text: Array, begin: Array, size: Array, width: int) -> tuple[Array, Array]:
    """Where each record's entries begin among all, and whether it has any.

    A string with more commas than entries of that width could have is given none, however long it is.
    """
    offsets = np.zeros(begin.size + 1, dtype=np.int32)
    valid = np.zeros(begin.size, dtype=np.bool_)
    for row in range(begin.size):
        offsets[row + 1] = offsets[row]
        valid[row] = size[row] > 0 and not (size[row] == 1 and text[begin[row]] == _DOT)
        if valid[row]:
            stop, commas = begin[row] + size[row], 0
            at = _comma(text, begin[row], stop)
            while at < stop:
                commas += 1
                at = _comma(text, at + 1, stop)
            if (commas + 1) * width <= size[row] + 1:
                offsets[row + 1] += commas + 1
    return offsets, valid


@_compiled
def _bars(text: Array, at: int, stop: int) -> tuple[int, int]:
    """Where the next comma stands (or ``stop``), and how many bars stand before it."""
    comma, bars = _comma(text, at, stop), 0
    for place in range(at, comma):
        bars += text[place] == _BAR
    return comma, bars


@_compiled
def _scan(
    text: Array, begin: Array, size: Array, offsets: Array, slots: Array, last: int, wanted: int
) -> tuple[Array, Array, Array, Array]:
    """Spans of the wanted fields, shape (wanted, entries); the first entry at fault of each record, and its fields."""
    starts = np.zeros((wanted, offsets[-1]), dtype=np.int32)
    sizes = np.full((wanted, offsets[-1]), -1, dtype=np.int32)
    wrong = np.zeros(begin.size, dtype=np.int64)
    had = np.full(begin.size, -1, dtype=np.int64)
    for row in range(begin.size):
        if offsets[row] == offsets[row + 1]:
            if size[row] > 0 and not (size[row] == 1 and text[begin[row]] == _DOT):
                had[row] = 0
            continue
        at, stop = begin[row], begin[row] + size[row]
        for entry in range(offsets[row], offsets[row + 1]):
            field = 0
            while field <= last:
                start = at
                while at < stop and text[at] != _BAR and text[at] != _COMMA:
                    at += 1
                slot = slots[field]
                if slot >= 0:
                    starts[slot, entry] = start
                    sizes[slot, entry] = at - start
                field += 1
                if at == stop or text[at] == _COMMA:
                    break
                at += 1
            else:
                at, bars = _bars(text, at, stop)
                # The last bar has been passed, and what follows it is a field too.
                field += bars + 1
            if field != slots.size and had[row] < 0:
                wrong[row], had[row] = entry - offsets[row], field
            at += 1
    return starts, sizes, wrong, had


@_compiled
def _gather(text: Array, starts: Array, sizes: Array) -> tuple[Array, Array, Array, int]:
    """Offsets, a bitmap of what is not null, the bytes, and how many are null."""
    offsets = np.zeros(starts.size + 1, dtype=np.int32)
    valid = np.zeros((starts.size + 7) // 8, dtype=np.uint8)
    nulls = 0
    for row in range(starts.size):
        length = sizes[row]
        if length <= 0 or (length == 1 and text[starts[row]] == _DOT):
            length = 0
            nulls += 1
        else:
            valid[row >> 3] |= np.uint8(1 << (row & 7))
        offsets[row + 1] = offsets[row] + length
    data = np.empty(offsets[-1] + _WORD, dtype=np.uint8)
    for row in range(starts.size):
        source, target = starts[row], offsets[row]
        length = offsets[row + 1] - target
        # Most values are short: a move of one fixed width, of which the next value overwrites what is too much.
        if length <= _WORD and source + _WORD <= text.size:
            for at in range(_WORD):
                data[target + at] = text[source + at]
        else:
            for at in range(length):
                data[target + at] = text[source + at]
    return offsets, valid, data[: offsets[-1]], nulls


def _strings(text: Array, starts: Array, sizes: Array) -> pa.StringArray:
    offsets, valid, data, nulls = _gather(text, starts, sizes)
    mask = pa.py_buffer(valid) if nulls else None
    found = pa.StringArray.from_buffers(len(starts), pa.py_buffer(offsets), pa.py_buffer(data), mask, nulls)
    if (data == _PERCENT).any():
        for code, character in _ESCAPES.items():
            found = pc.replace_substring_regex(found, f"(?i)%{code}", character)
    return found
