"""mmCIF (PDBx and ModelCIF): one source record per entry, or with ``records: residues`` one per residue of a polymer.

A snapshot is one file, a folder of them, or a zip or tar archive; ``.gz`` files and members are unpacked in memory.
Further source columns are data items of the dictionary in lower case without the leading underscore and with an
underscore for the dot (``struct_title``), as text; ``?`` and ``.`` are null, and the values of a loop are joined by
``; ``. Of several models the first is read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from difflib import get_close_matches
from typing import Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from assets.cif_blocks import Read
from assets.cif_texts import gathered, texts
from assets.isolated import Lost, isolated_lists
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
    number = files = 0
    for some, answer in isolated_lists(read_texts, gathered(texts(snapshot), wanted)):
        files += len(some)
        found: Read = lost(*some[0], answer.reason) if isinstance(answer, Lost) else answer
        seen.update(found.seen)
        for start in range(0, found.batch.num_rows, _ROWS[wanted.residues]):
            batch = found.batch.slice(start, _ROWS[wanted.residues])
            ordinals = pa.array(range(number, number + batch.num_rows), pa.int64())
            yield batch.set_column(0, SOURCE_FIELDS[0], ordinals)
            number += batch.num_rows
    if not files:
        raise SourceError(f"{snapshot.uri} holds no mmCIF", "expected files named *.cif or *.cif.gz, or a zip or tar")
    for name in sorted(set(wanted.names) - seen):
        meant = get_close_matches(name, sorted(seen), n=1, cutoff=0.92)
        if meant:
            raise HarmoniseError(
                f"no entry of {snapshot.uri} has the item {name!r}; did you mean {meant[0]!r}?",
                "correct it below `columns:`",
            )
