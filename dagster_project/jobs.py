"""Jobs and the canonical-table assets, which span datasets."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import dagster as dg

from catalog.dataset import Dataset
from catalog.table import load_table, table_names
from dagster_project.component import LAYERS, asset_key, dataset_keys
from dagster_project.metadata import table_metadata
from dagster_project.privacy import told
from dagster_project.resources import HouseResource

CURATE = "curate"


def curate_jobs(datasets: Sequence[Dataset]) -> list[Any]:
    """The job of all datasets without parts, and one for each dataset with parts: Dagster lets a job have one kind."""
    parted = [dataset for dataset in datasets if dataset.source.parts]
    away: dg.AssetSelection = dg.AssetSelection.groups("releases")
    for dataset in parted:
        away = away | dg.AssetSelection.assets(*(asset_key(layer, dataset.name) for layer in LAYERS))
    words = "Fetch, stage, gate and publish the chosen datasets"
    curate = dg.define_asset_job(CURATE, selection=dg.AssetSelection.all() - away, description=words)
    return [curate, *(part_job(dataset) for dataset in parted)]


def part_job(dataset: Dataset) -> Any:
    """The job of one dataset with parts: each run curates one of them."""
    return _part_job(job_name(dataset), tuple(dataset_keys(dataset)), f"Curate one part of {dataset.title}")


@cache
def _part_job(name: str, keys: tuple[dg.AssetKey, ...], words: str) -> Any:
    # One object, whoever starts it: Dagster takes two of the same name for two jobs.
    return dg.define_asset_job(name, list(keys), description=words)


def job_name(dataset: Dataset) -> str:
    """The job in which a dataset is run."""
    return dataset.name.replace("/", "_") if dataset.source.parts else CURATE


def table_assets(datasets: Sequence[Dataset]) -> list[dg.AssetsDefinition]:
    """One asset per canonical table: a view, so materialising it only says what it shows now."""
    return [_table_asset(name, [d for d in datasets if name in d.feeds]) for name in table_names()]


def _table_asset(name: str, feeders: Sequence[Dataset]) -> dg.AssetsDefinition:
    table = load_table(name)

    @dg.asset(
        key=asset_key("table", name),
        deps=[asset_key("published", dataset.name) for dataset in feeders],
        group_name=table.domain,
        kinds={"table", "duckdb"},
        description=f'{table.description}\n\nStandard: {table.standard}. Query it with `winnow query "FROM {name}"`.',
    )
    def canonical(winnow: HouseResource) -> dg.MaterializeResult[Any]:
        with told():
            return dg.MaterializeResult(metadata=table_metadata(winnow.house(), name, feeders))

    return canonical
