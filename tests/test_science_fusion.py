"""Each fusion check refuses what it is for, and lets the real shot pass."""

from __future__ import annotations

import polars as pl
import pytest
import solovev
from snapshots import snapshot

from assets.readers.geqdsk import Options, read
from assets.transforms.equilibria import transform
from catalog.table import load_table
from validations.science import fusion, science_checks

GOOD = {
    "path": "magnetics.ip.data",
    "signal": "magnetics.ip[0].data",
    "unit": "A",
    "time": [0.0, 0.1, 0.2],
    "value": [0.0, 5.0e4, 1.0e4],
    "shape": [3],
    "samples": 3,
    "samples_present": 3,
    "effective_bits": 1.584962500721156,
}
SHOT = {
    "ip": -8.4e4,
    "b0": 0.15,
    "plasma_duration": 0.023,
    "signals": 798,
    "flat_top_begin": 0.1,
    "flat_top_end": 0.2,
    "disruption_ip": 4e5,
}
NAN = float("nan")


def verdict(check: str, good: dict, **changes) -> bool | None:
    schema = {"time": pl.List(pl.Float64), "value": pl.List(pl.Float64), "shape": pl.List(pl.Int64), "unit": pl.String}
    frame = pl.DataFrame([good, {**good, **changes}], schema_overrides={k: v for k, v in schema.items() if k in good})
    holds = science_checks()[check](frame)
    assert holds.dtype == pl.Boolean
    assert holds[0] is True
    return holds[1]


@pytest.mark.parametrize("name", ["fusion.signals", "fusion.shots", "fusion.equilibria"])
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
        ("signal_keeps_its_samples", {"value": [0.0, 5.0e4]}, False),
        ("signal_keeps_its_samples", {"value": [0.0, None, 1.0e4]}, False),
        ("signal_keeps_its_samples", {"value": [0.0, NAN, 1.0e4]}, False),
        ("signal_keeps_its_samples", {"value": [0.0, None, 1.0e4], "samples_present": 2}, True),
        ("signal_keeps_its_precision", {"value": [0.0, 5.0e4, 5.0e4]}, False),
        ("signal_keeps_its_precision", {"effective_bits": 14.5}, False),
        ("signal_keeps_its_precision", {"value": [None, None, None], "effective_bits": None}, True),
        ("signal_is_mostly_finite", {"value": [NAN, NAN, 1.0]}, False),
        ("signal_is_mostly_finite", {"value": [NAN, 2.0, 1.0]}, True),
        ("signal_is_mostly_finite", {"value": [-9e40, -9e40, 1.0]}, False),
        ("signal_is_mostly_finite", {"value": []}, False),
        ("signal_is_mostly_finite", {"value": [None, None, None]}, False),
        ("signal_is_mostly_finite", {"value": [None, None, 1.0]}, True),
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
        ("flat_top_ends_after_it_begins", {"flat_top_end": 0.1}, False),
        ("flat_top_ends_after_it_begins", {"flat_top_end": 2e3}, False),
        ("flat_top_ends_after_it_begins", {"flat_top_end": None}, None),
        ("disruption_current_is_plausible", {"disruption_ip": -4e8}, False),
        ("pulse_has_signals", {"signals": 0}, False),
    ],
)
def test_a_shot_is_judged(check, changes, holds):
    assert verdict(check, SHOT, **changes) is holds


R, Z = [4.0, 5.0, 6.0, 7.0, 8.0], [-2.0, -1.0, 0.0, 1.0, 2.0]
EQUILIBRIUM = {
    "ip": -8.5e6,
    "b0": -12.2,
    "q_95": -3.1,
    "beta_pol": 0.8,
    "beta_tor": None,
    "beta_tor_norm": 1.8,
    "li_3": 0.9,
    "psi_axis": 1.0,
    "psi_boundary": -3.0,
    "magnetic_axis_r": 6.0,
    "magnetic_axis_z": 0.0,
    "grid_r": R,
    "grid_z": Z,
    "grid_psi": [[1.0 - (r - 6.0) ** 2 - z**2 for z in Z] for r in R],
    "boundary_r": [4.0, 6.0, 8.0, 6.0],
    "boundary_z": [0.0, 1.9, 0.0, -1.9],
}


def grid(*changes: tuple[int, int, float]) -> list[list[float]]:
    changed = [list(line) for line in EQUILIBRIUM["grid_psi"]]
    for r, z, value in changes:
        changed[r][z] = value
    return changed


@pytest.mark.parametrize(
    ("check", "changes", "holds"),
    [
        ("equilibrium_current_is_plausible", {"ip": 0.0}, False),
        ("equilibrium_current_is_plausible", {"ip": 2.1e7}, False),
        ("equilibrium_current_is_plausible", {"b0": 20.5}, False),
        ("safety_factor_is_plausible", {"q_95": 1.2}, False),
        ("safety_factor_is_plausible", {"q_95": -200.0}, False),
        ("safety_factor_is_plausible", {"q_95": None}, None),
        ("betas_and_inductance_are_plausible", {"beta_pol": 12.0}, False),
        ("betas_and_inductance_are_plausible", {"beta_tor": 3.0}, False),
        ("betas_and_inductance_are_plausible", {"beta_tor_norm": -1.0}, False),
        ("betas_and_inductance_are_plausible", {"li_3": 0.01}, False),
        ("betas_and_inductance_are_plausible", {"li_3": None, "beta_pol": None}, True),
        ("psi_fills_its_grid", {"grid_r": R[:-1]}, False),
        ("psi_fills_its_grid", {"grid_z": Z[:-1]}, False),
        ("psi_fills_its_grid", {"grid_psi": grid((0, 0, NAN))}, False),
        ("boundary_lies_on_the_grid", {"boundary_r": [3.9, 6.0, 8.0, 6.0]}, False),
        ("boundary_lies_on_the_grid", {"boundary_z": [0.0, 2.1, 0.0, -1.9]}, False),
        ("boundary_lies_on_the_grid", {"magnetic_axis_r": 8.5}, False),
        ("psi_is_monotone_from_axis_to_boundary", {"psi_axis": 2.0}, False),
        ("psi_is_monotone_from_axis_to_boundary", {"psi_boundary": 5.0}, False),
        ("psi_is_monotone_from_axis_to_boundary", {"grid_psi": grid((3, 2, -3.5))}, False),
        ("psi_is_monotone_from_axis_to_boundary", {"grid_psi": grid((1, 2, -3.5))}, False),
        ("psi_is_monotone_from_axis_to_boundary", {"boundary_r": None}, None),
    ],
)
def test_an_equilibrium_is_judged(check, changes, holds):
    assert verdict(check, EQUILIBRIUM, **changes) is holds


@pytest.mark.parametrize("check", load_table("fusion.equilibria").science)
def test_an_analytic_equilibrium_holds_in_all(tmp_path, check):
    path = tmp_path / "made.geqdsk"
    path.write_text(solovev.geqdsk(3, size=65))
    (batch,) = read(snapshot(path), Options(device="M"), ())
    assert science_checks()[check](pl.from_arrow(transform(batch))).to_list() == [True]


def test_the_fusion_checks_are_all_used():
    used = {check for name in ("signals", "shots", "equilibria") for check in load_table(f"fusion.{name}").science}
    assert used == {name for name, check in science_checks().items() if check.__module__ == fusion.__name__}
