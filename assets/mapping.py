"""A contract's mapping as SQL: for each canonical column its value, and whether that failed; what drops a row."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import pyarrow as pa

from assets.exact_casts import exact
from assets.readers import SOURCE_FIELDS
from catalog.dataset import Dataset, Mapping, TableMapping
from catalog.errors import HarmoniseError
from catalog.expressions import expression_columns
from catalog.rights.terms import Sensitive
from catalog.sql_types import literal, sql_type
from catalog.table import Column, Table
from catalog.units import conversion

_LITERAL = re.compile(r"'((?:[^']|'')*)'")
_PLAIN = re.compile(r'[A-Za-z_]\w*|"[^"]+"')


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
    """Whether it is the source column as it stands (of several the first that is not null), or one text for all
    rows, or nothing; SQL need not see it."""
    constant: str | None = None


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind.value_type if pa.types.is_dictionary(kind) else kind))


def column_term(column: Column, mapping: Mapping | None, source: pa.Schema, dataset: Dataset) -> Term:
    """One of the table's own columns. Without a mapping it is the source column of that name, or nothing.

    Raises:
        HarmoniseError: the mapping reads a column that is not there, or a required column has nothing to be made of.
    """
    if mapping is None and column.name in source.names:
        mapping = Mapping.model_validate({"from": f'"{column.name}"'})
    if mapping is None:
        if not column.nullable:
            raise HarmoniseError(
                f"{dataset.name}: column {column.name!r} is required, but neither mapped nor given by the source",
                f"map it below `columns:`; the source has: {_listed(source)}",
            )
        return Term(column, "NULL", None, "nothing", (), passes=True)
    constant = _LITERAL.fullmatch(mapping.from_.strip())
    if constant and _is_text(column.arrow.type) and not mapping.values:
        return Term(column, "", None, "", (), passes=True, constant=constant[1].replace("''", "'"))
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
    if field.type == kind or (_is_text(kind) and _is_text(field.type)):
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


def reserved_terms(
    dataset: Dataset, table: Table, mapping: TableMapping, source: pa.Schema, part: str
) -> Iterator[Term]:
    """Winnow's own columns: dataset, record, part, and what the source says of the row's licence and embargo."""

    def column(name: str) -> Column:
        found = table.column(name)
        assert found is not None
        return found

    record = mapping.mapping("_record")
    yield Term(column("_dataset"), "", None, "", (), passes=True, constant=dataset.name)
    if record is None:
        yield Term(column("_record"), "", None, "", ("_record", "_position"), passes=True)
    elif (plain := _text_column(record.from_, source)) is not None:
        yield Term(column("_record"), "", None, "", (plain, "_position"), passes=True)
    else:
        identifier = f"coalesce(CAST(({record.from_}) AS VARCHAR), _position)"
        yield _tried_term(column("_record"), identifier, record.from_, _resolve(record.from_, source, dataset))
    yield Term(column("_part"), "", None, "", (), passes=True, constant=part)
    licence, embargo = dataset.terms.row_licence, dataset.terms.embargo
    if licence is None:
        yield Term(column("_licence"), "", None, "", (), passes=True)
    else:
        reads = _resolve(licence.column, source, dataset)
        yield _tried_term(column("_licence"), f"({licence.column})", licence.column, reads)
    if embargo is None or embargo.column is None:
        yield Term(column("_embargo_until"), "", None, "", (), passes=True)
    else:
        reads = _resolve(embargo.column, source, dataset)
        until = f"{exact(f'({embargo.column})', pa.date32())} + INTERVAL {embargo.months} MONTH"
        yield _tried_term(column("_embargo_until"), f"({until})", embargo.column, reads)


def _text_column(expression: str, source: pa.Schema) -> str | None:
    """The one text column that an expression is, if it is no more than that."""
    name = expression.strip()
    return name if name in source.names and _is_text(source.field(name).type) else None


def dropped(mapping: TableMapping, source: pa.Schema, dataset: Dataset) -> Iterator[str]:
    """If there are rules, the name of the first that drops the row, or null; what is unreadable is refused instead."""
    cases = []
    for rule, condition in mapping.drop.items():
        _resolve(condition, source, dataset)
        cases.append(f"WHEN TRY(CAST(({condition}) AS BOOLEAN)) THEN {literal(rule)}")
    if cases:
        yield f"CAST(CASE WHEN _error IS NOT NULL THEN NULL {' '.join(cases)} END AS VARCHAR) AS _dropped"


def holding(rules: tuple[Sensitive, ...], source: pa.Schema, dataset: Dataset) -> Iterator[str]:
    """For each rule on sensitive records whether it holds; what cannot be told counts as holding."""
    for index, rule in enumerate(rules):
        _resolve(rule.when, source, dataset)
        yield f"coalesce(TRY(CAST(({rule.when}) AS BOOLEAN)), true) AS sensitive_{index}"


def refuse_clashes(dataset: Dataset, source: pa.Schema) -> None:
    """Raise HarmoniseError where two source columns differ in case only."""
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
