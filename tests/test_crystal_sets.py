"""Four real sets of structures, each curated whole through a contract: how many rows, and what was refused and why."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

DATA = Path(__file__).parents[2] / "shared/data/crystals"


def real(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return path


def test_minerals_of_cod(curated):
    found = curated("crystals/cod", real("cod_minerals/crystals"))
    assert (len(found.rows), found.report.quarantined) == (482, 28)
    assert {failure.check: failure.records for failure in found.report.failures} == {
        "composition_is_the_declared_one": 9,
        "atoms_keep_apart": 9,
        "readable": 8,
        "unique_key": 7,  # the same file under two names
        "species_fill_at_most_a_site": 2,
    }
    agree = Counter(row["_winnow_space_group_agrees"] for row in found.rows)
    assert agree == {True: 472, False: 9, None: 1}
    declared = [row for row in found.rows if row["_winnow_declared_volume"]]
    assert all(abs(row["_winnow_volume"] / row["_winnow_declared_volume"] - 1) < 1e-3 for row in declared)


def test_perovskites_in_a_column_of_a_table(curated):
    source = {"unpublished": "a test", "format": "cif", "options": {"text_column": "cif", "id_column": "material_id"}}
    columns = {"_winnow_formation_energy_per_atom": "heat_all", "_winnow_functional": "'PBE'"}
    found = curated("crystals/cod", real("perov_5_val.csv"), source=source, columns=columns)
    assert (len(found.rows), found.report.quarantined) == (3787, 0)
    cubic = [row for row in found.rows if row["chemical_formula_anonymous"] == "A3BC"]
    assert Counter(row["space_group_it_number"] for row in cubic) == {99: 754, 221: 310, 123: 7}
    assert {row["_winnow_declared_space_group_it_number"] for row in found.rows} == {1}  # written without symmetry


def test_computed_entries_of_the_materials_project(curated):
    source = {"unpublished": "a test", "format": "pymatgen"}
    columns = {
        "_winnow_energy_per_atom": "CAST(energy AS DOUBLE) / nsites",
        "_winnow_functional": '"parameters.run_type"',
    }
    found = curated("crystals/cod", real("materials_project/Li-Fe-O.json.gz"), source=source, columns=columns)
    assert (len(found.rows), found.report.quarantined) == (375, 0)
    assert Counter(row["_winnow_functional"] for row in found.rows).keys() == {"GGA", "GGA+U"}
    assert all(-10 < row["_winnow_energy_per_atom"] < 0 for row in found.rows)


@pytest.mark.parametrize("name", ["test_data.jsonl", "test_structures.json"])
def test_entries_of_optimade(curated, name):
    source = {"unpublished": "a test", "format": "optimade"}
    gates = {"min_rows": 1, "max_quarantined": 1.0}
    found = curated("crystals/cod", real(f"optimade/{name}"), source=source, columns={}, gates=gates)
    # The standard's test entries are read whole, but all but silver have made-up cells that no atoms fit into.
    assert found.report.read == 17
    assert [row["id"] for row in found.rows] == ["mpf_200"]
    physics = {"atoms_keep_apart", "density_is_of_matter", "lattice_is_right_handed_and_sized"}
    assert {failure.check for failure in found.report.failures} == physics
