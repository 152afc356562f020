"""gnomAD: v2 exomes and v3 genomes, whose INFO keys differ, go through one mapping each into genomics.variants."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.dataset as ds
import pytest
import yaml

from catalog.dataset import FOLDER, load_dataset
from catalog.table import load_table
from dagster_project import curate
from dagster_project.settings import Settings

DATA = Path(__file__).parent.parent.parent / "shared" / "data" / "genomics"
OLD_GROUPS = {
    "afr": "afr", "amr": "amr", "asj": "asj", "eas": "eas", "fin": "fin", "nfe": "nfe", "remaining": "oth",
    "sas": "sas", "xx": "female", "xy": "male",
}  # fmt: skip
KEYS = {"allele_count": "AC", "allele_number": "AN", "allele_frequency": "AF", "homozygote_count": "nhomalt"}
RELEASES = {
    "v2": ("sample.gnomad.exomes.r2.1.1.sites.chr1.vcf.gz", "GRCh37", OLD_GROUPS, 100),
    "v3": ("sample.gnomad.genomes.r3.0.sites.chr1.vcf.gz", "GRCh38", OLD_GROUPS | {"ami": "ami"}, 30),
}


def mapping(groups: dict[str, str]) -> dict[str, str]:
    """Canonical column -> INFO key, as one of gnomAD's older releases has them."""
    wide = {f"{name}_{group}": f"{key}_{theirs}" for group, theirs in groups.items() for name, key in KEYS.items()}
    return {"rs_id": "ID", "quality": "QUAL", "filters": "FILTER", **KEYS, **wide}


def staged(tmp_path: Path, source: str, assembly: str, groups: dict[str, str]):
    """A contract like gnomAD v4's with an older release's keys; its rows, and the report of the gates."""
    contract = yaml.safe_load((FOLDER / "genomics" / "gnomad_exomes" / "defs.yaml").read_text())
    attributes = contract["attributes"]
    attributes["source"] = {"unpublished": "a test's", "format": "vcf", "options": {"assembly": assembly}}
    attributes["tables"] = {"genomics.variants": {"columns": mapping(groups)}}
    attributes["gates"] = {"min_rows": 1}
    folder = tmp_path / "datasets" / "genomics" / "older"
    folder.mkdir(parents=True)
    (folder / "sample.vcf").write_text("x")
    (folder / "defs.yaml").write_text(yaml.safe_dump(contract))
    dataset = load_dataset("genomics/older", tmp_path / "datasets")
    house = curate.House(Settings.at(tmp_path / "home"), clock=lambda: datetime(2027, 3, 1, tzinfo=UTC))
    snapshot = curate.fetch(house, dataset, curate.address(dataset, override=str(DATA / source)))
    stage, report = curate.stage(house, dataset, snapshot, "run")
    assert report.passed, report.refusals()
    rows = ds.dataset(list(stage.tables[0].files)).to_table().to_pylist()
    return {row["variant_id"]: row for row in rows}, report.tables[0]


def alleles(path: Path, assembly: str) -> Iterator[tuple[str, list[str], int, dict[str, str]]]:
    """Each alternate allele as its variant_id, its line, its index and its INFO, by plain string work."""
    for line in gzip.decompress(path.read_bytes()).decode().splitlines():
        if line.startswith("#"):
            continue
        fields = line.split("\t")
        info = dict(item.partition("=")[::2] for item in fields[7].split(";"))
        for index, alt in enumerate(fields[4].split(",")):
            place, ref = int(fields[1]), fields[3]
            while len(ref) > 1 and len(alt) > 1 and ref[-1] == alt[-1]:
                ref, alt = ref[:-1], alt[:-1]
            while len(ref) > 1 and len(alt) > 1 and ref[0] == alt[0]:
                ref, alt, place = ref[1:], alt[1:], place + 1
            yield f"{assembly}-{fields[0].removeprefix('chr')}-{place}-{ref}-{alt}", fields, index, info


def number(info: dict[str, str], key: str, index: int) -> float | None:
    text = info.get(key)
    if text is None:
        return None
    texts = text.split(",")
    value = texts[index if len(texts) > 1 else 0]
    return None if value == "." else float(value)


@pytest.mark.parametrize("release", RELEASES)
def test_an_older_release_comes_out_as_its_lines_say(release, tmp_path):
    name, assembly, groups, records = RELEASES[release]
    if not (DATA / name).exists():
        pytest.skip(f"{DATA / name} is not here")
    rows, report = staged(tmp_path, name, assembly, groups)
    expected = list(alleles(DATA / name, assembly))
    assert report.read == report.kept == records
    assert rows.keys() == {variant for variant, *_ in expected}
    assert len(rows) == len(expected)
    for variant, fields, index, info in expected:
        row = rows[variant]
        assert row["rs_id"] == (None if fields[2] == "." else fields[2])
        assert row["quality"] == float(fields[5])
        assert row["filters"] == ([] if fields[6] == "PASS" else fields[6].split(";"))
        for group, theirs in {"": "", **{f"_{ours}": f"_{theirs}" for ours, theirs in groups.items()}}.items():
            for column, key in KEYS.items():
                assert row[f"{column}{group}"] == number(info, f"{key}{theirs}", index), (variant, column, group)
        assert row["allele_count_mid"] is None
        assert row["lifted_from"] is None


@pytest.mark.parametrize("name", ["genomics/gnomad_exomes", "genomics/gnomad_genomes"])
def test_each_column_takes_the_key_that_is_its_term(name):
    table = load_table("genomics.variants")
    for column, source in load_dataset(name).feeds["genomics.variants"].columns.items():
        assert source == (table.column(column).term or "").partition(":")[2]


def test_the_1000_genomes_count_alleles_in_homozygotes_and_people_are_half_of_that():
    columns = load_dataset("genomics/thousand_genomes").feeds["genomics.variants"].columns
    for group in ("", "_afr", "_amr", "_eas", "_eur", "_sas"):
        assert columns[f"homozygote_count{group}"] == f"AC_Hom{group.upper()} // 2"
        assert [columns[f"{name}{group}"] for name in ("allele_count", "allele_number", "allele_frequency")] == [
            f"{key}{group.upper()}" for key in ("AC", "AN", "AF")
        ]


def test_the_mapping_of_the_current_release_covers_every_group_but_the_1000_genomes():
    genomes = load_dataset("genomics/gnomad_genomes").feeds["genomics.variants"].columns
    exomes = load_dataset("genomics/gnomad_exomes").feeds["genomics.variants"].columns
    names = {
        column.name for column in load_table("genomics.variants").columns if column.name.startswith("allele_count")
    }
    assert {name for name in genomes if name.startswith("allele_count")} == names - {"allele_count_eur"}
    assert genomes.keys() - exomes.keys() == {f"{name}_ami" for name in KEYS}
    assert exomes.keys() <= genomes.keys()
