"""What starts runs by itself: the sensor that notices changed sources. Schedules stand in the datasets' contracts."""

from collections.abc import Iterator, Sequence

import dagster as dg

from assets.snapshot import probe
from catalog.dataset import Dataset
from catalog.errors import WinnowError
from dagster_project.component import dataset_keys
from dagster_project.curate import address
from dagster_project.resources import HouseResource


def source_sensor(datasets: Sequence[Dataset]) -> dg.SensorDefinition:
    """A sensor that asks every source once an hour whether it changed (ETag, size, mtime), without a download.

    It speaks up only for datasets that have been fetched from their own source before: the first run, and runs
    on samples, are a person's choice.
    """
    keys = [key for dataset in datasets for key in dataset_keys(dataset)]

    @dg.sensor(
        name="changed_sources", minimum_interval_seconds=3600, target=dg.AssetSelection.assets(*keys) if keys else None
    )
    def changed_sources(
        context: dg.SensorEvaluationContext, winnow: HouseResource
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        ledger = winnow.house().ledger
        changed = 0
        for dataset in datasets:
            previous = ledger.snapshot(dataset.name, dataset.source.uri) if dataset.source.uri else None
            if previous is None:
                continue
            try:
                validator = probe(address(dataset))
            except WinnowError as error:
                context.log.warning(f"{dataset.name}: {error}")
                continue
            if validator != previous.validator:
                changed += 1
                yield dg.RunRequest(
                    run_key=f"{dataset.name}:{validator}",
                    asset_selection=dataset_keys(dataset),
                    tags={"winnow/dataset": dataset.name.replace("/", ".")},
                )
        if not changed:
            yield dg.SkipReason("no source changed")

    return changed_sources
