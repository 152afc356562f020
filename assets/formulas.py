"""Chemical formulas: read what sources write, and write what OPTIMADE 1.3 defines."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence

import gemmi
import numpy as np

Composition = Mapping[str, float]
"""Element symbol -> number of atoms (not necessarily whole) in some unit."""

ELEMENTS = frozenset(gemmi.Element(number).name for number in range(1, 119))
_IN_CRYSTALS = frozenset(gemmi.Element(number).name for number in range(1, 104)) | {"D"}  # Nh1 is a nitrogen
SAME_PROPORTION = 0.001
"""How far, relative to itself, a whole proportion number may be off where atoms only partly fill their sites."""

_LARGEST_SUM = 20_000
_GROUPS = {"wat": 2, "h2o": 2, "o-h": 1}
"""Names of an oxygen with its hydrogens, in lower case, and how many those are. (``OH2`` may be a second OH.)"""


def read_symbol(label: str | None, kind: str | None, declared: Collection[str] = ()) -> tuple[str, int]:
    """The element of an atom, and how many hydrogens its name attaches to it.

    Args:
        label: ``atom_site_label``, for example ``CaM2``; used only if there is no type symbol.
        kind: ``atom_site_type_symbol``, for example ``Fe3+``.
        declared: the elements of the declared formula, which decide between two readings of a label.

    Returns:
        An element symbol or ``D``, and 0, 1 (``O-H``) or 2 (``Wat``).

    Raises:
        ValueError: the name is of no element, or of several.
    """
    name = (kind or label or "").strip()
    for spelling, hydrogens in _GROUPS.items():
        if name.lower().startswith(spelling):
            return "O", hydrogens
    letters = (re.match(r"[A-Za-z]*", name) or [""])[0]
    if kind is not None:
        symbol = letters.capitalize()
        if symbol in ELEMENTS or symbol == "D":
            return symbol, 0
        raise ValueError(f"type symbol {kind!r} (atom {label!r}) is of no element")
    return _read_label(name, letters, declared), 0


def _read_label(label: str, letters: str, declared: Collection[str]) -> str:
    readings = [part for part in (letters[:2].capitalize(), letters[:1].upper()) if part in _IN_CRYSTALS]
    readings = list(dict.fromkeys(readings))
    named = [reading for reading in readings if reading in declared or (reading == "D" and "H" in declared)]
    if len(named) == 1:
        return named[0]
    lower = letters[1:2].islower()  # Co is cobalt, as the dictionary has it: the symbol comes first
    if not readings or (len(readings) == 2 and not lower) or (lower and readings[0] != letters[:2]):
        what = " or ".join(readings) or "no element"
        raise ValueError(f"atom label {label!r} may be {what}, and the file gives no type symbol that tells")
    found = readings[0]
    if declared and found not in declared and found != "H":  # hydrogens are often in one place only
        raise ValueError(f"atom label {label!r} reads as {found}, which the declared formula does not have")
    return found


def parse(formula: str | None) -> dict[str, float]:
    """``'(K.88 Na.06) Al2 (O H)2'`` as a composition; empty if there is none or it cannot be read. D counts as H."""
    stack: list[dict[str, float]] = [{}]
    rest = re.sub(r"[\s,]+", " ", formula or "").strip()
    while rest:
        found = re.match(r"(?:([A-Z][a-z]?)|(\()|(\)))(\d*\.?\d*) ?", rest)
        if found is None or (found[2] and found[4]):
            return {}
        rest = rest[found.end() :]
        if found[2]:
            stack.append({})
        elif found[3] and len(stack) == 1:
            return {}
        else:
            part = stack.pop() if found[3] else {"H" if found[1] == "D" else found[1]: 1.0}
            _add(stack[-1], part, float(found[4] or 1) if found[4] != "." else 1.0)
    return stack[0] if len(stack) == 1 and all(symbol in ELEMENTS for symbol in stack[0]) else {}


def _add(total: dict[str, float], part: Composition, times: float) -> None:
    for symbol, number in part.items():
        total[symbol] = total.get(symbol, 0.0) + number * times


def proportions(amounts: Sequence[float], whole: bool) -> list[int]:
    """Whole proportion numbers, at least 1, of positive amounts.

    Args:
        amounts: of each element, in any common unit.
        whole: the amounts are whole numbers, so that the answer is exact; else it is the smallest that gives
            each amount to within SAME_PROPORTION of itself.
    """
    if whole:
        numbers = [round(amount) for amount in amounts]
        divisor = math.gcd(*numbers)
        return [number // divisor for number in numbers]
    shares = np.asarray(amounts, dtype=np.float64)
    shares = shares / shares.sum()
    sums = np.arange(len(shares), _LARGEST_SUM, dtype=np.float64)[:, None] * shares
    rounded = np.rint(sums)
    # The small allowance makes the answer the same whatever unit the amounts are in.
    good = ((rounded >= 1) & (np.abs(rounded - sums) <= (SAME_PROPORTION + 1e-9) * sums)).all(axis=1)
    best = rounded[int(good.argmax())] if good.any() else np.maximum(rounded[-1], 1)
    numbers = [int(number) for number in best]
    divisor = math.gcd(*numbers)
    return [number // divisor for number in numbers]


def deviation(found: Composition, declared: Composition) -> tuple[float, float | None]:
    """How far a composition is from a declared one, whatever the units of the two.

    Returns:
        The largest difference of an element's proportions as a share of the larger one, 0 to 1, over all elements
        but hydrogen; and hydrogen found per hydrogen declared (None if none is declared).
    """
    heavy = sorted((found.keys() | declared.keys()) - {"H"}) or ["H"]
    one = [found.get(symbol, 0.0) for symbol in heavy]
    other = [declared.get(symbol, 0.0) for symbol in heavy]
    if not sum(one) or not sum(other):
        return 1.0, None
    scale = sum(one) / sum(other)
    largest = max(abs(a - b * scale) / max(a, b * scale) for a, b in zip(one, other, strict=True))
    hydrogen = declared.get("H", 0.0) * scale
    return largest, found.get("H", 0.0) / hydrogen if hydrogen else None


def units(found: Composition, declared: Composition) -> float | None:
    """How many declared formulas are found, by all elements but hydrogen (which is often not located)."""
    one, other = (sum(amount for symbol, amount in each.items() if symbol != "H") for each in (found, declared))
    if not other:
        one, other = found.get("H", 0.0), declared.get("H", 0.0)
    return one / other if other else None


def reduced(numbers: Mapping[str, int]) -> str:
    """``chemical_formula_reduced``: elements in alphabetical order with their proportion numbers, 1 left out."""
    return "".join(f"{symbol}{_number(numbers[symbol])}" for symbol in sorted(numbers))


def anonymous(numbers: Collection[int]) -> str:
    """``chemical_formula_anonymous``: A for the most frequent element, then B and so on."""
    ordered = sorted(numbers, reverse=True)
    return "".join(f"{name}{_number(number)}" for name, number in zip(_names(len(ordered)), ordered, strict=True))


def _names(length: int) -> list[str]:
    """A to Z, then Aa to Za, Ab to Zb and so on."""
    capitals = [chr(ord("A") + index) for index in range(26)]
    suffixes = ["", *(chr(ord("a") + index) for index in range(26))]
    return [capital + suffix for suffix in suffixes for capital in capitals][:length]


def hill(unit: Composition) -> str | None:
    """``chemical_formula_hill`` of a formula unit: carbon, hydrogen, then the alphabet; None if it is not whole."""
    if not unit or any(abs(number - round(number)) > 1e-6 for number in unit.values()):
        return None
    first = [symbol for symbol in ("C", "H") if "C" in unit and symbol in unit]
    ordered = first + sorted(symbol for symbol in unit if symbol not in first)
    return "".join(f"{symbol}{_number(round(unit[symbol]))}" for symbol in ordered)


def descriptive(unit: Composition) -> str:
    """``chemical_formula_descriptive``: elements in alphabetical order with decimal numbers, with spaces between."""
    return " ".join(f"{symbol}{_number(unit[symbol])}" for symbol in sorted(unit))


def _number(value: float) -> str:
    text = f"{value:.4f}".rstrip("0").rstrip(".")
    return "" if text == "1" else text
