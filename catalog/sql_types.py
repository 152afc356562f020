"""How Arrow types and Python values are written in DuckDB's SQL."""

from __future__ import annotations

import pyarrow as pa


def sql_type(kind: pa.DataType) -> str:
    """The DuckDB name of an Arrow type that a table may have."""
    if pa.types.is_list(kind):
        return f"{sql_type(kind.value_type)}[]"
    if pa.types.is_struct(kind):
        return "STRUCT(" + ", ".join(f'"{field.name}" {sql_type(field.type)}' for field in kind) + ")"
    names = {
        pa.string(): "VARCHAR",
        pa.bool_(): "BOOLEAN",
        pa.int32(): "INTEGER",
        pa.int64(): "BIGINT",
        pa.float32(): "FLOAT",
        pa.float64(): "DOUBLE",
        pa.date32(): "DATE",
        pa.timestamp("us", tz="UTC"): "TIMESTAMPTZ",
    }
    return names[kind]


def literal(value: object) -> str:
    """A value as an SQL literal: NULL, or quoted text (which DuckDB casts where a date or number is wanted)."""
    return "NULL" if value is None else "'" + str(value).replace("'", "''") + "'"
