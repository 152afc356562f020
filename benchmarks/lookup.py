"""Measure the lookup of one allele among curated rows by DuckDB against ``tabix`` on the VCF; whole processes of both.

``python -m benchmarks lookup [ROWS]`` (default 1000000; the goal is stated for 10000000). DuckDB's program comes with
the peers, tabix is Debian's. The answers are compared before anything is said.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import click
import duckdb

from benchmarks import gnomad_generator, peers
from benchmarks.measure import Cost, measure, show
from benchmarks.variants import DATASET, curated
from catalog.sql_types import literal
from dagster_project.curate import House
from dagster_project.settings import Settings

GOAL = 3.0
TIMES = 15
PLACES = 5


def files_of(home: Path, table: str = "genomics.variants") -> list[str]:
    """The data files of the current version of the dataset's table."""
    house = House(Settings.at(home))
    version = house.ledger.current(DATASET)
    if version is None:
        raise SystemExit(f"{home} has no version of {DATASET}")
    folder = house.settings.home / "warehouse"
    name = f"{DATASET.rpartition('/')[2]}__{table.rpartition('.')[2]}"
    return sorted(map(str, folder.glob(f"genomics/{name}/data/**/*.parquet")))


def alleles(files: Sequence[str]) -> list[tuple[str, int, str, str]]:
    """Some substitutions from all over the rows."""
    with duckdb.connect() as connection:
        return connection.execute(
            "SELECT contig, position, ref, alt FROM read_parquet($1) WHERE length(ref) = 1 AND length(alt) = 1 "
            f"ORDER BY hash(position) LIMIT {PLACES}",
            [list(files)],
        ).fetchall()


def _select(files: Sequence[str], contig: str, position: int, ref: str, alt: str) -> str:
    listed = ", ".join(map(literal, files))
    return (
        f"SELECT contig, position, ref, alt, allele_count, allele_number FROM read_parquet([{listed}]) "
        f"WHERE assembly = 'GRCh38' AND contig = {literal(contig)} AND position = {position} "
        f"AND ref = {literal(ref)} AND alt = {literal(alt)}"
    )


def _said(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _from_vcf(text: str, alt: str) -> list[list[str]]:
    """The rows that tabix gave, as DuckDB gives them: of the one alternate."""
    found = []
    for line in text.splitlines():
        contig, position, _, ref, alts, _, _, info = line.split("\t")
        values = dict(item.split("=", 1) for item in info.split(";") if "=" in item)
        for ordinal, each in enumerate(alts.split(",")):
            if each == alt:
                count = values["AC"].split(",")[ordinal]
                found.append([contig.removeprefix("chr"), position, ref, each, count, values["AN"]])
    return found


@click.command()
@click.argument("rows", type=int, default=1_000_000)
@click.option("--folder", type=click.Path(path_type=Path), help="Where to work.")
@click.option("--home", type=click.Path(path_type=Path), help="A home in which --source is curated already.")
@click.option("--source", type=click.Path(path_type=Path), help="The VCF that was curated there.")
def main(rows: int, folder: Path | None, home: Path | None, source: Path | None) -> None:
    """Look up single alleles among curated ones."""
    programs = peers.environment()
    if programs is None or shutil.which("tabix") is None:
        click.echo("skipped: it needs the peers' environment, and tabix (Debian's package tabix)", err=True)
        return
    with tempfile.TemporaryDirectory(prefix="winnow-bench-", dir=folder) as name:
        work = Path(name)
        source = source or gnomad_generator.write(work / "rows.vcf.bgz", rows)
        if home is None:
            home = work / "home"
            curated(source, home)
        if not Path(f"{source}.tbi").exists():
            subprocess.run(["tabix", "-p", "vcf", str(source)], check=True)
        _compare(_duckdb(programs), source, files_of(home))


def _duckdb(programs: Path) -> str:
    """DuckDB's own program: the one beside Python's is a script of Python that starts it."""
    where = "import duckdb_cli, pathlib; print(pathlib.Path(duckdb_cli.__file__).with_name('duckdb'))"
    return _said([str(programs / "python"), "-c", where]).strip()


def _compare(program: str, source: Path, files: Sequence[str]) -> None:
    by_tabix: list[Cost] = []
    by_duckdb: list[Cost] = []
    for contig, position, ref, alt in alleles(files):
        tabix = ["tabix", str(source), f"chr{contig}:{position}-{position}"]
        query = [program, "-csv", "-noheader", "-c", _select(files, contig, position, ref, alt)]
        answer = [line.split(",") for line in _said(query).splitlines()]
        expected = _from_vcf(_said(tabix), alt)
        if answer != expected or not answer:
            raise SystemExit(f"the answers differ at {contig}:{position}: {answer} by DuckDB, {expected} by tabix")
        for _ in range(TIMES):
            by_tabix.append(measure(tabix))
            by_duckdb.append(measure(query))
    base, found = _median(by_tabix), _median(by_duckdb)
    size = duckdb.execute("SELECT count(*) FROM read_parquet($1)", [list(files)]).fetchall()[0][0]
    title = f"one allele of {size:,}; medians of {len(by_tabix)}"
    show(title, base, [("tabix", base, None), ("DuckDB, the data files", found, GOAL)], digits=4)


def _median(costs: Sequence[Cost]) -> Cost:
    return Cost(
        median(cost.seconds for cost in costs),
        median(cost.processor for cost in costs),
        max(cost.peak_mb for cost in costs),
    )
