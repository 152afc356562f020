"""The genomics checks: what is true of real ClinVar records, and what each one catches."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest

from assets.readers import vcf
from assets.transforms import transform
from benchmarks import vcf_generator
from catalog.assemblies import accessions, lengths
from catalog.records import Snapshot, SourceFile, utc_now
from catalog.standards import resolve
from catalog.table import load_table
from validations.science import science_checks
from validations.science.genomics import STARS

DATA = Path(__file__).parent.parent.parent / "shared" / "data" / "genomics"
SAMPLE = Path(__file__).parent.parent / "assets" / "datasets" / "genomics" / "clinvar" / "sample.vcf"
TABLE = load_table("genomics.clinical_significance")
ROW = {
    "assembly": "GRCh37",
    "contig": "1",
    "position": 69134,
    "ref": "A",
    "alt": "G",
    "clinical_significance": ["Likely benign"],
    "review_status": "criteria provided, single submitter",
    "review_stars": 1,
    "variant_type_so": "SO:0001483",
    "hgvs": "NC_000001.10:g.69134A>G",
}
SCHEMA = dict.fromkeys(ROW, pl.String()) | {
    "review_stars": pl.Int32(),
    "position": pl.Int64(),
    "clinical_significance": pl.List(pl.String),
}


def verdict(check: str, **changes: object) -> bool | None:
    frame = pl.DataFrame([ROW | changes], schema=SCHEMA)
    answer = science_checks()[check](frame)
    assert answer.dtype == pl.Boolean
    assert len(answer) == 1
    return answer[0]


def rows(path: Path) -> pl.DataFrame:
    """ClinVar's records as the table has them, mapped here by other means than the dataset's YAML."""
    file = SourceFile(name=path.name, path=path, size=path.stat().st_size, sha256="0" * 64)
    snapshot = Snapshot(
        dataset="genomics/clinvar", uri="file:///x", origin="sample", sha256="0" * 64, validator="",
        size=file.size, fetched_at=utc_now(), files=(file,),
    )  # fmt: skip
    columns = ("CLNSIG", "CLNREVSTAT", "CLNVCSO", "CLNHGVS")
    derive = transform("variants")
    frames = [pl.from_arrow(derive(batch)) for batch in vcf.read(snapshot, vcf.Options(), columns)]
    frame = pl.concat(frames)
    assert frame["_error"].null_count() == len(frame)
    status = pl.col("CLNREVSTAT").str.replace_all("_", " ")
    return frame.with_columns(
        clinical_significance=pl.col("CLNSIG").str.replace_all("_", " ").str.replace_all("/", "|").str.split("|"),
        review_status=status,
        review_stars=status.replace_strict(STARS, return_dtype=pl.Int32),
        variant_type_so=pl.col("CLNVCSO"),
        hgvs=pl.col("CLNHGVS").str.replace("%3D", "="),
    )


def real(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return path


@pytest.mark.parametrize("check", TABLE.science)
def test_real_clinvar_records_hold(check):
    for path, expected in ((real("clinvar_20230710_grch37_2000.vcf.gz"), 2000), (SAMPLE, 12)):
        answer = science_checks()[check](rows(path))
        assert len(answer) == expected
        assert answer.all(ignore_nulls=True)
        assert answer.null_count() < 0.2 * expected


def test_generated_records_hold(tmp_path):
    path = tmp_path / "x.vcf.gz"
    vcf_generator.write(path, 5000, dialect="clinvar")
    frame = rows(path)
    for check in TABLE.science:
        assert science_checks()[check](frame).all(ignore_nulls=True), check
    places = frame.select(pl.col("contig").rle_id().cast(pl.Int64) * 10**9 + pl.col("position")).to_series()
    assert places.is_sorted()


@pytest.mark.parametrize(
    ("check", "changes", "expected"),
    [
        ("alleles_differ", {"alt": "A"}, False),
        ("alleles_differ", {"alt": None}, None),
        ("position_within_chromosome", {"position": lengths("GRCh37")["1"]}, True),
        ("position_within_chromosome", {"position": lengths("GRCh37")["1"] + 1}, False),
        ("position_within_chromosome", {"position": lengths("GRCh37")["1"], "ref": "AC"}, False),
        ("position_within_chromosome", {"contig": "MT", "position": 16570}, False),
        ("position_within_chromosome", {"contig": "chrUn_KI270302v1"}, None),
        ("hgvs_agrees_with_alleles", {}, True),
        ("hgvs_agrees_with_alleles", {"position": 69135}, False),
        ("hgvs_agrees_with_alleles", {"ref": "C"}, False),
        ("hgvs_agrees_with_alleles", {"alt": "T"}, False),
        ("hgvs_agrees_with_alleles", {"alt": None}, False),
        ("hgvs_agrees_with_alleles", {"hgvs": "NC_000001.10:g.69134del"}, None),
        ("hgvs_agrees_with_alleles", {"hgvs": None}, None),
        ("hgvs_agrees_with_alleles", {"hgvs": "NC_000001.10:g.12345678901234567890A>G"}, False),
        ("hgvs_agrees_with_assembly", {}, True),
        ("hgvs_agrees_with_assembly", {"assembly": "GRCh38"}, False),
        ("hgvs_agrees_with_assembly", {"contig": "2"}, False),
        ("hgvs_agrees_with_assembly", {"hgvs": "NT_187633.1:g.5A>G"}, None),
        ("variant_type_agrees_with_alleles", {}, True),
        ("variant_type_agrees_with_alleles", {"ref": "AC"}, False),
        ("variant_type_agrees_with_alleles", {"variant_type_so": "SO:0000159"}, False),
        ("variant_type_agrees_with_alleles", {"variant_type_so": "SO:0000159", "ref": "AC", "alt": "A"}, True),
        ("variant_type_agrees_with_alleles", {"variant_type_so": "SO:1000035", "ref": "AC", "alt": "A"}, False),
        ("variant_type_agrees_with_alleles", {"variant_type_so": "SO:1000036", "ref": "AC", "alt": "GT"}, True),
        ("variant_type_agrees_with_alleles", {"variant_type_so": "SO:1000032"}, False),
        ("variant_type_agrees_with_alleles", {"alt": "<DEL>"}, None),
        ("variant_type_agrees_with_alleles", {"variant_type_so": None}, None),
        ("stars_agree_with_review_status", {"review_stars": 4}, False),
        ("stars_agree_with_review_status", {"review_status": "practice guideline", "review_stars": 4}, True),
        ("stars_agree_with_review_status", {"review_status": None}, None),
        ("clinical_significance_is_known", {"clinical_significance": ["Pathogenic", "drug response"]}, True),
        ("clinical_significance_is_known", {"clinical_significance": ["Pathogenic", "Very bad"]}, False),
        ("clinical_significance_is_known", {"clinical_significance": ["Pathogenic/Likely pathogenic"]}, False),
        ("clinical_significance_is_known", {"clinical_significance": None}, None),
    ],
)
def test_each_check_catches_what_it_is_for(check, changes, expected):
    assert verdict(check, **changes) is expected


def test_chromosome_lengths_are_those_that_gnomad_headers_give():
    import gzip

    for assembly, name in (
        ("GRCh37", "sample.gnomad.exomes.r2.1.1.sites.chr1.vcf.gz"),
        ("GRCh38", "sample.gnomad.genomes.r3.0.sites.chr1.vcf.gz"),
    ):
        text = gzip.decompress(real(name).read_bytes()).decode()
        said = re.findall(r"##contig=<ID=(?:chr)?(\d+|X|Y),length=(\d+)", text)
        expected = {contig: length for contig, length in lengths(assembly).items() if contig != "MT"}
        assert {contig: int(length) for contig, length in said} == expected


def test_accessions_are_those_that_clinvar_uses():
    assert accessions("GRCh37")["1"] == "NC_000001.10"
    assert accessions("GRCh38")["17"] == "NC_000017.11"
    assert accessions("GRCh38")["X"] == "NC_000023.11"
    assert accessions("GRCh37")["MT"] == accessions("GRCh38")["MT"] == "NC_012920.1"


def test_the_table_lists_the_review_statuses_that_have_stars():
    column = TABLE.column("review_status")
    assert column is not None
    assert set(column.checks.isin or ()) == set(STARS)


def test_every_column_has_a_term_of_its_standard():
    assert [resolve(column.term or "") for column in TABLE.columns] == [None] * len(TABLE.columns)
