"""The code location: every dataset folder, the canonical tables, the job, the sensor."""

from pathlib import Path

import dagster as dg

from catalog.dataset import load_datasets
from dagster_project.automation import source_sensor
from dagster_project.jobs import CURATE, table_assets
from dagster_project.resources import HouseResource, LedgerIOManager

_DATASETS = load_datasets()

defs = dg.Definitions.merge(
    dg.load_from_defs_folder(path_within_project=Path(__file__).parent),
    dg.Definitions(
        assets=table_assets(_DATASETS),
        jobs=[CURATE],
        sensors=[source_sensor(_DATASETS)],
        resources={"winnow": HouseResource(), "ledger": LedgerIOManager()},
    ),
)
