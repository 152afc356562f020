"""Consequences: the alleles of ``variants``, and of each one row per annotation that VEP, snpEff or gnomAD gave it.

Which allele an entry is of is told by ALLELE_NUM, or else by Allele: VEP writes the alternate without the first base
if REF and all alternates share it and their lengths differ (``-`` for nothing left), snpEff writes it as VCF does.
An entry whose allele cannot be told spoils its record: a consequence of the wrong allele would be worse than none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assets.annotations import MATCHING
from assets.transforms import variants

Array: TypeAlias = np.ndarray[Any, Any]
Options = variants.Options

READS = frozenset(getattr(variants, "READS", ()))

ROWS_PER_BATCH = 32_768
"""Blocks of text hold a few thousand records, and each batch costs the gates the same, small or large."""

ORDINAL = pa.field("annotation", pa.int32())
"""Which of its allele's annotations a row is, from 0; null where the allele has none."""

MAX_BYTES = 512 << 20
"""What the rows of one batch may take up; the records that take most are refused beyond it."""

_OF_VEP = frozenset({"IMPACT", "SYMBOL", "Gene", "Feature", "Feature_type", "BIOTYPE", "HGVSc", "HGVSp", "EXON"})
_OF_SNPEFF = frozenset({"Annotation_Impact", "Gene_Name", "Gene_ID", "Feature_ID", "Feature_Type", "HGVS.c", "HGVS.p"})

_COMMA = ord(",")

_compiled = numba.njit(nogil=True, cache=True)


class _Entries(NamedTuple):
    """All annotations of a batch: where each record's begin, their fields, and how their alleles are written."""

    key: str
    offsets: Array
    fields: dict[str, pa.Array]

    def matching(self, name: str) -> pa.Array:
        rows = int(self.offsets[-1])
        return self.fields.get(name, pa.nulls(rows, pa.string()))

    def schemes(self) -> tuple[Callable[[str, list[str]], list[str]], ...]:
        """How the alleles may be written; where that is not known, all must tell the same."""
        if self.fields.keys() & _OF_SNPEFF:
            return (_as_written,)
        if self.fields.keys() & _OF_VEP or self.key != "ANN":
            return (by_vep,)
        return (by_vep, _as_written)


def prepare(options: variants.Options) -> Callable[[pa.RecordBatch], pa.RecordBatch]:
    """The transform, with the options of ``variants``.

    It takes batches with one column of annotations (list<struct>, field metadata ``annotations``) or none, and gives
    what ``variants`` gives, a column for each field of the annotations in place of theirs, and ``annotation``. An
    allele without annotations stays one row in which these are null. A field's name that the batch has already is
    preceded by the annotations' own (``CSQ.AF``).

    Raises:
        SourceError: a reference or a chain that the options name cannot be read.
    """
    alleles = variants.prepare(options)

    def transform(batch: pa.RecordBatch) -> pa.RecordBatch:
        entries = _entries(batch)
        bare = batch.select([field.name for field in batch.schema if not _superseded(field)])
        return _exploded(batch, entries, alleles(bare))

    return transform


def by_vep(ref: str, alts: list[str]) -> list[str]:
    """What VEP writes as Allele for each of a record's alternates."""
    if all(len(alt) == len(ref) for alt in alts):
        return alts
    if len({text[:1].upper() for text in (ref, *alts) if "*" not in text}) > 1:
        return alts
    return [alt if "*" in alt else alt[1:] or "-" for alt in alts]


def _as_written(_: str, alts: list[str]) -> list[str]:
    return alts


def _superseded(field: pa.Field) -> bool:
    return _annotates(field) or field.name.lower() == ORDINAL.name


def _annotates(field: pa.Field) -> bool:
    return (field.metadata or {}).get(b"annotations") == b"true"


def _entries(batch: pa.RecordBatch) -> _Entries:
    found = next((field for field in batch.schema if _annotates(field)), None)
    offsets = np.zeros(batch.num_rows + 1, dtype=np.int64)
    if found is None:
        return _Entries("", offsets, {})
    lists = batch[found.name]
    np.cumsum(pc.fill_null(pc.list_value_length(lists), 0).to_numpy(), out=offsets[1:])
    names = [field.name for field in found.type.value_type]
    return _Entries(found.name, offsets, dict(zip(names, lists.flatten().flatten(), strict=True)))


def _exploded(batch: pa.RecordBatch, entries: _Entries, alleles: pa.RecordBatch) -> pa.RecordBatch:
    """The rows of ``alleles``, each as often as its allele has entries."""
    record = np.searchsorted(batch["_source"].to_numpy(), alleles["_source"].to_numpy())
    ordinal = _ordinals(record)
    sound = alleles["_error"].is_null().to_numpy(zero_copy_only=False)
    assigned, faults = _assigned(batch, entries)
    errors = {int(row): faults[int(record[row])] for row in np.flatnonzero(np.isin(record, [*faults]))}
    sound[list(errors)] = False
    errors |= _too_large(alleles, record, np.bincount(_rows(entries), minlength=batch.num_rows), sound)
    sound[list(errors)] = False
    rows, chosen, number = _explode(record, ordinal, sound, entries.offsets, assigned)
    if errors:
        told = [errors.get(row) for row in range(alleles.num_rows)]
        error = pc.coalesce(alleles["_error"], pa.array(told, pa.string()))
        alleles = alleles.set_column(alleles.schema.get_field_index("_error"), alleles.schema.field("_error"), error)
    if len(rows) > alleles.num_rows:
        alleles = alleles.take(pa.array(rows))
    absent = chosen < 0
    names = _names(entries, alleles.schema)
    added = [pa.field(names[name], pa.string()) for name in entries.fields]
    values = list(entries.fields.values())
    if len(chosen) != len(assigned) or np.any(np.diff(chosen, prepend=-1) != 1):
        taken = pa.array(chosen, mask=absent)
        values = [column.take(taken) for column in values]
    schema = pa.schema([*alleles.schema, *added, ORDINAL])
    return pa.record_batch([*alleles.columns, *values, pa.array(number, mask=absent)], schema=schema)


def _names(entries: _Entries, schema: pa.Schema) -> dict[str, str]:
    taken = {name.lower() for name in (*schema.names, ORDINAL.name)}
    return {name: f"{entries.key}.{name}" if name.lower() in taken else name for name in entries.fields}


def _rows(entries: _Entries) -> Array:
    return np.repeat(np.arange(len(entries.offsets) - 1), np.diff(entries.offsets))


def _ordinals(record: Array) -> Array:
    """Which of its record's alleles each row is, from 1."""
    first = np.flatnonzero(np.diff(record, prepend=-1))
    return np.arange(len(record)) - np.repeat(first, np.diff(first, append=len(record))) + 1


def _assigned(batch: pa.RecordBatch, entries: _Entries) -> tuple[Array, dict[int, str]]:
    """The ordinal of each entry's allele, and why the entries of some records have none."""
    assigned = np.ones(entries.offsets[-1], dtype=np.int64)
    if not len(assigned):
        return assigned, {}
    spellings = [_buffers(entries.matching(name)) for name in MATCHING]
    alternates = _buffers(batch["ALT"])
    unclear = np.flatnonzero(_unclear(*alternates, entries.offsets, *spellings[0], *spellings[1]))
    faults: dict[int, str] = {}
    for row in unclear:
        begin, end = int(entries.offsets[row]), int(entries.offsets[row + 1])
        texts = [entries.matching(name).slice(begin, end - begin).to_pylist() for name in MATCHING]
        written = batch["ALT"][int(row)].as_py()
        found = _matched(entries, batch["REF"][int(row)].as_py(), written.split(",") if written else [], *texts)
        if isinstance(found, str):
            faults[int(row)] = found
        else:
            assigned[begin:end] = found
    return assigned, faults


def _buffers(column: pa.StringArray) -> tuple[Array, Array]:
    """Offsets and bytes of a string column; what is null has no bytes."""
    if column.null_count:
        column = pc.fill_null(column, "")
    _, offsets, data = column.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int32)[column.offset : column.offset + len(column) + 1]
    return bounds, np.frombuffer(data or b"", dtype=np.uint8)


def _matched(
    entries: _Entries, ref: str, alts: list[str], names: list[str | None], numbers: list[str | None]
) -> list[int] | str:
    """The ordinal of each entry's allele in one record, or why it cannot be told."""
    if not alts:
        return f"{entries.key} annotates a record that has no alternate allele"
    if all(numbers):
        wrong = [number for number in numbers if number not in {str(place) for place in range(1, len(alts) + 1)}]
        if wrong:
            return f"{entries.key} has an annotation with ALLELE_NUM {wrong[0]!r}, but ALT has {len(alts)} alleles"
        return [int(number) for number in numbers if number]
    found: list[list[int]] = []
    for scheme in entries.schemes():
        known = {name: place for place, name in enumerate(scheme(ref, alts), start=1)}
        unknown = [name for name in names if name not in known]
        if not unknown and len(known) == len(alts):
            found.append([known[name] for name in names if name is not None])
    if not found:
        shown = ", ".join(dict.fromkeys(str(name)[:40] for name in names))
        return f"{entries.key} annotates Allele {shown[:200]}, of which not all are told by ALT {','.join(alts)[:200]}"
    if any(other != found[0] for other in found):
        return f"{entries.key} does not say whether VEP or snpEff wrote it, and the two mean different alleles"
    return found[0]


@_compiled
def _equal(offsets: Array, data: Array, one: int, other: int) -> bool:
    size = offsets[one + 1] - offsets[one]
    if offsets[other + 1] - offsets[other] != size:
        return False
    for at in range(size):  # noqa: SIM110  (numba compiles no generator expression)
        if data[offsets[one] + at] != data[offsets[other] + at]:
            return False
    return True


@_compiled
def _unclear(
    alt_offsets: Array,
    alts: Array,
    offsets: Array,
    name_offsets: Array,
    names: Array,
    number_offsets: Array,
    numbers: Array,
) -> Array:
    """True for the records with entries that have not just one alternate, or whose entries name several alleles."""
    unclear = np.zeros(offsets.size - 1, dtype=np.bool_)
    for row in range(offsets.size - 1):
        first, stop = offsets[row], offsets[row + 1]
        if first == stop:
            continue
        unclear[row] = alt_offsets[row] == alt_offsets[row + 1]
        for at in range(alt_offsets[row], alt_offsets[row + 1]):
            unclear[row] |= alts[at] == _COMMA
        for entry in range(first + 1, stop):
            if not unclear[row]:
                same = _equal(name_offsets, names, first, entry) and _equal(number_offsets, numbers, first, entry)
                unclear[row] = not same
    return unclear


@_compiled
def _explode(
    record: Array, ordinal: Array, sound: Array, offsets: Array, assigned: Array
) -> tuple[Array, Array, Array]:
    """For each row to come: which allele's row it repeats, its entry (-1: none), and which of the allele's that is."""
    most = record.size
    for row in range(record.size):
        if sound[row]:
            for entry in range(offsets[record[row]], offsets[record[row] + 1]):
                most += assigned[entry] == ordinal[row]
    rows = np.empty(most, dtype=np.int64)
    chosen = np.full(most, -1, dtype=np.int64)
    number = np.zeros(most, dtype=np.int32)
    count = 0
    for row in range(record.size):
        among = 0
        if sound[row]:
            for entry in range(offsets[record[row]], offsets[record[row] + 1]):
                if assigned[entry] == ordinal[row]:
                    rows[count], chosen[count], number[count] = row, entry, among
                    count += 1
                    among += 1
        if among == 0:
            rows[count] = row
            count += 1
    return rows[:count], chosen[:count], number[:count]


def _too_large(alleles: pa.RecordBatch, record: Array, counts: Array, sound: Array) -> dict[int, str]:
    """The rows to be refused so that what is repeated stays within MAX_BYTES, and why."""
    repeats = np.where(sound, counts[record], 0)
    if not len(repeats) or alleles.nbytes * max(int(repeats.max()), 1) <= MAX_BYTES:
        return {}
    size = repeats * np.sum([_sizes(column) for column in alleles.columns], axis=0)
    taken = np.bincount(record, weights=size, minlength=len(counts))
    order = np.argsort(taken)
    refused = order[np.cumsum(taken[order]) > MAX_BYTES]
    return {
        int(row): f"its {counts[record[row]]} annotations and its values of {int(size[row] // repeats[row])} bytes "
        "are too large together"
        for row in np.flatnonzero(np.isin(record, refused) & (size > 0))
    }


def _sizes(column: pa.Array) -> Array:
    """About how many bytes each value of a column takes up."""
    if pa.types.is_string(column.type):
        return np.asarray(pc.fill_null(pc.binary_length(column), 0), dtype=np.int64)
    if pa.types.is_list(column.type):
        return np.asarray(pc.fill_null(pc.list_value_length(column), 0), dtype=np.int64) * 16
    return np.full(len(column), 8, dtype=np.int64)
