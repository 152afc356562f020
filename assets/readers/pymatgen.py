"""pymatgen's JSON: ``Structure``, ``ComputedStructureEntry``, and the summary documents of the Materials Project.

A snapshot is one file (a list, JSON Lines, or one document), a folder of them, or a zip or tar archive; ``.gz`` is
unpacked. The structure is the record itself or its ``structure``. A mapping wants other values by dotted path
(``parameters.run_type``, ``builder_meta.license``), which come as text: numbers as written, lists and objects as JSON.

Source: pymatgen's ``as_dict``, https://pymatgen.org; emmet's ``SummaryDoc``, https://github.com/materialsproject/emmet.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from assets.asymmetric_units import lattice_vectors
from assets.cell_records import Found, batches, group_number, volume, wanted_columns
from assets.crystal_sites import StructureError
from assets.json_records import Document, at, paths, placed_documents, text
from assets.unit_cells import CellError, cell, fractional, lattice, species, vectors
from catalog.records import Snapshot

_LOOKED_AT = 200
_IDENTIFIERS = ("entry_id", "material_id", "data.material_id", "task_id")


class Options(BaseModel):
    """pymatgen's JSON needs no options."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def read(snapshot: Snapshot, options: Options, columns: Collection[str]) -> pa.RecordBatchReader:  # noqa: ARG001
    """Stream a snapshot's structures as records; see ``assets.cell_records.batches``."""
    wanted, seen = wanted_columns(columns), set[str]()
    return batches(snapshot, _found(snapshot, wanted, seen), wanted, seen, "pymatgen structures in *.json or *.jsonl")


def _found(snapshot: Snapshot, wanted: list[str], seen: set[str]) -> Iterator[Found]:
    looked = 0
    for position, _, document in placed_documents(snapshot):
        yield _record(position, document, wanted)
        if looked < _LOOKED_AT and isinstance(document.value, Mapping):
            looked += 1
            seen.update(paths(document.value))


def _record(position: str, document: Document, wanted: list[str]) -> Found:
    entry = document.value
    if document.problem:
        return Found(position, None, None, document.problem, document.raw)
    if not isinstance(entry, Mapping):
        return Found(position, None, None, "the record is no JSON object", text(entry) or "null")
    named = (at(entry, name) for name in _IDENTIFIERS)
    record = next((str(name) for name in named if isinstance(name, (str, int))), None)
    try:
        values = {name: text(at(entry, name)) for name in wanted}
        return Found(position, record, _cell(entry), values=values)
    except CellError as error:
        return Found(position, record, None, str(error), text(entry) or "")


def _cell(entry: Mapping[str, Any]) -> dict[str, Any]:
    structure = entry if "lattice" in entry and "sites" in entry else entry.get("structure")
    if not isinstance(structure, Mapping):
        raise CellError("the document has no structure: expected `lattice` and `sites`, or a `structure` that has them")
    given = structure.get("lattice")
    if not isinstance(given, Mapping):
        raise CellError("the structure has no lattice; expected `matrix`, or a, b, c, alpha, beta, gamma")
    periodic = given.get("pbc")
    if isinstance(periodic, list) and not all(periodic):
        raise CellError(f"lattice.pbc is {periodic}; only structures periodic in three directions have a row")
    vectors_ = _vectors(given)
    listed = structure.get("sites")
    if not isinstance(listed, list) or not all(isinstance(site, Mapping) for site in listed):
        raise CellError("the structure has no sites")
    kinds: dict[str, dict[str, Any]] = {}
    names, positions = [], []
    for number, site in enumerate(listed):
        parts = _parts(site.get("species"), number)
        name = " ".join(f"{symbol}:{share!r}" for symbol, share in parts)
        kinds.setdefault(
            name, species(parts, name if len(parts) > 1 or parts[0][1] != 1 else parts[0][0]) | {"name": name}
        )
        names.append(name)
        positions.append(_position(site, vectors_, number))
    return cell(
        vectors_, positions, names, list(kinds.values()),
        chemical_formula_sum=_formula(entry),
        space_group_it_number=group_number(at(entry, "symmetry.number")),
        cell_volume=volume(entry.get("volume")) or volume(given.get("volume")),
        **{"space_group_name_h-m": symbol if isinstance(symbol := at(entry, "symmetry.symbol"), str) else None},
    )  # fmt: skip


def _vectors(given: Mapping[str, Any]) -> list[list[float]]:
    if "matrix" in given:
        return lattice(given["matrix"], "lattice.matrix")
    parameters = [given.get(name) for name in ("a", "b", "c", "alpha", "beta", "gamma")]
    (row_one, row_two) = vectors([parameters[:3], parameters[3:]], "lattice")
    try:
        found: list[list[float]] = lattice_vectors([*row_one, *row_two]).tolist()
    except StructureError as error:
        raise CellError(str(error)) from None
    return found


def _parts(value: Any, number: int) -> list[tuple[str, float]]:
    """The elements of a site and their shares; charges do not make another element."""
    shares: dict[str, float] = {}
    for part in value if isinstance(value, list) else []:
        element, share = (part.get("element"), part.get("occu")) if isinstance(part, Mapping) else (None, None)
        symbol = re.match(r"[A-Z][a-z]?(?=[^a-z]|$)", element) if isinstance(element, str) else None
        if symbol is None or not isinstance(share, (int, float)):
            raise CellError(f"site {number} holds {str(part)[:60]}; expected an element and its occupancy")
        shares[symbol[0]] = shares.get(symbol[0], 0.0) + share
    if not shares:
        raise CellError(f"site {number} has no species")
    return sorted(shares.items())


def _position(site: Mapping[str, Any], lattice_: list[list[float]], number: int) -> list[float]:
    if site.get("abc") is not None:
        return vectors([site["abc"]], f"abc of site {number}")[0]
    return fractional(vectors([site.get("xyz")], f"xyz of site {number}"), lattice_)[0]


def _formula(entry: Mapping[str, Any]) -> str | None:
    composition = entry.get("composition")
    if isinstance(entry.get("formula_pretty"), str):
        return str(entry["formula_pretty"])
    if isinstance(composition, Mapping) and all(isinstance(amount, (int, float)) for amount in composition.values()):
        return " ".join(f"{symbol}{amount:g}" for symbol, amount in composition.items())
    return None
