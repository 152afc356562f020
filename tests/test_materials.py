"""crystals.materials: structures of several datasets that show one material, and on which terms a row may be had."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime
from hashlib import sha256

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.transforms import structures
from catalog.dataset import FOLDER, load_dataset
from catalog.derived import read_derived
from catalog.query import Door
from catalog.records import Stage, Version
from catalog.table import load_table
from dagster_project import curate
from dagster_project.settings import Settings

DAY = date(2027, 3, 1)
NOW = datetime(2027, 3, 1, tzinfo=UTC)
DERIVED = read_derived(FOLDER / "crystals" / "materials" / "defs.yaml")
TABLE = load_table("crystals.structures")
_EMPTY = {"list": [], "string": "", "int32": 1, "double": 1.0}


def structure(record: str, formula: str, number: int | None, sequence: str | None, volume: float) -> dict:
    """A row with what is asked of it; what a column must have besides is empty."""
    filled = {column.name: _EMPTY[column.type.partition("<")[0]] for column in TABLE.columns if not column.nullable}
    return filled | {
        "_record": record, "id": record, "chemical_formula_reduced": formula, "space_group_it_number": number,
        "_winnow_wyckoff_sequence": sequence, "_winnow_volume_per_atom": volume, "chemical_formula_anonymous": "AB",
    }  # fmt: skip


def publish(house: curate.House, name: str, rows: list[dict]):
    """Commit rows as the first version of a dataset, past the gates."""
    dataset = load_dataset(name)
    told = {"dataset": name, "run_id": f"run-{name}", "fingerprint": name, "origin": "source"}
    told |= {"snapshot_sha256": sha256(name.encode()).hexdigest(), "row_rules": dataset.terms.row_rules()}
    full = [{"_dataset": name, "_part": "all", **row} for row in rows]
    batch = pa.RecordBatch.from_pylist(full, schema=TABLE.arrow_schema)
    staged = house.warehouse.stage([batch], name, TABLE, told["run_id"])
    stage = Stage(**told, base_version=0, tables=(staged,), quarantine=())
    committed = house.warehouse.commit(stage, [TABLE])
    house.ledger.record_version(Version(**told, number=1, tables=committed, committed_at=NOW))
    return dataset


def materials(house: curate.House, datasets: list, profile: str = "internal") -> list[dict]:
    door = Door(house.warehouse, house.ledger, datasets, profile, DAY, derived=[DERIVED])
    table = door.derive(DERIVED).read_all()
    assert table.schema.equals(DERIVED.arrow_schema)
    return table.to_pylist()


@pytest.fixture(scope="module")
def estate(tmp_path_factory):
    house = curate.House(Settings.at(tmp_path_factory.mktemp("house")), clock=lambda: NOW)
    salt = "Cl:1:-3mm Na:1:-3mm"
    cod = [
        structure("1", "ClNa", 225, salt, 22.4),
        structure("2", "ClNa", 225, salt, 15.0),  # under pressure
        structure("3", "ClNa", 221, salt, 22.4),  # of another symmetry
        structure("4", "ClNa", None, None, 22.4),
    ]
    other = [structure("a", "ClNa", 225, salt, 23.1), structure("b", "ClK", 225, salt.replace("Na", "K"), 31.0)]
    return house, [publish(house, "crystals/cod", cod), publish(house, "crystals/core_mof", other)]


def test_a_material_of_two_datasets_is_one_row_with_its_members_and_the_terms_of_both(estate):
    rows = {
        (row["chemical_formula_reduced"], row["space_group_it_number"], row["phase"]): row for row in materials(*estate)
    }
    assert len(rows) == 4
    row = rows["ClNa", 225, 2]
    assert row["members"] == ["crystals/cod 1", "crystals/core_mof a"]
    assert (row["structures"], row["datasets"]) == (2, 2)
    assert (row["least_volume_per_atom"], row["most_volume_per_atom"]) == (22.4, 23.1)
    assert row["_datasets"] == ["crystals/cod", "crystals/core_mof"]
    assert set(row["_licence"].split(" AND ")) == {"CC-BY-4.0", "LicenseRef-COD-public-domain"}
    assert rows["ClNa", 225, 1]["members"] == ["crystals/cod 2"]
    assert rows["ClNa", 221, 1]["members"] == ["crystals/cod 3"]


@settings(max_examples=6, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["A", "B"]), st.floats(5, 50)), min_size=1, max_size=30))
def test_phases_are_the_chains_of_volumes(tmp_path_factory, drawn):
    house = curate.House(Settings.at(tmp_path_factory.mktemp("house")), clock=lambda: NOW)
    rows = [structure(str(n), formula, 1, "x", volume) for n, (formula, volume) in enumerate(drawn)]
    found = {tuple(row["members"]) for row in materials(house, [publish(house, "crystals/cod", rows)])}
    chains = defaultdict(list)
    for number, (formula, volume) in sorted(enumerate(drawn), key=lambda one: one[1]):
        chain = chains[formula]
        if not chain or volume > 1.1 * chain[-1][-1][1]:
            chain.append([])
        chain[-1].append((number, volume))
    expected = {
        tuple(sorted(f"crystals/cod {number}" for number, _ in chain)) for listed in chains.values() for chain in listed
    }
    assert found == expected


def test_the_sequence_is_the_same_in_any_cell_and_setting():
    """Rock salt as a conventional cell, as a primitive one, and with its origin on the other ion."""
    kinds = ("Na", "Cl")
    a = 5.64
    half = a / 2
    conventional = [[a, 0, 0], [0, a, 0], [0, 0, a]]
    primitive = [[0, half, half], [half, 0, half], [half, half, 0]]
    face = [(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)]

    def row(lattice, sites):
        species = [{"name": n, "chemical_symbols": [n], "concentration": [1.0], "mass": None, "original_name": None,
                    "attached": None, "nattached": None} for n in kinds]  # fmt: skip
        return {
            "_record": "x", "_position": "x", "chemical_formula_sum": None, "lattice_vectors": lattice,
            "fractional_site_positions": [position for _, position in sites],
            "species_at_sites": [name for name, _ in sites], "species": species,
            "dimension_types": [1, 1, 1], "assemblies": None,
        }  # fmt: skip

    def shifted(by):
        return [("Na", tuple(x + by for x in p)) for p in face] + [
            ("Cl", (p[0] + 0.5 + by, p[1] + by, p[2] + by)) for p in face
        ]

    cells = [
        row(conventional, shifted(0.0)),
        row(conventional, shifted(0.5)),
        row(conventional, shifted(0.137)),
        row(primitive, [("Na", (0, 0, 0)), ("Cl", (0.5, 0.5, 0.5))]),
    ]
    found = [structures.structure(cell) for cell in cells]
    assert {one["space_group_it_number"] for one in found} == {225}
    assert len({one["_winnow_wyckoff_sequence"] for one in found}) == 1
    assert {round(one["_winnow_volume_per_atom"], 9) for one in found} == {round(a**3 / 8, 9)}
