"""What the command line prints. Tables for people on a terminal, plain forms for programs; no decisions here."""

from __future__ import annotations

import csv
import json
import logging
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click
import pyarrow as pa
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from catalog.errors import StorageError
from catalog.sql_types import literal

if TYPE_CHECKING:
    import duckdb

    from catalog.query import Door
    from catalog.records import GateReport, Withdrawal
    from dagster_project.check import Verdict
    from dagster_project.run import Outcome

SHOWN_ROWS = 100
PIPED_WIDTH = 160
READABLE = 14  # characters that a folded column needs at least
_CELL = 200
BATCH_ROWS = 16_384


def _console(stderr: bool = False) -> Console:
    """A console that is wide when nobody is looking at a terminal."""
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    return console


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]], as_records_if_wide: bool = False) -> None:
    """Print a table, or, where asked and it does not fit, each row as a record of its own."""
    console = _console()
    table = Table(show_edge=False, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(Text(column), overflow="fold", no_wrap=index == 0 and not as_records_if_wide)
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    too_wide = table.__rich_measure__(console, console.options).maximum > console.width
    if as_records_if_wide and rows and too_wide and len(columns) * READABLE > console.width:
        _records(columns, rows)
    elif rows:
        console.print(table)
    else:
        click.echo(f"no rows; the columns are: {', '.join(columns)}")


def _records(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    width = max(map(len, columns))
    for number, row in enumerate(rows, start=1):
        click.echo(f"row {number}")
        for column, value in zip(columns, row, strict=True):
            click.echo(f"  {column:<{width}}  {_cell(value)}")


def _cell(value: Any) -> str:
    if value is None:
        return "—"
    text = str(value).replace("\n", " ")
    return text if len(text) <= _CELL else text[: _CELL - 1] + "…"


# -- run ---------------------------------------------------------------------------------------------


class _Bars(logging.Handler):
    def __init__(self, progress: Progress, names: Sequence[str]) -> None:
        super().__init__()
        self._progress = progress
        self._tasks = {name: progress.add_task(name, total=None, step="waiting", count="") for name in names}

    def emit(self, record: logging.LogRecord) -> None:
        told = record.__dict__
        task = self._tasks.get(told["dataset"])
        if task is not None:
            done, total = told["done"], told["total"]
            unit = f"{done / 1e6:.1f} MB" if told["step"] == "fetch" else f"{done:,} records" if done else ""
            self._progress.update(task, completed=done if total else None, total=total, step=told["step"], count=unit)


@contextmanager
def progress(names: Sequence[str]) -> Iterator[logging.Handler]:
    """Bars on stderr, one per dataset; silent when stderr is not a terminal."""
    console = _console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description:<24}"), TextColumn("{task.fields[step]:<8}"))
    with Progress(
        *columns,
        BarColumn(bar_width=20),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bars:
        yield _Bars(bars, names)


def outcomes(found: Sequence[Outcome]) -> None:
    """The table at the end of a run, and below it every problem with its remedy."""
    rows = []
    for outcome in found:
        tables = outcome.report.tables if outcome.report else ()
        rows.append(
            [
                outcome.name,
                outcome.status,
                f"@{outcome.version.number}" if outcome.version else None,
                sum(table.read for table in tables) if tables else None,
                sum(table.kept for table in tables) if tables else None,
                sum(table.quarantined for table in tables) if tables else None,
                sum(sum(table.dropped.values()) for table in tables) if tables else None,
                sum(table.rows for table in tables) if tables else None,
            ]
        )
    _table(["dataset", "outcome", "version", "read", "kept", "quarantined", "dropped", "rows"], rows)
    for outcome in found:
        if outcome.problem:
            click.echo(f"\n{outcome.name} {outcome.status}: {outcome.problem}", err=True)
            click.echo(f"  remedy: {outcome.remedy}", err=True)
            if outcome.version:
                click.echo(f"  {outcome.version} is still current{outcome.kept}", err=True)
    if found and all(outcome.status == "unchanged" for outcome in found):
        click.echo("nothing new: every source and contract is as it was, so nothing was parsed or published")


# -- check -------------------------------------------------------------------------------------------


def verdicts(found: Sequence[Verdict], markdown: bool) -> None:
    """A contributor's verdict, line by line."""
    for verdict in found:
        if markdown:
            click.echo("\n".join(_markdown_verdict(verdict)) + "\n")
        else:
            click.echo("\n".join(_text_verdict(verdict)))
    wrong = [verdict.name for verdict in found if not verdict.passed]
    click.echo(f"not yet: {', '.join(wrong)}" if wrong else "all is well")


def _text_verdict(verdict: Verdict) -> Iterator[str]:
    yield f"{_mark(verdict.passed)} {verdict.name}"
    if verdict.report:
        for check in verdict.report.checks:
            yield f"  {_mark(check.passed)} {check.gate:<12} {check.table:<32} {check.name}: {check.observed}"
        for line in _account(verdict.report):
            yield f"    {line}"
        for line in verdict.refused:
            yield f"      refused: {line}"
    if verdict.problem:
        for line in verdict.problem.splitlines():
            yield f"    {line}"
        yield f"    remedy: {verdict.remedy}"


def _markdown_verdict(verdict: Verdict) -> Iterator[str]:
    yield f"### {_mark(verdict.passed)} {verdict.name}\n"
    if verdict.problem:
        yield from ("```text", verdict.problem, "```", f"Remedy: {verdict.remedy}\n")
    if verdict.report:
        for line in _account(verdict.report):
            yield f"- {line}"
        for line in verdict.refused:
            yield f"  - refused: {line}"
        passed = sum(check.passed for check in verdict.report.checks)
        yield f"\n<details><summary>{passed} of {len(verdict.report.checks)} checks passed</summary>\n"
        yield "| | gate | table | check | observed | expected |\n|---|---|---|---|---|---|"
        for check in verdict.report.checks:
            cells = (check.gate, check.table, check.name, check.observed, check.expected)
            yield f"| {_mark(check.passed)} | {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"
        yield "\n</details>"


def _account(report: GateReport) -> Iterator[str]:
    """What became of the sample's records."""
    for table in report.tables:
        dropped = f", {sum(table.dropped.values())} dropped by rule" if table.dropped else ""
        yield (
            f"{table.table}: {table.read} records read, {table.kept} kept as {table.rows} rows, "
            f"{table.quarantined} quarantined{dropped}"
        )


def _mark(passed: bool) -> str:
    return "✓" if passed else "✗"


# -- query and history -------------------------------------------------------------------------------


def answer(relation: duckdb.DuckDBPyRelation, form: str, output: Path | None) -> None:
    """Print or write an answer; csv, json and parquet stream. A file appears whole or not at all."""
    if output is not None:
        partial = output.with_name(f".{output.name}.partial")
        try:
            _write(relation, form, partial)
            partial.replace(output)
        except OSError as error:
            raise StorageError(f"{output} cannot be written: {error.strerror or error}", "write elsewhere") from None
        finally:
            partial.unlink(missing_ok=True)
    elif form == "table":
        rows = relation.limit(SHOWN_ROWS + 1).fetchall()
        _table(relation.columns, rows[:SHOWN_ROWS], as_records_if_wide=True)
        if len(rows) > SHOWN_ROWS:
            click.echo(f"the first {SHOWN_ROWS} rows; write all with -o FILE.parquet (or .csv, .json)", err=True)
    else:
        _write_text(relation, form, sys.stdout)


def _write(relation: duckdb.DuckDBPyRelation, form: str, path: Path) -> None:
    if form == "parquet":
        import pyarrow.parquet as pq

        reader = relation.to_arrow_reader(BATCH_ROWS)
        with pq.ParquetWriter(path, reader.schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch)
    else:
        with path.open("w", encoding="utf-8") as file:
            _write_text(relation, form, file)


def _write_text(relation: duckdb.DuckDBPyRelation, form: str, file: IO[str]) -> None:
    batches: Iterator[pa.RecordBatch] = iter(relation.to_arrow_reader(BATCH_ROWS))
    columns = relation.columns
    rows = (row for batch in batches for row in zip(*(column.to_pylist() for column in batch.columns), strict=True))
    if form == "csv":
        writer = csv.writer(_Lines(file), lineterminator="\r\n")
        writer.writerow(columns)
        writer.writerows(map(_plain, row) for row in rows)
        return
    file.write("[")
    for index, row in enumerate(rows):
        file.write((",\n " if index else "") + _json(dict(zip(columns, row, strict=True))))
    file.write("]\n")


class _Lines:
    """Ends lines with a newline only: csv quotes a carriage return in a value only where its own lines end with one."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, line: str) -> None:
        self._file.write(line.removesuffix("\r\n") + "\n")


def _plain(value: Any) -> Any:
    return _json(value) if isinstance(value, list | dict) else value


def _json(value: Any) -> str:
    try:
        return json.dumps(value, default=str, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), default=str, ensure_ascii=False)


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list) else value


def withheld(door: Door) -> None:
    """Say on stderr what the profile kept back and why, and what is not there yet."""
    said = [f"withheld under {door.profile}: rows of {part.dataset} ({part.reason})" for part in door.withheld]
    for name in sorted(door.unpublished):
        why = "current version, as its newest was withdrawn" if door.ledger.recorded(name) else "version yet"
        said.append(f"{name} has no {why}: `winnow run {name}`")
    for line in dict.fromkeys(said):
        click.echo(line, err=True)


def datasets(door: Door, as_json: bool) -> None:
    """The datasets and how they stand."""
    relation = door.answer(
        """
        SELECT d.dataset, d.tables, d.licence, d.access, d.changes_on AS embargo_until, d.version, d.rows,
               g.last_gate, d.parts, d.reason
        FROM catalog.datasets AS d LEFT JOIN (
            SELECT dataset, CASE WHEN bool_and(passed) THEN 'passed' ELSE 'refused' END AS last_gate
            FROM catalog.gates AS g WHERE run_id = (
                SELECT arg_max(run_id, created_at) FROM catalog.gates AS latest WHERE latest.dataset = g.dataset)
            GROUP BY dataset) AS g USING (dataset)
        ORDER BY d.dataset
        """
    )
    if as_json:
        _write_text(relation, "json", sys.stdout)
        return
    columns = ["dataset", "tables", "licence", f"to {door.profile}", "embargo until", "version", "rows", "last gate"]
    rows = relation.fetchall()
    _table(columns, [_dataset_cells(row) for row in rows])
    for name, *_, parts, _ in rows:
        if parts and "without" in parts:
            click.echo(f"{name} has {parts}", err=True)


def _dataset_cells(row: Sequence[Any]) -> list[Any]:
    name, tables, licence, access, until, version, rows, gate, parts, _ = row
    number = version and f"@{version}" + (f" ({parts.partition(',')[0]})" if parts else "")
    return [name, ", ".join(tables), licence, access, until, number, rows, gate]


def versions(door: Door, dataset: str) -> None:
    """The history of a dataset, newest first."""
    parts = ", parts" if door.datasets[dataset].source.parts else ""
    relation = door.answer(
        "SELECT version, \"table\", rows, bytes, origin, strftime(committed_at, '%Y-%m-%d %H:%M:%S') AS committed_utc, "
        f"left(snapshot_sha256, 12) AS snapshot{parts} FROM catalog.versions WHERE dataset = {literal(dataset)} "
        'ORDER BY version DESC, "table"'
    )
    rows = relation.fetchall()
    if rows:
        _table(relation.columns, rows)
    elif door.ledger.recorded(dataset) is None:
        click.echo(f"{dataset} has no version yet: `winnow run {dataset}`")
    elif not door.ledger.versions(dataset):
        click.echo(f"no version of {dataset} stands: `winnow run {dataset}` makes a new one")
    else:
        reason = door.decision(dataset).reason
        click.echo(f"{dataset} is withheld under {door.profile}: {reason}; see `winnow terms {dataset}`", err=True)


def tombstones(found: Sequence[Withdrawal]) -> None:
    """The withdrawn versions of a dataset, newest first."""
    for tombstone in reversed(found):
        click.echo(tombstone.words())


def notes(lines: Iterable[str | None]) -> None:
    """What the operator must see beside an answer, on stderr."""
    for line in lines:
        if line:
            click.echo(line, err=True)


def diff(tables: Sequence[dict[str, Any]]) -> None:
    """What changed between two versions."""
    columns = list(tables[0])
    rows = [
        [", ".join(row[name]) or None if isinstance(row[name], list) else row[name] for name in columns]
        for row in tables
    ]
    _table(columns, rows)


def quarantine(refused: duckdb.DuckDBPyRelation | None, form: str, output: Path | None, limit: int) -> None:
    """Refused records: on the screen one block each, as long values read better so, and cut; else all and whole."""
    if form != "table":
        answer(_no_refusals() if refused is None else refused, form, output)
        return
    if refused is None:
        click.echo("no record of the latest run is in quarantine")
        return
    rows = refused.limit(limit + 1).fetchall()
    for row in rows[:limit]:
        told = dict(zip(refused.columns, row, strict=True))
        at = f", column {told['column']}" if told["column"] else ""
        click.echo(f"{told['position']} ({told['record']}): {told['table']}{at}, check {told['check']}")
        click.echo(f"  reason: {told['reason']}")
        if told["value"]:
            click.echo(f"  value:  {told['value']}")
        click.echo(f"  raw:    {told['raw'][:_CELL]}{'…' if len(told['raw']) > _CELL else ''}")
    if len(rows) > limit:
        click.echo(f"the first {limit} (--limit); write all with -o FILE.parquet (or .csv, .json)", err=True)


def _no_refusals() -> duckdb.DuckDBPyRelation:
    import duckdb

    from validations.quarantine import QUARANTINE_SCHEMA

    return duckdb.connect().from_arrow(QUARANTINE_SCHEMA.empty_table())
