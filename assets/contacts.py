"""How close atoms of a crystal come to one another, measured by the radii that they have in bonds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import gemmi
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

NEAR = 0.6
"""Of the sum of two covalent radii; contacts that are longer are bonds or none, and are not looked for."""


MOST_PAIRS = 1 << 20
THINNEST = 10  # cells that are looked at to either side; where more could hold a neighbour, no density is of matter
_WHOLE = 1.01  # occupancies that sum to no more than this alternate


def shortest_contact(lattice: Floats, sites: Mapping[str, Any]) -> float | None:
    """The smallest distance of two sites in units of the sum of their covalent radii, if it is below NEAR.

    Sites whose occupancies alternate (that sum to at most 1) may be anywhere.

    Args:
        lattice: the three vectors as rows, angstrom.
        sites: OPTIMADE's fractional_site_positions ``(n, 3)``, species and species_at_sites.
    """
    kinds = {one["name"]: (_filled(one), _radius(one)) for one in sites["species"]}
    told = np.array([kinds[name] for name in sites["species_at_sites"]])
    return _closest(lattice, np.asarray(sites["fractional_site_positions"]), told[:, 0], told[:, 1])


def _filled(species: Mapping[str, Any]) -> float:
    parts = zip(species["chemical_symbols"], species["concentration"], strict=True)
    return float(sum(share for symbol, share in parts if symbol != "vacancy"))


def _radius(species: Mapping[str, Any]) -> float:
    """The covalent radius (angstrom) of the smallest element on a site."""
    return min((_covalent(symbol) for symbol in species["chemical_symbols"] if symbol != "vacancy"), default=0.0)


@lru_cache(maxsize=256)
def _covalent(symbol: str) -> float:
    """Source: Cordero et al. 2008, doi:10.1039/b801115j."""
    return float(gemmi.Element(symbol).covalent_r)


def _closest(lattice: Floats, positions: Floats, shares: Floats, radii: Floats) -> float | None:
    """By a sweep along the direction in which the lattice planes are widest apart."""
    spacings = 1 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    axis = int(spacings.argmax())
    order = np.argsort(positions[:, axis])
    positions, shares, radii = positions[order], shares[order], radii[order]
    farthest = 2 * NEAR * float(radii.max())
    shifts = _shifts(spacings, farthest)
    least = min(NEAR, _to_own_images(shifts @ lattice, radii[2 * shares > _WHOLE]))
    along = positions[:, axis]
    around = np.concatenate([along, along + 1.0])  # the sites once more, in the next cell
    number = len(along)
    within = np.searchsorted(around, along + farthest / spacings[axis], side="right")
    after = np.minimum(within, np.arange(number) + number) - np.arange(number) - 1
    for begin, end in _pieces(np.cumsum(after), MOST_PAIRS // len(shifts)):
        counts = after[begin:end]
        near = np.repeat(np.arange(begin, end), counts)
        step = np.arange(len(near)) - np.repeat(np.cumsum(counts) - counts, counts)
        other = (near + step + 1) % number
        both = shares[other] + shares[near] > _WHOLE
        near, other = near[both], other[both]
        apart = positions[other] - positions[near]
        apart -= np.rint(apart)
        images = (apart[:, None] + shifts).reshape(-1, 3) @ lattice
        squared = np.square(images).sum(axis=1).reshape(len(apart), len(shifts)).min(axis=1)
        reach = radii[other] + radii[near]
        close = squared < (least * reach) ** 2
        if close.any():
            least = float(np.sqrt((squared[close] / reach[close] ** 2).min()))
    return least if least < NEAR else None


def _shifts(spacings: Floats, farthest: float) -> Floats:
    """The cells ``(s, 3)`` around one in which a neighbour can be; only the cell itself, unless that is small."""
    most = [0 if spacing > 2 * farthest else min(THINNEST, int(farthest / spacing + 0.5)) for spacing in spacings]
    return np.array(list(itertools.product(*(range(-number, number + 1) for number in most))), dtype=np.float64)


def _to_own_images(shifts: Floats, radii: Floats) -> float:
    """The smallest distance of a site to its own images, in units of its diameter."""
    lengths = np.linalg.norm(shifts, axis=1)
    lengths = lengths[lengths > 0]
    if not len(lengths) or not len(radii) or not radii.max():
        return NEAR
    return float(lengths.min() / (2 * radii.max()))


def _pieces(ends: npt.NDArray[np.int64], most: int) -> Iterator[tuple[int, int]]:
    """Ranges of sites that have at most so many neighbours together, if each has fewer."""
    begin = 0
    while begin < len(ends):
        done = ends[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + most)))
        yield begin, end
        begin = end
