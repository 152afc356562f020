"""Crystal structures: from what a source lists to the OPTIMADE 1.3 quantities of the whole unit cell.

Two kinds of records come in: an asymmetric unit with its symmetry (``assets.asymmetric_units``: CIF) and a whole unit
cell (``assets.unit_cells``: OPTIMADE, pymatgen, POSCAR, extended XYZ). Both give the same row for the same structure:

* *Lattice*: a along x, b in the xy plane, right-handed, in angstrom. *Sites*: from 0 to below 1, sorted by species and
  position. *Species* are named for what they hold.
* *Symmetry* is recomputed from the sites at ``symmetry_tolerance``; what the source declares stands beside it.
* *Formulas* count attached hydrogens. With partial occupancies the reduced formula has the smallest integers
  that give each proportion to within 0.1 %. The Hill formula is the formula unit that the source declares, if it is
  whole and the sites agree with it to 1 %; else it is null, for the chemical insight is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from assets import asymmetric_units, crystal_sites, unit_cells
from assets.contacts import shortest_contact
from assets.crystal_sites import StructureError
from assets.isolated import Lost, isolated
from assets.space_groups import space_group
from assets.symmetry import SymmetryError, symmetry
from catalog.table import load_table

DERIVED = (
    "id", "elements", "nelements", "elements_ratios", "chemical_formula_descriptive", "chemical_formula_reduced",
    "chemical_formula_hill", "chemical_formula_anonymous", "dimension_types", "nperiodic_dimensions",
    "lattice_vectors", "space_group_symmetry_operations_xyz", "space_group_symbol_hall",
    "space_group_symbol_hermann_mauguin", "space_group_it_number", "wyckoff_positions", "cartesian_site_positions",
    "fractional_site_positions", "site_coordinate_span", "nsites", "species_at_sites", "species", "assemblies",
    "structure_features", "_winnow_volume", "_winnow_volume_per_atom", "_winnow_density",
    "_winnow_formula_deviation", "_winnow_hydrogen_share", "_winnow_symmetry_tolerance", "_winnow_wyckoff_sequence",
    "_winnow_declared_space_group_it_number", "_winnow_declared_space_group_symbol", "_winnow_space_group_agrees",
    "_winnow_declared_formula", "_winnow_declared_formula_units", "_winnow_formula_units", "_winnow_disagreements",
    "_winnow_declared_volume", "_winnow_shortest_contact",
    "_winnow_niggli_lattice_vectors", "_winnow_standardised_lattice_vectors", "_winnow_standardised_site_positions",
    "_winnow_standardised_species_at_sites", "_winnow_repairs",
)  # fmt: skip
"""The columns that this transform gives; they take the place of source columns of the same name."""

_SHARED = (
    "_record", "_position", "_error", "chemical_formula_sum", "cell_volume", "repairs", "exptl_crystal_density_diffrn",
    "cell_formula_units_z",
)  # fmt: skip
_DECLARED = ("space_group_name_hall", "space_group_name_h-m", "space_group_it_number")

_DENSITY, _FORMULA_UNITS = "exptl_crystal_density_diffrn", "cell_formula_units_z"
READS = frozenset({"cell_volume", _DENSITY, _FORMULA_UNITS})
TOLERANCES = {"density": 0.01, "formula": 0.01, "formula_units": 0.01, "volume": 0.001}
"""By what share a declared value may differ before ``_winnow_disagreements`` names it."""
ROWS_PER_BATCH = 512
WORKS_APART = True
_PIECE = 16


class Options(BaseModel):
    """How closely symmetry is looked for, and what is computed on request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    symmetry_tolerance: float = Field(
        0.01, gt=0, le=1, description="angstrom, by which a symmetry operation may miss a site"
    )
    niggli: bool = Field(False, description="whether the Niggli-reduced lattice is given too")
    standardised: bool = Field(False, description="whether the cell in the standard setting is given too")


@cache
def _fields() -> list[pa.Field]:
    table = load_table("crystals.structures")
    return [pa.field(column.name, column.arrow.type) for column in table.columns if column.name in DERIVED]


def prepare(options: Options) -> Callable[[pa.RecordBatch], pa.RecordBatch]:
    """The transform of all batches of a source: DERIVED after its own columns; records that fail get an ``_error``.

    The records are worked on in processes of their own, on all cores.
    """
    return partial(_derived, options=options)


def transform(batch: pa.RecordBatch) -> pa.RecordBatch:
    """``prepare`` without options."""
    return _derived(batch, Options())


def _derived(batch: pa.RecordBatch, options: Options) -> pa.RecordBatch:
    known = {*_SHARED, *_DECLARED, *unit_cells.UNIT_CELL, *asymmetric_units.NEEDS}
    needed = batch.select([name for name in batch.schema.names if name in known])
    pieces = [needed.slice(start, _PIECE) for start in range(0, batch.num_rows, _PIECE)]
    derived = pa.Table.from_batches(_answers(pieces, options), schema=_schema()).combine_chunks()
    columns = {name: batch[name] for name in batch.schema.names if name not in DERIVED}
    columns["_error"] = _whole(derived["_error"])
    kept = [field for field in batch.schema if field.name in columns]
    added = [_whole(derived[field.name]) for field in _fields()]
    return pa.RecordBatch.from_arrays([*columns.values(), *added], schema=pa.schema([*kept, *_fields()]))


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.array([], column.type)


def _answers(pieces: list[pa.RecordBatch], options: Options) -> Iterator[pa.RecordBatch]:
    """What is derived of each piece; a piece that is not survived is tried again row by row."""
    items = ((piece.schema, piece.serialize().to_pybytes(), options) for piece in pieces)
    for piece, answer in zip(pieces, isolated(derive, items), strict=True):
        if not isinstance(answer, Lost):
            yield pa.ipc.read_record_batch(pa.py_buffer(answer), _schema())
        elif piece.num_rows > 1:
            yield from _answers([piece.slice(row, 1) for row in range(piece.num_rows)], options)
        else:
            said = piece["_error"][0].as_py() or f"no structure can be derived: {answer.reason}"
            yield pa.RecordBatch.from_pylist([{"_error": said}], schema=_schema())


def derive(item: tuple[pa.Schema, bytes, Options]) -> bytes:
    """The derived columns of the rows of one serialised batch, serialised."""
    schema, content, options = item
    derived: list[dict[str, Any]] = []
    for row in pa.ipc.read_record_batch(pa.py_buffer(content), schema).to_pylist():
        values, error = _derive(row, options)
        derived.append({**values, "_error": error})
    columns = [_column([row.get(field.name) for row in derived], field.type) for field in _schema()]
    answer: bytes = pa.RecordBatch.from_arrays(columns, schema=_schema()).serialize().to_pybytes()
    return answer


@cache
def _schema() -> pa.Schema:
    return pa.schema([pa.field("_error", pa.string()), *_fields()])


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    """An array; matrices ``(n, 3)`` come as NumPy arrays, for which there is a quicker way than by number."""
    if not any(isinstance(value, np.ndarray) for value in values):
        return pa.array(values, kind)
    outer = np.cumsum([0, *(0 if value is None else len(value) for value in values)], dtype=np.int32)
    numbers = np.concatenate([value.ravel() for value in values if value is not None])
    width = np.arange(0, len(numbers) + 1, 3, dtype=np.int32)
    inner = pa.ListArray.from_arrays(width, numbers, type=kind.value_type)
    missing = pa.array([value is None for value in values])
    return pa.ListArray.from_arrays(outer, inner, type=kind, mask=missing)


def _derive(row: dict[str, Any], options: Options) -> tuple[dict[str, Any], str | None]:
    if row["_error"] is not None:
        return {}, row["_error"]
    try:
        return structure(row, options), None
    except StructureError as error:
        return {}, str(error)


def structure(row: dict[str, Any], options: Options | None = None) -> dict[str, Any]:
    """The OPTIMADE quantities of one record; lengths in angstrom, density in g/cm^3. Matrices are NumPy arrays.

    Raises:
        StructureError: the record gives no structure.
    """
    options = options or Options()
    kind = unit_cells if "lattice_vectors" in row else asymmetric_units
    found = kind.expanded(row)
    volume = float(np.linalg.det(found.lattice))
    sites = crystal_sites.sites(found.orbits, found.lattice, found.implicit, found.assemblies)
    derived = {
        "id": row["_record"] or row["_position"],
        "lattice_vectors": found.lattice,
        "dimension_types": [1, 1, 1],
        "nperiodic_dimensions": 3,
        "site_coordinate_span": "unit_cell",
        "_winnow_volume": volume,
        "_winnow_declared_volume": row.get("cell_volume"),
        "_winnow_declared_formula": row["chemical_formula_sum"],
        "_winnow_repairs": row.get("repairs") or [],
        "_winnow_shortest_contact": shortest_contact(found.lattice, sites),
        "_winnow_niggli_lattice_vectors": _niggli(found.lattice) if options.niggli else None,
        **sites,
        **crystal_sites.chemistry(found.orbits, volume, row["chemical_formula_sum"]),
        **_symmetry(row, found, sites, options),
        "_winnow_declared_formula_units": _number(row, _FORMULA_UNITS),
    }
    return {**derived, "_winnow_disagreements": _disagreements(derived, _number(row, _DENSITY))}


def _number(row: dict[str, Any], name: str) -> float | None:
    """A declared number above 0; the readers of unit cells give what they do not know as text."""
    value = row.get(name)
    return value if isinstance(value, float) and value > 0 else None


def _disagreements(derived: dict[str, Any], density: float | None) -> list[str]:
    """Which of the declared values are further than TOLERANCES from what is computed, sorted."""
    pairs = {
        "density": (derived["_winnow_density"], density),
        "formula_units": (derived["_winnow_formula_units"], derived["_winnow_declared_formula_units"]),
        "volume": (derived["_winnow_volume"], derived["_winnow_declared_volume"]),
    }
    off = {name: abs(one / other - 1) for name, (one, other) in pairs.items() if one and other}
    off["formula"] = derived["_winnow_formula_deviation"] or 0.0
    found = [name for name, deviation in off.items() if deviation > TOLERANCES[name]]
    return sorted([*found, *(["space_group"] if derived["_winnow_space_group_agrees"] is False else [])])


def _symmetry(
    row: dict[str, Any], cell: asymmetric_units.Expanded, sites: dict[str, Any], options: Options
) -> dict[str, Any]:
    positions, names = sites["fractional_site_positions"], sites["species_at_sites"]
    found = space_group(cell.lattice, positions, names, options.symmetry_tolerance)
    standard = found.standardised() if found and options.standardised else None
    number, symbol = _declared(row, cell)
    return {
        "space_group_it_number": found and found.number,
        "space_group_symbol_hall": found and found.hall,
        "space_group_symbol_hermann_mauguin": found and found.hermann_mauguin,
        "space_group_symmetry_operations_xyz": found and found.operations,
        "wyckoff_positions": found and found.letters,
        "_winnow_wyckoff_sequence": found and found.sequence,
        "_winnow_symmetry_tolerance": options.symmetry_tolerance,
        "_winnow_standardised_lattice_vectors": standard and unit_cells.standard_orientation(standard.lattice),
        "_winnow_standardised_site_positions": standard and crystal_sites.wrapped(standard.positions),
        "_winnow_standardised_species_at_sites": standard and standard.species,
        "_winnow_declared_space_group_it_number": number,
        "_winnow_declared_space_group_symbol": symbol,
        "_winnow_space_group_agrees": None if number is None or found is None else number == found.number,
    }


def _declared(row: dict[str, Any], cell: asymmetric_units.Expanded) -> tuple[int | None, str | None]:
    """The number and symbol that a source states, the number by its operations or symbols if it gives none."""
    hall, symbol, number = (row.get(name) for name in _DECLARED)
    declared = cell.declared
    if declared is None and number is None and (hall or symbol):
        try:
            declared = symmetry((), hall, symbol, None, 90.0, 90.0)
        except SymmetryError:  # two origins, say; then the source states no number that can be compared
            declared = None
    return number or (declared and declared.number), symbol or (declared and declared.hermann_mauguin)


def _niggli(lattice: Any) -> Any:
    import moyopy

    basis, _ = moyopy.niggli_reduce(lattice.tolist())
    return np.array(basis)
