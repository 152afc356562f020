"""From what a CIF lists (cell, symmetry, asymmetric unit) to all sites of the unit cell.

What the dictionary leaves open, and how it is settled here:

* *Symmetry* is the file's own list of operations; without one, that of its Hall symbol, Hermann-Mauguin symbol or
  number, in this order. Operations that form no group, or that do not carry the cell into itself, are an error.
* *Special positions*: images of an atom within 0.1 angstrom of it are one site, put at their mean, which is where
  symmetry wants it. Rounded coordinates are up to 0.01 angstrom off, genuinely split sites 0.2 and more.
* *Mixed sites*: atoms that each fill less than a whole site and lie within 0.1 angstrom of one another become one
  species; what they leave is ``vacancy``. Full atoms are never merged, so that an atom given twice is found out.
* *Elements* come from the type symbol, else from the first letters of the label (``CaM2``, ``Fe3+T1``). A label
  with two readings (``Co1``: cobalt, or a carbon) is settled by ``_chemical_formula_sum``; what that does not
  settle is an error. ``D`` is hydrogen with a mass of its own. The mineralogists' labels ``Wat`` and ``O-H`` are
  oxygen with two and one hydrogens attached, unless some hydrogens have sites of their own.
* *Hydrogens* listed without a position are left out and flagged ``implicit_atoms``; other such atoms are an error.
* *Disorder groups* become assemblies, one for each image of theirs; a negative group, which is disorder about a
  special position, and an image that shares sites with another do not.
"""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from assets.crystal_sites import GRID, Alternative, Occupant, Orbit, StructureError, on_grid, wrapped
from assets.formulas import parse, read_symbol
from assets.symmetry import Symmetry, SymmetryError, symmetry

Floats = npt.NDArray[np.float64]

SAME_SITE = 0.1
"""Angstrom; see the module's text on special positions."""

CELL = tuple(
    f"cell_{part}" for part in ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
)
ATOMS = tuple(f"atom_site_{part}" for part in (
    "label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy", "disorder_assembly", "disorder_group",
))  # fmt: skip
NEEDS = (
    "symmetry_operations", "space_group_name_hall", "space_group_name_h-m", "space_group_it_number",
    "chemical_formula_sum", *CELL, *ATOMS,
)  # fmt: skip
"""The columns of a CIF reader's batch that are used here."""

_LONGEST = 10_000.0  # angstrom
_FARTHEST = 1_000.0  # cells
_MOST_IMAGES = 1_000_000
_MISFIT = 0.01


class Expanded(NamedTuple):
    """A unit cell: its vectors (rows, angstrom), what is in it, and the symmetry that the source states."""

    lattice: Floats
    orbits: list[Orbit]
    implicit: bool
    assemblies: list[list[Alternative]]
    declared: Symmetry | None


def expanded(row: dict[str, Any]) -> Expanded:
    """All sites of the unit cell of one record.

    Raises:
        StructureError: the record gives no structure.
    """
    lattice = lattice_vectors([row[name] for name in CELL])
    group = _group(row)
    _refuse_misfit(lattice, group)
    positions, occupants, implicit = _asymmetric_unit(row)
    orbits, images = _orbits(positions, occupants, group, lattice)
    kept = _merged(orbits, lattice)
    assemblies = _assemblies(orbits, images, kept)
    return Expanded(lattice, [orbits[index] for index in kept], implicit, assemblies, group)


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
    names = (row[name] for name in ("space_group_name_hall", "space_group_name_h-m", "space_group_it_number"))
    try:
        return symmetry(
            tuple(row["symmetry_operations"] or ()), *names, row["cell_angle_alpha"], row["cell_angle_gamma"]
        )
    except SymmetryError as error:
        raise StructureError(str(error)) from None


def _refuse_misfit(lattice: Floats, group: Symmetry) -> None:
    metric = lattice @ lattice.T
    turned = np.einsum("oki,kl,olj->oij", group.rotations, metric, group.rotations)
    # Lengths of vectors of one cell are compared, so 1 % of its longest is lenient for its shortest only.
    misfits = np.abs(turned - metric).max(axis=(1, 2)) > _MISFIT * metric.max()
    if misfits.any():
        raise StructureError(
            f"symmetry operation {group.triplets[int(misfits.argmax())]!r} does not carry the cell into itself: "
            "cell and space group contradict each other"
        )


def _asymmetric_unit(row: dict[str, Any]) -> tuple[Floats, list[Occupant], bool]:
    """Fractional positions ``(n, 3)``, what is there, and whether hydrogens without a position were left out."""
    declared = frozenset(parse(row["chemical_formula_sum"]))
    occupants, positions, implicit = [], [], False
    for label, kind, x, y, z, share, assembly, group in zip(*(row[name] for name in ATOMS), strict=True):
        chosen = (assembly or "", group) if group and not group.startswith("-") else None
        occupant = _occupant(label, kind, 1.0 if share is None else share, chosen, declared)
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
    if any(occupant.attached for occupant in occupants) and any(occupant.symbol == "H" for occupant in occupants):
        occupants = [occupant._replace(attached=0) for occupant in occupants]
    return np.array(positions), occupants, implicit


@lru_cache(maxsize=4096)
def _occupant(
    label: str | None, kind: str | None, share: float, group: tuple[str, str] | None, declared: frozenset[str]
) -> Occupant:
    said = kind or label or "?"
    try:
        symbol, hydrogens = read_symbol(label, kind, declared)
    except ValueError as error:
        raise StructureError(str(error)) from None
    return Occupant("H" if symbol == "D" else symbol, hydrogens, symbol == "D", said, share, group)


def _orbits(
    positions: Floats, occupants: list[Occupant], group: Symmetry, lattice: Floats
) -> tuple[list[Orbit], list[npt.NDArray[np.int64]]]:
    """The sites that each atom's images are, and which of them each operation's image is."""
    if len(positions) * len(group.triplets) > _MOST_IMAGES:
        raise StructureError(
            f"{len(positions)} atoms by {len(group.triplets)} operations are more than can be expanded"
        )
    if len(group.triplets) == 1:
        return (
            [Orbit(points[None], [occupant]) for points, occupant in zip(wrapped(positions), occupants, strict=True)],
            [np.zeros(1, dtype=np.int64)] * len(positions),
        )
    centres = positions
    for _ in range(3):  # the mean of some images may bring further ones near
        moved = _images(centres, group) - centres[:, None]
        moved -= np.rint(moved)
        near = np.square(moved @ lattice).sum(axis=2) < SAME_SITE**2
        centres = centres + (moved * near[..., None]).sum(axis=1) / near.sum(axis=1)[:, None]
    images = wrapped(_images(centres, group))
    keys = on_grid(images) @ np.array([GRID**2, GRID, 1])
    orbits, which = [], []
    for points, key, fixed, occupant in zip(images, keys, near.sum(axis=1), occupants, strict=True):
        _, first, inverse, times = np.unique(key, return_index=True, return_inverse=True, return_counts=True)
        if (times != fixed).any():
            raise StructureError(
                f"atom {occupant.said!r} is near a special position in a way that its symmetry does not allow"
            )
        orbits.append(Orbit(points[np.sort(first)], [occupant]))
        which.append(np.argsort(np.argsort(first))[inverse])
    return orbits, which


def _images(positions: Floats, group: Symmetry) -> Floats:
    images: Floats = np.einsum("oij,nj->noi", group.rotations, positions) + group.translations
    return images


def _merged(orbits: list[Orbit], lattice: Floats) -> list[int]:
    """Put partly filled sites that coincide together, into the first of them; the orbits that are kept."""
    if all(orbit.occupants[0].share >= 1 for orbit in orbits):
        return list(range(len(orbits)))
    kept: list[int] = []
    partly: list[int] = []
    for index, orbit in enumerate(orbits):
        part = orbit.occupants[0].share < 1
        partner = next((other for other in partly if part and _coincide(orbit, orbits[other], lattice)), None)
        if partner is not None:
            orbits[partner].occupants.extend(orbit.occupants)
            continue
        kept.append(index)
        if part:
            partly.append(index)
    return kept


def _coincide(one: Orbit, other: Orbit, lattice: Floats) -> bool:
    if len(one.points) != len(other.points):
        return False
    apart = other.points - one.points[0]
    apart -= np.rint(apart)
    return bool((np.square(apart @ lattice).sum(axis=1) < SAME_SITE**2).any())


def _assemblies(orbits: list[Orbit], images: list[npt.NDArray[np.int64]], kept: list[int]) -> list[list[Alternative]]:
    """The disorder groups of each assembly, once for every image that the symmetry makes of it."""
    if not any(occupant.group for orbit in orbits for occupant in orbit.occupants):
        return []
    named: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for place, index in enumerate(kept):
        held = {occupant.group for occupant in orbits[index].occupants}
        if len(held) == 1 and (group := held.pop()) is not None:
            named[group[0]][group[1]].append(place)
    found = []
    for groups in named.values():
        if len(groups) > 1:  # one group alone is no choice: what it leaves is vacancy
            found += _apart([_image(orbits, images, kept, groups, turn) for turn in range(len(images[0]))])
    return found


def _image(
    orbits: list[Orbit],
    images: list[npt.NDArray[np.int64]],
    kept: list[int],
    groups: dict[str, list[int]],
    turn: int,
) -> list[Alternative]:
    alternatives = []
    for places in groups.values():
        shares = [sum(occupant.share for occupant in orbits[kept[place]].occupants) for place in places]
        sites = sorted((place, int(images[kept[place]][turn])) for place in places)
        alternatives.append(Alternative(sites, float(np.mean(shares))))
    return sorted(alternatives)


def _apart(assemblies: list[list[Alternative]]) -> list[list[Alternative]]:
    """The different ones, or none if they share sites: those are not independent choices."""
    distinct = {str(assembly): assembly for assembly in assemblies}
    sites = [site for assembly in distinct.values() for alternative in assembly for site in alternative.sites]
    return list(distinct.values()) if len(set(sites)) == len(sites) else []
