"""The data blocks of mmCIF texts as records: one for each entry, or one for each residue of its polymers.

Runs in processes of its own (``assets.isolated``): what the parser does with a text concerns that text only.

Of an entry's models the first is read. A residue is what has one chain, one number in the sequence and one name. In a
prediction (ModelCIF) the column of B factors holds whatever the program wrote, mostly its confidence: B is not read
there, and pLDDT from ``_ma_qa_metric_local`` only, where it has its name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa
from gemmi import cif

from assets.cif_blocks import Read, Text, failure, opened
from assets.cif_repairs import decoded
from assets.readers import SOURCE_FIELDS

MAX_ITEM = 64 * 1024
"""Characters of one wanted value; a longer one is cut."""

_ENTITY = ("entity_id", "type", "polymer_type", "description", "sequence")
ENTITY = pa.struct([(name, pa.string()) for name in _ENTITY])
ORGANISM = pa.struct([("scientific_name", pa.string()), ("ncbi_taxonomy_id", pa.string())])
CHAIN = pa.struct(
    [
        ("label_asym_id", pa.string()),
        ("auth_asym_id", pa.string()),
        ("entity_id", pa.string()),
        ("residues", pa.int32()),
    ]
)
SHARED: dict[str, pa.DataType] = {
    "entry_id": pa.string(),
    "is_model": pa.bool_(),
    "initial_release_date": pa.string(),
    "latest_revision_date": pa.string(),
}
ENTRIES: dict[str, pa.DataType] = SHARED | {
    "file_name": pa.string(),
    "exptl_methods": pa.list_(pa.string()),
    "resolution": pa.float64(),
    "entities": pa.list_(ENTITY),
    "organisms_of_entities": pa.list_(ORGANISM),
    "uniprot_accessions_of_entities": pa.list_(pa.string()),
    "polymer_chains": pa.list_(CHAIN),
    "nmodels": pa.int32(),
    "natoms": pa.int32(),
    "residue_atoms": pa.list_(pa.int32()),
    "residue_b_iso": pa.list_(pa.float64()),
    "residue_plddt": pa.list_(pa.float64()),
    "declared_plddt_mean": pa.float64(),
    "repairs": pa.list_(pa.string()),
}
"""What every batch of entries has after SOURCE_FIELDS; ``residue_*`` are parallel lists, null where not known."""

RESIDUES: dict[str, pa.DataType] = SHARED | {
    "label_asym_id": pa.string(),
    "auth_asym_id": pa.string(),
    "label_entity_id": pa.string(),
    "label_seq_id": pa.int32(),
    "label_comp_id": pa.string(),
    "auth_seq_id": pa.int32(),
    "insertion_code": pa.string(),
    "natoms": pa.int32(),
    "b_iso": pa.float64(),
    "plddt": pa.float64(),
}
"""What every batch of residues has after SOURCE_FIELDS."""


class Wanted(NamedTuple):
    """What is wanted of a text: residues or entries, and further data items (``struct_title``)."""

    residues: bool
    names: tuple[str, ...]


class Residue(NamedTuple):
    """A residue of a polymer, as RESIDUES has it after SHARED."""

    chain: str
    author_chain: str | None
    entity: str | None
    number: int
    name: str
    author_number: int | None
    insertion_code: str | None
    atoms: int
    b_iso: float | None
    plddt: float | None


_SITES = (
    "label_asym_id", "label_entity_id", "label_seq_id", "label_comp_id", "auth_asym_id", "auth_seq_id",
    "pdbx_PDB_ins_code", "pdbx_PDB_model_num", "B_iso_or_equiv",
)  # fmt: skip


_ORGANISMS = (
    ("_entity_src_gen.", "pdbx_gene_src_scientific_name", "pdbx_gene_src_ncbi_taxonomy_id"),
    ("_entity_src_nat.", "pdbx_organism_scientific", "pdbx_ncbi_taxonomy_id"),
    ("_pdbx_entity_src_syn.", "organism_scientific", "ncbi_taxonomy_id"),
    ("_ma_target_ref_db_details.", "organism_scientific", "ncbi_taxonomy_id"),
)
"""Categories that say what organism a molecule is from, with the items for its name and its NCBI taxonomy id."""


class EntryError(Exception):
    """One data block is no entry that can be read; the text says why."""


def schema(wanted: Wanted) -> pa.Schema:
    """The columns of a batch: SOURCE_FIELDS, ENTRIES or RESIDUES, and what else is wanted."""
    fixed = RESIDUES if wanted.residues else ENTRIES
    more = [pa.field(name, pa.string()) for name in wanted.names]
    return pa.schema([*SOURCE_FIELDS, *(pa.field(name, kind) for name, kind in fixed.items()), *more])


def read_texts(texts: list[tuple[Text, Wanted]]) -> Read:
    """The records of each text, or a single one that says why it cannot be read."""
    seen: set[str] = set()
    rows = [row for text, wanted in texts for row in _rows(text, wanted, seen)]
    rows = [{**row, "_source": number} for number, row in enumerate(rows)]
    return Read(pa.RecordBatch.from_pylist(rows, schema=schema(texts[0][1])), frozenset(seen))


def lost(text: Text, wanted: Wanted, reason: str) -> Read:
    """The record of a text that the parser did not survive."""
    words, _ = decoded(text.content[:MAX_ITEM])
    row = failure(text.place, f"the text cannot be parsed: {reason}", words, text.record) | {"_source": 0}
    return Read(pa.RecordBatch.from_pylist([row], schema=schema(wanted)), frozenset())


def _rows(text: Text, wanted: Wanted, seen: set[str]) -> Iterator[dict[str, Any]]:
    blocks, repairs, unread = opened(text, "mmCIF")
    if unread is not None:
        yield unread
    for block in blocks:
        seen.update(_column(tag) for tag in _tags(block))
        position = f"{text.place} data_{block.name}"
        try:
            entry = _Entry(block)
            place = {"_position": position, "_record": entry.identifier}
            shared = place | entry.shared() | {name: entry.item(name) for name in wanted.names}
            if wanted.residues:
                yield from (shared | row for row in entry.residue_rows())
            else:
                yield shared | entry.row() | {"file_name": text.file_name, "repairs": repairs}
        except EntryError as error:
            yield failure(position, str(error), block.as_string(), text.record)


def _column(tag: str) -> str:
    return tag[1:].lower().replace(".", "_")


class _Entry:
    """One data block, read as an entry."""

    def __init__(self, block: cif.Block) -> None:
        self._block = block
        self._tags = {_column(tag): tag for tag in _tags(block)}
        identifier = self._text("_entry.id") or (block.name if block.name.strip() else None)
        if identifier is None:
            raise EntryError("the data block gives no _entry.id and has no name")
        if not any(tag.lower().startswith(("_atom_site.", "_pdbx_database_status.")) for tag in self._tags.values()):
            raise EntryError("the data block is no entry: it has neither _atom_site nor _pdbx_database_status")
        self.identifier = identifier
        self.is_model = self._is_model()
        self.residues, self.atoms, self.models = self._atoms()

    def item(self, name: str) -> str | None:
        """Any data item, the values of a loop joined by ``; ``."""
        tag = self._tags.get(name)
        if tag is None:
            return None
        values = (_value(value) for value in self._block.find_values(tag))
        return "; ".join(value for value in values if value)[:MAX_ITEM] or None

    def shared(self) -> dict[str, Any]:
        dates = self._column("_pdbx_audit_revision_history.revision_date") or self._column("_database_PDB_rev.date")
        days = sorted(day for day in dates if day)
        return {
            "entry_id": self.identifier,
            "is_model": self.is_model,
            "initial_release_date": days[0] if days else None,
            "latest_revision_date": days[-1] if days else None,
        }

    def row(self) -> dict[str, Any]:
        chains: dict[str, Residue] = {}
        places: dict[str, set[int]] = {}
        for residue in self.residues:
            chains.setdefault(residue.chain, residue)
            places.setdefault(residue.chain, set()).add(residue.number)
        return {
            "exptl_methods": [method.upper() for method in self._column("_exptl.method") if method],
            "resolution": self._resolution(),
            "entities": list(self._entities()),
            "organisms_of_entities": list(self._organisms()),
            "uniprot_accessions_of_entities": list(self._accessions()),
            "polymer_chains": [
                {"label_asym_id": name, "auth_asym_id": first.author_chain, "entity_id": first.entity}
                | {"residues": len(places[name])}
                for name, first in chains.items()
            ],
            "nmodels": self.models,
            "natoms": self.atoms,
            "residue_atoms": [residue.atoms for residue in self.residues],
            "residue_b_iso": [residue.b_iso for residue in self.residues],
            "residue_plddt": [residue.plddt for residue in self.residues],
            "declared_plddt_mean": self._declared_plddt(),
        }

    def residue_rows(self) -> Iterator[dict[str, Any]]:
        for found in self.residues:
            yield dict(zip(list(RESIDUES)[len(SHARED) :], found, strict=True))

    def _is_model(self) -> bool:
        """Whether it says of itself that it was predicted."""
        said = (self._text("_struct.pdbx_structure_determination_methodology") or "").lower()
        methods = {(method or "").upper() for method in self._column("_exptl.method")}
        categories = ("ma_qa_metric_id", "ma_model_list_ordinal_id", "ma_data_id")
        return (
            said == "computational" or methods == {"THEORETICAL MODEL"} or any(one in self._tags for one in categories)
        )

    def _resolution(self) -> float | None:
        """Of the refinement, or of a reconstruction by electron microscopy; of several the best."""
        for tag in ("_refine.ls_d_res_high", "_em_3d_reconstruction.resolution"):
            found = [number for value in self._column(tag) if (number := _number(tag, value)) is not None]
            if found:
                return min(found)
        return None

    def _entities(self) -> Iterator[dict[str, str | None]]:
        polymers = self._by("_entity_poly.entity_id", "type", "pdbx_seq_one_letter_code_can")
        for identifier, (kind, description) in self._by("_entity.id", "type", "pdbx_description").items():
            polymer_type, sequence = polymers.get(identifier, (None, None))
            yield {
                "entity_id": identifier,
                "type": kind,
                "polymer_type": polymer_type,
                "description": description,
                "sequence": "".join(sequence.split()) if sequence else None,
            }

    def _organisms(self) -> Iterator[dict[str, str | None]]:
        """Where the molecules are from, by whatever way they were had; one molecule may have several."""
        for category, name, taxon in _ORGANISMS:
            for said, identifier in self._rows(category, name, taxon):
                if said is not None:
                    yield {"scientific_name": said, "ncbi_taxonomy_id": identifier}

    def _accessions(self) -> Iterator[str]:
        """UniProt accessions; a chimeric molecule has several."""
        for category, name in (("_struct_ref.", "pdbx_db_accession"), ("_ma_target_ref_db_details.", "db_accession")):
            yield from (said for base, said in self._rows(category, "db_name", name) if base == "UNP" and said)

    def _atoms(self) -> tuple[list[Residue], int, int]:
        """The residues of polymers of the first model, the number of its atoms, and the number of models."""
        sites = self._sites()
        models = sites["pdbx_PDB_model_num"]
        of_residue: dict[tuple[str, str, str], list[int]] = {}
        atoms = 0
        for row, model in enumerate(models):
            if model == models[0]:
                atoms += 1
                number = sites["label_seq_id"][row]
                if number not in (".", "?"):
                    place = (sites["label_asym_id"][row], number, sites["label_comp_id"][row])
                    of_residue.setdefault(place, []).append(row)
        confidence = self._confidence() if self.is_model else {}
        return [self._residue(sites, rows, confidence) for rows in of_residue.values()], atoms, len(set(models))

    def _sites(self) -> dict[str, list[str]]:
        """The columns of _atom_site that are read; one that is not there is unknown everywhere."""
        columns = {name: list(self._block.find_values(f"_atom_site.{name}")) for name in _SITES}
        count = max(map(len, columns.values()))
        for name in ("label_asym_id", "label_seq_id", "label_comp_id"):
            if len(columns[name]) != count:
                raise EntryError(f"_atom_site.{name} is missing, so that residues have no place in a sequence")
        return {name: values or ["?"] * count for name, values in columns.items()}

    def _residue(
        self, sites: dict[str, list[str]], rows: list[int], confidence: dict[tuple[str, str], float]
    ) -> Residue:
        said = {name: sites[name][rows[0]] for name in _SITES}
        values = [] if self.is_model else [sites["B_iso_or_equiv"][row] for row in rows]
        numbers = [_number("_atom_site.B_iso_or_equiv", _value(value)) for value in values]
        known = [number for number in numbers if number is not None]
        return Residue(
            chain=cif.as_string(said["label_asym_id"]),
            author_chain=_value(said["auth_asym_id"]),
            entity=_value(said["label_entity_id"]),
            number=_integer("_atom_site.label_seq_id", said["label_seq_id"]) or 0,
            name=cif.as_string(said["label_comp_id"]),
            author_number=_integer("_atom_site.auth_seq_id", said["auth_seq_id"]),
            insertion_code=_value(said["pdbx_PDB_ins_code"]),
            atoms=len(rows),
            b_iso=sum(known) / len(known) if known else None,
            plddt=confidence.get((said["label_asym_id"], said["label_seq_id"])),
        )

    def _confidence(self) -> dict[tuple[str, str], float]:
        """Confidence (pLDDT) by chain and number in the sequence, from 0 to 100."""
        scales = self._plddt_scales("local")
        tag = "_ma_qa_metric_local.metric_value"
        items = ("label_asym_id", "label_seq_id", "metric_id", "metric_value")
        table = self._block.find("_ma_qa_metric_local.", list(items))
        found: dict[tuple[str, str], float] = {}
        for chain, number, metric, text in table:
            value = _number(tag, _value(text)) if metric in scales else None
            if value is not None:
                found.setdefault((chain, number), value * scales[metric])  # of several models the first
        return found

    def _declared_plddt(self) -> float | None:
        scales = self._plddt_scales("global")
        tag = "_ma_qa_metric_global.metric_value"
        for metric, text in self._block.find("_ma_qa_metric_global.", ["metric_id", "metric_value"]):
            value = _number(tag, _value(text))
            if metric in scales and value is not None:
                return value * scales[metric]
        return None

    def _plddt_scales(self, mode: str) -> dict[str, float]:
        """By metric, what its values are to be multiplied with to be from 0 to 100."""
        table = self._block.find("_ma_qa_metric.", ["id", "mode", "type"])
        scales = {"pLDDT": 1.0, "pLDDT in [0,1]": 100.0}
        said = ((row[0], cif.as_string(row[1]), cif.as_string(row[2])) for row in table)
        return {metric: scales[kind] for metric, mode_, kind in said if mode_ == mode and kind in scales}

    def _by(self, key: str, *items: str) -> dict[str, tuple[str | None, ...]]:
        """The first row of a category for each value of its key."""
        category = key[: key.index(".") + 1]
        found: dict[str, tuple[str | None, ...]] = {}
        for name, *values in self._rows(category, key[len(category) :], *items):
            found.setdefault(name or "", tuple(values))
        return found

    def _rows(self, category: str, key: str, *items: str) -> Iterator[tuple[str | None, ...]]:
        """The values of one item in each row of a category, and of others that may be missing."""
        for row in self._block.find(category, [key, *(f"?{item}" for item in items)]):
            yield tuple(_value(row[index]) if row.has(index) else None for index in range(len(items) + 1))

    def _column(self, tag: str) -> list[str | None]:
        return [_value(value) for value in self._block.find_values(tag)]

    def _text(self, tag: str) -> str | None:
        return next((value for value in self._column(tag) if value), None)


def _tags(block: cif.Block) -> Iterator[str]:
    for item in block:
        pair: Any = item.pair  # gemmi's stubs say object
        if pair is not None:
            yield pair[0]
        elif item.loop is not None:
            yield from item.loop.tags


def _value(raw: str) -> str | None:
    return None if cif.is_null(raw) else cif.as_string(raw).strip() or None


def _number(tag: str, value: str | None) -> float | None:
    if value is None:
        return None
    number: float = cif.as_number(value)
    if not math.isfinite(number):
        raise EntryError(f"{tag} is {value!r}; expected a number")
    return number


def _integer(tag: str, raw: str) -> int | None:
    value = _value(raw)
    if value is None:
        return None
    try:
        return int(value)
    except ValueError:
        raise EntryError(f"{tag} is {value!r}; expected a whole number") from None
