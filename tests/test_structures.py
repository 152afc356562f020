"""The structures transform: OPTIMADE quantities, against declared values, gemmi's own expansion and laws."""

import csv
import itertools
import json
import math
import re
import zipfile
from collections import Counter
from pathlib import Path

import gemmi
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from assets import asymmetric_units, cif_blocks, formulas
from assets.asymmetric_units import lattice_vectors
from assets.crystal_sites import StructureError
from assets.readers import cif
from assets.space_groups import space_group
from assets.symmetry import SymmetryError, symmetry
from assets.transforms import structures, transform
from catalog.records import Snapshot, SourceFile
from catalog.table import load_table, term_problem
from catalog.units import conversion

DATA = Path(__file__).parents[2] / "shared/data/crystals"
MINERALS = DATA / "cod_minerals/crystals"


def record(atoms: list[tuple], cell=(5.0, 5.0, 5.0, 90.0, 90.0, 90.0), operations=("x,y,z",), **more) -> dict:
    """A reader's row; atoms are (label, type symbol, x, y, z, occupancy)."""
    names = list(cif_blocks.ATOMS)
    atoms = [(*atom, *[None] * (len(names) - len(atom))) for atom in atoms]
    row: dict = dict.fromkeys((*cif_blocks.STRUCTURE, "_error", "_record", "_position"))
    row |= {"_record": "x", "_position": "x.cif data_x", "symmetry_operations": list(operations)}
    row |= dict(zip(cif_blocks.CELL, cell, strict=True))
    row |= {name: list(column) for name, column in zip(names, zip(*atoms, strict=True), strict=True)}
    return row | more


def problem(row: dict) -> str:
    with pytest.raises(StructureError) as caught:
        structures.structure(row)
    return str(caught.value)


def snapshot_of(paths: list[tuple[str, Path]]) -> Snapshot:
    files = tuple(SourceFile(name=n, path=p, size=p.stat().st_size, sha256="0" * 64) for n, p in paths)
    return Snapshot(
        dataset="crystals/test", uri="file:test", origin="override", sha256="0" * 64, validator="", size=0,
        fetched_at="2026-01-01T00:00:00Z", files=files,
    )  # fmt: skip


@pytest.fixture(scope="module")
def minerals() -> dict[str, dict]:
    """Every real mineral by its file's name, as the reader and the transform give it."""
    if not MINERALS.is_dir():
        pytest.skip(f"real data are not at {MINERALS}")
    paths = [(str(path.relative_to(MINERALS)), path) for path in sorted(MINERALS.rglob("*.cif"))]
    wanted = structures.READS
    batches = [structures.transform(batch) for batch in cif.read(snapshot_of(paths), cif.Options(), wanted)]
    found = pa.Table.from_batches(batches).to_pylist()
    return {row["_position"].partition(".cif")[0]: row for row in found}


def good(minerals: dict[str, dict]) -> dict[str, dict]:
    return {name: row for name, row in minerals.items() if row["_error"] is None}


def test_every_real_mineral_that_can_be_read_has_a_structure(minerals):
    assert len(minerals) == 510
    unread = {name: row["_error"] for name, row in minerals.items() if row["_error"]}
    assert len(unread) == 8  # five that the reader cannot read (see test_cif), and these:
    assert {name for name, error in unread.items() if "does not carry the cell into itself" in error} == {
        "carbides/W2C",  # a threefold axis in a cell with gamma = 90
        "elements/In-Indium",  # lengths and angles have each other's place
        "oxides/WO2",  # a tetragonal group in a cell with gamma = 120
    }


def test_volumes_are_the_declared_ones(minerals):
    pairs = {name: (row["_winnow_volume"], row["cell_volume"]) for name, row in good(minerals).items()}
    off = {name: abs(ours / theirs - 1) for name, (ours, theirs) in pairs.items() if theirs}
    assert len(off) == 303
    assert max(off.values()) < 7.1e-4  # palladium oxide declares 48.9 for 48.93


def test_densities_are_the_declared_ones_but_for_known_files(minerals):
    ratio = {
        name: row["_winnow_density"] / row["exptl_crystal_density_diffrn"]
        for name, row in good(minerals).items()
        if row["exptl_crystal_density_diffrn"]
    }
    assert len(ratio) == 257
    assert {name: round(value, 3) for name, value in ratio.items() if abs(value - 1) > 0.005} == {
        "elements/Te-Tellurium": 1.616,  # declares 3.883; tellurium has 6.24
        "hydroxides/Mg(OH)2-Brucite": 1.067,  # a hydrogen that is one third there is given as whole
        "other/CaC2O6.375H6-Oxalate-Weddellite": 0.988,  # hydrogens of zeolitic water are not on sites
        "zeolites/ZSM-5": 0.984,  # so are those of its water
    }


def test_compositions_are_the_declared_ones_but_for_known_files(minerals):
    declared = {name: row for name, row in good(minerals).items() if row["_winnow_formula_deviation"] is not None}
    assert len(declared) == 305
    assert {name for name, row in declared.items() if row["_winnow_formula_deviation"] > 0.001} == {
        "carbonates/MgCO3-Magnesite",  # oxygen is off the position of its symmetry
        "nitrides/BN",  # boron is on (1/3, 2/3, 0.1), which is a fourfold position
        "other/Pb1Ti0.35Zr0.65O3-PZT-rhomb",  # titanium and zirconium have each other's occupancy
        "oxides/CoFe2O4",  # cobalt and iron have each other's position
        "oxides/NiFe2O4",  # and nickel and iron
        "sulfates/CoSO4",  # all atoms of the cell are listed, and then multiplied by symmetry
        "sulfates/CuSO4",
        "titanates/MgTiO3",
    }
    assert {name for name, row in declared.items() if not 0.99 < (row["_winnow_hydrogen_share"] or 1) < 1.01} == {
        "hydroxides/Mg(OH)2-Brucite",
        "other/CaC2O6.375H6-Oxalate-Weddellite",
        "zeolites/ZSM-5",
    }


def test_what_differs_from_the_declared_is_named_and_all_formula_units_agree(minerals):
    told = Counter(name for row in good(minerals).values() for name in row["_winnow_disagreements"])
    assert told == {"space_group": 10, "formula": 8, "density": 4}
    assert sum(not row["_winnow_disagreements"] for row in good(minerals).values()) == 481
    units = [row for row in good(minerals).values() if row["_winnow_declared_formula_units"]]
    assert len(units) == 35
    assert all(abs(row["_winnow_formula_units"] / row["_winnow_declared_formula_units"] - 1) < 0.01 for row in units)


@pytest.mark.parametrize(
    ("declared", "named"),
    [
        ({"cell_formula_units_z": 4.0, "exptl_crystal_density_diffrn": 2.17, "cell_volume": 178.9}, []),
        ({"cell_formula_units_z": 2.0}, ["formula_units"]),
        ({"exptl_crystal_density_diffrn": 2.3, "cell_volume": 179.5}, ["density", "volume"]),
        ({"chemical_formula_sum": "Na Cl2"}, ["formula"]),
        ({"space_group_it_number": 221}, ["space_group"]),
        ({"cell_formula_units_z": None, "exptl_crystal_density_diffrn": 0.0}, []),
    ],
)
def test_a_declared_value_that_differs_is_named(declared, named):
    atoms = [("Na", "Na", 0.0, 0.0, 0.0, None), ("Cl", "Cl", 0.5, 0.5, 0.5, None)]
    salt = record(atoms, [5.636] * 3 + [90.0] * 3, (), **{"space_group_name_h-m": "F m -3 m"})
    found = structures.structure(salt | {"chemical_formula_sum": "Na Cl"} | declared)
    assert found["_winnow_disagreements"] == named


def test_recomputed_space_groups_are_the_declared_ones_but_for_known_files(minerals):
    found = good(minerals)
    answers = Counter(row["_winnow_space_group_agrees"] for row in found.values())
    assert answers == {True: 486, False: 10, None: 6}
    pairs = {
        name: (row["_winnow_declared_space_group_it_number"], row["space_group_it_number"])
        for name, row in found.items()
        if row["_winnow_space_group_agrees"] is not True
    }
    assert pairs == {
        # The sites have more symmetry than the source uses: free coordinates with special values.
        "arsenides/NiAs-Nickeline": (186, 194),
        "carbides/SiC-6H-alpha": (173, 186),
        "elements/C-Graphite": (186, 194),
        "elements/Np-Neptunium-beta": (90, 129),
        "intermetallics/PtBi": (186, 194),
        "oxides/Ag2O": (201, 224),
        "sulfides/FeS": (186, 194),
        "zeolites/RSN": (12, 65),
        # The other way round: a coordinate is mistyped.
        "carbonates/MgCO3-Magnesite": (167, 166),
        "oxides/Fe2O3-Hematite": (167, 166),
        # Atoms lie on one another, so that there is no structure (the gates refuse all five).
        "ice/H2O-Ice-VI": (137, None),
        "nitrides/BN": (194, None),
        "sulfates/CoSO4": (62, None),
        "sulfates/CuSO4": (62, None),
        "titanates/MgTiO3": (148, None),
        # The operations are in a setting that no table lists, and the source gives no number.
        "oxides/GeO2": (None, 154),
    }


def test_declared_numbers_are_those_that_the_files_state(minerals):
    raw = {}
    for path in sorted(MINERALS.rglob("*.cif")):
        found = re.search(
            r"(?im)^_(?:space_group_IT_number|symmetry_Int_Tables_number)\s+(\d+)", path.read_text("latin-1")
        )
        if found:
            raw[str(path.relative_to(MINERALS)).removesuffix(".cif")] = int(found[1])
    stated = {name: row["_winnow_declared_space_group_it_number"] for name, row in good(minerals).items()}
    assert len(raw) > 250
    assert {name: stated[name] for name in raw if name in stated} == {name: raw[name] for name in raw if name in stated}


def test_sites_are_those_of_gemmi_but_for_known_files(minerals):
    different = {}
    for name, row in good(minerals).items():
        small = gemmi.make_small_structure_from_block(gemmi.cif.read(str(MINERALS / f"{name}.cif")).sole_block())
        theirs: Counter[str] = Counter()
        for site in small.get_all_unit_cell_sites():
            theirs[site.element.name] += site.occ
        ours = contents(row)
        if any(abs(ours[symbol] - theirs[symbol]) > 1e-3 for symbol in ours | theirs):
            different[name] = dict(theirs)
    named = {name for name, theirs in different.items() if "X" in theirs}
    assert len(named) == 10  # gemmi does not read the labels Wat and O-h
    assert set(different) - named == {
        "hydroxides/Mg(OH)2-Brucite",  # gemmi merges images closer than 0.4 angstrom; here: 0.1
        "oxides/CoFe2O4",
        "oxides/NiFe2O4",
        "oxides/La2O3-LanthanumOxide-A",  # a genuinely split site, 0.196 angstrom apart
        "other/LiNbO3-LithiumNiobate",  # no operations; gemmi does not read 'R 3 c {rhombohedral axes}'
    }


def contents(row: dict) -> Counter:
    species = {one["name"]: one for one in row["species"]}
    found: Counter[str] = Counter()
    for name in row["species_at_sites"]:
        for symbol, share in zip(species[name]["chemical_symbols"], species[name]["concentration"], strict=True):
            found[symbol] += share * (symbol != "vacancy")
    return +found


def test_perovskites_of_a_second_source_are_read_whole(tmp_path):
    source = DATA / "perov_5_val.csv"
    if not source.is_file():
        pytest.skip(f"real data are not at {source}")
    with source.open(newline="") as stream:
        texts = [row["cif"] for row in csv.DictReader(stream)][::10]
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for index, text in enumerate(texts):
            archive.writestr(f"{index}.cif", text)
    batches = cif.read(snapshot_of([("x.zip", tmp_path / "x.zip")]), cif.Options(), ["cell_volume"])
    rows = pa.Table.from_batches([structures.transform(batch) for batch in batches]).to_pylist()
    assert len(rows) == 379
    assert {row["_error"] for row in rows} == {None}
    assert {row["nsites"] for row in rows} == {5}
    assert max(abs(row["_winnow_volume"] / row["cell_volume"] - 1) for row in rows) < 1e-6
    assert max(row["_winnow_formula_deviation"] for row in rows) < 1e-9


def test_every_row_keeps_the_rules_of_optimade(minerals):
    part = r"[-+]?(?:[xyz]|\d/\d)(?:[-+](?:[xyz]|\d/\d))*"
    for name, row in good(minerals).items():
        assert row["elements"] == sorted(row["elements"]), name
        assert math.isclose(sum(row["elements_ratios"]), 1.0, abs_tol=1e-9), name
        operations = row["space_group_symmetry_operations_xyz"]
        assert operations is None or operations[0] == "x,y,z", name
        assert all(re.fullmatch(f"{part},{part},{part}", op) for op in operations or []), name
        names = [one["name"] for one in row["species"]]
        assert len(set(names)) == len(names), name
        unplaced = {"H-implicit"} if "implicit_atoms" in row["structure_features"] else set()
        assert set(row["species_at_sites"]) | unplaced == set(names), name
        assert row["structure_features"] == sorted(row["structure_features"]), name
        mixed = any(len(one["chemical_symbols"]) > 1 for one in row["species"])
        assert ("disorder" in row["structure_features"]) == mixed, name
        positions = np.array(row["fractional_site_positions"])
        assert ((positions >= 0) & (positions < 1)).all(), name
        cartesian = positions @ np.array(row["lattice_vectors"])
        assert np.allclose(cartesian, row["cartesian_site_positions"], atol=1e-9), name


def test_columns_are_optimade_properties_or_prefixed(minerals):
    table = load_table("crystals.structures")
    assert [term_problem(table, column) for column in table.columns] == [None] * len(table.columns)
    lines = (DATA / "optimade/test_data.jsonl").read_text().splitlines()
    listed = next(found for found in map(json.loads, lines) if found.get("id") == "structures")["properties"]
    new = {"fractional_site_positions", "site_coordinate_span", "wyckoff_positions"}  # in 1.3; the file is of 1.2
    assert {column.name for column in table.columns if not column.name.startswith("_winnow_")} - new <= set(listed)
    row = next(iter(good(minerals).values()))
    assert set(structures.DERIVED) <= {column.name for column in table.columns} & set(row)


def test_derived_columns_have_the_tables_types_and_errors_pass_through():
    table = load_table("crystals.structures")
    salt = record([("Na", None, 0.0, 0.0, 0.0, None)])
    bad = {**salt, "cell_angle_gamma": 0.0, "_source": 1}
    unread = {"_source": 2, "_position": "y.cif", "_error": "not valid CIF", "_raw": "rubbish"}
    source = [
        pa.field("_source", pa.int64()),
        *(pa.field(n, pa.string()) for n in ("_position", "_record", "_error", "_raw")),
    ]
    schema = pa.schema([*source, *(pa.field(name, kind) for name, kind in cif_blocks.STRUCTURE.items())])
    batch = pa.RecordBatch.from_pylist([{**salt, "_source": 0}, bad, unread], schema=schema)
    found = transform("structures")(batch)
    assert all(found.schema.field(name).type == table.column(name).arrow.type for name in structures.DERIVED)
    assert found["_source"].to_pylist() == [0, 1, 2]
    errors = found["_error"].to_pylist()
    assert errors[0] is None
    assert "no unit cell" in errors[1]
    assert errors[2] == "not valid CIF"
    assert found["nsites"].to_pylist() == [1, None, None]


def test_rock_salt_from_its_name_alone():
    row = record(
        [("Na1", "Na+", 0.0, 0.0, 0.0, None), ("Cl1", "Cl-", 0.5, 0.5, 0.5, 1.0)],
        (5.6402, 5.6402, 5.6402, 90.0, 90.0, 90.0), operations=(), **{"space_group_name_h-m": "F m -3 m"},
        chemical_formula_sum="Na Cl",
    )  # fmt: skip
    found = structures.structure(row)
    assert found["nsites"] == 8
    assert found["chemical_formula_reduced"] == "ClNa"
    assert found["chemical_formula_hill"] == "ClNa"
    assert found["chemical_formula_anonymous"] == "AB"
    assert found["space_group_it_number"] == 225
    assert found["_winnow_density"] == pytest.approx(2.163, abs=2e-3)
    assert found["_winnow_volume"] == pytest.approx(5.6402**3)
    assert found["structure_features"] == []
    assert found["fractional_site_positions"][4].tolist() == [0.0, 0.0, 0.0]
    assert found["_winnow_wyckoff_sequence"] == "Cl:1:-3mm Na:1:-3mm"


def test_niggli_reduced_and_standardised_cells_are_given_on_request():
    primitive = record([("Na", "Na", 0.0, 0.0, 0.0, None), ("Cl", "Cl", 0.5, 0.5, 0.5, None)])
    primitive |= dict(zip(asymmetric_units.CELL, [3.99, 3.99, 3.99, 60.0, 60.0, 60.0], strict=True))
    names = [column.name for column in load_table("crystals.structures").columns if "_standardised_" in column.name]
    silent = structures.structure(primitive)
    assert len(names) == 3
    assert {silent[name] for name in [*names, "_winnow_niggli_lattice_vectors"]} == {None}
    found = structures.structure(primitive, structures.Options(niggli=True, standardised=True))
    niggli, lattice = found["_winnow_niggli_lattice_vectors"], found["_winnow_standardised_lattice_vectors"]
    assert np.linalg.norm(niggli, axis=1) == pytest.approx([3.99] * 3)
    assert np.linalg.det(niggli) == pytest.approx(found["_winnow_volume"])
    assert lattice == pytest.approx(np.eye(3) * 3.99 * np.sqrt(2), abs=1e-9)  # four formula units in a cube
    assert sorted(found["_winnow_standardised_species_at_sites"]) == ["Cl"] * 4 + ["Na"] * 4
    again = space_group(
        lattice, found["_winnow_standardised_site_positions"], found["_winnow_standardised_species_at_sites"], 0.01
    )
    assert again.number == found["space_group_it_number"] == 225


def test_lattice_is_in_the_standard_orientation():
    lattice = lattice_vectors([3.0, 4.0, 5.0, 80.0, 95.0, 110.0])
    assert lattice[0].tolist() == [3.0, 0.0, 0.0]
    assert lattice[1][2] == 0.0
    assert lattice[1][1] > 0
    assert lattice[2][2] > 0
    cell = gemmi.UnitCell(3.0, 4.0, 5.0, 80.0, 95.0, 110.0)
    assert np.linalg.det(lattice) == pytest.approx(cell.volume)
    assert np.allclose(lattice.T, cell.orth.mat, atol=1e-9)


@pytest.mark.parametrize(
    "cell", [(0, 1, 1, 90, 90, 90), (1, 1, 1, 60, 60, 130), (1, 1, 1, 90, 90, 180), (1, 1, -1, 90, 90, 90)]
)
def test_impossible_cells_are_refused(cell):
    assert "no unit cell" in problem(record([("C", None, 0.0, 0.0, 0.0, None)], cell))


def test_mixed_sites_become_one_species_with_vacancy():
    row = record(
        [("Mg1", "Mg2+", 0.1, 0.2, 0.3, 0.5), ("Fe1", "Fe2+", 0.1, 0.2, 0.3, 0.4), ("O1", None, 0.5, 0.5, 0.5, 1.0)]
    )
    found = structures.structure(row)
    assert found["nsites"] == 2
    mixed = next(one for one in found["species"] if one["original_name"] == "Mg2+,Fe2+")
    assert mixed["chemical_symbols"] == ["Fe", "Mg", "vacancy"]
    assert mixed["concentration"] == pytest.approx([0.4, 0.5, 0.1])
    assert found["structure_features"] == ["disorder"]
    assert found["chemical_formula_reduced"] == "Fe4Mg5O10"
    assert found["chemical_formula_hill"] is None


def test_rounded_special_positions_are_one_site_and_split_ones_are_two():
    inverse = ("x,y,z", "-x,-y,-z")
    near = structures.structure(record([("C", None, 0.4999, 0.5001, 0.5, None)], operations=inverse))
    assert near["fractional_site_positions"].tolist() == [[0.5, 0.5, 0.5]]
    assert structures.structure(record([("C", None, 0.48, 0.5, 0.5, 0.5)], operations=inverse))["nsites"] == 2


def test_deuterium_is_hydrogen_with_its_mass():
    found = structures.structure(record([("D1", "D", 0.0, 0.0, 0.0, None), ("H1", "H", 0.5, 0.0, 0.0, None)]))
    assert found["elements"] == ["H"]
    assert [(one["name"], one["mass"]) for one in found["species"]] == [
        ("D", [pytest.approx(2.014, abs=1e-3)]),
        ("H", None),
    ]


def test_water_and_hydroxyl_labels_carry_their_hydrogens():
    found = structures.structure(record([("Wat1", None, 0.0, 0.0, 0.0, None), ("O-h2", None, 0.5, 0.0, 0.0, None)]))
    assert found["chemical_formula_reduced"] == "H3O2"
    assert [(one["attached"], one["nattached"]) for one in found["species"]] == [(["H"], [1]), (["H"], [2])]
    assert found["structure_features"] == ["site_attachments"]
    with_sites = [("Wat1", None, 0.0, 0.0, 0.0, None), ("H1", None, 0.1, 0.0, 0.0, None)]
    assert structures.structure(record(with_sites))["chemical_formula_reduced"] == "HO"


def test_a_negative_occupancy_is_refused():
    assert "'C' has occupancy -0.5; expected 0 to 1" in problem(record([("C1", "C", 0.0, 0.0, 0.0, -0.5)]))


def test_only_hydrogens_may_lack_a_position():
    atoms = [("O1", "O", 0.0, 0.0, 0.0, None), ("H1", "H", None, None, None, None)]
    assert structures.structure(record(atoms))["structure_features"] == ["implicit_atoms"]
    assert problem(record(atoms[1:])) == "no atom has a position"
    atoms[1] = ("N1", "N", None, None, None, None)
    assert "'N' has no position" in problem(record(atoms))


@pytest.mark.parametrize(
    ("label", "kind", "declared", "symbol"),
    [
        ("Fe3+T1", None, (), "Fe"), ("CaM2", None, (), "Ca"), ("O(1)", None, (), "O"), ("OW2", None, (), "O"),
        ("Co1", None, (), "Co"), ("Co1", None, ("C", "O"), "C"), ("CO1", None, ("Co", "O"), "Co"),
        ("Ob1", None, ("O", "Si"), "O"),
        ("T1", "Si", (), "Si"), ("X", "O-2", (), "O"), ("X", "Fe3+", (), "Fe"), ("CD1", None, ("C", "H"), "C"),
        ("Nh1", None, ("N", "H"), "N"), ("H1", None, ("Si", "O"), "H"), ("D2", None, ("H", "O"), "D"),
    ],
)  # fmt: skip
def test_elements_are_read_from_symbols_and_labels(label, kind, declared, symbol):
    assert formulas.read_symbol(label, kind, declared) == (symbol, 0)


@pytest.mark.parametrize(
    ("label", "kind", "declared"),
    [
        ("CO1", None, ()),
        ("W1", None, ("H", "O")),
        ("Ob1", None, ()),
        ("1", None, ()),
        ("Q1", None, ()),
        ("A", "Xx", ()),
        (None, None, ()),
    ],
)
def test_names_that_do_not_tell_the_element_are_refused(label, kind, declared):
    with pytest.raises(ValueError, match=re.escape(repr(label if kind is None else kind)) if label else "element"):
        formulas.read_symbol(label, kind, declared)


@pytest.mark.parametrize(
    ("operations", "hall", "symbol", "number", "says"),
    [
        (("x,y,z", "-y,x,z"), None, None, None, "form no group"),
        (("-x,-y,-z",), None, None, None, "form no group"),
        (("x,y,z", "x,y,q"), None, None, None, "'x,y,q' cannot be read"),
        ((), None, None, None, "no space group"),
        ((), None, "P 7 q", None, "'P 7 q'"),
        ((), None, "F d -3 m", 227, "two origins"),
    ],
)
def test_symmetry_that_is_none_is_refused(operations, hall, symbol, number, says):
    with pytest.raises(SymmetryError, match=says):
        symmetry(operations, hall, symbol, number, 90.0, 90.0)


def test_symmetry_is_found_from_any_name():
    assert symmetry((), "-F 4vw 2vw 3", None, None, 90.0, 90.0).number == 227
    assert symmetry((), None, "F d -3 m :2", None, 90.0, 90.0).hall == "-F 4vw 2vw 3"
    assert len(symmetry((), None, "R -3 c {rhombohedral axes}", None, 47.0, 47.0).triplets) == 12
    assert len(symmetry((), None, "R -3 c", None, 90.0, 120.0).triplets) == 36
    assert symmetry((), None, None, 14, 90.0, 90.0).hermann_mauguin == "P 21/c"


def test_pressure_converts_from_the_dictionarys_kilopascal():
    assert conversion("kPa", "GPa") == pytest.approx((1e-6, 0.0))


@pytest.mark.parametrize(
    ("text", "composition"),
    [
        ("C2 H6 Ca O6.375", {"C": 2, "H": 6, "Ca": 1, "O": 6.375}),
        ("(K.88 Na.06) Al2 (O H)2", {"K": 0.88, "Na": 0.06, "Al": 2, "O": 2, "H": 2}),
        ("D2O", {"H": 2, "O": 1}),
        ("Mg (S O4) (H2 O)7", {"Mg": 1, "S": 1, "O": 11, "H": 14}),
        ("Zi0.65", {}),
        ("(H2", {}),
        ("H2)", {}),
        ("?", {}),
        (None, {}),
    ],
)
def test_declared_formulas_are_read(text, composition):
    assert formulas.parse(text) == composition


def test_hill_puts_carbon_and_hydrogen_first():
    assert formulas.hill({"O": 2, "H": 4, "C": 1, "Br": 1}) == "CH4BrO2"
    assert formulas.hill({"O": 1, "H": 2, "Ag": 1}) == "AgH2O"
    assert formulas.hill({"O": 6.9}) is None


def test_anonymous_names_go_on_after_z():
    assert formulas.anonymous([1, 2]) == "A2B"
    assert formulas.anonymous(range(1, 29)).endswith("Z3Aa2Ba")


AMOUNTS = st.lists(st.integers(1, 60), min_size=1, max_size=6)


@given(AMOUNTS, st.integers(1, 50))
def test_whole_proportions_are_the_smallest_and_exact(amounts, scale):
    numbers = formulas.proportions([amount * scale for amount in amounts], whole=True)
    assert math.gcd(*numbers) == 1
    assert all(a * numbers[0] == b * amounts[0] for a, b in zip(amounts, numbers, strict=True))


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=5), st.floats(0.01, 100))
def test_shared_proportions_are_near_and_whatever_the_unit(thousandths, scale):
    amounts = [number / 1000 for number in thousandths]
    numbers = formulas.proportions(amounts, whole=False)
    assert numbers == formulas.proportions([amount * scale for amount in amounts], whole=False)
    assert math.gcd(*numbers) == 1
    share = [number / sum(numbers) for number in numbers]
    true = [amount / sum(amounts) for amount in amounts]
    assert all(abs(a - b) <= 0.0025 * b for a, b in zip(share, true, strict=True))


@given(st.dictionaries(st.sampled_from(["Al", "C", "Fe", "H", "O", "Si"]), st.integers(1, 9999), min_size=1))
def test_what_is_written_is_read_back(numbers):
    assert formulas.parse(formulas.reduced(numbers)) == numbers
    assert formulas.parse(formulas.descriptive(numbers)) == numbers
    assert formulas.parse(formulas.hill(numbers)) == numbers
    assert formulas.deviation(numbers, {name: 3 * number for name, number in numbers.items()})[0] < 1e-9


SITES = [
    ("Y", "Y", 0.5, 0.5, 0.5, 1.0), ("Ba", "Ba", 0.5, 0.5, 0.1843, 1.0), ("Cu", "Cu", 0.0, 0.0, 0.3556, 1.0),
    ("O", "O", 0.0, 0.5, 0.0, 0.91), ("Fe", "Fe", 0.25, 0.1, 0.2, 0.3), ("Mn", "Mn", 0.25, 0.1, 0.2, 0.7),
]  # fmt: skip


@given(st.permutations(SITES))
def test_the_order_of_atoms_does_not_matter(atoms):
    operations = [op.triplet() for op in gemmi.SpaceGroup("P m m m").operations()]
    cell = (3.82, 3.89, 11.68, 90.0, 90.0, 90.0)
    one = structures.structure(record(SITES, cell, operations))
    other = structures.structure(record(atoms, cell, operations))
    ordered = ("fractional_site_positions", "cartesian_site_positions", "lattice_vectors", "species")
    assert {
        k: v
        for k, v in one.items()
        if k not in ordered and "density" not in k and "ratios" not in k and "per_atom" not in k
    } == {
        k: v
        for k, v in other.items()
        if k not in ordered and "density" not in k and "ratios" not in k and "per_atom" not in k
    }
    assert one["elements_ratios"] == pytest.approx(other["elements_ratios"])
    assert one["_winnow_density"] == pytest.approx(other["_winnow_density"])

    def placed(found: dict) -> set:
        return set(
            zip(found["species_at_sites"], map(tuple, np.round(found["fractional_site_positions"], 9)), strict=True)
        )

    assert placed(one) == placed(other)


@given(st.tuples(*[st.floats(0, 1, exclude_max=True)] * 3), st.integers(0, 191))
def test_any_image_of_an_atom_gives_the_same_orbit(position, chosen):
    operations = [op.triplet() for op in gemmi.SpaceGroup("F m -3 m").operations()]
    moved = gemmi.Op(operations[chosen]).apply_to_xyz(list(position))
    try:
        one = structures.structure(
            record([("C", "C", *position, 1.0)], (20.0, 20.0, 20.0, 90.0, 90.0, 90.0), operations)
        )
    except StructureError:
        reject()  # between two special positions, 0.1 angstrom from both: refused by name
    other = structures.structure(record([("C", "C", *moved, 1.0)], (20.0, 20.0, 20.0, 90.0, 90.0, 90.0), operations))
    assert one["nsites"] == other["nsites"]
    a, b = np.array(one["fractional_site_positions"]), np.array(other["fractional_site_positions"])
    apart = a[:, None] - b[None]
    assert (np.abs(apart - np.rint(apart)).max(axis=2).min(axis=1) < 1e-6).all()


def test_orbits_have_the_size_of_the_group_over_the_stabiliser():
    for number, name in itertools.product((1, 47, 139, 166, 191, 221, 225), ((0.0, 0.0, 0.0), (0.05, 0.31, 0.37))):
        group = gemmi.find_spacegroup_by_number(number)
        operations = [op.triplet() for op in group.operations()]
        angles = (90.0, 90.0, 120.0) if number in (166, 191) else (90.0, 90.0, 90.0)
        found = structures.structure(record([("C", "C", *name, 1.0)], (9.0, 9.0, 9.0, *angles), operations))
        fixed = 1 if any(name) else sum(gemmi.Op(op).tran == [0, 0, 0] for op in operations)
        assert found["nsites"] == len(operations) // fixed
