"""The terms gate: a dataset without a known licence, or without evidence for it, is not published."""

from __future__ import annotations

from datetime import date

from catalog.dataset import Dataset
from catalog.records import Check
from catalog.rights.licences import known
from catalog.rights.policy import decide, effective


def terms_check(dataset: Dataset, today: date) -> Check:
    """Whether the licence is known and evidenced; what the open profile makes of it is told, not judged."""
    terms = dataset.terms
    unknown = known(terms.licence)
    decision = decide(effective(terms, None, None), "open", today)
    return Check(
        gate="terms",
        name="licence",
        table="",
        passed=unknown is None and bool(terms.evidence),
        observed=unknown
        or f"{terms.licence}; open: {'permitted' if decision.allowed else 'withheld'}, {decision.reason}",
        expected="a known licence with dated evidence",
        remedy="correct `terms` in the dataset's YAML",
    )
