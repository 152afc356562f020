"""The command line: one verb per intention. It shows and asks; what is done stands in the modules it calls."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from catalog.errors import UnknownVersionError, WinnowError
from dagster_project.release_commands import release, verify
from dagster_project.terms_commands import terms
from dagster_project.withdraw_command import withdraw

if TYPE_CHECKING:
    from catalog.dataset import Dataset
    from catalog.query import Door
    from dagster_project.curate import House

PROFILES = ("open", "noncommercial", "internal")
FORMATS = ("table", "csv", "json", "parquet")
REFUSED, INTERRUPTED = 1, 130
LEAST_ROOM = 1 << 20  # bytes


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
        except Exception as error:
            full = _full_disk(error)
            if full is None:
                raise
            remedy = "free space there, or move WINNOW_HOME; then run again"
            click.echo(f"error: the disk of {full} is full: {str(error).splitlines()[0]}\n  remedy: {remedy}", err=True)
            sys.exit(REFUSED)


def _full_disk(error: Exception) -> Path | None:
    """The home, if its disk has no room left for a database: SQLite tells that only as an I/O error."""
    from sqlalchemy.exc import OperationalError

    from dagster_project.settings import Settings

    home = Settings.from_environment().home
    no_room = home.exists() and shutil.disk_usage(home).free < LEAST_ROOM
    return home if isinstance(error, OSError | OperationalError) and no_room else None


def _leave_interrupted() -> None:
    """End at once: native libraries would report, line by line, what an interrupt left open."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(INTERRUPTED)


def _house() -> House:
    from dagster_project.curate import House
    from dagster_project.settings import Settings

    return House(Settings.from_environment())


def _sound() -> tuple[Dataset, ...]:
    """The datasets whose contracts are sound; stderr tells of the others, which nothing can be decided about."""
    from catalog.dataset import sound_datasets

    datasets, broken = sound_datasets()
    for name, error in broken.items():
        click.echo(f"left out: {name}, whose contract is wrong: {error.problem}", err=True)
    return datasets


def _door(profile: str, at: tuple[str, ...] = ()) -> Door:
    from catalog.query import Door
    from catalog.rights.embargo import utc_day

    house = _house()
    chosen = dict(_version_of(text) for text in at)
    datasets = _sound()
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


def _output_options(function: Callable[..., Any]) -> Callable[..., Any]:
    form = click.option("--format", "form", type=click.Choice(FORMATS), help="Default: table, or what FILE ends with.")
    output = click.option(
        "-o",
        "--output",
        metavar="FILE",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Write all rows here instead of printing: .parquet, .csv or .json.",
    )
    return form(output(function))


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="winnow")
def main() -> None:
    """Curate science data into versioned tables, behind quality gates, with the rights of every row.

    \b
    A first walk:
      winnow run --sample                       curate the bundled samples
      winnow list                               see what there is
      winnow query "FROM catalog.tables"        see what can be asked
      winnow query "FROM crystals.structures LIMIT 3"

    Everything is kept below WINNOW_HOME (default: .winnow here). WINNOW_WAREHOUSE and WINNOW_CATALOG
    move the data files to s3://... and the database to postgresql://...
    """  # noqa: D301


@main.command("list", short_help="List the datasets and how they stand.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@_profile_option
def list_(as_json: bool, profile: str) -> None:
    """List the datasets: tables, licence, embargo, latest version, rows, last gate.

    Rows are those that the profile may see; of withheld rows not even their number is shown.
    """
    from catalog.rights.embargo import utc_day
    from dagster_project import show
    from validations.terms import overdue_review

    door, today = _door(profile), utc_day(_house().clock())
    show.datasets(door, as_json)
    show.notes(overdue_review(dataset, today) for dataset in door.datasets.values())


@main.command(short_help="Curate datasets: fetch, read, harmonise, gate, publish.")
@click.argument("datasets", nargs=-1, metavar="[DATASET]...")
@click.option("--sample", is_flag=True, help="Use the bundled samples instead of the real sources.")
@click.option("--source", metavar="URI", help="Take one dataset's bytes from here: a file, a folder, http(s) or s3.")
@click.option("--part", "parts", multiple=True, metavar="PART", help="Only this part of one dataset; repeatable.")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1), help="Processes to spread the work over.")
def run(datasets: tuple[str, ...], sample: bool, source: str | None, parts: tuple[str, ...], jobs: int) -> None:
    """Curate DATASETs (all, if none is named): fetch, read, harmonise, gate, publish.

    Runs through Dagster, so `winnow ui` shows it. Unchanged bytes are not parsed again and make no new version.
    Exits with 0 only if every dataset was published or unchanged; a refused one keeps its last good version.
    A dataset whose owner publishes none is run by name, with --source or --sample.

    \b
      winnow run genomics/clinvar                       from where its owner publishes it
      winnow run --sample                               all datasets, from the bundled samples
      winnow run crystals/cod --source folder/of/cifs   from your own copy
      winnow run genomics/gnomad_exomes --part 21       one part; the version keeps the others
    """  # noqa: D301
    from catalog.dataset import load_dataset, sound_datasets

    if source and (sample or len(datasets) != 1):
        raise click.UsageError("--source goes with exactly one DATASET, and not with --sample")
    sound, broken = ([load_dataset(name) for name in datasets], {}) if datasets else sound_datasets()
    # Who names a dataset without an address is told so; who asks for all is asked to fetch what can be fetched.
    unpublished = [dataset for dataset in sound if dataset.source.uri is None] if not (datasets or sample) else []
    chosen = [dataset for dataset in sound if dataset not in unpublished]
    if source and "://" not in source:
        source = str(Path(source).absolute())
    from dagster_project import run as runs
    from dagster_project import show

    runs.refuse_parts(chosen, parts, sample, source)
    house = _house()
    try:
        with show.progress([dataset.name for dataset in chosen]) as handler, runs.listening(handler):
            outcomes = runs.run(house, chosen, sample, source, jobs, parts)
            outcomes += runs.no_source(house, unpublished) + runs.not_run(house, broken)
    except KeyboardInterrupt:
        click.echo("interrupted: nothing was published; the same command goes on where this one stopped", err=True)
        _leave_interrupted()
    show.outcomes(outcomes)
    if any(outcome.status == "interrupted" for outcome in outcomes):
        _leave_interrupted()
    if not all(outcome.succeeded for outcome in outcomes):
        sys.exit(REFUSED)


@main.command(short_help="Give the contributor's verdict on datasets.")
@click.argument("datasets", nargs=-1, metavar="[DATASET]...")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown"]),
    default="text",
    show_default=True,
    help="`markdown` is for a pull request.",
)
def check(datasets: tuple[str, ...], form: str) -> None:
    """Give the contributor's verdict on DATASETs (all, if none is named): contract, terms, sample, gates.

    Every problem comes with file, line and column. Writes nothing outside a temporary folder.
    Exits with 0 only if nothing is wrong.
    """
    from dagster_project import show
    from dagster_project.check import check_datasets

    verdicts = check_datasets(datasets)
    show.verdicts(verdicts, markdown=form == "markdown")
    if not all(verdict.passed for verdict in verdicts):
        sys.exit(REFUSED)


@main.command(short_help="Answer one SELECT over the tables.")
@click.argument("sql")
@_profile_option
@click.option("--at", multiple=True, metavar="DATASET@VERSION", help="Read a past version; may be given for several.")
@_output_options
def query(sql: str, profile: str, at: tuple[str, ...], form: str | None, output: Path | None) -> None:
    """Answer one SELECT (in DuckDB's SQL) over the tables.

    \b
    Tables:
      genomics.clinical_significance             canonical: all datasets that feed it
      genomics.clinvar__clinical_significance    one dataset's part of it
      catalog.tables, .columns, .datasets, .versions, .gates, .quarantine

    \b
      winnow query "DESCRIBE crystals.structures"
      winnow query "FROM genomics.clinical_significance" --at genomics/clinvar@1 -o clinvar.parquet

    Files are not read here: rows in them may be withheld.
    """  # noqa: D301
    from catalog.query import query_errors
    from dagster_project import show

    chosen = _form(form, output)
    door = _door(profile, at)
    with query_errors():
        show.answer(door.answer(sql), chosen, output)
    show.withheld(door)


def _form(form: str | None, output: Path | None) -> str:
    if output is None:
        if form == "parquet":
            raise click.UsageError("--format parquet needs -o FILE")
        return form or "table"
    form = form or output.suffix.lstrip(".").lower()
    if form not in FORMATS[1:]:
        raise click.UsageError(f"{output} does not tell the format: add --format {', '.join(FORMATS[1:])}")
    return form


@main.command(short_help="Show the history of a dataset.")
@click.argument("dataset")
@_profile_option
def versions(dataset: str, profile: str) -> None:
    """Show the history of DATASET, newest first.

    Any of these versions can be read: `winnow query ... --at DATASET@VERSION`.
    """
    from dagster_project import show

    _known([dataset])
    door = _door(profile)
    show.versions(door, dataset)
    if door.decision(dataset).allowed:
        show.tombstones(door.ledger.withdrawals(dataset))


@main.command(short_help="Compare two versions of a dataset.")
@click.argument("older", metavar="DATASET@OLDER")
@click.argument("newer", metavar="DATASET@NEWER")
@_profile_option
def diff(older: str, newer: str, profile: str) -> None:
    """Compare two versions: rows added, removed, changed; columns that came or went.

    Rows are matched by their table's key. Only rows that the profile may see are counted.

    \b
      winnow diff genomics/clinvar@1 genomics/clinvar@2
    """  # noqa: D301
    from dagster_project import show

    (old_name, old), (new_name, new) = _version_of(older), _version_of(newer)
    if old_name != new_name:
        raise click.UsageError(f"both must be versions of one dataset, not of {old_name} and {new_name}")
    _known([new_name])
    door = _door(profile)
    show.diff(door.diff(door.ledger.version(old_name, old), door.ledger.version(new_name, new)))
    show.withheld(door)


@main.command(short_help="Show the records that the gates refused.")
@click.argument("dataset")
@click.option(
    "--limit",
    default=20,
    show_default=True,
    type=click.IntRange(1),
    help="Most records to show on the screen; the other formats and FILE have all.",
)
@_profile_option
@_output_options
def quarantine(dataset: str, limit: int, profile: str, form: str | None, output: Path | None) -> None:
    """Show the refused records of DATASET's latest run: where each stands in the source, and what was wrong.

    On the screen long raw values are cut; the other formats have them whole.

    \b
      winnow quarantine crystals/cod
      winnow quarantine crystals/cod -o refused.csv
    """  # noqa: D301
    from catalog.query import query_errors
    from dagster_project import show

    chosen = _form(form, output)
    _known([dataset])
    refused = _door(profile).quarantine(dataset)
    with query_errors():
        show.quarantine(refused, chosen, output, limit)


@main.command(short_help="Remove what no version refers to.")
def vacuum() -> None:
    """Remove what no version refers to: files of failed runs, snapshots never published, old raw bytes.

    Every version stays readable. Refuses while a run is at work.
    """
    from dagster_project.vacuum import vacuum as clean

    removed, freed = clean(_house())
    click.echo(f"removed {removed} files, {freed / 1e6:.1f} MB; every version is kept")


main.add_command(terms)
main.add_command(withdraw)
main.add_command(release)
main.add_command(verify)


@main.command(short_help="Start Dagster's UI and daemon.")
@click.option("--port", default=3000, show_default=True, help="Port of the UI.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; it has no login.")
def ui(port: int, host: str) -> None:
    """Start Dagster's UI and daemon on the datasets here, with the same WINNOW_HOME as the command line.

    Runs, checks and schedules show at http://127.0.0.1:3000; stop it with Ctrl-C.
    """
    from dagster_project.run import prepare_dagster_home
    from dagster_project.settings import Settings

    settings = Settings.from_environment()
    prepare_dagster_home(settings)
    # Dagster's processes work in another folder than this one.
    os.environ["WINNOW_HOME"] = str(settings.home)
    os.environ["WINNOW_WAREHOUSE"] = settings.warehouse
    os.environ["WINNOW_CATALOG"] = settings.catalog
    os.environ["PYTHONWARNINGS"] = "ignore:Function `dev_command` is superseded"
    workspace = Path(__file__).parent.parent / "workspace.yaml"
    os.chdir(workspace.parent)
    dagster = str(Path(sys.executable).with_name("dagster"))
    os.execv(dagster, [dagster, "dev", "-w", str(workspace), "-p", str(port), "-h", host])  # noqa: S606
