"""COCOS: the sign and 2-pi conventions of tokamak equilibria, which one numbers are in, and how they turn into another.

Source: O. Sauter and S. Yu. Medvedev, Comput. Phys. Commun. 184 (2013) 293, table I, equation (22) and appendix C.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Cocos(NamedTuple):
    """The parameters of a convention: powers of 2 pi in psi, and three signs."""

    exp_bp: int
    sigma_bp: int
    sigma_r_phi_z: int
    sigma_rho_theta_phi: int


class Factors(NamedTuple):
    """What quantities are multiplied with, to be in another convention."""

    psi: float
    ip: int
    b0: int
    q: int
    """Of F = R B_phi it is ``b0``; of p' and FF' it is 1 / ``psi``."""


_SIGNS = {1: (1, 1, 1), 2: (1, -1, 1), 3: (-1, 1, -1), 4: (-1, -1, -1), 5: (1, 1, -1), 6: (1, -1, -1), 7: (-1, 1, 1), 8: (-1, -1, 1)}  # fmt: skip  # noqa: E501


def cocos(number: int) -> Cocos:
    """The parameters of convention 1 to 8 or 11 to 18. Raises ValueError for any other number."""
    tens, family = divmod(number, 10)
    if tens not in (0, 1) or family not in _SIGNS:
        raise ValueError(f"there is no COCOS {number}; they are 1 to 8 and 11 to 18")
    return Cocos(tens, *_SIGNS[family])


def factors(source: int, target: int) -> Factors:
    """What turns quantities of one convention into those of another, for the same plasma in the same machine."""
    one, other = cocos(source), cocos(target)
    turned = one.sigma_r_phi_z * other.sigma_r_phi_z
    psi = turned * one.sigma_bp * other.sigma_bp * (2 * np.pi) ** (other.exp_bp - one.exp_bp)
    return Factors(float(psi), turned, turned, one.sigma_rho_theta_phi * other.sigma_rho_theta_phi)


def candidates(ip: float, b0: float, psi_axis: float, psi_boundary: float, q: float, exp_bp: int) -> tuple[int, ...]:
    """The conventions that an equilibrium's own signs allow; two, since no number tells how phi runs.

    Args:
        ip: plasma current, A.
        b0: vacuum toroidal field, T.
        psi_axis: poloidal flux on the magnetic axis.
        psi_boundary: that on the plasma's boundary.
        q: safety factor, anywhere.
        exp_bp: 0 if psi is in Wb/rad, 1 if it is in Wb; see ``power``.
    """
    sigma_bp = np.sign(psi_boundary - psi_axis) * np.sign(ip)
    sigma_rho_theta_phi = np.sign(q) * np.sign(ip) * np.sign(b0)
    signs = {family: (bp, rho) for family, (bp, _, rho) in _SIGNS.items()}
    return tuple(family + 10 * exp_bp for family, found in signs.items() if found == (sigma_bp, sigma_rho_theta_phi))


def power(ip: float, current_of_sources: float) -> int | None:
    """Whether psi is in Wb/rad (0) or Wb (1): by the current that p' and FF' drive, which holds a psi below the line.

    Args:
        ip: plasma current, A.
        current_of_sources: the integral of R p' + FF' / (mu_0 R) over the plasma's cross-section.

    Returns:
        None where neither is within a third of the plasma current.
    """
    if not current_of_sources:
        return None
    ratio = abs(ip / current_of_sources)
    return next((exponent for exponent in (0, 1) if abs(np.log(ratio / (2 * np.pi) ** exponent)) < np.log(4 / 3)), None)
