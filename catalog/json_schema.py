"""What each table admits in a dataset's YAML, as JSON Schema: by it `dg check yaml` finds wrong columns and units."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import JsonSchemaValue

from catalog.table import MAPPABLE_RESERVED, RESERVED, Table
from catalog.units import convertible


def columns_schema(table: Table) -> JsonSchemaValue:
    """What may stand below ``columns:`` for one table: its columns, each with the units that convert to its own."""
    properties: dict[str, Any] = {}
    for column in (*table.columns, *(column for column in RESERVED if column.name in MAPPABLE_RESERVED)):
        unit = {"enum": list(convertible(column.unit))} if column.unit else False
        mapping = {
            "type": "object",
            "required": ["from"],
            "additionalProperties": False,
            "properties": {
                "from": {"type": "string"},
                "unit": unit,
                "values": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        }
        properties[column.name] = {"if": {"type": "object"}, "then": mapping, "else": {"type": "string"}}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def table_mapping_schema(table: Table) -> JsonSchemaValue:
    """What may stand below one table's name in ``tables:``."""
    conditions = {"type": "object", "additionalProperties": {"type": "string"}}
    properties = {"columns": columns_schema(table), "options": {"type": "object"}, "drop": conditions}
    return {"type": "object", "additionalProperties": False, "properties": properties}
