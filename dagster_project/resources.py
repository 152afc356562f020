"""Dagster's access to the house, and how records pass from asset to asset: through the ledger."""

from __future__ import annotations

import dagster as dg

from catalog.records import Record
from dagster_project.curate import House
from dagster_project.settings import Settings


class HouseResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The warehouse and the ledger that WINNOW_HOME, WINNOW_WAREHOUSE and WINNOW_CATALOG name.

    It has no configuration of its own, so that no password in a database URL shows in the UI.
    """

    def house(self) -> House:
        """Open what the environment names."""
        return House(Settings.from_environment())


class LedgerIOManager(dg.ConfigurableIOManager):
    """Keeps the records that assets give one another in the ledger, so that any process can go on from there."""

    def handle_output(self, context: dg.OutputContext, obj: Record) -> None:
        """Note the record under its asset and run."""
        House(Settings.from_environment()).ledger.hand_over(_asset(context), context.run_id, obj)

    def load_input(self, context: dg.InputContext) -> Record:
        """The record of this run, else the asset's last."""
        kind = context.dagster_type.typing_type
        asset = _asset(context)
        found = House(Settings.from_environment()).ledger.handed_over(asset, context.step_context.run_id, kind)
        if found is None:
            raise dg.Failure(f"{asset} has not been materialised yet; materialise it first", allow_retries=False)
        assert isinstance(found, Record)
        return found


def _asset(context: dg.OutputContext | dg.InputContext) -> str:
    """An asset's name, and which of its parts."""
    name = context.asset_key.to_user_string()
    return f"{name} {context.asset_partition_key}" if context.has_asset_partitions else name
