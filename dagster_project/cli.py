"""The command line: one verb per intention. It shows and asks; what is done stands in the modules it calls."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from catalog.errors import UnknownVersionError, WinnowError

if TYPE_CHECKING:
    from catalog.query import Door
    from dagster_project.curate import House

PROFILES = ("open", "noncommercial", "internal")
REFUSED, INTERRUPTED = 1, 130


class _Group(click.Group):
    """Shows every error of a user's making as two lines on stderr, and ends with a code that says so."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except WinnowError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(REFUSED)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(REFUSED)


def _house() -> House:
    from dagster_project.curate import House
    from dagster_project.settings import Settings

    return House(Settings.from_environment())


def _door(profile: str, at: tuple[str, ...] = ()) -> Door:
    from catalog.dataset import load_datasets
    from catalog.query import Door
    from catalog.rights.embargo import utc_day

    house = _house()
    chosen = dict(_version_of(text) for text in at)
    datasets = load_datasets()
    _known(chosen)
    return Door(house.warehouse, house.ledger, datasets, profile, utc_day(house.clock()), chosen)  # type: ignore[arg-type]


def _known(names: Any) -> None:
    from catalog.dataset import load_dataset

    for name in names:
        load_dataset(name)


def _version_of(text: str) -> tuple[str, int]:
    found = re.fullmatch(r"([^@]+)@(\d+)", text)
    if found is None:
        raise UnknownVersionError(f"{text!r} is not a version", "write DATASET@NUMBER, as in genomics/clinvar@3")
    return found.group(1), int(found.group(2))


def _profile_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--profile",
        type=click.Choice(PROFILES),
        default="open",
        show_default=True,
        help="Whose eyes the answer is for; `open` shows what anyone may have.",
    )(function)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="winnow")
def main() -> None:
    """Curate science data into versioned tables, behind gates, with their rights.

    A first walk: `winnow run --sample`, then `winnow list`, then `winnow query "FROM catalog.datasets"`.
    Everything is kept below WINNOW_HOME (default: .winnow here).
    """


@main.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@_profile_option
def list_(as_json: bool, profile: str) -> None:
    """List the datasets: table, licence, embargo, latest version, rows, last gate."""
    from dagster_project import show

    show.datasets(_door(profile), as_json)


@main.command()
@click.argument("datasets", nargs=-1, metavar="[DATASET]...")
@click.option("--sample", is_flag=True, help="Use the bundled samples instead of the real sources.")
@click.option("--source", metavar="URI", help="Take one dataset's bytes from here: a file, a folder, http(s) or s3.")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1), help="Processes to spread the work over.")
def run(datasets: tuple[str, ...], sample: bool, source: str | None, jobs: int) -> None:
    """Curate DATASETs (all, if none is named): fetch, read, harmonise, gate, publish.

    Runs through Dagster, so `winnow ui` shows it. Exits with 0 only if every dataset was published or unchanged.
    """
    from catalog.dataset import load_dataset, load_datasets

    if source and (sample or len(datasets) != 1):
        raise click.UsageError("--source goes with exactly one DATASET, and not with --sample")
    chosen = [load_dataset(name) for name in datasets] if datasets else list(load_datasets())
    if source and "://" not in source:
        source = str(Path(source).absolute())
    from dagster_project import run as runs
    from dagster_project import show

    house = _house()
    try:
        with show.progress([dataset.name for dataset in chosen]) as handler, runs.listening(handler):
            outcomes = runs.run(house, chosen, sample, source, jobs)
    except KeyboardInterrupt:
        click.echo("interrupted: nothing was published; the same command goes on where this one stopped", err=True)
        sys.exit(INTERRUPTED)
    show.outcomes(outcomes)
    if any(outcome.status == "interrupted" for outcome in outcomes):
        sys.exit(INTERRUPTED)
    if not all(outcome.succeeded for outcome in outcomes):
        sys.exit(REFUSED)


@main.command()
@click.argument("datasets", nargs=-1, metavar="[DATASET]...")
@click.option("--format", "form", type=click.Choice(["text", "markdown"]), default="text", show_default=True)
def check(datasets: tuple[str, ...], form: str) -> None:
    """Give the contributor's verdict on DATASETs (all, if none is named): contract, terms, sample, gates.

    Writes nothing outside a temporary folder.
    """
    from dagster_project import show
    from dagster_project.check import check_datasets

    verdicts = check_datasets(datasets)
    show.verdicts(verdicts, markdown=form == "markdown")
    if not all(verdict.passed for verdict in verdicts):
        sys.exit(REFUSED)


@main.command()
@click.argument("sql")
@_profile_option
@click.option("--at", multiple=True, metavar="DATASET@VERSION", help="Read a past version; may be given for several.")
@click.option(
    "--format", "form", type=click.Choice(["table", "csv", "json", "parquet"]), help="Default: table, or by -o."
)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write here instead of printing.")
def query(sql: str, profile: str, at: tuple[str, ...], form: str | None, output: Path | None) -> None:
    """Answer one SELECT over the canonical tables.

    Tables: genomics.clinical_significance and its like; one per dataset (genomics.clinvar__clinical_significance);
    catalog.datasets, catalog.versions, catalog.gates, catalog.quarantine.
    """
    from dagster_project import show

    door = _door(profile, at)
    show.answer(door.answer(sql), form, output)
    show.withheld(door)


@main.command()
@click.argument("dataset")
@_profile_option
def versions(dataset: str, profile: str) -> None:
    """Show the history of DATASET."""
    from dagster_project import show

    _known([dataset])
    show.versions(_door(profile), dataset)


@main.command()
@click.argument("older", metavar="DATASET@OLDER")
@click.argument("newer", metavar="DATASET@NEWER")
@_profile_option
def diff(older: str, newer: str, profile: str) -> None:
    """Compare two versions: rows added, removed, changed; columns that came or went."""
    from dagster_project import show

    (old_name, old), (new_name, new) = _version_of(older), _version_of(newer)
    if old_name != new_name:
        raise click.UsageError("both must be versions of one dataset")
    _known([new_name])
    house = _house()
    door = _door(profile)
    show.diff(door.diff(house.ledger.version(old_name, old), house.ledger.version(new_name, new)))
    show.withheld(door)


@main.command()
@click.argument("dataset")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="Most records to show.")
@_profile_option
def quarantine(dataset: str, limit: int, profile: str) -> None:
    """Show the refused records of DATASET's latest run, and why they were refused."""
    from dagster_project import show

    _known([dataset])
    show.quarantine(*_door(profile).quarantine(dataset, limit))


@main.command()
@click.argument("dataset", required=False)
def terms(dataset: str | None) -> None:
    """Show the obligations and the attribution of DATASET (all, if none is named), and what is withheld until when."""
    from catalog.dataset import load_dataset, load_datasets
    from catalog.rights.embargo import utc_day
    from dagster_project import show

    chosen = [load_dataset(dataset)] if dataset else list(load_datasets())
    show.terms(chosen, utc_day(_house().clock()))


@main.command()
def vacuum() -> None:
    """Remove what no version refers to: files of failed runs, snapshots never published, old raw bytes."""
    from dagster_project.vacuum import vacuum as clean

    removed, freed = clean(_house())
    click.echo(f"removed {removed} files, {freed / 1e6:.1f} MB; every version is kept")


@main.command()
@click.option("--port", default=3000, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True)
def ui(port: int, host: str) -> None:
    """Start Dagster's UI and daemon on the datasets here."""
    from dagster_project.run import prepare_dagster_home
    from dagster_project.settings import Settings

    settings = Settings.from_environment()
    prepare_dagster_home(settings)
    os.environ["WINNOW_HOME"] = str(settings.home)
    workspace = Path(__file__).parent.parent / "workspace.yaml"
    os.chdir(workspace.parent)
    dagster = str(Path(sys.executable).with_name("dagster"))
    os.execv(dagster, [dagster, "dev", "-w", str(workspace), "-p", str(port), "-h", host])  # noqa: S606
