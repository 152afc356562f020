"""What starts runs by itself: the contracts' schedules, and a sensor that notices changed sources."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

import dagster as dg

from assets.snapshot import probe
from catalog.dataset import Dataset
from catalog.errors import SourceError, WinnowError
from dagster_project.component import dataset_keys
from dagster_project.curate import address
from dagster_project.jobs import job_name, part_job
from dagster_project.privacy import is_private
from dagster_project.resources import HouseResource

PATIENCE = 40.0  # seconds; Dagster gives up on a sensor after 60


def schedules(datasets: Sequence[Dataset]) -> list[dg.ScheduleDefinition]:
    """One schedule per dataset that has one, in UTC; off until an operator turns it on."""
    return [_schedule(dataset, dataset.schedule) for dataset in datasets if dataset.schedule]


def _schedule(dataset: Dataset, cron: str) -> dg.ScheduleDefinition:
    name = dataset.name.replace("/", "_")
    if dataset.source.parts:
        return _part_schedule(dataset, name, cron)
    # A job of its own, so that the page of an asset shows this schedule and no other dataset's.
    return dg.ScheduleDefinition(
        name=name,
        cron_schedule=cron,
        execution_timezone="UTC",
        job=dg.define_asset_job(name, dataset_keys(dataset), description=f"Curate {dataset.title}"),
        description=f"Curate {dataset.title}",
    )


def _part_schedule(dataset: Dataset, name: str, cron: str) -> dg.ScheduleDefinition:
    """As many runs as the dataset has parts, each at the same time."""

    @dg.schedule(
        name=name,
        cron_schedule=cron,
        execution_timezone="UTC",
        job=part_job(dataset),
        description=f"Curate {dataset.title}, part by part",
    )
    def every_part() -> Iterator[dg.RunRequest]:
        for part in dataset.parts:
            yield dg.RunRequest(run_key=part, partition_key=part)

    return every_part


def source_sensor(datasets: Sequence[Dataset]) -> dg.SensorDefinition:
    """A sensor that asks every source once an hour whether it changed (ETag, size, mtime), without a download.

    It speaks up only for datasets that have been fetched from their own source before: the first run, and runs
    on samples, are a person's choice. A state of a source is asked for once, so a run that fails is not repeated.
    """
    watched = [dataset for dataset in datasets if dataset.source.uri]
    keys = sorted({key for dataset in watched if not dataset.source.parts for key in dataset_keys(dataset)})
    words = "Curate datasets whose source has changed"
    whole = [dg.define_asset_job("changed_sources", keys, description=words)] if keys else []

    @dg.sensor(
        name="changed_sources",
        minimum_interval_seconds=3600,
        jobs=[*whole, *(part_job(dataset) for dataset in watched if dataset.source.parts)],
        description="Curate the datasets whose source has another ETag, size or time of change than when last fetched",
    )
    def changed_sources(
        context: dg.SensorEvaluationContext, winnow: HouseResource
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        house = winnow.house()
        fetched = [
            (dataset, part, snapshot.validator)
            for dataset in watched
            for part in dataset.parts
            if (snapshot := house.ledger.snapshot(dataset.name, address(dataset, part=part).uri))
        ]
        troubles = []
        changed = 0
        for dataset, part, news in _ask(fetched):
            if isinstance(news, WinnowError):
                why = "its address is not told here" if is_private(house, dataset) else news.problem
                troubles.append(f"{dataset.name} cannot be asked: {why}")
                context.log.warning(troubles[-1])
            elif news:
                changed += 1
                name = f"{dataset.name}:{part}" if dataset.source.parts else dataset.name
                yield dg.RunRequest(
                    run_key=hashlib.sha256(f"{name}:{news}".encode()).hexdigest(),
                    job_name=job_name(dataset) if dataset.source.parts else "changed_sources",
                    partition_key=part if dataset.source.parts else None,
                    asset_selection=dataset_keys(dataset),
                    tags={"winnow/dataset": dataset.name.replace("/", ".")},
                )
        if not changed:
            nothing = "no source changed" if fetched else "no dataset has been fetched from its own source yet"
            yield dg.SkipReason("; ".join([nothing, *troubles]))

    return changed_sources


def _ask(fetched: Sequence[tuple[Dataset, str, str]]) -> Iterator[tuple[Dataset, str, str | WinnowError | None]]:
    """What is new at every source, or why it cannot be told; all at once, and not for longer than PATIENCE."""
    pool = ThreadPoolExecutor(max_workers=16)
    asked = [(dataset, part, pool.submit(_news, dataset, part, validator)) for dataset, part, validator in fetched]
    wait([answer for *_, answer in asked], timeout=PATIENCE)
    pool.shutdown(wait=False, cancel_futures=True)
    for dataset, part, answer in asked:
        yield dataset, part, _answered(answer)


def _news(dataset: Dataset, part: str, before: str) -> str | None:
    where = address(dataset, part=part)
    now = probe(where)
    if now == before:
        return None
    if probe(where) != now:
        raise SourceError(f"{where.uri} tells neither an ETag nor a time of change; leave it to a schedule")
    return now


def _answered(answer: Future[str | None]) -> str | WinnowError | None:
    if not answer.done() or answer.cancelled():
        return SourceError(f"no answer within {PATIENCE:.0f} seconds")
    try:
        return answer.result()
    except WinnowError as error:
        return error
