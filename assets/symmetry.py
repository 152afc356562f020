"""Space groups from what a CIF says: its operations, or else its Hall symbol, Hermann-Mauguin symbol or number."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import gemmi
import numpy as np
import numpy.typing as npt

from assets.space_groups import short_symbol

Floats = npt.NDArray[np.float64]

_MOST = 4 * 192  # some sources describe a doubled or fourfold cell


class SymmetryError(ValueError):
    """What the source says gives no space group; the text says why, in one sentence."""


class Symmetry(NamedTuple):
    """A space group in the source's setting: rotations ``(n, 3, 3)``, translations ``(n, 3)``, and its names."""

    rotations: Floats
    translations: Floats
    triplets: list[str]
    number: int | None
    hall: str | None
    hermann_mauguin: str | None


@lru_cache(maxsize=4096)  # half a million structures share a few thousand lists of operations
def symmetry(
    operations: tuple[str, ...], hall: str | None, symbol: str | None, number: int | None, alpha: float, gamma: float
) -> Symmetry:
    """The space group of a list of operations (``-x,y+1/2,-z``), or, if that is empty, of the names.

    Names are tried in the order Hall symbol, Hermann-Mauguin symbol (the angles of the cell, in degrees, tell
    rhombohedral from hexagonal axes), number (its standard setting). A group in a setting that no table lists
    keeps the number and symbol that the source gives, and has no Hall symbol. Where the tables have two origins
    for a group and the names do not say which (``F d -3 m`` without ``:2``), nothing is assumed.

    Raises:
        SymmetryError: an operation cannot be read, they form no group, or the names are unknown or ambiguous.
    """
    if operations:
        found = None
        parsed = _parsed(operations)
    else:
        found = _named(hall, symbol, number, alpha, gamma)
        parsed = [op.wrap() for op in found.operations()]
    rotations = np.array([op.rot for op in parsed]) / gemmi.Op.DEN
    translations = np.array([op.tran for op in parsed]) / gemmi.Op.DEN
    _refuse_no_group(rotations, translations)
    triplets = [op.triplet() for op in parsed]
    found = found or gemmi.find_spacegroup_by_ops(gemmi.GroupOps(parsed))
    if found is None:
        return Symmetry(rotations, translations, triplets, number, None, _spaced(symbol))
    return Symmetry(rotations, translations, triplets, found.number, found.hall, short_symbol(found.hm))


def _parsed(operations: tuple[str, ...]) -> list[gemmi.Op]:
    parsed: dict[str, gemmi.Op] = {}
    for text in operations:
        try:
            op = gemmi.Op(text).wrap()
        except (RuntimeError, ValueError):
            raise SymmetryError(
                f"symmetry operation {text!r} cannot be read; expected one such as '-x,y+1/2,-z'"
            ) from None
        parsed.setdefault(op.triplet(), op)
    if len(parsed) > _MOST:
        raise SymmetryError(f"{len(parsed)} symmetry operations are listed; no space group has more than 192 in a cell")
    return list(parsed.values())


def _refuse_no_group(rotations: Floats, translations: Floats) -> None:
    """Every product of two operations must be one of them."""
    keys = _keys(rotations, translations)
    products = np.einsum("aij,bjk->abik", rotations, rotations).reshape(-1, 3, 3)
    moved = (np.einsum("aij,bj->abi", rotations, translations) + translations[:, None]).reshape(-1, 3)
    if not np.isin(_keys(products, moved), keys).all():
        raise SymmetryError(f"the {len(keys)} symmetry operations form no group: one is wrong or missing")


def _keys(rotations: Floats, translations: Floats) -> npt.NDArray[np.int64]:
    """One number per operation; equal numbers, equal operations (up to lattice translations)."""
    digits = np.rint(rotations.reshape(-1, 9)).astype(np.int64) + 16
    shifts = np.rint(translations * gemmi.Op.DEN).astype(np.int64) % gemmi.Op.DEN
    turned = digits @ (np.int64(33) ** np.arange(9, dtype=np.int64))
    keys: npt.NDArray[np.int64] = turned * gemmi.Op.DEN**3 + shifts @ (gemmi.Op.DEN ** np.arange(3))
    return keys


def _named(hall: str | None, symbol: str | None, number: int | None, alpha: float, gamma: float) -> gemmi.SpaceGroup:
    found = _from_hall(hall) if hall else None
    if found is None and symbol:
        found = gemmi.find_spacegroup_by_name(symbol.partition("{")[0].strip(), alpha, gamma)
    if found is None and number is not None and 1 <= number <= 230:
        found = gemmi.find_spacegroup_by_number(number)
    if found is None:
        raise SymmetryError(
            f"no symmetry operations are listed, and no space group has symbol {symbol!r} or number {number}"
        )
    if found.ext in ("1", "2") and not (hall and _from_hall(hall)) and f":{found.ext}" not in (symbol or ""):
        raise SymmetryError(
            f"no symmetry operations are listed, and space group {symbol or number!r} has two origins to choose from"
        )
    return found


def _from_hall(hall: str) -> gemmi.SpaceGroup | None:
    try:
        return gemmi.find_spacegroup_by_ops(gemmi.symops_from_hall(hall))
    except (RuntimeError, ValueError):
        return None


def _spaced(symbol: str | None) -> str | None:
    """The symbol without what only tells the setting: ``:2``, ``{rhombohedral axes}``, a last ``S``, ``Z``, ``H``."""
    if symbol is None:
        return None
    parts = symbol.partition("{")[0].partition(":")[0].split()
    return " ".join(parts[:-1] if len(parts) > 2 and parts[-1] in "SZHR" else parts)
