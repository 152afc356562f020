"""SQL that people write: scalar expressions in contracts, and queries at the query door. Parsed, never run here.

DuckDB itself parses (``json_serialize_sql``), so what is checked is what would run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import duckdb

SCALAR_FUNCTIONS = frozenset(
    ["+", "-", "*", "/", "//", "%", "**", "^", "&", "|", "<<", ">>", "||", "~", "~~", "!~~", "~~*", "!~~*", "abs", "ceil", "ceiling", "floor", "round", "trunc", "sign", "sqrt", "cbrt", "exp", "ln", "log", "log2", "log10", "pow", "power", "degrees", "radians", "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "pi", "greatest", "least", "isnan", "isinf", "isfinite", "coalesce", "nullif", "ifnull", "if", "concat", "concat_ws", "contains", "starts_with", "ends_with", "prefix", "suffix", "length", "strlen", "lower", "lcase", "upper", "ucase", "trim", "ltrim", "rtrim", "replace", "translate", "left", "right", "substr", "substring", "lpad", "rpad", "repeat", "reverse", "string_split", "split", "split_part", "str_split", "string_split_regex", "regexp_split_to_array", "regexp_matches", "regexp_full_match", "regexp_replace", "regexp_extract", "regexp_extract_all", "strpos", "instr", "position", "ascii", "chr", "format", "printf", "md5", "sha256", "hash", "url_decode", "url_encode", "strip_accents", "nfc_normalize", "bin", "hex", "unhex", "to_base64", "from_base64", "list_value", "list_pack", "array_value", "list_extract", "list_element", "array_extract", "list_transform", "array_transform", "apply", "list_apply", "list_filter", "array_filter", "filter", "list_contains", "list_has", "array_contains", "list_position", "list_distinct", "list_unique", "list_sort", "list_reverse_sort", "list_reverse", "list_concat", "list_cat", "list_append", "list_prepend", "list_slice", "array_slice", "list_aggregate", "list_aggr", "list_sum", "list_avg", "list_min", "list_max", "list_count", "list_any_value", "list_first", "list_last", "list_product", "list_median", "list_stddev_pop", "flatten", "len", "cardinality", "array_length", "list_zip", "list_resize", "array_to_string", "list_string_agg", "range", "generate_series", "list_reduce", "reduce", "list_bool_and", "list_bool_or", "struct_pack", "row", "struct_extract", "map", "map_from_entries", "map_extract", "map_keys", "map_values", "element_at", "json_extract", "json_extract_string", "->", "->>", "json_array_length", "json_type", "date_part", "datepart", "date_trunc", "datetrunc", "date_diff", "datediff", "date_add", "date_sub", "year", "month", "day", "hour", "minute", "second", "epoch", "epoch_ms", "epoch_us", "make_date", "make_timestamp", "strptime", "try_strptime", "strftime", "to_days", "to_months", "to_years", "last_day", "isodow", "dayofyear"]
)
"""The functions that a contract's expression may call: pure, scalar, without access to anything outside the row."""

_EXPRESSION_CLASSES = frozenset(
    ["COLUMN_REF", "CONSTANT", "FUNCTION", "OPERATOR", "COMPARISON", "CONJUNCTION", "CASE", "CAST", "BETWEEN", "LAMBDA", "TYPE"]
)  # fmt: skip


@dataclass(frozen=True)
class Query:
    """What a parsed query refers to: tables by their dotted names, table functions, scalar functions."""

    tables: frozenset[str]
    table_functions: frozenset[str]
    functions: frozenset[str]


@cache
def _parser() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("SET enable_external_access=false")
    connection.execute("SET lock_configuration=true")
    return connection


def _parse(sql: str) -> list[dict[str, Any]]:
    answer = _parser().cursor().execute("SELECT json_serialize_sql(?)", [sql]).fetchone()
    tree = json.loads(answer[0]) if answer else {}
    if tree.get("error"):
        raise ValueError(str(tree.get("error_message", "it does not parse")).strip())
    statements: list[dict[str, Any]] = tree["statements"]
    return statements


def _walk(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from _walk(value)
    elif isinstance(node, list):
        for item in node:
            yield from _walk(item)


def expression_columns(text: str) -> frozenset[str]:
    """The source columns that a contract's scalar expression reads.

    Raises:
        ValueError: it does not parse, or is not a scalar expression of allowed functions.
    """
    statements = _parse(f"SELECT {text}")
    if len(statements) != 1:
        raise ValueError("it is more than one expression")
    node = statements[0]["node"]
    plain = (
        node.get("type") == "SELECT_NODE" and node["from_table"]["type"] == "EMPTY" and len(node["select_list"]) == 1
    )
    clauses = ("where_clause", "having", "qualify", "sample", "group_expressions", "modifiers")
    if not plain or any(node.get(clause) for clause in clauses) or node["cte_map"]["map"]:
        raise ValueError("only one scalar expression over the source's columns is allowed, no FROM, WHERE or list")
    columns: set[str] = set()
    parameters: set[str] = set()
    for inner in _walk(node["select_list"][0]):
        _check_node(inner, columns, parameters)
    return frozenset(columns - parameters)


def _check_node(node: dict[str, Any], columns: set[str], parameters: set[str]) -> None:
    kind = node.get("class")
    if kind is None:
        return
    if kind not in _EXPRESSION_CLASSES:
        raise ValueError(f"{kind.lower().replace('_', ' ')} is not allowed in a mapping's expression")
    if kind == "FUNCTION" and node["function_name"].lower() not in SCALAR_FUNCTIONS:
        raise ValueError(f"function {node['function_name']!r} is not allowed in a mapping's expression")
    if kind == "COLUMN_REF":
        columns.add(node["column_names"][0])
    if kind == "LAMBDA":
        parameters.update(
            inner["column_names"][0] for inner in _walk(node["lhs"]) if inner.get("class") == "COLUMN_REF"
        )


def parse_query(sql: str) -> Query:
    """What one SELECT statement refers to.

    Raises:
        ValueError: it does not parse, or is not exactly one SELECT.
    """
    statements = _parse(sql)
    if len(statements) != 1:
        raise ValueError(f"{len(statements)} statements were given; one SELECT is answered at a time")
    tables: set[str] = set()
    table_functions: set[str] = set()
    functions: set[str] = set()
    inside_table_function: set[int] = set()
    cte_names: set[str] = set()
    for node in _walk(statements[0]):
        if node.get("type") == "BASE_TABLE":
            parts = (node.get("catalog_name"), node.get("schema_name"), node["table_name"])
            tables.add(".".join(part for part in parts if part))
        elif node.get("type") == "TABLE_FUNCTION":
            table_functions.add(node["function"]["function_name"].lower())
            inside_table_function.add(id(node["function"]))
        elif node.get("class") == "FUNCTION" and id(node) not in inside_table_function:
            functions.add(node["function_name"].lower())
        if "cte_map" in node:
            cte_names.update(entry["key"] for entry in node["cte_map"]["map"])
    return Query(frozenset(tables - cte_names), frozenset(table_functions), frozenset(functions))
