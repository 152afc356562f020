"""Variants: one row per alternate allele, trimmed or left-aligned, on contigs with one spelling, under stable ids.

Without a reference sequence an allele is trimmed to parsimony only; with one, its REF is checked base by base and
it is moved as far left as it goes. As bcftools has it, N in REF fits only N, and an ambiguity code of the reference
counts as N. What is no plain sequence (``*``, symbolic, breakend) stays as it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from assets import allele_text, alleles, identifiers, lift_over, per_allele, vrs
from assets.allele_text import Array, Trimmed
from assets.fasta import Fasta
from assets.variant_records import Normal, Records, normalise, records_of

READS = ("CHROM", "POS", "REF", "ALT", "assembly")

ROWS_PER_BATCH = 32_768
"""Blocks of text hold a few thousand records, and each batch costs the gates the same, small or large."""

_WORD = pa.dictionary(pa.int32(), pa.string())
DERIVED = pa.schema(
    {
        "assembly": _WORD,
        "contig": _WORD,
        "position": pa.int64(),
        "ref": pa.string(),
        "alt": pa.string(),
        "variant_id": pa.string(),
        "spdi": pa.string(),
        "vrs_id": pa.string(),
        "variant_type_so": _WORD,
        "normalisation": _WORD,
        "lifted_from": pa.string(),
    }
)
_REPLACED = frozenset(DERIVED.names)

# Sequence Ontology, http://www.sequenceontology.org; breakends and mobile elements as Ensembl's VEP has them.
_TYPES = {
    allele_text.SNV: "SO:0001483",
    allele_text.MNV: "SO:0002007",
    allele_text.INSERTION: "SO:0000667",
    allele_text.DELETION: "SO:0000159",
    allele_text.DELINS: "SO:1000032",
}
_SYMBOLS = {
    "DEL": "SO:0000159",
    "DEL:ME": "SO:0002066",
    "INS": "SO:0000667",
    "INS:ME": "SO:0001837",
    "DUP": "SO:1000035",
    "DUP:TANDEM": "SO:1000173",
    "INV": "SO:1000036",
    "CNV": "SO:0001019",
}
_BREAKEND = "SO:0001021"
_SO = (*_TYPES.values(), *(so for so in dict.fromkeys([*_SYMBOLS.values(), _BREAKEND]) if so not in _TYPES.values()))
_KIND_CODES = np.array(
    [_SO.index(_TYPES[kind]) if kind in _TYPES else -1 for kind in range(allele_text.NONE + 1)], dtype=np.int32
)
_NORMALISATIONS = ("left_aligned", "trimmed", "none")


class LiftOver(BaseModel):
    """Onto which assembly alleles are lifted, by which chain file, and that assembly's reference sequence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    chain: str
    to: str = Field(pattern="^GRCh3[78]$")
    reference: str


class Options(BaseModel):
    """What variants are normalised against, and which further keys they get."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: str | None = Field(None, description="FASTA with .fai (and .gzi if compressed) of the source's assembly")
    lift_over: LiftOver | None = None
    vrs: bool = Field(False, description="whether GA4GH VRS ids are computed")


def prepare(options: Options) -> Callable[[pa.RecordBatch], pa.RecordBatch]:
    """The transform of all batches of a source.

    It takes CHROM, POS (1-based), REF, ALT and assembly, and gives DERIVED in place of REF, ALT and assembly, one
    row per alternate allele with that allele's share of INFO. A record without an alternate stays one row with a
    null ``alt``. A record at fault stays one row with its ``_error``, ``ref`` and ``alt`` as written and all else
    null; so does one that had an ``_error``. An allele that cannot be lifted over is at fault alone.

    Raises:
        SourceError: a reference sequence, its index or a chain file cannot be had.
        ContractError: the chain file leads elsewhere.
    """
    return _Variants(options).derived


def transform(batch: pa.RecordBatch) -> pa.RecordBatch:
    """``prepare`` without options: trimmed only."""
    return _Variants(Options()).derived(batch)


class _Variants:
    """The options, opened."""

    def __init__(self, options: Options) -> None:
        self._reference = Fasta(options.reference) if options.reference else None
        self._vrs = options.vrs
        self._onto: tuple[lift_over.LiftOver, Fasta, str] | None = None
        if options.lift_over:
            chain, to, uri = options.lift_over.chain, options.lift_over.to, options.lift_over.reference
            target = Fasta(uri, setting="transform.lift_over.reference")
            self._onto = (lift_over.LiftOver(chain, to, target), target, to)

    def derived(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """What ``prepare`` promises, for one batch."""
        if "CHROM" not in batch.schema.names:
            return _put(batch, {field.name: pa.nulls(batch.num_rows, field.type) for field in DERIVED})
        records, errors = records_of(batch, self._reference)
        sound = batch["_error"].is_null().to_numpy(zero_copy_only=False) & ~records.nowhere
        for faults in (per_allele.misfits, per_allele.too_large):
            sound[list(errors)] = False
            for record, reason in faults(batch, alleles.count(records.alts, sound), sound):
                errors.setdefault(record, reason)
        sound[list(errors)] = False
        normal = normalise(records, sound, self._reference, errors)
        spread = _spread(_with_errors(batch, errors), normal)
        derived = _columns(records, normal, self._reference is not None)
        if self._onto:
            derived, errors = self._lifted(derived)
            spread = _with_errors(spread, errors)
        return _put(spread, derived | self._keys(derived))

    def _keys(self, derived: dict[str, pa.Array]) -> dict[str, pa.Array]:
        reference = self._onto[1] if self._onto else self._reference
        sequence = reference.sequence if reference else None
        place = (derived["assembly"], derived["contig"], derived["position"])
        keys = {"spdi": identifiers.spdi(*place, derived["ref"], derived["alt"], sequence)}
        if self._vrs:
            keys["vrs_id"] = vrs.allele_ids(*place, derived["ref"], derived["alt"], sequence)
        return keys

    def _lifted(self, derived: dict[str, pa.Array]) -> tuple[dict[str, pa.Array], dict[int, str]]:
        """The columns on the other assembly, and why some rows have no place there."""
        assert self._onto is not None
        onto, reference, to = self._onto
        assembly = derived["assembly"].cast(pa.string())
        elsewhere = pc.fill_null(pc.equal(assembly, onto.source), False)
        strange = pc.fill_null(pc.and_(pc.invert(elsewhere), pc.not_equal(assembly, to)), False)
        place = [derived[name] for name in ("position", "ref", "alt")]
        moved = onto.apply(derived["contig"], pc.if_else(elsewhere, place[0], None), *place[1:])
        lifted = moved.position.is_valid()
        errors = {
            int(row): moved.reason[int(row)].as_py()
            for row in np.flatnonzero(moved.reason.is_valid().to_numpy(zero_copy_only=False))
        }
        for row in pc.indices_nonzero(strange).to_pylist():
            errors[row] = f"not lifted over to {to}: the chain leads from {onto.source}, but this is {assembly[row]}"
        names = ("contig", "position", "ref", "alt")
        given = {name: pc.if_else(lifted, getattr(moved, name), derived[name].cast(getattr(moved, name).type))
                 for name in names}  # fmt: skip
        placed = derived["position"].is_valid()
        records = Records.of(
            given["contig"], pc.if_else(placed, pa.scalar(to), None), given["position"], given["ref"], given["alt"]
        )
        sound = np.array(placed.to_numpy(zero_copy_only=False))
        sound[list(errors)] = False
        normal = normalise(records, sound, reference, errors)
        found = _columns(records, normal, aligned=True)
        kept = pc.and_(lifted, found["position"].is_valid())
        return found | {"lifted_from": pc.if_else(kept, derived["variant_id"], None)}, errors


def _columns(records: Records, normal: Normal, aligned: bool) -> dict[str, pa.Array]:
    """All derived columns but the further keys, of which nothing is known here."""
    rows, trimmed, sound = normal.rows, normal.trimmed, normal.sound
    prefixes = (records.which, records.prefixes)
    written = allele_text.write(records.refs, records.alts, rows, trimmed, sound, prefixes)
    there = sound[rows.record]
    plain = trimmed.kind < allele_text.OTHER
    state = np.where(plain, 0 if aligned else 1, 2).astype(np.int32)
    nothing = pa.nulls(len(there), pa.string())
    return {
        "assembly": _words(np.where(there, records.assembly[rows.record], -1), records.assemblies),
        "contig": _words(np.where(there, records.contig[rows.record], -1), records.contigs),
        "position": written.position,
        "ref": written.ref,
        "alt": written.alt,
        "variant_id": written.variant_id,
        "spdi": nothing,
        "vrs_id": nothing,
        "variant_type_so": _words(_types(trimmed, written.alt), _SO),
        "normalisation": _words(np.where(there, state, -1), _NORMALISATIONS),
        "lifted_from": nothing,
    }


def _types(trimmed: Trimmed, alts: pa.StringArray) -> Array:
    codes = _KIND_CODES[trimmed.kind]
    for row in np.flatnonzero(trimmed.kind == allele_text.OTHER).tolist():
        alt = alts[row].as_py()
        if alt.startswith("<"):
            symbol = alt[1:-1].upper()
            so = next((_SYMBOLS[name] for name in (symbol, symbol.split(":")[0]) if name in _SYMBOLS), None)
        else:
            so = None if alt == "*" else _BREAKEND
        codes[row] = -1 if so is None else _SO.index(so)
    return codes


def _words(codes: Array, words: Sequence[str]) -> pa.DictionaryArray:
    mask = codes < 0
    indices = pa.array(codes.astype(np.int32, copy=False), mask=mask if mask.any() else None)
    return pa.DictionaryArray.from_arrays(indices, pa.array(words, pa.string()))


def _with_errors(batch: pa.RecordBatch, errors: dict[int, str]) -> pa.RecordBatch:
    if not errors:
        return batch
    told = pa.array([errors.get(row) for row in range(batch.num_rows)], pa.string())
    place = batch.schema.get_field_index("_error")
    return batch.set_column(place, batch.schema.field(place), pc.coalesce(batch["_error"], told))


def _spread(batch: pa.RecordBatch, normal: Normal) -> pa.RecordBatch:
    """The records' columns as columns of the rows: each record's own value, or its allele's."""
    split = len(normal.rows.record) > batch.num_rows
    rows = pa.array(normal.rows.record) if split else None
    fields, columns = [], []
    for field, column in zip(batch.schema, batch.columns, strict=True):
        if per_allele.number(field) is not None:
            given, column = per_allele.own(field, column, normal.rows, normal.sound & (normal.alternates > 0))
            fields.append(given)
        else:
            fields.append(field)
            column = column.take(rows) if rows is not None and field.name not in ("REF", "ALT") else column
        columns.append(
            column if len(column) == len(normal.rows.record) else pa.nulls(len(normal.rows.record), column.type)
        )
    return pa.record_batch(columns, schema=pa.schema(fields))


def _put(batch: pa.RecordBatch, derived: dict[str, pa.Array]) -> pa.RecordBatch:
    kept = [field for field in batch.schema if field.name.lower() not in _REPLACED]
    columns = [batch[field.name] for field in kept]
    return pa.record_batch([*columns, *(derived[name] for name in DERIVED.names)], schema=pa.schema([*kept, *DERIVED]))
