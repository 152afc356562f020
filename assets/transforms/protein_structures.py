"""Protein structures: from what an mmCIF entry lists to its chains, organisms and confidence.

The bands of pLDDT are AlphaFold DB's: very high above 90, confident above 70, low above 50, very low. Sources without
residues (a list of entries that are not out yet) pass through untouched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from catalog.table import load_table

DERIVED = (
    "structure_determination_methodology", "organisms", "uniprot_accessions", "chains", "nchains", "nresidues",
    "b_iso_mean", "plddt_mean", "plddt_fraction_very_high", "plddt_fraction_confident", "plddt_fraction_low",
    "plddt_fraction_very_low", "_winnow_repairs",
)  # fmt: skip
_SAID = ("organisms_of_entities", "uniprot_accessions_of_entities")
BANDS = {"very_high": (90.0, np.inf), "confident": (70.0, 90.0), "low": (50.0, 70.0), "very_low": (-np.inf, 50.0)}
"""pLDDT above the first number, up to and with the second; source: https://alphafold.ebi.ac.uk/faq."""


def transform(batch: pa.RecordBatch) -> pa.RecordBatch:
    """DERIVED after the batch's own columns; null for records that have an ``_error``."""
    if "polymer_chains" not in batch.schema.names:
        return batch
    needed = ("_error", "is_model", "exptl_methods", "entities", "polymer_chains", "repairs", *_SAID)
    rows = batch.select([*needed, "residue_atoms", "residue_b_iso", "residue_plddt"]).to_pylist()
    derived = [entry(row) if row["_error"] is None else {} for row in rows]
    table = load_table("proteins.structures")
    for column in table.columns:
        if column.name in DERIVED:
            values = pa.array([row.get(column.name) for row in derived], column.arrow.type)
            batch = batch.append_column(column.name, values)
    return batch


def entry(row: dict[str, Any]) -> dict[str, Any]:
    """What is derived of one entry; B in angstrom^2, pLDDT from 0 to 100."""
    entities = row["entities"] or []
    chains = _chains(row["polymer_chains"], {entity["entity_id"]: entity for entity in entities})
    atoms = row["residue_atoms"]
    return {
        "structure_determination_methodology": _methodology(row),
        "organisms": _organisms(row["organisms_of_entities"] or []),
        "uniprot_accessions": list(dict.fromkeys(row["uniprot_accessions_of_entities"] or [])),
        "chains": chains,
        "nchains": len(chains),
        "nresidues": sum(chain["residues"] for chain in chains),
        "b_iso_mean": _mean(row["residue_b_iso"], atoms),
        "_winnow_repairs": row["repairs"] or [],
        **_confidence(row["residue_plddt"], atoms),
    }


def _methodology(row: dict[str, Any]) -> str | None:
    if row["is_model"]:
        return "computational"
    return "experimental" if row["exptl_methods"] else None


def _organisms(said: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    found: dict[tuple[str, int | None], None] = {}
    for organism in said:
        taxon = organism["ncbi_taxonomy_id"] or ""
        found[organism["scientific_name"], int(taxon) if taxon.isdecimal() and len(taxon) < 10 else None] = None
    return [{"scientific_name": name, "ncbi_taxonomy_id": taxon} for name, taxon in found]


def _chains(listed: Sequence[dict[str, Any]], entities: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    chains = []
    for chain in listed:
        entity = entities.get(chain["entity_id"], {})
        described = {name: entity.get(name) for name in ("description", "sequence")}
        chains.append({**chain, "type": entity.get("polymer_type"), **described})
    return chains


def _confidence(values: Sequence[float | None], atoms: Sequence[int]) -> dict[str, float | None]:
    plddt = np.array([value for value in values if value is not None])
    if not len(plddt):
        return {}
    shares = {
        f"plddt_fraction_{name}": float(((plddt > least) & (plddt <= most)).mean())
        for name, (least, most) in BANDS.items()
    }
    return {"plddt_mean": _mean(values, atoms), **shares}


def _mean(values: Sequence[float | None], atoms: Sequence[int]) -> float | None:
    """The mean over atoms of what each residue has."""
    known = [(value, count) for value, count in zip(values, atoms, strict=True) if value is not None]
    if not known:
        return None
    numbers, weights = np.array(known).T
    return float(np.average(numbers, weights=weights))
