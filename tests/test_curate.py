"""The laws on the way from records to a version: nothing lost, nothing guessed, the same inputs the same version."""

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import assets.harmonise
import assets.mapping
from assets.harmonise import harmonise
from assets.readers import SOURCE_FIELDS
from catalog.dataset import Dataset, load_datasets, read_dataset
from catalog.errors import GateError, HarmoniseError, SourceError, UnknownVersionError, VersionConflictError
from catalog.query import Door
from catalog.records import GateReport, TableReport, Version
from catalog.table import Checks, Table, load_table
from dagster_project import curate, staging
from dagster_project.settings import Settings
from dagster_project.vacuum import vacuum
from validations.expectations import Expectation, judge, row_checks
from validations.gate import Gate
from validations.quarantine import FLUSH_CHARACTERS, RAW_LIMIT
from validations.science import _CHECKS, science_checks

# -- records through harmonise and the gate, beside an oracle in plain Python ---------------------------

SOURCE = pa.schema([*SOURCE_FIELDS, pa.field("parts", pa.list_(pa.string())), pa.field("part", pa.string())])
COLUMNS = [
    {"name": "number", "type": "int64", "nullable": False, "checks": {"ge": 0}},
    {"name": "text", "type": "string"},
]


@dataclass
class Answer:
    """What came of some records: the kept rows, the quarantined records, and the account."""

    rows: list[dict[str, Any]]
    refused: list[dict[str, Any]]
    report: TableReport


@pytest.fixture(scope="module", autouse=True)
def science() -> Iterator[None]:
    """Three checks of the laboratory's own: one that means something, two that have nothing to say."""

    def not_thirteen(frame: pl.DataFrame) -> pl.Series:
        """Thirteen is bad luck."""
        return frame["number"] != 13 if "number" in frame.columns else pl.repeat(True, frame.height, eager=True)

    def silent(frame: pl.DataFrame) -> pl.Series:
        """Nothing to check."""
        return pl.Series([None] * frame.height, dtype=pl.Boolean)

    science_checks()  # all modules register before the patch, which takes back what is new
    with pytest.MonkeyPatch.context() as patch:
        for name, check in {"lab_luck": not_thirteen, "lab_first": silent, "lab_second": silent}.items():
            patch.setitem(_CHECKS, name, check)
        yield


def table(columns: list[dict[str, Any]] = COLUMNS, **more: Any) -> Table:
    described = [{"description": column["name"], **column} for column in columns]
    fields = {
        "name": "lab.samples",
        "description": "Samples",
        "standard": "none",
        "key": ("_dataset", "_record", *(name for name in [described[0]["name"]] if described[0]["type"] == "int64")),
        "sort": (described[0]["name"],),
        "science": ("lab_luck", "lab_first", "lab_second"),
    }
    return Table.model_validate({**fields, "columns": described, **more})


def dataset(columns: dict[str, Any], drop: dict[str, str] | None = None, **terms: Any) -> Dataset:
    said = {"licence": "CC0-1.0", "evidence": [{"file": "f", "read_on": "2026-01-01", "quote": "CC0"}], **terms}
    made = Dataset.model_validate(
        {
            "title": "Laboratory",
            "table": "lab.samples",
            "columns": columns,
            "drop": drop,
            "source": {"uri": "lab.csv", "format": "vcf"},
            "sample": "lab.csv",
            "terms": {"attribution": "a", **said},
            "owner": "lab",
        }
    )
    made._name = "lab/notebook"
    return made


def records(values: list[dict[str, Any]], schema: pa.Schema = SOURCE, first: int = 0) -> pa.RecordBatch:
    numbered = [
        {"_source": first + i, "_position": f"lab.csv line {first + i}", "_record": f"r{first + i}", **value}
        for i, value in enumerate(values)
    ]
    return pa.RecordBatch.from_pylist(numbered, schema=schema)


def passed(
    batches: list[pa.RecordBatch], contract: Dataset, of: Table, contested: frozenset[str] = frozenset()
) -> Answer:
    refused: list[dict[str, Any]] = []
    gate = Gate(contract.name, of, lambda rows: refused.extend(rows.to_pylist()), contested)
    source = pa.RecordBatchReader.from_batches(batches[0].schema, iter(batches))
    kept = list(gate.keep(harmonise(source, contract, of)))
    rows = [row for batch in kept for row in batch.to_pylist()]
    return Answer(rows, refused, gate.report(sum(batch.num_rows for batch in batches)))


def one_column(kind: str, values: list[Any], mapping: Any, source: pa.DataType, **column: Any) -> Answer:
    """One source column ``x`` through one mapping into one canonical column ``y``."""
    of = table([{"name": "y", "type": kind, **column}])
    schema = pa.schema([*SOURCE_FIELDS, pa.field("x", source)])
    return passed([records([{"x": value} for value in values], schema)], dataset({"y": mapping}), of)


def cast_of(kind: str, values: list[Any], source: pa.DataType, mapping: Any = "x", **column: Any) -> list[Any]:
    """What becomes of each value: the canonical one, or the name of the check that refuses it."""
    answer = one_column(kind, values, mapping, source, **column)
    found: dict[int, Any] = {int(row["_record"][1:]): row["y"] for row in answer.rows}
    found |= {row["source"]: row["check"] for row in answer.refused}
    return [found[number] for number in range(len(values))]


def fan_out(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A row for each of a record's parts (one without a part, if there is none)."""
    rows = []
    for row in batch.to_pylist():
        rows += [{**row, "part": part} for part in row["parts"] or [None]]
    return pa.RecordBatch.from_pylist(rows, schema=batch.schema)


PARTS = st.lists(st.sampled_from(["1", "2", "7", "13", "-4", "many", "leave", "", "99999999999999999999"]), max_size=4)
RECORDS = st.lists(
    st.one_of(PARTS.map(lambda parts: {"parts": parts}), st.just({"_error": "line 3 has no end", "_raw": "???"})),
    min_size=1,
    max_size=12,
)


def oracle(record: dict[str, Any]) -> tuple[str, list[int]]:
    """``kept``, ``quarantined`` or ``dropped``, and the numbers of the kept rows."""
    if "_error" in record:
        return "quarantined", []
    held = [part for part in record["parts"] or [None] if part != "leave"]
    if any(part not in ("1", "2", "7") for part in held):
        return "quarantined", []
    return ("kept" if held else "dropped"), [int(part) for part in held if part is not None]


@settings(max_examples=60, deadline=None)
@given(st.lists(RECORDS, min_size=1, max_size=4))
def test_every_record_is_kept_or_quarantined_whole_or_dropped_by_name(batches: list[list[dict[str, Any]]]) -> None:
    contract = dataset({"number": "CAST(part AS BIGINT)", "text": "part"}, {"asked to leave": "part = 'leave'"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assets.harmonise, "transform", lambda _name, _options: fan_out)
        starts = [sum(map(len, batches[:i])) for i in range(len(batches))]
        read = [records(batch, first=start) for batch, start in zip(batches, starts, strict=True)]
        answer = passed(read, contract, table(transform="fan_out"))
    expected = [oracle(record) for batch in batches for record in batch]
    counted = Counter(verdict for verdict, _ in expected)
    report = answer.report
    assert (report.read, report.kept, report.quarantined) == (len(expected), counted["kept"], counted["quarantined"])
    assert report.dropped == ({"asked to leave": counted["dropped"]} if counted["dropped"] else {})
    assert report.read == report.kept + report.quarantined + sum(report.dropped.values())
    kept = [(f"r{i}", number) for i, (_, numbers) in enumerate(expected) for number in numbers]
    assert [(row["_record"], row["number"]) for row in answer.rows] == kept
    assert report.rows == len(kept)
    refused = {i for i, (verdict, _) in enumerate(expected) if verdict == "quarantined"}
    assert {row["source"] for row in answer.refused} == refused
    assert all(row["reason"] and row["position"] and row["raw"] for row in answer.refused)


def test_every_failure_of_a_record_is_told_not_only_the_first() -> None:
    of = table([*COLUMNS, {"name": "day", "type": "date"}])
    schema = pa.schema([*SOURCE_FIELDS, pa.field("a", pa.string()), pa.field("b", pa.string())])
    answer = passed(
        [records([{"a": "-5", "b": "soon"}, {"a": "x", "b": "never"}, {"a": "-6", "b": "2026-01-01"}], schema)],
        dataset({"number": "a", "day": "b"}),
        of,
    )
    told = {(row["source"], row["column"], row["check"], row["value"]) for row in answer.refused}
    # What is not readable as the table's type is not judged further: its other checks would judge a null.
    assert told == {
        (0, "day", "cast", "soon"),
        (1, "number", "cast", "x"),
        (1, "day", "cast", "never"),
        (2, "number", "ge", "-6"),
    }


@pytest.mark.parametrize("loses", ["a record", "a whole batch"])
def test_a_transform_that_loses_a_record_is_caught(monkeypatch: pytest.MonkeyPatch, loses: str) -> None:
    start = 1 if loses == "a record" else 3
    monkeypatch.setattr(assets.harmonise, "transform", lambda _name, _options: lambda batch: batch.slice(start))
    with pytest.raises(GateError, match=f"3 records were read for lab.samples, but {3 - start} are accounted for"):
        passed([records([{"part": "1"}] * 3)], dataset({"number": "part"}), table(transform="loses"))


def test_a_record_that_could_not_be_read_is_never_dropped_by_a_rule() -> None:
    contract = dataset({"number": "coalesce(part, '1')"}, {"nothing there": "part IS NULL"})
    answer = passed([records([{"_error": "broken", "_raw": "?!"}, {"part": None}, {"part": "2"}])], contract, table())
    assert (answer.report.kept, answer.report.quarantined) == (1, 1)
    assert answer.report.dropped == {"nothing there": 1}
    assert [(row["source"], row["check"], row["raw"]) for row in answer.refused] == [(0, "readable", "?!")]


def test_the_first_rule_that_holds_names_the_drop_and_one_that_fails_drops_nothing() -> None:
    rules = {"odd": "CAST(part AS BIGINT) % 2 = 1", "small": "CAST(part AS BIGINT) < 3"}
    answer = passed([records([{"part": p} for p in ("1", "2", "4", "x")])], dataset({"number": "part"}, rules), table())
    assert answer.report.dropped == {"odd": 1, "small": 1}
    assert [row["number"] for row in answer.rows] == [4]
    assert [row["value"] for row in answer.refused] == ["x"]


def test_of_rows_that_share_a_key_the_first_sound_one_is_kept() -> None:
    of = table(key=("number",))
    contract = dataset({"number": "part", "text": "parts[1]"})
    batch = records([{"part": "13"}, {"part": "7", "parts": ["a"]}, {"part": "7", "parts": ["b"]}, {"part": "2"}])
    answer = passed([batch], contract, of, contested=frozenset(['{"number":7}', '{"number":13}']))
    assert [(row["_record"], row["number"]) for row in answer.rows] == [("r1", 7), ("r3", 2)]
    assert [(row["record"], row["check"]) for row in answer.refused] == [("r0", "lab_luck"), ("r2", "unique_key")]


def test_a_refused_row_does_not_take_its_key_from_a_sound_one() -> None:
    columns = [*COLUMNS, {"name": "share", "type": "double", "checks": {"le": 1.0}}]
    contract = dataset({"number": "part", "share": "CAST(parts[1] AS DOUBLE)"})
    batch = records([{"part": "7", "parts": [share]} for share in ("2.0", "0.5", "0.6")])
    answer = passed([batch], contract, table(columns, key=("number",)), contested=frozenset(['{"number":7}']))
    assert [row["_record"] for row in answer.rows] == ["r1"]
    assert [(row["record"], row["check"]) for row in answer.refused] == [("r0", "le"), ("r2", "unique_key")]


# -- values ---------------------------------------------------------------------------------------------


def test_a_value_that_does_not_fit_names_column_value_and_reason() -> None:
    answer = one_column("int32", ["12", "12.5 m", None, "99999999999"], "x", pa.string())
    assert [row["y"] for row in answer.rows] == [12, None]
    assert [(row["column"], row["check"], row["value"]) for row in answer.refused] == [
        ("y", "cast", "12.5 m"),
        ("y", "cast", "99999999999"),
    ]
    assert all("'x'" in row["reason"] and "y (int32)" in row["reason"] for row in answer.refused)
    assert answer.refused[0]["position"] == "lab.csv line 1"
    assert "12.5 m" in answer.refused[0]["raw"]


def test_an_expression_that_fails_is_told_from_one_that_is_null() -> None:
    schema = pa.schema([*SOURCE_FIELDS, pa.field("a", pa.string()), pa.field("b", pa.string())])
    values = [("1", "2"), ("x", "2"), (None, "2"), ("1", None), ("x", None), ("7", "0")]
    of = table([{"name": "y", "type": "int64"}])
    contract = dataset({"y": "CAST(a AS BIGINT) + CAST(b AS BIGINT)"})
    answer = passed([records([{"a": a, "b": b} for a, b in values], schema)], contract, of)
    assert [(row["_record"], row["y"]) for row in answer.rows] == [("r0", 3), ("r2", None), ("r3", None), ("r5", 7)]
    assert [row["source"] for row in answer.refused] == [1, 4]
    assert "'a': 'x'" in answer.refused[0]["value"]


def test_a_cast_that_two_columns_share_fails_in_both_and_ends_no_run() -> None:
    of = table([{"name": "y", "type": "int64"}, {"name": "z", "type": "int64"}])
    contract = dataset({"y": "CAST(part AS BIGINT) + 1", "z": "CAST(part AS BIGINT) + 2"})
    answer = passed([records([{"part": "1"}, {"part": "x"}])], contract, of)
    assert [(row["y"], row["z"]) for row in answer.rows] == [(2, 3)]
    assert [(row["column"], row["value"]) for row in answer.refused] == [("y", "x"), ("z", "x")]


def test_an_expression_over_lists_fails_record_by_record() -> None:
    mapping = "list_transform(string_split(x, ','), lambda v: CAST(v AS DOUBLE))"
    answer = one_column("list<double>", ["1,2.5", "3,oops", None, "4"], mapping, pa.string())
    assert [row["y"] for row in answer.rows] == [[1.0, 2.5], None, [4.0]]
    assert [row["value"] for row in answer.refused] == ["3,oops"]


def nested(kind: str, depth: int) -> tuple[str, pa.DataType]:
    source = pa.float64()
    for _ in range(depth):
        kind, source = f"list<{kind}>", pa.list_(source)
    return kind, source


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-200, 5000), max_size=6), st.integers(0, 2))
def test_units_are_converted_with_their_offset_at_every_depth(values: list[float], depth: int) -> None:
    kind, source = nested("double", depth)
    wrapped: list[Any] = {0: [*values, None], 1: [values, [], None], 2: [[values, []], [], None]}[depth]
    answer = one_column(kind, wrapped, {"from": "x", "unit": "degC"}, source, unit="kelvin")

    def kelvin(value: Any) -> Any:
        if isinstance(value, list):
            return [kelvin(inner) for inner in value]
        return None if value is None else pytest.approx(value + 273.15)

    assert [row["y"] for row in answer.rows] == kelvin(wrapped)


def test_a_unit_is_converted_from_text_and_in_single_precision() -> None:
    assert [
        row["y"] for row in one_column("double", ["2.5"], {"from": "x", "unit": "kPa"}, pa.string(), unit="Pa").rows
    ] == [2500.0]
    assert one_column("float", [1.5], {"from": "x", "unit": "mm"}, pa.float64(), unit="m").rows[0][
        "y"
    ] == pytest.approx(0.0015)


def test_a_value_that_the_contract_does_not_list_is_refused() -> None:
    mapping = {"from": "x", "values": {"M": "male", "F": "female", "it's": "other"}}
    answer = one_column("string", ["M", "F", None, "U", "it's", "m"], mapping, pa.string())
    assert [row["y"] for row in answer.rows] == ["male", "female", None, "other"]
    assert [(row["check"], row["value"]) for row in answer.refused] == [("cast", "U"), ("cast", "m")]


def test_a_mapping_to_a_column_that_the_source_lacks_is_told_with_what_there_is() -> None:
    with pytest.raises(HarmoniseError, match=r"no column 'z'.*\n.*the source has: x") as caught:
        one_column("string", ["a"], "z", pa.string())
    assert "lab/notebook" in str(caught.value)
    with pytest.raises(HarmoniseError, match="'number' is required, but neither mapped nor given"):
        passed([records([{"part": "1"}])], dataset({}), table())


@pytest.mark.parametrize(
    "expression",
    ["(SELECT max(content) FROM read_text('{file}'))", "(SELECT count(*) FROM '{file}')", "getenv('HOME')"],
)
def test_a_hole_in_the_allow_list_opens_no_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, expression: str
) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("secret\n", encoding="utf-8")
    monkeypatch.setattr(assets.mapping, "expression_columns", lambda _: frozenset(["part"]))
    mapping = {"number": "part", "_record": expression.format(file=secret)}
    # Open elsewhere, it would be read: the test would prove nothing with a file that cannot be.
    assert duckdb.sql(f"SELECT content FROM read_text('{secret}')").fetchall() == [("secret\n",)]
    closed = r"disabled by configuration|file system operations are disabled|does not exist"
    with pytest.raises(duckdb.Error, match=closed):
        assets.harmonise._locked().sql(f"SELECT {mapping['_record']}").fetchall()
    with pytest.raises(HarmoniseError, match="does not fit the source"):
        passed([records([{"part": "1"}])], dataset(mapping), table())


@pytest.mark.parametrize("statement", ["SET enable_external_access=true", "SET lock_configuration=false"])
def test_the_lock_on_the_connection_cannot_be_taken_off(monkeypatch: pytest.MonkeyPatch, statement: str) -> None:
    seen: list[str] = []
    connect = duckdb.connect

    def watched(*arguments: Any) -> duckdb.DuckDBPyConnection:
        made = connect(*arguments)
        connections.append(made)
        return made

    def tries(batch: pa.RecordBatch) -> pa.RecordBatch:
        with pytest.raises(duckdb.Error, match=r"locked|cannot be|Cannot") as caught:
            connections[-1].execute(statement)
        seen.append(str(caught.value))
        return batch

    connections: list[duckdb.DuckDBPyConnection] = []
    monkeypatch.setattr(duckdb, "connect", watched)
    monkeypatch.setattr(assets.harmonise, "transform", lambda _name, _options: tries)
    passed([records([{"part": "1"}])], dataset({"number": "part"}), table(transform="tries"))
    assert len(seen) == 1


def test_what_a_row_says_of_its_terms_comes_with_it() -> None:
    schema = pa.schema([*SOURCE_FIELDS, *(pa.field(name, pa.string()) for name in ("part", "licence", "deposited"))])
    values = [("1", "CC-BY-4.0", "2026-01-31"), ("2", None, None), ("7", "CC0-1.0", "someday")]
    batch = records([dict(zip(("part", "licence", "deposited"), value, strict=True)) for value in values], schema)
    embargo = {"column": "deposited", "months": 1}
    contract = dataset({"number": "part"}, row_licence={"column": "licence"}, embargo=embargo)
    answer = passed([batch], contract, table())
    assert [(row["_licence"], row["_embargo_until"]) for row in answer.rows] == [
        ("CC-BY-4.0", date(2026, 2, 28)),
        (None, None),
    ]
    assert [(row["column"], row["value"]) for row in answer.refused] == [("_embargo_until", "someday")]


def test_casts_take_whole_numbers_however_written_and_refuse_all_others() -> None:
    whole = {"5": 5, " 5 ": 5, "\t5\n": 5, "+5": 5, "-5": -5, "007": 7, "5.0": 5, "5.": 5, "1e3": 1000, "0": 0}
    whole |= {str(2**63 - 1): 2**63 - 1, str(-(2**63)): -(2**63), "9007199254740993.0": 2**53 + 1}
    broken = ["1.7", "0x10", "0b11", "1_000", "1e-3", "1.5e3", "--5", "", "true", str(2**63), "1e400", "\u0665", "5 5"]
    answers = cast_of("int64", [*whole, None, *broken], pa.string())
    assert answers == [*whole.values(), None, *["cast"] * len(broken)]


@pytest.mark.parametrize("mapping", ["x", "x + 0"])
def test_doubles_become_integers_only_where_nothing_is_lost(mapping: str) -> None:
    whole = [2.0, -0.0, 1e15, 1.2345e16, 9.2e18, None]
    broken = [1.7, 1e19, float("nan"), float("inf"), -1e-9]
    assert cast_of("int64", [*whole, *broken], pa.float64(), mapping) == [
        *(None if value is None else int(value) for value in whole),
        *["cast"] * len(broken),
    ]


def test_integers_keep_their_last_digit_and_do_not_wrap() -> None:
    values = [2**63 - 1, -(2**63), 2**53 + 1, None]
    assert cast_of("int64", values, pa.int64()) == values
    assert cast_of("int64", values, pa.int64(), "coalesce(x, NULL)") == values
    assert cast_of("int32", [2**31 - 1, 2**31], pa.int64()) == [2**31 - 1, "cast"]
    assert cast_of("int64", [2**63 - 1, 2**63], pa.uint64()) == [2**63 - 1, "cast"]


def test_a_unit_conversion_into_integers_is_not_refused_for_what_doubles_make_of_it() -> None:
    mapping = {"from": "x", "unit": "kbp"}
    assert 1.001 * 1000 != 1001
    assert cast_of("int64", ["1.001", "2", "0.0005"], pa.string(), mapping, unit="bp") == [1001, 2000, "cast"]


def test_a_part_of_a_list_or_a_struct_that_does_not_fit_fails_its_record() -> None:
    texts = pa.list_(pa.string())
    assert cast_of("list<int64>", [["1", "2"], ["1", "x"], ["1.7"], [None], [], None], texts) == [
        [1, 2], "cast", "cast", [None], [], None
    ]  # fmt: skip
    assert cast_of("list<int64>", [[1.0], [1.7]], pa.list_(pa.float64())) == [[1], "cast"]
    assert cast_of("list<list<int32>>", [[["1"], None], [["1"], ["1.5"]]], pa.list_(texts)) == [[[1], None], "cast"]
    assert cast_of("list<double>", [["1.5"], ["1.5", "x"]], texts) == [[1.5], "cast"]
    assert cast_of("list<date>", [["2026-01-01T23:30:00-05:00"], ["soon"]], texts) == [[date(2026, 1, 2)], "cast"]
    record = pa.struct([("a", pa.string()), ("b", texts)])
    rows = [{"a": "1", "b": ["2"]}, {"a": "1.7", "b": []}, {"a": "1", "b": ["x"]}, {"a": None, "b": None}, None]
    assert cast_of("struct<a: int64, b: list<int32>>", rows, record) == [
        {"a": 1, "b": [2]}, "cast", "cast", {"a": None, "b": None}, None
    ]  # fmt: skip


@pytest.fixture(params=["UTC", "Asia/Tokyo", "America/New_York"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The time zone that this process runs in."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()


DAYS = {
    "2026-01-01T23:30:00-05:00": date(2026, 1, 2),
    "2026-01-01T00:30:00+09:00": date(2025, 12, 31),
    "2026-01-01T23:30:00Z": date(2026, 1, 1),
    "2026-01-01 23:30:00": date(2026, 1, 1),
    "2026-01-01": date(2026, 1, 1),
    "0001-01-01": date(1, 1, 1),
    "9999-12-31T23:59:59.5Z": date(9999, 12, 31),
}
NO_DAYS = ["20261-01-01", "infinity", "-infinity", "0000-01-01", "2026-01-01 (BC)", "2026-02-30", "today", "soon"]


@pytest.mark.usefixtures("zone")
def test_a_day_is_the_one_in_utc_wherever_the_process_runs() -> None:
    assert cast_of("date", [*DAYS, None, *NO_DAYS], pa.string()) == [*DAYS.values(), None, *["cast"] * len(NO_DAYS)]
    days = [date(2026, 1, 1), None]
    assert cast_of("date", days, pa.date32()) == days
    assert cast_of("date", days, pa.date32(), "coalesce(x, NULL)") == days
    moment = datetime(2026, 1, 1, 23, 30, tzinfo=UTC)
    assert cast_of("date", [moment], pa.timestamp("us", "America/New_York")) == [date(2026, 1, 1)]
    told = ["2026-01-01T18:30:00-05:00", "2026-01-01 23:30:00", "20261-01-01"]
    assert cast_of("timestamp", told, pa.string()) == [moment, moment, "cast"]


@pytest.mark.usefixtures("zone")
def test_an_embargo_counts_its_months_from_the_day_in_utc() -> None:
    schema = pa.schema([*SOURCE_FIELDS, pa.field("part", pa.string()), pa.field("deposited", pa.string())])
    deposits = ["2026-01-30T23:30:00-05:00", "2026-01-30", "infinity", "20261-01-01", "9999-12-31", None]
    batch = records([{"part": "1", "deposited": day} for day in deposits], schema)
    contract = dataset({"number": "part"}, embargo={"column": "deposited", "months": 1})
    answer = passed([batch], contract, table())
    assert [row["_embargo_until"] for row in answer.rows] == [date(2026, 2, 28), date(2026, 2, 28), None]
    assert [(row["source"], row["column"]) for row in answer.refused] == [
        (number, "_embargo_until") for number in (2, 3, 4)
    ]


def test_exact_casts_of_many_rows_take_no_time_to_speak_of() -> None:
    schema = pa.schema([*SOURCE_FIELDS, pa.field("x", pa.string())])
    count = 200_000
    numbers = pa.array(range(count))
    texts = pa.compute.cast(numbers, pa.string())
    empty = pa.nulls(count, pa.string())
    batch = pa.RecordBatch.from_arrays([numbers, texts, texts, empty, empty, texts], schema=schema)
    of = table([{"name": "y", "type": "int64"}])
    started = time.perf_counter()
    source = pa.RecordBatchReader.from_batches(schema, [batch])
    (mapped,) = harmonise(source, dataset({"y": "x"}), of)
    assert time.perf_counter() - started < 2  # it takes a tenth of that; 200,000 exceptions take more
    assert mapped["y"].equals(numbers)


# -- checks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("check", "bound"), [("ge", 0.5), ("gt", 0.0), ("le", 0.5), ("lt", 1.0)])
def test_nan_keeps_no_bound(check: str, bound: float) -> None:
    nan, checks = float("nan"), {check: bound}
    assert cast_of("double", [0.5, nan, None], pa.float64(), checks=checks) == [0.5, check, None]
    assert cast_of("float", [0.5, nan, None], pa.float32(), checks=checks) == [0.5, check, None]
    lists = [[0.5], [0.5, nan], [], None]
    assert cast_of("list<double>", lists, pa.list_(pa.float64()), checks=checks) == [[0.5], check, [], None]
    deep = [[[0.5], []], [[0.5], [nan]]]
    assert cast_of("list<list<double>>", deep, pa.list_(pa.list_(pa.float64())), checks=checks) == [deep[0], check]


def test_a_shape_has_no_holes() -> None:
    kind = pa.list_(pa.list_(pa.float64()))
    good, ragged = [[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0], [3.0]]
    values: list[Any] = [good, [], None, ragged, [[1.0, 2.0], None], [[1.0, None]], [[]]]
    answers = cast_of("list<list<double>>", values, kind, checks={"shape": [None, 2]})
    assert answers == [good, [], None, *["shape"] * 4]
    answers = cast_of("list<double>", [[1.0], [None], [], None], pa.list_(pa.float64()), checks={"shape": [1]})
    assert answers == [[1.0], "shape", "shape", None]


def test_a_metric_that_is_no_number_passes_no_table_gate() -> None:
    expected = [Expectation(name, "", least=0.0, most=None, remedy="mend it") for name in ("min__a", "min__b")]
    verdicts = judge("lab.samples", {"min__a": float("nan"), "min__b": 1.0}, expected)
    assert [(check.name, check.passed) for check in verdicts] == [("min__a", False), ("min__b", True)]


def test_source_columns_that_differ_in_case_only_are_named() -> None:
    schema = pa.schema([*SOURCE_FIELDS, pa.field("Part", pa.string()), pa.field("part", pa.string())])
    with pytest.raises(HarmoniseError, match=r"lab/notebook: .*'Part' and 'part' apart"):
        passed([records([{"Part": "1", "part": "2"}], schema)], dataset({"number": "part"}), table())


def test_a_mapping_may_spell_a_source_column_in_another_case() -> None:
    answer = passed([records([{"part": "7"}])], dataset({"number": "PART", "text": "upper(Part)"}), table())
    assert [(row["number"], row["text"]) for row in answer.rows] == [(7, "7")]


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ("part + 1", r"\+"),
        ("list_transform(part, lambda v: v)", "LIST"),
        ("upper(part, part)", "upper"),
    ],
)
@pytest.mark.parametrize("where", ["columns", "_record", "drop", "licence", "embargo"])
def test_an_expression_that_does_not_bind_is_told_with_its_dataset(mapping: str, words: str, where: str) -> None:
    columns = {"number": "1", "text": mapping if where == "columns" else "part"}
    columns |= {"_record": mapping} if where == "_record" else {}
    terms: dict[str, Any] = {"row_licence": {"column": mapping}} if where == "licence" else {}
    terms |= {"embargo": {"column": mapping, "months": 1}} if where == "embargo" else {}
    contract = dataset(columns, {"some": mapping} if where == "drop" else None, **terms)
    with pytest.raises(HarmoniseError, match=rf"lab/notebook: the mapping to lab.samples (?s:.*)({words})") as caught:
        passed([records([{"part": "1"}])], contract, table())
    assert "correct the expression" in caught.value.remedy


def test_a_rule_or_an_identifier_that_fails_on_a_record_ends_no_run() -> None:
    contract = dataset({"number": "parts[1]", "_record": "CAST(part AS INTEGER)"}, {"said so": "part"})
    values = [{"part": part, "parts": ["1"]} for part in ("2", "soon", "false", "true", "0")]
    answer = passed([records(values)], contract, table())
    assert [row["_record"] for row in answer.rows] == ["2", "0"]
    assert answer.report.dropped == {"said so": 1}
    assert [(row["record"], row["column"], row["value"]) for row in answer.refused] == [
        (None, "_record", "soon"), (None, "_record", "false")
    ]  # fmt: skip


def test_a_science_check_that_breaks_off_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(frame: pl.DataFrame) -> pl.Series:
        return frame["nonsense"]

    monkeypatch.setitem(_CHECKS, "lab_first", breaks)
    with pytest.raises(GateError, match=r"science check 'lab_first' of lab\.samples broke off: .*nonsense"):
        passed([records([{"part": "1"}])], dataset({"number": "part"}), table())


def test_every_failure_says_whose_it_is_and_the_verdicts_count_by_that() -> None:
    contract = dataset({"number": "part"})
    values = [{"part": "7"}, {"part": "7"}, {"part": "13"}, {"part": "-4"}, {"part": "x"}, {"_error": "broken"}]
    report = passed([records(values)], contract, table(key=("number",)), frozenset(['{"number":7}'])).report
    assert {(failure.check, failure.gate, failure.records) for failure in report.failures} == {
        ("unique_key", "structure", 1),
        ("lab_luck", "science", 1),
        ("ge", "structure", 1),
        ("cast", "structure", 1),
        ("readable", "structure", 1),
    }
    strict = contract.gates.model_copy(update={"max_quarantined": 0.0})
    structure, science = row_checks(report, strict)
    assert (structure.passed, science.passed) == (False, False)
    assert "4 failures of structure" in structure.observed
    assert "1 failures of science" in science.observed
    twice = passed([records([{"part": "7"}] * 2)], contract, table(key=("number",)), frozenset(['{"number":7}'])).report
    assert [check.passed for check in row_checks(twice, strict)] == [False, True]
    unlucky = passed([records([{"part": "7"}, {"part": "13"}])], contract, table()).report
    assert [check.passed for check in row_checks(unlucky, strict)] == [True, False]


def test_a_record_that_gives_a_key_twice_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets.harmonise, "transform", lambda _name, _options: fan_out)
    of = table(key=("number",), transform="fan_out")
    parts = [["7", "7"], ["7", "2"], ["1", "2"]]
    batch = records([{"parts": given} for given in parts])
    contested = frozenset(['{"number":7}', '{"number":2}'])
    answer = passed([batch], dataset({"number": "part"}), of, contested)
    assert [(row["_record"], row["number"]) for row in answer.rows] == [("r1", 7), ("r1", 2)]
    told = [(row["source"], row["check"], row["reason"]) for row in answer.refused]
    assert told == [
        (0, "unique_key", "The record gives the same key (number) more than once."),
        (2, "unique_key", "An earlier record has the same key (number); only the first is kept."),
    ]


def test_rows_that_a_rule_left_out_of_kept_records_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets.harmonise, "transform", lambda _name, _options: fan_out)
    parts = [["1", "leave", "leave"], ["leave"], ["2"], ["many", "leave"]]
    contract = dataset({"number": "part"}, {"asked to leave": "part = 'leave'"})
    report = passed([records([{"parts": given} for given in parts])], contract, table(transform="fan_out")).report
    assert (report.kept, report.quarantined, report.dropped) == (2, 1, {"asked to leave": 1})
    assert report.dropped_rows == {"asked to leave": 3}
    assert report.rows == 2


def test_many_large_refused_records_do_not_wait_for_one_file() -> None:
    flushed: list[int] = []
    gate = Gate("lab/notebook", table(), lambda rows: flushed.append(sum(map(len, rows["raw"].to_pylist()))))
    broken = {"_error": "broken", "_raw": "x" * 60_000}
    batches = (records([broken] * 100, first=start) for start in range(0, 2000, 100))
    source = pa.RecordBatchReader.from_batches(SOURCE, batches)
    assert list(gate.keep(harmonise(source, dataset({"number": "part"}), table()))) == []
    assert gate.report(2000).quarantined == 2000
    assert sum(flushed) == 2000 * 60_000
    assert len(flushed) > 1
    assert max(flushed) <= FLUSH_CHARACTERS + 60_000


@pytest.mark.parametrize(
    "value",
    [
        pa.scalar("x" * 1_000_000),
        pa.scalar('"\\' * 500_000),
        pa.scalar(b"\xff" * 1_000_000),
        pa.scalar([float(i) for i in range(200_000)]),
        pa.scalar([["deep" * 10] * 300] * 300),
        pa.scalar({"inner": "x" * 1_000_000, "flag": True}),
        pa.scalar(float("nan")),
        pa.scalar([float("inf"), None, 1.5]),
        pa.scalar(date(2026, 1, 1)),
    ],
    ids=["text", "escapes", "bytes", "list", "lists", "struct", "NaN", "infinity", "date"],
)
def test_the_raw_values_of_a_refused_record_are_json_of_bounded_length(value: pa.Scalar) -> None:
    schema = pa.schema([*SOURCE_FIELDS, pa.field("part", pa.string()), pa.field("big", value.type)])
    answer = passed([records([{"part": "x", "big": value.as_py()}], schema)], dataset({"number": "part"}), table())
    (refused,) = answer.refused
    assert len(refused["raw"]) <= RAW_LIMIT

    def no_constant(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    told = json.loads(refused["raw"], parse_constant=no_constant)
    assert told.get("part") == "x" or told == {"columns": 2}


# -- versions -------------------------------------------------------------------------------------------

CLINVAR = Path(__file__).parent.parent / "assets/datasets/genomics/clinvar"
LINES = (CLINVAR / "sample.vcf").read_text(encoding="utf-8").splitlines(keepends=True)
HEADER = [line for line in LINES if line.startswith("#")]
VARIANTS = [line for line in LINES if not line.startswith("#")]
TABLE = "genomics.clinical_significance"


@dataclass
class Place:
    """A home and a contract of one's own, curated step by step in this process."""

    folder: Path
    runs: int = 0
    house: curate.House = field(init=False)

    def __post_init__(self) -> None:
        self.house = curate.House(Settings.at(self.folder / "home"), lambda: datetime(2026, 11, 23, tzinfo=UTC))

    def contract(self, change: Callable[[dict[str, Any]], object] = lambda _: None) -> Dataset:
        """The contract of genomics/clinvar, changed, over a source file beside it."""
        place = self.folder / "datasets/genomics/clinvar"
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(CLINVAR / "sample.vcf", place)
        data = yaml.safe_load((CLINVAR / "defs.yaml").read_text(encoding="utf-8"))
        data["attributes"]["source"]["uri"] = str(self.folder / "source.vcf")
        data["attributes"]["gates"] = {"min_rows": 1, "max_row_change": 0.5}
        change(data["attributes"])
        (place / "defs.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
        return read_dataset(place / "defs.yaml")

    def source(self, variants: list[str]) -> None:
        (self.folder / "source.vcf").write_text("".join([*HEADER, *variants]), encoding="utf-8")

    def stage(self, contract: Dataset, sample: bool = False) -> tuple[curate.Stage, GateReport]:
        self.runs += 1
        snapshot = curate.fetch(self.house, contract, curate.address(contract, sample))
        return curate.stage(self.house, contract, snapshot, f"run{self.runs}")

    def run(self, contract: Dataset, sample: bool = False) -> Version:
        staged, _ = self.stage(contract, sample)
        return curate.commit(self.house, contract, staged)

    def records(self, contract: Dataset, at: int | None = None) -> list[str]:
        chosen = {} if at is None else {contract.name: at}
        door = Door(self.house.warehouse, self.house.ledger, [contract], "open", date(2026, 11, 23), chosen)
        return [record for (record,) in door.answer(f"SELECT _record FROM {TABLE} ORDER BY ALL").fetchall()]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.source(VARIANTS)
    return made


def names(variants: list[str]) -> list[str]:
    return sorted(line.split("\t")[2] for line in variants)


def test_unchanged_inputs_make_no_version_and_parse_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    contract = place.contract()
    first = place.run(contract)

    def explode(*_: object) -> None:
        raise AssertionError("the source was opened")

    monkeypatch.setattr(staging, "reader", explode)
    monkeypatch.setattr(curate, "fetch_snapshot", lambda *arguments: arguments[3])
    staged, report = place.stage(contract)
    assert staged.unchanged
    assert report == place.house.ledger.report(contract.name, first.run_id)
    assert curate.commit(place.house, contract, staged) == first
    assert place.house.ledger.versions(contract.name) == [first]


def test_a_source_that_is_touched_but_not_changed_makes_no_version(place: Place) -> None:
    contract = place.contract()
    first = place.run(contract)
    (place.folder / "source.vcf").unlink()
    place.source(VARIANTS)
    assert place.run(contract) == first


SAME = {
    "title": lambda contract: contract.update(title="Another title"),
    "description": lambda contract: contract.update(description="Other words"),
    "terms": lambda contract: contract["terms"].update(licence="CC-BY-4.0", embargo={"until": "2020-01-01"}),
    "schedule": lambda contract: contract.update(schedule="0 5 * * 2", owner="others"),
    "gates": lambda contract: contract["gates"].update(min_rows=2),
}
OTHER = {
    "mapping": lambda contract: contract["columns"].update(variant_type="CLNVC"),
    "drop rule": lambda contract: contract.update(drop={"third": "CHROM = '3'"}),
    "options": lambda contract: contract["source"].update(options={"assembly": "GRCh37"}),
    "licence of rows": lambda contract: contract["terms"].update(row_licence={"column": "'CC0-1.0'"}),
}


def test_a_version_depends_on_what_its_rows_depend_on_and_on_no_words(place: Place) -> None:
    snapshot = curate.fetch(place.house, place.contract(), curate.address(place.contract()))
    before = curate.fingerprint(place.contract(), snapshot)
    same = {name: curate.fingerprint(place.contract(change), snapshot) == before for name, change in SAME.items()}
    assert same == dict.fromkeys(SAME, True)
    other = {name: curate.fingerprint(place.contract(change), snapshot) for name, change in OTHER.items()}
    assert len({before, *other.values()}) == 1 + len(OTHER)


def test_a_changed_mapping_makes_a_new_version_and_a_changed_title_does_not(place: Place) -> None:
    assert place.run(place.contract()).number == 1
    assert place.run(place.contract(SAME["title"])).number == 1
    changed = place.contract(OTHER["mapping"])
    assert place.run(changed).number == 2
    assert place.records(changed) == names(VARIANTS)


def test_a_version_depends_on_its_tables_contract_but_not_on_its_words(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = place.contract()
    snapshot = curate.fetch(place.house, contract, curate.address(contract))
    before, loaded = curate.fingerprint(contract, snapshot), load_table(TABLE)
    for change, same in (
        ({"description": "other"}, True),
        ({"sort": ("position",)}, False),
        ({"science": loaded.science[:3]}, False),
    ):
        changed = loaded.model_copy(update=change)
        monkeypatch.setattr(curate, "load_table", lambda _, table=changed: table)
        assert (curate.fingerprint(contract, snapshot) == before) is same, change


@pytest.mark.parametrize(
    ("code", "same"),
    [
        ("assets/readers/vcf.py", False),
        ("assets/transforms/variants.py", False),
        ("assets/harmonise.py", False),
        ("validations/science/genomics.py", False),
        ("validations/gate.py", False),
        ("assets/readers/cif.py", True),
        ("validations/science/crystals.py", True),
        ("catalog/query.py", True),
    ],
)
def test_a_version_depends_on_the_code_that_makes_it_and_on_no_other(
    place: Place, monkeypatch: pytest.MonkeyPatch, code: str, same: bool
) -> None:
    contract = place.contract()
    snapshot = curate.fetch(place.house, contract, curate.address(contract))
    before = curate.fingerprint(contract, snapshot)
    copied = place.folder / "code"
    for package in ("assets", "catalog", "validations"):
        ignored = shutil.ignore_patterns("__pycache__", "datasets")
        shutil.copytree(curate._CODE / package, copied / package, ignore=ignored)
    monkeypatch.setattr(curate, "_CODE", copied)
    assert curate.fingerprint(contract, snapshot) == before
    with (copied / code).open("a") as file:
        file.write("\n# changed\n")
    assert (curate.fingerprint(contract, snapshot) == before) is same


def test_every_past_version_stays_readable(place: Place) -> None:
    contract = place.contract()
    states = [VARIANTS, VARIANTS[:-2], [*VARIANTS[3:], VARIANTS[0]]]
    for number, state in enumerate(states, start=1):
        place.source(state)
        version = place.run(contract)
        assert str(version) == f"genomics/clinvar@{number}"
    for number, state in enumerate(states, start=1):
        assert place.records(contract, at=number) == names(state)
    assert place.records(contract) == names(states[-1])
    assert [version.number for version in place.house.ledger.versions(contract.name)] == [1, 2, 3]
    with pytest.raises(UnknownVersionError, match="genomics/clinvar@4"):
        place.records(contract, at=4)
    place.source(states[0])
    assert place.run(contract).number == 4
    vacuum(place.house)
    assert [place.records(contract, at=number) for number in (1, 2, 3)] == [names(state) for state in states]


def test_a_failed_gate_leaves_the_version_before_and_its_report(place: Place) -> None:
    contract = place.contract()
    place.run(contract)
    place.source(VARIANTS[:4])
    staged, report = place.stage(contract)
    assert not report.passed
    (refusal,) = report.refusals()
    assert (refusal.gate, refusal.name, refusal.observed) == (
        "expectations",
        "rows_per_previous_row",
        f"{4 / len(VARIANTS):g}",
    )
    assert "max_row_change" in refusal.remedy
    with pytest.raises(GateError, match=r"gates refused run run2: expectations\.rows_per_previous_row"):
        curate.commit(place.house, contract, staged)
    assert place.records(contract) == names(VARIANTS)
    assert place.house.ledger.version(contract.name).number == 1
    assert place.house.ledger.report(contract.name) == report
    assert not any(Path(file).exists() for table in staged.tables for file in table.files)


def test_fewer_rows_than_the_contract_asks_of_its_source_are_refused_but_not_of_a_sample(place: Place) -> None:
    contract = place.contract(lambda attributes: attributes["gates"].update(min_rows=1000))
    _, report = place.stage(contract)
    assert [(check.name, check.expected) for check in report.refusals()] == [("rows", "at least 1000")]
    _, report = place.stage(contract, sample=True)
    assert report.passed


def test_a_sample_does_not_replace_the_real_source(place: Place) -> None:
    contract = place.contract()
    place.source(VARIANTS[:-1])
    place.run(contract)
    with pytest.raises(GateError, match="sample would replace it") as caught:
        place.run(contract, sample=True)
    assert "another WINNOW_HOME" in caught.value.remedy
    assert place.records(contract) == names(VARIANTS[:-1])


def test_a_sample_gives_way_to_the_real_source_whatever_their_sizes(place: Place) -> None:
    contract = place.contract()
    place.run(contract, sample=True)
    place.source(VARIANTS[:2])
    assert place.run(contract).origin == "source"
    assert place.records(contract) == names(VARIANTS[:2])


def test_a_stage_is_not_committed_without_a_passing_report_of_its_own(place: Place) -> None:
    contract = place.contract()
    staged, report = place.stage(contract)
    foreign = staged.model_copy(update={"run_id": "never gated"})
    with pytest.raises(GateError, match="run never gated has no gate report"):
        curate.commit(place.house, contract, foreign)
    other = staged.model_copy(update={"fingerprint": "0" * 64})
    with pytest.raises(GateError, match="has no gate report for what it staged"):
        curate.commit(place.house, contract, other)
    unchecked = report.model_copy(update={"checks": ()})
    place.house.ledger.record_report(unchecked)
    with pytest.raises(GateError, match="no check ran"):
        curate.commit(place.house, contract, staged)
    assert place.house.ledger.current(contract.name) is None
    place.house.ledger.record_report(report)
    assert curate.commit(place.house, contract, staged).number == 1


def test_a_stage_from_before_another_commit_is_refused(place: Place) -> None:
    contract = place.contract()
    slow, _ = place.stage(contract)
    place.source(VARIANTS[1:])
    fast, _ = place.stage(contract)
    curate.commit(place.house, contract, fast)
    with pytest.raises(
        VersionConflictError, match="genomics/clinvar@1 was committed after this run had staged"
    ) as caught:
        curate.commit(place.house, contract, slow)
    assert "winnow run genomics/clinvar" in caught.value.remedy
    assert place.records(contract) == names(VARIANTS[1:])


def test_a_column_that_a_table_gains_is_null_in_older_versions(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    contract = place.contract()
    place.run(contract)
    loaded = load_table(TABLE)
    gained = loaded.columns[0].model_copy(
        update={"name": "cohort", "type": "string", "nullable": True, "checks": Checks()}
    )
    gained = type(gained).model_validate(gained.model_dump())
    grown = loaded.model_copy(update={"columns": (*loaded.columns, gained)})
    for module in (
        "dagster_project.curate",
        "dagster_project.publish",
        "dagster_project.staging",
        "catalog.query",
        "catalog.inventory",
        "catalog.sight",
    ):
        monkeypatch.setattr(
            f"{module}.load_table", lambda name: grown if name == TABLE else load_table(name), raising=False
        )
    assert place.run(contract).number == 2
    assert place.records(contract, at=1) == place.records(contract) == names(VARIANTS)
    for at in ({}, {contract.name: 1}):
        door = Door(place.house.warehouse, place.house.ledger, [contract], "open", date(2026, 11, 23), at)
        found = door.answer(f"SELECT count(*), count(cohort) FROM {TABLE}").fetchall()
        assert found == [(len(VARIANTS), 0)]
    vacuum(place.house)
    assert place.records(contract, at=1) == names(VARIANTS)


def test_a_reader_that_skips_a_record_is_caught(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    read, options = staging.reader("vcf")

    def skipping(*arguments: Any) -> pa.RecordBatchReader:
        source = read(*arguments)
        batches = (batch.filter(pa.array([i != 3 for i in range(batch.num_rows)])) for batch in source)
        return pa.RecordBatchReader.from_batches(source.schema, batches)

    monkeypatch.setattr(staging, "reader", lambda _: (skipping, options))
    with pytest.raises(GateError, match="record 3"):
        place.stage(place.contract())


def test_all_datasets_of_the_repository_have_a_fingerprint() -> None:
    for contract in load_datasets():
        assert all(
            path.is_file() for path in curate._code_behind(contract, [load_table(name) for name in contract.feeds])
        )


def overridden(place: Place, contract: Dataset, variants: list[str]) -> tuple[curate.Stage, GateReport]:
    """A staging from another address than the contract's."""
    other = place.folder / "other.vcf"
    other.write_text("".join([*HEADER, *variants]), encoding="utf-8")
    place.runs += 1
    snapshot = curate.fetch(place.house, contract, curate.address(contract, override=str(other)))
    return curate.stage(place.house, contract, snapshot, f"run{place.runs}")


def test_the_real_source_is_not_measured_by_an_override(place: Place) -> None:
    contract = place.contract()
    staged, _ = overridden(place, contract, VARIANTS[:2])
    curate.commit(place.house, contract, staged)
    with pytest.raises(GateError, match="sample would replace it"):
        place.run(contract, sample=True)
    staged, report = place.stage(contract)
    assert report.passed
    assert curate.commit(place.house, contract, staged).origin == "source"
    _, report = overridden(place, contract, VARIANTS[:2])
    assert [check.name for check in report.refusals()] == ["rows_per_previous_row"]
    with pytest.raises(GateError, match="sample would replace it"):
        place.run(contract, sample=True)


def test_the_same_bytes_under_another_name_are_another_version(place: Place) -> None:
    contract = place.contract()
    snapshot = curate.fetch(place.house, contract, curate.address(contract))
    renamed = tuple(file.model_copy(update={"name": f"other-{file.name}"}) for file in snapshot.files)
    before = curate.fingerprint(contract, snapshot)
    assert curate.fingerprint(contract, snapshot.model_copy(update={"files": renamed})) != before
    moved = snapshot.model_copy(update={"uri": "file:///elsewhere", "fetched_at": datetime(2020, 1, 1, tzinfo=UTC)})
    assert curate.fingerprint(contract, moved) == before


def test_a_report_without_a_table_does_not_pass(place: Place) -> None:
    _, report = place.stage(place.contract())
    assert report.passed
    assert not report.model_copy(update={"tables": ()}).passed
    assert not report.model_copy(update={"checks": ()}).passed


def test_a_staging_that_breaks_off_leaves_neither_rows_nor_quarantine(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.source([*VARIANTS, VARIANTS[0].replace("ALLELEID=", "ALLELEID=x")])

    def breaks(*_: object) -> None:
        raise GateError("enough")

    monkeypatch.setattr(staging, "judge", breaks)
    with pytest.raises(GateError, match="enough"):
        place.stage(place.contract())
    assert list((place.folder / "home/warehouse").rglob("*.parquet")) == []


@pytest.mark.parametrize(
    "name", ["what?x=1", "50%", "50%25", "a b", "it's", 'the "home"', "Zürich", "a#b", "a&b+c@d:e"]
)
def test_the_ledger_lies_in_its_own_home_whatever_that_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    homes = [tmp_path / name, tmp_path / f"{name}2"]
    for home in homes:
        house = curate.House(Settings.at(home))
        assert house.ledger.versions("lab/notebook") == []
        assert house.warehouse.iceberg.list_namespaces() == []
        house.warehouse.iceberg.create_namespace(f"of{homes.index(home)}")
    assert sorted(tmp_path.rglob("catalog.db")) == sorted(home / "catalog.db" for home in homes)
    assert [path for path in tmp_path.iterdir() if path not in homes] == []
    given = Settings.from_environment({"WINNOW_HOME": name})
    assert curate.House(given).warehouse.iceberg.list_namespaces() == [("of0",)]


@pytest.mark.parametrize("name", [b"caf\xe9.vcf", b"two\nlines.vcf"])
def test_an_address_that_is_no_text_is_told_before_the_ledger_meets_it(place: Place, name: bytes) -> None:
    contract = place.contract()
    path = os.fsdecode(os.fsencode(place.folder) + b"/" + name)
    shutil.copy(place.folder / "source.vcf", path)
    with pytest.raises(SourceError, match="has characters that are not text") as caught:
        curate.fetch(place.house, contract, curate.address(contract, override=path))
    assert str(caught.value).encode().isascii()
