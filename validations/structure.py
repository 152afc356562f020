"""Structure: what a Table says of its columns, as polars conditions that split and a pandera schema that checks.

The conditions decide what is kept; pandera then checks the kept rows independently. If the two disagree, the run stops.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from catalog.table import Checks, Column, Table


@dataclass(frozen=True)
class Condition:
    """One thing that must hold in one column. ``holds`` is null or true where it does."""

    column: str
    check: str
    reason: str
    holds: pl.Expr


def conditions(table: Table) -> tuple[Condition, ...]:
    """All conditions of a table's columns."""
    return tuple(condition for column in table.all_columns for condition in _conditions(column))


def _conditions(column: Column) -> Iterator[Condition]:
    value = pl.col(column.name)
    unit = f" {column.unit}" if column.unit else ""
    if not column.nullable:
        yield Condition(column.name, "not_null", f"{column.name} is required", value.is_not_null())
    for name, bound, words in _stated(column.checks):
        reason = f"{column.name} must be {words}{unit if name in ('ge', 'gt', 'le', 'lt') else ''}"
        yield Condition(column.name, name, reason, _holds(value, column, name, bound))


def _stated(checks: Checks) -> Iterator[tuple[str, Any, str]]:
    words = {
        "ge": "at least {}",
        "gt": "more than {}",
        "le": "at most {}",
        "lt": "less than {}",
        "isin": "one of {}",
        "str_matches": "of the form {}",
        "shape": "of shape {}",
    }
    for name, text in words.items():
        bound = getattr(checks, name)
        if bound is not None:
            yield name, bound, text.format(bound)


def _holds(value: pl.Expr, column: Column, name: str, bound: Any) -> pl.Expr:
    if name == "shape":
        return value.is_null() | _has_shape(value, bound)
    return _everywhere(value, column, column.type.count("list<"), name, bound)


def _everywhere(value: pl.Expr, column: Column, depth: int, name: str, bound: Any) -> pl.Expr:
    """The check on a value, or on every element of a list that is ``depth`` deep."""
    if depth:
        return value.list.eval(_everywhere(pl.element(), column, depth - 1, name, bound)).list.all()
    tests: dict[str, Callable[[pl.Expr, Any], pl.Expr]] = {
        "ge": pl.Expr.ge,
        "gt": pl.Expr.gt,
        "le": pl.Expr.le,
        "lt": pl.Expr.lt,
        "isin": lambda value, bound: value.is_in(list(bound)),
        "str_matches": lambda value, bound: value.str.contains(f"^(?:{bound})$"),
    }
    holds = tests[name](value, bound)
    if name in ("ge", "gt") and ("double" in column.type or "float" in column.type):
        holds &= value.is_not_nan()  # to polars NaN is more than any number
    return holds


def _has_shape(value: pl.Expr, shape: tuple[int | None, ...]) -> pl.Expr:
    length, inner = shape[0], shape[1:]
    right = value.list.len() == length if length is not None else value.is_not_null()
    element = _has_shape(pl.element(), inner).fill_null(False) if inner else pl.element().is_not_null()
    return right & value.list.eval(element).list.all()


def ruled_columns(table: Table) -> tuple[str, ...]:
    """The columns whose values have a rule to keep; of the others only the type can be wrong."""
    return tuple(column.name for column in table.all_columns if not column.nullable or any(_stated(column.checks)))


def pandera_schema(table: Table, names: Collection[str] | None = None) -> Any:
    """The pandera (polars) schema of a table, or of some of its columns: dtypes, nullability and every check.

    It is strict about columns: there must be no others.
    """
    import pandera.polars as pandera

    empty = pl.from_arrow(table.arrow_schema.empty_table())
    assert isinstance(empty, pl.DataFrame)
    columns = {
        column.name: pandera.Column(
            empty.schema[column.name],
            nullable=column.nullable,
            checks=[_pandera_check(column, *stated[:2]) for stated in _stated(column.checks)],
        )
        for column in table.all_columns
        if names is None or column.name in names
    }
    return pandera.DataFrameSchema(columns, strict=True, name=table.name)


def _pandera_check(column: Column, name: str, bound: Any) -> Any:
    import pandera.polars as pandera

    if column.type.startswith("list<"):
        # pandera has no checks on elements of lists; null (no list) passes as it does in pandera's own checks.
        expression = _holds(pl.col(column.name), column, name, bound).fill_null(True)
        return pandera.Check(lambda data: data.lazyframe.select(expression), name=name)
    native: dict[str, Callable[[Any], Any]] = {
        "ge": pandera.Check.greater_than_or_equal_to,
        "gt": pandera.Check.greater_than,
        "le": pandera.Check.less_than_or_equal_to,
        "lt": pandera.Check.less_than,
        "isin": pandera.Check.isin,
        "str_matches": lambda pattern: pandera.Check.str_matches(f"^(?:{pattern})$"),
    }
    return native[name](list(bound) if name == "isin" else bound)
