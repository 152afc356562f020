"""The vocabularies hold every term that a table uses, and the units convert as physics says."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog import standards
from catalog.table import load_table, table_names
from catalog.units import UNITS, conversion, convertible

PAIRS = [(source, target) for target in UNITS for source in convertible(target)]


@pytest.mark.parametrize("name", table_names())
def test_every_term_of_every_table_is_in_its_vocabulary(name):
    wrong = {column.name: standards.resolve(column.term) for column in load_table(name).columns if column.term}
    assert {column: why for column, why in wrong.items() if why} == {}


def test_a_column_with_an_imas_term_has_the_dictionarys_unit():
    for table in map(load_table, (name for name in table_names() if name.startswith("fusion."))):
        for column in table.columns:
            prefix, _, path = (column.term or "").partition(":")
            if prefix == "imas":
                assert (column.unit or "") == standards.imas_units(path.partition(".")[0])[path], column.name


@pytest.mark.parametrize(
    ("term", "words"),
    [
        ("imas:magnetics.flux_loop.flux.dat", "no 'magnetics.flux_loop.flux.dat'"),
        ("imas:nonsense.data", "no 'nonsense.data'"),
        ("nonsense:data", "vocabulary 'nonsense' is not one of"),
        ("winnow_fusion:nonsense", "no 'nonsense'"),
    ],
)
def test_a_term_that_does_not_exist_is_refused(term, words):
    assert words in (standards.resolve(term) or "")


@pytest.mark.parametrize(
    ("former", "present"),
    [
        ("tf.b_field_tor_vacuum_r.data", "tf.b_field_phi_vacuum_r.data"),
        ("equilibrium.time_slice.profiles_1d.j_tor", "equilibrium.time_slice.profiles_1d.j_phi"),
        ("equilibrium.time_slice.boundary_separatrix.gap.r", "equilibrium.time_slice.boundary.gap.r"),
        ("magnetics.flux_loop.flux.data", "magnetics.flux_loop.flux.data"),
        ("magnetics.flux_loop.flux.dat", None),
        ("nonsense", None),
    ],
)
def test_a_former_imas_name_leads_to_the_present_one(former, present):
    assert standards.imas_current(former) == present


def test_the_dictionary_says_what_a_node_is():
    node = standards.imas_nodes("equilibrium")["equilibrium.time_slice.profiles_2d.psi"]
    assert (node.dimensions, node.unit, node.dynamic) == (2, "Wb", True)
    assert node.coordinates[1] == "equilibrium.time_slice.profiles_2d.grid.dim2"
    assert standards.imas_nodes("equilibrium")["equilibrium.time_slice"].time_slices
    assert standards.imas_nodes("summary")["summary.machine"].dimensions is None
    assert len(standards.imas_ids()) > 80


@pytest.mark.parametrize("unit", UNITS)
def test_every_unit_parses_and_converts_to_itself(unit):
    factor, offset = conversion(unit, unit)
    assert factor == pytest.approx(1.0, rel=1e-12)
    assert offset == pytest.approx(0.0, abs=1e-9)


@given(st.sampled_from(PAIRS), st.floats(-1e6, 1e6))
def test_converting_there_and_back_gives_the_value_back(pair, value):
    source, target = pair
    factor, offset = conversion(source, target)
    back, shift = conversion(target, source)
    assert factor > 0
    assert (value * factor + offset) * back + shift == pytest.approx(value, rel=1e-9, abs=1e-6)


@given(st.sampled_from(PAIRS), st.data())
def test_going_by_a_third_unit_makes_no_difference(pair, data):
    source, target = pair
    between = data.draw(st.sampled_from(convertible(target)))
    (one, first), (two, second) = conversion(source, between), conversion(between, target)
    factor, offset = conversion(source, target)
    assert one * two == pytest.approx(factor, rel=1e-9)
    assert first * two + second == pytest.approx(offset, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("value", "source", "target", "expected"),
    [
        (1.0, "eV", "J", 1.602176634e-19),  # exact in the SI
        (1.0, "hartree", "eV", 27.211386245988),  # CODATA 2018
        (1.0, "rydberg", "eV", 13.605693122994),  # CODATA 2018
        (1.0, "bohr", "angstrom", 0.529177210903),  # CODATA 2018
        (1.0, "dalton", "kg", 1.66053906660e-27),  # CODATA 2018
        (1.0, "kcal/mol", "kJ/mol", 4.184),
        (25.0, "degC", "kelvin", 298.15),
        (-40.0, "degF", "degC", -40.0),
        (212.0, "degF", "kelvin", 373.15),
        (1.0, "kPa", "GPa", 1e-6),
        (1.0, "atm", "Pa", 101325.0),
        (1.0, "kbar", "GPa", 0.1),
        (1.0, "gauss", "T", 1e-4),
        (1.0, "mWb", "Wb", 1e-3),
        (1.0, "Wb/rad", "Wb", 1.0),  # pint's radian is 1; the 2 pi between fluxes is COCOS's business
        (1.0, "kA", "A", 1000.0),
        (1.0, "g/cm^3", "kg/m^3", 1000.0),
        (1.0, "angstrom^3", "nm^3", 1e-3),
        (1.0, "foot", "m", 0.3048),
        (180.0, "degree", "radian", math.pi),
        (1.0, "cm^-3", "m^-3", 1e6),
        (50.0, "percent", "1", 0.5),
        (1.0, "Mbp", "bp", 1e6),
        (1.0, "hour", "s", 3600.0),
    ],
)
def test_conversions_agree_with_known_values(value, source, target, expected):
    factor, offset = conversion(source, target)
    assert value * factor + offset == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(
    ("source", "target"), [("eV", "m"), ("V", "Wb"), ("furlongs per nonsense", "m"), ("kelvin", "J")]
)
def test_what_does_not_convert_says_so(source, target):
    with pytest.raises(ValueError, match=r"not known|does not convert"):
        conversion(source, target)


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("kPa", "GPa", 1e-6),
        ("angstrom", "nm", 0.1),
        ("degF", "kelvin", 5 / 9),
        ("gauss", "T", 1e-4),
        ("mm", "m", 1e-3),
        ("kHz", "GHz", 1e-6),
        ("percent", "1", 0.01),
        ("degC", "kelvin", 1.0),
    ],
)
def test_factors_are_the_nearest_doubles_to_the_true_ones(source, target, expected):
    assert conversion(source, target)[0] == expected


def test_offsets_are_the_nearest_doubles_to_the_true_ones():
    assert conversion("degC", "kelvin") == (1.0, 273.15)
    assert conversion("degF", "kelvin")[1] == 45967 / 180
