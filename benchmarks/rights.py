"""Measure what rights cost: the decision on each row against a plain COPY, and a release against ``cp`` and sha256sum.

``python -m benchmarks rights [ROWS]`` (default 1000000; the goal is stated for 10000000). The rows are generated
occurrences under three licences: all of them are permitted under ``noncommercial``, three in ten under ``open``.
"""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path

import click

from benchmarks.measure import WINNOW, Cost, curated, measure, measure_sql, show
from benchmarks.occurrence_generator import write_occurrences
from benchmarks.occurrences import DATASET, TABLE
from catalog.dataset import load_dataset
from catalog.query import Door
from catalog.records import Profile
from catalog.rights.embargo import utc_day
from catalog.sql_types import literal
from catalog.table import load_table
from dagster_project.curate import House
from dagster_project.settings import Settings

GOAL = 1.2
TIMES = 3


def decided(house: House, profile: Profile) -> tuple[str, list[str]]:
    """The door's SQL over the permitted rows, and the files behind it."""
    door = Door(house.warehouse, house.ledger, [load_dataset(DATASET)], profile, utc_day(house.clock()))
    version = house.ledger.current(DATASET)
    assert version is not None
    return door.select(version, load_table(TABLE))


def copied(sql: str, target: Path) -> Cost:
    """Measure a COPY of a SELECT; the best of several, since the disk's cache favours whoever comes later."""
    command = f"COPY ({sql}) TO {literal(target)} (FORMAT parquet, COMPRESSION zstd)"
    return min((measure_sql(command) for _ in range(TIMES)), key=lambda cost: cost.seconds)


@click.command()
@click.argument("rows", type=int, default=1_000_000)
@click.option("--folder", type=click.Path(path_type=Path), help="Where to work (12 GB for 10 million rows).")
@click.option("--home", type=click.Path(path_type=Path), help="A home in which they are curated already.")
def main(rows: int, folder: Path | None, home: Path | None) -> None:
    """Decide on occurrences row by row, and release them."""
    with tempfile.TemporaryDirectory(prefix="winnow-bench-", dir=folder) as name:
        work = Path(name)
        if home is None:
            home = work / "home"
            curated(DATASET, write_occurrences(work / "rows.tsv", rows), home)
        house = House(Settings.at(home))
        _decisions(house, work)
        _releases(house, work)


def _decisions(house: House, work: Path) -> None:
    permitted, files = decided(house, "noncommercial")
    plain = f"SELECT * FROM read_parquet([{', '.join(map(literal, files))}])"
    base = copied(plain, work / "a.parquet")
    every = copied(permitted, work / "b.parquet")
    show("every row is permitted", base, [("COPY of the rows", base, None), ("COPY of what was decided", every, GOAL)])
    some, _ = decided(house, "open")
    base = copied(f"{plain} WHERE _licence IN ('CC0-1.0', 'CC-BY-4.0')", work / "a.parquet")
    found = copied(some, work / "b.parquet")
    show("part is withheld", base, [("COPY of those rows", base, None), ("COPY of what was decided", found, GOAL)])


def _releases(house: House, work: Path) -> None:
    _, files = decided(house, "noncommercial")
    listed = " ".join(map(shlex.quote, files))
    (work / "copies").mkdir()
    base = measure(["sh", "-c", f"cp {listed} {work}/copies/ && cd {work}/copies && sha256sum * > SHA256SUMS"])
    start = measure([WINNOW, "list"], house.settings.home)

    def released(profile: Profile) -> Cost:
        return measure([WINNOW, "release", "--profile", profile, "--out", str(work / profile)], house.settings.home)

    show(
        "a release",
        base,
        [
            ("cp and sha256sum", base, None),
            ("winnow list, for the start-up", start, None),
            ("winnow release, nothing withheld", released("noncommercial"), None),
            ("winnow release, part withheld", released("open"), None),
        ],
    )
