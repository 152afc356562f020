"""Computed crystals: licences told apart row by row, what a model was trained on, and GNoME's summary with its CIFs."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from assets.readers import gnome
from catalog.dataset import FOLDER, load_dataset
from catalog.derived import read_derived
from catalog.errors import HarmoniseError, SourceError
from catalog.query import Door
from catalog.records import Snapshot, SourceFile
from dagster_project import curate, releases
from dagster_project.settings import Settings

NOW = datetime(2026, 11, 24, tzinfo=UTC)
TODAY = NOW.date()
NAMES = ("crystals/materials_project", "crystals/gnome", "crystals/cod", "crystals/core_mof")
SAMPLE = FOLDER / "crystals/gnome/sample.zip"
NONCOMMERCIAL = {
    ("crystals/materials_project", "mp-synthetic-2"),
    ("crystals/materials_project", "mp-synthetic-3"),
    *(("crystals/gnome", f"synthetic00{number}") for number in range(1, 7)),
}


@pytest.fixture(scope="module")
def house(tmp_path_factory, publish) -> curate.House:
    house = curate.House(Settings.at(tmp_path_factory.mktemp("house")), clock=lambda: NOW)
    for name in NAMES:
        publish(house, name)
    return house


def ask(house: curate.House, sql: str, profile: str = "open", day: date = TODAY) -> list[tuple]:
    derived = [read_derived(FOLDER / "crystals" / "materials" / "defs.yaml")]
    datasets = [load_dataset(name) for name in NAMES]
    return Door(house.warehouse, house.ledger, datasets, profile, day, derived=derived).answer(sql).fetchall()


def test_open_and_noncommercial_releases_differ_by_exactly_the_rows_for_noncommercial_use(house, tmp_path):
    import duckdb

    held = {}
    for profile in ("open", "noncommercial"):
        datasets = [load_dataset(name) for name in NAMES]
        releases.cut(house, profile, str(tmp_path / profile), datasets=datasets, derived=[])
        with duckdb.connect(str(tmp_path / profile / "catalog.duckdb"), read_only=True) as connection:
            held[profile] = set(connection.sql("SELECT _dataset, _record FROM crystals.structures").fetchall())
        assert releases.verify(house, str(tmp_path / profile), datasets).passed
    assert held["open"] < held["noncommercial"]
    assert held["noncommercial"] - held["open"] == NONCOMMERCIAL


def test_the_query_door_gives_no_more_than_a_release(house):
    rows = "SELECT _dataset, _record FROM crystals.structures"
    assert set(ask(house, rows, "noncommercial")) - set(ask(house, rows)) == NONCOMMERCIAL
    assert set(ask(house, rows, "internal")) == set(ask(house, rows, "noncommercial"))


def test_cubic_perovskites_are_found_by_formula_and_space_group(house):
    where = "WHERE chemical_formula_anonymous = 'A3BC' AND space_group_it_number = 221"
    sql = f"SELECT chemical_formula_reduced FROM crystals.structures {where} ORDER BY ALL"
    assert ask(house, sql) == [("BaO3Ti",), ("O3SrTi",)]
    more = ["Br3CsYb", "Cl3EuRb", "Br3CsYb", "Cl3EuRb", "CaCl3K"]
    assert ask(house, sql, "noncommercial") == sorted((formula,) for formula in ["BaO3Ti", "O3SrTi", *more])


def test_a_material_in_two_datasets_is_one_row_for_whoever_may_have_both(house):
    sql = "SELECT chemical_formula_reduced, members FROM crystals.materials WHERE datasets > 1 ORDER BY 1"
    assert ask(house, sql) == []
    assert ask(house, sql, "noncommercial") == [
        ("Br3CsYb", ["crystals/gnome synthetic001", "crystals/materials_project mp-synthetic-2"]),
        ("Cl3EuRb", ["crystals/gnome synthetic002", "crystals/materials_project mp-synthetic-3"]),
    ]


def test_a_document_of_the_materials_project_has_the_licence_that_it_states(tmp_path):
    lines = (FOLDER / "crystals/materials_project/sample.jsonl").read_text().splitlines()
    document = json.loads(lines[-3])
    said = {
        "by": {"license": "BY-C"},
        "nc": {"license": "BY-NC"},
        "batch": {"license": "BY-C", "batch_id": "gnome_r2scan_statics"},  # in doubt the stricter
        "silent": {"license": None},
        "unknown": {"license": "BY-XX"},
    }
    source = tmp_path / "summary.jsonl"
    made = [json.dumps(document | {"material_id": name, "builder_meta": meta}) for name, meta in said.items()]
    source.write_text("\n".join(made))
    house = curate.House(Settings.at(tmp_path / "home"), clock=lambda: NOW)
    dataset = load_dataset("crystals/materials_project")
    where = curate.address(dataset, sample=False, override=str(source), part="3")
    _, report = curate.stage(house, dataset, curate.fetch(house, dataset, where, "3"), "first")
    assert "BY-XX" in str(report.refusals())  # a word that nobody has looked at stops the dataset
    resolution = dataset.terms.resolution.model_copy(update={"over": ("BY-C", "BY-NC", "BY-XX")})
    terms = dataset.terms.model_copy(update={"resolution": resolution})
    known, dataset = dataset, dataset.model_copy(update={"terms": terms})
    dataset._name, dataset._folder = known.name, known.folder
    where = curate.address(dataset, sample=False, override=str(source), part="3")
    stage, report = curate.stage(house, dataset, curate.fetch(house, dataset, where, "3"), "run")
    assert report.passed, report.refusals()
    curate.commit(house, dataset, stage)

    def held(profile: str) -> set[str]:
        door = Door(house.warehouse, house.ledger, [dataset], profile, TODAY, derived=[])
        rows = door.answer("SELECT id FROM crystals.structures ").fetchall()
        return {name for (name,) in rows}

    assert held("open") == {"by", "silent"}
    assert held("noncommercial") == {"by", "silent", "nc", "batch"}
    assert held("internal") == set(said)


def test_energies_stand_beside_their_functional_and_what_a_model_was_trained_on_is_kept(house):
    by = "SELECT DISTINCT _dataset, _winnow_functional, _winnow_hull_reference FROM crystals.structures"
    energies = "_winnow_formation_energy_per_atom IS NOT NULL OR _winnow_energy_above_hull IS NOT NULL"
    assert sorted(ask(house, f"{by} WHERE {energies}", "internal")) == [
        ("crystals/gnome", "GGA_GGA+U", "GNoME, all entries"),
        ("crystals/materials_project", "GGA_GGA+U_R2SCAN", "Materials Project 2025.02.12"),
    ]
    trained = "SELECT _record FROM crystals.structures WHERE _winnow_is_train ORDER BY 1"
    assert ask(house, trained, "internal") == [("synthetic003",), ("synthetic004",), ("synthetic006",)]
    agree = "SELECT bool_and(_winnow_space_group_agrees) FROM crystals.structures WHERE _dataset = 'crystals/gnome'"
    assert ask(house, agree, "internal") == [(True,)]


def test_deprecated_documents_are_left_out_and_counted():
    dataset = load_dataset("crystals/materials_project")
    assert dataset.drop == {"deprecated": "deprecated = 'true'"}
    lines = (dataset.folder / dataset.sample).read_text().splitlines()
    assert sum(json.loads(line)["deprecated"] for line in lines) == 1


# -- the reader of GNoME -------------------------------------------------------------------------------------------


def files(folder: Path, change=lambda rows: rows, leave_out: str = "", add: str = "") -> list[Path]:
    """The summary and the archive as GNoME publishes them, from the sample."""
    with zipfile.ZipFile(SAMPLE) as sample:
        rows = list(csv.reader(io.StringIO(sample.read("stable_materials_summary.csv").decode())))
        cifs = {name: sample.read(name) for name in sample.namelist() if name.endswith(".CIF")}
    with (folder / "stable_materials_summary.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(change(rows))
    with zipfile.ZipFile(folder / "by_id.zip", "w") as archive:
        for name, content in cifs.items():
            if not leave_out or leave_out not in name:
                archive.writestr(name, content)
        if add:
            archive.writestr(add, cifs["by_id/synthetic001.CIF"])
    return [folder / "by_id.zip", folder / "stable_materials_summary.csv"]


def rows(paths: list[Path], columns=(), **options) -> list[dict]:
    found = tuple(SourceFile(name=p.name, path=p, size=p.stat().st_size, sha256="0" * 64) for p in paths)
    snapshot = Snapshot(
        dataset="crystals/test", uri="file:test", origin="override", sha256="0" * 64, validator="", size=0,
        fetched_at=NOW, files=found,
    )  # fmt: skip
    return pa.Table.from_batches(list(gnome.read(snapshot, gnome.Options(**options), columns))).to_pylist()


def test_a_folder_and_one_archive_give_the_same_records(tmp_path):
    whole = rows([SAMPLE], ["Is Train", "Bandgap"])
    apart = rows(files(tmp_path), ["Is Train", "Bandgap"])
    assert [(row["_record"], row["Bandgap"], row["Is Train"]) for row in whole] == [
        (row["_record"], row["Bandgap"], row["Is Train"]) for row in apart
    ]
    assert [row["space_group_it_number"] for row in whole] == [221, 221, 221, 225, 225, 225]
    assert {row["_error"] for row in apart} == {None}


def test_a_row_without_a_cif_a_cif_without_a_row_and_a_second_row_each_say_so(tmp_path):
    paths = files(tmp_path, lambda table: [*table, table[1]], leave_out="synthetic002", add="by_id/stray.CIF")
    found = rows(paths)
    wrong = [(row["_record"], row["_error"]) for row in found if row["_error"]]
    assert [record for record, _ in wrong] == ["synthetic002", "synthetic001", "stray"]
    assert "has no CIF of this MaterialId" in wrong[0][1]
    assert "an earlier row has it" in wrong[1][1]
    assert "no row of stable_materials_summary.csv" in wrong[2][1]
    assert sum(row["_error"] is None for row in found) == 5


def test_what_is_not_gnome_is_refused_in_words(tmp_path):
    (csv_only,) = [path for path in files(tmp_path) if path.suffix == ".csv"]
    with pytest.raises(SourceError, match=r"holds no by_id\.zip"):
        rows([csv_only])
    with pytest.raises(HarmoniseError, match="did you mean 'Bandgap'"):
        rows([SAMPLE], ["Bandgaps"])
    with pytest.raises(SourceError, match="has no column 'MaterialId'"):
        rows(files(tmp_path, lambda table: [["a", "b"], ["1", "2"]]))
    with pytest.raises(SourceError, match=r"holds no other\.csv"):
        rows([SAMPLE], summary="other.csv")
