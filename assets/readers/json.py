"""JSON: one source record per object of a list, of JSON Lines, of the ``data`` of a response, or of a keyed object.

A snapshot is one file, a folder of them, or a zip or tar archive; ``.gz`` is unpacked. A mapping wants values by dotted
path (``status.code``), which come as text: numbers as written, lists and objects as JSON.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from itertools import islice
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from assets.json_records import MAX_RAW, Document, at, paths, placed_documents, text
from assets.readers import SOURCE_FIELDS
from catalog.errors import HarmoniseError, SourceError
from catalog.records import Snapshot

BATCH = 1024
_LOOKED_AT = 200


class Options(BaseModel):
    """Where the records are in a file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keyed: bool = Field(False, description="whether a file is one object that holds each record under its identifier")


def read(snapshot: Snapshot, options: Options, columns: Collection[str]) -> pa.RecordBatchReader:
    """Stream a snapshot's records: SOURCE_FIELDS and the wanted values as text.

    Raises:
        SourceError: there is no record, or an archive is damaged (also while iterating).
        HarmoniseError: at the end, if a wanted path is in no record and looks like a misspelling of one that is.
    """
    wanted = sorted(set(columns) - {field.name for field in SOURCE_FIELDS})
    schema = pa.schema([*SOURCE_FIELDS, *(pa.field(name, pa.string()) for name in wanted)])
    return pa.RecordBatchReader.from_batches(schema, _batches(snapshot, options, wanted, schema))


def _batches(snapshot: Snapshot, options: Options, wanted: list[str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    seen: set[str] = set()
    rows = _rows(snapshot, options, wanted, seen)
    number = 0
    while some := list(islice(rows, BATCH)):
        numbered = [{**row, "_source": number + index} for index, row in enumerate(some)]
        yield pa.RecordBatch.from_pylist(numbered, schema=schema)
        number += len(some)
    if not number:
        raise SourceError(f"{snapshot.uri} holds no record", "expected *.json or *.jsonl")
    for name in wanted:
        meant = [] if name in seen else get_close_matches(name, sorted(seen), n=1, cutoff=0.92)
        if meant:
            raise HarmoniseError(
                f"no record of {snapshot.uri} has {name!r}; did you mean {meant[0]!r}?",
                f"the names there are: {', '.join(sorted(seen))}",
            )


def _rows(snapshot: Snapshot, options: Options, wanted: list[str], seen: set[str]) -> Iterator[dict[str, Any]]:
    looked = 0
    for position, key, document in placed_documents(snapshot, options.keyed):
        yield {"_position": position, **_row(key, document, wanted)}
        if looked < _LOOKED_AT and isinstance(document.value, Mapping):
            looked += 1
            seen.update(paths(document.value))


def _row(key: str | None, document: Document, wanted: list[str]) -> dict[str, Any]:
    record = document.value
    if not document.problem and isinstance(record, Mapping):
        return {"_record": key, **{name: text(at(record, name)) for name in wanted}}
    problem = document.problem or "the record is no JSON object"
    raw = (document.raw or text(record) or "").encode(errors="replace")[:MAX_RAW].decode(errors="ignore")
    return {"_record": key, "_error": problem, "_raw": raw}
