"""Each fusion check refuses what it is for, and lets the real shot pass."""

from __future__ import annotations

import polars as pl
import pytest

from catalog.table import load_table
from validations.science import fusion, science_checks

GOOD = {
    "path": "magnetics.ip.data",
    "signal": "magnetics.ip[0].data",
    "unit": "A",
    "time": [0.0, 0.1, 0.2],
    "value": [0.0, 5.0e4, 1.0e4],
    "shape": [3],
}
SHOT = {"ip": -8.4e4, "b0": 0.15, "plasma_duration": 0.023, "signals": 798}
NAN = float("nan")


def verdict(check: str, good: dict, **changes) -> bool | None:
    schema = {"time": pl.List(pl.Float64), "value": pl.List(pl.Float64), "shape": pl.List(pl.Int64), "unit": pl.String}
    frame = pl.DataFrame([good, {**good, **changes}], schema_overrides={k: v for k, v in schema.items() if k in good})
    holds = science_checks()[check](frame)
    assert holds.dtype == pl.Boolean
    assert holds[0] is True
    return holds[1]


@pytest.mark.parametrize("name", ["fusion.signals", "fusion.shots"])
def test_every_check_that_a_table_names_exists_and_gives_its_reason(name):
    for check in load_table(name).science:
        assert (science_checks()[check].__doc__ or "").splitlines()[0].endswith(".")


@pytest.mark.parametrize(
    ("check", "changes", "holds"),
    [
        ("signal_is_in_the_dictionary", {"path": "magnetics.ip.nonsense", "signal": "magnetics.ip[0].nonsense"}, False),
        ("signal_is_in_the_dictionary", {"signal": "magnetics.flux_loop[0].flux.data"}, False),
        ("signal_is_in_the_dictionary", {"path": "nonsense.ip", "signal": "nonsense.ip"}, False),
        ("signal_unit_is_the_dictionarys", {"unit": "kA"}, False),
        ("signal_unit_is_the_dictionarys", {"unit": None}, False),
        ("signal_unit_is_the_dictionarys", {"path": "magnetics.ip.nonsense"}, None),
        ("signal_unit_is_the_dictionarys", {"path": "magnetics.flux_loop.flux.validity_timed", "unit": None}, True),
        ("signal_time_increases", {"time": [0.0, 0.1, 0.1]}, False),
        ("signal_time_increases", {"time": [0.2, 0.1, 0.0]}, False),
        ("signal_time_increases", {"time": [0.0, NAN, 0.2]}, False),
        ("signal_time_increases", {"time": [0.0, 0.1, float("inf")]}, False),
        ("signal_time_increases", {"time": [0.5]}, True),
        ("signal_fills_its_shape", {"value": [1.0, 2.0]}, False),
        ("signal_fills_its_shape", {"time": [0.0, 0.1]}, False),
        ("signal_fills_its_shape", {"shape": [3, 2]}, False),
        ("signal_fills_its_shape", {"shape": [3, 2], "value": [1.0] * 6}, True),
        ("signal_fills_its_shape", {"shape": [2, 3], "value": [1.0] * 6}, False),
        ("signal_fills_its_shape", {"shape": []}, False),
        ("signal_is_mostly_finite", {"value": [NAN, NAN, 1.0]}, False),
        ("signal_is_mostly_finite", {"value": [NAN, 2.0, 1.0]}, True),
        ("signal_is_mostly_finite", {"value": [-9e40, -9e40, 1.0]}, False),
        ("signal_is_mostly_finite", {"value": []}, False),
        ("signal_is_within_physical_limits", {"value": [0.0, -2.1e7, 0.0]}, False),
        ("signal_is_within_physical_limits", {"value": [NAN, 1.0, -9e40]}, True),
        ("signal_is_within_physical_limits", {"path": "magnetics.shunt.voltage.data", "unit": "V"}, None),
        ("signal_is_within_physical_limits", {"path": "x", "unit": "T", "value": [0.1, 25.0]}, False),
    ],
)
def test_a_signal_is_judged(check, changes, holds):
    assert verdict(check, GOOD, **changes) is holds


@pytest.mark.parametrize(
    ("check", "changes", "holds"),
    [
        ("plasma_current_is_plausible", {"ip": 8.4e7}, False),
        ("plasma_current_is_plausible", {"ip": None}, None),
        ("toroidal_field_is_plausible", {"b0": -150.0}, False),
        ("toroidal_field_is_plausible", {"b0": 0.0}, False),
        ("plasma_duration_is_plausible", {"plasma_duration": 0.0}, False),
        ("plasma_duration_is_plausible", {"plasma_duration": 23_000.0}, False),
        ("plasma_duration_is_plausible", {"plasma_duration": None}, None),
        ("pulse_has_signals", {"signals": 0}, False),
    ],
)
def test_a_shot_is_judged(check, changes, holds):
    assert verdict(check, SHOT, **changes) is holds


def test_the_fusion_checks_are_all_used():
    used = {*load_table("fusion.signals").science, *load_table("fusion.shots").science}
    assert used == {name for name, check in science_checks().items() if check.__module__ == fusion.__name__}
