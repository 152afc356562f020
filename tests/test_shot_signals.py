"""Signals under IMAS names, in SI, with all that the source has: MAST's real shots, traps of units, broken shots."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from snapshots import snapshot

from assets.readers.shot_parquet import Options, read
from assets.shot_signals import effective_bits, is_missing
from assets.source_units import to_unit
from assets.transforms.signals import READS, converted, transform
from catalog.dataset import FOLDER, load_dataset
from catalog.errors import HarmoniseError, SourceError
from catalog.query import Door
from catalog.records import utc_now
from catalog.standards import imas_problem
from dagster_project import curate
from dagster_project.check import check_datasets
from dagster_project.settings import Settings

MAST = Path(__file__).parents[2] / "shared/data/fusion/mast"
IP = {"signal": "magnetics.ip[0].data", "unit": "kA"}
CLOCK = [0.0, 0.1, 0.2]


def rows(*paths: Path, **options: Any) -> list[dict[str, Any]]:
    found = read(snapshot(*paths), Options(**{"device": "M", "signals": {"ip": IP}, **options}), ())
    return [row for batch in found for row in transform(batch).to_pylist()]


def shot(folder: Path, columns: dict[str, Any], name: str = "7.parquet") -> Path:
    path = folder / name
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    pq.write_table(table, path)
    return path


@pytest.mark.parametrize("number", [30421, 12386])
def test_the_shots_of_mast_keep_every_sample_and_null(tmp_path, publish, number):
    path = MAST / f"{number}.parquet"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    house = curate.House(Settings.at(tmp_path))
    publish(house, "fusion/mast_signals", str(path))
    datasets = [load_dataset("fusion/mast_signals")]
    door = Door(house.warehouse, house.ledger, datasets, "open", utc_now().date(), derived=[])
    found = door.answer(
        "SELECT source_signal, count(*), count(one.value), sum(one.value), min(one.time) FROM fusion.samples one "
        "JOIN fusion.signals USING (_dataset, device, pulse, signal) GROUP BY ALL"
    )
    source = pq.read_table(path)
    seen = {name: numbers for name, *numbers in found.fetchall()}
    assert set(seen) == set(load_dataset("fusion/mast_signals").source.options["signals"])
    for name, (samples, present, total, first) in seen.items():
        column = source[name]
        assert (samples, present) == (len(column), len(column) - column.null_count), name
        assert total == pytest.approx(pc.sum(column).as_py(), rel=1e-9), name
        assert first == pc.min(source["time"]).as_py()


def test_a_signal_is_in_the_dictionarys_unit_under_its_name(tmp_path):
    path = shot(tmp_path, {"time": CLOCK, "ip": pa.array([0.0, None, 650.5], pa.float32())})
    (row,) = rows(path)
    assert (row["device"], row["pulse"], row["signal"]) == ("M", 7, "magnetics.ip[0].data")
    assert (row["path"], row["ids"], row["dimensions"]) == ("magnetics.ip.data", "magnetics", ["magnetics.ip.time"])
    assert (row["source_signal"], row["source_unit"], row["unit"]) == ("ip", "kA", "A")
    assert (row["value"], row["time"], row["shape"]) == ([0.0, None, 650_500.0], CLOCK, [3])
    assert (row["samples"], row["samples_present"], row["effective_bits"]) == (3, 2, 1.0)


def test_the_unit_of_a_field_counts_where_the_mapping_has_none(tmp_path):
    fields = [
        pa.field("time", pa.float64(), metadata={"units": "ms"}),
        pa.field("ip", pa.int16(), metadata={"unit": "MA"}),
    ]
    table = pa.table([pa.array([0.0, 100.0]), pa.array([1, 2], pa.int16())], schema=pa.schema(fields))
    (row,) = rows(shot(tmp_path, table), signals={"ip": "magnetics.ip[0].data"})
    assert (row["value"], row["time"]) == ([1e6, 2e6], [0.0, 0.1])


@pytest.mark.parametrize(
    ("source", "target", "found"),
    [
        ("kA", "A", (1000.0, 1.0)),
        ("Vs", "Wb", (1.0, 1.0)),
        ("Tesla", "T", (1.0, 1.0)),
        ("Watts", "W", (1.0, 1.0)),
        ("MWm-2", "W.m^-2", (1e6, 1.0)),
        ("electrons/s", "s^-1", (1.0, 1.0)),
        ("cps", "Hz", (1.0, 1.0)),
        ("ms", "s", (1.0, 1000.0)),
        ("keV", "eV", (1000.0, 1.0)),
        ("", "1", (1.0, 1.0)),
        ("dimensionless", "", (1.0, 1.0)),
    ],
)
def test_units_as_machines_write_them(source, target, found):
    assert to_unit(source, target) == found


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        ("Vs", "V", "does not convert"),
        ("dimensionless", "m", "does not convert"),
        ("zork", "A", "not known"),
        ("m^-3 (", "m^-3", "not known"),
        ("degC", "kelvin", "another zero"),
    ],
)
def test_a_unit_that_is_not_the_quantitys_is_refused(source, target, says):
    with pytest.raises(ValueError, match=says):
        to_unit(source, target)


ordinary = st.floats(-1e200, 1e200).filter(lambda number: number == 0 or abs(number) > 1e-290)
numbers = st.lists(ordinary | st.just(math.nan), max_size=50)
UNITS = [("kA", "A"), ("ms", "s"), ("mWb", "Wb"), ("keV", "eV"), ("A", "A"), ("cm^-3", "m^-3")]


@given(numbers, st.sampled_from(UNITS))
def test_values_come_back_to_the_last_place_and_none_is_lost(values, units):
    given_values = np.array(values, np.float64)
    found = converted(given_values, *units, [])
    assert (len(found), found.null_count) == (len(values), int(np.isnan(given_values).sum()))
    factor, divisor = to_unit(*units)
    back = np.array(found.to_pylist(), np.float64) * divisor / factor
    known = ~np.isnan(given_values)
    assert (np.abs(back - given_values)[known] <= np.spacing(np.abs(given_values[known]))).all()


@given(st.lists(st.integers(-1000, 1000), min_size=1))
def test_effective_bits_are_those_of_the_different_values(values):
    assert effective_bits(np.array(values, np.float64)) == pytest.approx(math.log2(len(set(values))))


def test_marks_for_no_value_become_null_also_as_singles(tmp_path):
    marks = [9.98876992e8, -999.0, 1e300]
    assert is_missing(np.array([1.0, float(np.float32(marks[0])), -999.0, np.nan, np.inf]), marks).tolist() == [
        False,
        True,
        True,
        True,
        False,
    ]
    path = shot(tmp_path, {"time": CLOCK, "ip": [1.0, -999.0, 3.0]})
    (row,) = rows(path, signals={"ip": {**IP, "missing": [-999]}})
    assert (row["value"], row["samples_present"]) == ([1000.0, None, 3000.0], 2)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"ip": [1.0]}, "the shot has no clock 'time'"),
        (pa.table([[0.0], [0.0], [1.0]], names=["time", "time", "ip"]), "2 columns named 'time'"),
        ({"time": ["a"], "ip": [1.0]}, "the column holds string"),
        ({"time": [0.0]}, "no columns named 'ip'"),
        ({"time": [0.0], "ip": [[1.0]]}, "the column holds list"),
        ({"time": [0.0], "ip": ["high"]}, "the column holds string"),
    ],
)
def test_a_signal_that_cannot_be_read_says_why_and_the_other_shot_stands(tmp_path, columns, says):
    broken, sound = shot(tmp_path, columns, "1.parquet"), shot(tmp_path, {"time": [0.0], "ip": [1.0]}, "2.parquet")
    first, second = rows(broken, sound)
    assert says in first["_error"]
    assert first["_error"].startswith("ip (magnetics.ip[0].data): ")
    assert (second["_error"], second["pulse"]) == (None, 2)


def test_a_column_that_does_not_decode_is_told_and_the_others_stand(tmp_path):
    path = shot(tmp_path, {"time": np.arange(1000.0), "ip": np.arange(1000.0), "power": np.arange(1000.0)})
    column = pq.ParquetFile(path).metadata.row_group(0).column(1)
    assert column.path_in_schema == "ip"
    content = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    content[start : start + 200] = bytes(200)
    path.write_bytes(content)
    power = {"signal": "summary.global_quantities.power_ohm.value", "unit": "W"}
    broken, sound = rows(path, signals={"ip": IP, "power": power})
    assert broken["_error"].startswith("ip (magnetics.ip[0].data): ")
    assert (sound["_error"], sound["samples"]) == (None, 1000)


def test_a_file_that_is_no_shot_is_one_record_and_alone_an_error(tmp_path):
    broken, unnamed = tmp_path / "1.parquet", shot(tmp_path, {"time": [0.0], "ip": [1.0]}, "shot.parquet")
    broken.write_bytes(b"PAR1")
    first, second = rows(broken, unnamed)
    assert "1.parquet is no Parquet" in first["_error"]
    assert "shot.parquet does not name its pulse" in second["_error"]
    with pytest.raises(SourceError, match="is no Parquet"):
        rows(broken)


def test_a_signal_without_unit_or_with_another_quantitys_says_what_to_do(tmp_path):
    path = shot(tmp_path, {"time": [0.0], "ip": [1.0]})
    (row,) = rows(path, signals={"ip": "magnetics.ip[0].data"})
    assert "give `unit` in the mapping" in row["_error"]
    field = pa.schema([pa.field("time", pa.float64()), pa.field("ip", pa.float64(), metadata={"unit": "Tesla"})])
    (row,) = rows(shot(tmp_path, pa.table([[0.0], [1.0]], schema=field)), signals={"ip": "magnetics.ip[0].data"})
    assert "unit 'Tesla': 'T' does not convert to 'A'; correct `unit`" in row["_error"]


def test_an_optional_signal_may_be_absent(tmp_path):
    path = shot(tmp_path, {"time": [0.0], "ip": [1.0]})
    other = {"signal": "summary.global_quantities.power_ohm.value", "unit": "W", "optional": True}
    assert [row["source_signal"] for row in rows(path, signals={"ip": IP, "p": other})] == ["ip"]


def test_ten_thousand_tiny_signals_are_ten_thousand_records(tmp_path):
    names = [f"flux_{number}" for number in range(10_000)]
    path = shot(tmp_path, {"time": [0.0], **{name: [1.0] for name in names}})
    signals = {
        name: {"signal": f"magnetics.flux_loop[{number}].flux.data", "unit": "Wb"} for number, name in enumerate(names)
    }
    assert len(rows(path, signals=signals)) == 10_000


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("equilibrium.time_slice.global_quantities.beta_tor_normal", "global_quantities.beta_tor_norm'"),
        (
            "equilibrium.time_slice.global_quantities.beta_normal",
            "renamed: use 'equilibrium.time_slice.global_quantities.beta_tor_norm",
        ),
        ("magnetics.bpol_probe.field.data", "b_field_pol_probe"),
        ("gas_injection.valve.target_voltage", "did you mean 'gas_injection.valve.voltage'"),
        ("magnetic.ip.data", "there is no IDS 'magnetic'; did you mean 'magnetics'?"),
    ],
)
def test_a_name_that_the_dictionary_does_not_have_is_refused_with_the_one_meant(path, says):
    assert says in (imas_problem(path) or "")
    with pytest.raises(ValidationError, match=r"the IMAS data dictionary .* has no"):
        Options(device="M", signals={"x": path})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"signals": {"ip": {**IP, "unit": "T"}}}, "does not convert"),
        ({"signals": {"ip": {**IP, "unit": "zork"}}}, "not known"),
        ({"signals": {"ip": IP, "ip2": IP}}, "'ip' and 'ip2' are both mapped to magnetics.ip"),
        ({"signals": {"machine": "summary.machine"}}, "holds no numbers"),
        ({"signals": {}}, "at least 1 item"),
        ({"pulse": "("}, "no regular expression"),
        ({"pulse": "x"}, "has 0 groups"),
        ({"clock_unit": "A"}, "does not convert"),
    ],
)
def test_a_mapping_that_cannot_hold_is_refused(options, says):
    with pytest.raises(ValidationError, match=says):
        Options(**{"device": "M", "signals": {"ip": IP}, **options})


def test_columns_that_there_are_not_are_refused(tmp_path):
    path = shot(tmp_path, {"time": [0.0], "ip": [1.0]})
    options = Options(device="M", signals={"ip": IP})
    with pytest.raises(HarmoniseError, match="no column 'nonsense'"):
        read(snapshot(path), options, {"nonsense"})
    assert set(read(snapshot(path), options, ()).schema.names) >= READS


def test_a_wrong_name_in_a_contract_is_told_with_its_line(tmp_path):
    folder = tmp_path / "fusion/mast_signals"
    shutil.copytree(FOLDER / "fusion/mast_signals", folder)
    path = folder / "defs.yaml"
    path.write_text(
        path.read_text().replace("signal: summary.local.magnetic_axis.t_e.value", "signal: summary.t_e_core")
    )
    (line,) = (number for number, text in enumerate(path.read_text().splitlines(), 1) if "summary.t_e_core" in text)
    verdict = check_datasets(["fusion/mast_signals"], tmp_path)[1]
    assert f"defs.yaml:{line}:" in verdict.problem
    assert (
        "option 'signals.t_e_core.signal': the IMAS data dictionary 4.1.1 has no 'summary.t_e_core'" in verdict.problem
    )
