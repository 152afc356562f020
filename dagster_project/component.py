"""The Components that turn YAML into assets: raw -> staged (with checks) -> published, or a derived table's one."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from catalog.dataset import Dataset as Contract
from catalog.dataset import read_dataset, sound_datasets
from catalog.derived import Derived as DerivedContract
from catalog.derived import read_derived
from catalog.errors import ContractError
from catalog.query import Door
from catalog.records import ALL, Snapshot, Stage, Version
from catalog.rights.embargo import utc_day
from dagster_project import curate
from dagster_project.metadata import check_result, complete_result, published_metadata, raw_metadata, staged_metadata
from dagster_project.privacy import Confidant, is_private, told
from dagster_project.resources import HouseResource

GATES = ("structure", "expectations", "science", "terms")
LAYERS = ("raw", "staged", "published")
COMPLETE = "complete"


class SourceConfig(dg.Config):
    """Where a run takes the bytes from: the contract's address unless one of these is set."""

    sample: bool = False
    source: str | None = None


class Dataset(dg.Component):
    """One dataset. The YAML's attributes are checked by ``catalog.dataset``, which knows no Dagster."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract

    @classmethod
    def get_model_cls(cls) -> type[Contract]:
        """The contract's own model, so that ``dg check yaml`` reports file, line and column."""
        return Contract

    @classmethod
    def load(cls, attributes: Any, context: dg.ComponentLoadContext) -> "Dataset":
        """Read the contract again from its file, to check it against tables, units and licences."""
        del attributes
        return cls(read_dataset(context.path / "defs.yaml"))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The three assets of the dataset, with their checks."""
        del context
        return dg.Definitions(assets=dataset_assets(self.contract))


class Derived(dg.Component):
    """One derived table. The YAML's attributes are checked by ``catalog.derived``, which knows no Dagster."""

    def __init__(self, contract: DerivedContract) -> None:
        self.contract = contract

    @classmethod
    def get_model_cls(cls) -> type[DerivedContract]:
        """The contract's own model, so that ``dg check yaml`` reports file, line and column."""
        return DerivedContract

    @classmethod
    def load(cls, attributes: Any, context: dg.ComponentLoadContext) -> "Derived":
        """Read the contract again from its file, to check its SQL against the canonical tables."""
        del attributes
        return cls(read_derived(context.path / "defs.yaml"))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The one asset of the table."""
        del context
        return dg.Definitions(assets=[derived_asset(self.contract)])


def derived_asset(contract: DerivedContract) -> dg.AssetsDefinition:
    """The asset of a derived table, which every query computes anew: materialising it says what anyone may have now."""
    query = f'winnow query "FROM {contract.name}"'

    @dg.asset(
        key=asset_key("table", contract.name),
        deps=[asset_key("table", name) for name in contract.inputs],
        group_name=contract.domain,
        owners=[f"team:{contract.owner}"],
        kinds={"table", "derived"},
        description=(
            f"**{contract.title}**\n\n{contract.description}\n\nComputed only from rows that the reader may have, when "
            f"asked: `{query}`.\n\n```sql\n{contract.sql.strip()}\n```"
        ),
        metadata=_yaml_reference(contract.folder / "defs.yaml"),
    )
    def derived(winnow: HouseResource) -> dg.MaterializeResult[Any]:
        house = winnow.house()
        with told():
            datasets = sound_datasets(contract.folder.parent.parent)[0]
            door = Door(house.warehouse, house.ledger, datasets, "open", utc_day(house.clock()), derived=[contract])
            rows = sum(batch.num_rows for batch in door.derive(contract))
        columns = [
            dg.TableColumn(
                field.name, type=str(field.type), description=(field.metadata or {}).get(b"description", b"").decode()
            )
            for field in contract.arrow_schema
        ]
        return dg.MaterializeResult(
            metadata={"dagster/row_count": rows, "dagster/column_schema": dg.TableSchema(columns=columns)}
        )

    return derived


def dataset_assets(contract: Contract) -> list[dg.AssetsDefinition]:
    """The three assets of one dataset."""
    return [_raw(contract), _staged(contract), _published(contract)]


def broken_asset(name: str, error: ContractError, layer: str = "raw") -> dg.AssetsDefinition:
    """What stands for what has a wrong YAML: it says what is wrong, and fails with that, so that the others can run."""

    @dg.asset(
        key=asset_key(layer, name),
        group_name=asset_key(layer, name).path[1],
        kinds={"broken"},
        description=f"This cannot run until its defs.yaml is mended.\n\n```\n{error.problem}\n```",
    )
    def broken() -> None:
        with told():
            raise error

    return broken


def asset_key(layer: str, name: str) -> dg.AssetKey:
    """``raw/genomics/clinvar``; tables are named ``genomics.variants`` and become ``table/genomics/variants``."""
    return dg.AssetKey([layer, *name.replace(".", "/").split("/")])


def dataset_keys(contract: Contract) -> list[dg.AssetKey]:
    """All assets that a run of one dataset makes, the tables that it feeds included."""
    layers = [asset_key(layer, contract.name) for layer in ("raw", "staged", "published")]
    return [*layers, *(asset_key("table", table) for table in contract.feeds)]


def _about(contract: Contract, layer: str, kind: str) -> dict[str, Any]:
    return {
        "key": asset_key(layer, contract.name),
        "group_name": contract.domain,
        "owners": [f"team:{contract.owner}"],
        # The graph shows only the last part of a key; the layer tells the three apart there.
        "kinds": {layer, kind},
        "description": f"{_LAYER_WORDS[layer]}\n\n**{contract.title}**\n\n{contract.description}".strip(),
        "tags": {"dataset": contract.name.replace("/", ".")},
        "metadata": _yaml_reference(contract.folder / "defs.yaml"),
        "io_manager_key": "ledger",
        "partitions_def": dg.StaticPartitionsDefinition(list(contract.parts)) if contract.source.parts else None,
    }


def _part(context: dg.AssetExecutionContext) -> str:
    return context.partition_key if context.has_partition_key else ALL


def _yaml_reference(path: Path) -> dict[str, Any]:
    """The link "open in editor" on an asset's page."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        reference = dg.LocalFileCodeReference(file_path=str(path), line_number=1, label=path.name)
        return {"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=[reference])}


def _raw(contract: Contract) -> dg.AssetsDefinition:
    @dg.asset(**_about(contract, "raw", contract.source.format))
    def raw(context: dg.AssetExecutionContext, config: SourceConfig, winnow: HouseResource) -> dg.Output[Snapshot]:
        house = winnow.house()
        with told(Confidant(house, contract, context.run.run_id)):
            part = _part(context)
            where = curate.address(contract, config.sample, config.source, part)
            snapshot = curate.fetch(house, contract, where, part)
            metadata = raw_metadata(house, contract, snapshot)
        return dg.Output(snapshot, metadata=metadata)

    assert isinstance(raw, dg.AssetsDefinition)
    return raw


def _staged(contract: Contract) -> dg.AssetsDefinition:
    about = _about(contract, "staged", "parquet")
    checks = [
        dg.AssetCheckSpec(gate, asset=about["key"], blocking=True, description=_CHECK_WORDS[gate]) for gate in GATES
    ]

    @dg.asset(**about, ins={"snapshot": dg.AssetIn(asset_key("raw", contract.name))}, check_specs=checks)
    def staged(
        context: dg.AssetExecutionContext, snapshot: Snapshot, winnow: HouseResource
    ) -> Iterator[dg.Output[Stage] | dg.AssetCheckResult]:
        house = winnow.house()
        with told(Confidant(house, contract, context.run.run_id)):
            stage, report = curate.stage(house, contract, snapshot, context.run.run_id)
            private = is_private(house, contract, stage.found)
            metadata = staged_metadata(house, contract, stage, report)
        yield dg.Output(stage, metadata=metadata)
        for gate in GATES:
            yield check_result(gate, report, private)

    assert isinstance(staged, dg.AssetsDefinition)
    return staged


def _published(contract: Contract) -> dg.AssetsDefinition:
    about = _about(contract, "published", "iceberg")
    complete = dg.AssetCheckSpec(COMPLETE, asset=about["key"], description="Every part of the source is published.")

    @dg.asset(
        **about,
        ins={"stage": dg.AssetIn(asset_key("staged", contract.name))},
        check_specs=[complete] if contract.source.parts else [],
    )
    def published(
        context: dg.AssetExecutionContext, stage: Stage, winnow: HouseResource
    ) -> Iterator[dg.Output[Version] | dg.AssetCheckResult]:
        house = winnow.house()
        with told(Confidant(house, contract, context.run.run_id)):
            version = curate.commit(house, contract, stage)
            metadata = published_metadata(house, contract, version)
        yield dg.Output(version, metadata=metadata)
        if contract.source.parts:
            yield complete_result(contract, version)

    assert isinstance(published, dg.AssetsDefinition)
    return published


_LAYER_WORDS = {
    "raw": "The source's bytes as fetched, pinned by their sha256.",
    "staged": "Canonical rows that the gates judge; no reader sees them yet.",
    "published": "The version that readers see. Published only with a passing gate report.",
}
_CHECK_WORDS = {
    "structure": "Every kept row has the table's types, required values, ranges and vocabularies.",
    "expectations": "The staged files as a whole: row count and its drift, unique keys, null fractions, ranges.",
    "science": "Named domain checks: what physics, chemistry and biology rule out.",
    "terms": "The licence is known, and has dated evidence that nothing in the source contradicts.",
}
