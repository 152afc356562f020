"""Derivation: computes a derived table from permitted rows, and finds the terms of each of its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import duckdb
import pyarrow as pa

from catalog.derived import Derived
from catalog.errors import ContractError
from catalog.lineage import CARRIED, traced
from catalog.records import Decision
from catalog.rights.policy import Terms
from catalog.sql_types import literal, sql_type

Held = tuple[str, str | None]
"""A dataset, and the licence in force for some of its rows."""
Judge = Callable[[Iterable[Held], date | None], tuple[Terms, Decision]]
"""Gives the terms of what is made of rows under all of these, and the policy's word on them."""
BATCH_ROWS = 16_384


@dataclass(frozen=True)
class Marks:
    """Which bit of ``_terms`` stands for which dataset and licence; as many bits as there are of them."""

    held: tuple[Held, ...]

    @classmethod
    def of(cls, held: Iterable[Held]) -> Marks:
        """Marks in an order that never varies."""
        return cls(tuple(sorted(set(held), key=lambda each: (each[0], each[1] or ""))))

    def on(self, sql: str, dataset: str) -> str:
        """SQL for a dataset's rows with the columns that carry their terms."""
        cases = [
            f"WHEN _licence IS NOT DISTINCT FROM {literal(licence)} THEN CAST({literal(self._bits(index))} AS BIT)"
            for index, (name, licence) in enumerate(self.held)
            if name == dataset
        ]
        # A row whose terms are not among the marks has them all: too many are safe.
        everything = f"CAST({literal('1' * max(len(self.held), 1))} AS BIT)"
        bits = f"CASE {' '.join(cases)} ELSE {everything} END" if cases else everything
        return f"SELECT *, {bits} AS {CARRIED[0]}, _embargo_until AS {CARRIED[1]} FROM ({sql})"

    def _bits(self, index: int) -> str:
        return "".join("1" if each == index else "0" for each in range(len(self.held)))

    def read(self, bits: str) -> tuple[Held, ...]:
        """What the bits of a row stand for."""
        return tuple(held for held, bit in zip(self.held, bits, strict=True) if bit == "1")


@dataclass(frozen=True)
class MadeOf:
    """How many rows were made of rows under exactly these terms; ``until``: the latest of their embargoes."""

    held: tuple[Held, ...]
    until: date | None
    rows: int


def made_of(connection: duckdb.DuckDBPyConnection, marks: Marks, name: str) -> list[MadeOf]:
    """The distinct terms of a table's rows that were made of any row, most restrictive embargo last."""
    found = connection.execute(
        f"SELECT CAST(_terms AS VARCHAR), _until, count(*) FROM {name} WHERE _terms IS NOT NULL GROUP BY ALL "
        "ORDER BY 1, 2"
    ).fetchall()
    return [MadeOf(marks.read(bits), until, rows) for bits, until, rows in found]


def compute(
    connection: duckdb.DuckDBPyConnection, derived: Derived, marks: Marks, judge: Judge
) -> tuple[pa.RecordBatchReader, list[tuple[MadeOf, Decision]]]:
    """The permitted rows of a derived table, and what of it is withheld.

    A row that was made of no row (the count of nothing) has no terms, and is left out.

    Args:
        connection: has the tables that the SQL reads, with permitted rows only, marked.
        derived: the contract.
        marks: what the marks stand for.
        judge: gives the terms and the policy's word for what a row was made of.

    Raises:
        ContractError: the rows do not keep what the contract says of its key and its columns.
    """
    connection.execute(f"CREATE TEMP TABLE computed AS {traced(derived.sql)}")
    _check(connection, derived)
    rows: list[dict[str, Any]] = []
    refused: list[tuple[MadeOf, Decision]] = []
    for each in made_of(connection, marks, "computed"):
        terms, decision = judge(each.held, each.until)
        if not decision.allowed:
            refused.append((each, decision))
            continue
        bits = "".join("1" if held in each.held else "0" for held in marks.held)
        datasets = sorted({dataset for dataset, _ in each.held})
        rows.append({"bits": bits, "until": each.until, "datasets": datasets, "licence": terms.licence})
    kinds = {"bits": pa.string(), "until": pa.date32(), "datasets": pa.list_(pa.string()), "licence": pa.string()}
    connection.register("verdicts", pa.Table.from_pylist(rows, schema=pa.schema(kinds)))
    columns = [
        f'CAST(computed."{column.name}" AS {sql_type(column.arrow.type)}) AS "{column.name}"'
        for column in derived.columns
    ]
    order = ", ".join(f'computed."{name}"' for name in derived.order)
    relation = connection.sql(
        f"SELECT {', '.join(columns)}, verdicts.datasets AS _datasets, verdicts.licence AS _licence, "
        "verdicts.until AS _embargo_until FROM computed JOIN verdicts "
        "ON CAST(computed._terms AS VARCHAR) = verdicts.bits AND computed._until IS NOT DISTINCT FROM verdicts.until "
        f"ORDER BY {order}"
    )
    return pa.RecordBatchReader.from_batches(derived.arrow_schema, _batches(relation, derived.arrow_schema)), refused


def _batches(relation: duckdb.DuckDBPyRelation, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for batch in relation.to_arrow_reader(BATCH_ROWS):
        arrays = [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _check(connection: duckdb.DuckDBPyConnection, derived: Derived) -> None:
    key = ", ".join(f'"{name}"' for name in derived.key)
    twice = connection.execute(
        f"SELECT {key} FROM computed WHERE _terms IS NOT NULL GROUP BY {key} HAVING count(*) > 1 LIMIT 1"
    ).fetchone()
    if twice:
        values = ", ".join(f"{name} {value!r}" for name, value in zip(derived.key, twice, strict=True))
        raise ContractError(
            f"{derived.name}: two rows have the key {values}", "add a column to `key`, or to the SQL's GROUP BY"
        )
    for column in derived.columns:
        if column.nullable:
            continue
        missing = f'SELECT 1 FROM computed WHERE _terms IS NOT NULL AND "{column.name}" IS NULL LIMIT 1'
        if connection.execute(missing).fetchone():
            raise ContractError(
                f"{derived.name}: column {column.name!r} has no value in some row, and is not nullable",
                f"leave such rows out with WHERE {column.name} IS NOT NULL, or say `nullable: true`",
            )
