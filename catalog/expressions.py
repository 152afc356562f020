"""SQL that people write: scalar expressions in contracts, and queries at the query door. Parsed, never run here.

DuckDB itself parses (``json_serialize_sql``), so what is checked is what would run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import yaml

FUNCTION_GROUPS: dict[str, list[str]] = yaml.safe_load(
    (Path(__file__).parent / "scalar_functions.yaml").read_text(encoding="utf-8")
)
SCALAR_FUNCTIONS = frozenset(name for group in FUNCTION_GROUPS.values() for name in group)
"""The functions that a contract's expression may call: pure, scalar, without access to anything outside the row."""

_QUOTED = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"")
_VALUES = frozenset(["COLUMN_REF", "CONSTANT", "CAST", "CASE", "LAMBDA", "TYPE"])
_OPERATIONS = frozenset(["FUNCTION", "OPERATOR", "COMPARISON", "CONJUNCTION", "BETWEEN"])


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


def parse_statements(sql: str) -> list[dict[str, Any]]:
    """The syntax trees of some SELECT statements, as DuckDB serialises them.

    Raises:
        ValueError: it does not parse, or is no SELECT.
    """
    answer = _parser().cursor().execute("SELECT json_serialize_sql(?)", [sql]).fetchone()
    tree = json.loads(answer[0]) if answer else {}
    if tree.get("error"):
        if tree.get("error_type") == "not implemented":
            raise ValueError("only SELECT is answered here: nothing is written, set, attached or loaded")
        raise ValueError(str(tree.get("error_message", "it does not parse")).strip())
    statements: list[dict[str, Any]] = tree["statements"]
    return statements


def unparse(statement: dict[str, Any]) -> str:
    """The SQL of one syntax tree that ``parse_statements`` gave."""
    tree = json.dumps({"error": False, "statements": [statement]})
    answer = _parser().cursor().execute("SELECT json_deserialize_sql(?)", [tree]).fetchone()
    assert answer is not None
    return str(answer[0])


def walk(node: Any) -> Iterator[dict[str, Any]]:
    """Every object of a syntax tree, outermost first."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from walk(value)
    elif isinstance(node, list):
        for item in node:
            yield from walk(item)


def expression_columns(text: str) -> frozenset[str]:
    """The source columns that a contract's scalar expression reads.

    Raises:
        ValueError: it does not parse, or is not a scalar expression of allowed functions.
    """
    if "->" in _QUOTED.sub("", text).replace("->>", ""):
        raise ValueError("`->` differs between versions of DuckDB: write `lambda x: ...`, or json_extract(a, b)")
    statements = parse_statements(f"SELECT {text}")
    if len(statements) != 1:
        raise ValueError("it is more than one expression")
    node = statements[0]["node"]
    plain = (
        node.get("type") == "SELECT_NODE" and node["from_table"]["type"] == "EMPTY" and len(node["select_list"]) == 1
    )
    clauses = ("where_clause", "having", "qualify", "sample", "group_expressions", "modifiers")
    if not plain or any(node.get(clause) for clause in clauses) or node["cte_map"]["map"]:
        raise ValueError("only one scalar expression over the source's columns is allowed, no FROM, WHERE or list")
    for inner in walk(node["select_list"][0]):
        _check_node(inner)
    return frozenset(_columns(node["select_list"][0], frozenset()))


def _check_node(node: dict[str, Any]) -> None:
    kind = node.get("class")
    if kind is None:
        return
    if kind not in _VALUES | _OPERATIONS:
        raise ValueError(f"{kind.lower().replace('_', ' ')} is not allowed in a mapping's expression")
    if kind == "FUNCTION" and node["function_name"].lower() not in SCALAR_FUNCTIONS:
        raise ValueError(f"function {node['function_name']!r} is not allowed in a mapping's expression")


def _columns(node: Any, parameters: frozenset[str]) -> Iterator[str]:
    """The columns below a node, without the parameters of the lambdas around them."""
    if isinstance(node, list):
        for item in node:
            yield from _columns(item, parameters)
    elif isinstance(node, dict):
        if node.get("class") == "COLUMN_REF":
            name = node["column_names"][0]
            if name.lower() not in parameters:
                yield name
            return
        if node.get("class") == "LAMBDA":
            parameters |= {name.lower() for name in _columns(node["lhs"], frozenset())}
        for value in node.values():
            yield from _columns(value, parameters)


def parse_query(sql: str) -> Query:
    """What one SELECT statement refers to, in lower case.

    Raises:
        ValueError: it does not parse, is not exactly one SELECT, or hides what it reads.
    """
    statements = parse_statements(sql)
    if len(statements) != 1:
        raise ValueError(f"{len(statements)} statements were given; one SELECT is answered at a time")
    tables: set[str] = set()
    table_functions: set[str] = set()
    functions: set[str] = set()
    inside_table_function: set[int] = set()
    cte_names: set[str] = set()
    for node in walk(statements[0]):
        kind = node.get("type")
        if kind == "BASE_TABLE":
            parts = (node.get("catalog_name"), node.get("schema_name"), node["table_name"])
            tables.add(".".join(part for part in parts if part).lower())
        elif kind == "SHOW_REF" and node.get("query") is None:
            raise ValueError("SHOW is not answered here; `FROM catalog.tables` lists the tables, DESCRIBE shows one")
        elif kind == "TABLE_FUNCTION":
            table_functions.add(node["function"]["function_name"].lower())
            inside_table_function.add(id(node["function"]))
        elif node.get("class") == "FUNCTION" and id(node) not in inside_table_function:
            functions.add(node["function_name"].lower())
        if "cte_map" in node:
            cte_names.update(entry["key"].lower() for entry in node["cte_map"]["map"])
    # A name in one WITH must not excuse a file of the same name outside of it, and no file has a plain word's name.
    odd = sorted(name for name in cte_names if not re.fullmatch(r"\w+", name))
    if odd:
        raise ValueError(f"WITH {odd[0]!r}: a name after WITH may have letters, digits and underscores only")
    return Query(frozenset(tables - cte_names), frozenset(table_functions), frozenset(functions))
