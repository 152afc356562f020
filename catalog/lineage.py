"""Lineage: rewrites a SELECT so that each row of its answer carries the terms of exactly the rows it was made of.

Every table that the query reads has two columns more: ``_terms``, a BIT string with one bit for each dataset and
licence, and ``_until``, the day on which the row's embargo ends. A row of a join has the bits of both sides and the
later day; a group has those of all its rows; a union has each row's own. What cannot be followed so is refused: too
many terms are safe, too few never are, and the same rows must always give the same answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any, NoReturn

from catalog.errors import ContractError
from catalog.expressions import SCALAR_FUNCTIONS, parse_statements, unparse, walk

CARRIED = ("_terms", "_until")

_EXACT = frozenset(
    [
        "count",
        "count_star",
        "min",
        "max",
        "bool_and",
        "bool_or",
        "bit_and",
        "bit_or",
        "bit_xor",
        "median",
        "quantile_cont",
        "quantile_disc",
    ]
)
_INEXACT = frozenset(
    [
        "sum",
        "avg",
        "mean",
        "product",
        "fsum",
        "sumkahan",
        "kahan_sum",
        "favg",
        "stddev",
        "stddev_samp",
        "stddev_pop",
        "variance",
        "var_samp",
        "var_pop",
        "corr",
        "covar_samp",
        "covar_pop",
    ]
)
_ORDERED = frozenset(["list", "array_agg", "string_agg", "group_concat", "listagg"])
_SORTS = frozenset(["list_sort", "list_reverse_sort"])
AGGREGATES = _EXACT | _INEXACT | _ORDERED
"""Those that give the same for the same rows; in any order, but for _INEXACT's last digits and what _ORDERED lists."""

_VALUES = frozenset(
    ["COLUMN_REF", "CONSTANT", "CAST", "CASE", "LAMBDA", "TYPE", "OPERATOR", "COMPARISON", "CONJUNCTION", "BETWEEN"]
)
_SQL_VALUES = frozenset(
    [
        "current_date",
        "current_time",
        "current_timestamp",
        "localtime",
        "localtimestamp",
        "current_user",
        "session_user",
        "user",
        "current_role",
        "current_catalog",
        "current_schema",
    ]
)
_JOINS = frozenset(["INNER", "LEFT", "RIGHT", "FULL"])
_INSTEAD = {
    "DISTINCT_MODIFIER": ("DISTINCT", "write GROUP BY ALL"),
    "LIMIT_MODIFIER": ("LIMIT or OFFSET", "leave it out: say with WHERE or HAVING which rows are wanted"),
    "LIMIT_PERCENT_MODIFIER": ("LIMIT", "leave it out: say with WHERE or HAVING which rows are wanted"),
    "WINDOW": ("a window function", "compute it with GROUP BY in a WITH, and join that"),
    "SUBQUERY": ("a subquery within an expression", "name it in a WITH, and join it (with GROUP BY where it repeats)"),
    "STAR": ("COLUMNS(...), or * within an expression", "name the columns"),
    "COLLATE": ("COLLATE", "compare lower(...)"),
    "TABLE_FUNCTION": ("a table function", "read canonical tables only"),
    "EXPRESSION_LIST": ("VALUES", "write CASE WHEN ... in place of a table of constants"),
    "PIVOT": ("PIVOT", "write one aggregate with FILTER for each column"),
    "RECURSIVE_CTE_NODE": ("WITH RECURSIVE", "write the steps out"),
}


@lru_cache(maxsize=256)
def traced(sql: str) -> str:
    """The query with ``_terms`` and ``_until`` as its last columns, both null for a row that was made of no row.

    Raises:
        ContractError: it does not parse, or the terms of its rows cannot be traced; the remedy says what to write.
    """
    try:
        statements = parse_statements(sql)
    except ValueError as error:
        raise ContractError(f"the SQL is not understood: {error}", "write one SELECT") from None
    if len(statements) != 1:
        raise ContractError(f"{len(statements)} statements are given", "write one SELECT")
    names = {text.lower() for node in walk(statements[0]) for text in _texts(node)}
    for name in CARRIED:
        if name in names:
            _refuse(f"the name {name}, which is Winnow's own", "choose another name")
    for number, node in enumerate(walk(statements[0])):
        if node.get("type") == "SUBQUERY" and "subquery" in node and not node.get("alias"):
            node["alias"] = f"_from_{number}"
    _query(statements[0]["node"])
    return unparse(statements[0])


def varies_with_order(sql: str) -> bool:
    """Whether the last digits may vary with the order in which rows are added up."""
    nodes = (node for statement in parse_statements(sql) for node in walk(statement))
    return any(node.get("class") == "FUNCTION" and node["function_name"].lower() in _INEXACT for node in nodes)


def _refuse(what: str, instead: str) -> NoReturn:
    raise ContractError(f"the terms of the rows cannot be traced through {what}", instead)


def _refuse_kind(kind: str) -> NoReturn:
    what, instead = _INSTEAD.get(kind, (kind.lower().replace("_", " "), "write it with joins, GROUP BY and UNION ALL"))
    _refuse(what, instead)


def _texts(node: dict[str, Any]) -> Iterator[str]:
    for value in node.values():
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            yield from (item for item in value if isinstance(item, str))


# -- queries -----------------------------------------------------------------------------------------


def _query(node: dict[str, Any]) -> None:
    """Make one query node carry the terms, in place."""
    for modifier in node["modifiers"]:
        if modifier["type"] != "ORDER_MODIFIER":
            _refuse_kind(modifier["type"])
    for entry in node["cte_map"]["map"]:
        told = entry["value"]
        if told.get("aliases") or told.get("key_targets"):
            _refuse(f"WITH {entry['key']}(...)", "name the columns in its SELECT")
        _query(told.get("query_node") or told["query"]["node"])
    if node["type"] == "SELECT_NODE":
        _select(node)
    elif node["type"] == "SET_OPERATION_NODE":
        _union(node)
    else:
        _refuse_kind(node["type"])


def _union(node: dict[str, Any]) -> None:
    if not node["setop_type"].startswith("UNION") or not node["setop_all"]:
        name = node["setop_type"].replace("_", " ") + (" ALL" if node["setop_all"] else "")
        _refuse(name, "write UNION ALL, and GROUP BY ALL around it where rows repeat")
    _expressions(node["modifiers"])
    for side in node.get("children") or (node["left"], node["right"]):
        _query(side)


def _select(node: dict[str, Any]) -> None:
    if node["qualify"]:
        _refuse("QUALIFY", _INSTEAD["WINDOW"][1])
    if node["sample"]:
        _refuse("a sample", "leave it out")
    sources = list(_sources(node["from_table"]))
    twice = sorted({name for name in sources if [each.lower() for each in sources].count(name.lower()) > 1})
    if twice:
        _refuse(f"two sources called {twice[0]!r}", "give each an alias: FROM a.b AS x JOIN c.d AS y")
    functions = _expressions([node[part] for part in _PARTS], node["select_list"])
    grouped = (
        node["group_expressions"]
        or node["group_sets"]
        or node["aggregate_handling"] != "STANDARD_HANDLING"
        or node["having"]
        or functions & AGGREGATES
    )
    node["select_list"] = [_without_terms(item) for item in node["select_list"]]
    node["select_list"] += _carried(tuple(sources), bool(grouped))


_PARTS = ("select_list", "where_clause", "group_expressions", "having", "modifiers")


def _without_terms(item: dict[str, Any]) -> dict[str, Any]:
    """``*`` without the columns that are carried: they come last, and once."""
    if item["class"] != "STAR":
        return item
    if item.get("columns") or item.get("expr") or item.get("rename_list"):
        _refuse_kind("STAR")
    excluded = _expression("* EXCLUDE (_terms, _until)")[0]
    for key in ("exclude_list", "qualified_exclude_list"):
        if excluded.get(key):
            item = {**item, key: [*(item.get(key) or []), *excluded[key]]}
    return item


def _carried(sources: tuple[str, ...], grouped: bool) -> list[dict[str, Any]]:
    """The two columns of a SELECT, from those of its sources."""
    terms, until = "CAST(NULL AS BIT)", "CAST(NULL AS DATE)"
    for index, source in enumerate(sources):
        name = '"' + source.replace('"', '""') + '"'
        if index == 0:
            terms, until = f"{name}._terms", f"{name}._until"
        else:  # of the side of an outer join that has no row both are null
            terms = f"coalesce({terms} | {name}._terms, {terms}, {name}._terms)"
            until = f"greatest({until}, {name}._until)"
    if grouped:
        terms, until = f"bit_or({terms})", f"max({until})"
    return _expression(f"{terms} AS _terms, {until} AS _until")


@cache
def _parsed(text: str) -> dict[str, Any]:
    return parse_statements(f"SELECT {text}")[0]


def _expression(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _parsed(text)["node"]["select_list"]
    return found


# -- what a query reads ------------------------------------------------------------------------------


def _sources(node: dict[str, Any]) -> Iterator[str]:
    """The names of a FROM's tables and subqueries, each made to carry the terms."""
    kind = node["type"]
    if kind == "EMPTY":
        return
    if node.get("sample"):
        _refuse("TABLESAMPLE", "leave it out")
    if node.get("column_name_alias"):
        _refuse(f"{node.get('alias')}(...) in FROM", "name the columns in a SELECT")
    if kind == "JOIN":
        yield from _joined(node)
    elif kind == "BASE_TABLE":
        if node.get("at_clause"):
            _refuse("AT (...)", "leave it out: --at chooses the version")
        yield node["alias"] or node["table_name"]
    elif kind == "SUBQUERY":
        _query(node["subquery"]["node"])
        yield node["alias"]
    else:
        _refuse_kind(kind)


def _joined(node: dict[str, Any]) -> Iterator[str]:
    if node["ref_type"] not in ("REGULAR", "CROSS") or node.get("ranking_expression"):
        _refuse(f"a {node['ref_type'].lower()} join", "write JOIN ... USING (...) or JOIN ... ON ...")
    if node["join_type"] not in _JOINS:
        instead = "write JOIN, with GROUP BY where rows repeat" if node["join_type"] == "SEMI" else "write LEFT JOIN"
        _refuse(f"a {node['join_type'].lower()} join: its rows depend on rows that they do not show", instead)
    if node.get("alias"):
        _refuse(f"the alias {node['alias']!r} of a join", "give each table its own alias")
    if _expressions([node["condition"]]) & AGGREGATES:
        _refuse("an aggregate in a join's condition", "compute it in a WITH")
    yield from _sources(node["left"])
    yield from _sources(node["right"])


# -- expressions -------------------------------------------------------------------------------------


def _expressions(parts: Any, select_list: list[Any] | None = None) -> frozenset[str]:
    """Check every expression in some parts of a query; the functions that they call, in lower case."""
    stars = {id(item) for item in select_list or ()}
    called: set[str] = set()
    in_order: set[int] = set()
    for node in walk(parts):
        kind = node.get("class")
        if kind is None or (kind == "STAR" and id(node) in stars) or kind in _VALUES - {"COLUMN_REF"}:
            continue
        if kind == "FUNCTION":
            if node["function_name"].lower() in _SORTS:
                in_order.update(id(argument) for argument in _arguments(node)[:1])
            called.add(_function(node, id(node) in in_order))
        elif kind != "COLUMN_REF":
            _refuse_kind(kind)
        elif len(node["column_names"]) == 1 and node["column_names"][0].lower() in _SQL_VALUES:
            _refuse(f"{node['column_names'][0]}, which is another every time", "write the value out")
    return frozenset(called)


def _function(node: dict[str, Any], in_order: bool) -> str:
    name: str = node["function_name"].lower()
    if name not in SCALAR_FUNCTIONS | AGGREGATES:
        _refuse(f"the function {name!r}", f"the aggregates are {', '.join(sorted(AGGREGATES - {'count_star'}))}")
    if name in _ORDERED and not in_order and not _is_ordered(node):
        _refuse(f"{name} in no certain order", f"order by the value itself: {name}(x ORDER BY x)")
    return name


def _is_ordered(node: dict[str, Any]) -> bool:
    """Whether an aggregate's values come sorted by themselves, so that rows which tie are the same."""
    arguments = _arguments(node)
    orders = (node.get("order_bys") or {}).get("orders") or []
    if not arguments or not orders:
        return False
    return bool(_bare(arguments[0]) == _bare(orders[0]["expression"]))


def _arguments(node: dict[str, Any]) -> list[dict[str, Any]]:
    """A function's arguments, as DuckDB 1 and 2 give them."""
    return [each.get("expression", each) for each in node.get("arguments") or node.get("children") or []]


def _bare(node: Any) -> Any:
    """A syntax tree without where its parts stand in the text."""
    if isinstance(node, dict):
        return {key: _bare(value) for key, value in node.items() if not key.startswith("query_location")}
    return [_bare(item) for item in node] if isinstance(node, list) else node
