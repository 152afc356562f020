"""What is wrong with a dataset's contract beyond its form: does it agree with tables, units, licences and files?"""

from __future__ import annotations

import re
from collections.abc import Iterator

from catalog.dataset import PART, SAMPLE_LIMIT, Dataset, TableMapping
from catalog.expressions import expression_columns
from catalog.located import Location
from catalog.rights import licences
from catalog.rights.evidence import finding_problem
from catalog.rights.terms import DatasetTerms
from catalog.table import FOLDER as TABLES
from catalog.table import MAPPABLE_RESERVED, RESERVED, Table, load_table, table_names
from catalog.units import UNITS, conversion, convertible


def problems(dataset: Dataset) -> Iterator[tuple[Location, str]]:
    """What pydantic cannot know: does it agree with the tables, the units, the licences, the files?"""
    if not re.fullmatch(r"[a-z]+/[a-z0-9_]+", dataset.name):
        yield (), f"folder {dataset.name!r} must be lower-case letters, digits and underscores"
    yield from _terms_problems(dataset.terms)
    if not dataset.sample_path.is_file():
        yield ("sample",), f"sample {dataset.sample!r} is not in {dataset.folder.name}/"
    elif dataset.sample_path.stat().st_size > SAMPLE_LIMIT:
        yield ("sample",), f"sample {dataset.sample!r} is larger than {SAMPLE_LIMIT} bytes"
    yield from _gate_problems(dataset)
    for name, mapping in dataset.feeds.items():
        place: Location = ("tables", name) if dataset.tables else ()
        if name not in table_names(TABLES):
            where: Location = place or ("table",)
            yield where, f"there is no table {name!r}; the tables are: {', '.join(table_names(TABLES))}"
            continue
        yield from _mapping_problems(place, load_table(name), mapping)
        if dataset.terms.sensitive and not any(column.locates for column in load_table(name).columns):
            yield ("terms", "sensitive"), f"table {name} has no column with `locates`, so no place would be hidden"


def _terms_problems(terms: DatasetTerms) -> Iterator[tuple[Location, str]]:
    unknown = licences.known(terms.licence)
    if unknown:
        yield ("terms", "licence"), unknown
    for index, finding in enumerate(terms.evidence):
        wrong = finding_problem(finding)
        if wrong:
            yield ("terms", "evidence", index), wrong
    for key, part in (("row_licence", terms.row_licence), ("embargo", terms.embargo)):
        if part is not None and part.column is not None:
            yield from _expression_problem(("terms", key, "column"), part.column)
    for index, rule in enumerate(terms.sensitive):
        yield from _expression_problem(("terms", "sensitive", index, "when"), rule.when)


def _gate_problems(dataset: Dataset) -> Iterator[tuple[Location, str]]:
    known = {c.name for name in dataset.feeds if name in table_names(TABLES) for c in load_table(name).all_columns}
    for name in dataset.gates.max_null_fraction:
        if name not in known:
            yield ("gates", "max_null_fraction", name), f"no table that the dataset feeds has a column {name!r}"
    for gate, rules in (("present", dataset.gates.present), ("only", dataset.gates.only)):
        for name, values in rules.items():
            if name not in known:
                yield ("gates", gate, name), f"no table that the dataset feeds has a column {name!r}"
            if dataset.source.parts is None and any(PART in value for value in values):
                yield ("gates", gate, name), f"{PART} stands for a part, but `source.parts` gives none"


def _mapping_problems(place: Location, table: Table, mapping: TableMapping) -> Iterator[tuple[Location, str]]:
    for rule, condition in mapping.drop.items():
        yield from _expression_problem((*place, "drop", rule), condition)
    for name in mapping.columns:
        where = (*place, "columns", name)
        column = table.column(name)
        if column is None or (column in RESERVED and name not in MAPPABLE_RESERVED):
            yield (
                where,
                f"table {table.name} has no column {name!r}; it has: {', '.join(c.name for c in table.columns)}",
            )
            continue
        rule_ = mapping.mapping(name)
        assert rule_ is not None
        yield from _expression_problem(where, rule_.from_)
        if rule_.unit is not None:
            wrong = _unit_problem(rule_.unit, column.unit)
            if wrong:
                yield (*where, "unit"), f"column {name!r}: {wrong}"


def _expression_problem(place: Location, text: str) -> Iterator[tuple[Location, str]]:
    try:
        expression_columns(text)
    except ValueError as error:
        yield place, f"expression {text!r}: {error}"


def _unit_problem(unit: str, target: str | None) -> str | None:
    if target is None:
        return f"unit {unit!r} is given, but the table's column has none"
    if unit not in UNITS:
        return (
            f"unit {unit!r} is not listed in catalog/units.py; units for [{target}]: {', '.join(convertible(target))}"
        )
    try:
        conversion(unit, target)
    except ValueError as error:
        return f"{error}; units for [{target}]: {', '.join(convertible(target))}"
    return None
