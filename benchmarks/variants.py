"""Measure ``winnow run`` on generated VCFs: rows per second, peak memory, and where the time goes.

They are in the generator's ClinVar dialect, since its gnomAD dialect has no dataset to be curated by yet.
``python -m benchmarks variants [RECORDS ...]`` (default 100000 1000000). Each size is a process of its own with a home
of its own; its peak memory is the operating system's figure for that process.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import click
import dagster as dg
from rich.console import Console
from rich.table import Table

from benchmarks.measure import curated
from benchmarks.vcf_generator import write
from catalog.ledger import Ledger
from dagster_project.component import asset_key
from dagster_project.settings import Settings

DATASET = "genomics/clinvar"
STEPS = ("fetch", "read", "harmonise", "gate", "write", "expectations", "commit")


@dataclass(frozen=True)
class Measured:
    records: int
    seconds: float
    peak_mb: float
    steps: dict[str, float]

    @property
    def rows_per_second(self) -> float:
        """Records by the wall clock of the whole command, start-up and Dagster included."""
        return self.records / self.seconds


def measured(records: int, folder: Path) -> Measured:
    source = folder / f"{records}.vcf.gz"
    write(source, records, dialect="clinvar")
    settings = Settings.at(folder / f"home-{records}")
    cost = curated(DATASET, source, settings.home)
    return Measured(records, cost.seconds, cost.peak_mb, _steps(settings))


def _steps(settings: Settings) -> dict[str, float]:
    """Seconds per step: within staging as the stage says, around it as Dagster's event log says."""
    stage = Ledger(settings.catalog).stage(DATASET)
    assert stage is not None
    with dg.DagsterInstance.from_config(str(settings.dagster)) as instance:
        stats = {step.step_key: step for step in instance.get_run_step_stats(stage.run_id)}

    def took(layer: str) -> float:
        step = stats["__".join(asset_key(layer, DATASET).path)]
        assert step.start_time is not None
        assert step.end_time is not None
        return float(step.end_time - step.start_time)

    return {**stage.seconds, "fetch": took("raw"), "commit": took("published")}


@click.command()
@click.argument("records", type=int, nargs=-1)
def main(records: tuple[int, ...]) -> None:
    """Curate generated variants, and say where the time goes."""
    sizes = records or (100_000, 1_000_000)
    with tempfile.TemporaryDirectory(prefix="winnow-bench-") as folder:
        found = [measured(size, Path(folder)) for size in sizes]
    table = Table(title="winnow run genomics/clinvar, whole command", title_justify="left")
    for column in ("records", "seconds", "records/s", "peak MB", "peak ratio", *STEPS, "rest"):
        table.add_column(column, justify="right")
    for each in found:
        rest = each.seconds - sum(each.steps.values())
        shares = [f"{each.steps.get(step, 0) / each.seconds:.0%}" for step in STEPS]
        table.add_row(
            f"{each.records:,}",
            f"{each.seconds:.1f}",
            f"{each.rows_per_second:,.0f}",
            f"{each.peak_mb:,.0f}",
            f"{each.peak_mb / found[0].peak_mb:.2f}",
            *shares,
            f"{rest / each.seconds:.0%}",
        )
    Console(width=160).print(table)
