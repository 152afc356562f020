"""The science checks of crystals.structures: each holds for sound rows and refuses what it is there to refuse."""

import copy
import itertools
from datetime import UTC, datetime
from pathlib import Path

import gemmi
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.contacts import shortest_contact
from assets.readers import cif
from assets.transforms import structures
from catalog.records import Snapshot, SourceFile
from catalog.table import load_table
from validations.science import science_checks

SAMPLE = Path(__file__).parents[1] / "assets/datasets/crystals/cod/sample.zip"
MINERALS = Path(__file__).parents[2] / "shared/data/crystals/cod_minerals/crystals"
TABLE = load_table("crystals.structures")


def frame_of(paths: list[tuple[str, Path]]) -> pl.DataFrame:
    """Canonical rows of CIFs, with the one declared value that a check needs, and where each came from."""
    files = tuple(SourceFile(name=n, path=p, size=p.stat().st_size, sha256="0" * 64) for n, p in paths)
    snapshot = Snapshot(
        dataset="crystals/test", uri="file:test", origin="override", sha256="0" * 64, validator="", size=0,
        fetched_at=datetime(2026, 1, 1, tzinfo=UTC), files=files,
    )  # fmt: skip
    batches = [structures.transform(batch) for batch in cif.read(snapshot, cif.Options(), ["cell_volume"])]
    found = pl.from_arrow(pa.Table.from_batches(batches))
    assert isinstance(found, pl.DataFrame)
    energies = {column.name: pl.lit(None, pl.Float64) for column in TABLE.columns if column.unit == "eV"}
    return found.filter(pl.col("_error").is_null()).with_columns(**energies, _winnow_functional=pl.lit(None, pl.String))


@pytest.fixture(scope="module")
def sample() -> pl.DataFrame:
    return frame_of([("sample.zip", SAMPLE)])


@pytest.fixture(scope="module")
def minerals() -> pl.DataFrame:
    if not MINERALS.is_dir():
        pytest.skip(f"real data are not at {MINERALS}")
    return frame_of([(str(path.relative_to(MINERALS)), path) for path in sorted(MINERALS.rglob("*.cif"))])


def test_the_table_names_checks_that_exist():
    assert set(TABLE.science) <= set(science_checks())


@pytest.mark.parametrize("name", TABLE.science)
def test_every_check_holds_for_the_whole_sample(sample, name):
    answer = science_checks()[name](sample)
    assert answer.dtype == pl.Boolean
    assert len(answer) == len(sample) == 27
    assert answer.fill_null(True).all()
    assert answer.null_count() < len(answer)  # no check is silent on all of them


def test_what_the_checks_refuse_of_502_real_minerals(minerals):
    refused: dict[str, set[str]] = {}
    for name in TABLE.science:
        answer = science_checks()[name](minerals)
        for position in minerals.filter(~answer.fill_null(True))["_position"]:
            refused.setdefault(position.partition(".cif")[0], set()).add(name)
    close, composition = "atoms_keep_apart", "composition_is_the_declared_one"
    assert refused == {
        "arsenides/Co.87Fe.11Ni.13As3-Skutterudite": {"species_fill_at_most_a_site"},  # 0.87 + 0.11 + 0.13
        "carbonates/MgCO3-Magnesite": {composition},
        "hydroxides/Mg(OH)2-Brucite": {close, composition},
        "ice/H2O-Ice-VI": {close},  # one oxygen is listed at two equivalent positions
        "nitrides/BN": {close, composition},
        "other/H3N-Ammonia": {"species_fill_at_most_a_site"},  # occupancy 3 for three hydrogens
        "other/Pb1Ti0.35Zr0.65O3-PZT-rhomb": {composition},
        "oxides/CoFe2O4": {close, composition},
        "oxides/NiFe2O4": {close, composition},
        "sulfates/CoSO4": {close, composition},
        "sulfates/CuSO4": {close, composition},
        "titanates/MgTiO3": {close, composition},
        "zeolites/VSV": {close},  # silicon is 0.4 angstrom from its own image
    }


def spoil(row: dict, check: str) -> None:  # noqa: C901 (one arm per check)
    """Make a sound row into one that the check must refuse."""
    match check:
        case "lattice_is_right_handed_and_sized":
            row["lattice_vectors"] = [row["lattice_vectors"][index] for index in (1, 0, 2)]
        case "lattice_fits_symmetry":
            row["lattice_vectors"][0][0] *= 1.03
        case "volume_is_the_declared_one":
            row["_winnow_declared_volume"] = row["_winnow_volume"] * 1.011
        case "density_is_of_matter":
            row["_winnow_density"] = 31.0
        case "ratios_sum_to_one":
            row["elements_ratios"][0] += 1e-6
        case "site_lists_have_one_length":
            row["species_at_sites"].pop()
        case "species_fill_at_most_a_site":
            row["species"][0]["concentration"][0] += 0.02
        case "atoms_keep_apart":
            row["_winnow_shortest_contact"] = 0.44
        case "composition_matches_sites":
            row["species_at_sites"][0] = row["species_at_sites"][-1]
        case "energies_name_their_functional":
            row["_winnow_band_gap"] = 1.0
        case "energies_are_of_solids":
            row["_winnow_energy_per_atom"] = -1000.0
        case "composition_is_the_declared_one":
            row["_winnow_formula_deviation"] = 0.06
        case _:
            pytest.fail(f"no spoilt row for {check}")


@pytest.mark.parametrize("check", TABLE.science)
def test_every_check_refuses_a_spoilt_row_and_no_other(sample, check):
    sound = sample.filter(pl.col("chemical_formula_reduced").is_in(["BaO3Ti", "Al2O3", "FeS2"]))
    sound = sound.with_columns(_winnow_declared_volume=pl.col("_winnow_volume"))
    rows = copy.deepcopy(sound.to_dicts())
    spoil(rows[1], check)
    spoilt = pl.DataFrame(rows, schema=sound.schema)
    assert science_checks()[check](spoilt).to_list() == [True, False, True]


def test_hydrogens_may_be_missing_but_not_in_excess(sample):
    shares = pl.Series("_winnow_hydrogen_share", [None, 0.0, 1.0, 1.06])
    rows = sample.head(4).with_columns(shares, _winnow_formula_deviation=pl.lit(0.0))
    assert science_checks()["composition_is_the_declared_one"](rows).to_list() == [True, True, True, False]


def test_alternating_atoms_may_be_close(sample):
    row = sample.filter(pl.col("chemical_formula_reduced") == "La2O3").to_dicts()[0]  # split lanthanum, half and half
    lattice = np.array(row["lattice_vectors"])
    assert row["_winnow_shortest_contact"] is shortest_contact(lattice, row) is None
    for species in row["species"]:
        species["concentration"][0] = 1.0
    moved = [list(position) for position in row["fractional_site_positions"]]
    moved[1] = [moved[0][0], moved[0][1], moved[0][2] + 0.01]
    row["fractional_site_positions"] = moved
    assert shortest_contact(lattice, row) < 0.05
    # A neighbour through the face of the cell.
    row["fractional_site_positions"] = [[0.999, 0.5, 0.5], [0.001, 0.5, 0.5], *moved[2:]]
    assert shortest_contact(lattice, row) < 0.05


@given(
    lengths=st.lists(st.floats(1.5, 20.0), min_size=3, max_size=3),
    skew=st.lists(st.floats(-1.5, 1.5), min_size=3, max_size=3),
    places=st.lists(st.lists(st.sampled_from([0.0, 0.01, 0.25, 0.5, 0.9, 0.999]), min_size=3, max_size=3), max_size=8),
    names=st.lists(st.sampled_from(["C", "O", "U"]), min_size=9, max_size=9),
)
def test_the_shortest_contact_is_that_of_all_pairs_and_images(lengths, skew, places, names):
    lattice = np.diag(lengths)
    lattice[1, 0], lattice[2, 0], lattice[2, 1] = skew
    places = [[0.0, 0.5, 0.08], *places]
    names = names[: len(places)]
    species = [{"name": name, "chemical_symbols": [name], "concentration": [1.0]} for name in {*names}]
    found = shortest_contact(
        lattice, {"fractional_site_positions": places, "species": species, "species_at_sites": names}
    )
    radii = [gemmi.Element(name).covalent_r for name in names]
    images = np.array(list(itertools.product(range(-4, 5), repeat=3)))
    ratios = []
    for i, j in itertools.combinations_with_replacement(range(len(places)), 2):
        distances = np.linalg.norm((np.array(places[i]) - places[j] + images) @ lattice, axis=1)
        ratios.append((distances[distances > 0] if i == j else distances).min() / (radii[i] + radii[j]))
    assert found == (pytest.approx(min(ratios), abs=1e-9) if min(ratios) < 0.6 - 1e-12 else None)


@pytest.mark.parametrize("check", TABLE.science)
def test_no_rows_are_no_trouble(sample, check):
    assert science_checks()[check](sample.clear()).to_list() == []
