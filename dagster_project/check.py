"""``winnow check``: a contributor's verdict on contract, terms, sample and gates, without touching the warehouse."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from catalog.dataset import FOLDER, dataset_names, load_dataset
from catalog.errors import ContractError, UnknownDatasetError, WinnowError
from catalog.records import Check, GateReport
from catalog.table import load_table, table_names
from dagster_project import curate
from dagster_project.settings import Settings


@dataclass(frozen=True)
class Verdict:
    """What ``winnow check`` says of one dataset (or of the table contracts, under the name ``tables``)."""

    name: str
    problem: str
    remedy: str
    report: GateReport | None

    @property
    def passed(self) -> bool:
        """Whether it could be merged."""
        return not self.problem

    @property
    def checks(self) -> tuple[Check, ...]:
        """The gates' verdicts on the sample, if it came that far."""
        return self.report.checks if self.report else ()


def check_datasets(names: Sequence[str], folder: Path = FOLDER) -> list[Verdict]:
    """Check the tables' contracts, then each dataset's contract, and curate its sample in a temporary folder.

    Raises:
        UnknownDatasetError: a name is not a dataset's.
    """
    unknown = [name for name in names if name not in dataset_names(folder)]
    if unknown:
        known = ", ".join(dataset_names(folder))
        raise UnknownDatasetError(f"there is no dataset {unknown[0]!r}", f"the datasets are: {known}")
    return [_tables(), *(_dataset(name, folder) for name in names or dataset_names(folder))]


def _tables() -> Verdict:
    problems = []
    for name in table_names():
        try:
            load_table(name)
        except ContractError as error:
            problems.append(error.problem)
    return Verdict("tables", "\n".join(problems), "correct catalog/tables" if problems else "", None)


def _dataset(name: str, folder: Path) -> Verdict:
    try:
        contract = load_dataset(name, folder)
        with tempfile.TemporaryDirectory(prefix="winnow-check-") as scratch:
            house = curate.House(Settings.at(Path(scratch)))
            snapshot = curate.fetch(house, contract, curate.address(contract, sample=True))
            _, report = curate.stage(house, contract, snapshot, run_id="check")
    except WinnowError as error:
        return Verdict(name, error.problem, error.remedy, None)
    refused = report.refusals()
    problem = "; ".join(f"{check.gate} {check.name}: {check.observed}, expected {check.expected}" for check in refused)
    return Verdict(name, problem, refused[0].remedy if refused else "", report)
