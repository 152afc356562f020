"""The VCF reader: every line is accounted for, and bad input is told, never thrown."""

from __future__ import annotations

import gzip
import re
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.readers import SOURCE_FIELDS, vcf
from assets.transforms import variants
from benchmarks import vcf_generator
from catalog.errors import HarmoniseError, SourceError, WinnowError
from catalog.records import Snapshot, SourceFile

DATA = Path(__file__).parent.parent.parent / "shared" / "data" / "genomics"
HEAD = (
    "##fileformat=VCFv4.2\n##reference=GRCh38\n"
    '##INFO=<ID=AC,Number=1,Type=Integer,Description="count, Number=9">\n'
    '##INFO=<ID=AF,Number=1,Type=Float,Description="frequency">\n'
    '##INFO=<ID=DB,Number=0,Type=Flag,Description="flag">\n'
    '##INFO=<ID=S,Number=.,Type=String,Description="text">\n'
    '##INFO=<ID=AL,Number=A,Type=Integer,Description="per allele">\n'
    "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
)


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


def read(path: Path, columns: tuple[str, ...] = (), assembly: str | None = None) -> pa.Table:
    return vcf.read(snapshot(path), vcf.Options(assembly=assembly), columns).read_all()


def read_text(folder: Path, body: str | bytes, columns: tuple[str, ...] = (), head: str = HEAD) -> pa.Table:
    path = folder / "x.vcf"
    path.write_bytes(head.encode() + (body.encode() if isinstance(body, str) else body))
    return read(path, columns)


def real(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return path


def lines_of(path: Path) -> list[bytes]:
    raw = path.read_bytes()
    text = gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw
    return [line.rstrip(b"\r") for line in text.rstrip(b"\r\n").split(b"\n")]


def attempt(path: Path, assembly: str) -> tuple[pa.Table | None, WinnowError]:
    """The table, or the one kind of error that bad input may raise."""
    try:
        return read(path, (), assembly), WinnowError("")
    except WinnowError as error:
        return None, error


def records_of(path: Path) -> list[bytes]:
    """What follows the line of column names."""
    lines = lines_of(path)
    return lines[next(i for i, line in enumerate(lines) if not line.startswith(b"##")) + 1 :]


def test_clinvar_records_come_out_as_they_are_written():
    path = real("clinvar_20230710_grch37_2000.vcf.gz")
    table = read(path, ("ALLELEID", "CLNSIG", "CLNHGVS", "RS", "AF_EXAC"))
    lines = [line.decode().split("\t") for line in records_of(path)]
    rows = table.to_pylist()
    assert table.schema.names[: len(SOURCE_FIELDS)] == [field.name for field in SOURCE_FIELDS]
    assert table.schema.field("ALLELEID").type == pa.int64()
    assert len(rows) == len(lines) == 2000
    for row, line in zip(rows, lines, strict=True):
        info = dict(item.partition("=")[::2] for item in line[7].split(";"))
        assert [row["CHROM"], str(row["POS"]), row["_record"], row["REF"], row["ALT"] or "."] == line[:5]
        assert [str(row["ALLELEID"]), row["CLNSIG"], row["CLNHGVS"]] == [
            info[key] for key in ("ALLELEID", "CLNSIG", "CLNHGVS")
        ]
        assert row["RS"] == info.get("RS")
        assert row["AF_EXAC"] == (float(info["AF_EXAC"]) if "AF_EXAC" in info else None)
        assert (row["assembly"], row["_error"], row["_raw"]) == ("GRCh37", None, None)


def test_every_number_and_type_is_read_as_declared():
    kinds = {
        "IB0": pa.bool_(), "II1": pa.int64(), "IIA": pa.list_(pa.int64()), "IF1": pa.float64(), "IC1": pa.string(),
        "IS1": pa.string(), "IFR": pa.list_(pa.float64()), "IID": pa.list_(pa.int64()), "ISD": pa.string(),
        "ISA": pa.list_(pa.string()), "IF2": pa.list_(pa.float64()),
    }  # fmt: skip
    table = read(real("field_type_combos.vcf.gz"), tuple(kinds), "GRCh38")
    assert {name: table.schema.field(name).type for name in kinds} == kinds
    assert {name: table.schema.field(name).metadata[b"number"].decode() for name in kinds} == {
        name: name[2].replace("D", ".") for name in kinds
    }
    assert table["_error"].null_count == table.num_rows
    assert table["IB0"].to_pylist()[:2] == [True, False]
    assert table["II1"].to_pylist()[:3] == [None, 126, None]
    assert table["IIA"].drop_null().to_pylist()[:2] == [[294, 130], [None, 130]]


@pytest.mark.parametrize("kind", ["vcf_v4.2/passed", "vcf_v4.2/failed", "malformed"])
def test_every_line_of_a_conformance_file_is_a_row_or_the_file_is_refused(kind):
    paths = sorted(real(kind).glob("*.vcf"))
    assert paths
    refused = 0
    for path in paths:
        records = records_of(path)
        table, told = attempt(path, "GRCh37" if re.search(rb"GRCh37|b37", path.read_bytes()) else "slice")
        if table is None:
            refused += 1
            assert path.name in told.problem
            assert told.remedy
            continue
        assert table["_source"].to_pylist() == list(range(len(records)))
        for row in table.filter(pa.compute.is_valid(table["_error"])).to_pylist():
            assert row["_raw"].encode() == records[row["_source"]]
            assert row["CHROM"] is row["POS"] is row["REF"] is None
    assert refused < len(paths) / 10


def test_broken_fields_of_the_conformance_files_are_refused():
    broken = [*real("vcf_v4.2/failed").glob("failed_body_ref_*"), *real("vcf_v4.2/failed").glob("failed_body_pos_*")]
    assert len(broken) == 6
    for path in broken:
        assert read(path, (), "GRCh38")["_error"].null_count == 0, path.name


def test_a_record_at_the_telomere_is_read_and_gets_no_place(tmp_path):
    table = read_text(tmp_path, "1\t0\t.\tA\tC\t.\t.\t.\n1\t1\t.\tA\tC\t.\t.\t.\n")
    assert (table["POS"].to_pylist(), table["_error"].null_count) == ([0, 1], 2)
    (batch,) = table.combine_chunks().to_batches()
    nowhere, first = variants.transform(batch).to_pylist()
    assert nowhere["_error"] == "POS is 0, expected a position from 1"
    assert {nowhere[name] for name in ("position", "variant_id", "spdi", "vrs_id")} == {None}
    assert (first["_error"], first["variant_id"]) == (None, "GRCh38-1-1-A-C")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("1\t5\t.\tA\tC\t.\t.", "the line has 7 fields, where the header names 8"),
        ("1\t5\t.\tA\tC\t.\t.\t.\textra", "the line has 9 fields"),
        ("not a record", "the line has 1 fields"),
        ("1\t-1\t.\tA\tC\t.\t.\t.", "POS is '-1'"),
        ("1\t.\t.\tA\tC\t.\t.\t.", "POS is '.'"),
        ("1\t1e3\t.\tA\tC\t.\t.\t.", "POS is '1e3'"),
        ("1\t99999999999999999999\t.\tA\tC\t.\t.\t.", "POS is '9999"),
        (".\t5\t.\tA\tC\t.\t.\t.", "CHROM is missing"),
        ("1\t5\t.\tR\tC\t.\t.\t.", "REF is 'R', expected bases: VCF permits only A, C, G, T and N"),
        ("1\t5\t.\tA\tU\t.\t.\t.", "ALT has 'U'"),
        ("1\t5\t.\tA\tC,,G\t.\t.\t.", "ALT has ''"),
        ("1\t5\t.\tA\tC\tgood\t.\t.", "QUAL is 'good', expected a Float"),
        ("1\t5\t.\tA\tC\t.\t.\tAC=many", "INFO key AC is 'many', expected an Integer"),
        ("1\t5\t.\tA\tC\t.\t.\tAF=1,2", "INFO key AF is '1,2', expected a Float"),
        ("1\t5\t.\tA\tC\t.\t.\tAC=0x1F", "INFO key AC is '0x1F', expected an Integer"),
        ("1\t5\t.\tA\tC\t.\t.\tAC=1234567890123456789", "INFO key AC is '1234567890123456789'"),
        ("1\t5\t.\tA\tC\t.\t.\tAF=0x1p3", "INFO key AF is '0x1p3', expected a Float"),
        ("1\t5\t.\tA\tC\t.\t.\tAC=1;AC=2", "INFO has the key AC more than once"),
        ("1\t5\t.\tA\tC\t.\t.\tAC;DB", "INFO key AC has no value"),
        ("1\t5\t.\tA\tC\t.\t.\tDB=maybe", "INFO key DB has the value 'maybe'"),
    ],
)
def test_a_bad_record_is_a_row_that_says_why(tmp_path, line, words):
    table = read_text(tmp_path, f"1\t1\ta\tA\tC\t.\t.\tAC=1\n{line}\n1\t9\tb\tA\tC\t.\t.\tAC=2\n", ("AC", "AF", "DB"))
    good, bad, last = table.to_pylist()
    assert words in bad["_error"]
    assert (bad["_raw"], bad["_position"], bad["CHROM"], bad["AC"]) == (line, "x.vcf line 10", None, None)
    assert (good["AC"], last["AC"], good["_error"], last["_error"]) == (1, 2, None, None)
    assert (last["_position"], last["_record"]) == ("x.vcf line 11", "b")


def test_alternates_that_vcf_permits_are_kept(tmp_path):
    alts = [
        "A,C",
        "*",
        "A,*",
        "<DEL>",
        "<DUP:TANDEM>",
        "G]17:198982]",
        "]13:123456]T",
        "C[<ctg1>:7[",
        ".A",
        "A.",
        "acgtn",
        ".",
    ]
    body = "".join(f"1\t{number}\t.\tA\t{alt}\t.\t.\t.\n" for number, alt in enumerate(alts, start=1))
    table = read_text(tmp_path, body)
    assert table["_error"].null_count == len(alts)
    assert table["ALT"].to_pylist() == [*alts[:-2], "ACGTN", None]


def test_values_are_typed_and_missing_ones_null(tmp_path):
    body = (
        "1\t1\t.\tA\tC\t1e-3\tPASS\tAC=+7;AF=.5;DB;S=a%3Db,c;AL=1,2\n"
        "1\t2\t.\tA\tC\t.\t.\tAC=.;AF=-INF;DB=0;S=\n"
        "1\t3\t.\tA\tC\t.\t.\t.\n"
    )
    first, second, third = read_text(tmp_path, body, ("AC", "AF", "DB", "S", "AL")).to_pylist()
    assert [first[k] for k in ("QUAL", "FILTER", "AC", "AF", "DB", "S", "AL")] == [
        0.001,
        [],
        7,
        0.5,
        True,
        "a%3Db,c",
        [1, 2],
    ]
    assert [second[k] for k in ("AC", "AF", "DB", "S", "AL")] == [None, float("-inf"), False, "", None]
    assert [third[k] for k in ("AC", "AF", "DB", "S", "AL", "QUAL", "FILTER", "ID")] == [None, None, False, *[None] * 5]


def test_windows_line_ends_and_trailing_blank_lines_change_nothing(tmp_path):
    body = "1\t1\ta\tA\tC\t.\t.\tS=x\n1\t2\tb\tA\tC\t.\t.\tDB;S=y\n"
    plain = read_text(tmp_path, body, ("S", "DB"))
    for text in (body.replace("\n", "\r\n"), body + "\n\n", body.rstrip("\n"), body + "\r\n\r\n"):
        assert read_text(tmp_path, text, ("S", "DB")).equals(plain)
    assert read_text(tmp_path, body.replace("\n", "\r\n"), ("S", "DB"), HEAD.replace("\n", "\r\n")).equals(plain)


def test_a_blank_line_between_records_is_a_row(tmp_path):
    table = read_text(tmp_path, "1\t1\ta\tA\tC\t.\t.\t.\n\n1\t2\tb\tA\tC\t.\t.\t.\n")
    assert ["empty" in (error or "") for error in table["_error"].to_pylist()] == [False, True, False]


def test_a_line_that_is_not_text_spoils_only_itself(tmp_path):
    body = "1\t1\té\tA\tC\t.\t.\tS=ü\n".encode() + b"1\t2\t\xff\tA\tC\t.\t.\tS=z\n" + b"1\t3\tc\tA\tC\t.\t.\tS=w\n"
    table = read_text(tmp_path, body, ("S",))
    assert table["S"].to_pylist() == ["ü", None, "w"]
    assert "not UTF-8 text at its byte 5" in table["_error"][1].as_py()
    table.validate(full=True)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400))
def test_arbitrary_bytes_after_a_header_are_all_accounted_for(tmp_path_factory, body):
    path = tmp_path_factory.mktemp("any") / "x.vcf"
    path.write_bytes(HEAD.encode() + body)
    table = read(path, ("AC", "S", "DB"))
    table.validate(full=True)
    assert table.num_rows == len(body.rstrip(b"\r\n").split(b"\n")) if body.strip(b"\r\n") else table.num_rows == 0


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["AC", "AF", "S", "X", "ACX", "A"]), st.integers(0, 10**9)), unique_by=lambda i: i[0]
    ),
    st.booleans(),
)
def test_keys_are_found_wherever_they_stand(tmp_path_factory, items, flag):
    info = ";".join([*(f"{key}={value}" for key, value in items), *(["DB"] if flag else [])]) or "."
    path = tmp_path_factory.mktemp("keys") / "x.vcf"
    path.write_text(HEAD + f"1\t1\t.\tA\tC\t.\t.\t{info}\n")
    row = read(path, ("AC", "AF", "S", "DB")).to_pylist()[0]
    said = dict(items)
    assert (row["AC"], row["AF"], row["DB"]) == (said.get("AC"), said.get("AF"), flag)
    assert row["S"] == (str(said["S"]) if "S" in said else None)


def test_small_blocks_give_the_same_records(tmp_path, monkeypatch):
    path = tmp_path / "x.vcf.gz"
    vcf_generator.write(path, 3000, dialect="clinvar")
    whole = read(path, ("CLNHGVS", "ALLELEID", "RS"))
    for size in (1000, 65_537):
        monkeypatch.setattr(vcf, "BLOCK", size)
        assert read(path, ("CLNHGVS", "ALLELEID", "RS")).to_pylist() == whole.to_pylist()


def test_several_files_make_one_sequence_of_records(tmp_path):
    for name in ("a.vcf", "b.vcf"):
        (tmp_path / name).write_text(HEAD + "1\t1\t.\tA\tC\t.\t.\t.\n" * 2)
    table = vcf.read(snapshot(tmp_path / "a.vcf", tmp_path / "b.vcf"), vcf.Options(), ()).read_all()
    assert table["_source"].to_pylist() == [0, 1, 2, 3]
    assert table["_position"].to_pylist() == [f"{name} line {line}" for name in ("a.vcf", "b.vcf") for line in (9, 10)]


def test_an_undeclared_key_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(HarmoniseError, match=r"x\.vcf has no column 'CLNSIG'(.|\n)*AC, AF, AL, DB, S"):
        read_text(tmp_path, "", ("CLNSIG",))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "empty"),
        ("chrom,pos\n1,2\n", "first line is 'chrom,pos'"),
        ("##fileformat=VCFv4.2\n##reference=GRCh38\n", "expected the line '#CHROM"),
        (HEAD.replace("\t", " "), "with tabs"),
        (HEAD.replace("##reference=GRCh38\n", ""), "does not say its assembly"),
        (HEAD.replace("GRCh38\n", "GRCh38\n##contig=<ID=1,assembly=b37>\n"), "names two assemblies"),
    ],
)
def test_what_is_no_vcf_is_refused_whole(tmp_path, content, words):
    path = tmp_path / "x.vcf"
    path.write_text(content)
    with pytest.raises(SourceError, match=words) as caught:
        read(path)
    assert "x.vcf" in caught.value.problem
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("said", "given", "means"),
    [
        ("##reference=hg19", None, "GRCh37"),
        ("##reference=file:///refs/human_g1k_v37.fasta", "GRCh37", "GRCh37"),
        ("##contig=<ID=chr1,length=248956422,assembly=GRCh38>", None, "GRCh38"),
        ("##contig=<ID=1,length=249250621,assembly=gnomAD_GRCh37>", "hg19", "GRCh37"),
        ("##contig=<ID=chr21,length=48129895>", None, "GRCh37"),
        ("##source=x", "hg38", "GRCh38"),
        ("##source=x", "T2T-CHM13v2.0", "T2T-CHM13v2.0"),
    ],
)
def test_the_assembly_is_read_or_given(tmp_path, said, given, means):
    path = tmp_path / "x.vcf"
    path.write_text(HEAD.replace("##reference=GRCh38", said) + "1\t1\t.\tA\tC\t.\t.\t.\n")
    assert read(path, (), given)["assembly"].to_pylist() == [means]


def test_an_assembly_that_the_header_contradicts_is_refused(tmp_path):
    path = tmp_path / "x.vcf"
    path.write_text(HEAD)
    with pytest.raises(SourceError, match=r"source\.options\.assembly is GRCh37, but the header of x\.vcf says GRCh38"):
        read(path, (), "hg19")


def test_a_header_without_records_gives_no_batches(tmp_path):
    assert list(vcf.read(snapshot(_written(tmp_path, HEAD)), vcf.Options(), ("AC",))) == []


def _written(folder: Path, text: str) -> Path:
    path = folder / "x.vcf"
    path.write_text(text)
    return path


@pytest.mark.parametrize("form", ["bgzf", "gzip"])
def test_a_cut_file_is_refused_wherever_it_is_cut(tmp_path, monkeypatch, form):
    monkeypatch.setattr(vcf, "BLOCK", 20_000)
    path = tmp_path / "x.vcf.gz"
    vcf_generator.write(path, 2500, dialect="clinvar")
    whole = path.read_bytes() if form == "bgzf" else gzip.compress(gzip.decompress(path.read_bytes()), mtime=0)
    for cut in [*range(2, len(whole), len(whole) // 60), len(whole) - 28, len(whole) - 1]:
        path.write_bytes(whole[:cut])
        with pytest.raises(SourceError, match=r"x\.vcf\.gz"):
            read(path)


def test_damage_after_good_batches_is_told_as_a_source_error(tmp_path, monkeypatch):
    monkeypatch.setattr(vcf, "BLOCK", 100_000)
    path = tmp_path / "x.vcf.gz"
    vcf_generator.write(path, 10_000, dialect="clinvar")
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()))[:-100])
    reader, rows = vcf.read(snapshot(path), vcf.Options(), ()), 0
    batches = iter(reader)
    while rows < 5000:
        rows += next(batches).num_rows
    with pytest.raises(SourceError, match="cut short"):
        list(batches)


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(vcf, "BLOCK", 200_000)
    peaks = []
    for records in (3000, 30_000):
        path = tmp_path / f"{records}.vcf.gz"
        vcf_generator.write(path, records, dialect="clinvar")
        pool = pa.default_memory_pool()
        tracemalloc.start()
        most, rows = 0, 0
        for batch in vcf.read(snapshot(path), vcf.Options(), ("CLNHGVS", "CLNDN")):
            rows += batch.num_rows
            most = max(most, pool.bytes_allocated())
        peaks.append(tracemalloc.get_traced_memory()[1] + most)
        tracemalloc.stop()
        assert rows == records
    assert peaks[1] < 1.3 * peaks[0]


def test_the_generator_gives_the_same_bytes_for_the_same_seed(tmp_path):
    for dialect in ("gnomad", "clinvar"):
        for name, seed in (("a", 1), ("b", 1), ("c", 2)):
            vcf_generator.write(tmp_path / name, 500, seed, dialect)
        a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
        assert a == b != c
        assert len(records_of(tmp_path / "a")) == 500


@pytest.mark.parametrize("value", ["0x1F", "1234567890123456789", "-1234567890123456789", "1_000", "+-5", " 5"])
def test_what_becomes_of_a_number_does_not_depend_on_its_neighbours(tmp_path, value):
    line = f"1\t5\t.\tA\tC\t.\t.\tAC={value}\n"
    for neighbour in ("1", "+1", "many", "."):
        body = f"1\t1\t.\tA\tC\t.\t.\tAC={neighbour}\n{line}"
        found = read_text(tmp_path, body, ("AC",)).to_pylist()[1]
        assert found["AC"] is None
        assert f"INFO key AC is {value!r}, expected an Integer" in found["_error"], neighbour


@pytest.mark.parametrize(("magic", "kind"), [(b"TBI\1", "tabix"), (b"CSI\1", "CSI")])
def test_an_index_in_place_of_its_file_is_told_as_such(tmp_path, magic, kind):
    path = tmp_path / "x.vcf.gz.tbi"
    path.write_bytes(gzip.compress(magic + b"\1\0\0\0\2\0\0\0\n" + bytes(40)))
    with pytest.raises(SourceError, match=rf"x\.vcf\.gz\.tbi is a {kind} index, not a VCF") as caught:
        read(path)
    assert caught.value.remedy == "fetch the file beside it"


def test_the_index_that_tabix_writes_is_told_as_such(tmp_path):
    pysam = pytest.importorskip("pysam", reason="pysam is not installed")
    path = tmp_path / "x.vcf"
    path.write_text(HEAD + "chr1\t10\t.\tA\tC\t.\t.\t.\n", encoding="utf-8")
    pysam.tabix_compress(str(path), f"{path}.gz")
    pysam.tabix_index(f"{path}.gz", preset="vcf")
    with pytest.raises(SourceError, match="is a tabix index, not a VCF"):
        read(Path(f"{path}.gz.tbi"))
