"""AlphaMissense: every row of a real file arrives with its score and class, and the file's own licence decides."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from catalog.dataset import load_dataset
from catalog.rights.evidence import judge
from dagster_project import curate
from dagster_project.settings import Settings

DATA = Path(__file__).parent.parent.parent / "shared" / "data" / "genomics"
REAL = DATA / "alphamissense_P08243_aa_substitutions.tsv"
CLASSES = {"benign": "likely_benign", "pathogenic": "likely_pathogenic"}


def staged(tmp_path: Path, name: str, source: Path | None):
    """The rows that a file, or the bundled sample, gives (none if it is refused), and the gates' report."""
    dataset = load_dataset(name)
    house = curate.House(Settings.at(tmp_path / "home"), clock=lambda: datetime(2027, 3, 1, tzinfo=UTC))
    where = curate.address(dataset, sample=source is None, override=None if source is None else str(source))
    stage, report = curate.stage(house, dataset, curate.fetch(house, dataset, where), "run")
    rows = ds.dataset(list(stage.tables[0].files)).to_table().to_pylist() if report.passed else []
    return rows, report


def lines(path: Path) -> list[list[str]]:
    """The file's rows, without its comments and its header."""
    return [line.split("\t") for line in path.read_text().splitlines() if not line.startswith(("#", "uniprot_id"))]


def test_a_real_file_of_amino_acid_substitutions_arrives_whole(tmp_path):
    if not REAL.exists():
        pytest.skip(f"{REAL} is not here")
    rows, report = staged(tmp_path, "genomics/alphamissense_aa", REAL)
    assert report.passed, report.refusals()
    expected = {
        variant: (protein, float(score), CLASSES.get(kind, kind)) for protein, variant, score, kind in lines(REAL)
    }
    assert len(expected) == report.tables[0].kept == len(rows) == 10_659
    found = {row["protein_variant"]: (row["uniprot_id"], row["score"], row["class"]) for row in rows}
    assert found == expected
    assert {row["model"] for row in rows} == {"AlphaMissense"}
    assert all(row["variant_id"] is row["contig"] is row["position"] is row["transcript_id"] is None for row in rows)


def test_the_genomic_sample_arrives_by_place_and_by_transcript(tmp_path):
    rows, report = staged(tmp_path, "genomics/alphamissense", None)
    assert report.passed, report.refusals()
    sample = load_dataset("genomics/alphamissense").sample_path
    expected = {
        f"GRCh38-{chrom.removeprefix('chr')}-{place}-{ref}-{alt}": (protein, transcript, variant, float(score), kind)
        for chrom, place, ref, alt, _, protein, transcript, variant, score, kind in lines(sample)
    }
    names = ("uniprot_id", "transcript_id", "protein_variant", "score", "class")
    assert {row["variant_id"]: tuple(row[name] for name in names) for row in rows} == expected
    assert {row["variant_type_so"] for row in rows} == {"SO:0001483"}


@pytest.mark.parametrize(
    ("old", "new", "check"),
    [
        ("\t0.9857\t", "\t1.2\t", "le"),
        ("likely_pathogenic", "pathogenic", "isin"),
        ("likely_pathogenic", "likely_benign", "class_agrees_with_score"),
        ("R175H", "R175R", "protein_variant_is_a_substitution"),
        ("R175H", "175", "str_matches"),
    ],
)
def test_a_wrong_row_is_quarantined_and_no_other(old, new, check, tmp_path):
    text = load_dataset("genomics/alphamissense").sample_path.read_text()
    assert text.count(old) == 1
    (tmp_path / "x.tsv").write_text(text.replace(old, new))
    _, report = staged(tmp_path, "genomics/alphamissense", tmp_path / "x.tsv")
    assert (report.tables[0].kept, report.tables[0].quarantined) == (6, 1)
    assert check in {failure.check for failure in report.tables[0].failures}


@pytest.mark.parametrize("name", ["genomics/alphamissense", "genomics/alphamissense_aa"])
def test_the_files_own_licence_decides_and_the_later_one_is_set_aside_by_name(name):
    terms = load_dataset(name).terms
    assert terms.licence == "CC-BY-NC-SA-4.0"
    assert judge(terms.licence, terms.evidence, (), terms.resolution).state == "agreement"
    assert judge(terms.licence, terms.evidence, (), None).state == "conflict"
    assert judge("CC-BY-4.0", terms.evidence, (), None).state == "conflict"
