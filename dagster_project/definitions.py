"""The code location: every dataset folder, the canonical tables, the job, what starts it by itself."""

from pathlib import Path

import dagster as dg

from catalog.dataset import FOLDER, sound_datasets
from catalog.derived import sound_derived
from dagster_project.automation import schedules, source_sensor
from dagster_project.component import broken_asset, dataset_assets, derived_asset
from dagster_project.jobs import curate_jobs, table_assets
from dagster_project.release_assets import embargo_schedule, release_assets, review_checks
from dagster_project.resources import HouseResource, LedgerIOManager


def definitions(folder: Path = FOLDER) -> dg.Definitions:
    """What Dagster shows of a folder of datasets.

    Dagster's own loader of components gives the same assets, but refuses all for one broken YAML.
    """
    datasets, broken = sound_datasets(folder)
    derived, broken_derived = sound_derived(folder)
    return dg.Definitions(
        assets=[
            *(asset for dataset in datasets for asset in dataset_assets(dataset)),
            *(broken_asset(name, error) for name, error in broken.items()),
            *table_assets(datasets),
            *(derived_asset(contract) for contract in derived),
            *(broken_asset(name, error, "table") for name, error in broken_derived.items()),
            *release_assets(datasets),
        ],
        jobs=curate_jobs(datasets),
        asset_checks=review_checks(datasets),
        schedules=[*schedules(datasets), embargo_schedule(datasets)],
        # Dagster takes no sensor over nothing.
        sensors=[source_sensor(datasets)] if any(dataset.source.uri for dataset in datasets) else [],
        resources={"winnow": HouseResource(), "ledger": LedgerIOManager()},
    )


defs = definitions()
