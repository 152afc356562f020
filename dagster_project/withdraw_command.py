"""``winnow withdraw``: asks, takes the version back, and says what stands outside that still has it."""

from __future__ import annotations

import getpass
import re
import sys
from typing import TYPE_CHECKING

import click

from catalog.errors import ContractError, UnknownDatasetError, UnknownVersionError

if TYPE_CHECKING:
    from catalog.dataset import Dataset
    from dagster_project.withdraw import Withdrawn


@click.command(short_help="Take a version back: nobody reads it again.")
@click.argument("version", metavar="DATASET@VERSION")
@click.option("--reason", required=True, metavar="TEXT", help="Why; kept for ever, and told to whoever asks for it.")
@click.option("--by", metavar="NAME", help="Who decided. Default: your login name.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def withdraw(version: str, reason: str, by: str | None, yes: bool) -> None:
    """Take DATASET@VERSION back for good: its licence was revoked, a person objected.

    Readers stop at once. Its rows are removed from the warehouse, its fetched bytes too unless another version has
    them; a tombstone with who, when and why stays. If it is the newest version, the dataset has none until the next
    run; older ones can be read with --at. The same bytes under the same contract are not curated again.

    May be repeated after an interruption. Releases that hold it are listed: they fail `winnow verify`.
    """
    from dagster_project.curate import House
    from dagster_project.settings import Settings
    from dagster_project.withdraw import sharing
    from dagster_project.withdraw import withdraw as take_back

    found = re.fullmatch(r"([^@]+)@(\d+)", version)
    if found is None:
        raise UnknownVersionError(f"{version!r} is not a version", "write DATASET@NUMBER, as in genomics/clinvar@3")
    name, number = found.group(1), int(found.group(2))
    if not reason.strip():
        raise click.UsageError("--reason is empty: say why, for those who ask for this version later")
    house = House(Settings.from_environment())
    recorded = house.ledger.recorded(name, number)
    if recorded is None:
        raise UnknownVersionError(f"there is no version {name}@{number}", f"see `winnow versions {name}`")
    for other in sharing(house.ledger, recorded):
        click.echo(f"{other} has some of its parts and goes with it", err=True)
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("nobody is there to be asked, and what is removed does not come back: add --yes")
    if not yes:
        click.confirm(f"{name}@{number} will be removed for good. Go on?", abort=True)
    done = take_back(house, name, number, reason.strip(), by or _login(), _contract(name))
    _tell(done, house.ledger.current(name) is None)


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        raise click.UsageError("this process has no login name: say with --by who decided") from None


def _contract(name: str) -> Dataset | None:
    from catalog.dataset import load_dataset

    try:
        return load_dataset(name)
    except (ContractError, UnknownDatasetError):
        return None


def _tell(done: Withdrawn, none_current: bool) -> None:
    tombstone = done.tombstone
    for each in (tombstone, *done.others):
        click.echo(each.words())
    click.echo(
        f"removed: {done.files_removed} files of the warehouse, {done.raw_removed} fetched files, "
        f"Dagster's records of {done.runs_forgotten} runs"
    )
    if none_current:
        click.echo(f"{tombstone.dataset} has no current version: `winnow run {tombstone.dataset}` makes a new one")
    for where in dict.fromkeys(f"{each.address} ({each.profile}, {each.day})" for each in done.releases):
        click.echo(f"the release {where} holds it and fails `winnow verify`: cut it anew and take this one down")
