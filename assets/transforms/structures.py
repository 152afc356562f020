"""Crystal structures: from cell, symmetry and asymmetric unit to the OPTIMADE 1.3 quantities of the whole unit cell.

What the standard leaves open, and how it is settled here:

* *Symmetry* is the file's own list of operations; without one, that of its Hall symbol, Hermann-Mauguin symbol or
  number, in this order. Operations that form no group are an error.
* *Special positions*: images of an atom within 0.1 angstrom of it are one site, put at their mean, which is where
  symmetry wants it. Rounded coordinates are up to 0.01 angstrom off, genuinely split sites 0.2 and more.
* *Mixed sites*: atoms that each fill less than a whole site and lie within 0.1 angstrom of one another become one
  species; what they leave is ``vacancy``. Full atoms are never merged, so that an atom given twice is found out.
* *Elements* come from the type symbol, else from the first letters of the label (``CaM2``, ``Fe3+T1``). A label
  with two readings (``Co1``: cobalt, or a carbon) is settled by ``_chemical_formula_sum``; what that does not
  settle is an error. ``D`` is hydrogen with a mass of its own. The mineralogists' labels ``Wat`` and ``O-H`` are
  oxygen with two and one hydrogens attached, unless some hydrogens have sites of their own.
* *Hydrogens* listed without a position are left out and flagged ``implicit_atoms``; other such atoms are an error.
* *Formulas* count the attached hydrogens. With partial occupancies the reduced formula has the smallest integers
  that give each proportion to within 0.1 %. The Hill formula is the formula unit that the file declares, if it is
  whole and the sites agree with it to 1 %; else it is null, for the chemical insight is missing.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from typing import Any, NamedTuple

import gemmi
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from assets.formulas import (
    Composition,
    anonymous,
    descriptive,
    deviation,
    hill,
    parse,
    proportions,
    read_symbol,
    reduced,
)
from assets.symmetry import Symmetry, SymmetryError, symmetry
from catalog.table import load_table

Floats = npt.NDArray[np.float64]

SAME_SITE = 0.1
"""Angstrom; see the module's text on special positions."""

DECLARED = 0.01
"""How far proportions may be from the declared formula for its formula unit to be taken over."""

_GRID = 1 << 16
_LONGEST = 10_000.0  # angstrom
_FARTHEST = 1_000.0  # cells
_MOST_IMAGES = 1_000_000
_DALTON_PER_CUBIC_ANGSTROM = 1.66053906660  # in g/cm^3

DERIVED = (
    "id", "elements", "nelements", "elements_ratios", "chemical_formula_descriptive", "chemical_formula_reduced",
    "chemical_formula_hill", "chemical_formula_anonymous", "dimension_types", "nperiodic_dimensions",
    "lattice_vectors", "space_group_symmetry_operations_xyz", "space_group_symbol_hall",
    "space_group_symbol_hermann_mauguin", "space_group_it_number", "cartesian_site_positions",
    "fractional_site_positions", "site_coordinate_span", "nsites", "species_at_sites", "species",
    "structure_features", "_winnow_volume", "_winnow_density", "_winnow_formula_deviation",
    "_winnow_hydrogen_share",
)  # fmt: skip
"""The columns that this transform gives; they take the place of source columns of the same name."""

_CELL = [f"cell_{part}" for part in ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")]
_ATOMS = [f"atom_site_{part}" for part in ("label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy")]
_GROUP = ["symmetry_operations", "space_group_name_hall", "space_group_name_h-m", "space_group_it_number"]
_NEEDS = ["_record", "_position", "_error", "chemical_formula_sum", *_GROUP, *_CELL, *_ATOMS]


class StructureError(Exception):
    """No structure can be derived; the text says why, in one sentence."""


class Occupant(NamedTuple):
    """What one line of the atom list puts on a site."""

    symbol: str
    hydrogens: int
    deuterium: bool
    said: str
    share: float


class Orbit(NamedTuple):
    """All symmetry-equivalent positions ``(m, 3)`` of a site in the cell, and what is on them."""

    points: Floats
    occupants: list[Occupant]


@cache
def _fields() -> list[pa.Field]:
    table = load_table("crystals.structures")
    return [pa.field(column.name, column.arrow.type) for column in table.columns if column.name in DERIVED]


def transform(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Derive the structure of every record of a CIF reader's batch.

    Returns:
        The batch with the columns DERIVED after its own; records for which that fails get an ``_error``.
    """
    rows = batch.select(_NEEDS).to_pylist()
    derived: list[dict[str, Any]] = []
    errors: list[str | None] = []
    for row in rows:
        values, error = _derive(row)
        derived.append(values)
        errors.append(error)
    columns = {name: batch[name] for name in batch.schema.names if name not in DERIVED}
    columns["_error"] = pa.array(errors, pa.string())
    kept = [field for field in batch.schema if field.name in columns]
    added = [pa.array([row.get(field.name) for row in derived], field.type) for field in _fields()]
    return pa.RecordBatch.from_arrays([*columns.values(), *added], schema=pa.schema([*kept, *_fields()]))


def _derive(row: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    if row["_error"] is not None:
        return {}, row["_error"]
    try:
        return structure(row), None
    except StructureError as error:
        return {}, str(error)


def structure(row: dict[str, Any]) -> dict[str, Any]:
    """The OPTIMADE quantities of one record; lengths in angstrom, density in g/cm^3.

    Raises:
        StructureError: the record gives no structure.
    """
    lattice = lattice_vectors([row[name] for name in _CELL])
    group = _group(row)
    positions, occupants, implicit = _asymmetric_unit(row)
    orbits = _merged(_orbits(positions, occupants, group, lattice), lattice)
    volume = float(np.linalg.det(lattice))
    return {
        "id": row["_record"] or row["_position"],
        "lattice_vectors": lattice.tolist(),
        "dimension_types": [1, 1, 1],
        "nperiodic_dimensions": 3,
        "space_group_symmetry_operations_xyz": group.triplets,
        "space_group_symbol_hall": group.hall,
        "space_group_symbol_hermann_mauguin": group.hermann_mauguin,
        "space_group_it_number": group.number,
        "site_coordinate_span": "unit_cell",
        "_winnow_volume": volume,
        **_sites(orbits, lattice, implicit),
        **_chemistry(orbits, volume, row["chemical_formula_sum"]),
    }


def lattice_vectors(cell: list[float]) -> Floats:
    """The rows a, b, c in angstrom: a along x, b in the xy plane, right-handed.

    Raises:
        StructureError: no cell has these lengths (angstrom) and angles (degrees).
    """
    a, b, c, *angles = cell
    alpha, beta, gamma = np.cos(np.radians(angles))
    squared = 1 - alpha**2 - beta**2 - gamma**2 + 2 * alpha * beta * gamma
    if min(cell) <= 0 or max(angles) >= 180 or max(cell) > _LONGEST or squared <= 1e-12:
        raise StructureError(
            f"no unit cell has lengths {a}, {b}, {c} angstrom and angles {', '.join(map(str, angles))} degrees"
        )
    sine = np.sqrt(1 - gamma**2)
    rows = [
        [a, 0, 0],
        [b * gamma, b * sine, 0],
        [c * beta, c * (alpha - beta * gamma) / sine, c * np.sqrt(squared) / sine],
    ]
    vectors = np.array(rows)
    vectors[np.abs(vectors) < 1e-12 * max(cell)] = 0.0  # cos(90°) is not quite 0 in binary
    return vectors


def _group(row: dict[str, Any]) -> Symmetry:
    names = (row[name] for name in _GROUP[1:])
    try:
        return symmetry(
            tuple(row["symmetry_operations"] or ()), *names, row["cell_angle_alpha"], row["cell_angle_gamma"]
        )
    except SymmetryError as error:
        raise StructureError(str(error)) from None


def _asymmetric_unit(row: dict[str, Any]) -> tuple[Floats, list[Occupant], bool]:
    """Fractional positions ``(n, 3)``, what is there, and whether hydrogens without a position were left out."""
    declared = parse(row["chemical_formula_sum"])
    occupants, positions, implicit = [], [], False
    for label, kind, x, y, z, share in zip(*(row[name] for name in _ATOMS), strict=True):
        occupant = _occupant(label, kind, 1.0 if share is None else share, declared)
        if x is None or y is None or z is None:
            if occupant.symbol != "H":
                raise StructureError(f"atom {occupant.said!r} has no position; only hydrogens may be without")
            implicit = True
        elif max(abs(x), abs(y), abs(z)) > _FARTHEST:
            raise StructureError(f"atom {occupant.said!r} is at {x}, {y}, {z}; expected fractions of the cell")
        elif occupant.share < 0:
            raise StructureError(f"atom {occupant.said!r} has occupancy {occupant.share}; expected 0 to 1")
        else:
            occupants.append(occupant)
            positions.append((x, y, z))
    if not positions:
        raise StructureError("no atom has a position")
    if any(occupant.symbol == "H" for occupant in occupants):
        occupants = [occupant._replace(hydrogens=0) for occupant in occupants]
    return np.array(positions), occupants, implicit


def _occupant(label: str | None, kind: str | None, share: float, declared: Composition) -> Occupant:
    said = kind or label or "?"
    try:
        symbol, hydrogens = read_symbol(label, kind, frozenset(declared))
    except ValueError as error:
        raise StructureError(str(error)) from None
    return Occupant("H" if symbol == "D" else symbol, hydrogens, symbol == "D", said, share)


def _orbits(positions: Floats, occupants: list[Occupant], group: Symmetry, lattice: Floats) -> list[Orbit]:
    if len(positions) * len(group.triplets) > _MOST_IMAGES:
        raise StructureError(
            f"{len(positions)} atoms by {len(group.triplets)} operations are more than can be expanded"
        )
    centres = positions
    for _ in range(3):  # the mean of some images may bring further ones near
        moved = _images(centres, group) - centres[:, None]
        moved -= np.rint(moved)
        near = np.linalg.norm(moved @ lattice, axis=2) < SAME_SITE
        centres = centres + (moved * near[..., None]).sum(axis=1) / near.sum(axis=1)[:, None]
    images = _images(centres, group)
    images = np.maximum(images - np.floor(images + 1e-9), 0.0)
    # A grid offset by an odd fraction keeps round coordinates, with their last bits of noise, off its lines.
    cells = np.floor(images * _GRID + 0.381966).astype(np.int64) % _GRID
    keys = cells @ np.array([_GRID**2, _GRID, 1])
    orbits = []
    for points, key, fixed, occupant in zip(images, keys, near.sum(axis=1), occupants, strict=True):
        _, first, times = np.unique(key, return_index=True, return_counts=True)
        if (times != fixed).any():
            raise StructureError(
                f"atom {occupant.said!r} is near a special position in a way that its symmetry does not allow"
            )
        orbits.append(Orbit(points[np.sort(first)], [occupant]))
    return orbits


def _images(positions: Floats, group: Symmetry) -> Floats:
    images: Floats = np.einsum("oij,nj->noi", group.rotations, positions) + group.translations
    return images


def _merged(orbits: list[Orbit], lattice: Floats) -> list[Orbit]:
    """Put partly filled sites that coincide together."""
    kept: list[Orbit] = []
    for orbit in orbits:
        partner = next((other for other in kept if _coincide(orbit, other, lattice)), None)
        if partner is None:
            kept.append(orbit)
        else:
            partner.occupants.extend(orbit.occupants)
    return kept


def _coincide(one: Orbit, other: Orbit, lattice: Floats) -> bool:
    if len(one.points) != len(other.points) or one.occupants[0].share >= 1 or other.occupants[0].share >= 1:
        return False
    apart = other.points - one.points[0]
    apart -= np.rint(apart)
    return bool((np.linalg.norm(apart @ lattice, axis=1) < SAME_SITE).any())


def _sites(orbits: list[Orbit], lattice: Floats, implicit: bool) -> dict[str, Any]:
    """Positions, species and features."""
    contents = [_species(orbit.occupants) for orbit in orbits]
    species: dict[str, dict[str, Any]] = {}
    said: dict[str, dict[str, None]] = defaultdict(dict)
    names: list[str] = []
    for orbit, content in zip(orbits, contents, strict=True):
        species.setdefault(content["name"], content)
        said[content["name"]].update(dict.fromkeys(occupant.said for occupant in orbit.occupants))
        names += [content["name"]] * len(orbit.points)
    for name, content in species.items():
        content["original_name"] = ",".join(said[name])
    fractional = np.concatenate([orbit.points for orbit in orbits])
    features = {
        "disorder": any(len(content["chemical_symbols"]) > 1 for content in contents),
        # The standard attaches atoms to a whole species, so what only a part of one carries is without a place.
        "implicit_atoms": implicit or any(len({o.hydrogens for o in orbit.occupants}) > 1 for orbit in orbits),
        "site_attachments": any(content["attached"] for content in contents),
    }
    return {
        "nsites": len(fractional),
        "fractional_site_positions": fractional.tolist(),
        "cartesian_site_positions": (fractional @ lattice).tolist(),
        "species": list(species.values()),
        "species_at_sites": names,
        "structure_features": [name for name, present in features.items() if present],
    }


def _species(occupants: list[Occupant]) -> dict[str, Any]:
    """One OPTIMADE species; equal contents give equal names."""
    shares: dict[tuple[str, bool], float] = defaultdict(float)
    for occupant in occupants:
        shares[occupant.symbol, occupant.deuterium] += occupant.share
    parts = [(symbol, share, deuterium) for (symbol, deuterium), share in sorted(shares.items())]
    empty = round(1 - sum(shares.values()), 6)
    if empty > 0:
        parts.append(("vacancy", empty, False))
    attached = {occupant.hydrogens for occupant in occupants}
    hydrogens = attached.pop() if len(attached) == 1 else 0
    whole = len(parts) == 1
    name = "".join(
        ("D" if deuterium else symbol) + ("" if whole else f"{share:.6g}")
        for symbol, share, deuterium in parts if symbol != "vacancy"
    )  # fmt: skip
    return {
        "name": name + {0: "", 1: "-H", 2: "-H2"}[hydrogens],
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


def _chemistry(orbits: list[Orbit], volume: float, declared_formula: str | None) -> dict[str, Any]:
    """Elements, formulas and density, from what is on the sites of one cell."""
    contents: dict[str, float] = defaultdict(float)
    mass = 0.0
    for points, occupants in orbits:
        for occupant in occupants:
            atoms = len(points) * occupant.share
            contents[occupant.symbol] += atoms
            contents["H"] += atoms * occupant.hydrogens
            mass += atoms * (_mass(occupant.symbol, occupant.deuterium) + occupant.hydrogens * _mass("H", False))
    contents = {symbol: contents[symbol] for symbol in sorted(contents) if contents[symbol] > 0}
    if not contents:
        raise StructureError("all sites are empty")
    whole = all(occupant.share == 1 for orbit in orbits for occupant in orbit.occupants)
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
        "_winnow_formula_deviation": off,
        "_winnow_hydrogen_share": hydrogen,
    }
