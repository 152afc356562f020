"""INFO fields with a value per allele, when a record is split: each row gets its own allele's.

A field says in its metadata, ``number``, what its lists are of (VCF 4.5, section 1.4.2): ``A`` the alternates,
``R`` the reference and the alternates, ``G`` the genotypes of two of them, in the order 0/0, 0/1, 1/1, 0/2, ...
"""

from __future__ import annotations

from collections.abc import Iterator

import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assets.allele_text import Array, Rows

_compiled = numba.njit(nogil=True, cache=True)

COPIED = 512 << 20
"""How many bytes the rows of one batch may take in all because their records were split."""


def number(field: pa.Field) -> str | None:
    """``A``, ``R`` or ``G`` for a field with a list of values per allele, else None."""
    said = (field.metadata or {}).get(b"number", b"").decode()
    return said if said in ("A", "R", "G") and pa.types.is_list(field.type) else None


def misfits(batch: pa.RecordBatch, alternates: Array, sound: Array) -> Iterator[tuple[int, str]]:
    """Records with a list that has another length than their alleles ask for, and the reason; some more than once."""
    for field, column in zip(batch.schema, batch.columns, strict=True):
        kind = number(field)
        if kind is None:
            continue
        if not _any_misfit(column.offsets.to_numpy(), alternates, sound, "ARG".index(kind)):
            continue
        expected = {"A": alternates, "R": alternates + 1, "G": (alternates + 1) * (alternates + 2) // 2}[kind]
        found = np.diff(column.offsets.to_numpy())
        given = column.is_valid().to_numpy(zero_copy_only=False)
        wrong = np.flatnonzero((found != expected) & sound & given)
        for record in wrong.tolist():
            values = column[record].as_py()
            # One missing value stands for all of them; without an alternate there is none to have a value.
            if values is None or values == [None] or (alternates[record] == 0 and len(values) <= 1):
                continue
            yield (
                record,
                f"INFO key {field.name} has {len(values)} values, expected {expected[record]} for "
                f"{alternates[record]} alternates (Number={kind})",
            )


def own(field: pa.Field, column: pa.Array, rows: Rows, has: Array) -> tuple[pa.Field, pa.Array]:
    """A list column of the records as the rows' own values.

    The scalar of the row's alternate (A), the reference's and the alternate's (R), or those of the genotypes 0/0,
    0/i and i/i (G). Null where the record has no value; ``has`` says which records have an alternate,
    and are without ``misfits``.
    """
    kind = number(field)
    assert kind is not None
    bounds = column.offsets.to_numpy()
    scalar = pa.field(field.name, field.type.value_type, metadata={b"number": b"1"})
    alone = len(rows.record) == len(column) == bounds[-1] - bounds[0] and has.all()
    if kind == "A" and alone and column.null_count == 0:
        return scalar, column.values.slice(bounds[0], len(column))
    size = np.diff(bounds)
    if kind == "A":
        return scalar, _taken(column.values, bounds[rows.record] + rows.ordinal, _absent(column, size, rows, has))
    allele = rows.ordinal + 1
    first = allele * (allele + 1) // 2
    places = np.stack([allele * 0, allele] if kind == "R" else [allele * 0, first, first + allele], axis=1)
    absent = _absent(column, size, rows, has) | (size[rows.record] <= places[:, -1])
    values = _taken(column.values, (bounds[rows.record, None] + places)[~absent].ravel(), None)
    offsets = np.concatenate(([0], np.cumsum(np.where(absent, 0, places.shape[1])))).astype(np.int32)
    lists = pa.ListArray.from_arrays(pa.array(offsets), values, mask=pa.array(absent))
    return field.with_type(lists.type), lists


@_compiled
def _any_misfit(bounds: Array, alternates: Array, sound: Array, kind: int) -> bool:
    for record in range(alternates.size):
        alleles = alternates[record] + (kind > 0)
        expected = alleles * (alleles + 1) // 2 if kind == 2 else alleles
        if sound[record] and bounds[record + 1] - bounds[record] != expected:
            return True
    return False


def _absent(column: pa.Array, size: Array, rows: Rows, has: Array) -> Array:
    absent = ~has | (size == 0) | ~np.asarray(column.is_valid().to_numpy(zero_copy_only=False))
    found: Array = absent[rows.record] | (rows.ordinal >= size[rows.record])
    return found


def _taken(values: pa.Array, places: Array, absent: Array | None) -> pa.Array:
    return values.take(pa.array(places, mask=absent if absent is not None and absent.any() else None))


def too_large(batch: pa.RecordBatch, alternates: Array, _: Array) -> Iterator[tuple[int, str]]:
    """Records that would be copied into more rows than a batch can hold, and the reason.

    In order, what is left of COPIED goes to each record that is split, if it suffices.
    """
    split = np.flatnonzero(alternates > 1)
    if len(split) == 0 or batch.nbytes * int(alternates.max()) <= COPIED:
        return
    size = sum((_bytes(column) for column in _repeated(batch)), np.zeros(batch.num_rows))
    left = float(COPIED)
    for record in split.tolist():
        wanted = float(size[record] * alternates[record])
        if wanted <= left:
            left -= wanted
        else:
            yield (
                record,
                f"the record has {alternates[record]} alternates, each of which would repeat its {int(size[record])} "
                f"bytes: more than a batch of {COPIED >> 20} MB can hold; split it, or map fewer of its fields",
            )


def _repeated(batch: pa.RecordBatch) -> Iterator[pa.Array]:
    for field, column in zip(batch.schema, batch.columns, strict=True):
        if number(field) != "A" and field.name != "ALT":
            yield column


def _bytes(column: pa.Array) -> Array:
    """Roughly how many bytes each value of a column takes."""
    kind = column.type
    if pa.types.is_string(kind):
        return np.asarray(pc.fill_null(pc.binary_length(column), 0).to_numpy(), dtype=np.float64) + 4
    if pa.types.is_list(kind):
        total = np.concatenate(([0.0], np.cumsum(_bytes(column.values))))
        bounds = column.offsets.to_numpy()
        return np.asarray(total[bounds[1:]] - total[bounds[:-1]] + 4)
    if pa.types.is_struct(kind):
        return sum((_bytes(child) for child in column.flatten()), np.zeros(len(column)))
    return np.full(len(column), 8.0)
