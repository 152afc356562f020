"""Running datasets through Dagster from the command line, and telling what came of it."""

from __future__ import annotations

import atexit
import fcntl
import json
import logging
import multiprocessing
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from socket import AF_UNIX, SOCK_DGRAM
from typing import Any

import click
import dagster as dg
import yaml
from dagster._core.instance.ref import InstanceRef

from catalog.dataset import PART, Dataset
from catalog.errors import ContractError
from catalog.records import ALL, Check, GateReport, Version
from dagster_project.component import asset_key, dataset_keys
from dagster_project.curate import House
from dagster_project.jobs import CURATE, job_name
from dagster_project.privacy import is_private, observed
from dagster_project.progress import PROGRESS
from dagster_project.settings import Settings

_PROGRESS_SOCKET = "_WINNOW_PROGRESS"
_END = b"end"
INTERRUPTED = ("the run was interrupted; nothing of it was published", "the same command runs it again")
DAGSTER_CONFIG = {"telemetry": {"enabled": False}, "nux": {"enabled": False}}
"""No telemetry, and no dialogue that asks for an e-mail address."""


@dataclass(frozen=True)
class Outcome:
    """What became of one dataset in a run.

    ``committed``, ``unchanged``, ``no source`` (its owner publishes none, and all were asked for), ``refused``,
    ``failed`` or ``interrupted``.
    """

    dataset: str
    status: str
    version: Version | None
    report: GateReport | None
    problem: str = ""
    remedy: str = ""
    part: str = ALL

    @property
    def name(self) -> str:
        """The dataset's name, and of one with parts which part."""
        return self.dataset if self.part == ALL else f"{self.dataset} {self.part}"

    @property
    def kept(self) -> str:
        """What the current version has of a part that was not published."""
        if self.part == ALL or self.version is None:
            return ""
        return f", with part {self.part} as it was" if self.version.part(self.part) else f", without part {self.part}"

    @property
    def succeeded(self) -> bool:
        """Whether the dataset is now as its source is."""
        return self.status in ("committed", "unchanged", "no source")


def prepare_dagster_home(settings: Settings) -> None:
    """Give Dagster a home inside ours, without telemetry."""
    settings.dagster.mkdir(parents=True, exist_ok=True)
    config = settings.dagster / "dagster.yaml"
    if not config.exists():
        config.write_text(yaml.safe_dump(DAGSTER_CONFIG), encoding="utf-8")
    os.environ["DAGSTER_HOME"] = str(settings.dagster)
    os.environ["DAGSTER_DISABLE_TELEMETRY"] = "1"


def dagster_instance(settings: Settings) -> dg.DagsterInstance:
    """Dagster's records in our home; the first of several processes makes its databases, the others wait for it.

    Its log of a run shows in the UI only: on the command line a table tells the outcome.
    """
    prepare_dagster_home(settings)
    quiet = {"python_logs": {"python_log_level": "CRITICAL"}}
    with (settings.dagster / "opening.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(settings.dagster), overrides=quiet))


def curate_job() -> dg.JobDefinition:
    """The job of all datasets without parts; by name, so that other processes can load it."""
    from dagster_project.definitions import defs

    if multiprocessing.parent_process() is not None and _PROGRESS_SOCKET in os.environ and not PROGRESS.handlers:
        _start_telling(_ToParent(os.environ[_PROGRESS_SOCKET]))
        atexit.register(_hush)
    return defs.resolve_job_def(CURATE)


def part_job(name: str) -> dg.JobDefinition:
    """The job of one dataset with parts."""
    from dagster_project.definitions import defs

    return defs.resolve_job_def(name)


def refuse_parts(chosen: Sequence[Dataset], parts: Sequence[str], sample: bool, source: str | None) -> None:
    """Refuse parts that are not asked for as they can be. Raises click.UsageError."""
    if parts and (sample or len(chosen) != 1 or not chosen[0].source.parts):
        raise click.UsageError("--part goes with exactly one DATASET whose source has parts, and not with --sample")
    for part in parts:
        if part not in chosen[0].parts:
            raise click.UsageError(f"there is no part {part!r}; the parts are: {', '.join(chosen[0].parts)}")
    if source and chosen[0].source.parts and PART not in source and len(parts) != 1:
        raise click.UsageError(f"{chosen[0].name} has parts: give --part for what --source is, or write {PART} in it")


def run(
    house: House,
    datasets: Sequence[Dataset],
    sample: bool,
    source: str | None,
    jobs: int,
    parts: Sequence[str] = (),
) -> list[Outcome]:
    """Run datasets (in this process, or in ``jobs`` processes) and say what became of each.

    All without parts are one Dagster run; of each other one, each part is (by default every part; of a sample its own).
    """
    if not datasets:
        return []
    atexit.register(_hush)
    whole = [dataset for dataset in datasets if not dataset.source.parts]
    outcomes = _run(house, whole, ALL, sample, source, jobs) if whole else []
    for dataset in datasets:
        if not dataset.source.parts:
            continue
        for part in parts or ((dataset.sample_part,) if sample else dataset.parts):
            outcomes += _run(house, [dataset], part, sample, source, jobs)
            if outcomes[-1].status == "interrupted":
                return outcomes
    return outcomes


def _run(
    house: House, datasets: Sequence[Dataset], part: str, sample: bool, source: str | None, jobs: int
) -> list[Outcome]:
    keys = [key for dataset in datasets for key in dataset_keys(dataset)]
    job = job_name(datasets[0])
    with dagster_instance(house.settings) as instance:
        result = _execute(instance, job, part, keys, _run_config(datasets, sample, source), jobs)
        events = result.all_events if hasattr(result, "all_events") else result.all_node_events
        failures = dict(_failures(events))
        done = {event.step_key for event in events if event.is_step_success}
    return [replace(_outcome(house, dataset, part, result.run_id, failures, done), part=part) for dataset in datasets]


def not_run(house: House, broken: Mapping[str, ContractError]) -> list[Outcome]:
    """What became of datasets whose contracts are wrong."""
    return [
        Outcome(name, "failed", house.ledger.current(name), None, error.problem, error.remedy)
        for name, error in broken.items()
    ]


def no_source(house: House, datasets: Sequence[Dataset]) -> list[Outcome]:
    """What became of datasets that have no address to be fetched from, when a run was asked for all."""
    return [Outcome(dataset.name, "no source", house.ledger.current(dataset.name), None) for dataset in datasets]


def _run_config(datasets: Sequence[Dataset], sample: bool, source: str | None) -> dict[str, Any]:
    config = {"config": {"sample": sample, **({"source": source} if source else {})}}
    return {"ops": {_step("raw", dataset): config for dataset in datasets}}


def _step(layer: str, dataset: Dataset) -> str:
    return "__".join(asset_key(layer, dataset.name).path)


def _execute(
    instance: dg.DagsterInstance,
    name: str,
    part: str,
    keys: Sequence[dg.AssetKey],
    config: dict[str, Any],
    jobs: int,
) -> Any:
    if jobs == 1 or part != ALL:  # the three steps of a part wait for one another
        job = curate_job() if part == ALL else part_job(name)
        return job.execute_in_process(
            run_config=config,
            instance=instance,
            asset_selection=keys,
            partition_key=None if part == ALL else part,
            raise_on_error=False,
        )
    config["execution"] = {"config": {"multiprocess": {"max_concurrent": jobs}}}
    with _listening_to_processes():
        return dg.execute_job(
            dg.reconstructable(curate_job),
            instance=instance,
            run_config=config,
            asset_selection=list(keys),
            raise_on_error=False,
        )


def _failures(events: Sequence[Any]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Step -> problem and remedy, for every step that failed."""
    for event in events:
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
    house: House, dataset: Dataset, part: str, run_id: str, failures: dict[str, tuple[str, str]], done: set[str]
) -> Outcome:
    version = house.ledger.current(dataset.name)
    here = version.part(part) if version else None
    report = house.ledger.report(dataset.name, run_id)
    steps = [_step(layer, dataset) for layer in ("raw", "staged", "published")]
    mine = [failures[step] for step in steps if step in failures]
    if report is not None and not report.passed:
        refused = report.refusals()
        private = is_private(house, dataset)
        # Who runs it must see which words contradict the licence; Dagster's pages do not tell them.
        problem = "; ".join(_in_words(c, observed(c, private and c.gate != "terms")) for c in refused)
        remedies = "; ".join(dict.fromkeys(check.remedy for check in refused))
        return Outcome(dataset.name, "refused", version, report, problem, remedies)
    if mine:
        problem, remedy = mine[0]
        status = "interrupted" if mine[0] == INTERRUPTED else "failed"
        return Outcome(dataset.name, status, version, report, problem, remedy)
    if here is None or steps[-1] not in done:
        return Outcome(dataset.name, "interrupted", version, report, *INTERRUPTED)
    if here.run_id == run_id:
        return Outcome(dataset.name, "committed", version, report)
    return Outcome(dataset.name, "unchanged", version, house.ledger.report(dataset.name, here.run_id, part))


def _in_words(check: Check, seen: str) -> str:
    """A verdict on one line, or, where what was seen takes several, the expectation on a line of its own."""
    where = " ".join(filter(None, (check.gate, check.table, check.name)))
    return f"{where}: {seen}" + ("\n" if "\n" in seen else ", ") + f"expected {check.expected}"


def _hush() -> None:
    """DuckDB prints, as a process ends, what of it is still referred to; the terminal is for the outcome."""
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


class _ToParent(logging.Handler):
    """Sends progress from a process of ``--jobs`` to the one that draws the bars; what it has no room for is lost."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self._socket = socket.socket(AF_UNIX, SOCK_DGRAM)
        self._socket.setblocking(False)
        self._address = address

    def emit(self, record: logging.LogRecord) -> None:
        """Send the four values that a bar is drawn from."""
        told = {key: record.__dict__[key] for key in ("dataset", "step", "done", "total")}
        with suppress(OSError):
            self._socket.sendto(json.dumps(told).encode(), self._address)


@contextmanager
def _listening_to_processes() -> Iterator[None]:
    """Pass on, as if it were of this process, the progress that the processes of ``--jobs`` tell."""
    with tempfile.TemporaryDirectory(prefix="winnow-") as folder, socket.socket(AF_UNIX, SOCK_DGRAM) as inbox:
        inbox.bind(f"{folder}/progress")
        os.environ[_PROGRESS_SOCKET] = f"{folder}/progress"
        ear = threading.Thread(target=_pass_on, args=(inbox,), daemon=True)
        ear.start()
        try:
            yield
        finally:
            del os.environ[_PROGRESS_SOCKET]
            with socket.socket(AF_UNIX, SOCK_DGRAM) as own:
                own.sendto(_END, f"{folder}/progress")
            ear.join()


def _pass_on(inbox: socket.socket) -> None:
    while (message := inbox.recv(65_536)) != _END:
        PROGRESS.debug("", extra=json.loads(message))


@contextmanager
def listening(handler: logging.Handler) -> Iterator[None]:
    """Send progress to a handler while a run goes on."""
    _start_telling(handler)
    try:
        yield
    finally:
        PROGRESS.removeHandler(handler)


def _start_telling(handler: logging.Handler) -> None:
    PROGRESS.addHandler(handler)
    PROGRESS.setLevel(logging.DEBUG)
    PROGRESS.propagate = False
