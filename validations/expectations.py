"""Table gates: great-expectations over a profile that DuckDB computes from the staged files, drift included.

The profile is one row of numbers, so great-expectations (which holds frames in memory) never sees the data.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import duckdb
import polars as pl

from catalog.dataset import Gates
from catalog.records import ALL, Check, StagedTable, TableReport
from catalog.sql_types import literal
from catalog.table import Column, Table
from validations.gate import key_texts


@dataclass(frozen=True)
class Expectation:
    """One metric of the profile and the bounds it must keep."""

    metric: str
    sql: str
    least: float | None
    most: float | None
    remedy: str


def expectations(
    table: Table, gates: Gates, previous_rows: int | None, real_source: bool, part: str | None = ALL
) -> tuple[Expectation, ...]:
    """What one table's staged files must satisfy.

    Args:
        table: the contract.
        gates: the dataset's thresholds.
        previous_rows: rows of the version to compare with; None if there is none.
        real_source: whether ``min_rows`` applies: to the dataset's own source, not to a sample or an override.
        part: of the source, for ``only``: a row of another part would be published twice. None for a sample, which
            may hold rows of several parts, and gives way to whatever comes from the source.
    """
    return (*_expectations(table, gates, previous_rows, real_source), *_confined(table, gates, part))


def _confined(table: Table, gates: Gates, part: str | None) -> Iterator[Expectation]:
    known = {column.name for column in table.all_columns}
    for name, values in (gates.only_in(part) if part is not None else {}).items():
        if name in known:
            others = f'count(*) FILTER (CAST("{name}" AS VARCHAR) NOT IN ({", ".join(map(literal, values))}))'
            remedy = f"rows have another {name} than {', '.join(values)}: give each part the file that is its own"
            yield Expectation(f"only__{name}", others, None, 0, remedy)


def _expectations(table: Table, gates: Gates, previous_rows: int | None, real_source: bool) -> Iterator[Expectation]:
    least = gates.min_rows if real_source else 1
    yield Expectation("rows", "count(*)", least, None, "look for a source that is cut short; see `gates.min_rows`")
    if previous_rows:
        change = gates.max_row_change
        yield Expectation(
            "rows_per_previous_row",
            f"count(*) / {previous_rows}",
            1 - change,
            1 + change,
            "compare the source with the last version; if the change is real, raise `gates.max_row_change`",
        )
    key = ", ".join(f'"{name}"' for name in table.key)
    yield Expectation(
        "duplicate_keys",
        f"count(*) - count(DISTINCT ({key}))",
        None,
        0,
        f"two rows share the key ({', '.join(table.key)}): mend the source, or the mapping of the key",
    )
    for column in table.columns:
        yield from _column_expectations(column, gates)
    for ratio in table.ratios:
        judged = f"CASE WHEN count(*) >= {ratio.min_rows} THEN ({ratio.sql}) END"
        remedy = f"{ratio.name} of the whole table is out of bounds: {ratio.description}; compare the source's calls"
        yield Expectation(ratio.name, judged, ratio.least, ratio.most, remedy)


def _column_expectations(column: Column, gates: Gates) -> Iterator[Expectation]:
    quoted = f'"{column.name}"'
    limits = [
        limit for limit in (column.max_null_fraction, gates.max_null_fraction.get(column.name)) if limit is not None
    ]
    if limits:
        nulls = f"count(*) FILTER ({quoted} IS NULL) / greatest(count(*), 1)"
        remedy = f"too many rows lack {column.name}: check its mapping against the source"
        yield Expectation(f"null_fraction__{column.name}", nulls, None, min(limits), remedy)
    if column.type in ("int32", "int64", "float", "double"):
        least, most = column.checks.ge, column.checks.le
        remedy = f"values of {column.name} leave the range that its table states"
        if least is not None:
            yield Expectation(f"min__{column.name}", f"min({quoted})", least, None, remedy)
        if most is not None:
            yield Expectation(f"max__{column.name}", f"max({quoted})", None, most, remedy)


def profile(
    connection: duckdb.DuckDBPyConnection, staged: StagedTable, expected: Sequence[Expectation]
) -> dict[str, Any]:
    """Compute every metric in one pass over the staged files; nothing where there are none.

    Rows that repeat a key are not looked for where they were seen to be none, or so many, while the rows were written.
    """
    if not staged.files:
        return {}
    known = {} if staged.repeats is None else {"duplicate_keys": str(staged.repeats)}
    metrics = {expectation.metric: known.get(expectation.metric, expectation.sql) for expectation in expected}
    selected = ", ".join(f'{sql} AS "{metric}"' for metric, sql in metrics.items())
    listed = ", ".join(map(literal, staged.files))
    relation = connection.sql(f"SELECT {selected} FROM read_parquet([{listed}])")
    (row,) = relation.fetchall()
    return dict(zip(relation.columns, row, strict=True))


def present(
    connection: duckdb.DuckDBPyConnection, staged: StagedTable, table: Table, wanted: Mapping[str, Sequence[str]]
) -> Iterator[Check]:
    """Whether the staged rows hold, in each column, every value that the contract says must be there."""
    listed = ", ".join(map(literal, staged.files))
    for column, values in wanted.items():
        if column not in {known.name for known in table.all_columns}:
            continue  # of another table that the dataset feeds
        found = connection.sql(f'SELECT DISTINCT CAST("{column}" AS VARCHAR) FROM read_parquet([{listed}])').fetchall()
        lacking = [value for value in values if (value,) not in found]
        yield Check(
            gate="expectations",
            name=f"present__{column}",
            table=table.name,
            passed=not lacking,
            observed=f"no row with {column} {', '.join(lacking)}" if lacking else f"all {len(values)} are there",
            expected=f"rows with {column} {', '.join(values)}",
            remedy="look for a source that is cut short or of another part; see `gates.present`",
        )


def contested_keys(connection: duckdb.DuckDBPyConnection, files: Sequence[str], table: Table) -> frozenset[str]:
    """The keys that more than one staged row has (at most a million; beyond that the dataset is refused whole)."""
    key = ", ".join(f'"{name}"' for name in table.key)
    listed = ", ".join(map(literal, files))
    query = f"SELECT {key} FROM read_parquet([{listed}]) GROUP BY ALL HAVING count(*) > 1 LIMIT 1000000"
    found = pl.from_arrow(connection.sql(query).to_arrow_table())
    assert isinstance(found, pl.DataFrame)
    return frozenset(key_texts(found, table)) if found.height else frozenset()


def prepare_to_judge() -> None:
    """Load great-expectations in a thread, which takes seconds, while the rows are on their way."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    threading.Thread(target=import_module, args=("great_expectations",), name="great-expectations").start()


def judge(table: str, measured: dict[str, Any], expected: Sequence[Expectation]) -> tuple[Check, ...]:
    """Let great-expectations judge the profile; one Check per expectation."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    # Imported here: it takes seconds and 300 MB, and an unchanged run never comes this far.
    import great_expectations as gx
    import pandas as pd

    context: Any = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False, "profilers": False}
    between: Any = vars(gx.expectations)["ExpectColumnValuesToBeBetween"]
    source = context.data_sources.add_pandas("profile")
    definition = source.add_dataframe_asset("staged").add_batch_definition_whole_dataframe("all")
    frame = pd.DataFrame([measured]).astype(float)
    suite = gx.ExpectationSuite(table)
    present = [expectation for expectation in expected if measured[expectation.metric] is not None]
    for expectation in present:
        suite.add_expectation(
            between(column=expectation.metric, min_value=expectation.least, max_value=expectation.most)
        )
    results = definition.get_batch({"dataframe": frame}).validate(suite).results
    verdicts = {result.expectation_config.kwargs["column"]: bool(result.success) for result in results}
    return tuple(
        Check(
            gate="expectations",
            name=expectation.metric,
            table=table,
            # great-expectations takes NaN for a missing value, and passes it.
            passed=verdicts[expectation.metric] and not math.isnan(measured[expectation.metric]),
            observed=f"{measured[expectation.metric]:g}"
            if isinstance(measured[expectation.metric], float)
            else str(measured[expectation.metric]),
            expected=_bounds(expectation),
            remedy=expectation.remedy,
        )
        for expectation in present
    )


def _bounds(expectation: Expectation) -> str:
    if expectation.least is not None and expectation.most is not None:
        return f"{expectation.least:g} to {expectation.most:g}"
    return f"at least {expectation.least:g}" if expectation.least is not None else f"at most {expectation.most:g}"


def row_checks(report: TableReport, gates: Gates) -> tuple[Check, ...]:
    """The table-level verdict on the row gates: how much of the source may be quarantined."""
    refused = {"structure": 0, "science": 0}
    for failure in report.failures:
        refused[failure.gate] += failure.records
    share = report.quarantined / report.read if report.read else 0.0
    counted = f"{report.quarantined} of {report.read} records quarantined"
    passed = report.read > 0 and share <= gates.max_quarantined
    return tuple(
        Check(
            gate=gate,
            name="records",
            table=report.table,
            passed=passed or (report.read > 0 and not refused[gate]),
            observed=f"{counted}, {refused[gate]} failures of {gate}",
            expected=f"at least one record, at most {gates.max_quarantined:.0%} quarantined",
            remedy="read `winnow quarantine`; mend the source, the mapping, or `gates.max_quarantined`",
        )
        for gate in ("structure", "science")
    )


def empty_table(table: str, staged: StagedTable, dropped: Mapping[str, int] | None = None) -> Check:
    """The verdict when no row was kept, so that there is nothing to profile; ``dropped`` are records by their rule."""
    remedy = "the source holds no usable record: check its address and format, and `winnow quarantine`"
    if dropped:
        told = ", ".join(f"{rule!r} took {records}" for rule, records in dropped.items())
        remedy = f"no record was left by `drop:` ({told}): give a source that has some, or feed the other tables only"
    return Check(
        gate="expectations",
        name="rows",
        table=table,
        passed=staged.rows > 0,
        observed=str(staged.rows),
        expected="at least 1",
        remedy=remedy,
    )
