"""Measure what a run costs whatever its size: ``winnow run --sample`` of one dataset, split by cause.

``python -m benchmarks startup [DATASET]`` (default genomics/clinvar). Imports are what Python itself counts for each
module, added up by the package they belong to; the module that loads Dagster's definitions is told apart from imports;
the steps are Dagster's own, less the imports that happen within them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks.measure import WINNOW, Cost, measure
from benchmarks.run_steps import dagster_steps
from dagster_project.settings import Settings

GOAL = 10.0
TIMES = 3
SHOWN = 14
_DEFINITIONS = "dagster_project.definitions"
_OURS = {"assets", "catalog", "dagster_project", "validations"}
_TOLD = re.compile(r"import time:\s*(\d+) \|\s*\d+ \| +(\S+)")


def imports(command: list[str], home: Path) -> dict[str, float]:
    """Seconds that the import of each package's modules took by itself, most first; Python's own are one."""
    environment = {**os.environ, "WINNOW_HOME": str(home)}
    told = subprocess.run(
        [sys.executable, "-X", "importtime", *command], env=environment, capture_output=True, text=True, check=True
    ).stderr
    found: dict[str, float] = defaultdict(float)
    for micros, module in _TOLD.findall(told):
        found[_cause(module)] += int(micros) / 1e6
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _cause(module: str) -> str:
    package = module.partition(".")[0]
    if module == _DEFINITIONS:
        return "load of the definitions"
    if package in _OURS:
        return "import of winnow"
    return "import of Python's own" if package in sys.stdlib_module_names else f"import of {package}"


@click.command()
@click.argument("dataset", default="genomics/clinvar")
@click.option("--folder", type=click.Path(path_type=Path), help="Where to work.")
def main(dataset: str, folder: Path | None) -> None:
    """Curate a bundled sample, and say what its time went to."""
    command = [WINNOW, "run", dataset, "--sample"]
    with tempfile.TemporaryDirectory(prefix="winnow-bench-", dir=folder) as name:
        costs = [measure(command, Settings.at(Path(name) / str(time)).home) for time in range(TIMES)]
        best = min(costs, key=lambda cost: cost.seconds)
        settings = Settings.at(Path(name) / str(costs.index(best)))
        steps = dagster_steps(settings)
        again = measure(command, settings.home)
        _show(dataset, best, again, imports(command, Path(name) / "imports"), steps)


def _show(dataset: str, cost: Cost, again: Cost, found: dict[str, float], steps: dict[str, float]) -> None:
    verdict = "below" if cost.seconds < GOAL else "NOT below"
    table = Table(
        title=f"winnow run {dataset} --sample in a new home: {cost.seconds:.2f} s ({cost.processor:.2f} of processor), "
        f"{verdict} its limit of {GOAL:.0f} s; again, with nothing new, {again.seconds:.2f} s",
        title_justify="left",
    )
    for column in ("cause", "seconds", "share"):
        table.add_column(column, justify="left" if column == "cause" else "right")
    rows = list(found.items())[:SHOWN]
    rows.append(("import of others", sum(found.values()) - sum(seconds for _, seconds in rows)))
    rows += [(f"step {name}, imports within it included", seconds) for name, seconds in steps.items()]
    for cause, seconds in rows:
        table.add_row(cause, f"{seconds:.2f}", f"{seconds / cost.seconds:.0%}")
    Console(width=150).print(table)
