"""How close atoms of a crystal come to one another, measured by the radii that they have in bonds."""

from __future__ import annotations

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
    along = positions[:, axis]
    around = np.concatenate([along, along + 1.0])  # the sites once more, in the next cell
    farthest = 2 * NEAR * float(radii.max()) / spacings[axis]
    number = len(along)
    after = np.minimum(np.searchsorted(around, along + farthest), np.arange(number) + number) - np.arange(number) - 1
    ends = np.cumsum(after)
    least = NEAR
    for begin, end in _pieces(ends):
        counts = after[begin:end]
        near = np.repeat(np.arange(begin, end), counts)
        step = np.arange(len(near)) - np.repeat(np.cumsum(counts) - counts, counts)
        other = (near + step + 1) % number
        both = shares[other] + shares[near] > 1.01
        near, other = near[both], other[both]
        apart = positions[other] - positions[near]
        apart -= np.rint(apart)
        squared = np.square(apart @ lattice).sum(axis=1)
        reach = radii[other] + radii[near]
        close = squared < (least * reach) ** 2
        if close.any():
            least = float(np.sqrt((squared[close] / reach[close] ** 2).min()))
    return least if least < NEAR else None


def _pieces(ends: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Ranges of sites that have at most some MOST_PAIRS neighbours together."""
    begin = 0
    while begin < len(ends):
        done = ends[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + MOST_PAIRS)))
        yield begin, end
        begin = end
