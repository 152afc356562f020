"""The IMAS reader, by the real VEST shot 39915 and by trees made for one point each."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from snapshots import snapshot

from assets.imas_tree import flatten
from assets.readers import SOURCE_FIELDS
from assets.readers.imas import Options, read
from assets.transforms.shots import summary, transform
from catalog.errors import HarmoniseError, SourceError
from catalog.standards import ImasNode, imas_units
from catalog.table import load_table

ROOT = Path(__file__).parent.parent
VEST = ROOT.parent / "shared/data/fusion/vest/omas.json.gz"
SAMPLE = ROOT / "assets/datasets/fusion/vest/sample.json.gz"
WHO = {"dataset_description": {"data_entry": {"machine": "M", "pulse": 7}}}


def rows(*paths: Path, **options: Any) -> list[dict[str, Any]]:
    return read(snapshot(*paths), Options(**options), ()).read_all().to_pylist()


def tree_rows(folder: Path, tree: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    path = folder / "shot.json"
    path.write_text(json.dumps(WHO | tree))
    return rows(path, **options)


@pytest.fixture(scope="module")
def vest() -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The real tree, parsed by the standard library, and the reader's records by signal."""
    if not VEST.is_file():
        pytest.skip("real data is absent: ../shared/data/fusion/vest/omas.json.gz")
    tree = json.loads(gzip.decompress(VEST.read_bytes()))
    table = read(snapshot(VEST), Options(), ()).read_all()
    assert table["_source"].to_pylist() == list(range(len(table)))
    records = {}
    for batch in table.to_batches():
        for row in range(batch.num_rows):
            record = {name: batch[name][row] for name in batch.schema.names}
            records[record["signal"].as_py()] = record
    assert len(records) == len(table)
    return tree, records


def numbers(scalar: pa.ListScalar) -> np.ndarray:
    return scalar.values.to_numpy()


def test_every_real_measurement_arrives_bit_for_bit(vest):
    tree, records = vest
    found = 0
    for ids, parts in (
        ("magnetics", ("flux_loop", "b_field_pol_probe", "rogowski_coil", "shunt")),
        ("pf_active", ("coil",)),
    ):
        for part in parts:
            for number, element in enumerate(tree[ids][part]):
                for quantity, node in element.items():
                    if isinstance(node, dict) and "data" in node:
                        record = records[f"{ids}.{part}[{number}].{quantity}.data"]
                        np.testing.assert_array_equal(numbers(record["value"]), node["data"])
                        np.testing.assert_array_equal(numbers(record["time"]), node["time"])
                        assert record["name"].as_py() == element["identifier"]
                        found += 1
    assert found == 11 * 2 + 63 * 2 + 2 + 3 + 10  # the manifest's counts; one probe of 64 is condemned and has no data


def test_every_real_path_is_in_the_dictionary_with_its_unit(vest):
    _, records = vest
    assert all(record["_error"].as_py() is None for record in records.values())
    for record in records.values():
        path, unit = record["path"].as_py(), record["unit"].as_py()
        assert imas_units(record["ids"].as_py())[path] == (unit or "")


def test_renamed_nodes_come_under_their_present_names(vest):
    tree, records = vest
    field = records["tf.b_field_phi_vacuum_r.data"]
    np.testing.assert_array_equal(numbers(field["value"]), tree["tf"]["b_field_tor_vacuum_r"]["data"])
    assert "equilibrium.time_slice[:].constraints.b_field_pol_probe[63].measured" in records


def test_time_slices_are_gathered_and_profiles_keep_their_order(vest):
    tree, records = vest
    slices = tree["equilibrium"]["time_slice"]
    q = records["equilibrium.time_slice[:].profiles_1d.q"]
    assert q["shape"].as_py() == [3, 129]
    assert q["time"].as_py() == [0.316, 0.317, 0.318]
    np.testing.assert_array_equal(numbers(q["value"]).reshape(3, 129), [each["profiles_1d"]["q"] for each in slices])
    outline = records["equilibrium.time_slice[1].boundary.outline.r"]
    assert outline["shape"].as_py() == [1, 96]
    assert outline["time"].as_py() == [0.317]


def test_psi_falls_outwards_for_a_positive_current_as_cocos_17_has_it(vest):
    _, records = vest

    def values(name: str) -> np.ndarray:
        return numbers(records[f"equilibrium.time_slice[:].{name}"]["value"])

    assert (values("global_quantities.ip") > 0).all()
    assert (values("global_quantities.psi_axis") > values("global_quantities.psi_boundary")).all()
    psi = values("profiles_1d.psi").reshape(3, -1)
    assert (np.diff(psi, axis=1) < 0).all()
    # pressure falls outwards too, so dp/dpsi must be positive where it is not zero
    assert (values("profiles_1d.dpressure_dpsi") >= 0).all()


def test_the_samples_numbers_are_all_in_the_real_shot(vest):
    _, records = vest
    for row in rows(SAMPLE):
        assert row["_error"] is None
        if row["ids"] in ("equilibrium", "tf") or row["signal"] == "magnetics.ip[0].data":
            whole = numbers(records[row["signal"]]["value"])
        else:
            like = [record for record in records.values() if record["path"].as_py() == row["path"]]
            whole = np.concatenate([numbers(each["value"]) for each in like if each["name"].as_py() == row["name"]])
        assert np.isin(row["value"], whole).all()


def test_the_real_shot_is_summed_up_at_its_greatest_current(vest):
    tree, _ = vest
    batch = next(iter(read(snapshot(VEST), Options(records="shots"), ())))
    (shot,) = transform(batch).to_pylist()
    ip = tree["magnetics"]["ip"][0]
    assert abs(shot["ip"]) == np.abs(ip["data"]).max()
    assert ip["data"][ip["time"].index(shot["time"])] == shot["ip"]
    assert (shot["device"], shot["pulse"], shot["cocos"], shot["signals"]) == ("VEST", 39915, 11, 798)
    # the equilibrium code's own answers, 2 ms later
    assert shot["ip"] == pytest.approx(tree["equilibrium"]["time_slice"][0]["global_quantities"]["ip"], rel=0.1)
    assert shot["b0"] == pytest.approx(tree["equilibrium"]["vacuum_toroidal_field"]["b0"][0], rel=0.01)
    assert shot["r0"] == tree["equilibrium"]["vacuum_toroidal_field"]["r0"]


def test_plain_json_reads_like_gzip(tmp_path):
    plain = tmp_path / "sample.json"
    plain.write_bytes(gzip.decompress(SAMPLE.read_bytes()))
    without = {"_position"}
    assert [{key: value for key, value in row.items() if key not in without} for row in rows(plain)] == [
        {key: value for key, value in row.items() if key not in without} for row in rows(SAMPLE)
    ]


def test_batches_begin_with_the_source_fields():
    schema = read(snapshot(SAMPLE), Options(), ()).schema
    assert schema.names[: len(SOURCE_FIELDS)] == [field.name for field in SOURCE_FIELDS]


def test_a_wanted_column_that_is_not_there_is_named():
    with pytest.raises(HarmoniseError, match=r"'nonesuch'(.|\n)*device, pulse, signal"):
        read(snapshot(SAMPLE), Options(), ("pulse", "nonesuch"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"  \n", "is empty"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (gzip.compress(b'{"magnetics": {}}' * 50, mtime=0)[:-12], "cannot be unpacked"),
        (b"schema_version: 1\nshot: 39915\n", "is not JSON"),
        (b'{"magnetics": {"time": [NaN, 1', "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[1, 2]", "holds no IDS"),
        (b'{"hello": {"time": [1.0]}}', "holds no IDS"),
        (b'{"magnetics": {"time": [1.0]}}', "does not name its machine"),
    ],
)
def test_a_bad_only_file_is_a_source_error_that_names_it(tmp_path, content, words):
    path = tmp_path / "shot.json.gz"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=f"shot.json.gz {words}"):
        read(snapshot(path), Options(), ()).read_all()


def test_a_bad_file_among_good_ones_is_one_record(tmp_path):
    bad = tmp_path / "notes.txt"
    bad.write_text("not a shot")
    found = rows(SAMPLE, bad, SAMPLE)
    (wrong,) = [row for row in found if row["_error"]]
    assert "notes.txt is not JSON" in wrong["_error"]
    assert wrong["_raw"] == "not a shot"
    assert wrong["_position"] == "notes.txt"
    assert wrong["signal"] is None
    assert [row["_source"] for row in found] == list(range(2 * 31 + 1))


def test_what_the_dictionary_does_not_have_is_a_record_with_the_reason(tmp_path):
    tree = {
        "magnetics": {
            "ids_properties": {"homogeneous_time": 1},
            "time": [0.0, 1.0],
            "ip": [{"data": [1.0, 2.0], "nonsense": [3.0, 4.0]}],
        },
        "equilibrium": {
            "code": {"parameters": {"in1": {"plasma": [1.0, 2.0]}}},
            "time_slice": [{"time": 0.5, "made_up": 1.0}, {"time": 0.6, "made_up": 2.0}],
        },
        "homemade": {"trace": [1.0]},
    }
    found = {row["_position"]: row for row in tree_rows(tmp_path, tree)}
    assert {key: row["_error"] for key, row in found.items()} == {
        "shot.json magnetics.ip[0].data": None,
        "shot.json magnetics.ip[0].nonsense": "magnetics.ip.nonsense is not in the IMAS data dictionary 4.1.1",
        "shot.json equilibrium.time_slice[:].made_up": (
            "equilibrium.time_slice.made_up is not in the IMAS data dictionary 4.1.1"
        ),
        "shot.json homemade.trace": "homemade.trace is not in the IMAS data dictionary 4.1.1",
    }
    wrong = found["shot.json magnetics.ip[0].nonsense"]
    assert json.loads(wrong["_raw"]) == [[3.0, 4.0]]
    assert wrong["value"] is None
    assert wrong["pulse"] is None
    right = found["shot.json magnetics.ip[0].data"]
    assert (right["time"], right["_record"]) == ([0.0, 1.0], "M/7/magnetics.ip[0].data")


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"data": [1.0, "2.0"], "time": [0.0, 1.0]}, "magnetics.ip.data holds str"),
        ({"data": [True, False], "time": [0.0, 1.0]}, "magnetics.ip.data holds bool"),
        ({"data": [[1.0], [2.0]], "time": [0.0, 1.0]}, "magnetics.ip.data holds list"),
        ({"data": 3.0, "time": [0.0]}, "magnetics.ip.data has 0 dimensions where FLT_1D was expected"),
        ({"data": [10**400, math.nan], "time": [0.0, 1.0]}, "whole number that is too large"),
        ({"data": [1.0]}, "magnetics.ip.data has no time: expected numbers at magnetics.time"),
        ({"data": [1.0], "time": ["now"]}, "magnetics.ip.time holds str"),
    ],
)
def test_a_node_of_the_wrong_kind_is_a_record_with_the_reason(tmp_path, node, words):
    (row,) = tree_rows(tmp_path, {"magnetics": {"ip": [node]}})
    assert words in row["_error"]
    assert row["value"] is None


def test_null_is_nan_and_lengths_that_differ_are_left_to_the_gate(tmp_path):
    (row,) = tree_rows(tmp_path, {"magnetics": {"ip": [{"data": [None, 2], "time": [0.0, 1.0, 2.0]}]}})
    assert math.isnan(row["value"][0])
    assert row["value"][1:] == [2.0]
    assert row["time"] == [0.0, 1.0, 2.0]


def test_time_is_turned_to_the_first_dimension(tmp_path):
    power = [[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]]  # dim1 = 1, dim2 = 3, time = 2
    found = tree_rows(tmp_path, {"bolometer": {"power_density": {"data": power, "time": [0.0, 1.0]}}})
    (row,) = found
    assert row["shape"] == [2, 1, 3]
    assert row["value"] == [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]
    assert row["dimensions"] == ["bolometer.power_density.time", "bolometer.grid.dim1", "bolometer.grid.dim2"]


def test_a_slice_without_a_value_has_no_time_in_its_signal(tmp_path):
    slices = [{"time": 0.1, "global_quantities": {"ip": 5}}, {"time": 0.2}, {"global_quantities": {"ip": 6}}]
    (row,) = tree_rows(tmp_path, {"equilibrium": {"time": [0.1, 0.2, 0.3], "time_slice": slices}})
    assert (row["time"], row["value"], row["shape"]) == ([0.1, 0.3], [5.0, 6.0], [2])


@pytest.mark.parametrize(("cocos", "psi"), [(17, 2.0), (11, -2.0)])
def test_psi_alone_turns_its_sign_between_cocos_11_and_17(tmp_path, cocos, psi):
    quantities = {"ip": 3.0, "psi_boundary": 2.0, "psi_boundary_error_upper": 0.5}
    tree = {"equilibrium": {"time_slice": [{"time": 0.0, "global_quantities": quantities}]}}
    found = {row["path"].rpartition(".")[2]: row["value"] for row in tree_rows(tmp_path, tree, cocos=cocos)}
    assert found == {"ip": [3.0], "psi_boundary": [psi], "psi_boundary_error_upper": [0.5]}


def test_fluxes_in_another_cocos_are_refused(tmp_path):
    tree = {
        "equilibrium": {
            "code": {"parameters": {"cocos": 2}},
            "time_slice": [{"time": 0.0, "global_quantities": {"ip": 3.0, "psi_boundary": 2.0}}],
        }
    }
    found = {row["_position"].rpartition(".")[2]: row["_error"] for row in tree_rows(tmp_path, tree)}
    assert found["ip"] is None
    assert "COCOS 2; expected 17" in found["psi_boundary"]


def test_device_and_pulse_come_from_the_options_if_the_file_has_none(tmp_path):
    path = tmp_path / "shot.json"
    path.write_text(json.dumps({"magnetics": {"ip": [{"data": [1.0], "time": [0.0]}]}}))
    (row,) = rows(path, device="MAST", pulse=30421)
    assert (row["device"], row["pulse"]) == ("MAST", 30421)


@given(arrays(np.float64, array_shapes(min_dims=1, max_dims=6, max_side=4)))
def test_flattening_and_reshaping_gives_the_array_back(array):
    node = ImasNode(f"FLT_{array.ndim}D", "", dynamic=True, time_slices=False, coordinates=())
    flat, shape = flatten(array.tolist(), "a.b", node)
    assert shape == array.shape
    np.testing.assert_array_equal(flat.reshape(shape), array)


@given(st.lists(st.lists(st.floats(), max_size=3), min_size=2, max_size=5))
def test_ragged_rows_are_refused_and_no_others(value):
    node = ImasNode("FLT_2D", "", dynamic=True, time_slices=False, coordinates=())
    if len({len(row) for row in value}) == 1:
        assert flatten(value, "a.b", node)[1] == (len(value), len(value[0]))
    else:
        with pytest.raises(ValueError, match="ragged"):
            flatten(value, "a.b", node)


def test_a_plasma_lasts_from_the_first_to_the_last_sample_of_its_own_spell():
    time = np.arange(8.0)
    ip = np.array([20e3, 0, -10e3, -30e3, np.nan, -50e3, -10e3, 0])
    found = summary(time, ip, np.array([0.0, 10.0]), np.array([1.0, 2.0]))
    assert found == {"time": 5.0, "ip": -50e3, "plasma_duration": 1.0, "b0": 1.5}
    assert summary(time, ip / 10, np.empty(0), np.empty(0))["plasma_duration"] is None
    assert summary(time, ip * np.nan, time, time) == {}


def test_the_long_form_gives_every_sample_its_time():
    table = read(snapshot(SAMPLE), Options(), ()).read_all()
    table = table.append_column("_dataset", pa.array(["fusion/vest"] * len(table)))
    connection = duckdb.connect()
    connection.register("source", table)
    connection.execute("CREATE SCHEMA fusion")
    connection.execute("CREATE VIEW fusion.signals AS FROM source")
    (view,) = load_table("fusion.signals").views
    connection.execute(f"CREATE VIEW {view.name} AS {view.sql}")
    expected = [
        (row["signal"], index, index // (len(row["value"]) // len(row["time"])), value)
        for row in table.to_pylist()
        for index, value in enumerate(row["value"])
    ]
    found = connection.sql("SELECT signal, flat_index, time_index, value FROM fusion.samples").fetchall()
    assert sorted(found) == sorted(expected)
    times = {row["signal"]: row["time"] for row in table.to_pylist()}
    samples = connection.sql("SELECT signal, time_index, time FROM fusion.samples").fetchall()
    assert all(times[signal][index] == time for signal, index, time in samples)
