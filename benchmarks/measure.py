"""Commands as processes of their own: wall clock, processor time and peak memory, as the operating system counts them.

A peak is at least the memory of the benchmark itself, which the system counts to each process that it starts.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dagster_project.settings import Settings

WINNOW = str(Path(sys.executable).with_name("winnow"))
_RUN_SQL = "import duckdb, sys; duckdb.execute(sys.argv[1])"


@dataclass(frozen=True)
class Cost:
    """What one command took."""

    seconds: float
    processor: float
    peak_mb: float


def measure(command: Sequence[str], home: Path | None = None, quiet: bool = False) -> Cost:
    """Run a command, with a home of its own if it is Winnow's; raises SystemExit where it fails.

    ``quiet`` keeps also what it says on standard error to itself.
    """
    environment = {**os.environ, **({"WINNOW_HOME": str(home)} if home else {})}
    started = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL if quiet else None
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)[:300]} ended with {process.returncode}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def measure_sql(sql: str) -> Cost:
    """Run a statement in a DuckDB of its own, with its defaults."""
    return measure([sys.executable, "-c", _RUN_SQL, sql])


def curated(dataset: str, source: Path, home: Path, part: str | None = None) -> Cost:
    """Measure ``winnow run`` of a source, or of a part of it, in a new home."""
    of_part = ["--part", part] if part else []
    return measure([WINNOW, "run", dataset, "--source", str(source), *of_part], Settings.at(home).home)


def show(title: str, base: Cost, rows: Sequence[tuple[str, Cost, float | None]], digits: int = 2) -> None:
    """Print costs as ratios to the base, with the goal of each where there is one."""
    table = Table(title=title, title_justify="left")
    for column in ("", "seconds", "ratio", "goal", "processor s", "ratio", "peak MB"):
        table.add_column(column, justify="right" if column else "left")
    for name, cost, goal in rows:
        table.add_row(
            name,
            f"{cost.seconds:.{digits}f}",
            f"{cost.seconds / base.seconds:.2f}",
            "" if goal is None else f"{goal:.2f}",
            f"{cost.processor:.{digits}f}",
            f"{cost.processor / base.processor:.2f}",
            f"{cost.peak_mb:,.0f}",
        )
    Console(width=140).print(table)
