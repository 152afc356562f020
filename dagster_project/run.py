"""Running datasets through Dagster from the command line, and telling what came of it."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg
import yaml

from catalog.dataset import Dataset
from catalog.records import GateReport, Version
from dagster_project.component import asset_key, dataset_keys
from dagster_project.curate import PROGRESS, House
from dagster_project.settings import Settings

INTERRUPTED = ("the run was interrupted; nothing of it was published", "the same command runs it again")


@dataclass(frozen=True)
class Outcome:
    """What became of one dataset in a run: ``committed``, ``unchanged``, ``refused``, ``failed`` or ``interrupted``."""

    dataset: str
    status: str
    version: Version | None
    report: GateReport | None
    problem: str = ""
    remedy: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether the dataset is now as its source is."""
        return self.status in ("committed", "unchanged")


def prepare_dagster_home(settings: Settings) -> None:
    """Give Dagster a home inside ours, without telemetry."""
    settings.dagster.mkdir(parents=True, exist_ok=True)
    config = settings.dagster / "dagster.yaml"
    if not config.exists():
        config.write_text(yaml.safe_dump({"telemetry": {"enabled": False}}), encoding="utf-8")
    os.environ["DAGSTER_HOME"] = str(settings.dagster)
    os.environ["DAGSTER_DISABLE_TELEMETRY"] = "1"


def dagster_instance(settings: Settings) -> dg.DagsterInstance:
    """Dagster's records in our home; the first of several processes makes its databases, the others wait for it."""
    prepare_dagster_home(settings)
    with (settings.dagster / "opening.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return dg.DagsterInstance.get()


def curate_job() -> dg.JobDefinition:
    """The job that all runs use; by name, so that other processes can load it."""
    from dagster_project.definitions import defs

    return defs.resolve_job_def("curate")


def run(house: House, datasets: Sequence[Dataset], sample: bool, source: str | None, jobs: int) -> list[Outcome]:
    """Run datasets as one Dagster run (in this process, or in ``jobs`` processes) and say what became of each."""
    before = {dataset.name: house.ledger.current(dataset.name) for dataset in datasets}
    keys = [key for dataset in datasets for key in dataset_keys(dataset)]
    with dagster_instance(house.settings) as instance:
        result = _execute(instance, keys, _run_config(datasets, sample, source), jobs)
        failures = dict(_failures(result))
    return [_outcome(house, dataset, before[dataset.name], result.run_id, failures) for dataset in datasets]


def _run_config(datasets: Sequence[Dataset], sample: bool, source: str | None) -> dict[str, Any]:
    config = {"config": {"sample": sample, **({"source": source} if source else {})}}
    return {
        "ops": {"__".join(asset_key("raw", dataset.name).path): config for dataset in datasets},
        # The outcome is told in a table; Dagster's own log of the run is in the UI.
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
    }


def _execute(instance: dg.DagsterInstance, keys: Sequence[dg.AssetKey], config: dict[str, Any], jobs: int) -> Any:
    if jobs == 1:
        job = curate_job()
        return job.execute_in_process(run_config=config, instance=instance, asset_selection=keys, raise_on_error=False)
    config["execution"] = {"config": {"multiprocess": {"max_concurrent": jobs}}}
    return dg.execute_job(
        dg.reconstructable(curate_job),
        instance=instance,
        run_config=config,
        asset_selection=list(keys),
        raise_on_error=False,
    )


def _failures(result: Any) -> Iterator[tuple[str, tuple[str, str]]]:
    """Step -> problem and remedy, for every step that failed."""
    for event in result.all_events if hasattr(result, "all_events") else result.all_node_events:
        if not event.is_step_failure:
            continue
        data = event.step_failure_data
        told = data.user_failure_data
        if told is not None and told.description:
            remedy = told.metadata.get("remedy")
            yield event.step_key, (told.description, str(remedy.value) if remedy else "")
        elif data.error is not None and _is_interrupt(data.error):
            yield event.step_key, INTERRUPTED
        elif data.error is not None:
            error = data.error.cause or data.error
            yield (
                event.step_key,
                (error.message.strip(), "this is a defect in Winnow; the Dagster UI has the traceback"),
            )


def _is_interrupt(error: Any) -> bool:
    """Whether Ctrl-C is behind an error; native code that it hits reports it in its own way."""
    if error is None:
        return False
    said = error.cls_name in ("DagsterExecutionInterruptedError", "KeyboardInterrupt", "InterruptException")
    return said or "Query interrupted" in error.message or _is_interrupt(error.cause) or _is_interrupt(error.context)


def _outcome(
    house: House, dataset: Dataset, before: Version | None, run_id: str, failures: dict[str, tuple[str, str]]
) -> Outcome:
    version = house.ledger.current(dataset.name)
    report = house.ledger.report(dataset.name, run_id)
    mine = [
        failures[step]
        for layer in ("raw", "staged", "published")
        for step in failures
        if step == "__".join(asset_key(layer, dataset.name).path)
    ]
    if report is not None and not report.passed:
        refused = report.refusals()
        problem = "; ".join(f"{c.gate} {c.table} {c.name}: {c.observed}, expected {c.expected}" for c in refused)
        return Outcome(dataset.name, "refused", version, report, problem, refused[0].remedy if refused else "")
    if mine:
        problem, remedy = mine[0]
        status = "interrupted" if mine[0] == INTERRUPTED else "failed"
        return Outcome(dataset.name, status, version, report, problem, remedy)
    if version is None:
        return Outcome(dataset.name, "interrupted", None, report, *INTERRUPTED)
    if version.run_id == run_id:
        return Outcome(dataset.name, "committed", version, report)
    return Outcome(dataset.name, "unchanged", version, house.ledger.report(dataset.name, version.run_id))


@contextmanager
def listening(handler: logging.Handler) -> Iterator[None]:
    """Send progress to a handler while a run goes on."""
    PROGRESS.addHandler(handler)
    PROGRESS.setLevel(logging.DEBUG)
    PROGRESS.propagate = False
    try:
        yield
    finally:
        PROGRESS.removeHandler(handler)
