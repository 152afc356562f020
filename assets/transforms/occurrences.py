"""Occurrences: Darwin Core's text into typed columns with one spelling each; what is doubtful is flagged, not hidden.

One transform serves a publisher's archive, a file of verbatim records and one that GBIF interpreted: a column that the
source lacks stays null. What is settled here:

* *Words* (basis of record, status, rank) take GBIF's enumerations, countries ISO 3166-1 alpha-2.
* *Dates*: eventDate, else year, month and day, else verbatimEventDate. Of a date that contradicts year, month and day,
  eventDate is kept and the row flagged; a date that no calendar has refuses its record.
* *Coordinates* are put into WGS84. Without a stated datum they are taken to be in it, and flagged.
* *Issues* that the source lists are kept; those found here are added in GBIF's words.
* What cannot be read is not lost: it moves to the verbatim column beside it, if that is empty.
"""

from __future__ import annotations

import json
import re
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assets.distinct import Mask, given, mask, numbers, translated
from assets.occurrence_places import Places
from assets.occurrence_times import Times
from assets.occurrence_words import basis, country, rank, rank_of_name, status
from assets.readers import SOURCE_FIELDS
from catalog.table import load_table

TABLE = "biodiversity.occurrences"

READS = frozenset(column.name for column in load_table(TABLE).columns if not column.name.startswith("_winnow_"))
"""The source columns that are used where they are there."""

ROWS_PER_BATCH = 49_152
"""Smaller batches are gathered: a check of some hundred columns costs as much for a few rows as for many."""

_RESERVED = tuple(field.name for field in SOURCE_FIELDS)
_LISTS = ("issue", "mediaType")
_MOST_INDIVIDUALS = 10**12
_NO_ISSUE = pa.scalar([], pa.list_(pa.string()))


def transform(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Derive the typed columns of a batch; columns that need no reading pass through as they are."""
    source = {name: batch[name] for name in batch.schema.names}
    # A file with issues, or with the time of GBIF's interpretation, is one whose coordinates GBIF put into WGS84.
    interpreted = "issue" in source or "lastInterpreted" in source
    places = Places(source, batch.num_rows, interpreted)
    times = Times(source, batch.num_rows)
    words = _Words(source, batch.num_rows)
    derived = {**places.columns, **times.columns, **words.columns}
    issues = {**places.issues, **times.issues, **words.issues}
    derived["issue"] = _issues(source.get("issue"), issues, batch.num_rows)
    if "mediaType" in source:
        derived["mediaType"] = translated(source["mediaType"], _listed, pa.list_(pa.string()))
    if times.error is not None:
        source["_raw"] = _raw(batch, source, given(times.error) & ~given(source["_error"]))
        source["_error"] = pc.coalesce(source["_error"], times.error)
    columns = {name: derived.get(name, column) for name, column in source.items()} | derived
    return pa.record_batch(
        [column.cast(_kinds()[name]) if name in derived else column for name, column in columns.items()],
        schema=pa.schema(
            [
                pa.field(name, _kinds()[name]) if name in derived else batch.schema.field(name)
                for name, column in columns.items()
            ]
        ),
    )


@cache
def _kinds() -> dict[str, pa.DataType]:
    return {column.name: column.arrow.type for column in load_table(TABLE).columns}


def _raw(batch: pa.RecordBatch, source: dict[str, pa.Array], refused: Mask) -> pa.Array:
    """The source's own words of the records refused here, since quarantine is to keep them."""
    texts = source["_raw"].to_pylist()
    names = [name for name in batch.schema.names if name not in _RESERVED]
    for row in np.flatnonzero(refused).tolist():
        said = {name: batch[name][row].as_py() for name in names}
        told = {name: value for name, value in said.items() if value is not None}
        texts[row] = json.dumps(told, ensure_ascii=False, default=str)
    return pa.array(texts, pa.string())


def _issues(said: pa.Array | None, found: dict[str, Mask], rows: int) -> pa.Array:
    """The issues that the source lists and those found here; few combinations occur, so each is made once."""
    names = [name for name, flags in found.items() if flags.any()]
    bits = np.zeros(rows, dtype=np.int64)
    for index, name in enumerate(names):
        bits |= found[name].astype(np.int64) << index
    coded = pc.dictionary_encode(pa.nulls(rows, pa.string()) if said is None else said)
    codes = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64) + 1
    listed = [[], *(_listed(text) for text in coded.dictionary.to_pylist())]
    pairs = pc.dictionary_encode(pa.array(bits * len(listed) + codes))
    combined = []
    for pair in pairs.dictionary.to_pylist():
        flags, code = divmod(pair, len(listed))
        combined.append(
            list(dict.fromkeys([*listed[code], *(name for index, name in enumerate(names) if flags >> index & 1)]))
        )
    return pa.array(combined, _NO_ISSUE.type).take(pairs.indices)


def _listed(text: str) -> list[str]:
    return [part for part in re.split(r"\s*[;|,]\s*", text.strip()) if part]


class _Words:
    """Basis of record, status, count, country and rank of one batch, with what is doubtful about them."""

    def __init__(self, source: dict[str, pa.Array], rows: int) -> None:
        self._source, self._rows = source, rows
        self.columns: dict[str, pa.Array] = {}
        self.issues: dict[str, Mask] = {}
        self._basis()
        self._status()
        self._country()
        self._rank()

    def _said(self, name: str) -> pa.Array:
        column = self._source.get(name)
        return pa.nulls(self._rows, pa.string()) if column is None else column

    def _basis(self) -> None:
        said = self._said("basisOfRecord")
        found = translated(said, basis, pa.string())
        self.issues["BASIS_OF_RECORD_INVALID"] = given(said) & ~given(found)
        self.columns["basisOfRecord"] = found

    def _status(self) -> None:
        said, counted = self._said("occurrenceStatus"), self._said("individualCount")
        found = translated(said, status, pa.string())
        count = numbers(counted, pa.int64(), _count)
        self.issues["OCCURRENCE_STATUS_UNPARSABLE"] = given(said) & ~given(found)
        self.issues["INDIVIDUAL_COUNT_INVALID"] = given(counted) & ~given(count)
        none, some = mask(pc.equal(count, 0)), mask(pc.greater(count, 0))
        present, absent = mask(pc.equal(found, "PRESENT")), mask(pc.equal(found, "ABSENT"))
        self.issues["INDIVIDUAL_COUNT_CONFLICTS_WITH_OCCURRENCE_STATUS"] = (none & present) | (some & absent)
        self.columns |= {"occurrenceStatus": found, "individualCount": count}

    def _country(self) -> None:
        code, name = self._said("countryCode"), self._said("country")
        by_code, by_name = (translated(said, country, pa.string()) for said in (code, name))
        found = pc.coalesce(by_code, by_name)
        self.issues["COUNTRY_INVALID"] = (given(code) | given(name)) & ~given(found)
        self.issues["COUNTRY_MISMATCH"] = mask(pc.not_equal(by_code, by_name))
        self.columns["countryCode"] = found
        # A code that is none is not lost where no name stands beside it.
        lost = given(code) & ~given(by_code) & ~given(name)
        self.columns["country"] = pc.if_else(pa.array(lost), code, name) if lost.any() else name

    def _rank(self) -> None:
        said, name = self._said("taxonRank"), self._said("scientificName")
        found = translated(said, rank, pa.string())
        silent = ~given(said) & given(name)
        inferred = np.zeros(self._rows, dtype=np.bool_)
        if silent.any():
            formed = self._formed(pa.array(np.flatnonzero(silent)))
            by_form = pc.replace_with_mask(pa.nulls(self._rows, pa.string()), pa.array(silent), formed)
            found = pc.coalesce(found, by_form)
            inferred = given(by_form)
        self.columns |= {"taxonRank": found, "_winnow_taxon_rank_inferred": pa.array(inferred)}

    def _formed(self, rows: pa.Array) -> pa.Array:
        """The ranks that the names of some rows show by their form."""
        parts = [self._said(name).take(rows) for name in ("scientificName", "kingdom", "genus")]
        joined = pc.binary_join_element_wise(*(pc.fill_null(part, "") for part in parts), "\t")
        return translated(joined, _rank_of_parts, pa.string())


def _rank_of_parts(joined: str) -> str | None:
    name, kingdom, genus = joined.rsplit("\t", 2)
    return rank_of_name(name, kingdom or None, genus or None)


def _count(text: str) -> int | None:
    found = re.fullmatch(r"\s*([+-]?\d+)(?:\.0*)?\s*", text)
    return int(found[1]) if found and abs(int(found[1])) <= _MOST_INDIVIDUALS else None
