"""What single Iceberg tables need: an empty snapshot for a withdrawn one, a schema that follows its contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from catalog.errors import CatalogError
from catalog.records import Version

_EMPTY = "winnow.withdrawn"  # marks the empty snapshot that stands for a withdrawn one


def referred(
    iceberg_table: str, versions: Sequence[Version], withdrawn: Sequence[Version]
) -> tuple[list[int], int | None]:
    """The snapshots of a table that versions refer to, and the one to show: None if its newest version is withdrawn."""

    def snapshots(of: Sequence[Version]) -> list[tuple[int, int]]:
        parts = ((version.number, part) for version in of for part in version.tables)
        return sorted((number, part.iceberg_snapshot) for number, part in parts if part.iceberg_table == iceberg_table)

    standing, gone = snapshots(versions), snapshots(withdrawn)
    newest = standing[-1] if standing and (not gone or standing[-1][0] > gone[-1][0]) else None
    return [snapshot for _, snapshot in standing], newest and newest[1]


def is_empty(table: Any) -> bool:
    """Whether nothing was ever committed to a table, or what was committed last was withdrawn."""
    current = table.current_snapshot()
    return current is None or (current.summary is not None and _EMPTY in current.summary.additional_properties)


def emptied(table: Any) -> int:
    """Make an empty snapshot the current one, and give its id."""
    from pyiceberg.expressions import AlwaysTrue

    if not is_empty(table):
        with table.transaction() as transaction:
            transaction.delete(AlwaysTrue())
            # A second snapshot: the first one's manifest tells of the files that it deletes, bounds included.
            transaction.append(table.schema().as_arrow().empty_table(), snapshot_properties={_EMPTY: "true"})
    return int(table.refresh().current_snapshot().snapshot_id)


def evolve(table: Any, schema: pa.Schema) -> None:
    """Let an existing Iceberg table follow its contract: new columns are added, those given up are dropped."""
    from pyiceberg.exceptions import ValidationError

    present = [field.name for field in table.schema().fields]
    surplus = [name for name in present if name not in schema.names]
    try:
        # Tried first, and not committed: the change proper must allow a column to become required, and so any type.
        same = [field.with_nullable(True) for field in schema if field.name in present]
        table.update_schema().union_by_name(pa.schema(same))
        with table.update_schema(allow_incompatible_changes=True) as update:
            update.union_by_name(schema)
            for name in surplus:
                update.delete_column(name)
    except (ValueError, TypeError, ValidationError) as error:
        raise CatalogError(
            f"table {'.'.join(table.name())} cannot follow its contract: {error}",
            "a column may be added, dropped or widened; for another type give it another name",
        ) from error
