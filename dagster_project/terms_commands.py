"""``winnow terms``: licences, obligations and attribution of a dataset, a release, or a query's answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from datetime import date

    from catalog.dataset import Dataset
    from catalog.derivation import MadeOf
    from catalog.manifest import Manifest
    from catalog.query import Door
    from catalog.records import Decision, Found
    from catalog.rights.terms import DatasetTerms

_PROFILES = ("open", "noncommercial", "internal")


@click.command(short_help="Show licence, obligations and attribution.")
@click.argument("subject", required=False, metavar="[DATASET | RELEASE]")
@click.option("--query", "sql", metavar="SQL", help="The terms of the rows that this SELECT gives.")
@click.option(
    "--profile",
    type=click.Choice(_PROFILES),
    default="open",
    show_default=True,
    help="Whose eyes the answer is for; `open` shows what anyone may have.",
)
def terms(subject: str | None, sql: str | None, profile: str) -> None:
    """Show the terms of DATASET (all, if none is named), of the RELEASE in a folder or at an address, or of a query.

    Of a dataset: licence with its name and address, the state of its evidence, embargo, the attribution to print,
    what each profile may have, and when. Of a release or a query: the licences of its rows, what they ask together if
    all is published as one adaptation, and the attributions.

    \b
      winnow terms genomics/clinvar
      winnow terms path/of/a/release
      winnow terms --query "SELECT species, count(*) FROM biodiversity.occurrences GROUP BY species"
    """  # noqa: D301
    from dagster_project import show

    if sql is not None and subject is not None:
        raise click.UsageError("give DATASET, RELEASE or --query, not two of them")
    if subject is not None and _is_release(subject):
        lines = _release(_manifest(subject))
    else:
        door = _door(profile, subject)
        lines = _query(door, sql) if sql is not None else _datasets(door, subject)
        for line in lines:
            click.echo(line)
        show.withheld(door)
        return
    for line in lines:
        click.echo(line)


def _door(profile: str, dataset: str | None) -> Door:
    from dagster_project import cli

    if dataset is not None:
        cli._known([dataset])
    return cli._door(profile)


# -- a dataset ---------------------------------------------------------------------------------------


def _datasets(door: Door, dataset: str | None) -> Iterator[str]:
    for each in door.datasets.values() if dataset is None else [door.datasets[dataset]]:
        yield from _dataset(door, each)
        yield ""


def _dataset(door: Door, dataset: Dataset) -> Iterator[str]:
    told = dataset.terms
    yield f"{dataset.name}: {told.licence}"
    yield from _named(told.licence)
    yield f"  attribution: {told.attribution}"
    for key, value in told.citation.items():
        yield f"  cite ({key}): {value}"
    yield from _evidence(door, dataset)
    yield from _embargo(told, door.today)
    if told.row_licence:
        yield f"  each row's own licence (source column {told.row_licence.column}) counts before the dataset's"
    for rule in told.sensitive:
        yield f"  sensitive: where {rule.when}, the place is told to a cell of {rule.cell} degrees: {rule.reason}"
    yield from _profiles(door, dataset)
    yield from _rows(door, dataset)


def _named(expression: str) -> Iterator[str]:
    """Name and address of each licence that an expression names; nothing if it states none."""
    from catalog.rights.licences import UnknownLicenceError, load_licences, obligations

    try:
        named = {spdx for alternative in obligations(expression) for spdx in alternative.licences}
    except UnknownLicenceError:
        return
    for spdx in sorted(named):
        yield f"  licence: {spdx}, {load_licences()[spdx].name}, {load_licences()[spdx].url}"


def _found(door: Door, dataset: Dataset) -> tuple[Found, ...]:
    """The licence words in the source, of the current version and of the latest run, also if that was refused."""
    version, stages = door.versions[dataset.name], door.ledger.latest_stages(dataset.name)
    said = (found for stage in stages for found in stage.found)
    return tuple(dict.fromkeys([*(version.found if version else ()), *said]))


def _evidence(door: Door, dataset: Dataset) -> Iterator[str]:
    """The findings, and what they make of the licence; the words in withheld bytes are told to ``internal`` only."""
    from catalog.rights.evidence import judge

    told = dataset.terms
    for finding in told.evidence:
        yield f"  evidence: “{finding.quote}” ({finding.url or finding.file}, read {finding.read_on})"
    found = _found(door, dataset)
    shown = found if door.tells_of(dataset.name) else ()
    judged, may_be_told = (judge(told.licence, told.evidence, words, told.resolution) for words in (found, shown))
    more = "; words in the source itself are told with `--profile internal`" if shown != found else ""
    yield f"  state of the evidence: {judged.state}{more}"
    if judged.state != "agreement" or shown:
        yield from (f"    {line}" for line in may_be_told.diff.splitlines())
    if told.resolution:
        said = told.resolution
        yield f"  resolved by {said.by} on {said.decided_on}: {said.why} (set aside: {', '.join(said.over)})"


def _embargo(told: DatasetTerms, today: date) -> Iterator[str]:
    embargo = told.embargo
    if embargo is None:
        return
    if embargo.until is not None:
        yield f"  embargo: until {embargo.until}" + ("" if today < embargo.until else ", which has passed")
    elif embargo.column is not None:
        after = f", and {embargo.months} months after it" if embargo.months else ""
        yield f"  embargo: of each row, until the day in source column {embargo.column}{after}"
    else:
        overdue = embargo.review_by is not None and today > embargo.review_by
        review = (
            f"REVIEW OVERDUE since {embargo.review_by}: it still holds; ask whether it has happened"
            if overdue
            else f"review by {embargo.review_by}"
        )
        yield f"  embargo: until {embargo.event}; {review}"


def _profiles(door: Door, dataset: Dataset) -> Iterator[str]:
    from catalog.rights.policy import PERMITTED, decide

    version = door.versions[dataset.name]
    in_force = door.in_force(dataset.name, _found(door, dataset), row_rules=version.row_rules if version else None)
    for profile in PERMITTED:
        decision = decide(in_force, profile, door.today)
        yield f"  {profile}: {'permitted' if decision.allowed else 'withheld'}{_until(decision)}; {decision.reason}"


def _until(decision: Decision) -> str:
    return f", until {decision.changes_on}" if decision.changes_on else ""


def _rows(door: Door, dataset: Dataset) -> Iterator[str]:
    """The terms of the current version's rows; those that the profile may have, so of the others not even how many."""
    from catalog.rights.policy import decide

    version = door.versions[dataset.name]
    if version is None:
        yield f"  no version yet: `winnow run {dataset.name}`"
        return
    for part in version.tables:
        counted: dict[str, int] = {}
        for said, in_force, decision in door.judged(version, part):
            if not decision.allowed:
                continue
            open_ = decide(in_force, "open", door.today)
            words = "" if open_.allowed else f", withheld from open{_until(open_)}"
            key = f"{in_force.licence or 'NOASSERTION'}{words}"
            counted[key] = counted.get(key, 0) + said.rows
        for key in sorted(counted):
            yield f"  {version}, {part.table}: {counted[key]} rows under {key}"


# -- a query -----------------------------------------------------------------------------------------


def _query(door: Door, sql: str) -> Iterator[str]:
    made, untraced = door.made_of(sql)
    if untraced is not None:
        yield f"not traced row by row: {untraced}"
        yield "so here are all terms under which rows of the tables may be had that it reads"
    if not made:
        yield "no row of the answer is made of any dataset's rows"
        return
    yield "licences of the rows"
    for licences, rows in _by_licence(made).items():
        joined = " with ".join(licences)
        several = " (rows made of several)" if len(licences) > 1 and untraced is None else ""
        yield f"  {joined}{several}" + (f": {rows} rows" if untraced is None else "")
    together = sorted({licence or "NOASSERTION" for each in made for _, licence in each.held})
    for licence in together:
        yield from _named(licence)
    yield from _adaptation(together)
    datasets = sorted({dataset for each in made for dataset, _ in each.held})
    yield "attribution"
    yield from _attributions((door.datasets[name].name, door.datasets[name].terms.attribution) for name in datasets)
    yield from _citations((name, door.datasets[name].terms.citation) for name in datasets)
    yield from _credits(door, datasets)


def _by_licence(made: Sequence[MadeOf]) -> dict[tuple[str, ...], int]:
    found: dict[tuple[str, ...], int] = {}
    for each in made:
        key = tuple(sorted({licence or "NOASSERTION" for _, licence in each.held}))
        found[key] = found.get(key, 0) + each.rows
    return dict(sorted(found.items()))


def _adaptation(licences: Iterable[str]) -> Iterator[str]:
    """What licences ask of somebody who publishes one work made of all."""
    from catalog.rights.combination import combine

    combined = combine(licences)
    yield "published together as one adaptation"
    if combined.expression is None:
        yield f"  may not be: {combined.conflict}; side by side, each row keeps its own licence"
        return
    asked = ", ".join(sorted(combined.obligations)) or "nothing"
    yield f"  under {combined.expression}; asks {asked}"


def _attributions(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Each text once, with the datasets that ask for it; none takes another's place."""
    texts: dict[str, list[str]] = {}
    for dataset, text in pairs:
        texts.setdefault(text, []).append(dataset)
    for text, datasets in texts.items():
        yield f"  {text} ({', '.join(datasets)})"


def _citations(pairs: Iterable[tuple[str, dict[str, str]]]) -> Iterator[str]:
    for dataset, citation in pairs:
        for key, value in citation.items():
            yield f"  cite {dataset} ({key}): {value}"


def _credits(door: Door, datasets: Sequence[str]) -> Iterator[str]:
    from catalog.table import load_table

    tables = sorted({table for name in datasets for table in door.datasets[name].feeds})
    for table in tables:
        columns = load_table(table).attribution
        if columns:
            yield _credit(table, columns)


def _credit(table: str, columns: Sequence[str]) -> str:
    return f"  rows of {table} also name whom to credit, in {', '.join(columns)}"


# -- a release ---------------------------------------------------------------------------------------


def _is_release(subject: str) -> bool:
    """Whether it is an address or a folder, and no dataset's name."""
    from catalog.dataset import dataset_names

    return "://" in subject or (subject not in dataset_names() and Path(subject).is_dir())


def _manifest(address: str) -> Manifest:
    from catalog.errors import ReleaseError
    from catalog.manifest import MANIFEST, parse_manifest
    from catalog.release_folder import open_address, read_small

    filesystem, path = open_address(address)
    try:
        text = read_small(filesystem, f"{path}/{MANIFEST}", address)
    except ReleaseError:
        raise
    except Exception as error:  # each store raises what it likes
        raise ReleaseError(
            f"{address} is no release: {MANIFEST} cannot be read there ({type(error).__name__})",
            "give the folder that `winnow release` wrote, or a dataset's name",
        ) from None
    return parse_manifest(text, address)


def _release(manifest: Manifest) -> Iterator[str]:
    yield f"release for {manifest.profile} of {manifest.day}: {manifest.rows} rows"
    if not manifest.datasets:
        yield "  nothing is in it"
        return
    counted: dict[tuple[str, str], int] = {}
    for table, part in manifest.parts():
        for said in part.terms:
            key = (said.licence, f"{table.name}, {part.dataset or 'derived'}")
            counted[key] = counted.get(key, 0) + said.rows
    for licence in sorted({licence for licence, _ in counted}):
        yield licence
        yield from _named(licence)
        yield from (f"  {rows} rows: {place}" for (its, place), rows in sorted(counted.items()) if its == licence)
    yield from _adaptation(sorted({licence for licence, _ in counted}))
    yield "attribution"
    yield from _attributions((str(each), each.attribution) for each in manifest.datasets)
    yield from _citations((each.name, each.citation) for each in manifest.datasets)
    yield from (_credit(table.name, table.attribution) for table in manifest.tables if table.attribution)
