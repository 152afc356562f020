"""Where the time of one ``winnow run`` went, step by step."""

from __future__ import annotations

import dagster as dg
from rich.console import Console
from rich.table import Table

from benchmarks.measure import Cost
from dagster_project.settings import Settings


def dagster_steps(settings: Settings) -> dict[str, float]:
    """Seconds of each step of the last run in a home, as Dagster's event log says."""
    with dg.DagsterInstance.from_config(str(settings.dagster)) as instance:
        run = instance.get_runs(limit=1)[0]
        stats = instance.get_run_step_stats(run.run_id)
    return {
        step.step_key: float(step.end_time - step.start_time)
        for step in stats
        if step.start_time is not None and step.end_time is not None
    }


def say_steps(dataset: str, settings: Settings, cost: Cost, records: int) -> None:
    """Print what each step of a run took, and what is left: starting up and Dagster between the steps."""
    steps = dagster_steps(settings)
    table = Table(title=f"winnow run {dataset}, {records:,} records", title_justify="left")
    for column in ("step", "seconds", "share"):
        table.add_column(column, justify="left" if column == "step" else "right")
    for name, seconds in [*steps.items(), ("everything else", cost.seconds - sum(steps.values()))]:
        table.add_row(name, f"{seconds:.2f}", f"{seconds / cost.seconds:.0%}")
    table.add_row("records per second", f"{records / cost.seconds:,.0f}", "")
    Console(width=140).print(table)
