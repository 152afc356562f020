"""What the operator's own pages, logs and terminal may tell of datasets that are not open to everybody: counts."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from catalog.dataset import Dataset
from catalog.errors import CatalogError, WinnowError
from catalog.records import Check, Found
from catalog.rights.embargo import utc_day
from catalog.rights.policy import decide, effective
from catalog.sight import Sight
from dagster_project.curate import House

PRIVATE_WORDS = (
    "Not all records of this dataset are open to everybody. This page gives counts of all of them, and of the records "
    "themselves those that anyone may have; do not pass the counts on."
)
_QUOTED = '; it is quoted by `winnow query "FROM catalog.gates" --profile internal`'
_MEASURED_VALUES = ("min__", "max__")  # such an expectation observes a record's own value


def is_private(house: House, dataset: Dataset, found: Sequence[Found] = ()) -> bool:
    """Whether something of a dataset, also of earlier versions, is withheld from the open profile.

    Args:
        house: with the ledger and the clock.
        dataset: the contract.
        found: licence words of a stage that is no version yet.
    """
    today = utc_day(house.clock())
    if not Sight(house.ledger, [dataset], "open", today).tells_of(dataset.name):
        return True
    return not decide(effective(dataset.terms, None, None, found), "open", today).allowed


def marked(private: bool) -> dict[str, dg.MetadataValue[Any]]:
    """The mark on a private dataset's page."""
    if not private:
        return {}
    return {"private": dg.MetadataValue.bool(True), "privacy": dg.MetadataValue.text(PRIVATE_WORDS)}


def observed(check: Check, private: bool) -> str:
    """What a check saw, unless that is a private record's value, or words that stand in private bytes."""
    if private and check.name.startswith(_MEASURED_VALUES):
        return "not shown: it is a record's value"
    if private and check.gate == "terms" and not check.passed:
        return check.observed.partition("\n")[0] + _QUOTED
    return check.observed


@dataclass(frozen=True)
class Confidant:
    """Decides how much of an error may go into Dagster's records, and keeps the rest of it in the house."""

    house: House
    dataset: Dataset
    run_id: str

    def private(self) -> bool:
        """Whether to keep it; in doubt, yes."""
        try:
            today = utc_day(self.house.clock())
            sight = Sight(self.house.ledger, [self.dataset], "open", today)
            # Other bytes that were refused once say nothing about an error in these.
            return not sight.tells_of(self.dataset.name, refused_runs=False)
        except Exception:
            return True

    def keep(self, error: Exception) -> dg.Failure:
        """Put an error's words, which may quote records, into a file of the operator's own; the failure names that."""
        path = self.house.settings.private(self.dataset.name) / f"{self.run_id}.txt"
        words = str(error) if isinstance(error, WinnowError) else "".join(traceback.format_exception(error))
        told = "what was wrong is not told here, as its records are not open to everybody"
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)
            path.write_text(words + "\n", encoding="utf-8")
            remedy = f"read {path}"
        except OSError:
            remedy = "free space in WINNOW_HOME, and run again to have it written there"
        return dg.Failure(
            description=f"{self.dataset.name}: {told}",
            metadata={"error": type(error).__name__, "remedy": remedy},
            allow_retries=False,
        )


@contextlib.contextmanager
def told(confidant: Confidant | None = None) -> Iterator[None]:
    """Show a user's error in the UI as problem and remedy, without a traceback; of private records not even these."""
    try:
        yield
    except WinnowError as error:
        # What is wrong with database, disk or locks quotes no record, and an operator must see it.
        if confidant is not None and not isinstance(error, CatalogError) and confidant.private():
            raise confidant.keep(error) from None
        raise dg.Failure(
            description=error.problem,
            metadata={"error": type(error).__name__, "remedy": error.remedy or "none"},
            allow_retries=False,
        ) from None
    except Exception as error:
        # Ctrl-C reaches native code as an error of its own; whoever started the run recognises that.
        interrupted = "nterrupt" in type(error).__name__ or "Query interrupted" in str(error)
        if interrupted or confidant is None or not confidant.private():
            raise
        raise confidant.keep(error) from None
