"""An equilibrium of which everything is known: Solov'ev's, as G EQDSK in any sign convention."""

from __future__ import annotations

import numpy as np

from assets.cocos import factors

R0, B0, K, EDGE, Q_AXIS = 6.2, 5.3, 1 / 3, 11.0, 2.0
MU_0 = 4e-7 * np.pi
F = R0 * B0
C = F / (2 * np.sqrt(K) * R0**3 * Q_AXIS)
PSI_BOUNDARY = C * EDGE**2
P_PRIME = -2 * C * (1 + K) / MU_0
ANGLES = np.linspace(0, 2 * np.pi, 2001)


def q(psi_norm: float) -> float:
    """F / 2 pi times the integral of d(theta) / (2 c sqrt(k) R^3) around the surface."""
    r = np.sqrt(R0**2 + 2 * EDGE * np.sqrt(psi_norm) * np.cos(ANGLES))
    return float(F / (2 * np.pi) * np.trapezoid(1 / (2 * C * np.sqrt(K) * r**3), ANGLES))


def boundary(points: int) -> tuple[np.ndarray, np.ndarray]:
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    r = np.sqrt(R0**2 + 2 * EDGE * np.cos(angles))
    return r, EDGE * np.sin(angles) / (np.sqrt(K) * r)


def current() -> float:
    """A: the integral of R p' over the cross-section, by dR dZ = s ds d(theta) / (sqrt(k) R^2)."""
    s = (np.arange(400) + 0.5) / 400 * EDGE
    inner = [one * np.trapezoid(1 / np.sqrt(R0**2 + 2 * one * np.cos(ANGLES)), ANGLES) for one in s]
    return float(-P_PRIME / np.sqrt(K) * np.sum(inner) * EDGE / 400)


def geqdsk(cocos: int, size: int = 33, first_line: str = "  SOLOVEV, ANALYTIC") -> str:
    """The text of the file; current and field are anti-clockwise from above in every convention."""
    turn = factors(1, cocos)
    r, z = np.linspace(3.4, 8.6, size), np.linspace(-4.6, 4.6, size)
    psi = C * ((r[None, :] ** 2 - R0**2) ** 2 / 4 + K * r[None, :] ** 2 * z[:, None] ** 2)
    place = np.linspace(0, 1, size)
    edge = PSI_BOUNDARY * turn.psi
    field, ip = B0 * turn.b0, current() * turn.ip
    outline = np.array(boundary(64)).T
    numbers = [r[-1] - r[0], z[-1] - z[0], R0, r[0], 0, R0, 0, 0, edge, field]
    numbers += [ip, 0, 0, R0, 0, 0, 0, edge, 0, 0]
    numbers += [R0 * field] * size
    numbers += list(-P_PRIME * PSI_BOUNDARY * (1 - place))
    numbers += [0.0] * size
    numbers += [P_PRIME / turn.psi] * size
    numbers += list((psi * turn.psi).ravel())
    numbers += [q(one) * turn.q for one in place]
    limiter = [[3.5, -4.5], [8.5, -4.5], [8.5, 4.5], [3.5, 4.5]]
    rest = [*outline.ravel(), *np.ravel(limiter)]
    head = f"{first_line:48}{0:4}{size:4}{size:4}"
    return "\n".join([head, *_lines(numbers), f"{len(outline):5}{len(limiter):5}", *_lines(rest)]) + "\n"


def _lines(numbers: list[float]) -> list[str]:
    return ["".join(f"{number:16.9E}" for number in numbers[at : at + 5]) for at in range(0, len(numbers), 5)]
