"""Winnow's reader and Arrow's Parquet writer, without gates: what its conversion of VCF alone costs.

``python -m benchmarks.conversion SOURCE TARGET KEY ...``. The next row group is read in a thread while one is written.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from assets.ahead import ahead
from assets.readers import vcf
from catalog.records import Snapshot, SourceFile
from dagster_project.streaming import memory_kept

FIXED = ("CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER")
BATCHES = 8
"""Batches of about 8 MB of text, to a row group."""


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
    # The rest hardly repeats: a dictionary would be the column again. No one asks for the least of long texts.
    repeating = ["CHROM", "REF", "ALT"]
    bounded = [name for name in names if name != "vep"]
    rows = 0
    with (
        memory_kept(),
        pq.ParquetWriter(
            target, schema, compression="zstd", use_dictionary=repeating, write_statistics=bounded, store_schema=False
        ) as writer,
    ):
        # A whole row group is read while one is written: with a batch ahead the reader would wait for most of it.
        for group in ahead(_groups(batch.select(names) for batch in reader)):
            writer.write_table(group)
            rows += group.num_rows
    return rows


def _groups(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    while group := list(itertools.islice(batches, BATCHES)):
        yield pa.Table.from_batches(group).unify_dictionaries()


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]), tuple(sys.argv[3:]))
