"""``winnow release`` and ``winnow verify``: cut what anyone may have, and check it again later."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from catalog.release import Cut
    from catalog.verify import Verification

PROFILES = ("open", "noncommercial", "internal")
SHOWN = 50  # lines of one kind


@click.command(short_help="Cut a release that stands alone.")
@click.option(
    "--profile",
    type=click.Choice(PROFILES),
    default="open",
    show_default=True,
    help="For whom; `internal` holds everything and must not leave the house.",
)
@click.option("--out", metavar="DIR|URL", help="Where to: a folder or s3://... [default: releases/PROFILE/DAY at home]")
@click.option("--base-url", metavar="URL", help="Where readers will find it, for the views in catalog.duckdb.")
@click.option("--at", multiple=True, metavar="DATASET@VERSION", help="Take a past version; may be given for several.")
@click.option("--force", is_flag=True, help="Put it in the place of another release there.")
@click.option("--rebase", metavar="PATH", help="Cut nothing: let the views of this release point to where it lies now.")
def release(
    profile: str, out: str | None, base_url: str | None, at: tuple[str, ...], force: bool, rebase: str | None
) -> None:
    """Cut a release: a folder with the rows that PROFILE permits today, and all that one must know to use them.

    Parquet files per table and dataset, catalog.duckdb, ATTRIBUTION.md, LICENSES/, manifest.json, SHA256SUMS. The same
    versions, profile and day always give the same bytes.

    \b
      winnow release                                       for anyone
      winnow release --out s3://bucket/2027-03 --base-url https://data.example.org/2027-03
      duckdb .winnow/releases/open/2027-03-01/catalog.duckdb -c "FROM genomics.clinical_significance LIMIT 3"
      winnow release --rebase /new/place                   after a move
    """  # noqa: D301
    from dagster_project import releases
    from dagster_project.cli import _house, _known, _sound, _version_of

    if rebase is not None:
        if out or at or force:
            raise click.UsageError("--rebase goes with --base-url only")
        click.echo(f"the views of {rebase} now point to {releases.rebase(_house(), rebase, base_url)}")
        return
    chosen = dict(_version_of(text) for text in at)
    datasets = _sound()
    _known(chosen)
    _show_cut(releases.cut(_house(), profile, out, base_url, chosen, force, datasets))  # type: ignore[arg-type]


def _show_cut(cut: Cut) -> None:
    made = cut.release
    if not cut.is_new:
        click.echo(f"{made.address} holds this very release already; nothing was written")
    for dataset in cut.manifest.datasets:
        click.echo(f"  {dataset}: {dataset.rows:,} rows, {dataset.licence}")
    if not cut.manifest.datasets:
        click.echo(f"the release is empty: no row of any version may leave under {made.profile}", err=True)
    if made.lapses_on:
        click.echo(f"on {made.lapses_on} an embargo lapses: cut again then", err=True)
    click.echo(f"{made.rows:,} rows, {made.bytes / 1e6:,.1f} MB, for {made.profile} on {made.day}: {made.address}")


@click.command(short_help="Check a release's bytes and its rights as of today.")
@click.argument("path", metavar="PATH|URL")
def verify(path: str) -> None:
    """Check a release: is it whole and unchanged, and might all of it still leave today?

    Sums both ways (missing, changed, surplus files), the manifest against the files, and the rights of all its rows:
    by its manifest, and by the contracts and withdrawals known here. Exits with 0 only if all is well.
    """
    from dagster_project import releases
    from dagster_project.cli import REFUSED, _house, _sound

    found = releases.verify(_house(), path, _sound())
    _show_verification(found)
    if not found.passed:
        sys.exit(REFUSED)


def _show_verification(found: Verification) -> None:
    for note in found.notes:
        click.echo(f"note: {note}")
    for problem in found.problems[:SHOWN]:
        click.echo(f"✗ {problem}")
    if len(found.problems) > SHOWN:
        click.echo(f"  and {len(found.problems) - SHOWN} more")
    if not found.problems:
        click.echo(f"✓ all {found.files} files are there and unchanged, and are what the manifest says")
    for each in found.refused[:SHOWN]:
        click.echo(
            f"✗ refused today under {found.manifest.profile}: {each.rows:,} rows of {each.source} in {each.table}"
        )
        click.echo(f"    {each.reason}")
    if len(found.refused) > SHOWN:
        click.echo(f"  and {len(found.refused) - SHOWN} more")
    if not found.refused:
        click.echo(f"✓ all of it is permitted today under {found.manifest.profile}")
    else:
        click.echo("remedy: take this release down, and cut another: `winnow release`", err=True)
