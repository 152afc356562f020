"""Structures of proteins: confidence kept apart from B factors, entries on hold withheld row by row until their day."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from assets.licence_words import licence_words
from assets.readers import SOURCE_FIELDS
from assets.readers import json as json_reader
from catalog.dataset import load_dataset
from catalog.errors import HarmoniseError, SourceError
from catalog.query import Door
from catalog.records import Snapshot, SourceFile
from catalog.table import load_table
from dagster_project import curate
from dagster_project.settings import Settings
from validations.science import science_checks

ALPHAFOLD = Path(__file__).parents[2] / "shared/data/proteins/AF-P29373-F1-model_v4.cif.gz"
NOW = datetime(2026, 11, 24, tzinfo=UTC)
TODAY = NOW.date()
NAMES = ("proteins/pdb", "proteins/pdb_on_hold", "proteins/alphafold")


@pytest.fixture(scope="module")
def house(tmp_path_factory, publish) -> curate.House:
    house = curate.House(Settings.at(tmp_path_factory.mktemp("house")), clock=lambda: NOW)
    for name in NAMES:
        publish(house, name)
    return house


def door(house: curate.House, profile: str = "open", day: date = TODAY) -> Door:
    return Door(house.warehouse, house.ledger, [load_dataset(name) for name in NAMES], profile, day, derived=[])


def entries(house: curate.House, profile: str = "open", day: date = TODAY) -> list[str]:
    found = door(house, profile, day).answer("SELECT entry_id FROM proteins.structures ORDER BY entry_id").fetchall()
    return [name for (name,) in found]


def test_an_entry_on_hold_is_withheld_until_its_day_and_one_without_a_day_for_good(house):
    released = ["1PFE", "3JQH", "5I55", "AF-SYNTHETIC1-F1", "AF-SYNTHETIC2-F1"]
    assert entries(house) == sorted([*released, "9ZZC"])
    assert entries(house, day=date(2027, 2, 2)) == entries(house)
    assert entries(house, day=date(2027, 2, 3)) == sorted([*released, "9ZZB", "9ZZC"])
    assert entries(house, day=date(2099, 1, 1)) == sorted(
        [*released, "9ZZB", "9ZZC"]
    )  # HPUB, PROC, WDRN, HOLD sine die
    assert len(entries(house, "internal")) == len(released) + 6


def test_the_residues_of_an_entry_on_hold_are_withheld_with_it(tmp_path):
    text = "data_{0}\n_entry.id {0}\n_pdbx_database_status.status_code {1}\n{2}{3}"
    atoms = (
        "loop_\n_atom_site.id\n_atom_site.label_comp_id\n_atom_site.label_asym_id\n_atom_site.label_seq_id\n"
        "_atom_site.B_iso_or_equiv\n1 GLY A 1 5.0\n"
    )
    day = "_pdbx_database_status.date_hold_coordinates 2027-01-01\n"
    out = "_pdbx_audit_revision_history.revision_date 2020-01-01\n"
    folder = tmp_path / "entries"
    folder.mkdir()
    for name, state, more in (("1REL", "REL", out), ("2HLD", "HOLD", day), ("3HPB", "HPUB", ""), ("4REL", "REL", "")):
        (folder / f"{name}.cif").write_text(text.format(name, state, more, atoms))
    house = curate.House(Settings.at(tmp_path / "home"), clock=lambda: NOW)
    dataset = load_dataset("proteins/pdb")
    loose = dataset.model_copy(update={"gates": dataset.gates.model_copy(update={"max_quarantined": 1.0})})
    loose._name = dataset.name
    where = curate.address(loose, sample=False, override=str(folder))
    stage, report = curate.stage(house, loose, curate.fetch(house, loose, where), "run")
    assert report.passed, report.refusals()
    curate.commit(house, loose, stage)

    def residues(day: date) -> list[str]:
        sight = Door(house.warehouse, house.ledger, [dataset], "open", day, derived=[])
        return [name for (name,) in sight.answer("SELECT entry_id FROM proteins.residues ORDER BY 1").fetchall()]

    assert residues(TODAY) == ["1REL"]
    assert residues(date(2027, 1, 1)) == ["1REL", "2HLD"]
    internal = Door(house.warehouse, house.ledger, [dataset], "internal", TODAY, derived=[])
    kept = internal.answer("SELECT entry_id FROM proteins.structures ORDER BY 1").fetchall()
    assert kept == [("1REL",), ("2HLD",), ("3HPB",)]  # a released entry without a day of release is refused


def test_a_b_factor_and_a_confidence_never_stand_in_one_column(house):
    ask = door(house, "internal").answer
    counts = "count(b_iso), count(plddt), count(*) FILTER (b_iso IS NOT NULL AND plddt IS NOT NULL)"
    by = f"SELECT entry_id LIKE 'AF-%' AS predicted, {counts} FROM proteins.residues GROUP BY 1 ORDER BY 1"
    assert ask(by).fetchall() == [(False, 66, 0, 0), (True, 0, 46, 0)]
    shown = "SELECT entry_id, exptl_methods, resolution, nchains, nresidues FROM proteins.structures"
    assert ask(f"{shown} WHERE structure_determination_methodology = 'experimental' ORDER BY 1").fetchall() == [
        ("1PFE", ["X-RAY DIFFRACTION"], 1.1, 2, 16),
        ("3JQH", ["X-RAY DIFFRACTION"], 2.201, 1, 23),
        ("5I55", ["X-RAY DIFFRACTION"], 1.45, 1, 22),
    ]
    said = "SELECT organisms, uniprot_accessions, publication_doi FROM proteins.structures WHERE entry_id = '5I55'"
    organism = {"scientific_name": "Staphylococcus aureus", "ncbi_taxonomy_id": 1280}
    assert ask(said).fetchall() == [([organism], ["H9BRQ7"], "10.1126/science.aaf4901")]


def test_the_alphafold_file_of_p29373_has_the_mean_that_alphafold_db_gives(tmp_path, publish):
    if not ALPHAFOLD.exists():
        pytest.skip(f"{ALPHAFOLD} is not here")
    house = curate.House(Settings.at(tmp_path), clock=lambda: NOW)
    publish(house, "proteins/alphafold", ALPHAFOLD)
    ask = door(house).answer
    (row,) = ask(
        "SELECT round(plddt_mean, 2), declared_plddt_mean, nresidues, natoms, plddt_fraction_very_high, b_iso_mean"
        " FROM proteins.structures"
    ).fetchall()
    # 96.71 is the mean over atoms; over the residues (137 of the mature protein and the first methionine) it is less.
    assert row == (96.71, 96.71, 138, 1099, pytest.approx(133 / 138, abs=0.02), None)
    assert ask("SELECT round(avg(plddt), 2), count(*) FROM proteins.residues").fetchall() == [(96.58, 138)]
    file = SourceFile(name=ALPHAFOLD.name, path=ALPHAFOLD, size=ALPHAFOLD.stat().st_size, sha256="0" * 64)
    found = licence_words([file])
    assert {means for one in found for means in one.means} == {"CC-BY-4.0"}
    assert any("_pdbx_data_usage" in one.place for one in found)
    version = house.ledger.version("proteins/alphafold")
    assert {means for one in version.found for means in one.means} == {"CC-BY-4.0"}


EMPTY = pl.from_arrow(load_table("proteins.structures").arrow_schema.empty_table()).schema
RESIDUE = pl.from_arrow(load_table("proteins.residues").arrow_schema.empty_table()).schema
PREDICTED = {"structure_determination_methodology": "computational"}
MEASURED = {"structure_determination_methodology": "experimental"}
SHARES = {f"plddt_fraction_{name}": 0.25 for name in ("very_high", "confident", "low", "very_low")}


def chain(sequence: str | None, residues: int, nchains: int = 1, nresidues: int = 2) -> dict:
    """An entry with one chain and what it says that it has."""
    ids = {"label_asym_id": "A", "auth_asym_id": "A", "entity_id": "1", "type": None, "description": None}
    chains = [{**ids, "sequence": sequence, "residues": residues}]
    return {"nchains": nchains, "nresidues": nresidues, "chains": chains}


D = date


@pytest.mark.parametrize(
    ("check", "row", "holds"),
    [
        ("confidence_is_of_predictions", PREDICTED | {"plddt_mean": 90.0}, True),
        ("confidence_is_of_predictions", PREDICTED | {"b_iso_mean": 20.0}, False),
        ("confidence_is_of_predictions", PREDICTED | {"resolution": 2.0}, False),
        ("confidence_is_of_predictions", PREDICTED | {"exptl_methods": ["SOLUTION NMR"]}, False),
        ("confidence_is_of_predictions", MEASURED | {"plddt_mean": 90.0}, False),
        ("confidence_is_of_predictions", {"declared_plddt_mean": 90.0}, False),
        ("confidence_is_of_predictions", MEASURED | {"b_iso_mean": 20.0}, True),
        ("confidence_adds_up", SHARES | {"plddt_mean": 65.0}, True),
        ("confidence_adds_up", SHARES | {"plddt_mean": 99.0}, False),
        ("confidence_adds_up", SHARES | {"plddt_mean": 65.0, "plddt_fraction_low": 0.5}, False),
        ("mean_confidence_is_the_declared_one", {"plddt_mean": 90.0, "declared_plddt_mean": 90.3}, True),
        ("mean_confidence_is_the_declared_one", {"plddt_mean": 90.0, "declared_plddt_mean": 85.0}, False),
        ("mean_confidence_is_the_declared_one", {"plddt_mean": 90.0}, None),
        ("resolution_fits_the_method", {"resolution": 1.5, "exptl_methods": ["X-RAY DIFFRACTION"]}, True),
        ("resolution_fits_the_method", {"resolution": 0.1, "exptl_methods": ["X-RAY DIFFRACTION"]}, False),
        ("resolution_fits_the_method", {"resolution": 30.0, "exptl_methods": ["X-RAY DIFFRACTION"]}, False),
        ("resolution_fits_the_method", {"resolution": 30.0, "exptl_methods": ["ELECTRON MICROSCOPY"]}, True),
        ("resolution_fits_the_method", {"resolution": 2.0, "exptl_methods": ["SOLUTION NMR"]}, False),
        ("resolution_fits_the_method", {"resolution": 2.0, "exptl_methods": ["SOLID-STATE NMR", "OTHER"]}, True),
        ("resolution_fits_the_method", {"exptl_methods": ["SOLUTION NMR"]}, None),
        ("dates_are_in_order", {"deposition_date": D(2020, 1, 2), "release_date": D(2020, 1, 1)}, False),
        ("dates_are_in_order", {"release_date": D(2020, 1, 2), "revision_date": D(2020, 1, 1)}, False),
        ("dates_are_in_order", {"deposition_date": D(2020, 1, 2), "hold_until": D(2020, 1, 1)}, False),
        ("dates_are_in_order", {"deposition_date": D(2020, 1, 1), "release_date": D(2020, 1, 1)}, True),
        ("dates_are_in_order", PREDICTED | {"deposition_date": D(2022, 6, 1), "release_date": D(2021, 7, 1)}, True),
        ("released_entries_have_a_date", {"status_code": "REL"}, False),
        ("released_entries_have_a_date", {"status_code": "REL", "release_date": D(2020, 1, 1)}, True),
        ("released_entries_have_a_date", {"status_code": "HPUB"}, True),
        ("chains_are_counted", chain("GA", 2), True),
        ("chains_are_counted", chain("GA", 3, nresidues=3), False),
        ("chains_are_counted", chain("GA", 2, nchains=2), False),
        ("chains_are_counted", chain("GA", 2, nresidues=3), False),
        ("chains_are_counted", chain(None, 2), True),
        ("chains_are_counted", {}, None),
    ],
)  # fmt: skip
def test_a_check_refuses_what_cannot_be(check, row, holds):
    assert science_checks()[check](pl.DataFrame([row], schema=EMPTY))[0] is holds


@pytest.mark.parametrize(
    ("check", "row", "holds"),
    [
        ("residue_has_one_measure", {"b_iso": 1.0, "plddt": 1.0}, False),
        ("residue_has_one_measure", {"plddt": 1.0}, True),
        ("b_factor_is_of_an_atom_that_is_seen", {"b_iso": -1.0}, False),
        ("b_factor_is_of_an_atom_that_is_seen", {"b_iso": 2001.0}, False),
        ("b_factor_is_of_an_atom_that_is_seen", {"b_iso": 20.0}, True),
        ("residue_is_no_larger_than_residues_are", {"natoms": 501}, False),
        ("residue_is_no_larger_than_residues_are", {"natoms": 500}, True),
    ],
)
def test_a_check_refuses_residues_that_cannot_be(check, row, holds):
    assert science_checks()[check](pl.DataFrame([row], schema=RESIDUE))[0] is holds


# -- the reader of JSON records -------------------------------------------------------------------------------------


def read_json(path: Path, columns=(), **options) -> list[dict]:
    file = SourceFile(name=path.name, path=path, size=path.stat().st_size, sha256="0" * 64)
    snapshot = Snapshot(
        dataset="proteins/test", uri="file:test", origin="override", sha256="0" * 64, validator="", size=0,
        fetched_at=NOW, files=(file,),
    )  # fmt: skip
    batches = json_reader.read(snapshot, json_reader.Options(**options), columns)
    assert batches.schema.names[: len(SOURCE_FIELDS)] == [field.name for field in SOURCE_FIELDS]
    return [row for batch in batches for row in batch.to_pylist()]


@pytest.mark.parametrize(
    ("text", "keyed", "expected"),
    [
        ('{"a": {"x": {"y": 1.50}}, "b": {"x": {"y": null}}}', True, [("a", "1.5"), ("b", None)]),
        ('[{"x": {"y": "é"}}, {"x": 3}]', False, [(None, "é"), (None, None)]),
        ('{"x": {"y": [1, 2]}}\n{"x": {"y": {"z": true}}}\n', False, [(None, "[1,2]"), (None, '{"z":true}')]),
    ],
)
def test_json_records_are_read_with_their_keys_and_values_by_path(tmp_path, text, keyed, expected):
    path = tmp_path / "records.json"
    path.write_text(text)
    assert [(row["_record"], row["x.y"]) for row in read_json(path, ["x.y"], keyed=keyed)] == expected


def test_a_json_record_that_is_none_says_so_and_the_others_go_on(tmp_path):
    path = tmp_path / "records.json"
    path.write_text('{"a": {"x": 1}, "b": 7, "c": {"x": 2}, "d": {"x"')
    found = read_json(path, ["x"], keyed=True)
    assert [(row["_record"], row["x"], bool(row["_error"])) for row in found] == [
        ("a", "1", False), ("b", None, True), ("c", "2", False), (None, None, True),
    ]  # fmt: skip
    assert "no JSON object" in found[1]["_error"]
    assert "not valid JSON" in found[3]["_error"]
    path.write_text('{"a": {"status_code": "REL"}}')
    with pytest.raises(HarmoniseError, match="did you mean 'status_code'"):
        read_json(path, ["status_cod"], keyed=True)
    path.write_text("{}")
    with pytest.raises(SourceError, match="holds no record"):
        read_json(path, ["x"], keyed=True)
