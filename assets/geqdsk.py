"""EFIT's G EQDSK files: an equilibrium as fixed-width numbers, which run together where they are negative.

Source of the format: L. Lao, "G EQDSK format", General Atomics. Nothing in it says which sign convention it is in.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MU_0 = 4e-7 * np.pi
_NUMBER = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][+-]?\d+)?|[+-]?(?:nan|inf(?:inity)?))", re.IGNORECASE)
_SCALARS = 20
_MOST = 4096


class GeqdskError(ValueError):
    """The text is no G EQDSK; it says what is wrong and where."""


class Equilibrium(NamedTuple):
    """One time slice; lengths in m, psi in Wb or Wb/rad, as the file has it.

    ``psirz`` is ``(nh, nw)``, a row for each Z; profiles are ``(nw,)`` from axis to boundary; outlines ``(n, 2)``.
    """

    name: str
    rdim: float
    zdim: float
    rcentr: float
    rleft: float
    zmid: float
    rmaxis: float
    zmaxis: float
    simag: float
    sibry: float
    bcentr: float
    current: float
    fpol: Floats
    pres: Floats
    ffprim: Floats
    pprime: Floats
    psirz: Floats
    qpsi: Floats
    boundary: Floats
    limiter: Floats

    @property
    def r(self) -> Floats:
        """R of the columns of psi."""
        return np.linspace(self.rleft, self.rleft + self.rdim, self.psirz.shape[1])

    @property
    def z(self) -> Floats:
        """Z of the rows of psi."""
        return np.linspace(self.zmid - self.zdim / 2, self.zmid + self.zdim / 2, self.psirz.shape[0])

    def current_of_sources(self) -> float:
        """The integral of R p' + FF' / (mu_0 R) over the points within the boundary's psi and outline."""
        span = self.sibry - self.simag
        if not span:
            return 0.0
        place = (self.psirz - self.simag) / span
        height = self.boundary[:, 1] if len(self.boundary) else self.z
        within = (place >= 0) & (place <= 1) & (self.z >= height.min())[:, None] & (self.z <= height.max())[:, None]
        grid = np.linspace(0, 1, len(self.pprime))
        r = self.r[None, :]
        density = r * np.interp(place, grid, self.pprime) + np.interp(place, grid, self.ffprim) / (MU_0 * r)
        cell = (self.r[1] - self.r[0]) * (self.z[1] - self.z[0])
        return float(density[within].sum() * cell)


def equilibrium(text: str) -> Equilibrium:
    """Read one file.

    Raises:
        GeqdskError: header or numbers are not as the format has them, or there are fewer than the header says.
    """
    head, _, body = text.partition("\n")
    width, height = _size(head)
    numbers = _Numbers(body)
    said = numbers.take(_SCALARS, "scalars")
    profiles = {name: numbers.take(width, name) for name in ("fpol", "pres", "ffprim", "pprime")}
    psi = numbers.take(width * height, "psirz").reshape(height, width)
    q = numbers.take(width, "qpsi")
    boundary, limiter = numbers.outlines()
    rdim, zdim, rcentr, rleft, zmid, rmaxis, zmaxis, simag, sibry, bcentr, current = said[:11].tolist()
    if rdim <= 0 or zdim <= 0 or rleft < 0:
        raise GeqdskError(
            f"the box is {rdim} by {zdim} m from R = {rleft} m; expected sizes above 0 and R of at least 0"
        )
    return Equilibrium(
        head[:48].strip(), rdim, zdim, rcentr, rleft, zmid, rmaxis, zmaxis, simag, sibry, bcentr, current,
        profiles["fpol"], profiles["pres"], profiles["ffprim"], profiles["pprime"], psi, q, boundary, limiter,
    )  # fmt: skip


def _size(head: str) -> tuple[int, int]:
    """The numbers of columns and rows: the last two words, or the last two fields of four where they run together."""
    for found in (re.search(r"(\d+)\s+(\d+)\s*$", head), re.search(r"(.{4})(.{4})$", head[:60])):
        sizes = [int(part) for part in found.groups() if part.strip().isdecimal()] if found else []
        if len(sizes) == 2 and all(2 <= size <= _MOST for size in sizes):
            return sizes[0], sizes[1]
    raise GeqdskError(f"line 1 ends with {head[-12:]!r}; expected the width and height of the grid")


class _Numbers:
    """The numbers of a text, one after the other."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0

    def take(self, count: int, what: str) -> Floats:
        # A header may claim any number; a text of so many characters holds no more than that.
        found = np.empty(min(count, len(self._text) - self._at))
        for index in range(count):
            number = _NUMBER.match(self._text, self._at)
            if number is None:
                rest = self._text[self._at :].split(maxsplit=1)
                there = f"line {self._line()} has {rest[0][:20]!r}" if rest else "it ends"
                raise GeqdskError(f"{what} has {index:,} of {count:,} numbers, then {there}")
            found[index] = float(re.sub("[dD]", "e", number[1]))
            self._at = number.end()
        return found

    def outlines(self) -> tuple[Floats, Floats]:
        """Boundary and limiter; older files have none."""
        counts = re.compile(r"\s*(\d+)\s+(\d+)\s*(?:\n|$)").match(self._text, self._at)
        if counts is None:
            if self._text[self._at :].strip():
                raise GeqdskError(f"line {self._line()}: more numbers than this grid has, or no sizes of the outlines")
            return np.empty((0, 2)), np.empty((0, 2))
        self._at = counts.end()
        boundary = self.take(2 * int(counts[1]), "rbbbs, zbbbs")
        return boundary.reshape(-1, 2), self.take(2 * int(counts[2]), "rlim, zlim").reshape(-1, 2)

    def _line(self) -> int:
        """The line of what comes next, counted from 1 with the header."""
        ahead = len(self._text[self._at :]) - len(self._text[self._at :].lstrip())
        return self._text.count("\n", 0, self._at + ahead) + 2
