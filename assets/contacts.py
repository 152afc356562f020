"""How close atoms of a crystal come to one another, measured by the radii that they have in bonds."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import gemmi
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

NEAR = 0.6
"""Of the sum of two covalent radii; contacts that are longer are bonds or none, and are not looked for."""


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
    least = NEAR
    for step in range(1, len(positions)):
        near = np.flatnonzero(around[step : step + len(along)] - along < farthest)
        if not near.size:
            break
        other = (near + step) % len(along)
        apart = positions[other] - positions[near]
        apart -= np.rint(apart)
        distance = np.sqrt(np.square(apart @ lattice).sum(axis=1))
        both = shares[other] + shares[near] > 1.01
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(both, distance / (radii[other] + radii[near]), np.inf)
        least = min(least, float(np.nan_to_num(ratio, nan=np.inf).min()))
    return least if least < NEAR else None
