"""Measure the conversion of gnomAD-like VCF against other libraries, and all of ``winnow run`` against the fastest.

``python -m benchmarks variants [RECORDS ...]`` (default 1000000; the goal of the whole run is stated for 10000000).
All convert the same file to the same columns in Parquet: seven fixed ones, 12 INFO keys and the vep string as text;
what they wrote is compared before anything is said. The whole run beyond that splits, trims, identifies, checks, sorts
and publishes two tables. An index lets polars-bio read with two threads; it is measured with and without.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from benchmarks import gnomad_generator, peers
from benchmarks.measure import WINNOW, Cost, measure, show
from benchmarks.run_steps import say_steps
from dagster_project.settings import Settings

DATASET = "genomics/gnomad_exomes"
PART = "1"
CONVERSION_GOAL, RUN_GOAL = 1 / 4, 1 / 2
PEAK_GOAL_MB = 1536


def converted(source: Path, target: Path) -> Cost:
    """Measure Winnow's reader and Arrow's writer alone."""
    return measure([sys.executable, "-m", "benchmarks.conversion", str(source), str(target), *gnomad_generator.INFO])


def curated(source: Path, home: Path) -> Cost:
    """Measure ``winnow run`` of one chromosome in a new home."""
    return measure([WINNOW, "run", DATASET, "--part", PART, "--source", str(source)], Settings.at(home).home)


def conversions(source: Path, work: Path) -> dict[str, Cost]:
    """Measure each conversion, and see that all wrote the same; Winnow's comes last."""
    outputs: dict[str, Path] = {}
    costs: dict[str, Cost] = {}
    if peers.environment() is not None:
        for peer in peers.PEERS:
            outputs[peer] = work / f"{peer}.parquet"
            costs[peer] = peers.convert(peer, source, outputs[peer])
        indexed = _indexed(source, work)
        if indexed is not None:
            name = "polars-bio, with an index"
            outputs[name] = work / "indexed.parquet"
            costs[name] = peers.convert("polars-bio", indexed, outputs[name])
    outputs["winnow"] = work / "winnow.parquet"
    costs["winnow"] = converted(source, outputs["winnow"])
    peers.compare(outputs)
    for path in outputs.values():
        path.unlink()
    return costs


def _indexed(source: Path, work: Path) -> Path | None:
    if shutil.which("tabix") is None:
        click.echo("skipped: polars-bio with an index, since tabix is not installed", err=True)
        return None
    (work / "indexed").mkdir(exist_ok=True)
    path = work / "indexed" / source.name
    if not path.exists():
        path.hardlink_to(source)
        subprocess.run(["tabix", "-f", "-p", "vcf", str(path)], check=True)
    return path


@click.command()
@click.argument("records", type=int, nargs=-1)
@click.option("--folder", type=click.Path(path_type=Path), help="Where to work (8 GB for 10 million records).")
@click.option("--conversion/--no-conversion", default=True, help="Compare the bare conversions.")
@click.option("--run/--no-run", "run", default=True, help="Measure the whole of winnow run.")
def main(records: tuple[int, ...], folder: Path | None, conversion: bool, run: bool) -> None:
    """Convert and curate generated variants, and say where the time goes."""
    with tempfile.TemporaryDirectory(prefix="winnow-bench-", dir=folder) as name:
        work = Path(name)
        for count in records or (1_000_000,):
            source = gnomad_generator.write(work / f"{count}.vcf.bgz", count)
            costs = conversions(source, work) if conversion else {}
            base = min((cost for peer, cost in costs.items() if peer != "winnow"), key=lambda cost: cost.seconds,
                       default=costs.get("winnow"))  # fmt: skip
            rows = [
                (f"{peer}, conversion", cost, CONVERSION_GOAL if peer == "winnow" else None)
                for peer, cost in costs.items()
            ]
            home = work / f"home-{count}"
            if run:
                whole = curated(source, home)
                rows.append((f"winnow run {DATASET}", whole, RUN_GOAL))
                base = base or whole
            if base is not None:
                title = f"{count:,} records, {source.stat().st_size / 1e6:,.0f} MB of BGZF; ratios to the fastest peer"
                show(title, base, rows)
            if run:
                say_steps(DATASET, Settings.at(home), whole, count)
                verdict = "below" if whole.peak_mb < PEAK_GOAL_MB else "NOT below"
                click.echo(f"peak memory of the run {verdict} its limit of {PEAK_GOAL_MB:,} MB\n")
            shutil.rmtree(home, ignore_errors=True)
            source.unlink()
