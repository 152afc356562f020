"""Readers of whole unit cells: OPTIMADE, pymatgen, POSCAR and extended XYZ, and that all of them and CIF agree."""

import gzip
import json
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.asymmetric_units import lattice_vectors
from assets.readers import SOURCE_FIELDS, reader
from assets.transforms import structures
from assets.unit_cells import UNIT_CELL
from catalog.errors import HarmoniseError, SourceError
from catalog.records import Snapshot, SourceFile

DATA = Path(__file__).parents[2] / "shared/data/crystals"

SALT = {
    "lattice": [[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 4.0]],
    "symbols": ["Cs", "Cl"],
    "positions": [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]],
}


def snapshot_of(*paths: Path) -> Snapshot:
    files = tuple(SourceFile(name=p.name, path=p, size=p.stat().st_size, sha256="0" * 64) for p in paths)
    return Snapshot(
        dataset="crystals/test", uri="file:test", origin="override", sha256="0" * 64, validator="", size=0,
        fetched_at="2026-01-01T00:00:00Z", files=files,
    )  # fmt: skip


def rows(name: str, path: Path, *columns: str) -> list[dict]:
    read, options = reader(name)
    table = read(snapshot_of(path), options(), columns).read_all()
    assert table.schema.names[: len(SOURCE_FIELDS) + len(UNIT_CELL)] == [f.name for f in SOURCE_FIELDS] + list(
        UNIT_CELL
    )
    return table.to_pylist()


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def as_optimade(crystal: dict, **more) -> dict:
    cartesian = np.array(crystal["positions"]) @ np.array(crystal["lattice"])
    kinds = sorted(set(crystal["symbols"]))
    attributes = {
        "lattice_vectors": crystal["lattice"],
        "cartesian_site_positions": cartesian.tolist(),
        "species_at_sites": crystal["symbols"],
        "species": [{"name": one, "chemical_symbols": [one], "concentration": [1.0]} for one in kinds],
        "dimension_types": [1, 1, 1],
    }
    return {"id": "salt", "type": "structures", "attributes": attributes | more}


def as_pymatgen(crystal: dict) -> dict:
    sites = [
        {"species": [{"element": symbol, "occu": 1}], "abc": position, "label": symbol}
        for symbol, position in zip(crystal["symbols"], crystal["positions"], strict=True)
    ]
    return {"@class": "Structure", "lattice": {"matrix": crystal["lattice"]}, "sites": sites}


def as_poscar(crystal: dict, scale: str = "1.0") -> str:
    kinds = list(dict.fromkeys(crystal["symbols"]))
    grouped = [p for kind in kinds for s, p in zip(crystal["symbols"], crystal["positions"], strict=True) if s == kind]
    counts = [str(crystal["symbols"].count(kind)) for kind in kinds]
    rows = [" ".join(map(repr, row)) for row in crystal["lattice"]]
    sites = [" ".join(map(repr, row)) for row in grouped]
    return "\n".join(["a comment", scale, *rows, " ".join(kinds), " ".join(counts), "Direct", *sites]) + "\n"


def as_extxyz(crystal: dict, more: str = "") -> str:
    cartesian = (np.array(crystal["positions"]) @ np.array(crystal["lattice"])).tolist()
    lattice = " ".join(repr(x) for row in crystal["lattice"] for x in row)
    atoms = [f"{s} {' '.join(map(repr, p))}" for s, p in zip(crystal["symbols"], cartesian, strict=True)]
    head = f'Lattice="{lattice}" Properties=species:S:1:pos:R:3 {more}'
    return "\n".join([str(len(atoms)), head, *atoms]) + "\n"


def as_cif(crystal: dict) -> str:
    metric = np.array(crystal["lattice"])
    lengths = np.linalg.norm(metric, axis=1)
    cosines = [metric[i] @ metric[j] / lengths[i] / lengths[j] for i, j in ((1, 2), (0, 2), (0, 1))]
    cell = [*lengths.tolist(), *np.degrees(np.arccos(cosines)).tolist()]
    names = [*(f"length_{x}" for x in "abc"), *(f"angle_{x}" for x in ("alpha", "beta", "gamma"))]
    head = [f"_cell_{name} {value!r}" for name, value in zip(names, cell, strict=True)]
    loop = ["loop_", *(f"_atom_site_{x}" for x in ("label", "type_symbol", "fract_x", "fract_y", "fract_z"))]
    sites = [
        f"{symbol}{n} {symbol} {' '.join(map(repr, position))}"
        for n, (symbol, position) in enumerate(zip(crystal["symbols"], crystal["positions"], strict=True))
    ]
    return "\n".join(["data_salt", *head, "_space_group_symop_operation_xyz x,y,z", *loop, *sites]) + "\n"


WRITERS = {
    "optimade": ("a.json", lambda crystal: json.dumps(as_optimade(crystal))),
    "pymatgen": ("a.json", lambda crystal: json.dumps(as_pymatgen(crystal))),
    "poscar": ("POSCAR", as_poscar),
    "extxyz": ("a.xyz", as_extxyz),
    "cif": ("a.cif", as_cif),
}


def canonical(name: str, path: Path) -> dict:
    read, options = reader(name)
    table = read(snapshot_of(path), options(), []).read_all()
    (row,) = pa.Table.from_batches([structures.transform(batch) for batch in table.to_batches()]).to_pylist()
    assert row["_error"] is None, row["_error"]
    return {key: row[key] for key in structures.DERIVED if "declared" not in key and key != "id"} | {
        "_winnow_space_group_agrees": None,
        "_winnow_disagreements": None,
    }


@st.composite
def crystals(draw):
    cell = [*draw(st.tuples(*[st.floats(3, 9)] * 3)), *draw(st.tuples(*[st.floats(75, 105)] * 3))]
    count = draw(st.integers(1, 5))
    grid = st.integers(0, 11)
    places = draw(st.lists(st.tuples(grid, grid, grid), min_size=count, max_size=count, unique=True))
    symbols = [draw(st.sampled_from(["Na", "Cl", "O", "Fe"])) for _ in places]
    shift = draw(st.sampled_from([0.0, 0.01, 0.123]))
    positions = [[x / 12 + shift for x in place] for place in places]
    return {"lattice": lattice_vectors(cell).tolist(), "symbols": symbols, "positions": positions}


def close(one, other) -> bool:
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(close, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key]) for key in one)
    return one == pytest.approx(other, abs=1e-7) if isinstance(one, float) else one == other


@settings(max_examples=25, deadline=None)
@given(crystals())
def test_one_structure_has_one_row_whatever_its_format(tmp_path_factory, crystal):
    folder = tmp_path_factory.mktemp("formats")
    found = {name: canonical(name, written(folder, file, write(crystal))) for name, (file, write) in WRITERS.items()}
    for name, row in found.items():
        different = {key for key in row if not close(row[key], found["optimade"][key])}
        assert different == set(), name


def test_every_format_of_unit_cells_is_in_the_list():
    assert set(WRITERS) - {"cif"} == {"extxyz", "optimade", "poscar", "pymatgen"}


@settings(max_examples=25, deadline=None)
@given(crystals(), st.permutations([0, 1, 2]))
def test_a_left_handed_or_turned_cell_is_the_same_structure(tmp_path_factory, crystal, axes):
    """Negating all vectors and positions is the same crystal; so is a turn of all of space."""
    folder = tmp_path_factory.mktemp("hands")
    turn, _ = np.linalg.qr(np.array([[1.0, 2.0, 3.0], [0.5, -1.0, 2.0], [2.0, 0.1, 1.0]]))
    turn *= np.linalg.det(turn)
    mirrored = crystal | {
        "lattice": (-(np.array(crystal["lattice"]) @ turn)).tolist(),
        "positions": (-np.array(crystal["positions"])).tolist(),
    }
    one = canonical("optimade", written(folder, "a.json", json.dumps(as_optimade(crystal))))
    other = canonical("optimade", written(folder, "b.json", json.dumps(as_optimade(mirrored))))
    assert {key for key in one if not close(one[key], other[key])} == set()
    swapped = crystal | {
        "lattice": [crystal["lattice"][axis] for axis in axes],
        "positions": [[position[axis] for axis in axes] for position in crystal["positions"]],
    }
    moved = canonical("optimade", written(folder, "c.json", json.dumps(as_optimade(swapped))))
    same = ("space_group_it_number", "_winnow_wyckoff_sequence", "chemical_formula_reduced", "nsites")
    assert [moved[name] for name in same] == [one[name] for name in same]
    assert moved["_winnow_volume_per_atom"] == pytest.approx(one["_winnow_volume_per_atom"])


def test_real_entries_of_the_materials_project_are_all_read():
    path = DATA / "materials_project/Li-Fe-O.json.gz"
    if not path.is_file():
        pytest.skip(f"real data are not at {path}")
    read, options = reader("pymatgen")
    table = read(snapshot_of(path), options(), ["energy", "parameters.run_type", "composition"]).read_all()
    found = pa.Table.from_batches([structures.transform(batch) for batch in table.to_batches()]).to_pylist()
    assert len(found) == 375
    assert {row["_error"] for row in found} == {None}
    assert Counter(row["parameters.run_type"] for row in found) == {"GGA": 64, "GGA+U": 311}
    assert max(abs(row["_winnow_volume"] / row["_winnow_declared_volume"] - 1) for row in found) < 1e-9
    assert max(row["_winnow_formula_deviation"] for row in found) < 1e-9
    assert float(found[0]["energy"]) == -19.6395493
    assert all(row["space_group_it_number"] for row in found)


@pytest.mark.parametrize("name", ["test_data.jsonl", "test_structures.json"])
def test_real_optimade_entries_are_read_from_both_forms(name):
    path = DATA / "optimade" / name
    if not path.is_file():
        pytest.skip(f"real data are not at {path}")
    found = rows("optimade", path, "_exmpl_stability")
    assert len(found) == 17
    assert {row["_error"] for row in found} == {None}
    assert {row["_record"] for row in found} >= {"mpf_1", "mpf_110", "mpf_3819"}
    row = next(row for row in found if row["_record"] == "mpf_3819")
    if name.endswith("jsonl"):
        assert json.loads(row["_exmpl_stability"]) == {"gga_gga+u_r2scan": -0.1}


def test_responses_lists_lines_and_archives_hold_the_same_records(tmp_path):
    entry = as_optimade(SALT)
    reference = {"type": "references", "id": "x", "attributes": {}}
    texts = {
        "response.json": json.dumps({"data": [entry, reference, entry], "meta": {"api_version": "1.3.0"}}, indent=1),
        "one_line.json": json.dumps({"meta": {}, "data": [entry, reference, entry]}),
        "list.json": json.dumps([entry, entry], indent=2),
        "lines.jsonl": "\n".join(map(json.dumps, [{"x-optimade": {}}, entry, reference, entry])),
    }
    plain = {name: rows("optimade", written(tmp_path, name, text)) for name, text in texts.items()}
    assert {name: [row["_record"] for row in found] for name, found in plain.items()} == dict.fromkeys(
        texts, ["salt"] * 2
    )
    packed = written(tmp_path, "lines.jsonl.gz", gzip.compress(texts["lines.jsonl"].encode()))
    assert len(rows("optimade", packed)) == 2
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name, text in texts.items():
            archive.writestr(name, text)
    assert len(rows("optimade", tmp_path / "all.zip")) == 8


def test_summary_documents_declare_symmetry_and_volume_and_give_what_is_wanted(tmp_path):
    document = {
        "material_id": "mp-22865", "formula_pretty": "CsCl", "symmetry": {"number": 221, "symbol": "Pm-3m"},
        "volume": 64.0, "structure": as_pymatgen(SALT), "builder_meta": {"license": "BY-C"}, "is_stable": True,
        "energy_above_hull": 0.0, "elements": ["Cl", "Cs"],
    }  # fmt: skip
    path = written(tmp_path, "a.jsonl", json.dumps(document) + "\n" + json.dumps(document | {"symmetry": None}))
    one, two = rows("pymatgen", path, "builder_meta.license", "is_stable", "energy_above_hull", "elements")
    assert (one["_record"], one["space_group_it_number"], one["space_group_name_h-m"]) == ("mp-22865", 221, "Pm-3m")
    assert (one["cell_volume"], one["chemical_formula_sum"]) == (64.0, "CsCl")
    assert (one["builder_meta.license"], one["is_stable"], one["energy_above_hull"]) == ("BY-C", "true", "0.0")
    assert one["elements"] == '["Cl","Cs"]'
    assert two["space_group_it_number"] is None


def test_charges_and_shares_of_pymatgens_sites(tmp_path):
    structure = as_pymatgen(SALT)
    structure["sites"][0]["species"] = [
        {"element": "Fe2+", "occu": 0.25}, {"element": "Fe3+", "occu": 0.25}, {"element": "Mg", "occu": 0.4},
    ]  # fmt: skip
    (row,) = rows("pymatgen", written(tmp_path, "a.json", json.dumps(structure)))
    assert row["species"][0]["chemical_symbols"] == ["Fe", "Mg", "vacancy"]
    assert row["species"][0]["concentration"] == pytest.approx([0.5, 0.4, 0.1])


@pytest.mark.parametrize(
    ("name", "file", "text", "says"),
    [
        ("pymatgen", "a.json", {"structure": {"sites": []}}, "no lattice"),
        ("pymatgen", "a.json", {"material_id": "mp-1"}, "no structure"),
        ("pymatgen", "a.json", as_pymatgen(SALT) | {"sites": []}, "no site"),
        ("pymatgen", "a.json", as_pymatgen(SALT) | {"lattice": {"matrix": [[1, 2, 3], [4, 5, 6]]}}, "2 vectors"),
        ("pymatgen", "a.json", as_pymatgen(SALT) | {"lattice": {"matrix": SALT["lattice"], "pbc": [1, 1, 0]}}, "pbc"),
        ("pymatgen", "a.json", as_pymatgen(SALT) | {"lattice": {"matrix": [[float("nan"), 0, 0]] * 3}}, "nan"),
        ("pymatgen", "a.json", 5, "no JSON object"),
        ("optimade", "a.json", as_optimade(SALT, lattice_vectors=None), "lattice_vectors is missing"),
        ("optimade", "a.json", as_optimade(SALT, lattice_vectors=[[1, 2], [3, 4], [5, 6]]), "three numbers"),
        ("optimade", "a.json", as_optimade(SALT, lattice_vectors=[[1e400, 0, 0]] * 3), "three numbers"),
        ("optimade", "a.json", as_optimade(SALT, lattice_vectors=[[1, 0, 0]] * 3), "no volume"),
        ("optimade", "a.json", as_optimade(SALT, dimension_types=[1, 1, 0]), "dimension_types"),
        ("optimade", "a.json", as_optimade(SALT, species=None), "species is missing"),
        ("optimade", "a.json", as_optimade(SALT, species_at_sites=["Cs"]), "2 positions for 1 sites"),
        ("optimade", "a.json", as_optimade(SALT, assemblies=[{"sites": 1}]), "assemblies"),
        ("optimade", "a.json", as_optimade(SALT, species_at_sites=["Cs", 1 << 100]), "species_at_sites is missing"),
        ("poscar", "POSCAR", as_poscar(SALT).replace("1 1", "1 ²"), "expected 2 numbers of atoms"),
        ("extxyz", "a.xyz", "²\n\n", "no number of atoms"),
        ("poscar", "POSCAR", as_poscar(SALT).replace("1 1", "1 2"), "ends at line"),
        ("poscar", "POSCAR", as_poscar(SALT).replace("Cs Cl\n", ""), "does not say which elements"),
        ("poscar", "POSCAR", as_poscar(SALT).replace("Cs Cl", "Cs Qq"), "'Qq' is no element"),
        ("poscar", "POSCAR", as_poscar(SALT).replace("4.0 0.0", "four 0.0", 1), "line 3 is 'four"),
        ("poscar", "POSCAR", as_poscar(SALT).replace("Direct", "Sideways"), "expected Direct or Cartesian"),
        ("poscar", "POSCAR", as_poscar(SALT, scale="0"), "the scale is"),
        ("poscar", "POSCAR", "x\n", "a POSCAR has 8"),
        ("extxyz", "a.xyz", "1\nno lattice here\nH 0 0 0\n", "no Lattice"),
        ("extxyz", "a.xyz", as_extxyz(SALT, 'pbc="T T F"'), "pbc"),
        ("extxyz", "a.xyz", as_extxyz(SALT).replace("Cl", "Qq"), "'Qq' is no element"),
        ("extxyz", "a.xyz", as_extxyz(SALT)[:-8], "fewer values"),
        ("extxyz", "a.xyz", as_extxyz(SALT).replace("2\n", "3\n", 1), "cut short"),
        ("extxyz", "a.xyz", "many\n\n", "no number of atoms"),
    ],
)  # fmt: skip
def test_what_is_no_structure_is_a_record_that_says_why(tmp_path, name, file, text, says):
    good = WRITERS[name]
    content = text if isinstance(text, str) else json.dumps(text)
    (tmp_path / "good").mkdir()
    bad_path, good_path = written(tmp_path, file, content), written(tmp_path / "good", good[0], good[1](SALT))
    read, options = reader(name)
    bad, fine = read(snapshot_of(bad_path, good_path), options(), []).read_all().to_pylist()
    assert says in bad["_error"]
    assert bad["_raw"]
    assert bad["lattice_vectors"] is None
    assert fine["_error"] is None


@pytest.mark.parametrize("name", ["optimade", "pymatgen"])
def test_records_before_a_fault_are_kept(tmp_path, name):
    entry = as_optimade(SALT) if name == "optimade" else as_pymatgen(SALT)
    cut = rows(name, written(tmp_path, "cut.json", json.dumps([entry, entry], indent=1)[:-30]))
    assert [row["_error"] is None for row in cut] == [True, False]
    assert "not valid JSON" in cut[1]["_error"]
    broken = "\n".join([json.dumps(entry), '{"id": ', json.dumps(entry)])
    lines = rows(name, written(tmp_path, "lines.jsonl", broken))
    assert [row["_error"] is None for row in lines] == [True, False, True]
    assert lines[1]["_raw"] == '{"id": \n'
    bomb = rows(name, written(tmp_path, "bomb.jsonl", json.dumps(entry) + "\n" + "[" * 100_000 + "\n"))
    assert [row["_error"] is None for row in bomb] == [True, False]
    with pytest.raises(SourceError, match="cut short or damaged"):
        rows(name, written(tmp_path, "a.jsonl.gz", gzip.compress(broken.encode())[:-9]))


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_a_source_without_any_structure_is_refused(tmp_path, name):
    read, options = reader(name)
    batches = read(snapshot_of(written(tmp_path, "a.txt", "nothing"), written(tmp_path, "b.md", "here")), options(), [])
    with pytest.raises(SourceError, match="file:test"):
        batches.read_all()


def test_a_misspelt_name_is_refused_with_the_one_meant(tmp_path):
    path = written(tmp_path, "a.json", json.dumps(as_optimade(SALT, _exmpl_energy=1.5)))
    assert rows("optimade", path, "_exmpl_energy")[0]["_exmpl_energy"] == "1.5"
    with pytest.raises(HarmoniseError, match=r"_exmpl_enrgy.*_exmpl_energy"):
        rows("optimade", path, "_exmpl_enrgy")


@pytest.mark.parametrize(
    "more",
    [
        {"species": [{"name": "Cs", "chemical_symbols": ["Cs"], "concentration": [1.0], "mass": "heavy"}]},
        {"species": [{"name": "Cs", "chemical_symbols": ["Cs"], "concentration": [1.0], "original_name": 5}]},
        {"species": [{"name": "Cs", "chemical_symbols": ["Cs"], "concentration": [1.0], "nattached": [1 << 40]}]},
        {"assemblies": [{"sites_in_groups": [[1 << 40]], "group_probabilities": [1.0]}]},
        {"chemical_formula_reduced": "\ud800"},
    ],
)
def test_values_of_another_type_cost_their_record_only(tmp_path, more):
    entries = [as_optimade(SALT), as_optimade(SALT, **more), as_optimade(SALT)]
    found = rows("optimade", written(tmp_path, "a.jsonl", "\n".join(map(json.dumps, entries))))
    assert [row["_error"] is None for row in found] == [True, False, True]
    assert [row["_source"] for row in found] == [0, 1, 2]
    assert "another type" in found[1]["_error"]
    assert found[1]["_raw"]


def test_null_masses_and_odd_shares_are_records_that_say_why(tmp_path):
    cs = {"name": "Cs", "chemical_symbols": ["Cs"], "concentration": [1.0], "mass": [None]}
    cl = {"name": "Cl", "chemical_symbols": ["Cl"], "concentration": [1.0]}
    entries = [
        as_optimade(SALT, species=[cs, cl]),
        as_optimade(SALT, species=[cs | {"concentration": [-0.5]}, cl]),
        as_optimade(SALT, species=[cs | {"concentration": [0.5, 0.5]}, cl]),
        as_optimade(SALT),
    ]
    path = written(tmp_path, "a.jsonl", "\n".join(map(json.dumps, entries)))
    read, options = reader("optimade")
    found = [row for batch in read(snapshot_of(path), options(), []) for row in structures.transform(batch).to_pylist()]
    assert [row["_error"] is None for row in found] == [True, False, False, True]
    assert "expected 0 to 1" in found[1]["_error"]
    assert "do not match" in found[2]["_error"]


@pytest.mark.parametrize(
    ("scale", "volume"), [("1.0", 64.0), ("2", 512.0), ("-100.0", 100.0), ("1.0 2.0 3.0", 384.0), ("0.5D0", 8.0)]
)
def test_scales_of_a_poscar(tmp_path, scale, volume):
    (row,) = rows("poscar", written(tmp_path, "POSCAR", as_poscar(SALT, scale)), "comment")
    assert abs(np.linalg.det(np.array(row["lattice_vectors"]))) == pytest.approx(volume)
    assert row["comment"] == "a comment"
    assert row["fractional_site_positions"][1] == pytest.approx([0.5, 0.5, 0.5])


def test_cartesian_and_selective_and_older_poscars(tmp_path):
    text = as_poscar(SALT).replace("Direct", "Selective dynamics\nCartesian").replace("0.5 0.5 0.5", "2 2 2 T T F")
    (row,) = rows("poscar", written(tmp_path, "CONTCAR", text))
    assert row["fractional_site_positions"][1] == pytest.approx([0.5, 0.5, 0.5])
    older = as_poscar(SALT).replace("Cs Cl\n", "").replace("a comment", "Cs Cl")
    assert rows("poscar", written(tmp_path, "POSCAR_4", older))[0]["species_at_sites"] == ["Cs", "Cl"]


def test_frames_carry_their_values(tmp_path):
    text = as_extxyz(SALT, "energy=-1.5 name='rock salt'") + as_extxyz(SALT, "energy=2")
    one, two = rows("extxyz", written(tmp_path, "a.extxyz", text), "energy", "name")
    assert (one["energy"], one["name"], two["energy"], two["name"]) == ("-1.5", "rock salt", "2", None)
    assert (one["_record"], two["_position"]) == ("a.extxyz#1", "a.extxyz frame 2")


def test_what_the_transform_refuses_of_unit_cells(tmp_path):
    x = {"name": "X", "chemical_symbols": ["X"], "concentration": [1.0]}
    cases = {
        "which is no element": as_optimade(SALT, species=[x], species_at_sites=["X", "X"]),
        "does not describe": as_optimade(SALT, species_at_sites=["Cs", "O"]),
        "span no unit cell": as_optimade(SALT, lattice_vectors=[[4, 0, 0], [4, 1e-9, 0], [0, 0, 4]]),
        "attached": as_optimade(
            SALT,
            species=[
                {"name": "Cs", "chemical_symbols": ["Cs"], "concentration": [1.0], "attached": ["C"], "nattached": [1]},
                {"name": "Cl", "chemical_symbols": ["Cl"], "concentration": [1.0]},
            ],
        ),
    }
    path = written(tmp_path, "a.jsonl", "\n".join(map(json.dumps, cases.values())) + "\n")
    read, options = reader("optimade")
    found = [structures.transform(batch).to_pylist() for batch in read(snapshot_of(path), options(), [])]
    errors = [row["_error"] for batch in found for row in batch]
    assert [words in error for words, error in zip(cases, errors, strict=True)] == [True] * len(cases), errors
