"""Generalise: tell the place of a sensitive record no better than to a cell of a grid, in every column that could.

The grid's lines are the multiples of the cell's width; the last cell before a pole or the date line takes in what is
left over. Coordinates become the cell's centre, and coordinateUncertaintyInMeters a radius that covers the whole cell
and the record's own uncertainty. From the centre, no point of the cell is farther on the ellipsoid than

    sqrt((M h / 2)^2 + (p w / 2)^2)

(h, w: height and width in radians; M: the meridian's radius of curvature at the cell's poleward edge; p: the radius
of the parallel at its equatorward edge, both of WGS84). For the straight line between the two in latitude and longitude
has at most that length, M and p being at their largest there, and the geodesic is no longer. Rounded up to two digits,
the sum with the record's own uncertainty does not tell that one.

A date, collector and number find a record again where it is published exactly; so the date keeps its year only, all
other columns that the table marks ``locates`` are cleared, and the record's name is made of the snapshot's key.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from catalog.rights.terms import Sensitive
from catalog.table import Table

Floats = npt.NDArray[np.float64]

LATITUDE, LONGITUDE = "decimalLatitude", "decimalLongitude"
UNCERTAINTY, PRECISION = "coordinateUncertaintyInMeters", "coordinatePrecision"
DATE, START, END = "eventDate", "_winnow_event_start", "_winnow_event_end"
GENERALISED, WITHHELD = "dataGeneralizations", "informationWithheld"

# WGS84 (EPSG:7030).
_RADIUS = 6_378_137.0
_FLATTENING = 1 / 298.257223563
_ECCENTRICITY2 = _FLATTENING * (2 - _FLATTENING)


def radius(south: Floats, north: Floats, width: Floats) -> Floats:
    """Metres from the centre of a cell (edges and width in degrees) within which the whole cell lies."""
    poleward = np.radians(np.maximum(abs(south), abs(north)))
    equatorward = np.radians(np.where((south < 0) & (north > 0), 0.0, np.minimum(abs(south), abs(north))))
    meridian = _RADIUS * (1 - _ECCENTRICITY2) / (1 - _ECCENTRICITY2 * np.sin(poleward) ** 2) ** 1.5
    parallel = _RADIUS * np.cos(equatorward) / np.sqrt(1 - _ECCENTRICITY2 * np.sin(equatorward) ** 2)
    found: Floats = np.hypot(meridian * np.radians(north - south) / 2, parallel * np.radians(width) / 2)
    return found


def edges(values: Floats, cell: Floats, limit: float) -> tuple[Floats, Floats]:
    """The edges of the cells that degrees of latitude (limit 90) or longitude (180) lie in."""
    most = np.maximum(np.floor(limit / cell), 1)
    index = np.clip(np.floor(values / cell), -most, most - 1)
    lower = np.where(index == -most, -limit, index * cell)
    upper = np.where(index == most - 1, limit, (index + 1) * cell)
    return lower, upper


def generalise(
    columns: dict[str, pa.Array],
    table: Table,
    rules: Sequence[Sensitive],
    holds: Sequence[pa.Array],
    source: pa.Array,
    key: str,
) -> dict[str, pa.Array]:
    """Canonical columns with the rows on which a rule holds generalised; where several hold, to the widest cell.

    Args:
        columns: the canonical columns by name, typed as in the table.
        table: whose columns marked ``locates`` are cleared or coarsened.
        rules: the dataset's rules.
        holds: for each rule whether it holds on each row; null counts as holding.
        source: the ordinal of each row's record in the snapshot.
        key: what nobody knows who does not have the snapshot, such as its sha256.
    """
    hit = np.array([pc.fill_null(one, True).to_numpy(zero_copy_only=False) for one in holds], dtype=np.bool_)
    rows = np.flatnonzero(hit.any(axis=0))
    if not rows.size:
        return columns
    chosen, mask = pa.array(rows), pa.array(hit.any(axis=0))
    few = {name: column.take(chosen) for name, column in columns.items()}
    cell = np.where(hit[:, rows], np.array([rule.cell for rule in rules])[:, None], 0.0).max(axis=0)
    told = _coarser(few, cell, table)
    # Not the ordinal itself: neighbours in a source often are neighbours in the field.
    told["_record"] = pa.array([_unlinked(key, ordinal) for ordinal in source.take(chosen).to_pylist()])
    told |= _said(few, hit[:, rows], cell, rules)
    return {
        name: pc.replace_with_mask(column, mask, told[name].cast(column.type)) if name in told else column
        for name, column in columns.items()
    }


def _unlinked(key: str, ordinal: int) -> str:
    return f"generalised-{hmac.new(key.encode(), str(ordinal).encode(), hashlib.sha256).hexdigest()[:24]}"


def _coarser(few: dict[str, pa.Array], cell: Floats, table: Table) -> dict[str, pa.Array]:
    """Every column that may give the place away, coarsened if it can be, else empty."""
    located = [column.name for column in table.columns if column.locates]
    told = {name: pa.nulls(len(cell), few[name].type) for name in located}
    if LATITUDE in few and LONGITUDE in few:
        told |= {name: column for name, column in _cells(few, cell).items() if name in few}
    dates = {name: column for name, column in _years(few).items() if name in few}
    return told | dates


def _cells(few: dict[str, pa.Array], cell: Floats) -> dict[str, pa.Array]:
    latitude, longitude = (
        pc.fill_null(few[name], np.nan).to_numpy(zero_copy_only=False) for name in (LATITUDE, LONGITUDE)
    )
    (south, north), (west, east) = edges(latitude, cell, 90.0), edges(longitude, cell, 180.0)
    own = np.zeros(len(cell))
    if UNCERTAINTY in few:
        own = pc.fill_null(few[UNCERTAINTY], 0.0).to_numpy(zero_copy_only=False)
        own = np.where(np.isfinite(own) & (own > 0), own, 0.0)
    reach = _rounded_up(radius(south, north, east - west) + own)
    # What is on no globe stays so, for the gate to refuse rather than for a cell to hide.
    on_globe = (abs(latitude) <= 90) & (abs(longitude) <= 180)
    absent = {name: ~pc.is_valid(few[name]).to_numpy(zero_copy_only=False) for name in (LATITUDE, LONGITUDE)}
    middle = {LATITUDE: np.round((south + north) / 2, 9), LONGITUDE: np.round((west + east) / 2, 9)}
    limits = {LATITUDE: 91.0, LONGITUDE: 181.0}
    told = {
        name: pa.array(np.where(on_globe | absent[name], middle[name], limits[name]), mask=absent[name])
        for name in (LATITUDE, LONGITUDE)
    }
    nowhere = absent[LATITUDE] | absent[LONGITUDE]
    return told | {
        UNCERTAINTY: pa.array(reach, mask=nowhere | ~np.isfinite(reach)),
        PRECISION: pa.array(cell, mask=nowhere),
    }


def _rounded_up(metres: Floats) -> Floats:
    """To two digits, upwards; the margin is for the rounding of doubles and of the centre."""
    metres = np.maximum(np.nan_to_num(metres, nan=1.0), 1.0) * (1 + 1e-9) + 0.001
    unit = 10.0 ** (np.floor(np.log10(metres)) - 1)
    found: Floats = np.ceil(metres / unit) * unit
    return found


def _years(few: dict[str, pa.Array]) -> dict[str, pa.Array]:
    """The event's dates, from the first to the last day of the year or years."""
    if START not in few or END not in few:
        return {}
    start, end = (pc.fill_null(few[name], 0).cast(pa.int32()).to_numpy() for name in (START, END))
    years = [days.astype("datetime64[D]").astype("datetime64[Y]") for days in (start, end)]
    absent = ~pc.and_(pc.is_valid(few[START]), pc.is_valid(few[END])).to_numpy(zero_copy_only=False)
    after = (years[1] + np.timedelta64(1, "Y")).astype("datetime64[D]") - np.timedelta64(1, "D")
    first, last = (pc.utf8_lpad(pa.array(year.astype(np.int64) + 1970).cast(pa.string()), 4, "0") for year in years)
    text = pc.if_else(pc.equal(first, last), first, pc.binary_join_element_wise(first, last, "/"))
    return {
        START: pa.array(years[0].astype("datetime64[D]"), pa.date32(), mask=absent),
        END: pa.array(after, pa.date32(), mask=absent),
        DATE: pc.if_else(pa.array(absent), None, text),
    }


def _said(
    few: dict[str, pa.Array], hit: npt.NDArray[np.bool_], cell: Floats, rules: Sequence[Sensitive]
) -> dict[str, pa.Array]:
    """What was done and by which rules, after what the source says for itself."""
    weights = 1 << np.arange(len(rules), dtype=object)
    keys = [int((weights * one).sum()) for one in hit.T]
    texts = {key: "; ".join(r.reason for i, r in enumerate(rules) if key >> i & 1) for key in set(keys)}
    done = [f"Place told to a cell of {width:g} degrees: {texts[key]}" for key, width in zip(keys, cell, strict=True)]
    kept = [
        f"Exact place and day, collector and number are withheld (not the rights holder): {texts[key]}" for key in keys
    ]
    told = {}
    for name, words in ((GENERALISED, done), (WITHHELD, kept)):
        if name in few:
            said = pc.binary_join_element_wise(few[name], pa.array(words), " | ")
            told[name] = pc.coalesce(said, pa.array(words))
    return told
