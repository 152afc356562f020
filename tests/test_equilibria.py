"""Equilibria in COCOS 17: an analytic one in every convention, real ones in several, broken ones with the reason."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import solovev
from pydantic import ValidationError
from snapshots import snapshot

from assets.geqdsk import equilibrium
from assets.readers import imas
from assets.readers.geqdsk import Options, read
from assets.transforms.equilibria import READS, current_around, transform
from catalog.dataset import load_dataset
from catalog.errors import HarmoniseError, SourceError
from catalog.query import Door
from catalog.records import utc_now
from dagster_project import curate
from dagster_project.settings import Settings

DATA = Path(__file__).parents[2] / "shared/data/fusion"
NUMBERS = [*range(1, 9), *range(11, 19)]
GLOBAL = ("ip", "b0", "psi_axis", "psi_boundary", "q_axis", "q_95", "elongation", "minor_radius")


def rows(*paths: Path, **options: Any) -> list[dict[str, Any]]:
    found = read(snapshot(*paths), Options(device="M", **options), ())
    return [row for batch in found for row in transform(batch).to_pylist()]


def made(folder: Path, text: str, name: str = "made.geqdsk") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def real(name: str) -> Path:
    if not (DATA / name).exists():
        pytest.skip(f"{DATA / name} is not here")
    return DATA / name


@pytest.mark.parametrize("number", NUMBERS)
def test_an_equilibrium_in_any_convention_is_the_same_row(tmp_path, number):
    (row,) = rows(made(tmp_path, solovev.geqdsk(number)), cocos=number)
    assert row["_error"] is None
    assert row["cocos"] == number
    assert number in row["_winnow_cocos_candidates"]
    # COCOS 17 has current and field positive anti-clockwise from above, and flux that falls from axis to boundary.
    assert row["ip"] == pytest.approx(solovev.current(), rel=1e-6)
    assert row["b0"] == pytest.approx(solovev.B0)
    assert row["psi_boundary"] - row["psi_axis"] == pytest.approx(-2 * np.pi * solovev.PSI_BOUNDARY)
    assert row["q_axis"] == pytest.approx(solovev.q(0))
    assert row["q_95"] == pytest.approx(solovev.q(0.95), rel=1e-3)
    assert row["profiles_dpressure_dpsi"][0] == pytest.approx(-solovev.P_PRIME / (2 * np.pi))
    assert np.max(row["profiles_f"]) == pytest.approx(solovev.F)


@pytest.mark.parametrize("number", NUMBERS)
def test_the_convention_is_found_but_for_the_way_of_the_angle(tmp_path, number):
    (row,) = rows(made(tmp_path, solovev.geqdsk(number)))
    odd = number - 1 + number % 2
    assert row["_winnow_cocos_candidates"] == [odd, odd + 1]
    assert row["cocos"] == odd


def test_the_shape_is_that_of_the_analytic_boundary(tmp_path):
    (row,) = rows(made(tmp_path, solovev.geqdsk(1)))
    r, z = solovev.boundary(100_000)
    assert row["minor_radius"] == pytest.approx((r.max() - r.min()) / 2, rel=1e-3)
    assert row["elongation"] == pytest.approx((z.max() - z.min()) / (r.max() - r.min()), rel=1e-2)
    assert row["triangularity_upper"] == pytest.approx(row["triangularity_lower"], abs=1e-6)
    assert row["geometric_axis_z"] == pytest.approx(0, abs=1e-6)


def test_the_hybrid_scenario_of_iter_is_one_row_in_three_conventions():
    paths = [real(f"iter/iterhybrid_cocos{name}.eqdsk") for name in ("02", "11", "17")]
    stated = load_dataset("fusion/iter_hybrid").source.options["cocos"]
    found = rows(*paths, cocos=stated)
    assert [row["_error"] for row in found] == [None] * 3
    assert [row["cocos"] for row in found] == [2, 12, 17]
    first = found[0]
    for row in found[1:]:
        for name in GLOBAL:
            assert row[name] == pytest.approx(first[name], rel=1e-6, abs=1e-6), name
        for name in ("profiles_q", "profiles_f", "profiles_pressure"):
            np.testing.assert_allclose(row[name], first[name], rtol=1e-6)
        for name in ("profiles_f_df_dpsi", "profiles_dpressure_dpsi", "grid_psi"):
            size = np.abs(first[name]).max()
            np.testing.assert_allclose(row[name], first[name], atol=1e-6 * size, rtol=1e-6)


def test_the_public_equilibrium_of_sparc_has_its_currents_within_its_boundary():
    (row,) = rows(real("sparc/equilibrium.geqdsk"))
    assert (row["_error"], row["cocos"], row["ip"]) == (None, 7, -8.5e6)
    assert abs(row["q_95"]) == pytest.approx(3.0916, abs=1e-4)
    assert row["elongation"] == pytest.approx(1.911, abs=1e-3)


def test_pulse_and_time_are_those_of_the_first_line(tmp_path):
    text = solovev.geqdsk(1, first_line="  EFITD    01/21/2000    # 13127  1050ms")
    (row,) = rows(made(tmp_path, text, "g013127.01050"))
    assert (row["device"], row["pulse"], row["time"], row["equilibrium"]) == ("M", 13127, 1.05, "g013127.01050")


def test_a_pulse_beyond_all_numbers_is_none(tmp_path):
    text = solovev.geqdsk(1, first_line=f"  EFITD # {'9' * 25}  1050ms")
    (row,) = rows(made(tmp_path, text))
    assert (row["_error"], row["pulse"]) == (None, None)


def test_a_packed_file_is_unpacked(tmp_path):
    path = tmp_path / "made.geqdsk.gz"
    path.write_bytes(gzip.compress(solovev.geqdsk(1).encode()))
    (row,) = rows(path)
    assert (row["_error"], row["equilibrium"]) == (None, "made.geqdsk")


def replaced(at: int, number: float) -> str:
    """The text with another number in the place of one of the first 20."""
    lines = solovev.geqdsk(1).splitlines()
    line, field = 1 + at // 5, at % 5
    lines[line] = lines[line][: 16 * field] + f"{number:16.9E}" + lines[line][16 * field + 16 :]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        (solovev.geqdsk(1)[:3000], {}, "then it ends"),
        (solovev.geqdsk(1), {"cocos": 3}, "COCOS 3 is stated, but by the signs"),
        (solovev.geqdsk(1), {"cocos": 11}, "it is 1 or 2"),
        (
            solovev.geqdsk(1).replace("   64    4\n", "999999999999    4\n"),
            {},
            "of 1,999,999,999,998 numbers, then it ends",
        ),
        (replaced(10, 0.0), {}, "ip is 0.0"),
        (replaced(10, 4.0e7), {}, "whether the flux is in Wb or Wb/rad"),
        (replaced(8, 0.0), {}, "psi does not change"),
        ("no equilibrium\n", {}, "expected the width and height"),
    ],
)
def test_what_is_broken_is_one_record_that_says_why(tmp_path, text, options, says):
    broken, sound = made(tmp_path, text, "broken.geqdsk"), made(tmp_path, solovev.geqdsk(1), "sound.geqdsk")
    first, second = rows(broken, sound, cocos={"broken*": options["cocos"]} if options else None)
    assert says in first["_error"]
    assert first["_position"] == "broken.geqdsk"
    assert second["_error"] is None


def of_tree(path: Path) -> list[dict[str, Any]]:
    found = imas.read(snapshot(path), imas.Options(records="equilibria"), ())
    return [row for batch in found for row in transform(batch).to_pylist()]


def test_the_equilibria_of_vest_are_in_cocos_11_as_they_say():
    given = imas.read(snapshot(real("vest/omas.json.gz")), imas.Options(records="equilibria"), ()).read_all()
    around = [row["ip"] / current_around(row) for row in given.to_pylist()]
    assert around == pytest.approx([1 / (2 * np.pi)] * 3, rel=0.002)
    found = of_tree(real("vest/omas.json.gz"))
    assert [(row["device"], row["pulse"], row["time"]) for row in found] == [
        ("VEST", 39915, time) for time in (0.316, 0.317, 0.318)
    ]
    assert [row["_winnow_cocos_candidates"] for row in found] == [[11, 12]] * 3
    for row, before in zip(found, given.to_pylist(), strict=True):
        assert row["psi_axis"] == -before["psi_axis"]
        assert row["ip"] == before["ip"]
        assert row["q_axis"] == pytest.approx(before["profiles_q"][0])


def tree(**changes: Any) -> dict[str, Any]:
    sound = equilibrium(solovev.geqdsk(17))
    one = {
        "time": 0.5,
        "global_quantities": {
            "ip": sound.current,
            "psi_magnetic_axis": sound.simag,
            "psi_boundary": sound.sibry,
            "magnetic_axis": {"r": sound.rmaxis, "z": sound.zmaxis},
        },
        "profiles_1d": {
            "psi": np.linspace(sound.simag, sound.sibry, 33).tolist(),
            "q": sound.qpsi.tolist(),
        },
        "profiles_2d": [
            {
                "grid_type": {"index": 1},
                "grid": {"dim1": sound.r.tolist(), "dim2": sound.z.tolist()},
                "psi": sound.psirz.T.tolist(),
            }
        ],
        "boundary": {"outline": {"r": sound.boundary[:, 0].tolist(), "z": sound.boundary[:, 1].tolist()}},
    }
    field = {"r0": sound.rcentr, "b0": [sound.bcentr, sound.bcentr]}
    who = {"data_entry": {"machine": "M", "pulse": 7}}
    slices = [{**one, **changes}, one]
    return {"dataset_description": who, "equilibrium": {"time_slice": slices, "vacuum_toroidal_field": field}}


def test_a_tree_and_a_file_of_one_equilibrium_give_one_row(tmp_path):
    (from_file,) = rows(made(tmp_path, solovev.geqdsk(17)), cocos=17)
    from_tree = of_tree(made(tmp_path, json.dumps(tree()), "tree.json"))[0]
    names = [*GLOBAL, "r0", "cocos", "grid_r", "grid_z", "boundary_r", "magnetic_axis_r", "profiles_q"]
    for name in names:
        assert from_tree[name] == pytest.approx(from_file[name], rel=1e-9, abs=1e-9), name
    np.testing.assert_allclose(from_tree["grid_psi"], from_file["grid_psi"])
    np.testing.assert_allclose(from_tree["profiles_psi_norm"], from_file["profiles_psi_norm"], atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"profiles_1d": {"q": "high"}}, "profiles_1d.q holds no numbers"),
        ({"profiles_1d": {"q": [[1.0]]}}, "profiles_1d.q has 2 dimensions where 1 were expected"),
        ({"boundary": {"outline": {"r": [[1], [1, 2]]}}}, "boundary.outline.r holds no numbers, or lists of unequal"),
        ({"profiles_1d": {"psi": [0.0, 1.0], "q": [1.0]}}, "profiles_q has 1 values on 2 points"),
        ({"profiles_2d": [{"psi": [[1.0]], "grid": {"dim1": [1.0, 2.0], "dim2": [1.0]}}]}, "psi is no grid of 2 by 1"),
        ({"boundary": {"outline": {"r": [1.0] * 9, "z": [1.0] * 8}}}, "the boundary has 9 R and 8 Z"),
        ({"global_quantities": {"ip": -9e40}}, "ip is None"),
        ({"global_quantities": {}}, "ip is None"),
    ],
)
def test_a_time_slice_that_is_broken_is_one_record_that_says_why(tmp_path, changes, says):
    first, second = of_tree(made(tmp_path, json.dumps(tree(**changes)), "tree.json"))
    assert says in first["_error"]
    assert first["_record"] == "M/7/equilibrium.time_slice[0]"
    assert (second["_error"], second["time"]) == (None, 0.5)


def test_options_and_columns_that_there_are_not_are_refused(tmp_path):
    with pytest.raises(ValidationError, match="1 to 8 and 11 to 18"):
        Options(cocos={"*": 9})
    path = made(tmp_path, solovev.geqdsk(1))
    with pytest.raises(HarmoniseError, match="no column 'nonsense'"):
        read(snapshot(path), Options(), {"nonsense"})
    other = made(tmp_path, "", "notes.txt")
    with pytest.raises(SourceError, match="holds no G EQDSK"):
        read(snapshot(other, other), Options(), ()).read_all()


def test_the_transform_takes_what_the_reader_gives(tmp_path):
    names = read(snapshot(made(tmp_path, solovev.geqdsk(1))), Options(), ()).schema.names
    assert set(names) >= READS
    assert equilibrium(solovev.geqdsk(1)).psirz.shape == (33, 33)


def test_what_has_no_stated_licence_is_kept_in_the_house(tmp_path, publish):
    house = curate.House(Settings.at(tmp_path))
    names = ("fusion/compass", "fusion/iter_hybrid")
    for name in names:
        publish(house, name)
    sql = "SELECT device, pulse, cocos, round(q_95, 2) FROM fusion.equilibria ORDER BY ALL"

    def seen(profile: str) -> list[tuple[Any, ...]]:
        datasets = [load_dataset(name) for name in names]
        door = Door(house.warehouse, house.ledger, datasets, profile, utc_now().date(), derived=[])
        return door.answer(sql).fetchall()

    compass = [("COMPASS", 13127, 1, 3.48), ("COMPASS", 15349, 1, 3.03)]
    assert seen("open") == compass
    assert [row[2] for row in seen("internal") if row[0] == "ITER"] == [2, 12, 17]
