"""Measure the curation of CIFs against reading them and finding their symmetry with other libraries, and bare.

``python -m benchmarks structures [FILES]`` (default: all 23,845). They are those of CoRE MOF 2019, which the peers'
environment installs from PyPI. ``winnow run`` reads, expands, finds symmetry, gates and publishes them, and all,
and so do bare gemmi and moyopy, in one process, for the first part of that; the slow peers go through some of the
files, evenly from all, and are compared by their rates. The goals: 8 times pymatgen's rate, 3 times that of ASE with
spglib, and at most 1.5 times the time of bare gemmi and moyopy.
"""

from __future__ import annotations

import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks import peers
from benchmarks.measure import Cost, curated, measure

DATASET, PART = "crystals/core_mof", "2019-ASR"
GOALS = {"pymatgen": 1 / 8, "ase": 1 / 3, "gemmi": 1.5}
TITLES = {"pymatgen": "pymatgen", "ase": "ASE and spglib", "gemmi": "bare gemmi and moyopy"}
PEERS = {"pymatgen": "some", "ase": "some", "gemmi": "all"}
SOME = 100
PEAK_GOAL_MB = 1536


def archives(programs: Path) -> list[Path]:
    """The archives of CIFs that the package core-mof holds."""
    where = "import importlib.util as u; print(u.find_spec('CoRE_MOF').submodule_search_locations[0])"
    said = subprocess.run([str(programs / "python"), "-c", where], capture_output=True, text=True, check=True).stdout
    return sorted(Path(said.strip(), "data").glob("*.tar.xz"))


def _texts(paths: list[Path]) -> Iterator[tuple[str, bytes]]:
    for path in paths:
        with tarfile.open(path, "r|xz") as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.isfile() and member.name.endswith(".cif") else None
                if stream is not None:
                    yield f"{path.name.partition('.')[0]}-{Path(member.name).name}", stream.read()


def write(programs: Path, work: Path, files: int) -> tuple[int, int]:
    """The CIFs as ``all`` and ``all.zip``, and some of them as ``some``; and the numbers of both."""
    everything = list(_texts(archives(programs)))
    chosen = everything[:: max(1, len(everything) // files)][:files] if files else everything
    some = chosen[:: max(1, len(chosen) // SOME)][:SOME]
    for name, texts in (("all", chosen), ("some", some)):
        (work / name).mkdir()
        for file, text in texts:
            (work / name / file).write_bytes(text)
    with zipfile.ZipFile(work / "all.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target:
        for file, text in chosen:
            target.writestr(file, text)
    return len(chosen), len(some)


@click.command()
@click.argument("files", type=int, default=0)
@click.option("--folder", type=click.Path(path_type=Path), help="Where to work.")
@click.option("--peers/--no-peers", "compared", default=True, help="Measure the other libraries, too.")
def main(files: int, folder: Path | None, compared: bool) -> None:
    """Curate metal-organic frameworks from CIF."""
    programs = peers.environment("crystal_peers.txt")
    if programs is None:
        return
    with tempfile.TemporaryDirectory(prefix="winnow-bench-", dir=folder) as name:
        work = Path(name)
        count, some = write(programs, work, files)
        script = str(Path(__file__).with_name("structure_peers.py"))
        rates: dict[str, tuple[int, Cost]] = {}
        for peer, share in PEERS.items() if compared else ():
            cifs, number = (work / "all", count) if share == "all" else (work / "some", some)
            rates[peer] = number, measure([str(programs / "python"), script, peer, str(cifs)], quiet=True)
        _say(count, rates, curated(DATASET, work / "all.zip", work / "home", PART))


def _say(count: int, rates: dict[str, tuple[int, Cost]], whole: Cost) -> None:
    """Each peer's time per file beside the whole run's."""
    own = whole.seconds / count
    table = Table(title=f"{count:,} CIFs", title_justify="left")
    for column in ("", "files", "seconds", "ms per file", "winnow / peer", "goal", "processor s", "peak MB"):
        table.add_column(column, justify="right" if column else "left")
    for peer, (files, cost) in rates.items():
        each = cost.seconds / files
        table.add_row(
            TITLES[peer], f"{files:,}", f"{cost.seconds:.1f}", f"{each * 1e3:.2f}", f"{own / each:.3f}",
            f"{GOALS[peer]:.3f}", f"{cost.processor:.1f}", f"{cost.peak_mb:,.0f}",
        )  # fmt: skip
    table.add_row(
        f"winnow run {DATASET}", f"{count:,}", f"{whole.seconds:.1f}", f"{own * 1e3:.2f}", "", "",
        f"{whole.processor:.1f}", f"{whole.peak_mb:,.0f}",
    )  # fmt: skip
    Console(width=140).print(table)
    verdict = "below" if whole.peak_mb < PEAK_GOAL_MB else "NOT below"
    click.echo(f"peak memory (of the largest process) {verdict} its limit of {PEAK_GOAL_MB:,} MB")
