"""Where an occurrence was: coordinates into WGS84, elevations and depths into metres, with what is doubtful flagged."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from assets.distinct import Mask, given, mask, numbers, translated
from assets.occurrence_words import WGS84, datum

Floats = npt.NDArray[np.float64]

_METRES_PER_FOOT = 0.3048
_MEASURE = re.compile(r"([+-]?[\d.,]+)\s*(m|metres?|meters?|ft\.?|feet|foot)?\.?(?: ?a\.?s\.?l\.?)?", re.I)
ELEVATIONS = (-5000.0, 17_000.0)
"""Metres; what GBIF holds likely: no land or dive is beyond."""
DEPTHS = (0.0, 11_000.0)

LATITUDE, LONGITUDE = "decimalLatitude", "decimalLongitude"


class Places:
    """The places of one batch: derived columns by name, and masks of rows by GBIF's name of what is doubtful."""

    def __init__(self, source: dict[str, pa.Array], rows: int, interpreted: bool) -> None:
        self.columns: dict[str, pa.Array] = {}
        self.issues: dict[str, Mask] = {}
        self._source, self._rows, self._interpreted = source, rows, interpreted
        self._coordinates()
        self._positive("coordinateUncertaintyInMeters", "COORDINATE_UNCERTAINTY_METERS_INVALID", 5_000_000.0)
        self._positive("coordinatePrecision", "COORDINATE_PRECISION_INVALID", 10.0)
        self._range("Elevation", "ELEVATION", ELEVATIONS)
        self._range("Depth", "DEPTH", DEPTHS)
        for name in ("elevation", "elevationAccuracy", "depth", "depthAccuracy"):
            if name in source:
                self.columns[name] = numbers(source[name], pa.float64(), number)

    def _said(self, name: str) -> pa.Array:
        column = self._source.get(name)
        return pa.nulls(self._rows, pa.string()) if column is None else column

    def _coordinates(self) -> None:
        said = {name: self._said(name) for name in (LATITUDE, LONGITUDE)}
        found = {name: numbers(column, pa.float64(), number) for name, column in said.items()}
        unread = {name: given(said[name]) & ~given(found[name]) for name in said}
        for name, verbatim in ((LATITUDE, "verbatimLatitude"), (LONGITUDE, "verbatimLongitude")):
            self._keep(verbatim, said[name], unread[name])
        invalid = unread[LATITUDE] | unread[LONGITUDE]
        self.issues["COORDINATE_INVALID"] = invalid
        if invalid.any():
            # Half a coordinate is none; the other half is kept where it stood.
            for name, verbatim in ((LATITUDE, "verbatimLatitude"), (LONGITUDE, "verbatimLongitude")):
                self._keep(verbatim, said[name], invalid)
                found[name] = pc.if_else(pa.array(invalid), None, found[name])
        at = given(found[LATITUDE]) & given(found[LONGITUDE])
        zero = mask(pc.and_(pc.equal(found[LATITUDE], 0.0), pc.equal(found[LONGITUDE], 0.0)))
        self.issues["ZERO_COORDINATE"] = zero
        self.columns |= found
        self._datum(at)

    def _keep(self, name: str, said: pa.Array, rows: Mask) -> None:
        """Keep a value that is not read in the verbatim column, unless that has one of its own."""
        column = self.columns.get(name, self._said(name))
        if rows.any():
            column = pc.if_else(pa.array(rows & ~given(column)), said, column)
        self.columns[name] = column

    def _datum(self, at: Mask) -> None:
        said = self._said("geodeticDatum")
        codes = translated(said, datum, pa.int32())
        absent, known = ~given(said), given(codes)
        code = pc.fill_null(codes, 0).to_numpy(zero_copy_only=False)
        assumed = self._interpreted and "geodeticDatum" not in self._source
        self.issues["GEODETIC_DATUM_ASSUMED_WGS84"] = at & absent & (not assumed)
        self.issues["GEODETIC_DATUM_INVALID"] = at & ~absent & ~known
        in_wgs84 = at & (absent | (code == WGS84))
        other = at & known & (code != WGS84)
        moved, failed = self._moved(code, other) if other.any() else (other, other)
        self.issues["COORDINATE_REPROJECTED"] = moved
        self.issues["COORDINATE_REPROJECTION_FAILED"] = failed
        self.columns["geodeticDatum"] = pc.if_else(pa.array(in_wgs84 | moved), "WGS84", pa.scalar(None, pa.string()))
        lost = at & ~in_wgs84 & ~moved
        self._keep("verbatimSRS", said, lost | moved)

    def _moved(self, code: npt.NDArray[np.int32], rows: Mask) -> tuple[Mask, Mask]:
        """Put the rows' coordinates into WGS84, in place; which were, and which could not be."""
        latitude, longitude = (_array(self.columns[name]) for name in (LATITUDE, LONGITUDE))
        written = pc.binary_join_element_wise(self._said(LATITUDE), self._said(LONGITUDE), " ")
        done = np.zeros(self._rows, dtype=np.bool_)
        for one in np.unique(code[rows]).tolist():
            here = rows & (code == one) & (abs(latitude) <= 90) & (abs(longitude) <= 180)
            x, y = _transformer(one).transform(longitude[here], latitude[here])
            fits = np.isfinite(x) & np.isfinite(y)
            where = np.flatnonzero(here)[fits]
            # A ten-millionth of a degree is a centimetre, far below what any of these conversions is good for.
            longitude[where], latitude[where] = np.round(x[fits], 7), np.round(y[fits], 7)
            done[where] = True
        self._keep("verbatimCoordinates", written, done)
        for name, values in ((LATITUDE, latitude), (LONGITUDE, longitude)):
            self.columns[name] = pa.array(values, mask=~given(self.columns[name]))
        return done, rows & ~done

    def _positive(self, name: str, issue: str, most: float) -> None:
        said = self._said(name)
        found = numbers(said, pa.float64(), number)
        sound = mask(pc.and_(pc.greater(found, 0.0), pc.less_equal(found, most)))
        self.issues[issue] = given(said) & ~sound
        self.columns[name] = found if (sound | ~given(said)).all() else pc.if_else(pa.array(sound), found, None)

    def _range(self, what: str, issue: str, likely: tuple[float, float]) -> None:
        names = [f"{end}{what}InMeters" for end in ("minimum", "maximum")]
        said = [self._said(name) for name in names]
        if not any(given(column).any() for column in said):
            self.columns |= {name: pa.nulls(self._rows, pa.float64()) for name in names}
            return
        low, high = (numbers(column, pa.float64(), metres) for column in said)
        unread = [given(text) & ~given(value) for text, value in zip(said, (low, high), strict=True)]
        for text, rows in zip(said, unread, strict=True):
            self._keep(f"verbatim{what}", text, rows)
        self.issues[f"{issue}_NON_NUMERIC"] = unread[0] | unread[1]
        self.issues[f"{issue}_NOT_METRIC"] = _in_feet(said[0]) | _in_feet(said[1])
        swapped = mask(pc.greater(low, high))
        self.issues[f"{issue}_MIN_MAX_SWAPPED"] = swapped
        if swapped.any():
            low, high = (pc.if_else(pa.array(swapped), other, one) for one, other in ((low, high), (high, low)))
        beyond = [pc.or_(pc.less(value, likely[0]), pc.greater(value, likely[1])) for value in (low, high)]
        self.issues[f"{issue}_UNLIKELY"] = mask(beyond[0]) | mask(beyond[1])
        self.columns |= dict(zip(names, (low, high), strict=True))


def _array(column: pa.Array) -> Floats:
    return np.array(pc.fill_null(column, np.nan).to_numpy(zero_copy_only=False))


def _in_feet(column: pa.Array) -> Mask:
    if column.null_count == len(column):
        return np.zeros(len(column), dtype=np.bool_)
    return mask(pc.match_substring(column, "f", ignore_case=True))


def number(text: str) -> float | None:
    """A finite number, with a decimal point or one decimal comma; None for anything else."""
    text = text.strip()
    if "." not in text and text.count(",") == 1:
        text = text.replace(",", ".")
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", text):
        return None
    value = float(text)
    return value if np.isfinite(value) else None


def metres(text: str) -> float | None:
    """A height in metres or feet as metres; a range or words are None. A comma before three digits is none."""
    found = _MEASURE.fullmatch(text.strip())
    if found is None or re.search(r",\d{3}$", found[1]):
        return None
    value = number(found[1])
    return value if value is None or not (found[2] or "").lower().startswith("f") else value * _METRES_PER_FOOT


@cache
def _transformer(code: int) -> Any:
    from pyproj import Transformer, network

    # What a grid on the network would change must not depend on the network.
    network.set_network_enabled(active=False)  # type: ignore[attr-defined]
    return Transformer.from_crs(f"EPSG:{code}", f"EPSG:{WGS84}", always_xy=True, allow_ballpark=False)
