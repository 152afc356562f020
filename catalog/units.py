"""Which unit spellings a contract may use, and how one converts into another (by pint)."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any

UNITS = (
    # time, frequency
    "s", "ms", "us", "ns", "min", "hour", "day", "Hz", "kHz", "MHz", "GHz",
    # length, angle, area, volume
    "m", "cm", "mm", "um", "nm", "pm", "angstrom", "bohr", "km", "foot", "degree", "radian",
    "m^2", "cm^2", "angstrom^2", "m^3", "cm^3", "angstrom^3", "nm^3", "m^-3", "cm^-3", "m^-2",
    # mass, density, amount
    "kg", "g", "dalton", "kg/m^3", "g/cm^3", "mol",
    # electricity and magnetism
    "A", "mA", "kA", "MA", "V", "mV", "kV", "ohm", "mohm", "T", "mT", "gauss", "Wb", "mWb", "Wb/rad",
    "T*m", "T.m", "T^2.m^2.Wb^-1", "Pa.Wb^-1", "A/m^2", "C", "F", "H", "S",
    # energy, power, pressure, force, temperature
    "J", "kJ", "MJ", "eV", "meV", "keV", "MeV", "rydberg", "hartree", "kJ/mol", "kcal/mol",
    "W", "mW", "kW", "MW", "W/m^2", "Pa", "kPa", "MPa", "GPa", "bar", "kbar", "atm", "N",
    "kelvin", "degC", "degF",
    # counts and ratios
    "1", "percent", "ppm", "bp", "kbp", "Mbp",
)  # fmt: skip


_PINT = {"gauss": "gauss_in_si"}  # pint's own gauss is the CGS one, which it keeps apart from tesla


@cache
def _registry() -> Any:
    import pint

    # Fractions, so that a factor of a tenth is a tenth and not the difference of two floats.
    registry: Any = pint.UnitRegistry(autoconvert_offset_to_baseunit=True, non_int_type=Fraction)
    registry.define("gauss_in_si = 1e-4 tesla")
    registry.define("base_pair = [sequence] = bp")  # of its own kind: no angle or count is a position
    registry.define("kbp = 1000 * base_pair")
    registry.define("Mbp = 1000000 * base_pair")
    return registry


@cache
def conversion(source: str, target: str) -> tuple[float, float]:
    """Factor and offset with ``value_in_target = value_in_source * factor + offset``.

    Raises:
        ValueError: a unit is unknown, or the two measure different things.
    """
    import pint

    registry = _registry()
    try:
        # IMAS writes a product with a dot.
        here, there = (_PINT.get(unit, unit.replace(".", "*")) for unit in (source, target))
        at_zero, at_one = (registry.Quantity(value, here).to(there).magnitude for value in map(Fraction, (0, 1)))
    except pint.UndefinedUnitError as error:
        raise ValueError(f"unit {error.unit_names!r} is not known") from None
    except pint.DimensionalityError:
        raise ValueError(f"{source!r} does not convert to {target!r}") from None
    return float(at_one - at_zero), float(at_zero)


@cache
def convertible(target: str) -> tuple[str, ...]:
    """The spellings in UNITS that convert to ``target``."""
    found = []
    for unit in UNITS:
        try:
            conversion(unit, target)
        except ValueError:
            continue
        found.append(unit)
    return tuple(found)
