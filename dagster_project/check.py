"""``winnow check``: a contributor's verdict on contract, terms, sample and gates, without touching the warehouse."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow.parquet as pq
from pydantic import ValidationError

from assets.readers import reader
from catalog.dataset import FOLDER, Dataset, dataset_names, load_dataset
from catalog.errors import ContractError, UnknownDatasetError, WinnowError
from catalog.located import LocatedYaml, Problem, refuse
from catalog.records import GateReport
from catalog.table import FOLDER as TABLES
from catalog.table import load_table, table_names
from dagster_project import curate
from dagster_project.settings import Settings
from validations.science import science_checks

CODE = Path(__file__).parent.parent
SHOWN_REFUSALS = 10


@dataclass(frozen=True)
class Verdict:
    """What ``winnow check`` says of one dataset (or of the table contracts, under the name ``tables``)."""

    name: str
    problem: str
    remedy: str
    report: GateReport | None
    refused: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether it could be merged."""
        return not self.problem


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
            refuse(_code_problems(TABLES / f"{name.replace('.', '/')}.yaml"))
        except ContractError as error:
            problems.append(error.problem)
    return Verdict("tables", "\n".join(problems), "correct catalog/tables" if problems else "", None)


def _code_problems(path: Path) -> Iterator[Problem]:
    """What a table names in the code that is not there."""
    source = LocatedYaml(path)
    for index, name in enumerate(source.data["science"]):
        if name not in science_checks():
            yield source.problem(("science", index), f"there is no science check {name!r} in validations/science")
    transform = source.data.get("transform")
    if transform and not (CODE / "assets" / "transforms" / f"{transform}.py").is_file():
        yield source.problem(("transform",), f"there is no assets/transforms/{transform}.py")


def _dataset(name: str, folder: Path) -> Verdict:
    try:
        contract = load_dataset(name, folder)
        refuse(_format_problems(contract))
        with tempfile.TemporaryDirectory(prefix="winnow-check-") as scratch:
            house = curate.House(Settings.at(Path(scratch)))
            snapshot = curate.fetch(house, contract, curate.address(contract, sample=True))
            staged, report = curate.stage(house, contract, snapshot, run_id="check")
            examples = tuple(_refused(staged.quarantine))
    except WinnowError as error:
        return Verdict(name, error.problem, error.remedy, None)
    refused = report.refusals()
    problem = "\n".join(
        f"{check.gate} {check.table} {check.name}: {check.observed}, expected {check.expected}" for check in refused
    )
    return Verdict(name, problem, refused[0].remedy if refused else "", report, examples)


def _refused(files: Sequence[str]) -> Iterator[str]:
    """The first refused records of the sample, in words."""
    rows = (row for file in files for row in pq.read_table(file, columns=["position", "reason"]).to_pylist())
    return (f"{row['position']}: {row['reason']}" for row in islice(rows, SHOWN_REFUSALS))


def _format_problems(contract: Dataset) -> Iterator[Problem]:
    """A format that nobody reads, or options that its reader does not have, with line and column."""
    source = LocatedYaml(contract.folder / "defs.yaml")
    try:
        _, model = reader(contract.source.format)
    except ContractError as error:
        yield source.problem(("attributes", "source", "format"), f"{error.problem}; {error.remedy}")
        return
    for table, mapping in contract.feeds.items():
        try:
            model(**contract.options(table))
        except ValidationError as error:
            for detail in error.errors():
                key = detail["loc"][0] if detail["loc"] else ""
                own = ("tables", table) if key in mapping.options else ("source",)
                known = f"the options of {contract.source.format} are: {', '.join(model.model_fields) or 'none'}"
                said = f"option {'.'.join(map(str, detail['loc']))!r}: {detail['msg'].removeprefix('Value error, ')}"
                place = ("attributes", *own, "options", *detail["loc"])
                yield source.problem(place, said if len(detail["loc"]) > 1 else f"{said}; {known}")
