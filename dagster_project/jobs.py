"""Jobs and the canonical-table assets, which span datasets."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from catalog.dataset import Dataset
from catalog.table import load_table, table_names
from dagster_project.component import asset_key
from dagster_project.metadata import table_metadata
from dagster_project.privacy import told
from dagster_project.resources import HouseResource

CURATE = dg.define_asset_job(
    "curate",
    selection=dg.AssetSelection.all() - dg.AssetSelection.groups("releases"),
    description="Fetch, stage, gate and publish the chosen datasets",
)


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
