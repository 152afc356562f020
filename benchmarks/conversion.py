"""Winnow's reader and Arrow's Parquet writer, without gates: what its conversion of VCF alone costs.

``python -m benchmarks.conversion SOURCE TARGET KEY ...``. The next batch is read in a thread while one is written, as
``winnow run`` does it.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from assets.ahead import ahead
from assets.readers import vcf
from catalog.records import Snapshot, SourceFile
from dagster_project.streaming import memory_kept

FIXED = ("CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER")
BATCHES = 16
"""Batches of about 4 MB of text, to a row group."""


def snapshot(source: Path) -> Snapshot:
    """A file as the fetch step would hand it to the reader."""
    size = source.stat().st_size
    file = SourceFile(name=source.name, path=source, size=size, sha256="")
    return Snapshot(
        dataset="genomics/benchmark", uri=str(source), origin="override", sha256="", validator="", size=size,
        fetched_at=datetime.now(UTC), files=(file,),
    )  # fmt: skip


def convert(source: Path, target: Path, keys: tuple[str, ...]) -> int:
    """Write the fixed columns and INFO keys of a VCF file as Parquet, and say how many rows there were."""
    reader = vcf.read(snapshot(source), vcf.Options(annotations="none"), keys)
    names = [*FIXED, *keys]
    schema = pa.schema([reader.schema.field(name) for name in names])
    # Texts that hardly repeat: a dictionary of them would be the column again.
    unique = {"ID", "QUAL", "POS", "vep"}
    repeating = [name for name in names if name not in unique and not pa.types.is_nested(schema.field(name).type)]
    rows = 0
    with (
        memory_kept(),
        pq.ParquetWriter(target, schema, compression="zstd", use_dictionary=repeating, store_schema=False) as writer,
    ):
        waiting: list[pa.RecordBatch] = []
        for batch in ahead(iter(reader)):
            waiting.append(batch.select(names))
            rows += batch.num_rows
            if len(waiting) == BATCHES:
                writer.write_table(pa.Table.from_batches(waiting, schema).unify_dictionaries())
                waiting = []
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting, schema).unify_dictionaries())
    return rows


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]), tuple(sys.argv[3:]))
