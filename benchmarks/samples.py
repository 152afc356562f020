"""Measure the reading of VCF with 2,504 samples, of which AC, AN, AF and nhomalt are counted: speed and peak memory.

``python -m benchmarks samples [RECORDS ...]`` (default 5000 20000). Memory must not grow with the records.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np

from benchmarks.gnomad_generator import CONTIG, LENGTH, compressed
from benchmarks.measure import measure, show

SAMPLES = 2504
COUNTED = ("AC", "AN", "AF", "nhomalt")
PATTERNS = 61


def write(path: Path, records: int) -> Path:
    """Write records with phased genotypes, most of them 0|0; their INFO says nothing of counts."""
    with path.open("wb") as file, compressed(file) as text:
        for part in _texts(records):
            text.write(part.encode())
    return path


def _texts(records: int) -> Iterator[str]:
    names = "\t".join(f"HG{number:05d}" for number in range(SAMPLES))
    yield '##fileformat=VCFv4.2\n##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
    yield f"##contig=<ID={CONTIG},length={LENGTH},assembly=GRCh38>\n"
    yield f"#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t{names}\n"
    random = np.random.default_rng(0)
    kinds = np.array(["0|0", "0|1", "1|0", "1|1", ".|."])
    patterns = ["\t".join(kinds[random.choice(5, SAMPLES, p=[0.9, 0.04, 0.04, 0.01, 0.01])]) for _ in range(PATTERNS)]
    for record in range(records):
        position = 10_001 + record * ((LENGTH - 20_000) // records)
        yield f"{CONTIG}\t{position}\t.\tA\tG\t50\tPASS\t.\tGT\t{patterns[record % PATTERNS]}\n"


@click.command()
@click.argument("records", type=int, nargs=-1)
@click.option("--folder", type=click.Path(path_type=Path), help="Where to work.")
def main(records: tuple[int, ...], folder: Path | None) -> None:
    """Read records with genotypes of 2,504 samples, and count alleles."""
    with tempfile.TemporaryDirectory(prefix="winnow-bench-", dir=folder) as name:
        rows = []
        for count in records or (5_000, 20_000):
            source = write(Path(name) / f"{count}.vcf.bgz", count)
            command = [sys.executable, "-m", "benchmarks.conversion", str(source), f"{name}/out.parquet", *COUNTED]
            cost = measure(command)
            rows.append((f"{count:,} records, {count / cost.seconds:,.0f} a second", cost, None))
        show(f"{SAMPLES:,} samples, read and counted", rows[0][1], rows)
