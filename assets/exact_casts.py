"""Casts in SQL that fail where DuckDB's own would round, drop or wrap: a value that does not fit must be told."""

from __future__ import annotations

import pyarrow as pa

from catalog.sql_types import sql_type


def exact(expression: str, kind: pa.DataType, depth: int = 0) -> str:
    """A cast that fails where DuckDB's would round, take 0x1F for a number, drop an offset or leave the calendar."""
    cast = f"CAST({expression} AS {sql_type(kind)})"
    text = f"CAST({expression} AS VARCHAR)"
    if pa.types.is_integer(kind):
        number = f"CAST({expression} AS DOUBLE)"
        digits = rf"regexp_full_match({text}, '\s*[+-]?[0-9]+([.]0*)?([eE][+]?[0-9]+)?\s*')"
        whole = (
            f"CASE WHEN typeof({expression}) IN ('DOUBLE', 'FLOAT') THEN {number} = trunc({number}) ELSE {digits} END"
        )
        return f"CASE WHEN {whole} THEN {cast} ELSE CAST('no integer: ' || {text} AS {sql_type(kind)}) END"
    if pa.types.is_temporal(kind):
        # By way of an instant, so that 23:30 in New York is the next day in UTC, by which embargoes lift.
        moment = f"CAST({expression} AS TIMESTAMPTZ)"
        last = "9999-12-31 23:59:59.999999+00"
        known = f"{moment} BETWEEN TIMESTAMPTZ '0001-01-01 00:00:00+00' AND TIMESTAMPTZ '{last}'"
        # The words come first: DuckDB 1.5 passes over what follows a date.
        beyond = f"CAST('beyond the calendar: ' || {text} AS {sql_type(kind)})"
        return f"CASE WHEN {known} THEN CAST({moment} AS {sql_type(kind)}) ELSE {beyond} END"
    if pa.types.is_nested(kind) and (texts := _texts(kind)) != kind:
        return _exact_parts(f"CAST({expression} AS {sql_type(texts)})", kind, depth)
    return cast


def _exact_parts(value: str, kind: pa.DataType, depth: int) -> str:
    """The same for each element of a list and each field of a struct, whose parts come as text."""
    if pa.types.is_list(kind):
        return f"list_transform({value}, lambda e{depth}: {exact(f'e{depth}', kind.value_type, depth + 1)})"
    parts = ", ".join(
        f'"{field.name}" := {exact(f"""({value})."{field.name}" """, field.type, depth)}' for field in kind
    )
    return f"CASE WHEN {value} IS NOT NULL THEN struct_pack({parts}) END"


def _texts(kind: pa.DataType) -> pa.DataType:
    """The type with text in place of integers, dates and times, whose casts are not exact by themselves."""
    if pa.types.is_list(kind):
        return pa.list_(_texts(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_texts(field.type)) for field in kind])
    return pa.string() if pa.types.is_integer(kind) or pa.types.is_temporal(kind) else kind
