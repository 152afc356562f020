"""Numbers written in text, read by compiled code: spans of a block of bytes become columns of int64 or double.

What is not written as a number is said so, value by value, and never read as something near it: no blanks, no
thousands, no hexadecimal. A double is the one nearest to what is written, as IEEE 754 has it.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numba
import numpy as np
import pyarrow as pa

Array: TypeAlias = np.ndarray[Any, Any]

_compiled = numba.njit(nogil=True, cache=True)

_ZERO, _NINE, _PLUS, _MINUS, _DOT, _LARGE_E, _SMALL_E = (ord(character) for character in "09+-.Ee")
_DIGITS = 18
"""So many fit into an int64 whatever they are."""
_EXACT = 1 << 53
# Powers of ten that a double holds exactly: a product or quotient of two such numbers is rounded once (Clinger 1990).
_POWERS = 10.0 ** np.arange(23)
_NULL, _SOUND, _WRONG, _LONG = 0, 1, 2, 3
_SPECIAL = frozenset(("inf", "infinity", "nan"))


def integers(text: Array, begin: Array, size: Array) -> tuple[pa.Int64Array, Array]:
    """The integers at ``text[begin : begin + size]``, and the rows that hold something else; size 0 or less is null."""
    values, verdict = _integers(text, begin, size)
    return _column(values, verdict), np.flatnonzero(verdict == _WRONG)


def decimals(text: Array, begin: Array, size: Array) -> tuple[pa.DoubleArray, Array]:
    """The numbers at ``text[begin : begin + size]`` as doubles, and the rows that hold something else.

    ``inf``, ``infinity`` and ``nan`` in any case are numbers too; size 0 or less is null.
    """
    values, verdict = _decimals(text, begin, size)
    for row in np.flatnonzero(verdict == _LONG):
        values[row], verdict[row] = _slowly(text[begin[row] : begin[row] + size[row]].tobytes())
    return _column(values, verdict), np.flatnonzero(verdict == _WRONG)


def _slowly(written: bytes) -> tuple[float, int]:
    """A number of more digits than a double holds, or in words; Python rounds it right."""
    bare = written.lstrip(b"+-").decode("ascii", "replace")
    # Python would also take 1_000 and digits of other scripts.
    plain = written.isascii() and "_" not in bare and bare == bare.strip() and len(written) - len(bare) <= 1
    if not plain or (bare[:1].isalpha() and bare.lower() not in _SPECIAL):
        return 0.0, _WRONG
    try:
        return float(written), _SOUND
    except ValueError:
        return 0.0, _WRONG


def _column(values: Array, verdict: Array) -> pa.Array:
    sound = verdict == _SOUND
    if sound.all():
        return pa.array(values)
    bits = pa.py_buffer(np.packbits(sound, bitorder="little"))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [bits, pa.py_buffer(values)])


@_compiled
def _integers(text: Array, begin: Array, size: Array) -> tuple[Array, Array]:
    values = np.zeros(begin.size, dtype=np.int64)
    verdict = np.zeros(begin.size, dtype=np.uint8)
    for row in range(begin.size):
        if size[row] > 0:
            at, stop = begin[row], begin[row] + size[row]
            signed = text[at] == _MINUS or text[at] == _PLUS
            first = at + signed
            number, sound = 0, 0 < stop - first <= _DIGITS
            if sound:
                for digit in range(first, stop):
                    sound &= _ZERO <= text[digit] <= _NINE
                    number = number * 10 + text[digit] - _ZERO
            verdict[row] = _SOUND if sound else _WRONG
            values[row] = (-number if text[at] == _MINUS else number) if sound else 0
    return values, verdict


@_compiled
def _exponent(text: Array, at: int, stop: int) -> int:
    """The integer at ``text[at:stop]``; 999 where there is none, or a larger one."""
    negative = at < stop and text[at] == _MINUS
    if at < stop and (negative or text[at] == _PLUS):
        at += 1
    number = 0
    if at == stop or stop - at > 2:
        return 999
    while at < stop:
        if not _ZERO <= text[at] <= _NINE:
            return 999
        number = number * 10 + text[at] - _ZERO
        at += 1
    return -number if negative else number


@_compiled
def _decimals(text: Array, begin: Array, size: Array) -> tuple[Array, Array]:
    """What is left over as ``_LONG`` is none of the numbers that need but one operation, and may be no number."""
    values = np.zeros(begin.size, dtype=np.float64)
    verdict = np.zeros(begin.size, dtype=np.uint8)
    for row in range(begin.size):
        if size[row] <= 0:
            continue
        at, stop = begin[row], begin[row] + size[row]
        negative = text[at] == _MINUS
        if negative or text[at] == _PLUS:
            at += 1
        number, digits, scale, pointed = 0, 0, 0, False
        while at < stop and digits <= _DIGITS:
            character = text[at]
            if _ZERO <= character <= _NINE:
                number = number * 10 + character - _ZERO
                digits += 1
                scale -= pointed
            elif character == _DOT and not pointed:
                pointed = True
            else:
                break
            at += 1
        if at < stop and digits > 0 and (text[at] == _SMALL_E or text[at] == _LARGE_E):
            scale += _exponent(text, at + 1, stop)
            at = stop
        verdict[row] = _LONG
        if at == stop and 0 < digits <= _DIGITS and number <= _EXACT and -22 <= scale <= 22:
            value = number / _POWERS[-scale] if scale < 0 else number * _POWERS[scale]
            values[row] = -value if negative else value
            verdict[row] = _SOUND
    return values, verdict
