"""The tab-separated reader: each dialect is read as it is meant, and every line is accounted for."""

from __future__ import annotations

import contextlib
import gzip
import math
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from assets import delimited, delimited_scan, delimited_values, numbers
from assets.readers import SOURCE_FIELDS, tsv
from benchmarks.alphamissense_generator import write_alphamissense
from catalog.errors import SourceError
from catalog.records import Snapshot, SourceFile

DATA = Path(__file__).parent.parent.parent / "shared" / "data" / "genomics"
ALPHAMISSENSE = (
    "# Copyright 2023 DeepMind Technologies Limited\n#\n# Licensed under CC BY-NC-SA 4.0 license\n"
    "#CHROM\tPOS\tREF\tALT\tgenome\tuniprot_id\ttranscript_id\tprotein_variant\tam_pathogenicity\tam_class\n"
    "chr1\t69094\tG\tT\thg38\tQ8NH21\tENST00000335137.4\tV2L\t0.2937\tlikely_benign\n"
    "chr1\t69094\tG\tA\thg38\tQ8NH21\tENST00000335137.4\tV2M\t0.3296\tlikely_benign\n"
)
SUMMARY = (
    "#AlleleID\tType\tName\tRS# (dbSNP)\tAssembly\tChromosome\tVariationID\tPositionVCF\tReferenceAlleleVCF"
    "\tAlternateAlleleVCF\n"
    "15041\tIndel\tNM_014855.3(AP5Z1):c.80_83delinsTGCTGTAAACTGTAACTGTAAA (p.Arg27_Ile28delinsLeuLeuTer)\t397704705"
    "\tGRCh37\t7\t2\t4820844\tGGAT\tTGCTGTAAACTGTAACTGTAAA\n"
    "15041\tIndel\tNM_014855.3(AP5Z1):c.80_83delinsTGCTGTAAACTGTAACTGTAAA (p.Arg27_Ile28delinsLeuLeuTer)\t397704705"
    "\tGRCh38\t7\t2\t4781213\tGGAT\tTGCTGTAAACTGTAACTGTAAA\n"
    "594739\tcopy number gain\tGRCh37/hg19 19p13.2(chr19:11915185-12061384)x3\t-1\tGRCh37\t19\t603403\t-1\tna\tna\n"
)
CLINVAR = {
    "columns": {
        "CHROM": "Chromosome",
        "POS": "PositionVCF",
        "REF": "ReferenceAlleleVCF",
        "ALT": "AlternateAlleleVCF",
        "assembly": "Assembly",
    },
    "types": {"AlleleID": "int64"},
    "nulls": ["-", "na", "-1"],
    "id": "VariationID",
}


def snapshot(*paths: Path) -> Snapshot:
    files = tuple(SourceFile(name=p.name, path=p, size=p.stat().st_size, sha256="0" * 64) for p in paths)
    return Snapshot(
        dataset="genomics/test",
        uri="file:///test",
        origin="override",
        sha256="0" * 64,
        validator="",
        size=sum(file.size for file in files),
        fetched_at=datetime(2026, 11, 23, tzinfo=UTC),
        files=files,
    )


def write(where: Path, content: str | bytes, name: str = "t.tsv") -> Path:
    path = where / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(*paths: Path, wanted: tuple[str, ...] = (), **options: object) -> pa.Table:
    return tsv.read(snapshot(*paths), tsv.Options.model_validate(options), wanted).read_all()


def refused(*paths: Path, word: str, **options: object) -> None:
    with pytest.raises(SourceError) as caught:
        read(*paths, **options)
    assert word in caught.value.problem
    assert caught.value.remedy


def rows(table: pa.Table, *names: str) -> list[tuple[object, ...]]:
    return list(zip(*(table[name].to_pylist() for name in names), strict=True))


@pytest.mark.parametrize("compressed", [False, True])
def test_alphamissense_is_read_with_its_places(tmp_path, compressed):
    content = ALPHAMISSENSE.encode()
    path = write(tmp_path, gzip.compress(content) if compressed else content)
    options = {"columns": {"assembly": "genome"}, "types": {"am_pathogenicity": "double"}}
    found = read(path, wanted=("am_class", "am_pathogenicity", "protein_variant"), **options)
    assert rows(found, "CHROM", "POS", "REF", "ALT", "assembly", "am_pathogenicity", "protein_variant", "am_class") == [
        ("chr1", 69094, "G", "T", "GRCh38", 0.2937, "V2L", "likely_benign"),
        ("chr1", 69094, "G", "A", "GRCh38", 0.3296, "V2M", "likely_benign"),
    ]
    assert found["_position"].to_pylist() == ["t.tsv line 5", "t.tsv line 6"]
    assert found["_source"].to_pylist() == [0, 1]
    assert found.schema.names[:5] == [field.name for field in SOURCE_FIELDS]
    assert all(found[name].null_count == 2 for name in ("_record", "_error", "_raw"))
    assert found.schema.field("CHROM").type == pa.dictionary(pa.int32(), pa.string())
    assert found.schema.field("REF").type == pa.string()


def test_the_amino_acid_file_has_no_places():
    path = DATA / "alphamissense_P08243_aa_substitutions.tsv"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    wanted = ("CHROM", "uniprot_id", "protein_variant", "am_pathogenicity", "am_class")
    found = read(path, wanted=wanted, types={"am_pathogenicity": "double"})
    lines = path.read_text().splitlines()[4:]
    expected = [(a, b, float(c), d) for a, b, c, d in (line.split("\t") for line in lines)]
    assert rows(found, "uniprot_id", "protein_variant", "am_pathogenicity", "am_class") == expected
    assert not set(tsv.ALLELES) & set(found.schema.names)
    assert found["_position"][-1].as_py() == f"{path.name} line {len(lines) + 4}"


def test_clinvars_summary_says_its_assembly_row_by_row_and_lacks_some_alleles(tmp_path):
    found = read(write(tmp_path, SUMMARY), wanted=("AlleleID", "RS# (dbSNP)", "Name"), **CLINVAR)
    indel = ("GGAT", "TGCTGTAAACTGTAACTGTAAA")
    assert rows(found, "_record", "assembly", "CHROM", "POS", "REF", "ALT", "AlleleID", "RS# (dbSNP)") == [
        ("2", "GRCh37", "7", 4820844, *indel, 15041, "397704705"),
        ("2", "GRCh38", "7", 4781213, *indel, 15041, "397704705"),
        ("603403", "GRCh37", "19", None, None, None, 594739, None),
    ]
    assert found["_error"].null_count == 3


def test_a_plain_header_is_the_first_line(tmp_path):
    path = write(tmp_path, "chrom\tpos\tref\talt\tAC\tAN\tAF\n1\t55516888\tG\tGA\t2\t1000\t2e-3\n")
    options = {
        "columns": {"CHROM": "chrom", "POS": "pos", "REF": "ref", "ALT": "alt"},
        "types": {"AC": "int64", "AN": "int64", "AF": "double"},
        "assembly": "hg38",
    }
    found = read(path, wanted=("AC", "AN", "AF"), **options)
    names = ("CHROM", "POS", "REF", "ALT", "assembly", "AC", "AN", "AF")
    assert rows(found, *names) == [("1", 55516888, "G", "GA", "GRCh38", 2, 1000, 0.002)]


def test_loci_and_alleles_are_taken_apart(tmp_path):
    lines = ('chr1:55516888\t["G","GA"]\t2', 'HLA:A:7\t["C","A","<DEL>"]\t3', "chr1-5\t[]\t4", 'chr1:x\t["C","A"]\t5')
    found = read(write(tmp_path, "\n".join(["locus\talleles\tAC", *lines])), wanted=("AC",), assembly="GRCh38")
    assert rows(found, "CHROM", "POS", "REF", "ALT", "AC") == [
        ("chr1", 55516888, "G", "GA", "2"),
        ("HLA:A", 7, "C", "A,<DEL>", "3"),
        (None,) * 5,
        (None,) * 5,
    ]
    assert "locus and alleles are ['chr1-5', '[]']" in found["_error"][2].as_py()
    assert found["_error"][3].as_py() == "POS is 'x', expected an integer"


def test_what_is_wrong_with_a_record_is_said_and_nothing_else_is_lost(tmp_path):
    head = b"a\tPOS\tscore\n"
    body = b"x\t1\t0.5\r\ny\t2\n\nz\t3\tlow\nb\xffd\t4\t1\nw\t1_0\t1\nn\0l\t6\t1\nlast\t7\t1e-3"
    found = read(write(tmp_path, head + body), wanted=("a", "score"), types={"score": "double"}, id="a")
    assert rows(found, "_position", "a", "POS", "score") == [
        ("t.tsv line 2", "x", 1, 0.5),
        ("t.tsv line 3", None, None, None),
        ("t.tsv line 5", None, None, None),
        ("t.tsv line 6", None, None, None),
        ("t.tsv line 7", None, None, None),
        ("t.tsv line 8", None, None, None),
        ("t.tsv line 9", "last", 7, 0.001),
    ]
    assert found["_error"].to_pylist() == [
        None,
        "the record has 2 fields, expected 3",
        "score is 'low', expected a number",
        "the record is not UTF-8 text at its byte 2, in field 1 (a)",
        "POS is '1_0', expected an integer",
        "the record has a NUL byte, as no text has",
        None,
    ]
    assert found["_raw"].to_pylist()[1:4] == ["y\t2", "z\t3\tlow", "b\ufffdd\t4\t1"]
    assert found["_record"].to_pylist()[2] == "z"


def test_quotes_are_text_unless_an_option_says_otherwise(tmp_path):
    path = write(tmp_path, 'CHROM\tb\n"1"\t"x\n"1"\ty"\n')
    assert rows(read(path, wanted=("b",)), "CHROM", "b") == [('"1"', '"x'), ('"1"', 'y"')]
    path = write(tmp_path, 'CHROM\tb\n"a""b"\t"x\ty"\n"a""b"\tz\n')
    assert rows(read(path, wanted=("b",), quote='"'), "CHROM", "b") == [('a"b', "x\ty"), ('a"b', "z")]


def test_what_the_options_name_must_be_there(tmp_path):
    path = write(tmp_path, "a\tb\tb\n1\t2\t3\n")
    with pytest.raises(SourceError, match="'Chromosome'"):
        tsv.read(snapshot(path), tsv.Options(columns={"CHROM": "Chromosome"}), ())
    refused(path, word="'c'", types={"c": "double"})
    refused(path, word="'c'", id="c")
    refused(path, word="more than once", types={"b": "double"})
    refused(write(tmp_path, ""), word="is empty")
    refused(write(tmp_path, gzip.compress(ALPHAMISSENSE.encode())[:-20]), word="cut short")
    with pytest.raises(ValidationError):
        tsv.Options(columns={"assembly": "genome"}, assembly="GRCh38")


def test_files_of_one_snapshot_go_on_from_each_other(tmp_path):
    one, two = write(tmp_path, "a\tb\n1\t2\n", "1.tsv"), write(tmp_path, "#\n#b\ta\n3\t4\n", "2.tsv")
    found = read(one, two, wanted=("a", "b"))
    assert rows(found, "_source", "_position", "a", "b") == [
        (0, "1.tsv line 2", "1", "2"),
        (1, "2.tsv line 3", "4", "3"),
    ]
    other = write(tmp_path, "a\n1\n", "3.tsv")
    with pytest.raises(SourceError, match=r"3\.tsv has no column 'b'"):
        tsv.read(snapshot(one, other), tsv.Options(), ("a", "b"))


def test_coded_columns_stay_right_from_block_to_block(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "BLOCK", 2048)
    monkeypatch.setattr(delimited_values.Codes, "MOST", 40)
    generator = np.random.default_rng(7)
    # The first block has few values, later ones have more than the dictionary may keep.
    values = [f"v{generator.integers(3 + row // 20)}" for row in range(5000)]
    values[100] = ""
    found = read(write(tmp_path, "\n".join(["CHROM\tb", *(f"{v}\t{v}" for v in values)])), wanted=("b",))
    assert pa.types.is_dictionary(found.schema.field("b").type)
    expected = [value or None for value in values]
    assert found["b"].to_pylist() == expected
    assert found["CHROM"].to_pylist() == expected


@given(st.lists(st.lists(st.text("ab\té\"' \r", max_size=4), min_size=1, max_size=4), max_size=12), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_fields_are_what_splitting_gives(tmp_path_factory, records, most):
    lines = ["\t".join(fields).rstrip("\r") for fields in records]
    path = write(tmp_path_factory.mktemp("law"), "\n".join(["x\ty\tz", *lines]) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited_scan, "MOST", most)
        found = read(path, wanted=("x", "y", "z"))
    kept = [line.split("\t") for line in lines if line]
    assert len(found) == len(kept)
    for row, fields in zip(found.to_pylist(), kept, strict=True):
        assert (row["_error"] is None) == (len(fields) == 3)
        if len(fields) == 3:
            assert [row[name] for name in "xyz"] == [field if field.strip() else None for field in fields]


def spans(values: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    encoded = [value.encode() for value in values]
    sizes = np.array([len(value) for value in encoded], dtype=np.int32)
    begin = np.concatenate(([0], np.cumsum(sizes)[:-1])).astype(np.int32)
    return np.frombuffer(b"".join(encoded) + b"\n", dtype=np.uint8), begin, sizes


@given(st.lists(st.floats() | st.decimals(allow_nan=False, allow_infinity=False).map(float), min_size=1), st.data())
@settings(max_examples=100, deadline=None)
def test_doubles_are_those_that_python_reads(values, data):
    forms = ("{!r}", "{:.4f}", "{:.17g}", "{:e}", "{:.25f}", "{:+}")
    written = [data.draw(st.sampled_from(forms)).format(value) for value in values]
    found, wrong = numbers.decimals(*spans(written))
    assert wrong.tolist() == []
    for text, number in zip(written, found.to_pylist(), strict=True):
        assert (
            math.isnan(number)
            if math.isnan(float(text))
            else math.copysign(1, number) == math.copysign(1, float(text)) and number == float(text)
        )


def test_what_is_no_number_is_told():
    doubles = ["", "1_0", " 1", "1 ", "0x1F", "--1", "+-1", "1e", "e5", ".", "1.2.3", "Ⅳ", "١", "nano", "1,5", "1e5x"]
    found, wrong = numbers.decimals(*spans(doubles))
    assert found.null_count == len(doubles)
    assert wrong.tolist() == list(range(1, len(doubles)))
    assert numbers.decimals(*spans([".5", "5.", "1E3", "-0", "1e-400", "1e400", "1e023"]))[0].to_pylist() == [
        *(0.5, 5.0, 1000.0, -0.0, 0.0, math.inf, 1e23),
    ]
    found, wrong = numbers.integers(*spans(["12", "-7", "+3", "", "1.0", "9" * 18, "9" * 19, "-", "1e3"]))
    assert found.to_pylist() == [12, -7, 3, None, None, 10**18 - 1, None, None, None]
    assert wrong.tolist() == [4, 6, 7, 8]


def test_a_generated_file_is_read_as_python_reads_it(tmp_path):
    path = write_alphamissense(tmp_path / "am.tsv", 20_000)
    found = read(path, wanted=("am_pathogenicity", "transcript_id"), types={"am_pathogenicity": "double"})
    lines = [line.split("\t") for line in path.read_text().splitlines() if not line.startswith("#")]
    assert len(lines) == 20_000
    names = ("CHROM", "POS", "REF", "ALT", "transcript_id", "am_pathogenicity")
    assert rows(found, *names) == [(f[0], int(f[1]), f[2], f[3], f[6], float(f[8])) for f in lines]


def peak_of(path: Path) -> int:
    tracemalloc.start()
    with contextlib.closing(tsv.read(snapshot(path), tsv.Options(), ("b",))) as batches:
        for _ in batches:
            pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "BLOCK", 1 << 18)
    head = "CHROM\tb\n"
    small = write(tmp_path, head + "".join(f"{row}\t{row:030}\n" for row in range(50_000)), "small.tsv")
    large = write(tmp_path, head + "".join(f"{row}\t{row:030}\n" for row in range(400_000)), "large.tsv")
    peak_of(small)
    assert peak_of(large) < 1.3 * peak_of(small)
