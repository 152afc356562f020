"""Measure ``winnow run`` on a generated table of AlphaMissense against a bare DuckDB COPY of the same columns.

``python -m benchmarks alphamissense [ROWS ...]`` (default 20000000). The COPY parses the same numbers. A run of three
thousand rows says what starting up costs; ``read`` is the reader alone, in a process of its own.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click

from benchmarks.alphamissense_generator import HEADER, write_alphamissense
from benchmarks.measure import Cost, curated, measure, measure_sql, show
from catalog.sql_types import literal

DATASET = "genomics/alphamissense"
GOAL = 2.0

_TYPES = dict.fromkeys(HEADER, "VARCHAR") | {"POS": "BIGINT", "am_pathogenicity": "DOUBLE"}
_READ = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from assets.readers import tsv
from assets.harmonise import wanted_columns
from catalog.dataset import load_dataset
from catalog.records import Snapshot, SourceFile
from catalog.table import load_table
dataset, path = load_dataset(sys.argv[1]), Path(sys.argv[2])
(table,) = dataset.feeds
file = SourceFile(name=path.name, path=path, size=path.stat().st_size, sha256="0" * 64)
snapshot = Snapshot(
    dataset=dataset.name, uri=path.as_uri(), origin="override", sha256="0" * 64, validator="", size=file.size,
    fetched_at=datetime.now(UTC), files=(file,),
)
options = tsv.Options(**dataset.options(table))
print(sum(batch.num_rows for batch in tsv.read(snapshot, options, wanted_columns(dataset, load_table(table)))))
"""


def copied(source: Path, target: Path) -> Cost:
    """Measure the bare COPY."""
    columns = ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in _TYPES.items())
    rows = (
        f"SELECT * FROM read_csv({literal(source)}, delim='\t', quote='', escape='', header=false, skip=4, "
        f"auto_detect=false, columns={{{columns}}})"
    )
    return measure_sql(f"COPY ({rows}) TO {literal(target)} (FORMAT parquet, COMPRESSION zstd)")


def was_read(source: Path) -> Cost:
    """Measure the reader alone."""
    return measure([sys.executable, "-c", _READ, DATASET, str(source)])


@click.command()
@click.argument("rows", type=int, nargs=-1)
@click.option("--folder", type=click.Path(path_type=Path), help="Where to work (4 GB for 20 million rows).")
def main(rows: tuple[int, ...], folder: Path | None) -> None:
    """Curate a generated table of AlphaMissense, and copy it with DuckDB."""
    with tempfile.TemporaryDirectory(prefix="winnow-bench-", dir=folder) as name:
        work = Path(name)
        start = curated(DATASET, write_alphamissense(work / "start.tsv", 3000), work / "start")
        for count in rows or (20_000_000,):
            source = write_alphamissense(work / f"{count}.tsv", count)
            base = copied(source, work / "copy.parquet")
            alone = was_read(source)
            whole = curated(DATASET, source, work / f"home-{count}")
            beyond = Cost(whole.seconds - start.seconds, whole.processor - start.processor, whole.peak_mb)
            show(
                f"{count:,} rows of AlphaMissense, {source.stat().st_size / 1e6:,.0f} MB of text",
                base,
                [
                    ("DuckDB COPY", base, None),
                    ("the reader alone", alone, None),
                    ("winnow run, whole command", whole, GOAL),
                    ("of that, starting up (3000 rows)", start, None),
                    ("of that, beyond starting up", beyond, None),
                ],
            )
