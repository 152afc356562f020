"""The space group that a structure has, found from its sites with moyo, whatever the source says of it.

Source of the method: K. Shinohara, A. Togo and I. Tanaka, "moyo", https://github.com/spglib/moyo.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import gemmi
import moyopy
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# What OPTIMADE 1.3 lets an operation be: at most two axes, and a shift by a third, a quarter or a sixth.
_SHIFT = r"(?:1/2|[12]/3|[13]/4|[15]/6)"
_PART = rf"(?:-?[xyz](?:[-+][xyz])?(?:[-+]{_SHIFT})?)"
_EXPRESSIBLE = re.compile(f"{_PART},{_PART},{_PART}")

# That a supercell has fewer operations than its primitive cell is told by the operations themselves.
logging.getLogger("moyo").setLevel(logging.ERROR)


class Standardised(NamedTuple):
    """The conventional cell in the standard setting: vectors (rows, angstrom), sites in units of them, and species."""

    lattice: Floats
    positions: Floats
    species: list[str]


class Found(NamedTuple):
    """A space group in a cell's own setting.

    ``operations`` is None where the cell's origin or axes cannot be written in OPTIMADE's fractions; ``hall`` is None
    where no table lists the setting. ``letters`` holds the Wyckoff letter of each site. ``sequence`` names what each
    orbit holds, how many sites it has in a primitive cell and their site symmetry, without directions: it is the same
    in every cell, setting and origin. ``standardised`` computes the cell in the standard setting.
    """

    number: int
    hall: str | None
    hermann_mauguin: str
    operations: list[str] | None
    letters: list[str]
    sequence: str
    standardised: Callable[[], Standardised]


def space_group(lattice: Floats, positions: Floats, species: list[str], tolerance: float) -> Found | None:
    """The space group of sites ``(n, 3)`` in units of the lattice vectors (rows, angstrom); None if none is found.

    Args:
        lattice: the three vectors.
        positions: of the sites.
        species: what is on each site; equal names, equal sites.
        tolerance: angstrom, by which an operation may miss a site.
    """
    kinds = {name: number for number, name in enumerate(sorted(set(species)), 1)}
    # Where a group leaves the origin free, noise in the last bits would choose it, and with it the letters.
    cell = moyopy.Cell(lattice.round(8).tolist(), positions.round(9).tolist(), [kinds[name] for name in species])
    try:
        data = moyopy.MoyoDataset(cell, symprec=tolerance, rotate_basis=False)
    except ValueError:
        return None
    rotations = np.array(data.operations.rotations, dtype=np.int64)
    shifts = np.array(data.operations.translations)
    steps = np.rint(shifts * gemmi.Op.DEN)
    missed = np.abs(shifts - steps / gemmi.Op.DEN).max(axis=0) * np.linalg.norm(lattice, axis=1)
    hall = symbol = operations = None
    if missed.max() <= tolerance:
        hall, symbol, operations = _named(rotations.tobytes(), (steps.astype(np.int64) % gemmi.Op.DEN).tobytes())
    symbol = symbol or _standard(data.number)
    cells = len(positions) / len(data.prim_std_cell.positions)
    sequence = _sequence(species, data.orbits, data.site_symmetry_symbols, cells)
    listed = None if operations is None else list(operations)
    standardised = partial(_standardised, data, sorted(kinds))
    return Found(data.number, hall, symbol, listed, list(data.wyckoffs), sequence, standardised)


def _standardised(data: moyopy.MoyoDataset, names: list[str]) -> Standardised:
    cell = data.std_cell
    return Standardised(np.array(cell.basis), np.array(cell.positions), [names[kind - 1] for kind in cell.numbers])


@lru_cache(maxsize=4096)
def _named(rotations: bytes, steps: bytes) -> tuple[str | None, str | None, tuple[str, ...] | None]:
    """Hall and short Hermann-Mauguin symbol of a setting, if tabulated, and its operations, the identity first."""
    turned = np.frombuffer(rotations, dtype=np.int64).reshape(-1, 3, 3) * gemmi.Op.DEN
    moved = np.frombuffer(steps, dtype=np.int64).reshape(-1, 3)
    parsed = []
    for turn, move in zip(turned.tolist(), moved.tolist(), strict=True):
        operation = gemmi.Op()
        operation.rot, operation.tran = turn, move
        parsed.append(operation.wrap())
    triplets = sorted((operation.triplet() for operation in parsed), key=lambda text: (text != "x,y,z", text))
    setting = gemmi.find_spacegroup_by_ops(gemmi.GroupOps(parsed))
    expressible = all(_EXPRESSIBLE.fullmatch(text) for text in triplets)
    return (
        setting.hall if setting else None,
        short_symbol(setting.hm) if setting else None,
        tuple(triplets) if expressible else None,
    )


@lru_cache(maxsize=256)
def _standard(number: int) -> str:
    return short_symbol(gemmi.find_spacegroup_by_number(number).hm)


def short_symbol(symbol: str) -> str:
    """``P 1 21/c 1`` is ``P 21/c`` in short; OPTIMADE wants the short symbol with its spaces."""
    parts = symbol.split()
    return f"{parts[0]} {parts[2]}" if len(parts) == 4 and parts[1] == parts[3] == "1" else symbol


def _sequence(species: list[str], orbits: list[int], symmetries: list[str], cells: float) -> str:
    held = Counter(orbits)
    parts = [(species[first], round(number / cells), _undirected(symmetries[first])) for first, number in held.items()]
    return " ".join(f"{name}:{number}:{symmetry}" for name, number, symmetry in sorted(parts))


@lru_cache(maxsize=1024)
def _undirected(symmetry: str) -> str:
    """A site symmetry without the axes that it is along: ``.m.`` and ``m..`` are ``m``, ``m2m`` is ``2mm``."""
    return "".join(sorted(re.findall(r"-?\d(?:/m)?|m", symmetry)))
