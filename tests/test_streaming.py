"""The way of a stream: work ahead in a thread, its stopwatch, frames of batches, and files of bounded size."""

from __future__ import annotations

import itertools
import threading
import time

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import catalog.parquet
import catalog.row_order
from assets.ahead import ahead
from catalog.table import Table
from dagster_project.progress import Stopwatch
from validations.gate import Frames


def of_letters():
    return Table.model_validate(
        {
            "name": "lab.letters",
            "description": "Letters",
            "standard": "none",
            "key": ["_record"],
            "sort": ["letter"],
            "science": ["one", "two", "three"],
            "columns": [{"name": "letter", "type": "string", "description": "A letter"}],
        }
    )


def rows(letters):
    table = of_letters()
    told = [
        {"letter": letter, "_dataset": "lab/a", "_record": f"{index}{letter}", "_part": "all"}
        for index, letter in enumerate(letters)
    ]
    return pa.RecordBatch.from_pylist(told, schema=table.arrow_schema)


def test_what_is_made_ahead_comes_whole_in_order_and_from_another_thread():
    makers = set()

    def made():
        for number in range(50):
            makers.add(threading.get_ident())
            yield number

    assert list(ahead(made())) == list(range(50))
    assert threading.get_ident() not in makers


def test_one_item_is_made_ahead_and_no_more():
    made = []

    def items():
        for number in itertools.count():
            made.append(number)
            yield number

    stream = ahead(items())
    assert next(stream) == 0
    time.sleep(0.05)
    assert made == [0, 1]
    stream.close()


def test_an_error_ahead_is_raised_after_what_came_before_it():
    def broken():
        yield 1
        raise ValueError("here")

    stream = ahead(broken())
    assert next(stream) == 1
    with pytest.raises(ValueError, match="here"):
        next(stream)


@pytest.mark.parametrize("leave", ["close", "throw"])
def test_whoever_stops_asking_closes_what_is_made_ahead(leave):
    closed = []

    def items():
        try:
            yield from range(10)
        finally:
            closed.append(True)

    stream = ahead(items())
    next(stream)
    if leave == "close":
        stream.close()
    else:
        with pytest.raises(KeyboardInterrupt):
            stream.throw(KeyboardInterrupt)
    assert closed == [True]


def test_steps_side_by_side_share_the_time_that_passed():
    clock = Stopwatch()

    def work(times):
        for number in range(times):
            time.sleep(0.02)
            yield number

    started = time.perf_counter()
    with clock.side_by_side(), clock.step("write"):
        for _ in clock.pulling(None, ahead(clock.pulling("gate", work(10)))):
            time.sleep(0.02)
    passed = time.perf_counter() - started
    assert set(clock.seconds) == {"gate", "write"}
    assert sum(clock.seconds.values()) <= passed + 1e-6
    assert clock.seconds["gate"] == pytest.approx(clock.seconds["write"], rel=0.5)


VALUES = st.lists(st.tuples(st.none() | st.text(max_size=20), st.none() | st.integers(-9, 9)), max_size=20)


@given(values=VALUES)
def test_a_frame_is_what_polars_makes_of_the_batch(values):
    schema = pa.schema([("text", pa.string()), ("number", pa.int32()), ("lists", pa.list_(pa.string()))])
    told = [{"text": text, "number": number, "lists": None} for text, number in values]
    batch = pa.RecordBatch.from_pylist(told, schema=schema)
    frames = Frames()
    assert_frame_equal(frames.of(batch), pl.from_arrow(batch))
    assert_frame_equal(frames.of(batch.slice(1)), pl.from_arrow(batch.slice(1)))


@pytest.mark.parametrize(("batches", "in_order"), [(("ab", "bc", "cd"), True), (("ab", "cd", "bc"), False)])
def test_rows_go_to_files_of_bounded_size_that_know_their_order(tmp_path, monkeypatch, batches, in_order):
    monkeypatch.setattr(catalog.parquet, "FILE_BYTES", 1)
    monkeypatch.setattr(catalog.parquet, "ROW_GROUP_ROWS", 1)
    monkeypatch.setattr(catalog.row_order, "WINDOW", 0)  # so few rows would all be held back, and put in order
    written = catalog.parquet.write(map(rows, batches), of_letters(), tmp_path)
    assert (len(written.paths), written.rows, written.is_sorted) == (3, 6, in_order)
    found = [pq.read_table(path)["letter"].to_pylist() for path in written.paths]
    assert found == [list(letters) for letters in batches]
    counted = catalog.parquet.row_terms(written.paths)
    assert [terms.rows for terms in counted] == [6]
    ordered = [
        letter
        for path in catalog.parquet.sort(written.paths, of_letters(), tmp_path)
        for letter in pq.read_table(path)["letter"].to_pylist()
    ]
    assert ordered == sorted("".join(batches))


def test_only_a_column_that_repeats_has_a_dictionary(tmp_path):
    written = catalog.parquet.write([rows("aabb" * 100)], of_letters(), tmp_path)
    group = pq.read_metadata(written.paths[0]).row_group(0)
    columns = [group.column(index) for index in range(group.num_columns)]
    coded = {column.path_in_schema: "RLE_DICTIONARY" in column.encodings for column in columns}
    assert coded["letter"]
    assert not coded["_record"]
