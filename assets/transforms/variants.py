"""Variants: one row per alternate allele, trimmed to parsimony, on contigs with one spelling.

Parsimony follows the order of the variant normalisation that VCF tools share: common suffix first, then common
prefix, one anchor base kept. Nothing is shifted left, since that needs the reference sequence.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_NAMES = (*(str(number) for number in range(1, 23)), "X", "Y")
# Versions of NC_000001 to NC_000024 in GRCh37; each is one higher in GRCh38. NC_012920.1 is in both.
_GRCH37_VERSIONS = (10, 11, 11, 11, 9, 11, 13, 10, 11, 10, 9, 11, 10, 8, 9, 9, 10, 9, 9, 10, 8, 10, 10, 9)
_ACCESSIONS = {
    f"NC_{number:06}.{version + later}": (name, assembly)
    for number, (name, version) in enumerate(zip(_NAMES, _GRCH37_VERSIONS, strict=True), start=1)
    for later, assembly in enumerate(("GRCh37", "GRCh38"))
}
_ALIASES = {"23": "X", "24": "Y", "M": "MT", "NC_012920.1": "MT"}
_BASES = re.compile(r"[ACGTNacgtn]+")

DERIVED = pa.schema(
    {
        "contig": pa.string(),
        "position": pa.int64(),
        "ref": pa.string(),
        "alt": pa.string(),
        "variant_id": pa.string(),
    }
)


class Allele(NamedTuple):
    """One alternate allele against its reference, at a 1-based position."""

    position: int
    ref: str
    alt: str


def transform(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Add contig, position (1-based), ref, alt and variant_id to a batch of VCF records, one row per alternate.

    ``ref`` and ``alt`` take the place of REF and ALT: SQL does not tell their names apart. A record without an
    alternate (ALT ``.``) stays one row with a null ``alt``; records with an ``_error`` pass through underived.
    """
    alleles, rows = _alleles(batch)
    batch = batch.take(rows) if len(rows) > batch.num_rows else batch
    contig, misplaced = _contigs(batch["CHROM"], batch["assembly"])
    error = pc.coalesce(batch["_error"], misplaced)
    derived = {"contig": contig, **alleles}
    derived["variant_id"] = pc.binary_join_element_wise(
        batch["assembly"],
        contig,
        pc.cast(alleles["position"], pa.string()),
        alleles["ref"],
        pc.fill_null(alleles["alt"], "."),
        "-",
    )
    kept = {name: batch[name] for name in batch.schema.names if name not in ("REF", "ALT")}
    kept["_error"] = error
    fields = [batch.schema.field(name) for name in kept] + list(DERIVED)
    sound = pc.is_null(error)
    values = [*kept.values(), *(pc.if_else(sound, derived[name], None) for name in DERIVED.names)]
    return pa.record_batch(values, schema=pa.schema(fields))


def trimmed(position: int, ref: str, alt: str) -> Allele:
    """The parsimonious form of an allele: shared suffix, then shared prefix removed, at least one base of each kept.

    Symbolic alleles, breakends, ``*`` and alleles equal to the reference are returned as they are.
    """
    if not _BASES.fullmatch(alt):
        return Allele(position, ref.upper(), alt)
    ref, alt = ref.upper(), alt.upper()
    if ref == alt:
        return Allele(position, ref, alt)
    suffix, shorter = 0, min(len(ref), len(alt))
    while suffix < shorter - 1 and ref[-1 - suffix] == alt[-1 - suffix]:
        suffix += 1
    ref, alt = ref[: len(ref) - suffix], alt[: len(alt) - suffix]
    prefix, shorter = 0, min(len(ref), len(alt))
    while prefix < shorter - 1 and ref[prefix] == alt[prefix]:
        prefix += 1
    return Allele(position + prefix, ref[prefix:], alt[prefix:])


def _alleles(batch: pa.RecordBatch) -> tuple[dict[str, pa.Array], pa.Array]:
    """position, ref and alt of every row to come, and which record each row is of."""
    positions, refs, alts = batch["POS"], batch["REF"], batch["ALT"]
    short = pc.and_(pc.equal(pc.binary_length(refs), 1), pc.equal(pc.binary_length(alts), 1))
    # A null ALT or an unreadable record leaves nothing to trim.
    longer = np.flatnonzero(~pc.fill_null(short, True).to_numpy(zero_copy_only=False))
    found = [_split(*row) for row in zip(*(c.take(longer).to_pylist() for c in (positions, refs, alts)), strict=True)]
    counts = np.ones(batch.num_rows, dtype=np.int64)
    counts[longer] = [len(alleles) for alleles in found]
    rows = pa.array(np.repeat(np.arange(batch.num_rows), counts))
    worked = np.zeros(batch.num_rows, dtype=np.bool_)
    worked[longer] = True
    mask = pa.array(np.repeat(worked, counts))
    flat = [allele for alleles in found for allele in alleles]
    plain = {"position": positions, "ref": pc.ascii_upper(refs), "alt": pc.ascii_upper(alts)}
    return {
        name: pc.replace_with_mask(
            column.take(rows), mask, pa.array([getattr(allele, name) for allele in flat], column.type)
        )
        for name, column in plain.items()
    }, rows


def _split(position: int, ref: str, alts: str) -> list[Allele]:
    return [trimmed(position, ref, alt) for alt in alts.split(",")]


def _contigs(names: pa.StringArray, assemblies: pa.StringArray) -> tuple[pa.Array, pa.Array]:
    """Each contig's one spelling, and an error where an accession is of another assembly than the file."""
    coded = pc.dictionary_encode(names)
    known = [_contig(name) for name in coded.dictionary.to_pylist()]
    contig = pa.array([name for name, _ in known], pa.string()).take(coded.indices)
    assembly = pa.array([assembly for _, assembly in known], pa.string()).take(coded.indices)
    wrong = pc.fill_null(pc.not_equal(assembly, assemblies), False)
    told = pc.binary_join_element_wise(
        "CHROM ", names, " belongs to ", assembly, ", but the file's assembly is ", assemblies, ""
    )
    return contig, pc.if_else(wrong, told, None)


def _contig(name: str) -> tuple[str, str | None]:
    """``chr1``, ``1`` and ``NC_000001.11`` are ``1``; a contig that is no primary chromosome keeps its name."""
    if name in _ACCESSIONS:
        return _ACCESSIONS[name]
    bare = re.sub(r"^(?i:chr)", "", name).upper()
    bare = _ALIASES.get(bare, bare)
    return (bare if bare in (*_NAMES, "MT") else name), None
