"""BCF gives what VCF of the same records gives; what htslib cannot read is told in words."""

from __future__ import annotations

import gzip
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from assets.readers import bcf, formats, vcf
from catalog.errors import SourceError
from catalog.records import Snapshot, SourceFile

bcftools = pytest.importorskip("pysam.bcftools", reason="pysam is not installed")

DATA = Path(__file__).parent.parent.parent / "shared" / "data" / "genomics"
COUNTED = ("AC", "AN", "AF", "nhomalt")


def snapshot(path: Path) -> Snapshot:
    file = SourceFile(name=path.name, path=path, size=path.stat().st_size, sha256="0" * 64)
    return Snapshot(
        dataset="genomics/test", uri="file:///test", origin="override", sha256="0" * 64, validator="",
        size=file.size, fetched_at=datetime(2026, 11, 23, tzinfo=UTC), files=(file,),
    )  # fmt: skip


def table(path: Path, columns: tuple[str, ...], assembly: str = "GRCh38") -> pa.Table:
    reader = bcf.read if path.suffix == ".bcf" else vcf.read
    return reader(snapshot(path), vcf.Options(assembly=assembly), columns).read_all()


def real(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return path


def as_bcf(source: Path, target: Path) -> Path:
    bcftools.view("--output-type", "b", "--no-version", "--output", str(target), str(source), catch_stdout=False)
    return target


def made(folder: Path, body: str, samples: str = "") -> tuple[Path, Path]:
    head = (
        "##fileformat=VCFv4.2\n##reference=GRCh38\n##contig=<ID=chr1,length=248956422>\n"
        '##FILTER=<ID=q10,Description="low">\n'
        '##INFO=<ID=F,Number=1,Type=Float,Description="f">\n##INFO=<ID=I,Number=A,Type=Integer,Description="i">\n'
        '##INFO=<ID=S,Number=.,Type=String,Description="s">\n##INFO=<ID=DB,Number=0,Type=Flag,Description="d">\n'
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="g">\n'
        f"#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO{samples}\n"
    )
    path = folder / "x.vcf"
    path.write_text(head + body, encoding="utf-8")
    return path, as_bcf(path, folder / "x.bcf")


def test_the_same_records_as_vcf_and_as_bcf_give_identical_tables():
    columns = (*COUNTED, "DP", "FS", "culprit")
    text, binary = (table(real(f"1kg_2020_chrM.{end}"), columns) for end in ("vcf.gz", "bcf"))
    assert text.num_rows > 10
    assert text["_error"].null_count == text.num_rows
    # The place in words names the file and its line; BCF's header has a line more.
    assert binary.drop(["_position"]).equals(text.drop(["_position"]))


def test_every_kind_of_value_comes_through_bcf(tmp_path):
    body = (
        "chr1\t10\trs1\tA\tC,<DEL>\t29.5\tPASS\tF=0.25;I=1,2;S=a,b;DB\tGT\t0/1\t1|1\t2\n"
        "chr1\t11\t.\tACG\tA\t.\tq10\tI=-7\tGT\t./.\t0/0\t1\n"
        "chr1\t12\t.\tG\t*\t1e10\t.\t.\tGT\t./1\t.\t0\n"
        "chr1\t13\t.\tG\tG[chr1:99[\t3\t.\tF=1.5e-05\tGT\t0/1\t.\t0\n"
    )
    text, binary = (table(path, ("F", "I", "S", "DB", *COUNTED)) for path in made(tmp_path, body, "\tFORMAT\ta\tb\tc"))
    assert text["_error"].to_pylist() == [None] * 4
    assert text["F"].to_pylist() == [0.25, None, None, 1.5e-05]
    assert text["AC"].to_pylist() == [[3, 1], [1], [1], [1]]
    assert binary.drop(["_position"]).equals(text.drop(["_position"]))


def test_floats_are_those_that_bcftools_view_writes(tmp_path):
    numbers = ["0.1", "3.40282e+38", "1e-30", "123456.7", "0.333333333333", "16777217"]
    _, path = made(tmp_path, "".join(f"chr1\t{9 + i}\t.\tA\tC\t.\t.\tF={n}\n" for i, n in enumerate(numbers)))
    shown = bcftools.view("-H", str(path)).splitlines()
    assert table(path, ("F",))["F"].to_pylist() == [float(line.split("F=")[1]) for line in shown]


def test_many_records_stream_through_the_pipe(tmp_path):
    _, path = made(tmp_path, "".join(f"chr1\t{9 + i}\t.\tA\tC\t.\t.\tI={i};S={'x' * 40}\n" for i in range(200_000)))
    reader = bcf.read(snapshot(path), vcf.Options(), ("I", "S"))
    sizes = [batch.num_rows for batch in reader]
    assert sum(sizes) == 200_000
    assert len(sizes) > 1


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_file_that_is_cut_short_is_refused(tmp_path, share):
    whole = real("1kg_2020_chrM.bcf").read_bytes()
    path = tmp_path / "cut.bcf"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(SourceError, match=r"cut\.bcf is cut short"):
        table(path, ())


def test_damage_within_a_file_is_told_when_its_text_breaks_off(tmp_path):
    _, path = made(tmp_path, "".join(f"chr1\t{9 + i}\t.\tA\tC\t.\t.\tI={i}\n" for i in range(50_000)))
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2 : len(raw) // 2 + 200] = bytes(200)
    path.write_bytes(raw)
    with pytest.raises(SourceError, match=r"x\.bcf is cut short or damaged"):
        table(path, ())


def test_a_record_that_htslib_cannot_make_sense_of_loses_nothing_silently(tmp_path):
    """The text of uncompressed BCF, so that only a record's own length is wrong."""
    _, packed = made(tmp_path, "chr1\t10\t.\tA\tC\t.\t.\tI=1\nchr1\t11\t.\tA\tC\t.\t.\tI=2\n")
    raw = bytearray(gzip.decompress(packed.read_bytes()))
    first = 9 + int.from_bytes(raw[5:9], "little")
    raw[first : first + 4] = (0x7FFFFFFF).to_bytes(4, "little")
    path = tmp_path / "odd.bcf"
    path.write_bytes(raw)
    with pytest.raises(SourceError, match=r"odd\.bcf is cut short or damaged: .+"):
        table(path, ())


def test_a_converter_that_dies_is_an_error_in_words(tmp_path, monkeypatch):
    _, path = made(tmp_path, "chr1\t10\t.\tA\tC\t.\t.\tI=1\n")
    dying = tmp_path / "python"
    dying.write_text("#!/bin/sh\nprintf '##fileformat=VCFv4.2\\n'\nkill -SEGV $$\n", encoding="utf-8")
    dying.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(dying))
    with pytest.raises(SourceError, match=r"htslib broke off with SIGSEGV"):
        table(path, ())


@pytest.mark.parametrize(
    "content", [b"", b"##fileformat=VCFv4.2\n", b"BCF\x04" + bytes(50), gzip.compress(b"nothing", mtime=0)]
)
def test_what_is_not_bcf_is_refused(tmp_path, content):
    path = tmp_path / "x.bcf"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"x\.bcf is not BCF 2"):
        table(path, ())


def test_bcf_is_a_format_and_says_which_package_it_needs(monkeypatch, tmp_path):
    assert "bcf" in formats()
    monkeypatch.setattr(bcf, "find_spec", lambda _: None)
    with pytest.raises(SourceError, match="pysam"):
        bcf.read(snapshot(made(tmp_path, "")[1]), vcf.Options(), ())
