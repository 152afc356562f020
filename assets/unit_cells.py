"""Unit cells that a source lists site by site (OPTIMADE, pymatgen, POSCAR, extended XYZ): one form for all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from assets.asymmetric_units import Expanded
from assets.crystal_sites import Alternative, Occupant, Orbit, StructureError
from assets.formulas import ELEMENTS

Floats = npt.NDArray[np.float64]

SPECIES = pa.struct(
    [
        ("name", pa.string()),
        ("chemical_symbols", pa.list_(pa.string())),
        ("concentration", pa.list_(pa.float64())),
        ("mass", pa.list_(pa.float64())),
        ("original_name", pa.string()),
        ("attached", pa.list_(pa.string())),
        ("nattached", pa.list_(pa.int32())),
    ]
)
ASSEMBLY = pa.struct(
    [("sites_in_groups", pa.list_(pa.list_(pa.int32()))), ("group_probabilities", pa.list_(pa.float64()))]
)
UNIT_CELL: dict[str, pa.DataType] = {
    "lattice_vectors": pa.list_(pa.list_(pa.float64())),
    "fractional_site_positions": pa.list_(pa.list_(pa.float64())),
    "species": pa.list_(SPECIES),
    "species_at_sites": pa.list_(pa.string()),
    "dimension_types": pa.list_(pa.int32()),
    "assemblies": pa.list_(ASSEMBLY),
    "chemical_formula_sum": pa.string(),
    "space_group_it_number": pa.int32(),
    "space_group_name_h-m": pa.string(),
    "space_group_name_hall": pa.string(),
    "cell_volume": pa.float64(),
}
"""What a reader of unit cells gives after SOURCE_FIELDS: the vectors in angstrom as written, the sites in units of
them, OPTIMADE species, and the formula, space group and volume (angstrom^3) that the source declares."""

_LONGEST = 10_000.0  # angstrom
_FARTHEST = 1_000.0  # cells
_MOST_SITES = 1_000_000
_DEUTERIUM = 2.014  # dalton


def expanded(row: Mapping[str, Any]) -> Expanded:
    """A unit cell with its vectors turned so that a is along x and b in the xy plane, and right-handed.

    A left-handed cell is not mirrored, which would make another structure of it: all three vectors and all positions
    change their sign.

    Raises:
        StructureError: the record gives no structure.
    """
    lattice = np.array(row["lattice_vectors"], dtype=np.float64)
    positions = np.array(row["fractional_site_positions"], dtype=np.float64)
    _refuse_not_periodic(row["dimension_types"])
    _refuse_absurd(lattice, positions)
    if np.linalg.det(lattice) < 0:
        positions = -positions
    return _grouped(row, standard_orientation(lattice), positions)


def _refuse_not_periodic(dimensions: Sequence[int] | None) -> None:
    periodic = sum(dimensions or (1, 1, 1))
    if periodic != 3:
        raise StructureError(f"the structure is periodic in {periodic} of 3 directions; only crystals have a row here")


def _refuse_absurd(lattice: Floats, positions: Floats) -> None:
    lengths = np.linalg.norm(lattice, axis=1)
    volume = abs(float(np.linalg.det(lattice)))
    if not (lengths.min() > 0 and lengths.max() <= _LONGEST and volume > 1e-6 * float(lengths.prod())):
        raise StructureError(f"the lattice vectors {lattice.tolist()} (angstrom) span no unit cell")
    if len(positions) > _MOST_SITES:
        raise StructureError(f"{len(positions)} sites are more than can be handled")
    if np.abs(positions).max() > _FARTHEST:
        raise StructureError("a site is more than 1,000 cells away; expected fractions of the cell")


def standard_orientation(lattice: Floats) -> Floats:
    """The right-handed lattice of the same metric with a along x and b in the xy plane."""
    metric = lattice @ lattice.T
    try:
        vectors = np.linalg.cholesky(metric).astype(np.float64)
    except np.linalg.LinAlgError:
        raise StructureError(f"the lattice vectors {lattice.tolist()} (angstrom) span no unit cell") from None
    vectors[np.abs(vectors) < 1e-9 * float(np.abs(lattice).max())] = 0.0
    return vectors


def _grouped(row: Mapping[str, Any], lattice: Floats, positions: Floats) -> Expanded:
    """The sites by what is on them, as one orbit for each."""
    occupants = {species["name"]: _occupants(species) for species in row["species"]}
    names = row["species_at_sites"]
    held: dict[str, list[int]] = {}
    for site, name in enumerate(names):
        if name not in occupants:
            raise StructureError(f"site {site} holds species {name!r}, which the record does not describe")
        held.setdefault(name, []).append(site)
    orbits = [Orbit(positions[sites], list(occupants[name])) for name, sites in held.items()]
    place = {site: (orbit, point) for orbit, sites in enumerate(held.values()) for point, site in enumerate(sites)}
    return Expanded(lattice, orbits, False, _assemblies(row["assemblies"], place), None)


def _occupants(species: Mapping[str, Any]) -> list[Occupant]:
    symbols, shares = species["chemical_symbols"] or [], species["concentration"] or []
    said = species["original_name"] or species["name"]
    masses = species["mass"] or [0.0] * len(symbols)
    if not symbols or len(symbols) != len(shares) or len(masses) != len(symbols):
        raise StructureError(f"species {said!r} has symbols {symbols} and concentrations {shares}, which do not match")
    unknown = [symbol for symbol in symbols if symbol not in ELEMENTS and symbol not in ("vacancy", "D")]
    if unknown:
        raise StructureError(f"species {said!r} holds {unknown[0]!r}, which is no element")
    if any(not 0 <= share <= 1.01 for share in shares):
        raise StructureError(f"species {said!r} has concentrations {shares}; expected 0 to 1")
    attached = _attached(species, said)
    heavy = [
        (symbol, share, symbol == "D" or (symbol == "H" and mass is not None and abs(mass - _DEUTERIUM) < 0.02))
        for symbol, share, mass in zip(symbols, shares, masses, strict=True)
        if symbol != "vacancy"
    ]
    if not heavy:
        raise StructureError(f"species {said!r} is all vacancy")
    return [
        Occupant("H" if symbol == "D" else symbol, attached, heavier, said, share) for symbol, share, heavier in heavy
    ]


def _attached(species: Mapping[str, Any], said: str) -> int:
    hydrogens = 0
    for symbol, number in zip(species["attached"] or [], species["nattached"] or [], strict=False):
        if symbol != "H":
            raise StructureError(f"species {said!r} has {symbol!r} attached; only hydrogens can be without a position")
        hydrogens += number
    return hydrogens


def _assemblies(
    assemblies: Sequence[Mapping[str, Any]] | None, place: Mapping[int, tuple[int, int]]
) -> list[list[Alternative]]:
    found = []
    for assembly in assemblies or []:
        groups, shares = assembly["sites_in_groups"] or [], assembly["group_probabilities"] or []
        wrong = [site for group in groups for site in group or [None] if site not in place]
        if wrong or len(groups) != len(shares):
            raise StructureError(f"an assembly has groups {groups} with probabilities {shares}, which do not match")
        found.append(
            [Alternative([place[site] for site in group], share) for group, share in zip(groups, shares, strict=True)]
        )
    return found


class CellError(Exception):
    """A record gives no unit cell; the text says why, in one sentence."""


def vectors(value: Any, what: str) -> list[list[float]]:
    """Rows of three finite numbers. Raises CellError with the value."""
    if not isinstance(value, list) or not value:
        raise CellError(f"{what} is {_shown(value)}; expected rows of three numbers")
    for row in value:
        if not isinstance(row, list) or len(row) != 3 or not all(map(_is_number, row)):
            raise CellError(f"{what} holds {_shown(row)}; expected three numbers")
    return [[float(number) for number in row] for row in value]


def lattice(value: Any, what: str = "lattice_vectors") -> list[list[float]]:
    """Three vectors. Raises CellError."""
    found = vectors(value, what)
    if len(found) != 3:
        raise CellError(f"{what} holds {len(found)} vectors; expected 3")
    return found


def fractional(cartesian: list[list[float]], lattice: list[list[float]]) -> list[list[float]]:
    """Positions in units of the lattice vectors. Raises CellError if those span no volume."""
    try:
        found = np.linalg.solve(np.array(lattice).T, np.array(cartesian).T).T
    except np.linalg.LinAlgError:
        raise CellError(f"the lattice vectors {lattice} span no volume") from None
    if not np.isfinite(found).all():
        raise CellError(f"the lattice vectors {lattice} span no volume")
    whole: list[list[float]] = found.tolist()
    return whole


def species(parts: Sequence[tuple[str, float]], said: str) -> dict[str, Any]:
    """An OPTIMADE species of elements and their shares of a site, named for them."""
    left = round(1 - sum(share for _, share in parts), 6)
    whole = [*parts, ("vacancy", left)] if left > 0 else list(parts)
    return {
        "name": said,
        "chemical_symbols": [symbol for symbol, _ in whole],
        "concentration": [share for _, share in whole],
        "original_name": said,
    }


def cell(
    lattice: list[list[float]], positions: list[list[float]], names: list[str], kinds: list[dict[str, Any]], **more: Any
) -> dict[str, Any]:
    """The columns UNIT_CELL of one record; ``more`` are those that a source declares. Raises CellError."""
    if len(positions) != len(names):
        raise CellError(f"there are {len(positions)} positions for {len(names)} sites")
    if not names:
        raise CellError("there is no site")
    return {
        "lattice_vectors": lattice,
        "fractional_site_positions": positions,
        "species": kinds,
        "species_at_sites": names,
        "dimension_types": [1, 1, 1],
        **more,
    }


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300 and math.isfinite(value)
    )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
