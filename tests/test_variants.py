"""Variants: contig names, splitting and trimming, against bcftools and by laws."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.readers import SOURCE_FIELDS
from assets.transforms.variants import DERIVED, transform

DATA = Path(__file__).parent.parent.parent / "shared" / "data" / "genomics"
bases = st.text("ACGT", min_size=1, max_size=12)


class Allele(NamedTuple):
    position: int
    ref: str
    alt: str


def trimmed(position: int, ref: str, alt: str) -> Allele:
    """The oracle, a base at a time: shared suffix, then shared prefix removed, at least one base of each kept."""
    ref, alt = ref.upper(), alt.upper()
    if ref == alt:
        return Allele(position, ref, alt)
    while min(len(ref), len(alt)) > 1 and ref[-1] == alt[-1]:
        ref, alt = ref[:-1], alt[:-1]
    while min(len(ref), len(alt)) > 1 and ref[0] == alt[0]:
        position, ref, alt = position + 1, ref[1:], alt[1:]
    return Allele(position, ref, alt)


def batch(
    *records: tuple[str, int, str, str | None], assembly: str = "GRCh38", error: str | None = None
) -> pa.RecordBatch:
    chrom, pos, ref, alt = (list(column) for column in zip(*records, strict=True))
    count = len(records)
    columns = {
        "_source": pa.array(range(count), pa.int64()),
        "_position": pa.array([f"x.vcf line {n}" for n in range(count)]),
        "_record": pa.array([f"r{n}" for n in range(count)]),
        "_error": pa.array([error] * count, pa.string()),
        "_raw": pa.nulls(count, pa.string()),
        "CHROM": pa.array(chrom, pa.string()),
        "POS": pa.array(pos, pa.int64()),
        "REF": pa.array(ref, pa.string()),
        "ALT": pa.array(alt, pa.string()),
        "assembly": pa.array([assembly] * count),
        "S": pa.array([f"s{n}" for n in range(count)]),
    }
    fields = [*SOURCE_FIELDS, *(pa.field(name, column.type) for name, column in list(columns.items())[5:])]
    return pa.record_batch(list(columns.values()), schema=pa.schema(fields))


def alleles(out: pa.RecordBatch) -> list[tuple[int, str, str | None]]:
    return list(zip(*(out[name].to_pylist() for name in ("position", "ref", "alt")), strict=True))


@pytest.mark.parametrize(
    ("name", "contig"),
    [
        ("chr1", "1"), ("1", "1"), ("Chr22", "22"), ("chrX", "X"), ("23", "X"), ("24", "Y"), ("chrM", "MT"),
        ("M", "MT"), ("MT", "MT"), ("NC_000001.11", "1"), ("NC_000024.10", "Y"), ("NC_012920.1", "MT"),
        ("chr1_KI270706v1_random", "chr1_KI270706v1_random"), ("HLA-A*01:01:01:01", "HLA-A*01:01:01:01"),
        ("chr25", "chr25"), ("NC_000001.99", "NC_000001.99"),
    ],
)  # fmt: skip
def test_contigs_have_one_spelling(name, contig):
    assert transform(batch((name, 5, "A", "C")))["contig"].to_pylist() == [contig]


def test_an_accession_of_another_assembly_is_an_error_of_its_record():
    out = transform(batch(("NC_000001.10", 5, "A", "C"), ("NC_000001.11", 5, "A", "C")))
    wrong, right = out.to_pylist()
    assert wrong["_error"] == "CHROM NC_000001.10 belongs to GRCh37, but the file's assembly is GRCh38"
    assert {name: wrong[name] for name in DERIVED.names if wrong[name] is not None} == {"ref": "A", "alt": "C"}
    assert (right["_error"], right["variant_id"]) == (None, "GRCh38-1-5-A-C")


def test_several_alternates_become_adjacent_rows_of_one_record():
    out = transform(batch(("1", 4, "A", "C"), ("1", 10, "CAA", "C,CA,*,<DEL>"), ("2", 7, "T", "G")))
    assert out["_source"].to_pylist() == [0, 1, 1, 1, 1, 2]
    assert out["_record"].to_pylist() == ["r0", "r1", "r1", "r1", "r1", "r2"]
    assert out["S"].to_pylist() == ["s0", "s1", "s1", "s1", "s1", "s2"]
    assert alleles(out) == [
        (4, "A", "C"), (10, "CAA", "C"), (10, "CA", "C"), (10, "CAA", "*"), (10, "CAA", "<DEL>"), (7, "T", "G"),
    ]  # fmt: skip


def test_a_record_without_an_alternate_stays_one_row():
    out = transform(batch(("1", 4, "A", None), ("1", 5, "ACG", None)))
    assert alleles(out) == [(4, "A", None), (5, "ACG", None)]
    assert out["variant_id"].to_pylist() == ["GRCh38-1-4-A-.", "GRCh38-1-5-ACG-."]


def test_lower_case_bases_are_raised_and_symbols_left():
    out = transform(batch(("1", 4, "a", "c"), ("1", 5, "at", "a,<del>"), ("1", 6, "g", "g]chr2:7]")))
    assert alleles(out) == [(4, "A", "C"), (5, "AT", "A"), (5, "AT", "<del>"), (6, "G", "g]chr2:7]")]


def test_unreadable_records_pass_through_underived():
    source = batch((None, None, None, None), error="the line is empty")
    out = transform(source)
    assert out["_error"].to_pylist() == ["the line is empty"]
    assert [out[name].to_pylist() for name in DERIVED.names] == [[None]] * len(DERIVED)


def test_derived_columns_do_not_stand_beside_source_columns_of_the_same_sql_name():
    names = [name.lower() for name in transform(batch(("1", 4, "A", "C"))).schema.names]
    assert len(names) == len(set(names))
    assert set(DERIVED.names) < set(names)


@given(st.integers(1, 10**8), bases, bases)
def test_trimming_is_parsimonious_and_idempotent(position, ref, alt):
    once = Allele(*alleles(transform(batch(("1", position, ref, alt))))[0])
    assert alleles(transform(batch(("1", *once)))) == [once]
    if ref != alt:
        shorter = min(len(once.ref), len(once.alt))
        assert shorter == 1 or (once.ref[0] != once.alt[0] and once.ref[-1] != once.alt[-1])


@given(bases, bases, bases, bases)
def test_trimming_keeps_the_haplotype(before, ref, alt, after):
    reference = before + ref + after
    ((position, short, other),) = alleles(transform(batch(("1", len(before) + 1, ref, alt))))
    start = position - 1
    assert reference[start : start + len(short)] == short
    assert reference[:start] + other + reference[start + len(short) :] == before + alt + after


@given(
    st.lists(st.tuples(st.just("1"), st.integers(1, 10**6), bases, st.lists(bases, max_size=3)), min_size=1, max_size=8)
)
def test_the_column_form_agrees_with_the_allele_form(records):
    out = transform(batch(*((c, p, r, ",".join(a) or None) for c, p, r, a in records)))
    expected = [
        tuple(trimmed(position, ref, alt)) if alt else (position, ref, None)
        for _, position, ref, alts in records
        for alt in (alts or [None])
    ]
    assert alleles(out) == expected


def _sites(path: Path) -> list[tuple[str, int, str, str, str]]:
    lines = [line.split("\t") for line in path.read_text().splitlines() if not line.startswith("#")]
    return [(f[2], int(f[1]), f[3], f[4], f[7]) for f in lines]


def test_bcftools_gives_the_same_parsimonious_alleles():
    folder = DATA / "norm_oracle"
    if not folder.exists():
        pytest.skip(f"{folder} is not here")
    answers: dict[str, set[tuple[int, str, str]]] = {}
    for name, position, ref, alt, _ in _sites(folder / "denormalised.sites.bcftools_norm.vcf"):
        answers.setdefault(name, set()).add((position, ref, alt))
    sites = _sites(folder / "denormalised.sites.vcf")
    out = transform(batch(*(("20", position, ref, alt) for _, position, ref, alt, _ in sites)))
    same = compared = 0
    for (name, _, _, _, info), (position, ref, alt) in zip(sites, alleles(out), strict=True):
        # Where the allele was shifted right or can be rolled left, bcftools needs the reference: not our promise.
        if "TYPE=snv" in info or ("SHIFT=0" in info and min(len(ref), len(alt)) > 1):
            compared += 1
            same += (position, ref, alt) in answers[name]
    assert compared > 700
    assert same == compared


def test_bcftools_splits_the_same():
    folder = DATA / "norm_oracle" / "bcftools"
    if not folder.exists():
        pytest.skip(f"{folder} is not here")
    source = _sites(folder / "norm.split.vcf")
    out = transform(batch(*(("20", position, ref, alt) for _, position, ref, alt, _ in source)))
    expected = [(p, r, a) for _, p, r, a, _ in _sites(folder / "norm.split.out")]
    assert [tuple(trimmed(*allele)) if allele[2] != "." else (*allele[:2], None) for allele in expected] == alleles(out)
