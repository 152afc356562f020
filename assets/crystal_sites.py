"""What is on the sites of a unit cell: OPTIMADE species, features, formulas and density, in one order of sites."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import gemmi
import numpy as np
import numpy.typing as npt

from assets.formulas import anonymous, descriptive, deviation, hill, parse, proportions, reduced, units

Floats = npt.NDArray[np.float64]

DECLARED = 0.01
"""How far proportions may be from the declared formula for its formula unit to be taken over."""

GRID = 1 << 16
OFF_LINES = 0.381966
"""A grid offset by an odd fraction keeps round coordinates, with their last bits of noise, off its lines."""

_DALTON_PER_CUBIC_ANGSTROM = 1.66053906660  # in g/cm^3


class StructureError(Exception):
    """No structure can be derived; the text says why, in one sentence."""


class Occupant(NamedTuple):
    """What one line of an atom list puts on a site; ``attached`` are hydrogens without a position of their own."""

    symbol: str
    attached: int
    deuterium: bool
    said: str
    share: float
    group: tuple[str, str] | None = None
    """The disorder assembly and group that the source puts it in."""


class Orbit(NamedTuple):
    """Positions ``(m, 3)`` in the cell, in units of its vectors, that hold the same, and what that is."""

    points: Floats
    occupants: list[Occupant]


_UNPLACED = {
    "name": "H-implicit", "chemical_symbols": ["H"], "concentration": [1.0], "mass": None, "original_name": "H",
    "attached": None, "nattached": None,
}  # fmt: skip
"""What OPTIMADE wants listed where atoms are on no site; here those are always hydrogens."""


class Alternative(NamedTuple):
    """A disorder group: its sites as numbers of an orbit and of a point in it, and how often it is the one there."""

    sites: list[tuple[int, int]]
    share: float


def sites(
    orbits: list[Orbit], lattice: Floats, implicit: bool, assemblies: Sequence[Sequence[Alternative]] = ()
) -> dict[str, Any]:
    """Positions, species, assemblies and features, in an order that does not depend on that of the source.

    Sites are sorted by their species' name and then by position, to one part in 65,536 of the cell.
    """
    held = [tuple(orbit.occupants) for orbit in orbits]
    contents = {occupants: _species(occupants) for occupants in dict.fromkeys(held)}
    points = [len(orbit.points) for orbit in orbits]
    names = np.repeat([contents[occupants]["name"] for occupants in held], points)
    fractional = wrapped(np.concatenate([orbit.points for orbit in orbits]))
    order = np.lexsort((*on_grid(fractional).T[::-1], names))
    fractional = fractional[order]
    begins = np.cumsum([0, *points])
    places = np.argsort(order)
    listed = [
        [(sorted(int(places[begins[orbit] + point]) for orbit, point in group), share) for group, share in assembly]
        for assembly in assemblies
    ]
    features = {
        "assemblies": bool(listed),
        "disorder": any(len(content["chemical_symbols"]) > 1 for content in contents.values()),
        # The standard attaches atoms to a whole species, so what only a part of one carries is without a place.
        "implicit_atoms": implicit or any(len({o.attached for o in occupants}) > 1 for occupants in contents),
        "site_attachments": any(content["attached"] for content in contents.values()),
    }
    species = _distinct(contents)
    if features["implicit_atoms"]:
        species.append(_UNPLACED)
    return {
        "nsites": len(fractional),
        "fractional_site_positions": fractional,
        "cartesian_site_positions": fractional @ lattice,
        "species": species,
        "species_at_sites": names[order].tolist(),
        "assemblies": [
            {"sites_in_groups": [group for group, _ in groups], "group_probabilities": [share for _, share in groups]}
            for groups in sorted(map(sorted, listed))
        ]
        or None,
        "structure_features": [name for name, present in features.items() if present],
    }


def wrapped(positions: Floats) -> Floats:
    """Positions from 0 to below 1; what is below 1 by rounding only is 0."""
    positions = np.maximum(positions - np.floor(positions + 1e-9), 0.0)
    return np.where(positions < 1e-12, 0.0, positions)


def on_grid(positions: Floats) -> npt.NDArray[np.int64]:
    """Positions as whole steps of a grid that is finer than any rounding of them."""
    cells: npt.NDArray[np.int64] = np.floor(positions * GRID + OFF_LINES).astype(np.int64) % GRID
    return cells


def _distinct(contents: dict[tuple[Occupant, ...], dict[str, Any]]) -> list[dict[str, Any]]:
    """Every species once, by name, with all names that the source has for it."""
    species: dict[str, dict[str, Any]] = {}
    said: dict[str, dict[str, None]] = defaultdict(dict)
    for occupants, content in contents.items():
        species.setdefault(content["name"], content)
        said[content["name"]].update(dict.fromkeys(occupant.said for occupant in occupants))
    return [{**species[name], "original_name": ",".join(said[name])} for name in sorted(species)]


def _species(occupants: Sequence[Occupant]) -> dict[str, Any]:
    """One OPTIMADE species; equal contents give equal names."""
    return _species_of(*((o.symbol, o.deuterium, o.share, o.attached) for o in occupants))


@lru_cache(maxsize=4096)  # most sites of a structure hold the same few things
def _species_of(*contents: tuple[str, bool, float, int]) -> dict[str, Any]:
    shares: dict[tuple[str, bool], float] = defaultdict(float)
    for symbol, deuterium, share, _ in contents:
        shares[symbol, deuterium] += share
    parts = [(symbol, share, deuterium) for (symbol, deuterium), share in sorted(shares.items())]
    empty = round(1 - sum(shares.values()), 6)
    if empty > 0:
        parts.append(("vacancy", empty, False))
    attached = {hydrogens for *_, hydrogens in contents}
    hydrogens = attached.pop() if len(attached) == 1 else 0
    whole = len(parts) == 1
    name = "".join(
        ("D" if deuterium else symbol) + ("" if whole else f"{share:.6g}")
        for symbol, share, deuterium in parts if symbol != "vacancy"
    )  # fmt: skip
    return {
        "name": name + (f"-H{hydrogens if hydrogens > 1 else ''}" if hydrogens else ""),
        "chemical_symbols": [symbol for symbol, _, _ in parts],
        "concentration": [share for _, share, _ in parts],
        "mass": [_mass(symbol, deuterium) for symbol, _, deuterium in parts] if any(p[2] for p in parts) else None,
        "attached": ["H"] if hydrogens else None,
        "nattached": [hydrogens] if hydrogens else None,
    }


def _mass(symbol: str, deuterium: bool) -> float:
    if symbol == "vacancy":
        return 0.0
    return float(gemmi.Element("D" if deuterium else symbol).weight)


def chemistry(orbits: list[Orbit], volume: float, declared_formula: str | None) -> dict[str, Any]:
    """Elements, formulas and density (g/cm^3), from what is on the sites of one cell of a volume in angstrom^3.

    Raises:
        StructureError: all sites are empty.
    """
    contents: dict[str, float] = defaultdict(float)
    mass = 0.0
    sites: dict[Occupant, int] = defaultdict(int)
    for points, occupants in orbits:
        for occupant in occupants:
            sites[occupant] += len(points)
    for occupant, number in sites.items():
        atoms = number * occupant.share
        contents[occupant.symbol] += atoms
        contents["H"] += atoms * occupant.attached
        mass += atoms * (_mass(occupant.symbol, occupant.deuterium) + occupant.attached * _mass("H", False))
    contents = {symbol: contents[symbol] for symbol in sorted(contents) if contents[symbol] > 0}
    if not contents:
        raise StructureError("all sites are empty")
    whole = all(occupant.share == 1 for occupant in sites)
    numbers = dict(zip(contents, proportions(list(contents.values()), whole), strict=True))
    declared = parse(declared_formula)
    off, hydrogen = deviation(contents, declared) if declared else (None, None)
    agrees = off is not None and off <= DECLARED and abs((1.0 if hydrogen is None else hydrogen) - 1) <= DECLARED
    total = sum(contents.values())
    return {
        "elements": list(contents),
        "nelements": len(contents),
        "elements_ratios": [atoms / total for atoms in contents.values()],
        "chemical_formula_reduced": reduced(numbers),
        "chemical_formula_anonymous": anonymous(numbers.values()),
        "chemical_formula_hill": hill(declared) if agrees else None,
        "chemical_formula_descriptive": descriptive(declared if agrees else contents),
        "_winnow_density": mass / volume * _DALTON_PER_CUBIC_ANGSTROM,
        "_winnow_volume_per_atom": volume / total,
        "_winnow_formula_deviation": off,
        "_winnow_hydrogen_share": hydrogen,
        "_winnow_formula_units": units(contents, declared) if declared else None,
    }
