"""Measure ``winnow run`` on a generated download of occurrences against a bare DuckDB COPY of the same columns.

``python -m benchmarks occurrences [ROWS ...]`` (default 1000000). The COPY takes each column in the type that the
table gives it, so that both parse the same numbers. A run of a thousand rows says what starting up costs.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
import pyarrow as pa

from benchmarks.measure import Cost, curated, measure_sql, show
from benchmarks.occurrence_generator import write_occurrences
from catalog.sql_types import literal, sql_type
from catalog.table import load_table

DATASET = "biodiversity/gbif_download"
TABLE = "biodiversity.occurrences"
GOAL = 2.0


def copied(source: Path, target: Path) -> Cost:
    """Measure the bare COPY."""
    return measure_sql(f"COPY ({_select(source)}) TO {literal(target)} (FORMAT parquet, COMPRESSION zstd)")


def _select(source: Path) -> str:
    with source.open(encoding="utf-8") as file:
        names = file.readline().rstrip("\n").split("\t")
    kinds = {column.name: column.arrow.type for column in load_table(TABLE).columns}
    types = {
        name: "VARCHAR" if pa.types.is_nested(kind) else sql_type(kind)
        for name in names
        if (kind := kinds.get(name)) is not None
    }
    columns = ", ".join(f"{literal(name)}: {literal(types.get(name, 'VARCHAR'))}" for name in names)
    return (
        f"SELECT * FROM read_csv({literal(source)}, delim='\t', quote='', escape='', header=true, "
        f"auto_detect=false, columns={{{columns}}})"
    )


@click.command()
@click.argument("rows", type=int, nargs=-1)
@click.option("--folder", type=click.Path(path_type=Path), help="Where to work (5.5 GB for 10 million rows, twice).")
def main(rows: tuple[int, ...], folder: Path | None) -> None:
    """Curate a generated download of occurrences, and copy it with DuckDB."""
    with tempfile.TemporaryDirectory(prefix="winnow-bench-", dir=folder) as name:
        work = Path(name)
        start = curated(DATASET, write_occurrences(work / "start.tsv", 1000), work / "start")
        for count in rows or (1_000_000,):
            source = write_occurrences(work / f"{count}.tsv", count)
            base = copied(source, work / "copy.parquet")
            whole = curated(DATASET, source, work / f"home-{count}")
            beyond = Cost(whole.seconds - start.seconds, whole.processor - start.processor, whole.peak_mb)
            show(
                f"{count:,} occurrences, {source.stat().st_size / 1e6:,.0f} MB of text",
                base,
                [
                    ("DuckDB COPY", base, None),
                    ("winnow run, whole command", whole, GOAL),
                    ("of that, starting up (1000 rows)", start, None),
                    ("of that, beyond starting up", beyond, None),
                ],
            )
