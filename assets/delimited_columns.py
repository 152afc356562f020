"""The typed columns of a block of delimited text; what does not fit its column's type becomes the record's fault."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, TypeAlias

import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assets import delimited_scan, numbers
from assets.delimited_records import Records
from assets.delimited_values import Codes, coded

Array: TypeAlias = np.ndarray[Any, Any]

CODED = "coded"
"""The type of a column of text with few distinct values, which becomes a dictionary."""
TYPES = {
    "int64": pa.int64(),
    "double": pa.float64(),
    "string": pa.string(),
    CODED: pa.dictionary(pa.int32(), pa.string()),
}

_NUMBERS = {"int64": (numbers.integers, "an integer"), "double": (numbers.decimals, "a number")}
_QUOTE, _COLON = ord('"'), ord(":")
_SHOWN = 80

_compiled = numba.njit(nogil=True, cache=True)


class Column(NamedTuple):
    """A column to be made: its name, its type (of TYPES), and the slot of the scan that has its values."""

    name: str
    kind: str
    slot: int


def typed(records: Records, wanted: Collection[Column], codes: Mapping[str, Codes]) -> dict[str, pa.Array]:
    """The columns by name, null in the records at fault; a number that is none is noted as a fault."""
    scan = records.scan
    numeric = [column for column in wanted if column.kind in _NUMBERS]
    scan.size[:, list(records.faults)] = 0
    made = _numbers(records, numeric)
    if any(scan.size[:, row].any() for row in records.faults):
        scan.size[:, list(records.faults)] = 0
        made = _numbers(records, numeric)
    plain = [column for column in wanted if column.kind == "string"]
    made |= zip((column.name for column in plain), texts(records, [column.slot for column in plain]), strict=True)
    for column in wanted:
        if column.kind == CODED:
            made[column.name] = codes[column.name].column(*distinct(records, column.slot))
    return made


def texts(records: Records, slots: list[int]) -> list[pa.StringArray]:
    """The fields of some slots as text."""
    scan, quote = records.scan, records.dialect.quote
    doubled = scan.doubled[slots] if scan.doubled.shape[1] else scan.doubled
    chosen = scan._replace(begin=scan.begin[slots], size=scan.size[slots], doubled=doubled)
    return delimited_scan.strings(records.block.text, chosen, ord(quote) if quote else -1)


def distinct(records: Records, slot: int) -> tuple[Array, list[str]]:
    """The distinct values of a slot, and for each record which it has (-1: none)."""
    scan = records.scan
    if scan.doubled.shape[1] == 0 or slot >= len(scan.doubled) or not scan.doubled[slot].any():
        return coded(records.block.text, scan.begin[slot], scan.size[slot])
    found = texts(records, [slot])[0].dictionary_encode()
    return pc.fill_null(found.indices, -1).to_numpy().astype(np.int32), found.dictionary.to_pylist()


def _numbers(records: Records, numeric: list[Column]) -> dict[str, pa.Array]:
    text, scan = records.block.text, records.scan
    made = {}
    for column in numeric:
        read, expected = _NUMBERS[column.kind]
        begin, size = scan.begin[column.slot], scan.size[column.slot]
        made[column.name], wrong = read(text, begin, size)
        for row in wrong:
            shown = text[begin[row] : begin[row] + size[row]].tobytes().decode("utf-8", "replace")
            records.refuse(row, f"{column.name} is {shown[:_SHOWN]!r}, expected {expected}")
    return made


def split_loci(records: Records, locus: int, alleles: int) -> list[int]:
    """Take ``chr1:55516888`` and ``["G","GA"]`` of two slots apart; the slots of contig, position, ref and alt.

    So Hail writes an allele as text. Several alternates stay apart by ``","``; see ``joined``.
    """
    scan = records.scan
    begin, size, wrong = _split(records.block.text, scan.begin, scan.size, locus, alleles)
    for row in np.flatnonzero(wrong):
        if int(row) not in records.faults:
            shown = [value[int(row)].as_py() for value in texts(records, [locus, alleles])]
            records.refuse(row, f'locus and alleles are {shown}, expected such as chr1:55516888 and ["G","GA"]')
    first = len(scan.begin)
    doubled = np.zeros((first + 4, scan.doubled.shape[1]), dtype=np.bool_)
    doubled[:first] = scan.doubled
    records.scan = scan._replace(
        begin=np.concatenate((scan.begin, begin)), size=np.concatenate((scan.size, size)), doubled=doubled
    )
    return [first + index for index in range(4)]


def joined(alternates: pa.StringArray) -> pa.StringArray:
    """The alternates that ``split_loci`` found, with commas as VCF writes them."""
    return pc.replace_substring(alternates, '","', ",")


@_compiled
def _split(text: Array, begin: Array, size: Array, locus: int, alleles: int) -> tuple[Array, Array, Array]:
    rows = begin.shape[1]
    starts, sizes = np.zeros((4, rows), dtype=np.int32), np.zeros((4, rows), dtype=np.int32)
    wrong = np.zeros(rows, dtype=np.bool_)
    for row in range(rows):
        at, stop = begin[locus, row], begin[locus, row] + size[locus, row]
        colon = stop - 1
        while colon > at and text[colon] != _COLON:
            colon -= 1
        first, last = begin[alleles, row] + 2, begin[alleles, row] + size[alleles, row] - 2
        middle = first
        while middle + 2 < last and not (
            text[middle] == _QUOTE and text[middle + 1] == ord(",") and text[middle + 2] == _QUOTE
        ):
            middle += 1
        wrong[row] = colon <= at or middle + 2 >= last or text[first - 1] != _QUOTE or text[last] != _QUOTE
        if not wrong[row]:
            starts[0, row], sizes[0, row] = at, colon - at
            starts[1, row], sizes[1, row] = colon + 1, stop - colon - 1
            starts[2, row], sizes[2, row] = first, middle - first
            starts[3, row], sizes[3, row] = middle + 3, last - middle - 3
    return starts, sizes, wrong
