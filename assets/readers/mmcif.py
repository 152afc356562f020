"""mmCIF (PDBx and ModelCIF): one source record per entry, or with ``records: residues`` one per residue of a polymer.

A snapshot is one file, a folder of them, or a zip or tar archive; ``.gz`` files and members are unpacked in memory.
Further source columns are data items of the dictionary in lower case without the leading underscore and with an
underscore for the dot (``struct_title``), as text; ``?`` and ``.`` are null, and the values of a loop are joined by
``; ``. Of several models the first is read.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from difflib import get_close_matches
from typing import Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from assets.cif_texts import records, texts
from assets.mmcif_blocks import ENTRIES, RESIDUES, Wanted, lost, read_texts, schema
from assets.readers import SOURCE_FIELDS
from catalog.errors import HarmoniseError, SourceError
from catalog.records import Snapshot

_ROWS = {False: 16, True: 4096}


class Options(BaseModel):
    """What the records are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    records: Literal["entries", "residues"] = Field("entries", description="one record for each of these")


def read(snapshot: Snapshot, options: Options, columns: Collection[str]) -> pa.RecordBatchReader:
    """Stream a snapshot's entries or residues, parsed in processes of their own.

    Raises:
        SourceError: the snapshot holds no mmCIF, or an archive is broken (also while iterating).
        HarmoniseError: at the end of the stream, if a wanted item was in no entry and looks like a misspelling.
    """
    residues = options.records == "residues"
    known = {*(RESIDUES if residues else ENTRIES), *(field.name for field in SOURCE_FIELDS)}
    wanted = Wanted(residues, tuple(sorted({name.lower() for name in columns} - known)))
    return pa.RecordBatchReader.from_batches(schema(wanted), _batches(snapshot, wanted))


def _batches(snapshot: Snapshot, wanted: Wanted) -> Iterator[pa.RecordBatch]:
    seen: set[str] = set()
    given = texts(snapshot)
    first = next(given, None)
    if first is None:
        raise SourceError(f"{snapshot.uri} holds no mmCIF", "expected files named *.cif or *.cif.gz, or a zip or tar")
    rows = _ROWS[wanted.residues]
    yield from records(itertools.chain([first], given), wanted, seen, read_texts, lost, rows)
    for name in sorted(set(wanted.names) - seen):
        meant = get_close_matches(name, sorted(seen), n=1, cutoff=0.92)
        if meant:
            raise HarmoniseError(
                f"no entry of {snapshot.uri} has the item {name!r}; did you mean {meant[0]!r}?",
                "correct it below `columns:`",
            )
