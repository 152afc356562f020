"""The terms gate: a dataset whose licence is not known, or is contradicted by its evidence, is not published."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import duckdb

from catalog.dataset import Dataset
from catalog.records import Check, Found
from catalog.rights.evidence import judge
from catalog.rights.licences import UNSTATED, UnknownLicenceError, known, normalise, obligations
from catalog.rights.mentions import mentions
from catalog.rights.policy import decide, effective
from catalog.sql_types import literal
from catalog.table import Table

STATED = 100  # distinct licences of rows that are looked at
_TERM = "license"


def terms_check(dataset: Dataset, today: date, found: Sequence[Found] = ()) -> Check:
    """Whether the licence is known, evidenced and not contradicted; what the open profile makes of it is told.

    Args:
        dataset: whose contract declares a licence with evidence.
        today: in UTC.
        found: the licence words in the source's own bytes.
    """
    terms = dataset.terms
    unknown = known(terms.licence)
    judged = judge(terms.licence, terms.evidence, found, terms.resolution)
    decision = decide(effective(terms, None, None, found), "open", today)
    passed = unknown is None and bool(terms.evidence) and judged.state != "conflict"
    word = f"evidence: {judged.state}; open: {'permitted' if decision.allowed else 'withheld'}, {decision.reason}"
    contradicted = f"the evidence contradicts the declared licence\n{judged.diff}"
    return Check(
        gate="terms",
        name="licence",
        table="",
        passed=passed,
        observed=unknown or (contradicted if judged.state == "conflict" else f"{terms.licence}; {word}"),
        expected="a known licence with dated evidence that nothing contradicts",
        remedy="correct `licence` in the dataset's `terms`, or record there who set the words aside, when and why: "
        "`resolution: {by, decided_on, why, over: [what was set aside]}`",
    )


def overdue_review(dataset: Dataset, today: date) -> str | None:
    """What to tell the operator of an embargo until an event whose review date has passed; it still holds."""
    embargo = dataset.terms.embargo
    if embargo is None or embargo.review_by is None or today <= embargo.review_by:
        return None
    return (
        f"{dataset.name}: under embargo until {embargo.event}; review overdue since {embargo.review_by}: "
        "ask whether it has happened, then end the embargo in its terms or give another `review_by`"
    )


def stated_licences(connection: duckdb.DuckDBPyConnection, files: Sequence[str], table: Table) -> list[Found]:
    """The licences that staged rows name in a ``license`` column (Dublin Core), the commonest first.

    For datasets without ``row_licence``: rows that say otherwise than their dataset must not go out under its
    licence. Only what is known is told by name; any other text may be anything, and is not repeated.
    """
    columns = [column.name for column in table.columns if column.name == _TERM or _is_licence(column.term)]
    listed = ", ".join(map(literal, files))
    found: dict[Found, None] = {}
    for name in columns:
        rows = connection.execute(
            f'SELECT "{name}" FROM read_parquet([{listed}]) WHERE trim("{name}") <> \'\' '
            f"GROUP BY ALL ORDER BY count(*) DESC, 1 LIMIT {STATED}"
        ).fetchall()
        for (text,) in rows:
            means = tuple(sorted(_means(text)))
            words = " or ".join(means) or "words that name no licence known here"
            found[Found(file="rows", place=f"column {name}", words=words, means=means)] = None
    return list(found)


def _is_licence(term: str | None) -> bool:
    return term is not None and term.rsplit("/", 1)[-1].rsplit(":", 1)[-1] == _TERM


def _means(text: str) -> set[str]:
    """The licences of ours that a row's own text may mean; none where it is not understood."""
    spdx = normalise(text)
    if spdx in UNSTATED:
        return set()
    try:
        return {licence for alternative in obligations(spdx) for licence in alternative.licences}
    except UnknownLicenceError:
        return {licence for mention in mentions(text) for licence in mention.means}
