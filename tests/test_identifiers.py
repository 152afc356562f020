"""SPDI identifiers: NCBI's own examples, and a plain Python translation as the oracle."""

import random

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.identifiers import FARTHEST, justified, spdi
from catalog import assemblies

ACCESSION = assemblies.accessions("GRCh38")["19"]
BASES = "ACGTN"


def held(text):
    """A reference of one contig, whatever it is called."""
    return lambda contig, start, end: text[max(start, 0) : max(end, 0)].encode()


def spelt(position, ref, alt, sequence=None, contig="19", assembly="GRCh38"):
    columns = ([assembly], [contig], [position], [ref], [alt])
    kinds = (pa.string(), pa.string(), pa.int64(), pa.string(), pa.string())
    return spdi(*(pa.array(c, kind) for c, kind in zip(columns, kinds, strict=True)), sequence)[0].as_py()


@pytest.mark.parametrize(
    ("position", "ref", "alt", "expected"),
    [
        (44908822, "C", "T", f"{ACCESSION}:44908821:C:T"),
        (100, "CA", "C", f"{ACCESSION}:100:A:"),
        (100, "C", "CAG", f"{ACCESSION}:100::AG"),
        (100, "CA", "TG", f"{ACCESSION}:99:CA:TG"),
        (100, "CAT", "CG", f"{ACCESSION}:100:AT:G"),
        (100, "C", "C", f"{ACCESSION}:99:C:C"),
        (1, "A", "G", f"{ACCESSION}:0:A:G"),
    ],
)
def test_an_allele_is_translated_without_its_anchor(position, ref, alt, expected):
    assert spelt(position, ref, alt) == expected


@pytest.mark.parametrize(
    ("changed"),
    [
        {"alt": "*"}, {"alt": "<DEL>"}, {"alt": "C[2:321682["}, {"alt": None}, {"ref": "R"}, {"ref": "c"}, {"alt": ""},
        {"contig": "GL000192.1"}, {"contig": None}, {"assembly": "GRCm38"}, {"assembly": None}, {"position": 0},
        {"position": None}, {"ref": None},
    ],
)  # fmt: skip
def test_what_spdi_cannot_say_is_null(changed):
    assert spelt(**({"position": 5, "ref": "C", "alt": "T"} | changed)) is None


def test_a_repeat_is_spelt_whole_where_the_reference_is_given():
    """NC_000001.11:40819438:CTCCTCCT:CTCCTCCTCCT of GA4GH's vectors, in a reference cut down to its surroundings."""
    reference = "GGA" + "CTCCTCCT" + "GAA"
    assert spelt(3, "A", "ACTC", held(reference)) == f"{ACCESSION}:3:CTCCTCCT:CTCCTCCTCCT"
    assert spelt(3, "ACTC", "A", held(reference)) == f"{ACCESSION}:3:CTCCTCCT:CTCCT"
    assert spelt(3, "A", "ACTC") == f"{ACCESSION}:3::CTC"
    assert spelt(3, "A", "T", held(reference)) == f"{ACCESSION}:2:A:T"


def test_a_deletion_that_the_reference_does_not_hold_has_no_contextual_allele():
    assert spelt(3, "AGG", "A", held("GGACTCC")) is None
    assert spelt(90, "A", "AT", held("GGACTCC")) is None


def test_an_ambiguity_without_end_is_given_none():
    endless = b"A" * (3 * FARTHEST)
    assert justified(lambda contig, start, end: endless[max(start, 0) : end], "1", FARTHEST + 9, b"A", b"") is None


def test_an_ambiguity_over_many_pieces_is_followed_to_its_ends():
    reference = b"C" + b"AT" * 5000 + b"AG"
    found = justified(lambda contig, start, end: reference[max(start, 0) : end], "1", 4001, b"AT", b"")
    assert (found.start, found.end) == (1, 10_002)
    assert found.alt == b"AT" * 4999 + b"A"


alleles = st.text(BASES, min_size=1, max_size=6)


@given(st.lists(st.tuples(st.integers(1, 2**31), alleles, alleles, st.sampled_from(["1", "X", "MT", "HLA", None]))))
def test_every_row_is_what_plain_python_says(rows):
    def expected(position, ref, alt, contig):
        if contig not in assemblies.CHROMOSOMES:
            return None
        if ref != alt:
            while ref and alt and ref[-1] == alt[-1]:
                ref, alt = ref[:-1], alt[:-1]
            while ref and alt and ref[0] == alt[0]:
                position, ref, alt = position + 1, ref[1:], alt[1:]
        return f"{assemblies.accessions('GRCh37')[contig]}:{position - 1}:{ref}:{alt}"

    position, ref, alt, contig = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [], [])
    coded = pa.array(contig, pa.string()).dictionary_encode()
    assembly = pa.array(["GRCh37"] * len(rows), pa.string()).dictionary_encode()
    texts = (pa.array(column, pa.string()) for column in (ref, alt))
    found = spdi(assembly, coded, pa.array(position, pa.int64()), *texts, None)
    found.validate(full=True)
    assert found.to_pylist() == [expected(*row) for row in rows]


@given(st.text("AC", min_size=1, max_size=12), st.data())
def test_all_spellings_of_one_change_have_one_contextual_allele(reference, data):
    """Deleting or inserting anywhere: two spellings agree exactly if their haplotypes do."""
    draw = random.Random(data.draw(st.integers(0, 2**32)))
    text = "G" + reference + "G"
    found: dict[str, set[tuple[int, int, bytes]]] = {}
    for _ in range(20):
        start = draw.randint(1, len(text) - 2)
        end = draw.randint(start, min(start + 3, len(text) - 1))
        unit = "" if end > start else "".join(draw.choices("AC", k=draw.randint(1, 3)))
        if end == start and not unit:
            continue
        allele = justified(held(text), "1", start, text[start:end].encode(), unit.encode())
        haplotype = text[:start] + unit + text[end:]
        assert text[: allele.start] + allele.alt.decode() + text[allele.end :] == haplotype
        assert text[allele.start : allele.end] == allele.ref.decode()
        found.setdefault(haplotype, set()).add((allele.start, allele.end, allele.alt))
    assert all(len(forms) == 1 for forms in found.values())


def test_a_slice_of_a_column_is_read_from_its_own_beginning():
    columns = [pa.array(c) for c in (["GRCh38"] * 3, ["1", "2", "19"], [1, 2, 3], ["A", "CC", "G"], ["T", "C", "GA"])]
    whole = spdi(*columns, None)
    assert spdi(*(column.slice(1) for column in columns), None).to_pylist() == whole.to_pylist()[1:]
