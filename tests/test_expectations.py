"""The table gates: a profile of staged Parquet files, judged by great-expectations."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog.dataset import Gates
from catalog.records import StagedTable
from catalog.table import Table, load_table
from validations.expectations import contested_keys, empty_table, expectations, judge, profile

COLUMNS = [
    {"name": "group", "type": "int64", "nullable": False},
    {"name": "order", "type": "string", "max_null_fraction": 0.25},
    {"name": "share", "type": "double", "checks": {"ge": 0, "le": 1}},
    {"name": "charge", "type": "int32", "checks": {"ge": -2, "le": 7}},
]
TABLE = Table.model_validate(
    {
        "name": "lab.samples",
        "description": "Samples",
        "standard": "none",
        "key": ("_dataset", "group"),
        "sort": ("group",),
        "science": ("a", "b", "c"),
        "columns": [{"description": column["name"], **column} for column in COLUMNS],
    }
)


def rows(count, first=0, **same):
    sound = {"order": "x", "share": 0.5, "charge": 1, "_dataset": "lab/a", "_record": "r", "_part": "all"}
    return [{**sound, "group": first + i, **same} for i in range(count)]


def staged(files, **known):
    return StagedTable(table=TABLE.name, files=tuple(files), rows=0, bytes=0, row_terms=(), **known)


@pytest.fixture
def verdict(tmp_path):
    """Stage these parts as files, and give what is refused: metric -> what was observed and expected."""

    def ask(*parts, gates=None, previous=None, real=False, source_part="all"):
        files = []
        for index, part in enumerate(parts):
            files.append(str(tmp_path / f"it's {index}.parquet"))
            pq.write_table(pa.Table.from_pylist(part, schema=TABLE.arrow_schema), files[-1])
        expected = expectations(TABLE, gates or Gates(), previous, real, source_part)
        with duckdb.connect() as connection:
            checks = judge(TABLE.name, profile(connection, staged(files), expected), expected)
        assert {(check.gate, check.table) for check in checks} == {("expectations", "lab.samples")}
        assert all(check.remedy for check in checks)
        return {check.name: (check.observed, check.expected) for check in checks if not check.passed}

    return ask


def test_sound_rows_in_several_files_pass_every_expectation(verdict):
    assert verdict(rows(3), rows(5, first=3), previous=8, real=True) == {}


@pytest.mark.parametrize(
    ("nulls", "refused"),
    [
        (0, {}),
        (2, {}),
        (3, {"null_fraction__order": ("0.375", "at most 0.25")}),
        (8, {"null_fraction__order": ("1", "at most 0.25")}),
    ],
)
def test_more_nulls_than_the_table_allows_are_refused(verdict, nulls, refused):
    assert verdict(rows(8 - nulls), rows(nulls, first=8, order=None)) == refused


@pytest.mark.parametrize(
    ("value", "refused"),
    [
        ({"share": 0.0}, {}),
        ({"share": 1.0}, {}),
        ({"share": -0.5}, {"min__share": ("-0.5", "at least 0")}),
        ({"share": 1.5}, {"max__share": ("1.5", "at most 1")}),
        ({"share": None}, {}),
        ({"charge": -2}, {}),
        ({"charge": 7}, {}),
        ({"charge": -3}, {"min__charge": ("-3", "at least -2")}),
        ({"charge": 8}, {"max__charge": ("8", "at most 7")}),
    ],
)
def test_one_value_outside_of_its_range_is_refused(verdict, value, refused):
    assert verdict(rows(5), rows(1, first=5, **value)) == refused


def test_nan_is_in_no_range(verdict):
    nan = float("nan")
    assert verdict(rows(2), rows(1, first=2, share=nan)) == {"max__share": ("nan", "at most 1")}
    assert set(verdict(rows(2, share=nan))) == {"min__share", "max__share"}


def test_a_column_without_any_value_has_no_range_to_leave(verdict):
    assert verdict(rows(4, share=None, charge=None)) == {}


def test_rows_that_share_their_whole_key_are_refused_and_named(verdict, tmp_path):
    twice = [*rows(3), *rows(2, first=2)]
    assert verdict(twice, rows(1, first=1)) == {"duplicate_keys": ("2", "at most 0")}
    files = sorted(map(str, tmp_path.glob("*.parquet")))
    with duckdb.connect() as connection:
        contested = contested_keys(connection, files, TABLE)
    assert {text for text in contested if '"lab/a"' in text} == contested
    assert sorted(text[-2] for text in contested) == ["1", "2"]


def test_rows_that_share_a_part_of_their_key_pass(verdict):
    assert verdict(rows(2), rows(2, _dataset="lab/b")) == {}


@pytest.mark.parametrize(
    ("count", "refused"),
    [
        (12, {}),
        (8, {}),
        (13, {"rows_per_previous_row": ("1.3", "0.8 to 1.2")}),
        (7, {"rows_per_previous_row": ("0.7", "0.8 to 1.2")}),
    ],
)
def test_growth_and_shrinkage_are_held_against_the_last_version(verdict, count, refused):
    assert verdict(rows(count), gates=Gates(max_row_change=0.2), previous=10) == refused


@pytest.mark.parametrize("previous", [None, 0])
def test_without_rows_to_compare_with_any_number_passes(verdict, previous):
    assert verdict(rows(50), gates=Gates(max_row_change=0), previous=previous) == {}


@pytest.mark.parametrize(
    ("count", "real", "refused"),
    [
        (4, True, {"rows": ("4", "at least 5")}),
        (5, True, {}),
        (4, False, {}),
        (0, False, {"rows": ("0", "at least 1")}),
    ],
)
def test_the_fewest_rows_are_asked_of_the_real_source_alone(verdict, count, real, refused):
    assert verdict(rows(count), gates=Gates(min_rows=5), real=real) == refused


def test_without_files_there_is_no_profile_and_the_table_is_refused():
    with duckdb.connect() as connection:
        assert profile(connection, staged([]), expectations(TABLE, Gates(), None, False)) == {}
    check = empty_table(TABLE.name, staged([]))
    assert (check.passed, check.observed, check.expected) == (False, "0", "at least 1")


def test_a_dataset_may_ask_for_fewer_nulls_than_its_table():
    table = load_table("genomics.clinical_significance")
    gates = Gates(max_null_fraction={"review_status": 0.1})
    (found,) = [
        each for each in expectations(table, gates, None, True) if each.metric == "null_fraction__review_status"
    ]
    assert found.most == 0.1
    strict, lax = Gates(max_null_fraction={"unit": 0.1}), Gates(max_null_fraction={"unit": 0.9})
    limits = [
        each.most
        for gates in (strict, lax)
        for each in expectations(load_table("fusion.signals"), gates, None, True)
        if each.metric == "null_fraction__unit"
    ]
    assert limits == [0.1, 0.5]


@pytest.mark.parametrize(("part", "refused"), [("x", {}), ("y", {"only__order": ("4", "at most 0")}), (None, {})])
def test_rows_of_another_part_are_refused_but_not_in_a_sample(verdict, part, refused):
    assert verdict(rows(4), gates=Gates(only={"order": ["{part}"], "contig": ["1"]}), source_part=part) == refused
