"""Eight bytes of text at a time: what compiled code reads and compares as one machine word."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

WIDTH = 8

_compiled = numba.njit(nogil=True, cache=True, error_model="numpy")
_ZEROS, _CARRY, _HIGH = np.uint64(0x3030303030303030), np.uint64(0x7676767676767676), np.uint64(0x8080808080808080)
_PAIRS, _FOURS = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF)
_EIGHT, _SIXTEEN, _THIRTY_TWO, _SIXTY_FOUR = np.uint64(8), np.uint64(16), np.uint64(32), np.uint64(64)
_BY_2, _BY_4, _BY_8 = np.uint64(2561), np.uint64(6553601), np.uint64(42949672960001)


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def load(typing_context: Any, address: Any) -> Any:
    """The word at an address, whose first byte is the lowest; all eight bytes must be the caller's."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        return builder.load(builder.inttoptr(arguments[0], word.as_pointer()), align=1)

    return types.uint64(types.uintp), generate


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def trailing_zeros(typing_context: Any, word: Any) -> Any:
    """How many of a word's low bits are 0; 64 if all are."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), generate


@_compiled
def digits(word: Any) -> Any:
    """The whole number that the digits at a word's beginning write, and how many (0 to 8) they are.

    Sums of two, four and eight digits are made in all parts of the word at once.
    """
    values = word ^ _ZEROS
    others = (values | (values + _CARRY)) & _HIGH
    bits = trailing_zeros(others) & ~np.uint64(7)
    if bits == 0:
        return np.int64(0), np.int64(0)
    values <<= _SIXTY_FOUR - bits
    values = ((values * _BY_2) >> _EIGHT) & _PAIRS
    values = ((values * _BY_4) >> _SIXTEEN) & _FOURS
    return np.int64((values * _BY_8) >> _THIRTY_TWO), np.int64(bits // _EIGHT)
