"""SQL that people write: scalar expressions in contracts, and queries at the query door. Parsed, never run here.

DuckDB itself parses (``json_serialize_sql``), so what is checked is what would run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import duckdb
import yaml


def _groups(name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = yaml.safe_load((Path(__file__).parent / name).read_text(encoding="utf-8"))
    return found


FUNCTION_GROUPS = _groups("scalar_functions.yaml")
SCALAR_FUNCTIONS = frozenset(name for group in FUNCTION_GROUPS.values() for name in group)
"""The functions that a contract's expression may call: pure, scalar, without access to anything outside the row."""
QUERY_GROUPS = _groups("query_functions.yaml")
"""The functions that a query may call beside those and a derived table's aggregates."""

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
    try:
        tree = json.loads(answer[0]) if answer else {}
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
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


@lru_cache(maxsize=4096)
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
    for node, with_names in _scoped(statements[0]):
        kind = node.get("type")
        if kind == "BASE_TABLE":
            name = _table(node)
            # DuckDB looks beyond the names of WITH for what has a schema, or a version.
            if name not in with_names or node.get("at_clause"):
                tables.add(name)
        elif kind == "SHOW_REF" and node.get("query") is None:
            raise ValueError("SHOW is not answered here; `FROM catalog.tables` lists the tables, DESCRIBE shows one")
        elif kind == "TABLE_FUNCTION":
            table_functions.add(_folded(node["function"]["function_name"]))
            inside_table_function.add(id(node["function"]))
        elif node.get("class") in ("FUNCTION", "WINDOW") and id(node) not in inside_table_function:
            functions.add(_folded(node["function_name"]))
    return Query(frozenset(tables), frozenset(table_functions), frozenset(functions))


def _scoped(statement: dict[str, Any]) -> Iterator[tuple[dict[str, Any], frozenset[str]]]:
    """Every object of a syntax tree, outermost first, with the names of WITH that mean no table there.

    A name holds in its own query and below. What stands after WITH sees the names before it, and not its own: there,
    DuckDB reads a table of that name. Only the second half of a recursive query sees its own.
    """
    waiting: list[tuple[Any, frozenset[str]]] = [(statement, frozenset())]
    while waiting:
        node, names = waiting.pop()
        if isinstance(node, list):
            waiting += [(item, names) for item in node]
        elif isinstance(node, dict):
            yield node, names
            for entry in (node.get("cte_map") or {}).get("map", ()):
                waiting.append((entry["value"], names))
                names |= {_with_name(entry["key"])}
            is_recursive = node.get("type") == "RECURSIVE_CTE_NODE"
            for key, child in node.items():
                own = {_with_name(node["cte_name"])} if is_recursive and key == "right" else frozenset()
                if key != "cte_map":
                    waiting.append((child, names | own))


def _with_name(name: str) -> str:
    # No file has a plain word's name.
    if not re.fullmatch(r"\w+", name):
        raise ValueError(f"WITH {name!r}: a name after WITH may have letters, digits and underscores only")
    return _folded(name)


def _table(node: dict[str, Any]) -> str:
    parts = (node.get("catalog_name"), node.get("schema_name"), node["table_name"])
    return _folded(".".join(part for part in parts if part))


def _folded(name: str) -> str:
    """A name as DuckDB compares it: only ASCII letters mean the same in both cases."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in name)
