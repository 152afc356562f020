"""Texts that come encoded by a dictionary are judged as plain ones are, whatever their dictionaries hold."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.harmonise import HARMONISED_FIELDS
from catalog.table import Table
from validations import coded
from validations.gate import Gate

TABLE = Table.model_validate(
    {
        "name": "genomics.samples",
        "description": "Samples",
        "standard": "none",
        "key": ("_dataset", "_record"),
        "sort": ("_dataset",),
        "science": ("alleles_differ", "alleles_differ", "alleles_differ"),
        "columns": [
            {
                "name": "contig",
                "type": "string",
                "nullable": False,
                "description": "c",
                "checks": {"str_matches": "[0-9X]+"},
            },
            {"name": "ref", "type": "string", "description": "r", "checks": {"isin": ["A", "C"]}},
            {"name": "alt", "type": "string", "description": "a", "checks": {"str_matches": "[ACGT]+"}},
        ],
    }
)
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["1", "X", "wrong", None]),
        st.sampled_from(["A", "C", "?", None]),
        st.sampled_from(["A", "ACGT", "", None]),
    ),
    min_size=1,
    max_size=30,
)


def _harmonised(rows: list[Any], encode: tuple[bool, ...]) -> pa.RecordBatch:
    columns = dict(
        zip(
            ("contig", "ref", "alt"), (pa.array(values, pa.string()) for values in zip(*rows, strict=True)), strict=True
        )
    )
    for name, wanted in zip(list(columns), encode, strict=True):
        if wanted:
            # A value that no row has: a dictionary may be that of more rows.
            whole = pa.concat_arrays([columns[name], pa.array(["unused!"])]).dictionary_encode()
            columns[name] = whole.slice(0, len(rows))
    count = len(rows)
    given = {
        **columns,
        "_dataset": pa.array(["genomics/samples"] * count),
        "_record": pa.array([str(number) for number in range(count)]),
        "_part": pa.array(["all"] * count),
        "_source": pa.array(range(count), pa.int64()),
        "_position": pa.array([f"line {number}" for number in range(count)]),
    }
    fields = [*TABLE.arrow_schema, *HARMONISED_FIELDS]
    arrays = [given.get(field.name, pa.nulls(count, field.type)) for field in fields]
    raw = pa.StructArray.from_arrays([given["_record"]], names=["record"])
    names = [field.name for field in fields]
    return pa.RecordBatch.from_arrays([*arrays, raw], names=[*names, "_raw"])


def _judged(batch: pa.RecordBatch) -> tuple[list[Any], list[Any], Any]:
    refused: list[Any] = []
    gate = Gate("genomics/samples", TABLE, lambda rows: refused.extend(rows.to_pylist()))
    kept = [
        row for rows in gate.keep(pa.RecordBatchReader.from_batches(batch.schema, [batch])) for row in rows.to_pylist()
    ]
    return kept, refused, gate.report(batch.num_rows)


@settings(deadline=None, max_examples=40)
@given(rows=ROWS, encode=st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_the_verdict_on_encoded_texts_is_the_verdict_on_plain_ones(rows: list[Any], encode: tuple[bool, ...]) -> None:
    plain, refused, report = _judged(_harmonised(rows, (False, False, False)))
    sound = [
        str(number)
        for number, (contig, ref, alt) in enumerate(rows)
        if contig in ("1", "X") and ref != "?" and alt != "" and (alt is None or ref is None or alt != ref)
    ]

    assert [row["_record"] for row in plain] == sound
    assert _judged(_harmonised(rows, encode)) == (plain, refused, report)


@pytest.mark.parametrize(("values", "encoded"), [(["A", "C"] * 50, True), ([f"A{'C' * n}" for n in range(100)], False)])
def test_texts_are_encoded_where_they_repeat(values: list[str], encoded: bool) -> None:
    batch = pa.record_batch({"alt": pa.array(values)})

    found = coded.Coding(("alt",)).of(batch)

    assert pa.types.is_dictionary(found["alt"].type) == encoded
    assert found["alt"].to_pylist() == values
