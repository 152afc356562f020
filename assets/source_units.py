"""Units as machines write them, and how their values become those of the IMAS data dictionary (by pint)."""

from __future__ import annotations

from functools import cache

from catalog.units import conversion

_SPELLED = {
    "": "1", "-": "1", "dimensionless": "1", "none": "1", "a.u.": "1",
    "tesla": "T", "t": "T", "watt": "W", "watts": "W", "amp": "A", "amps": "A", "ampere": "A", "volt": "V",
    "volts": "V", "weber": "Wb", "webers": "Wb", "joules": "J", "metres": "m", "meter": "m", "meters": "m",
    "seconds": "s", "sec": "s", "msec": "ms", "ohms": "ohm", "pascal": "Pa", "kelvin": "K",
    # A volt second is a weber; taken for a volt it would be another quantity.
    "vs": "V*s", "v.s": "V*s", "v s": "V*s",
    "electrons/s": "1/s", "counts/s": "1/s", "cps": "1/s", "1/s": "1/s",
    "mwm-2": "MW/m^2", "wm-2": "W/m^2", "m-3": "m^-3", "m-2": "m^-2", "1/m**3": "m^-3", "1/m**2": "m^-2",
    "1/m^3": "m^-3", "1/m^2": "m^-2",
}  # fmt: skip
"""Spellings that occur in FAIR-MAST's mappings (level1/units.json) and in other archives, in lower case."""


def to_unit(source: str, target: str) -> tuple[float, float]:
    """Factor and divisor, one of which is 1: ``value * factor / divisor`` is in the target unit.

    A divisor where it is a whole number: a thousandth is no double, a thousand is.

    Raises:
        ValueError: the source's unit is not known, or measures something else than the target.
    """
    return _factor(source.strip(), target or "1")


@cache
def _factor(source: str, target: str) -> tuple[float, float]:
    spelled = _SPELLED.get(source.lower(), source)
    here, there = (unit.replace(".", "*") for unit in (spelled, target))
    if here == there:
        return 1.0, 1.0
    try:
        factor, offset = conversion(here, there)
    except ValueError as error:
        raise ValueError(f"unit {source!r}: {error}") from None
    except Exception:
        raise ValueError(f"unit {source!r} is not known") from None
    if offset:
        raise ValueError(f"unit {source!r} has another zero than {target!r}")
    back = conversion(there, here)[0]
    return (1.0, back) if factor < 1 and back.is_integer() else (factor, 1.0)
