"""Consequences: every annotation goes to its own allele, or its record is refused."""

from __future__ import annotations

import gzip
import re
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.readers import SOURCE_FIELDS, vcf
from assets.transforms import consequences, reads, transform, variants
from catalog.records import Snapshot, SourceFile

DATA = Path(__file__).parent.parent.parent / "shared" / "data" / "genomics"
VEP = "Consequence annotations from Ensembl VEP. Format: Allele|Consequence|Gene|ALLELE_NUM"
SNPEFF = "Functional annotations: 'Allele | Annotation | Annotation_Impact | Gene_Name'"
DERIVED = ("contig", "position", "ref", "alt", "variant_id")


def read(path: Path, columns: tuple[str, ...]) -> pa.Table:
    file = SourceFile(name=path.name, path=path, size=path.stat().st_size, sha256="0" * 64)
    snapshot = Snapshot(
        dataset="genomics/test", uri="file:///test", origin="override", sha256="0" * 64, validator="",
        size=file.size, fetched_at=datetime(2026, 11, 23, tzinfo=UTC), files=(file,),
    )  # fmt: skip
    return vcf.read(snapshot, vcf.Options(), columns).read_all()


def rows_of(folder: Path, body: str, columns: tuple[str, ...], key: str = "CSQ", described: str = VEP) -> list[dict]:
    path = folder / "x.vcf"
    head = (
        "##fileformat=VCFv4.2\n##reference=GRCh38\n"
        f'##INFO=<ID={key},Number=.,Type=String,Description="{described}">\n'
        '##INFO=<ID=AC,Number=A,Type=Integer,Description="count">\n'
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    )
    path.write_text(head + body, encoding="utf-8")
    return transformed(read(path, columns))


def transformed(table: pa.Table) -> list[dict]:
    derive = transform("consequences", {})
    return [row for batch in table.to_batches() for row in checked(derive(batch)).to_pylist()]


def checked(batch: pa.RecordBatch) -> pa.RecordBatch:
    batch.validate(full=True)
    return batch


def record(ref: str, alts: str, entries: str, key: str = "CSQ", counts: str = "") -> str:
    counts = counts or ",".join("7" for _ in alts.split(","))
    return f"1\t100\t.\t{ref}\t{alts}\t.\t.\tAC={counts};{key}={entries}\n"


def brief(rows: list[dict]) -> list[tuple]:
    return [(row["ref"], row["alt"], row["Consequence"], row["annotation"]) for row in rows]


@pytest.mark.parametrize(
    "name", ["sample.gnomad.exomes.r2.1.1.sites.chr1.vcf.gz", "sample.gnomad.genomes.r3.0.sites.chr1.vcf.gz"]
)
def test_gnomads_annotations_become_rows_of_their_alleles(name):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    wanted = ("Allele", "Consequence", "Feature", "BIOTYPE")
    rows = transformed(read(path, ("AC", *wanted)))
    lines = [line.split("\t") for line in gzip.decompress(path.read_bytes()).decode().splitlines()]
    expected = []
    for source, line in enumerate(line for line in lines if not line[0].startswith("#")):
        info = dict(item.partition("=")[::2] for item in line[7].split(";"))
        for number, entry in enumerate(info["vep"].split(",")):
            parts = entry.split("|")
            fields = [part or None for part in (parts[0], parts[1], parts[6], parts[7])]
            expected.append((source, int(info["AC"]), *fields, number))
    assert len(expected) > len({row["_source"] for row in rows}) > 10
    assert [tuple(row[name] for name in ("_source", "AC", *wanted, "annotation")) for row in rows] == expected
    assert {row["_error"] for row in rows} == {None}


def test_alleles_are_those_of_variants_in_the_same_order(tmp_path):
    body = record("CTT", "CT,C,CTTT", "T|del|g|1,-|del2|g|2,TT|ins|g|3,-|del2b|g|2", counts="1,2,3") + record(
        "A", "G", "G|mis|g|1"
    )
    rows = rows_of(tmp_path, body, ("AC", "Consequence"))
    alleles = transform("variants", {})(read(tmp_path / "x.vcf", ("AC",)).to_batches()[0]).to_pylist()
    assert [row["Consequence"] for row in rows] == ["del", "del2", "del2b", "ins", "mis"]
    assert [row["annotation"] for row in rows] == [0, 0, 1, 0, 0]
    assert [row["AC"] for row in rows] == [1, 2, 2, 3, 7]
    found = list(dict.fromkeys(tuple(row[name] for name in ("_source", *DERIVED)) for row in rows))
    assert found == [tuple(row[name] for name in ("_source", *DERIVED)) for row in alleles]


def test_without_allele_numbers_veps_rule_tells_the_allele(tmp_path):
    body = "".join(
        [
            record("CT", "C,CTT,GT", "GT|c|g|,C|a|g|,CTT|b|g|"),
            record("CT", "C,CTT", "-|a|g|,TT|b|g|,-|a2|g|"),
            record("AC", "AT,AG", "AT|a|g|,AG|b|g|"),
            record("AT", "A,*", "*|b|g|,-|a|g|"),
        ]
    )
    rows = rows_of(tmp_path, body, ("Consequence",))
    assert [(row["_source"], row["Consequence"], row["annotation"]) for row in rows] == [
        (0, "a", 0), (0, "b", 0), (0, "c", 0),
        (1, "a", 0), (1, "a2", 1), (1, "b", 0),
        (2, "a", 0), (2, "b", 0),
        (3, "a", 0), (3, "b", 0),
    ]  # fmt: skip
    assert [row["alt"] for row in rows if row["_source"] == 3] == ["A", "*"]


def test_the_lone_allele_has_all_entries_that_name_one_allele(tmp_path):
    body = record("CAG", "CG", "-|a|g|,-|b|g|") + record("C", "T", "T|a|g|2,T|b|g|2")
    rows = rows_of(tmp_path, body, ("Consequence",))
    assert [(row["_source"], row["Consequence"]) for row in rows] == [(0, "a"), (0, "b"), (1, "a"), (1, "b")]
    assert {row["_error"] for row in rows} == {None}


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (record("C", "T,G", "T|a|g|1,A|b|g|3"), "ALLELE_NUM '3', but ALT has 2"),
        (record("C", "T,G", "T|a|g|0,G|b|g|1"), "ALLELE_NUM '0'"),
        (record("C", "T,G", "T|a|g|,A|b|g|"), "Allele T, A, of which not all are told by ALT T,G"),
        (record("C", "T,G", "T|a|g|,|b|g|"), "Allele T, None"),
        (record("C", "T", "T|a|g|,G|b|g|"), "of which not all are told by ALT T"),
        (record("C", "T", "T|a|g|1,T|b|g|2"), "ALLELE_NUM '2', but ALT has 1"),
        (record("C", ".", "C|a|g|", counts="."), "no alternate allele"),
        (record("C", "T", "T|a|g"), "annotation"),
    ],
)
def test_an_entry_without_its_allele_spoils_its_own_record_only(tmp_path, written, words):
    rows = rows_of(tmp_path, record("A", "G", "G|x|g|1") + written + record("A", "T", "T|y|g|1"), ("Consequence",))
    faulty = [row for row in rows if row["_source"] == 1]
    assert faulty
    assert all(words in row["_error"] for row in faulty)
    assert {row["Consequence"] for row in faulty} == {None}
    assert [(row["Consequence"], row["_error"]) for row in rows if row["_source"] != 1] == [("x", None), ("y", None)]


def test_an_allele_without_annotations_stays_one_row(tmp_path):
    body = record("C", "T,G", "G|b|g|2,G|c|g|2") + "1\t200\t.\tA\tC\t.\t.\tAC=3\n" + record("A", "G", ".")
    rows = rows_of(tmp_path, body, ("AC", "Consequence"))
    assert brief(rows) == [
        ("C", "T", None, None), ("C", "G", "b", 0), ("C", "G", "c", 1), ("A", "C", None, None), ("A", "G", None, None),
    ]  # fmt: skip
    assert {row["_error"] for row in rows} == {None}


def test_snpeff_writes_alleles_as_vcf_does(tmp_path):
    body = record("CA", "C,CAA", "CAA|ins|LOW|g,C|del|LOW|g", key="ANN") + record("G", "A", "A|mis|MODERATE|h", "ANN")
    rows = rows_of(tmp_path, body, ("Consequence", "Gene_Name"), "ANN", SNPEFF)
    assert brief(rows) == [("CA", "C", "del", 0), ("C", "CA", "ins", 0), ("G", "A", "mis", 0)]
    assert [row["Gene_Name"] for row in rows] == ["g", "g", "h"]


def test_where_the_writer_is_unknown_and_it_matters_the_record_is_refused(tmp_path):
    """CA is VEP's name for the second alternate, and snpEff's for the first."""
    described = "Functional annotations: 'Allele | Annotation | Rank'"
    body = record("C", "CA,CCA", "CA|x|1", "ANN") + record("C", "T,G", "G|y|1", "ANN")
    rows = rows_of(tmp_path, body, ("Consequence",), "ANN", described)
    assert "the two mean different alleles" in rows[0]["_error"]
    assert [row["Consequence"] for row in rows if row["_source"] == 1] == [None, "y"]


def test_a_field_whose_name_is_taken_is_told_apart(tmp_path):
    described = "Annotations. Format: Allele|Consequence|AC|position"
    rows = rows_of(tmp_path, record("C", "T", "T|mis|9|12"), ("AC", "CSQ"), "CSQ", described)
    assert (rows[0]["AC"], rows[0]["CSQ.AC"], rows[0]["position"], rows[0]["CSQ.position"]) == (7, "9", 100, "12")


def test_a_source_without_annotations_gives_alleles_only(tmp_path):
    batch = transform("consequences", {})(read_plain(tmp_path))
    assert batch["annotation"].to_pylist() == [None, None]
    assert batch["alt"].to_pylist() == ["T", "G"]


def read_plain(folder: Path) -> pa.RecordBatch:
    path = folder / "plain.vcf"
    path.write_text(
        "##fileformat=VCFv4.2\n##reference=GRCh38\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        "1\t100\t.\tC\tT,G\t.\t.\t.\n",
        encoding="utf-8",
    )
    return read(path, ()).to_batches()[0]


def test_records_with_annotations_beyond_all_measure_are_refused_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr(consequences, "MAX_BYTES", 100_000)
    many = ",".join("-|x|g|1" for _ in range(500))
    body = record("A", "G", "G|x|g|1") + record("A" * 3000, "A", many) + record("A", "T", "T|y|g|1")
    rows = rows_of(tmp_path, body, ("Consequence",))
    assert [row["Consequence"] for row in rows] == ["x", None, "y"]
    assert "its 500 annotations" in rows[1]["_error"]


def test_the_transform_reads_what_variants_reads_and_takes_its_options():
    assert reads("consequences") == frozenset(variants.READS)
    assert consequences.Options is variants.Options


BASES = st.text(st.sampled_from("ACGT"), min_size=1, max_size=3)


@st.composite
def annotated(draw: st.DrawFn) -> tuple[str, list[str], list[tuple[int, str]]]:
    ref = draw(BASES)
    alts = draw(st.lists(BASES.filter(lambda alt: alt != ref), min_size=1, max_size=4, unique=True))
    entries = draw(st.lists(st.tuples(st.integers(0, len(alts) - 1), st.sampled_from(["p", "q"])), max_size=6))
    return ref, alts, entries


@settings(deadline=None, max_examples=60)
@given(st.lists(annotated(), min_size=1, max_size=5), st.booleans())
def test_every_entry_becomes_one_row_of_its_allele(records, numbered):
    kind = pa.list_(pa.struct([pa.field(name, pa.string()) for name in ("Allele", "ALLELE_NUM", "SYMBOL")]))
    columns = {
        "_source": pa.array(range(5, 5 + len(records))),
        "_position": pa.array(["here"] * len(records)),
        "_record": pa.nulls(len(records), pa.string()),
        "_error": pa.nulls(len(records), pa.string()),
        "_raw": pa.nulls(len(records), pa.string()),
        "CHROM": pa.array(["chr2"] * len(records)).dictionary_encode(),
        "POS": pa.array([1000] * len(records)),
        "REF": pa.array([ref for ref, _, _ in records]),
        "ALT": pa.array([",".join(alts) for _, alts, _ in records]),
        "assembly": pa.array(["GRCh38"] * len(records)).dictionary_encode(),
        "CSQ": pa.array(
            [
                [
                    {
                        "Allele": plain_vep(ref, alts)[at],
                        "ALLELE_NUM": str(at + 1) if numbered else None,
                        "SYMBOL": word,
                    }
                    for at, word in entries
                ]
                for ref, alts, entries in records
            ],
            kind,
        ),
    }
    fields = [
        *SOURCE_FIELDS,
        *(pa.field(name, columns[name].type) for name in ("CHROM", "POS", "REF", "ALT", "assembly")),
        pa.field("CSQ", kind, metadata={"annotations": "true"}),
    ]
    batch = checked(transform("consequences", {})(pa.record_batch(list(columns.values()), schema=pa.schema(fields))))
    alleles = transform("variants", {})(
        pa.record_batch(list(columns.values())[:-1], schema=pa.schema(fields[:-1]))
    ).to_pylist()
    expected, at = [], 0
    for source, (_, alts, entries) in enumerate(records, start=5):
        for place in range(len(alts)):
            own = [word for of, word in entries if of == place]
            key = (source, alleles[at]["variant_id"])
            expected += [(*key, word, number) for number, word in enumerate(own)] or [(*key, None, None)]
            at += 1
    found = [(row["_source"], row["variant_id"], row["SYMBOL"], row["annotation"]) for row in batch.to_pylist()]
    assert [row["_error"] for row in batch.to_pylist()] == [None] * len(found)
    assert found == expected


def plain_vep(ref: str, alts: list[str]) -> list[str]:
    """VEP's Allele, said another way: the first base goes if it is one and the same and a length changes."""
    shared = re.fullmatch(r"(\w)\w*(,\1\w*)*", ",".join([ref, *alts]))
    changed = {len(alt) for alt in alts} != {len(ref)}
    return [(alt[1:] or "-") if shared and changed else alt for alt in alts]
