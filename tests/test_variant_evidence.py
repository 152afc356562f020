"""genomics.variant_evidence: one row per allele with the strongest statement of each kind, under the terms of all."""

from __future__ import annotations

from datetime import UTC, date, datetime
from hashlib import sha256

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog.dataset import FOLDER, load_dataset
from catalog.derived import read_derived
from catalog.query import Door
from catalog.records import Stage, Version
from catalog.rights.licences import obligations
from catalog.table import load_table
from dagster_project import curate, releases
from dagster_project.settings import Settings

DAY = date(2027, 3, 1)
NOW = datetime(2027, 3, 1, tzinfo=UTC)
NAME = "genomics.variant_evidence"
DERIVED = read_derived(FOLDER / "genomics" / "variant_evidence" / "defs.yaml")
R175H = "GRCh38-17-7675088-C-T"


def allele(text: str) -> dict[str, object]:
    assembly, contig, position, ref, alt = text.split("-")
    return {
        "assembly": assembly, "contig": contig, "position": int(position), "ref": ref, "alt": alt, "variant_id": text,
    }  # fmt: skip


def publish(house: curate.House, name: str, tables: dict[str, list[dict[str, object]]]):
    """Commit rows as the first version of a dataset, past the gates."""
    dataset = load_dataset(name)
    told = {"dataset": name, "run_id": f"run-{name}", "fingerprint": name, "origin": "source"}
    told |= {"snapshot_sha256": sha256(name.encode()).hexdigest(), "row_rules": dataset.terms.row_rules()}
    staged, schemas = [], []
    for table_name, rows in tables.items():
        table = load_table(table_name)
        full = [{"_record": f"r{index}", "_dataset": name, "_part": "all", **row} for index, row in enumerate(rows)]
        batch = pa.RecordBatch.from_pylist(full, schema=table.arrow_schema)
        staged.append(house.warehouse.stage([batch], name, table, told["run_id"]))
        schemas.append(table)
    stage = Stage(**told, base_version=0, tables=tuple(staged), quarantine=())
    committed = house.warehouse.commit(stage, schemas)
    house.ledger.record_version(Version(**told, number=1, tables=committed, committed_at=NOW))
    return dataset


def seen(text: str, frequency: float | None, filters: list[str] | None = None, count: int = 1, number: int = 10):
    return allele(text) | {
        "allele_frequency": frequency, "allele_count": count, "allele_number": number, "filters": filters,
    }  # fmt: skip


def effect(text: str, annotation: int, consequences: list[str] | None, gene: str):
    return allele(text) | {"annotation": annotation, "consequences": consequences, "gene_symbol": gene}


def classified(text: str, record: str, said: list[str] | None, stars: int | None):
    return allele(text) | {"_record": record, "clinical_significance": said, "review_stars": stars}


def predicted(text: str | None, variant: str, score: float, kind: str, model: str = "AlphaMissense"):
    place = allele(text) if text else {}
    return place | {
        "uniprot_id": "P04637", "protein_variant": variant, "model": model, "score": score, "class": kind,
    }  # fmt: skip


@pytest.fixture(scope="module")
def estate(tmp_path_factory):
    """A house with alleles that some or all of the sources speak of."""
    house = curate.House(Settings.at(tmp_path_factory.mktemp("house")), clock=lambda: NOW)
    grouped = {"allele_count_nfe": 3, "allele_number_nfe": 30, "allele_frequency_nfe": 0.1, "allele_number_xx": 7}
    exomes = [
        seen(R175H, 4e-6, [], 6, 1461858) | grouped,
        seen("GRCh38-1-10-A-C", 0.5, ["AC0"]),
        seen("GRCh38-1-20-A-C", 0.2),
    ]
    genomes = [seen(R175H, 6.6e-6, [], 1, 152204), seen("GRCh38-1-10-A-C", 0.25, []), seen("GRCh38-1-20-A-C", None)]
    effects = [
        effect(R175H, 0, ["downstream_gene_variant"], "WRAP53"),
        effect(R175H, 1, ["missense_variant", "splice_region_variant"], "TP53"),
        effect("GRCh38-1-20-A-C", 0, ["intron_variant"], "A"),
        effect("GRCh38-1-20-A-C", 1, ["stop_gained"], "B"),
        effect("GRCh38-1-20-A-C", 2, ["a_new_term"], "C"),
    ]
    records = [
        classified(R175H, "12374", ["Pathogenic"], 3),
        classified("GRCh38-1-20-A-C", "1", ["Pathogenic"], 1),
        classified("GRCh38-1-20-A-C", "2", ["Likely benign"], 2),
        classified("GRCh38-1-20-A-C", "3", ["Uncertain significance"], 2),
        classified("GRCh38-1-20-A-C", "4", ["not provided"], 2),
        classified("GRCh38-1-30-A-C", "5", None, None),
    ]
    scores = [
        predicted(R175H, "R175H", 0.9857, "likely_pathogenic"),
        predicted(R175H, "R136H", 0.2, "likely_benign"),
        predicted(R175H, "R1H", 1.0, "likely_pathogenic", model="Another"),
        predicted("GRCh38-2-10-A-C", "A1C", 0.1, "likely_benign"),
        predicted(None, "A2C", 0.1, "likely_benign"),
    ]
    datasets = [
        publish(house, "genomics/gnomad_exomes", {"genomics.variants": exomes, "genomics.consequences": effects}),
        publish(house, "genomics/thousand_genomes", {"genomics.variants": genomes}),
        publish(house, "genomics/clinvar", {"genomics.clinical_significance": records}),
        publish(house, "genomics/alphamissense", {"genomics.effect_predictions": scores}),
    ]
    return house, datasets


def evidence(estate, profile: str) -> dict[str, dict[str, object]]:
    house, datasets = estate
    door = Door(house.warehouse, house.ledger, datasets, profile, DAY, derived=[DERIVED])
    table = door.derive(DERIVED).read_all()
    assert table.schema.equals(DERIVED.arrow_schema)
    rows = table.to_pylist()
    assert len({row["variant_id"] for row in rows}) == len(rows)
    return {row["variant_id"]: row for row in rows}


def asked(licence: str) -> set[str]:
    (only,) = obligations(licence)
    return {str(each) for each in only.obligations}


def test_each_kind_of_evidence_gives_its_strongest_statement(estate):
    rows = evidence(estate, "internal")
    row = rows[R175H]
    assert (row["contig"], row["position"], row["ref"], row["alt"]) == ("17", 7675088, "C", "T")
    assert (row["allele_frequency"], row["allele_count"], row["allele_number"]) == (6.6e-6, 1, 152204)
    assert row["frequency_dataset"] == "genomics/thousand_genomes"
    assert (row["consequence"], row["gene_symbol"]) == ("missense_variant", "TP53")
    assert (row["clinical_significance"], row["review_stars"], row["clinical_record"]) == (["Pathogenic"], 3, "12374")
    assert (row["alphamissense_score"], row["alphamissense_class"]) == (0.9857, "likely_pathogenic")
    assert (row["protein_variant"], row["uniprot_id"]) == ("R175H", "P04637")


def test_filtered_records_count_for_no_frequency_and_stars_come_before_severity(estate):
    rows = evidence(estate, "internal")
    assert rows["GRCh38-1-10-A-C"]["allele_frequency"] == 0.25
    other = rows["GRCh38-1-20-A-C"]
    assert (other["allele_frequency"], other["frequency_dataset"]) == (0.2, "genomics/gnomad_exomes")
    assert (other["consequence"], other["gene_symbol"]) == ("stop_gained", "B")
    assert (other["clinical_significance"], other["clinical_record"]) == (["Uncertain significance"], "3")
    assert "GRCh38-1-30-A-C" not in rows
    assert None not in rows


def test_an_open_row_is_made_without_alphamissense_and_an_internal_one_carries_its_terms(estate):
    inside, outside = evidence(estate, "internal"), evidence(estate, "open")
    assert inside[R175H]["_datasets"] == [
        "genomics/alphamissense", "genomics/clinvar", "genomics/gnomad_exomes", "genomics/thousand_genomes",
    ]  # fmt: skip
    assert {"NON_COMMERCIAL", "SHARE_ALIKE", "ATTRIBUTION"} <= asked(inside[R175H]["_licence"])
    assert asked(inside["GRCh38-1-20-A-C"]["_licence"]) == {"ATTRIBUTION"}
    row = outside[R175H]
    assert row["_datasets"] == ["genomics/clinvar", "genomics/gnomad_exomes", "genomics/thousand_genomes"]
    assert asked(row["_licence"]) == {"ATTRIBUTION"}
    assert row["alphamissense_score"] is row["alphamissense_class"] is row["protein_variant"] is None
    assert (row["allele_frequency"], row["clinical_significance"]) == (6.6e-6, ["Pathogenic"])
    assert "GRCh38-2-10-A-C" in inside
    assert "GRCh38-2-10-A-C" not in outside


def test_the_noncommercial_profile_has_it_all(estate):
    rows = evidence(estate, "noncommercial")
    assert rows[R175H]["alphamissense_score"] == 0.9857
    assert rows == evidence(estate, "internal")


def test_an_open_release_holds_no_value_of_alphamissense(estate, tmp_path):
    house, datasets = estate
    releases.cut(house, "open", str(tmp_path / "out"), datasets=datasets, derived=[DERIVED])
    tables = [pq.read_table(path, partitioning=None) for path in (tmp_path / "out").rglob("*.parquet")]
    assert any("alphamissense_score" in table.schema.names for table in tables)
    for table in tables:
        for column in table.columns:
            assert not any(value in ("R175H", "A1C", "likely_pathogenic", 0.9857) for value in column.to_pylist())


def test_the_view_has_a_row_for_each_group_that_a_dataset_speaks_of(estate):
    house, datasets = estate
    door = Door(house.warehouse, house.ledger, datasets, "open", DAY, derived=[DERIVED])
    found = door.answer("FROM genomics.variant_frequencies").to_arrow_table().to_pylist()
    names = ("variant_id", "group", "allele_count", "allele_number", "allele_frequency", "homozygote_count")
    assert sorted(tuple(row[name] for name in names) for row in found) == [
        (R175H, "nfe", 3, 30, 0.1, None),
        (R175H, "xx", None, 7, None, None),
    ]
    assert {row["_licence"] for row in found} == {"LicenseRef-gnomAD-terms"}


@pytest.fixture(scope="module")
def sampled(tmp_path_factory):
    """A house in which the bundled samples of genomics are published, the whole way through the gates."""
    house = curate.House(Settings.at(tmp_path_factory.mktemp("sampled")), clock=lambda: NOW)
    names = ("gnomad_exomes", "gnomad_genomes", "thousand_genomes", "clinvar", "clinvar_grch37", "alphamissense")
    datasets = [load_dataset(f"genomics/{name}") for name in (*names, "alphamissense_aa")]
    for dataset in datasets:
        snapshot = curate.fetch(house, dataset, curate.address(dataset, sample=True))
        stage, report = curate.stage(house, dataset, snapshot, f"run-{dataset.short_name}")
        assert report.passed, report.refusals()
        assert all(table.kept and not table.quarantined for table in report.tables)
        curate.commit(house, dataset, stage)
    return house, datasets


SHOW = f"""
    SELECT allele_frequency, consequence, clinical_significance, review_stars, alphamissense_score, _licence
    FROM {NAME} WHERE variant_id = '{R175H}'
"""


def test_the_samples_meet_in_one_allele_and_each_profile_sees_what_it_may(sampled):
    house, datasets = sampled
    doors = {
        profile: Door(house.warehouse, house.ledger, datasets, profile, DAY, derived=[DERIVED])
        for profile in ("open", "internal")
    }
    found = {profile: door.answer(SHOW).fetchall() for profile, door in doors.items()}
    common = (pytest.approx(1 / 152204, rel=1e-5), "missense_variant", ["Pathogenic"], 3)
    gnomad_and_ncbi = "LicenseRef-NCBI-public-domain AND LicenseRef-gnomAD-terms"
    assert found == {
        "open": [(*common, None, gnomad_and_ncbi)],
        "internal": [(*common, 0.9857, f"CC-BY-NC-SA-4.0 AND {gnomad_and_ncbi}")],
    }


def test_alleles_on_two_assemblies_stay_apart(sampled):
    rows = evidence(sampled, "internal")
    assert {row["assembly"] for row in rows.values()} == {"GRCh37", "GRCh38"}
    assert rows["GRCh37-7-117180324-G-C"]["review_stars"] == 4
    assert rows["GRCh38-1-69428-T-G"]["allele_frequency"] == pytest.approx(4068 / 165746, rel=1e-5)
    assert rows["GRCh38-21-5030082-G-A"]["_datasets"] == ["genomics/thousand_genomes"]
    # Records that failed a filter, or of which no allele was called, are there without a frequency.
    assert rows["GRCh38-21-5031905-C-A"]["allele_frequency"] is None
    assert rows["GRCh38-21-5035217-T-G"]["allele_frequency"] is None
