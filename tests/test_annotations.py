"""Annotation strings: against a plain splitting of the same text."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets import annotations

DATA = Path(__file__).parent.parent.parent / "shared" / "data" / "genomics"
NAMES = ("Allele", "Consequence", "Gene", "HGVSp")
VALUE = st.text(st.sampled_from("AC&.:é ;=%-"), max_size=6)
SNPEFF = (
    "Functional annotations: 'Allele | Annotation | Annotation_Impact | Gene_Name | Gene_ID | Feature_Type | "
    "Feature_ID | Transcript_BioType | Rank | HGVS.c | HGVS.p | cDNA.pos / cDNA.length | CDS.pos / CDS.length | "
    "AA.pos / AA.length | Distance | ERRORS / WARNINGS / INFO' "
)


def split(texts: list[str | None], names: tuple[str, ...], wanted: tuple[str, ...]) -> annotations.Annotations:
    encoded = [None if text is None else text.encode() for text in texts]
    block = b"x;".join([b"", *(text or b"" for text in encoded), b"|,|"])
    begin = np.cumsum([2, *(len(text or b"") + 2 for text in encoded)])[: len(texts)]
    size = np.array([-1 if text is None else len(text) for text in encoded])
    return annotations.split(np.frombuffer(block, dtype=np.uint8), begin, size, names, wanted)


def plainly(text: str | None, names: tuple[str, ...], wanted: tuple[str, ...]) -> list[dict[str, str | None]] | None:
    if text in (None, "", "."):
        return None
    rows = [dict(zip(names, entry.split("|"), strict=True)) for entry in text.split(",")]
    return [{name: None if row[name] in ("", ".") else row[name] for name in wanted} for row in rows]


@settings(deadline=None)  # the first call compiles
@given(
    st.lists(st.none() | st.lists(st.lists(VALUE, min_size=4, max_size=4), min_size=1, max_size=3)),
    st.lists(st.sampled_from(NAMES), unique=True),
)
def test_entries_are_those_of_a_plain_splitting(records, wanted):
    texts = [None if entries is None else ",".join("|".join(entry) for entry in entries) for entries in records]
    found = split(texts, NAMES, tuple(wanted))
    found.values.validate(full=True)
    assert found.faults == {}
    assert found.values.to_pylist() == [plainly(text, NAMES, tuple(wanted)) for text in texts]


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.text(st.sampled_from("A|,."), max_size=20), max_size=6))
def test_an_entry_with_another_number_of_fields_is_told(texts):
    found = split(texts, NAMES, ("Gene", "Allele"))
    found.values.validate(full=True)
    for row, text in enumerate(texts):
        wrong = text not in ("", ".") and any(entry.count("|") != 3 for entry in text.split(","))
        assert (row in found.faults) == wrong
        assert found.values[row].as_py() == (None if wrong else plainly(text, NAMES, ("Gene", "Allele")))


def test_a_fault_says_which_entry_and_how_many_fields():
    found = split(["A|b|c|d,A|b|c|d|e", "A|b|c|d", "A|b|c|d,A|b"], NAMES, ("Gene",))
    assert found.faults[0] == "annotation 2 has 5 fields, where the header names 4"
    assert "where the header names 4" in found.faults[2]
    assert found.values.to_pylist() == [None, [{"Gene": "c"}], None]


def test_a_string_of_nothing_but_commas_costs_no_memory_and_is_told():
    found = split(["," * 1_000_000], NAMES, NAMES)
    assert found.values.to_pylist() == [None]
    assert list(found.faults) == [0]


def test_what_info_may_not_hold_is_restored():
    found = split(["A|x&y|%2C%7c%3B|ENSP1:p.Arg1%3D", "A||100%|%253D"], NAMES, NAMES)
    assert [row[0]["HGVSp"] for row in found.values.to_pylist()] == ["ENSP1:p.Arg1=", "%3D"]
    assert [row[0]["Gene"] for row in found.values.to_pylist()] == [",|;", "100%"]
    assert [row[0]["Consequence"] for row in found.values.to_pylist()] == ["x&y", None]


@pytest.mark.parametrize(
    ("description", "names"),
    [
        ("Annotations from Ensembl VEP. Format: Allele|Consequence|IMPACT", ("Allele", "Consequence", "IMPACT")),
        ("Allele|Consequence|EXON|INTRON|", ("Allele", "Consequence", "EXON", "INTRON", "")),
        ("Functional effects. Format: 'Allele | Gene | X'", ("Allele", "Gene", "X")),
        ("Format: Allele", None),
        ("Number of alleles", None),
        ("Confidence 'a' or 'b', see Format: below", None),
        ("", None),
    ],
)  # fmt: skip
def test_the_header_names_the_fields(description, names):
    assert annotations.fields(description) == names


def test_snpeffs_fields_are_named_and_its_annotation_goes_by_veps_name():
    names = annotations.fields(SNPEFF)
    assert names is not None
    assert names[:4] == ("Allele", "Consequence", "Annotation_Impact", "Gene_Name")
    assert names[9:11] == ("HGVS.c", "HGVS.p")
    assert len(names) == 16


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("sample.gnomad.exomes.r2.1.1.sites.chr1.vcf.gz", 68),
        ("sample.gnomad.genomes.r3.0.sites.chr1.vcf.gz", 11),
    ],
)
def test_gnomads_strings_split_as_its_headers_say(name, fields):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    described = next(line for line in lines if line.startswith("##INFO=<ID=vep"))
    names = annotations.fields(re.search('Description="(.*)"', described)[1])
    assert names is not None
    assert len(names) == fields
    texts = [re.search(r"[;\t]vep=([^;\t]*)", line)[1] for line in lines if not line.startswith("#")]
    wanted = ("Feature", "Allele", "Consequence", names[-2])
    found = split(texts, names, wanted)
    assert found.faults == {}
    plain = [plainly(text, names, wanted) for text in texts]
    assert sum(map(len, plain)) > 50
    assert found.values.to_pylist() == plain
