"""Harmonise: source batches become canonical batches by the contract's mapping: rename, cast, convert units, translate.

A value that does not fit is a failure of its record, noted beside the row for the gate, never an exception and
never a silent null. What no record could satisfy (a mapped column that the source lacks) is a HarmoniseError.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assets.ahead import ahead
from assets.generalise import generalise
from assets.mapping import Term, column_term, dropped, holding, refuse_clashes, reserved_terms
from assets.transforms import reads, rows_per_batch, transform, works_apart
from catalog.dataset import Dataset
from catalog.errors import HarmoniseError
from catalog.expressions import expression_columns
from catalog.rights.licences import UnknownLicenceError, normalise, obligations
from catalog.rights.terms import Sensitive
from catalog.table import Table

FAILURE = pa.struct([pa.field(name, pa.string()) for name in ("column", "check", "value", "reason")])
HARMONISED_FIELDS = (
    pa.field("_source", pa.int64(), nullable=False),
    pa.field("_position", pa.string(), nullable=False),
    pa.field("_dropped", pa.string()),
    pa.field("_failures", pa.list_(FAILURE)),
)
"""What follows the canonical columns (with ``_raw``, the source's own values as a struct) until the gate."""

GATHERED_BYTES = 32 << 20


def wanted_columns(dataset: Dataset, table: Table) -> frozenset[str]:
    """The source columns that the mapping of one table reads, or its transform; readers need not provide others."""
    mapping = dataset.feeds[table.name]
    texts = [rule.from_ for rule in map(mapping.mapping, mapping.columns) if rule is not None]
    texts += mapping.drop.values()
    terms = dataset.terms
    texts += [
        part.column for part in (terms.row_licence, terms.embargo) if part is not None and part.column is not None
    ]
    texts += [rule.when for rule in terms.sensitive]
    derived = reads(table.transform) if table.transform else frozenset[str]()
    return derived.union(*(expression_columns(text) for text in texts))


def harmonise(
    batches: pa.RecordBatchReader, dataset: Dataset, table: Table, part: str = "all", key: str = ""
) -> pa.RecordBatchReader:
    """Map source batches to the table's columns; as many rows as the table's transform makes of each record.

    Args:
        batches: of a reader.
        dataset: whose mapping it is.
        table: what is mapped to.
        part: the part of a source in several files.
        key: the snapshot's sha256, by which generalised records are named.

    Returns:
        A reader with the table's columns, then HARMONISED_FIELDS, then ``_raw``.

    Raises:
        HarmoniseError: the mapping needs a source column that is not there, or leaves a required column empty.
    """
    rows = _harmonised(batches, dataset, table, part, key)
    first = next(rows, None)
    if first is None:
        schema = pa.schema([*table.arrow_schema, *HARMONISED_FIELDS, pa.field("_raw", pa.struct([]))])
        return pa.RecordBatchReader.from_batches(schema, iter(()))
    return pa.RecordBatchReader.from_batches(first.schema, _chain(first, rows))


def _chain(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from rest


def _harmonised(
    batches: pa.RecordBatchReader, dataset: Dataset, table: Table, part: str, key: str
) -> Iterator[pa.RecordBatch]:
    derive = transform(table.transform, dataset.transform) if table.transform else None
    projection: Projection | None = None
    with contextlib.closing(_locked()) as connection:
        sources: Iterator[pa.RecordBatch] = _gathered(
            batches, rows_per_batch(table.transform) if table.transform else 1
        )
        if derive:
            sources = map(derive, sources)
        for source in ahead(sources) if table.transform and works_apart(table.transform) else sources:
            if source.num_rows == 0:
                continue
            projection = projection or Projection.build(dataset, table, source.schema, part, key)
            yield projection.apply(connection, source)


def _gathered(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """Small batches put together until they have that many rows, or GATHERED_BYTES."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        gathered = sum(one.num_rows for one in waiting)
        if gathered >= rows or sum(one.nbytes for one in waiting) >= GATHERED_BYTES:
            yield waiting[0] if len(waiting) == 1 else pa.concat_batches(waiting)
            waiting = []
    if waiting:
        yield pa.concat_batches(waiting)


def _locked() -> duckdb.DuckDBPyConnection:
    """A connection that contributors' expressions run in: no file, no network, no way to change that."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone='UTC'")
    connection.execute("SET enable_progress_bar=false")
    # It would take a cast that two TRYs share out of them, and so let its failure end the run.
    connection.execute("SET disabled_optimizers='common_subexpressions'")
    connection.execute("SET enable_external_access=false")
    connection.execute("SET lock_configuration=true")
    return connection


@dataclass(frozen=True)
class Projection:
    """The mapping of one table, compiled to one DuckDB projection."""

    dataset: str
    terms: tuple[Term, ...]
    table: Table
    sql: str
    sensitive: tuple[Sensitive, ...] = ()
    key: str = ""

    @classmethod
    def build(cls, dataset: Dataset, table: Table, source: pa.Schema, part: str, key: str) -> Projection:
        """Compile; raises HarmoniseError where mapping and source do not fit."""
        refuse_clashes(dataset, source)
        mapping = dataset.feeds[table.name]
        terms = tuple(
            column_term(column, mapping.mapping(column.name), source, dataset) for column in table.columns
        ) + tuple(reserved_terms(dataset, table, mapping, source, part))
        selected = [f'{term.value} AS "{term.column.name}"' for term in terms if not term.passes]
        failed = ", ".join(f"{term.failed} AS failed_{index}" for index, term in enumerate(terms) if term.failed)
        sensitive = dataset.terms.sensitive
        parts = [*selected, *dropped(mapping, source, dataset), *holding(sensitive, source, dataset)]
        parts += [failed] if failed else []
        attempts = "".join(f', {term.attempt} AS "try_{term.column.name}"' for term in terms if term.attempt)
        sql = f"SELECT {', '.join(parts)} FROM (SELECT *{attempts} FROM source)" if parts else ""
        return cls(dataset.name, terms, table, sql, sensitive, key)

    def apply(self, connection: duckdb.DuckDBPyConnection, source: pa.RecordBatch) -> pa.RecordBatch:
        """Map one batch; rows keep their order. A text that came encoded by a dictionary stays so."""
        found = self._computed(connection, source)
        arrays = self._arrays(found, source)
        licence = self.table.arrow_schema.get_field_index("_licence")
        arrays[licence] = _spdx(arrays[licence])
        if self.sensitive:
            holds = [_whole(found[f"sensitive_{index}"]) for index in range(len(self.sensitive))]
            plain = [_decoded(array) for array in arrays]
            named = dict(zip(self.table.arrow_schema.names, plain, strict=True))
            arrays = list(generalise(named, self.table, self.sensitive, holds, source["_source"], self.key).values())
        lenient = [
            field.with_nullable(True).with_type(array.type)
            for field, array in zip(self.table.arrow_schema, arrays, strict=True)
        ]
        extra = [
            source["_source"],
            source["_position"],
            _whole(found["_dropped"]) if "_dropped" in found.column_names else pa.nulls(source.num_rows, pa.string()),
            self._failures(found, source),
            pa.StructArray.from_arrays(source.columns, fields=list(source.schema)),
        ]
        schema = pa.schema([*lenient, *HARMONISED_FIELDS, pa.field("_raw", extra[-1].type)])
        return pa.RecordBatch.from_arrays([*arrays, *extra], schema=schema)

    def _computed(self, connection: duckdb.DuckDBPyConnection, source: pa.RecordBatch) -> pa.Table:
        """What SQL makes of the batch; a table without columns where it need not see it."""
        if not self.sql:
            return pa.table({})
        connection.register("source", pa.Table.from_batches([source]))
        try:
            return connection.sql(self.sql).to_arrow_table()
        except duckdb.Error as error:
            raise HarmoniseError(
                f"{self.dataset}: the mapping to {self.table.name} does not fit the source: {str(error).strip()}",
                "correct the expression below `columns:` or `drop:`",
            ) from None
        finally:
            connection.unregister("source")

    def _arrays(self, found: pa.Table, source: pa.RecordBatch) -> list[pa.Array]:
        """The canonical columns, in the table's order."""
        arrays = {
            term.column.name: _passed(term, source)
            if term.passes
            else _whole(found[term.column.name]).cast(term.column.arrow.type)
            for term in self.terms
        }
        return [arrays[name] for name in self.table.arrow_schema.names]

    def _failures(self, found: pa.Table, source: pa.RecordBatch) -> pa.Array:
        """Per row the list of what did not fit; null where all did."""
        unread = source["_error"]
        flags = [(term, found[f"failed_{index}"]) for index, term in enumerate(self.terms) if term.failed]
        flags = [(term, flag) for term, flag in flags if pc.any(flag).as_py()]
        if not flags and unread.null_count == len(unread):
            return pa.nulls(source.num_rows, pa.list_(FAILURE))
        rows: list[list[dict[str, str | None]] | None] = [None] * source.num_rows
        for row, error in enumerate(unread.to_pylist()):
            if error is not None:
                rows[row] = [{"column": None, "check": "readable", "value": None, "reason": error}]
        for term, flag in flags:
            for row in pc.indices_nonzero(flag).to_pylist():
                if unread[row].as_py() is None:
                    rows[row] = [*(rows[row] or []), _cast_failure(term, source, row)]
        return pa.array(rows, pa.list_(FAILURE))


def _passed(term: Term, source: pa.RecordBatch) -> pa.Array:
    """A term that SQL need not see."""
    rows = source.num_rows
    if term.constant is not None:
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, dtype=np.int32)), pa.array([term.constant]))
    if not term.reads:
        return pa.nulls(rows, term.column.arrow.type)
    given = source[term.reads[0]]
    for other in term.reads[1:]:
        if given.null_count:
            filled = pc.coalesce(_decoded(given), _decoded(source[other]))
            given = filled.dictionary_encode() if pa.types.is_dictionary(given.type) else filled
    return given


def _decoded(array: pa.Array) -> pa.Array:
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _spdx(said: pa.Array) -> pa.Array:
    """Licences as SPDX. What is not understood becomes NOASSERTION: unknown, and none of its text is carried on."""
    coded = pc.dictionary_encode(said)
    known = [_known(normalise(text)) for text in coded.dictionary.to_pylist()]
    return pa.array(known, pa.string()).take(coded.indices)


def _known(licence: str) -> str:
    try:
        obligations(licence)
    except UnknownLicenceError:
        return "NOASSERTION"
    return licence


def _whole(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    combined = column.combine_chunks()
    return combined if isinstance(combined, pa.Array) else pa.concat_arrays(combined.chunks)


def _cast_failure(term: Term, source: pa.RecordBatch, row: int) -> dict[str, str | None]:
    values = {name: source[name][row].as_py() for name in term.reads}
    shown = next(iter(values.values())) if len(values) == 1 else values
    reason = f"{term.said} does not become {term.column.name} ({term.column.type}); check the mapping, or the record"
    return {"column": term.column.name, "check": "cast", "value": str(shown)[:1000], "reason": reason}
