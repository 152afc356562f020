"""Harmonise: source batches become canonical batches by the contract's mapping: rename, cast, convert units, translate.

A value that does not fit is a failure of its record, noted beside the row for the gate, never an exception and
never a silent null. What no record could satisfy (a mapped column that the source lacks) is a HarmoniseError.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from assets.exact_casts import exact
from assets.generalise import generalise
from assets.readers import SOURCE_FIELDS
from assets.transforms import reads, rows_per_batch, transform
from catalog.dataset import Dataset, Mapping, TableMapping
from catalog.errors import HarmoniseError
from catalog.expressions import expression_columns
from catalog.rights.licences import UnknownLicenceError, normalise, obligations
from catalog.rights.terms import Sensitive
from catalog.sql_types import literal, sql_type
from catalog.table import Column, Table
from catalog.units import conversion

FAILURE = pa.struct([pa.field(name, pa.string()) for name in ("column", "check", "value", "reason")])
HARMONISED_FIELDS = (
    pa.field("_source", pa.int64(), nullable=False),
    pa.field("_position", pa.string(), nullable=False),
    pa.field("_dropped", pa.string()),
    pa.field("_failures", pa.list_(FAILURE)),
)
"""What follows the canonical columns (with ``_raw``, the source's own values as a struct) until the gate."""

GATHERED_BYTES = 32 << 20

_PLAIN = re.compile(r'[A-Za-z_]\w*|"[^"]+"')


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
    derive = transform(table.transform) if table.transform else None
    projection: Projection | None = None
    with contextlib.closing(_locked()) as connection:
        for batch in _gathered(batches, rows_per_batch(table.transform) if table.transform else 1):
            source = derive(batch) if derive else batch
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
class Term:
    """One canonical column as SQL: its value, whether it failed, and how people know its source."""

    column: Column
    value: str
    failed: str | None
    said: str
    reads: tuple[str, ...]
    attempt: str | None = None
    passes: bool = False
    """Whether it is the source column as it stands, or nothing; SQL need not see it."""


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
        _refuse_clashes(dataset, source)
        mapping = dataset.feeds[table.name]
        terms = tuple(_term(column, mapping.mapping(column.name), source, dataset) for column in table.columns) + tuple(
            _reserved_terms(dataset, table, mapping, source, part)
        )
        selected = [f'{term.value} AS "{term.column.name}"' for term in terms if not term.passes]
        failed = ", ".join(f"{term.failed} AS failed_{index}" for index, term in enumerate(terms) if term.failed)
        sensitive = dataset.terms.sensitive
        parts = [*selected, _dropped(mapping, source, dataset), *_holding(sensitive, source, dataset)]
        parts += [failed] if failed else []
        attempts = "".join(f', {term.attempt} AS "try_{term.column.name}"' for term in terms if term.attempt)
        sql = f"SELECT {', '.join(parts)} FROM (SELECT *{attempts} FROM source)"
        return cls(dataset.name, terms, table, sql, sensitive, key)

    def apply(self, connection: duckdb.DuckDBPyConnection, source: pa.RecordBatch) -> pa.RecordBatch:
        """Map one batch; rows keep their order."""
        connection.register("source", pa.Table.from_batches([source]))
        try:
            found = connection.sql(self.sql).to_arrow_table()
        except duckdb.Error as error:
            raise HarmoniseError(
                f"{self.dataset}: the mapping to {self.table.name} does not fit the source: {str(error).strip()}",
                "correct the expression below `columns:` or `drop:`",
            ) from None
        connection.unregister("source")
        lenient = pa.schema([field.with_nullable(True) for field in self.table.arrow_schema])
        arrays = self._arrays(found, source)
        licence = lenient.get_field_index("_licence")
        arrays[licence] = _spdx(arrays[licence])
        if self.sensitive:
            holds = [_whole(found[f"sensitive_{index}"]) for index in range(len(self.sensitive))]
            named = dict(zip(lenient.names, arrays, strict=True))
            arrays = list(generalise(named, self.table, self.sensitive, holds, source["_source"], self.key).values())
        extra = [
            source["_source"],
            source["_position"],
            _whole(found["_dropped"]),
            self._failures(found, source),
            pa.StructArray.from_arrays(source.columns, fields=list(source.schema)),
        ]
        schema = pa.schema([*lenient, *HARMONISED_FIELDS, pa.field("_raw", extra[-1].type)])
        return pa.RecordBatch.from_arrays([*arrays, *extra], schema=schema)

    def _arrays(self, found: pa.Table, source: pa.RecordBatch) -> list[pa.Array]:
        """The canonical columns, in the table's order."""
        arrays = {}
        for term in self.terms:
            name, kind = term.column.name, term.column.arrow.type
            if not term.passes:
                arrays[name] = _whole(found[name]).cast(kind)
            else:
                arrays[name] = source[term.reads[0]] if term.reads else pa.nulls(source.num_rows, kind)
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


def _term(column: Column, mapping: Mapping | None, source: pa.Schema, dataset: Dataset) -> Term:
    if mapping is None and column.name in source.names:
        mapping = Mapping.model_validate({"from": f'"{column.name}"'})
    if mapping is None:
        if not column.nullable:
            raise HarmoniseError(
                f"{dataset.name}: column {column.name!r} is required, but neither mapped nor given by the source",
                f"map it below `columns:`; the source has: {_listed(source)}",
            )
        return Term(column, "NULL", None, "nothing", (), passes=True)
    reads = _resolve(mapping.from_, source, dataset)
    plain = bool(_PLAIN.fullmatch(mapping.from_.strip())) and not mapping.values and mapping.unit in (None, column.unit)
    if plain:
        return _plain_term(column, source.field(reads[0]))
    return _tried_term(column, _expression(column, mapping), mapping.from_, reads)


def _tried_term(column: Column, expression: str, said: str, reads: tuple[str, ...]) -> Term:
    # TRY gives null on an error; the struct around the value tells that null from a value that is null.
    attempt = f"TRY(struct_pack(v := {exact(expression, column.arrow.type)}))"
    name = f'"try_{column.name}"'
    return Term(column, f"{name}.v", f"({name} IS NULL)", f"expression {said!r}", reads, attempt)


def _plain_term(column: Column, field: pa.Field) -> Term:
    quoted, kind = f'"{field.name}"', column.arrow.type
    if field.type == kind:
        return Term(column, quoted, None, f"source column {field.name!r}", (field.name,), passes=True)
    if pa.types.is_nested(kind) or pa.types.is_temporal(kind) or pa.types.is_integer(kind):
        return replace(_tried_term(column, quoted, "", (field.name,)), said=f"source column {field.name!r}")
    cast = f"TRY_CAST({quoted} AS {sql_type(kind)})"
    failed = f"({quoted} IS NOT NULL AND {cast} IS NULL)"
    return Term(column, cast, failed, f"source column {field.name!r}", (field.name,))


def _expression(column: Column, mapping: Mapping) -> str:
    """The mapping's expression with values translated and units converted."""
    text = f"({mapping.from_})"
    if mapping.values is not None:
        cases = " ".join(f"WHEN {literal(source)} THEN {literal(target)}" for source, target in mapping.values.items())
        # A value that the contract does not list is refused rather than passed on.
        # By a cast that fails: error() counts as volatile, which TRY does not take.
        refusal = f"CAST(CAST('not listed: ' || CAST({text} AS VARCHAR) AS INTEGER) AS VARCHAR)"
        text = f"CASE CAST({text} AS VARCHAR) {cases} ELSE {refusal} END"
    if mapping.unit is not None and mapping.unit != column.unit:
        assert column.unit is not None
        factor, offset = conversion(mapping.unit, column.unit)
        text = _scaled(text, column.arrow.type, factor, offset)
    return text


def _scaled(text: str, kind: pa.DataType, factor: float, offset: float, depth: int = 0) -> str:
    if pa.types.is_list(kind):
        inner = _scaled(f"v{depth}", kind.value_type, factor, offset, depth + 1)
        return f"list_transform({text}, lambda v{depth}: {inner})"
    shift = f" + {offset!r}" if offset else ""
    scaled = f"(CAST({text} AS DOUBLE) * {factor!r}::DOUBLE{shift})"
    # 1.001 kbp are 1001 bp, whatever doubles make of it; the cast refuses what is no integer even so.
    return f"round({scaled}, 6)" if pa.types.is_integer(kind) else scaled


def _reserved_terms(
    dataset: Dataset, table: Table, mapping: TableMapping, source: pa.Schema, part: str
) -> Iterator[Term]:
    def column(name: str) -> Column:
        found = table.column(name)
        assert found is not None
        return found

    record = mapping.mapping("_record")
    yield Term(column("_dataset"), literal(dataset.name), None, "", ())
    if record is None:
        yield Term(column("_record"), "coalesce(_record, _position)", None, "", ())
    else:
        identifier = f"coalesce(CAST(({record.from_}) AS VARCHAR), _position)"
        yield _tried_term(column("_record"), identifier, record.from_, _resolve(record.from_, source, dataset))
    yield Term(column("_part"), literal(part), None, "", ())
    licence, embargo = dataset.terms.row_licence, dataset.terms.embargo
    if licence is None:
        yield Term(column("_licence"), "CAST(NULL AS VARCHAR)", None, "", ())
    else:
        reads = _resolve(licence.column, source, dataset)
        yield _tried_term(column("_licence"), f"({licence.column})", licence.column, reads)
    if embargo is None or embargo.column is None:
        yield Term(column("_embargo_until"), "CAST(NULL AS DATE)", None, "", ())
    else:
        reads = _resolve(embargo.column, source, dataset)
        until = f"{exact(f'({embargo.column})', pa.date32())} + INTERVAL {embargo.months} MONTH"
        yield _tried_term(column("_embargo_until"), f"({until})", embargo.column, reads)


def _dropped(mapping: TableMapping, source: pa.Schema, dataset: Dataset) -> str:
    """The name of the first rule that drops the row, or null; what could not be read is refused, not dropped."""
    cases = []
    for rule, condition in mapping.drop.items():
        _resolve(condition, source, dataset)
        cases.append(f"WHEN TRY(CAST(({condition}) AS BOOLEAN)) THEN {literal(rule)}")
    chosen = f"CASE WHEN _error IS NOT NULL THEN NULL {' '.join(cases)} END" if cases else "NULL"
    return f"CAST({chosen} AS VARCHAR) AS _dropped"


def _holding(rules: tuple[Sensitive, ...], source: pa.Schema, dataset: Dataset) -> Iterator[str]:
    """For each rule on sensitive records whether it holds; what cannot be told counts as holding."""
    for index, rule in enumerate(rules):
        _resolve(rule.when, source, dataset)
        yield f"coalesce(TRY(CAST(({rule.when}) AS BOOLEAN)), true) AS sensitive_{index}"


def _refuse_clashes(dataset: Dataset, source: pa.Schema) -> None:
    spelled: dict[str, str] = {}
    for name in source.names:
        other = spelled.setdefault(name.lower(), name)
        if other != name:
            raise HarmoniseError(
                f"{dataset.name}: SQL cannot tell the source columns {other!r} and {name!r} apart",
                "they differ in case only: map but one of them",
            )


def _resolve(expression: str, source: pa.Schema, dataset: Dataset) -> tuple[str, ...]:
    """The source columns that an expression reads, as the source spells them."""
    spelled = {name.lower(): name for name in source.names}
    wanted = sorted(expression_columns(expression))
    missing = [name for name in wanted if name.lower() not in spelled]
    if missing:
        raise HarmoniseError(
            f"{dataset.name}: the source has no column {missing[0]!r}, which {expression!r} reads",
            f"correct the mapping; the source has: {_listed(source)}",
        )
    return tuple(spelled[name.lower()] for name in wanted)


def _listed(source: pa.Schema) -> str:
    reserved: Collection[str] = {field.name for field in SOURCE_FIELDS}
    return ", ".join(name for name in source.names if name not in reserved)
