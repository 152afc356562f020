"""References read by range: any range of any layout, plain and compressed; and indices that do not fit."""

from __future__ import annotations

import random
import shutil
import subprocess
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assets import fasta
from assets.fasta import Fasta
from catalog.errors import SourceError

BASES = {"chr1": "ACGTN" * 41, "2": "acgtRYacgt" * 30, "NC_000003.12": "G", "empty": ""}


def written(path: Path, sequences: dict[str, str], width: int = 50, end: str = "\n") -> str:
    """A FASTA with its index, both written here."""
    text, index = "", ""
    for name, bases in sequences.items():
        text += f">{name} some words{end}"
        index += f"{name}\t{len(bases)}\t{len(text)}\t{width}\t{width + len(end)}\n"
        text += "".join(bases[at : at + width] + end for at in range(0, len(bases), width))
    path.write_bytes(text.encode())
    Path(f"{path}.fai").write_text(index)
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fasta")


@given(st.sampled_from(sorted(BASES)), st.integers(-5, 400), st.integers(-5, 400), st.sampled_from(["\n", "\r\n"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_range_is_what_the_text_holds(folder, name, start, end, line_end):
    found = Fasta(written(folder / "x.fa", BASES, width=7, end=line_end)).sequence(name, start, end)
    assert found.decode() == BASES[name].upper()[max(start, 0) : max(end, 0)]


def test_ranges_over_many_blocks_are_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(fasta, "NEAR_BLOCK", 16)
    reference = Fasta(written(tmp_path / "x.fa", BASES, width=7))
    assert reference.sequence("chr1", 3, 200).decode() == BASES["chr1"][3:200]
    start, text = reference.window(reference.contigs["chr1"], 20, 40)
    assert (start, text.tobytes().decode()) == (16, BASES["chr1"][16:48])


@pytest.mark.parametrize("said", ["chr1", "1", "NC_000001.11", "Chr1"])
def test_a_contig_goes_by_all_its_names(tmp_path, said):
    assert Fasta(written(tmp_path / "x.fa", BASES)).sequence(said, 0, 4) == b"ACGT"


def test_a_contig_that_is_not_there_is_told(tmp_path):
    reference = Fasta(written(tmp_path / "x.fa", BASES))
    assert reference.contig("22") is None
    with pytest.raises(SourceError, match=r"x\.fa has no contig '22'"):
        reference.sequence("22", 0, 1)


@pytest.fixture
def genome(tmp_path):
    generator = random.Random(3)
    sequences = {name: "".join(generator.choices("ACGT", k=300_000)) for name in ("1", "2")}
    return sequences, written(tmp_path / "g.fa", sequences)


@pytest.mark.skipif(not (shutil.which("bgzip") and shutil.which("samtools")), reason="bgzip or samtools is missing")
def test_compressed_and_indexed_by_samtools_it_gives_the_same(genome):
    sequences, uri = genome
    subprocess.run(["bgzip", "-k", uri], check=True)
    subprocess.run(["samtools", "faidx", f"{uri}.gz"], check=True)
    reference = Fasta(f"{uri}.gz")
    generator = random.Random(4)
    for _ in range(100):
        name, start = generator.choice("12"), generator.randrange(300_000)
        end = start + generator.choice([1, 100, 70_000, 200_000])
        assert reference.sequence(name, start, end).decode() == sequences[name][start:end]
    said = subprocess.run(["samtools", "faidx", uri, "2:65530-65590"], capture_output=True, text=True, check=True)
    assert reference.sequence("2", 65529, 65590).decode() == "".join(said.stdout.split("\n")[1:])


def test_memory_does_not_grow_with_the_genome(tmp_path):
    big = "ACGT" * 5_000_000
    reference = Fasta(written(tmp_path / "big.fa", {"1": big}, width=60))
    contig = reference.contigs["1"]
    tracemalloc.start()
    for start in range(0, 20_000_000, 500_000):
        reference.window(contig, start, start + 100)
        reference.window(contig, start + 250_000, start + 250_100)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * (fasta.KEPT_BLOCKS + 2) * fasta.NEAR_BLOCK


def test_blocks_are_kept_between_requests(genome, monkeypatch):
    _, uri = genome
    reference = Fasta(uri)
    asked = []
    between = reference._source.between
    monkeypatch.setattr(reference._source, "between", lambda *range_: asked.append(range_) or between(*range_))
    for start in range(0, 100_000, 1000):
        reference.sequence("1", start, start + 10)
    assert len(asked) == 1


def problem(uri: str) -> SourceError:
    with pytest.raises(SourceError) as caught:
        Fasta(uri).sequence("1", 0, 100)
    return caught.value


def test_without_its_index_the_remedy_names_the_command(tmp_path):
    (tmp_path / "x.fa").write_text(">1\nACGT\n")
    error = problem(str(tmp_path / "x.fa"))
    assert "x.fa.fai is not there" in error.problem
    assert "samtools faidx" in error.remedy


def test_a_file_that_is_not_there_is_told(tmp_path):
    assert "gone.fa is not there" in problem(str(tmp_path / "gone.fa")).problem


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ("", "is empty"),
        ("1\t8\t3\t4\n", "line 1 is no line of a FASTA index"),
        ("1\t8\t3\tfour\t5\n", "line 1 is no line of a FASTA index"),
        ("1\t8\t3\t5\t4\n", "line 1 is no line of a FASTA index"),
        ("1\t8\t3\t0\t0\n", "line 1 is no line of a FASTA index"),
        ("1\t8\t3\t4\t5\n1\t8\t3\t4\t5\n", "line 2 is no line of a FASTA index"),
        ("1\t800\t3\t4\t5\n", "is shorter than its .fai says"),
        ("1\t8\t0\t4\t5\n", "does not fit its .fai in contig '1'"),
        ("1\t8\t3\t8\t9\n", "does not fit its .fai in contig '1'"),
    ],
)
def test_an_index_that_does_not_fit_is_refused_in_words(tmp_path, index, words):
    (tmp_path / "x.fa").write_text(">1\nACGT\nACGT\n")
    (tmp_path / "x.fa.fai").write_text(index)
    assert words in problem(str(tmp_path / "x.fa")).problem


def test_plain_gzip_cannot_be_read_by_range(tmp_path):
    import gzip

    (tmp_path / "x.fa.gz").write_bytes(gzip.compress(b">1\nACGT\n"))
    error = problem(str(tmp_path / "x.fa.gz"))
    assert "cannot be read by range" in error.problem
    assert "bgzip" in error.remedy


@pytest.mark.skipif(not shutil.which("bgzip"), reason="bgzip is missing")
@pytest.mark.parametrize("gzi", [None, b"", b"\1" * 9, (7).to_bytes(8, "little"), b"\1" + bytes(7) + b"\xff" * 16])
def test_a_wrong_gzi_is_refused_in_words(genome, gzi):
    _, uri = genome
    subprocess.run(["bgzip", "-k", uri], check=True)
    shutil.copy(f"{uri}.fai", f"{uri}.gz.fai")
    if gzi is not None:
        Path(f"{uri}.gz.gzi").write_bytes(gzi)
    error = problem(f"{uri}.gz")
    assert "gzi" in error.problem
    assert "samtools faidx" in error.remedy
