"""Structure: the conditions that split rows and the pandera schema that checks them say the same of a value."""

from __future__ import annotations

from typing import Any

import pandera.errors
import polars as pl
import pyarrow as pa
import pytest

import validations.gate
from assets.harmonise import HARMONISED_FIELDS
from catalog.errors import GateError
from catalog.table import Table
from validations.gate import Gate
from validations.structure import conditions, pandera_schema

RESERVED = {"_dataset": "lab/a", "_record": "r0", "_part": "all"}
CASES = [  # type, check, bound, a value that holds, one that does not
    ("double", "ge", 1.5, 1.5, 1.25),
    ("int64", "ge", -1, -1, -2),
    ("double", "gt", 1.5, 1.75, 1.5),
    ("int32", "gt", 0, 1, 0),
    ("double", "le", 1.5, 1.5, 1.75),
    ("int64", "le", 3, 3, 4),
    ("double", "lt", 1.5, 1.25, 1.5),
    ("int32", "lt", 0, -1, 0),
    ("string", "isin", ["a", "b"], "b", "ab"),
    ("int64", "isin", [1, 2], 2, 3),
    ("string", "str_matches", "a|b[0-9]", "b1", "ab1"),
    ("string", "str_matches", "a|b", "a", "ax"),
    ("list<double>", "ge", 0, [0.0, 1.0], [1.0, -1.0]),
    ("list<double>", "gt", 0, [0.5, 1.0], [1.0, 0.0]),
    ("list<int32>", "le", 2, [2, 1], [1, 3]),
    ("list<list<double>>", "lt", 2, [[1.0], [1.5]], [[1.0], [1.5, 2.0]]),
    ("list<string>", "isin", ["a", "b"], ["a", "b", "a"], ["a", "c"]),
    ("list<string>", "str_matches", "a|b", ["a", "b"], ["a", "bx"]),
    ("list<double>", "shape", [3], [1.0, 2.0, 3.0], [1.0, 2.0]),
    ("list<list<double>>", "shape", [None, 2], [[1.0, 2.0]] * 3, [[1.0, 2.0], [1.0]]),
    ("list<list<double>>", "shape", [2, 2], [[1.0, 2.0]] * 2, [[1.0, 2.0]] * 3),
    ("string", "not_null", None, "", None),
    ("list<string>", "not_null", None, [], None),
]
NAMED = [pytest.param(*case, id=f"{case[1]}-{case[0]}-{index}") for index, case in enumerate(CASES)]


def table(kind, check, bound):
    """One column ``x`` with one check, beside the reserved ones."""
    stated = {"nullable": False} if check == "not_null" else {"checks": {check: bound}}
    made = Table.model_validate(
        {
            "name": "lab.samples",
            "description": "Samples",
            "standard": "none",
            "key": ("_dataset", "_record"),
            "sort": ("_record",),
            "science": ("a", "b", "c"),
            "columns": [{"name": "x", "type": kind, "description": "x", **stated}],
        }
    )
    return made.model_copy(update={"science": ()})  # no science here: structure alone decides


def frame(of, value):
    found = pl.from_arrow(pa.Table.from_pylist([{**RESERVED, "x": value}], schema=of.arrow_schema))
    assert isinstance(found, pl.DataFrame)
    return found


def by_conditions(of, value):
    """The checks of ``x`` that the conditions find violated."""
    row = frame(of, value)
    found = {(each.column, each.check): row.select(each.holds).item() for each in conditions(of)}
    return {check for (column, check), holds in found.items() if column == "x" and holds is False}


def by_pandera(of, value):
    """The checks of ``x`` that pandera itself finds violated."""
    try:
        pandera_schema(of).validate(frame(of, value), lazy=True)
    except pandera.errors.SchemaErrors as error:
        cases = error.failure_cases
        assert set(cases["column"]) == {"x"}
        return {str(check).partition("(")[0].replace("not_nullable", "not_null") for check in cases["check"]}
    return set()


SHORT = {
    "greater_than_or_equal_to": "ge",
    "greater_than": "gt",
    "less_than_or_equal_to": "le",
    "less_than": "lt",
}


@pytest.mark.parametrize(("kind", "check", "bound", "good", "bad"), NAMED)
def test_conditions_and_pandera_judge_a_value_the_same_way(kind, check, bound, good, bad):
    of = table(kind, check, bound)
    assert by_conditions(of, good) == by_pandera(of, good) == set()
    assert by_conditions(of, bad) == {check}
    assert {SHORT.get(name, name) for name in by_pandera(of, bad)} == {check}


@pytest.mark.parametrize(
    ("kind", "check", "bound", "good", "bad"), [case for case in NAMED if "not_null" not in case.id]
)
def test_no_value_violates_nothing_but_being_required(kind, check, bound, good, bad):
    of = table(kind, check, bound)
    assert by_conditions(of, None) == by_pandera(of, None) == set()


@pytest.mark.parametrize("check", ["ge", "gt", "le", "lt"])
@pytest.mark.parametrize(
    ("kind", "wrap"), [("double", lambda x: x), ("float", lambda x: x), ("list<double>", lambda x: [x])]
)
def test_nan_keeps_no_bound(kind, wrap, check):
    assert by_conditions(table(kind, check, 1), wrap(float("nan"))) == {check}


def kept(of, value):
    """What the gate keeps of one record, and the checks for which it refuses it."""
    schema = pa.schema([*of.arrow_schema, *HARMONISED_FIELDS, pa.field("_raw", pa.struct([("x", pa.string())]))])
    row: dict[str, Any] = {**RESERVED, "x": value, "_source": 0, "_position": "line 1", "_raw": {"x": str(value)}}
    batch = pa.RecordBatch.from_pylist([row], schema=schema)
    refused: list[dict[str, Any]] = []
    gate = Gate("lab/a", of, lambda rows: refused.extend(rows.to_pylist()))
    rows = [row for each in gate.keep(pa.RecordBatchReader.from_batches(schema, [batch])) for row in each.to_pylist()]
    return [row["x"] for row in rows], [row["check"] for row in refused]


@pytest.mark.parametrize(("kind", "check", "bound", "good", "bad"), NAMED)
def test_a_gate_that_forgets_a_condition_is_stopped_by_pandera(kind, check, bound, good, bad, monkeypatch):
    of = table(kind, check, bound)
    assert kept(of, good) == ([good], [])
    assert kept(of, bad) == ([], [check])

    def forgetful(table):
        return tuple(each for each in conditions(table) if (each.column, each.check) != ("x", check))

    monkeypatch.setattr(validations.gate, "conditions", forgetful)
    assert kept(of, good) == ([good], [])
    with pytest.raises(GateError, match=r"pandera refuses a row of lab\.samples that the gate kept: column x, check"):
        kept(of, bad)
