"""What VCF files of several origins and versions say, and what contradicts itself or what is known."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pytest
import vcf_conformance

from assets.readers import vcf
from catalog.errors import HarmoniseError, SourceError

DATA = vcf_conformance.DATA
VEP = "Consequence annotations from Ensembl VEP. Format: Allele|Consequence|SYMBOL"
NAMES = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"


def head(*meta: str, version: str = "4.2", names: str = NAMES) -> str:
    return "\n".join([f"##fileformat=VCFv{version}", *(meta or ("##reference=GRCh38",)), names]) + "\n"


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "x.vcf"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def rows(path: Path, *columns: str, **options: object) -> list[dict]:
    return vcf.read(vcf_conformance.snapshot(path), vcf.Options(**options), columns).read_all().to_pylist()


def record(info: str = ".", chrom: str = "1", pos: str = "5", alleles: str = "A\tC", rest: str = ".\t.") -> str:
    return f"{chrom}\t{pos}\t.\t{alleles}\t{rest}\t{info}\n"


@pytest.mark.parametrize("version", ["4.0", "4.1", "4.2", "4.3", "4.4", "4.5"])
def test_text_is_decoded_where_the_version_encodes_it(tmp_path, version):
    meta = ("##reference=GRCh38", '##INFO=<ID=S,Number=1,Type=String,Description="s">',
            '##INFO=<ID=L,Number=2,Type=String,Description="l">')  # fmt: skip
    (row,) = rows(write(tmp_path, head(*meta, version=version) + record("S=a%3Bb;L=x%2Cy,z")), "S", "L")
    decoded = version >= "4.3"
    assert row["S"] == ("a;b" if decoded else "a%3Bb")
    assert row["L"] == (["x,y", "z"] if decoded else ["x%2Cy", "z"])


@pytest.mark.parametrize("version", ["3.3", "4.6", "5.0", "4.2x", ""])
def test_other_versions_are_refused(tmp_path, version):
    with pytest.raises(SourceError, match=r"VCFv4\.0 to VCFv4\.5"):
        rows(write(tmp_path, head(version=version) + record()))


def test_line_ends_may_differ_within_a_file_but_a_lone_return_is_told(tmp_path):
    text = (
        head() + record(pos="1") + record(pos="2").replace("\n", "\r\n") + record(pos="3") + "1\t4\t.\tA\rC\t.\t.\t.\n"
    )
    found = rows(write(tmp_path, text.replace("##reference=GRCh38\n", "##reference=GRCh38\r\n")))
    assert [row["POS"] for row in found] == [1, 2, 3, None]
    assert "carriage return" in found[3]["_error"]


def test_undeclared_keys_are_text_or_what_vcf_reserves(tmp_path):
    path = write(tmp_path, head() + record("DP=7;ODD=1,2;DB;AC=3") + record("."))
    first, second = rows(path, "DP", "ODD", "DB", "AC")
    assert (first["DP"], first["ODD"], first["DB"], first["AC"]) == (7, "1,2", True, [3])
    assert (second["DP"], second["ODD"], second["DB"], second["AC"]) == (None, None, False, None)
    with pytest.raises(HarmoniseError, match=r"source\.options\.undeclared"):
        rows(path, "RARE")
    assert [row["RARE"] for row in rows(path, "RARE", undeclared=("RARE",))] == [None, None]


def test_strings_that_come_from_few_words_are_dictionaries(tmp_path):
    path = write(tmp_path, head() + record(chrom="1") + record(chrom="chr2") + record(chrom="1") + record(pos="x"))
    table = vcf.read(vcf_conformance.snapshot(path), vcf.Options(), ()).read_all()
    for name in ("CHROM", "assembly"):
        assert table.schema.field(name).type == pa.dictionary(pa.int32(), pa.string())
    assert table["CHROM"].to_pylist() == ["1", "chr2", "1", None]
    assert table["assembly"].to_pylist() == ["GRCh38"] * 3 + [None]


@pytest.mark.parametrize(
    ("meta", "words"),
    [
        (("##reference=GRCh38", "##contig=<ID=chr1,length=249250621>"), "contig chr1 with length 249,250,621"),
        (("##reference=GRCh37", "##contig=<ID=MT,length=16570>"), "contig MT with length 16,570"),
        (("##reference=GRCh38", "##contig=<ID=NC_000001.10,length=249250621>"), "is 1 of GRCh37"),
    ],
)
def test_a_contig_of_another_assembly_is_named(tmp_path, meta, words):
    with pytest.raises(SourceError, match=words):
        rows(write(tmp_path, head(*meta) + record()))


def test_what_lies_beyond_its_contig_is_the_records_fault(tmp_path):
    meta = ("##reference=slice", "##contig=<ID=s,length=10>", "##contig=<ID=t,length=2147483647>")
    body = "".join(
        record(chrom=chrom, pos=pos, alleles=alleles)
        for chrom, pos, alleles in [("s", "10", "A\tC"), ("s", "11", "A\tC"), ("s", "10", "AC\tA"), ("t", "99", "A\tC")]
    )
    found = rows(write(tmp_path, head(*meta) + body), assembly="slice")
    assert [row["_error"] is None for row in found] == [True, False, False, True]
    assert "POS is 10, REF ends at 11: beyond contig s of 10 bases" in found[2]["_error"]


def test_the_mitochondrion_of_hg19_is_not_that_of_grch37(tmp_path):
    meta = ("##reference=hg19", "##contig=<ID=chr1,length=249250621>", "##contig=<ID=chrM,length=16571>")
    kept, refused = rows(write(tmp_path, head(*meta) + record(chrom="chr1") + record(chrom="chrM")))
    assert kept["_error"] is None
    assert "NC_001807" in refused["_error"]


def test_bases_are_raised_and_names_are_not(tmp_path):
    alleles = {"acgt\tA": ("ACGT", "A"), "A\tc,<del:me>": ("A", "C,<del:me>"), "a\tg[chr1:5[": ("A", "G[chr1:5[")}
    found = rows(write(tmp_path, head() + "".join(record(alleles=text) for text in alleles)))
    assert [(row["REF"], row["ALT"]) for row in found] == list(alleles.values())


@pytest.mark.parametrize(
    ("written", "quality", "sound"),
    [("7.5", 7.5, True), ("0", 0, True), ("inf", None, True), ("NaN", None, True), ("-1", None, False),
     ("-0.1", None, False), ("high", None, False)],
)  # fmt: skip
def test_quality_is_finite_and_not_negative(tmp_path, written, quality, sound):
    (row,) = rows(write(tmp_path, head() + record(rest=f"{written}\tPASS")))
    assert (row["QUAL"], row["_error"] is None) == (quality, sound)


def test_one_record_of_ten_megabytes_and_one_of_33_alleles(tmp_path):
    long, many = "x" * 10_000_000, ",".join("A" + "C" * number for number in range(1, 34))
    meta = ("##reference=GRCh38", '##INFO=<ID=S,Number=1,Type=String,Description="s">')
    text = head(*meta) + record("S=a") + record(f"Q;S={long}") + record("S=b", alleles=f"A\t{many}")
    first, second, third = rows(write(tmp_path, text), "S")
    assert (first["S"], second["S"], third["S"]) == ("a", long, "b")
    assert third["ALT"] == many


def test_counts_come_from_genotypes_where_info_has_none(tmp_path):
    meta = ("##reference=GRCh38", '##INFO=<ID=AC,Number=A,Type=Integer,Description="c">')
    body = (
        "1\t5\t.\tA\tC,G\t.\t.\t.\tGT\t0|1\t2/2\n"
        "1\t6\t.\tA\tC\t.\t.\tAC=9\tGT:DP\t1|1:3\t./.\n"
        "1\t7\t.\tA\tC\t.\t.\t.\tDP\t3\t4\n"
        "1\t8\t.\tA\tC\t.\t.\tAC=1\tGT\t0|2\t0|0\n"
    )
    path = write(tmp_path, head(*meta, names=NAMES + "\tFORMAT\ta\tb") + body)
    first, second, third, fourth = rows(path, "AC", "AN", "AF", "nhomalt")
    assert [first[name] for name in ("AC", "AN", "AF", "nhomalt")] == [[1, 2], 4, [0.25, 0.5], [0, 1]]
    assert [second[name] for name in ("AC", "AN", "AF", "nhomalt")] == [[9], 2, [1.0], [1]]
    assert [third[name] for name in ("AC", "AN", "AF", "nhomalt")] == [None] * 4
    assert "'0|2'" in fourth["_error"]


def test_annotations_are_one_column_with_the_wanted_fields(tmp_path):
    meta = ("##reference=GRCh38", f'##INFO=<ID=CSQ,Number=.,Type=String,Description="{VEP}">')
    path = write(tmp_path, head(*meta) + record("CSQ=C|missense|X,C||Y") + record(".") + record("CSQ=C|missense"))
    table = vcf.read(vcf_conformance.snapshot(path), vcf.Options(), ("SYMBOL",)).read_all()
    assert table.schema.field("CSQ").metadata == {b"annotations": b"true"}
    first, second, third = table.to_pylist()
    assert first["CSQ"] == [{"Allele": "C", "SYMBOL": "X"}, {"Allele": "C", "SYMBOL": "Y"}]
    assert (second["CSQ"], second["_error"]) == (None, None)
    assert third["_error"].startswith("INFO key CSQ")
    assert rows(path, "CSQ")[0]["CSQ"][0] == {"Allele": "C", "Consequence": "missense", "SYMBOL": "X"}
    with pytest.raises(SourceError, match=r"source\.options\.annotations is XYZ"):
        rows(path, annotations="XYZ")


def test_an_index_is_no_part_of_the_records(tmp_path):
    path = write(tmp_path, head() + record())
    index = tmp_path / "x.vcf.tbi"
    index.write_bytes(b"of another file")
    both = vcf_conformance.snapshot(path)
    both = both.model_copy(update={"files": (*both.files, *vcf_conformance.snapshot(index).files)})
    assert vcf.read(both, vcf.Options(), ()).read_all().num_rows == 1


@pytest.mark.parametrize(
    "name", ["1kg_2020_chrM.vcf.gz", "chr_m_indels.vcf.gz", "sample.gnomad.exomes.r2.1.1.sites.chr1.vcf.gz"]
)
def test_numbers_of_real_records_are_those_that_htslib_reads(tmp_path, name):
    pysam = pytest.importorskip("pysam", reason="pysam is not installed")
    if not (DATA / name).exists():
        pytest.skip(f"{DATA / name} is not here")
    path = write(tmp_path, gzip.decompress((DATA / name).read_bytes()))
    with pysam.VariantFile(str(path)) as file:
        declared = {key: about for key, about in file.header.info.items() if about.type in ("Integer", "Float", "Flag")}
        expected = [(record.pos, record.ref, {key: record.info.get(key) for key in declared}) for record in file]
    found = rows(path, *declared, assembly="GRCh37" if "r2" in name else "GRCh38")
    assert len(found) == len(expected)
    assert declared
    for row, (position, reference, info) in zip(found, expected, strict=True):
        assert (row["POS"], row["REF"]) == (position, reference)
        for key, value in info.items():
            if declared[key].type == "Flag":
                assert row[key] == bool(value)
            elif value is None:
                assert row[key] in (None, [None])
            else:
                assert row[key] == pytest.approx(list(value) if isinstance(value, tuple) else value, rel=1e-6), key
