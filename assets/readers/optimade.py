"""OPTIMADE structures: API responses, lists of entries, and the JSON Lines that OPTIMADE servers export.

A snapshot is one file, a folder of them, or a zip or tar archive; ``.gz`` is unpacked. Entries of other types
(references, files, info) and the header of an export are passed over. Besides the structure itself, a mapping wants
properties by name (``_exmpl_energy``) or by dotted path (``relationships.references.data``), which come as text:
numbers as written, lists and objects as JSON.

Source: OPTIMADE 1.3, "Structures Entries", https://specs.optimade.org.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from assets.cell_records import Found, batches, group_number, wanted_columns
from assets.json_records import Document, at, paths, placed_documents, text
from assets.unit_cells import CellError, cell, fractional, lattice, vectors
from catalog.records import Snapshot

_LOOKED_AT = 200
_ENTRY_KEYS = frozenset({"id", "type", "attributes", "links", "relationships", "meta"})


class Options(BaseModel):
    """OPTIMADE needs no options."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def read(snapshot: Snapshot, options: Options, columns: Collection[str]) -> pa.RecordBatchReader:  # noqa: ARG001
    """Stream a snapshot's structures as records; see ``assets.cell_records.batches``."""
    wanted, seen = wanted_columns(columns), set[str]()
    return batches(snapshot, _found(snapshot, wanted, seen), wanted, seen, "OPTIMADE structures in *.json or *.jsonl")


def _found(snapshot: Snapshot, wanted: list[str], seen: set[str]) -> Iterator[Found]:
    looked = 0
    for position, _, document in placed_documents(snapshot):
        found = _structure(position, document, wanted)
        if found is not None:
            yield found
            if looked < _LOOKED_AT and isinstance(document.value, Mapping):
                looked += 1
                seen.update(paths(_attributes(document.value)), paths(document.value))


def _structure(position: str, document: Document, wanted: list[str]) -> Found | None:
    entry = document.value
    if document.problem:
        return Found(position, None, None, document.problem, document.raw)
    if not isinstance(entry, Mapping):
        return Found(position, None, None, "the record is no JSON object", text(entry) or "null")
    if entry.get("type", "structures") != "structures" or "x-optimade" in entry:
        return None
    attributes = _attributes(entry)
    record = next((str(one) for one in (entry.get("id"), attributes.get("task_id")) if one is not None), None)
    try:
        values = {name: text(_value(entry, attributes, name)) for name in wanted}
        return Found(position, record, _cell(attributes), values=values)
    except CellError as error:
        return Found(position, record, None, str(error), text(entry) or "")


def _attributes(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = entry.get("attributes")
    return inner if isinstance(inner, Mapping) else entry


def _value(entry: Mapping[str, Any], attributes: Mapping[str, Any], name: str) -> Any:
    found = at(attributes, name)
    return at(entry, name) if found is None else found


def _cell(attributes: Mapping[str, Any]) -> dict[str, Any]:
    dimensions = attributes.get("dimension_types")
    if isinstance(dimensions, list) and dimensions != [1, 1, 1]:
        raise CellError(f"dimension_types is {dimensions}; only structures periodic in three directions have a row")
    if attributes.get("lattice_vectors") is None:
        raise CellError("lattice_vectors is missing or null; expected three vectors in angstrom")
    vectors_ = lattice(attributes["lattice_vectors"])
    names = attributes.get("species_at_sites")
    kinds = attributes.get("species")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CellError("species_at_sites is missing; expected the name of a species for each site")
    if not isinstance(kinds, list) or not all(map(_is_species, kinds)):
        raise CellError(
            "species is missing or not as OPTIMADE defines it; expected name, chemical_symbols, concentration"
        )
    if attributes.get("fractional_site_positions") is not None:
        positions = vectors(attributes["fractional_site_positions"], "fractional_site_positions")
    else:
        cartesian = vectors(attributes.get("cartesian_site_positions"), "cartesian_site_positions")
        positions = fractional(cartesian, vectors_)
    formulas = ("chemical_formula_hill", "chemical_formula_reduced", "pretty_formula", "chemical_formula_descriptive")
    formula = next((attributes[name] for name in formulas if isinstance(attributes.get(name), str)), None)
    return cell(
        vectors_, positions, names, kinds,
        assemblies=_assemblies(attributes.get("assemblies")),
        chemical_formula_sum=formula,
        space_group_it_number=group_number(attributes.get("space_group_it_number")),
        **{
            "space_group_name_h-m": _string(attributes.get("space_group_symbol_hermann_mauguin")),
            "space_group_name_hall": _string(attributes.get("space_group_symbol_hall")),
        },
    )  # fmt: skip


def _is_species(value: Any) -> bool:
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        return False
    return _are(value.get("chemical_symbols"), str) and _are(value.get("concentration"), (int, float))


def _are(values: Any, kind: type | tuple[type, ...]) -> bool:
    return isinstance(values, list) and bool(values) and all(isinstance(value, kind) for value in values)


def _assemblies(value: Any) -> list[dict[str, Any]] | None:
    if value is None:
        return None
    try:
        return [
            {
                "sites_in_groups": [[int(site) for site in group] for group in assembly["sites_in_groups"]],
                "group_probabilities": [float(share) for share in assembly["group_probabilities"]],
            }
            for assembly in value
        ]
    except (TypeError, KeyError, ValueError):
        raise CellError(f"assemblies is {str(value)[:60]}; expected sites_in_groups and group_probabilities") from None


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None
