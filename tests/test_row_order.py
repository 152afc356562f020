"""Order and repeats of rows as they stream by, against a plain look at all of them; files of rows that come in runs."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog import parquet, row_order
from catalog.row_order import RowOrder
from catalog.table import Column, Table

TABLE = Table(
    name="genomics.places",
    description="places",
    standard="none",
    key=("contig", "position", "alt"),
    sort=("contig", "position"),
    columns=(
        Column(name="contig", type="string", description="c"),
        Column(name="position", type="int64", description="p"),
        Column(name="alt", type="string", description="a"),
        Column(name="score", type="double", description="s"),
    ),
    science=("one", "two", "three"),
)


@pytest.fixture(autouse=True)
def _short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "RUN_ROWS", 1)


NAMES = ["contig", "position", "alt"]
Row = tuple[str | None, int | None, str | None]

ROWS = st.lists(
    st.tuples(
        st.sampled_from(["1", "10", "2", "X", "é", None]),
        st.one_of(st.integers(1, 4), st.none()),
        st.sampled_from(["A", "C", "a long allele of more than twelve bytes", None]),
    ),
    max_size=40,
)


def _batch(rows: list[Row], coded: bool) -> pa.RecordBatch:
    columns = [
        pa.array([row[index] for row in rows], kind)
        for index, kind in enumerate([pa.string(), pa.int64(), pa.string()])
    ]
    if coded:
        columns = [column.dictionary_encode() if pa.types.is_string(column.type) else column for column in columns]
    return pa.record_batch(columns, names=NAMES)


def _canonical(rows: list[Row], coded: bool) -> pa.RecordBatch:
    named = dict(zip(NAMES, _batch(rows, coded).columns, strict=True))
    columns = [named.get(field.name, pa.nulls(len(rows), field.type)) for field in TABLE.arrow_schema]
    columns[TABLE.arrow_schema.get_field_index("_dataset")] = pa.array(["genomics/places"] * len(rows))
    columns[TABLE.arrow_schema.get_field_index("_record")] = pa.array([str(row) for row in rows], pa.string())
    columns[TABLE.arrow_schema.get_field_index("_part")] = pa.array(["all"] * len(rows))
    return pa.RecordBatch.from_arrays(columns, names=TABLE.arrow_schema.names)


def _last(value: Any) -> tuple[bool, Any]:
    return (value is None, value)


def _place(row: Row) -> tuple[Any, ...]:
    return (_last(row[0]), _last(row[1]))


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, cuts=st.lists(st.integers(0, 40), max_size=4), coded=st.booleans())
def test_a_run_ends_where_a_row_belongs_before_its_predecessor_or_an_encoded_text_changes(
    rows: list[Row], cuts: list[int], coded: bool
) -> None:
    order, found = RowOrder(TABLE), []
    bounds = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    for begin, end in itertools.pairwise(bounds):
        found += [begin + row for row in order.see(_batch(rows[begin:end], coded))]

    pairs = list(enumerate(itertools.pairwise(rows), start=1))
    breaks = [row for row, (before, here) in pairs if _place(here) < _place(before)]
    changes = [row for row, (before, here) in pairs if here[0] != before[0]]
    assert found == (sorted({*breaks, *changes}) if coded else breaks)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, cut=st.integers(0, 40), coded=st.booleans())
def test_repeats_of_rows_in_order_are_counted_across_batches(rows: list[Row], cut: int, coded: bool) -> None:
    rows = sorted(rows, key=_place)
    order = RowOrder(TABLE)
    for part in (rows[:cut], rows[cut:]):
        if part:
            order.see(_batch(part, coded))

    assert order.repeats == len(rows) - len(set(rows))


def test_repeats_are_unknown_where_too_many_rows_share_the_sort_columns() -> None:
    order = RowOrder(TABLE)
    order.see(_batch([("1", 1, str(number)) for number in range(row_order.FARTHEST + 2)], coded=False))

    assert order.repeats is None


def test_repeats_are_unknown_where_rows_of_one_key_need_not_be_neighbours() -> None:
    assert RowOrder(TABLE.model_copy(update={"key": ("alt",)})).repeats is None


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, cut=st.integers(0, 40), coded=st.booleans())
def test_rows_that_come_in_separate_runs_are_put_in_order_without_a_sort(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], cut: int, coded: bool
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    batches = [_canonical(part, coded) for part in (rows[:cut], rows[cut:]) if part]

    written = parquet.write(batches, TABLE, folder)

    read = [tuple(row[name] for name in NAMES) for path in written.paths for row in pq.read_table(path).to_pylist()]
    assert sorted(read, key=str) == sorted(rows, key=str)
    assert written.rows == len(rows)
    assert not written.is_sorted or [_place(row) for row in read] == sorted(_place(row) for row in rows)
    assert written.is_sorted or written.repeats is None
    if written.is_sorted and written.repeats is not None:
        assert written.repeats == len(rows) - len(set(rows))


def test_a_genome_whose_chromosomes_are_in_numeric_order_is_put_in_the_table_s_order(tmp_path: Path) -> None:
    batches = [_canonical([(str(contig), position, "A") for position in (5, 9)], coded=True) for contig in range(1, 23)]

    written = parquet.write(batches, TABLE, tmp_path)

    contigs = [contig for path in written.paths for contig in pq.read_table(path)["contig"].to_pylist()[::2]]
    assert written.is_sorted
    assert written.repeats == 0
    assert contigs == sorted(map(str, range(1, 23)))


def test_rows_without_any_order_are_written_in_few_files(tmp_path: Path) -> None:
    rows: list[Row] = [("1", 1_000_000 - number, "A") for number in range(10 * parquet.RUNS)]

    written = parquet.write(
        [_canonical(rows[begin : begin + 100], coded=False) for begin in range(0, len(rows), 100)], TABLE, tmp_path
    )

    assert not written.is_sorted
    assert len(written.paths) <= parquet.RUNS + 1
    assert sum(pq.read_metadata(path).num_rows for path in written.paths) == len(rows)


@pytest.mark.parametrize("first_coded", [True, False])
def test_a_file_tells_the_table_s_own_types_however_its_texts_came(tmp_path: Path, first_coded: bool) -> None:
    rows: list[Row] = [("1", 1, "A"), (None, 2, None)]
    with parquet.ParquetFile(tmp_path / "rows.parquet", TABLE.arrow_schema) as file:
        for coded in (first_coded, not first_coded):
            file.write(_canonical(rows, coded))

    found = pq.read_table(tmp_path / "rows.parquet")
    assert found.schema.equals(TABLE.arrow_schema, check_metadata=True)
    assert found.select(NAMES).to_pylist() == [dict(zip(NAMES, row, strict=True)) for row in rows * 2]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    moved=st.lists(st.integers(0, 3), min_size=1, max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=4),
    window=st.integers(4, 8),
)
def test_rows_that_come_a_little_late_are_put_where_they_belong(
    moved: list[int], cuts: list[int], window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row's position is that of its place plus at most 3, so that no row is more than 3 places too late."""
    monkeypatch.setattr(row_order, "WINDOW", window)
    rows: list[Row] = [("1", place + shift, str(place)) for place, shift in enumerate(moved)]
    bounds = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    batches = [_canonical(rows[begin:end], coded=True) for begin, end in itertools.pairwise(bounds)]

    found = [row for batch in row_order.straightened(batches, TABLE) for row in batch.to_pylist()]

    assert [row["position"] for row in found] == sorted(row[1] for row in rows if row[1] is not None)
    assert sorted(row["alt"] for row in found) == sorted(row[2] for row in rows if row[2] is not None)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, cut=st.integers(0, 40), coded=st.booleans())
def test_straightening_loses_no_row_and_mixes_no_runs(rows: list[Row], cut: int, coded: bool) -> None:
    batches = [_canonical(part, coded) for part in (rows[:cut], rows[cut:]) if part]

    found = [
        tuple(row[name] for name in NAMES)
        for batch in row_order.straightened(batches, TABLE)
        for row in batch.to_pylist()
    ]

    assert sorted(found, key=str) == sorted(rows, key=str)
    if coded:
        assert [row[0] for row in found] == [row[0] for row in rows]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, cut=st.integers(0, 40))
def test_a_last_sort_column_of_texts_is_put_in_order_too(rows: list[Row], cut: int) -> None:
    table = TABLE.model_copy(update={"sort": ("contig", "position", "alt")})
    rows = sorted((row for row in rows if None not in row), key=lambda row: row[:2])
    batches = [_canonical(part, coded=True) for part in (rows[:cut], rows[cut:]) if part]

    straight = [row for batch in row_order.straightened(batches, table) for row in batch.to_pylist()]

    assert [tuple(row[name] for name in NAMES) for row in straight] == sorted(rows)
