"""Attribution: whom a release's rows are to be credited to, and what their licences ask, as Markdown for people."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TextIO

from catalog.manifest import Manifest, ReleasedDataset, ReleasedTable
from catalog.rights.licences import IN_WORDS, UnknownLicenceError, load_licences, obligations

CreditsOf = Callable[[str, str, str], Iterator[str]]
"""Gives the distinct values of a column among kept rows, by dataset, table and column."""

_UNSEEN = re.compile(r"[\x00-\x20\x7f-\xa0\u2028-\u202e\u2066-\u2069\u200b\u200e\u200f\ufeff]+")
_MARKS = re.compile(r"([\\`*\[\]<>|~#])|(?<!\w)(_)|(_)(?!\w)|(&)(?=#|\w+;)|(!)(?=\[)")
_LEADING = re.compile(r"^(?=[-+=])|^(\d+)(?=[.)](?:\s|$))")


def plain(text: str) -> str:
    """A stranger's text as one line of Markdown that shows it as it is: no heading, link or tag comes of it."""
    line = _UNSEEN.sub(" ", text).strip()
    line = _MARKS.sub(lambda mark: "\\" + mark.group(0), line)
    return _LEADING.sub(lambda start: f"{start.group(1) or ''}\\", line)


def licences_of(manifest: Manifest) -> frozenset[str]:
    """The known licences that the terms of kept rows name; of a choice between several, all of them."""
    expressions = {terms.licence for _, part in manifest.parts() for terms in part.terms}
    return frozenset(spdx for expression in expressions for spdx in _named(expression))


def write_attribution(manifest: Manifest, credits_of: CreditsOf, file: TextIO) -> None:
    """Write ATTRIBUTION.md, source by source, as the credits come."""
    for line in _lines(manifest, credits_of):
        file.write(f"{line}\n")


def _lines(manifest: Manifest, credits_of: CreditsOf) -> Iterator[str]:
    yield "# Attribution\n"
    yield f"Cut for {manifest.day} under the profile `{manifest.profile}`: {_rows(manifest.rows)} of " + (
        f"{len(manifest.datasets)} dataset{'' if len(manifest.datasets) == 1 else 's'}."
    )
    if not manifest.datasets:
        yield "\nThis release is empty: no row of any dataset may be in it."
        return
    yield "\nWhoever passes rows on names their sources as below and keeps to what their licences ask."
    yield "Each row's own licence is in its column `_licence`, as the views in `catalog.duckdb` show it."
    yield "\n## Sources"
    for dataset in manifest.datasets:
        yield from _source(manifest, dataset, credits_of)
    derived = [table for table in manifest.tables if table.kind == "derived" and table.parts]
    if derived:
        yield "\n## Tables made of these sources"
    for table in derived:
        yield from _derived(table)
    yield "\n## Licences"
    for spdx in sorted(licences_of(manifest)):
        yield from _licence(spdx)


def _source(manifest: Manifest, dataset: ReleasedDataset, credits_of: CreditsOf) -> Iterator[str]:
    yield f"\n### {plain(dataset.title)}\n"
    yield f"`{dataset.name}`, version {dataset.version}, {_rows(dataset.rows)}.\n"
    yield f"- Credit: {plain(dataset.attribution)}"
    for key, value in sorted(dataset.citation.items()):
        yield f"- Cite ({plain(key)}): {plain(value)}"
    counts: Counter[str] = Counter()
    tables = [(table, part) for table, part in manifest.parts() if part.dataset == dataset.name]
    for _, part in tables:
        for terms in part.terms:
            counts[terms.licence] += terms.rows
    for licence in sorted(counts):
        yield f"- Licence: {_linked(licence)}, {_rows(counts[licence])}"
    for table, _ in tables:
        for column in table.attribution:
            yield from _credited(table, column, credits_of(dataset.name, table.name, column))


def _credited(table: ReleasedTable, column: str, values: Iterator[str]) -> Iterator[str]:
    first = True
    for value in values:
        shown = plain(value)
        if shown and first:
            yield f"\nNamed in `{table.name}` as `{column}`:\n"
            first = False
        if shown:
            yield f"- {shown}"


def _derived(table: ReleasedTable) -> Iterator[str]:
    yield f"\n### {table.name}\n"
    yield f"{plain(table.description)}\n"
    yield f"- Made of: {', '.join(f'`{source}`' for source in table.sources) or 'nothing'}"
    counts: Counter[str] = Counter()
    for part in table.parts:
        for terms in part.terms:
            counts[terms.licence] += terms.rows
    for licence in sorted(counts):
        yield f"- Licence: {_linked(licence)}, {_rows(counts[licence])}"


def _licence(spdx: str) -> Iterator[str]:
    licence = load_licences()[spdx]
    yield f"\n### {plain(licence.name)}\n"
    yield f"`{spdx}`, <{licence.url}>, in full in [LICENSES/{spdx}.txt](LICENSES/{spdx}.txt). It asks:\n"
    for obligation in sorted(licence.obligations):
        yield f"- {IN_WORDS[obligation]}"
    if not licence.obligations:
        yield "- nothing"


def _linked(expression: str) -> str:
    named = [f"<{load_licences()[spdx].url}>" for spdx in sorted(_named(expression))]
    return f"{plain(expression)} ({', '.join(named)})" if named else plain(expression)


def _named(expression: str) -> frozenset[str]:
    try:
        return frozenset(spdx for alternative in obligations(expression) for spdx in alternative.licences)
    except UnknownLicenceError:
        return frozenset()  # only a release for internal use holds such rows


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"
