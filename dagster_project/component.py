"""The Component that turns a dataset's YAML into Dagster assets: raw -> staged (with blocking checks) -> published."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from catalog.dataset import Dataset as Contract
from catalog.dataset import read_dataset
from catalog.errors import ContractError, WinnowError
from catalog.records import GateReport, Snapshot, Stage, Version
from dagster_project import curate
from dagster_project.metadata import markdown, published_metadata, raw_metadata, staged_metadata
from dagster_project.resources import HouseResource

GATES = ("structure", "expectations", "science", "terms")


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


def dataset_assets(contract: Contract) -> list[dg.AssetsDefinition]:
    """The three assets of one dataset."""
    return [_raw(contract), _staged(contract), _published(contract)]


def broken_asset(name: str, error: ContractError) -> dg.AssetsDefinition:
    """What stands for a dataset whose YAML is wrong: it says what, and fails with that, so that the others can run."""

    @dg.asset(
        key=asset_key("raw", name),
        group_name=name.partition("/")[0],
        kinds={"broken"},
        description=f"This dataset cannot run until its defs.yaml is mended.\n\n```\n{error.problem}\n```",
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


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Show a user's error in the UI as problem and remedy, without a traceback."""
    try:
        yield
    except WinnowError as error:
        raise dg.Failure(
            description=error.problem,
            metadata={"error": type(error).__name__, "remedy": error.remedy or "none"},
            allow_retries=False,
        ) from None


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
    }


def _yaml_reference(path: Path) -> dict[str, Any]:
    """The link "open in editor" on an asset's page."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        reference = dg.LocalFileCodeReference(file_path=str(path), line_number=1, label=path.name)
        return {"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=[reference])}


def _raw(contract: Contract) -> dg.AssetsDefinition:
    @dg.asset(**_about(contract, "raw", contract.source.format))
    def raw(config: SourceConfig, winnow: HouseResource) -> dg.Output[Snapshot]:
        with told():
            where = curate.address(contract, config.sample, config.source)
            snapshot = curate.fetch(winnow.house(), contract, where)
        return dg.Output(snapshot, metadata=raw_metadata(snapshot))

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
        with told():
            stage, report = curate.stage(winnow.house(), contract, snapshot, context.run.run_id)
        yield dg.Output(stage, metadata=staged_metadata(stage, report))
        for gate in GATES:
            yield _check_result(gate, report)

    assert isinstance(staged, dg.AssetsDefinition)
    return staged


def _published(contract: Contract) -> dg.AssetsDefinition:
    @dg.asset(**_about(contract, "published", "iceberg"), ins={"stage": dg.AssetIn(asset_key("staged", contract.name))})
    def published(stage: Stage, winnow: HouseResource) -> dg.Output[Version]:
        house = winnow.house()
        with told():
            version = curate.commit(house, contract, stage)
            metadata = published_metadata(house, contract, version)
        return dg.Output(version, metadata=metadata)

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
    "terms": "The licence is known and has dated evidence.",
}


def _check_result(gate: str, report: GateReport) -> dg.AssetCheckResult:
    verdicts = [check for check in report.checks if check.gate == gate]
    refused = [check for check in verdicts if not check.passed]
    rows = [
        ("✓" if check.passed else "✗", check.table, check.name, check.observed, check.expected, check.remedy)
        for check in sorted(verdicts, key=lambda check: check.passed)
    ]
    words = "; ".join(f"{check.table} {check.name}: {check.observed}, expected {check.expected}" for check in refused)
    columns = ("", "table", "check", "observed", "expected", "remedy")
    return dg.AssetCheckResult(
        check_name=gate,
        passed=bool(verdicts) and not refused,
        severity=dg.AssetCheckSeverity.ERROR,
        description=words or f"{len(verdicts)} checks passed",
        metadata={
            **({"remedy": refused[0].remedy} if refused else {}),
            "refused": len(refused),
            "verdicts": dg.MetadataValue.md(markdown(columns, rows)),
        },
    )
