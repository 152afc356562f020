"""What the command line prints. Tables for people on a terminal, plain forms for programs; no decisions here."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pyarrow as pa
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from catalog.rights.policy import PERMITTED, decide, effective

if TYPE_CHECKING:
    import duckdb

    from catalog.dataset import Dataset
    from catalog.query import Door
    from dagster_project.check import Verdict
    from dagster_project.run import Outcome

SHOWN_ROWS = 100
_CELL = 200


def _console(stderr: bool = False) -> Console:
    """A console that does not cut lines when nobody is looking at a terminal."""
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.width = 240
    return console


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None) -> None:
    table = Table(title=title, title_justify="left", show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    if rows:
        _console().print(table)
    else:
        click.echo("no rows")


def _cell(value: Any) -> str:
    if value is None:
        return "—"
    text = str(value)
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
                outcome.dataset,
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
            click.echo(f"\n{outcome.dataset} {outcome.status}: {outcome.problem}", err=True)
            click.echo(f"  remedy: {outcome.remedy}", err=True)
            if outcome.version:
                click.echo(f"  {outcome.version} is still current", err=True)
    if found and all(outcome.status == "unchanged" for outcome in found):
        click.echo("nothing new: every source and contract is as it was, so nothing was parsed or published")


# -- check -------------------------------------------------------------------------------------------


def verdicts(found: Sequence[Verdict], markdown: bool) -> None:
    """A contributor's verdict, line by line."""
    for verdict in found:
        mark = "✓" if verdict.passed else "✗"
        click.echo(f"{'### ' if markdown else ''}{mark} {verdict.name}" + ("\n" if markdown else ""))
        if verdict.report and markdown:
            click.echo("| gate | table | check | observed | expected | |\n|---|---|---|---|---|---|")
        for check in verdict.checks:
            sign = "✓" if check.passed else "✗"
            if markdown:
                cells = (check.gate, check.table, check.name, check.observed, check.expected, sign)
                click.echo(f"| {' | '.join(cells)} |")
            else:
                click.echo(f"  {sign} {check.gate:<12} {check.table:<32} {check.name}: {check.observed}")
        if verdict.problem:
            quoted = "\n".join(f"    {line}" for line in verdict.problem.splitlines())
            click.echo(f"{quoted}\n    remedy: {verdict.remedy}")
        if markdown:
            click.echo()


# -- query and history -------------------------------------------------------------------------------


def answer(relation: duckdb.DuckDBPyRelation, form: str | None, output: Path | None) -> None:
    """Print or write an answer; csv, json and parquet stream."""
    form = form or (output and output.suffix.lstrip(".").replace("jsonl", "json")) or "table"
    if form not in ("table", "csv", "json", "parquet"):
        raise click.UsageError(f"{output} does not tell the format; give --format")
    if form == "parquet":
        if output is None:
            raise click.UsageError("--format parquet needs -o FILE")
        _write_parquet(relation, output)
    elif form == "table" and output is None:
        rows = relation.limit(SHOWN_ROWS + 1).fetchall()
        _table(relation.columns, rows[:SHOWN_ROWS])
        if len(rows) > SHOWN_ROWS:
            click.echo(f"the first {SHOWN_ROWS} rows; add LIMIT, or write all with -o FILE.parquet", err=True)
    else:
        with click.open_file(str(output or "-"), "w", encoding="utf-8") as file:
            _write_text(relation, "csv" if form == "table" else form, file)


def _write_parquet(relation: duckdb.DuckDBPyRelation, output: Path) -> None:
    import pyarrow.parquet as pq

    reader = relation.to_arrow_reader(16_384)
    with pq.ParquetWriter(output, reader.schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(batch)


def _write_text(relation: duckdb.DuckDBPyRelation, form: str, file: Any) -> None:
    import csv

    batches: Iterator[pa.RecordBatch] = iter(relation.to_arrow_reader(16_384))
    rows = (row for batch in batches for row in batch.to_pylist())
    if form == "csv":
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(relation.columns)
        writer.writerows([_plain(row[name]) for name in relation.columns] for row in rows)
        return
    file.write("[")
    for index, row in enumerate(rows):
        file.write((",\n " if index else "") + json.dumps(row, default=str, ensure_ascii=False))
    file.write("]\n")


def _plain(value: Any) -> Any:
    return json.dumps(value, default=str, ensure_ascii=False) if isinstance(value, list | dict) else value


def withheld(door: Door) -> None:
    """Say on stderr what the profile kept back and why."""
    said = set()
    for part in door.withheld:
        line = f"withheld under {door.profile}: {part.dataset} ({part.decision.reason})"
        if part.decision.changes_on:
            line += f", until {part.decision.changes_on}"
        if line not in said:
            said.add(line)
            click.echo(line, err=True)


def datasets(door: Door, as_json: bool) -> None:
    """The datasets and how they stand."""
    relation = door.answer(
        """
        SELECT d.dataset, d.tables, d.licence, d.allowed, d.changes_on AS embargo_until, d.version, d.rows,
               coalesce(g.last_gate, CASE WHEN d.allowed THEN 'not run' END) AS last_gate, d.reason
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
    rows = relation.fetchall()
    columns = ["dataset", "tables", "licence", door.profile, "embargo until", "version", "rows", "last gate"]
    _table(
        columns,
        [
            [
                row[0],
                ", ".join(row[1]),
                row[2],
                "permitted" if row[3] else "withheld",
                row[4],
                row[5] and f"@{row[5]}",
                *row[6:8],
            ]
            for row in rows
        ],
    )


def versions(door: Door, dataset: str) -> None:
    """The history of a dataset, newest first."""
    relation = door.answer(
        "SELECT version, \"table\", rows, bytes, origin, strftime(committed_at, '%Y-%m-%d %H:%M:%S') AS committed_utc, "
        f"left(snapshot_sha256, 12) AS snapshot FROM catalog.versions WHERE dataset = '{dataset}' ORDER BY version DESC"
    )
    _table(relation.columns, relation.fetchall())


def diff(tables: Sequence[dict[str, Any]]) -> None:
    """What changed between two versions."""
    columns = list(tables[0])
    rows = [
        [", ".join(row[name]) or None if isinstance(row[name], list) else row[name] for name in columns]
        for row in tables
    ]
    _table(columns, rows)


def quarantine(columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Refused records, one block each: long values read better below one another."""
    if not rows:
        click.echo("no record of the latest run is in quarantine")
    for row in rows:
        told = dict(zip(columns, row, strict=True))
        at = f", column {told['column']}" if told["column"] else ""
        click.echo(f"{told['position']} ({told['record']}): {told['table']}{at}, check {told['check']}")
        click.echo(f"  reason: {told['reason']}")
        if told["value"]:
            click.echo(f"  value:  {told['value']}")
        click.echo(f"  raw:    {told['raw'][:_CELL]}{'…' if len(told['raw']) > _CELL else ''}")


def terms(datasets: Sequence[Dataset], today: date) -> None:
    """Licence, evidence, obligations, attribution and what each profile may have."""
    for dataset in datasets:
        told = dataset.terms
        click.echo(f"{dataset.name}: {told.licence}\n  attribution: {told.attribution}")
        for key, value in told.citation.items():
            click.echo(f"  cite ({key}): {value}")
        for finding in told.evidence:
            click.echo(f"  evidence: “{finding.quote}” ({finding.url or finding.file}, read {finding.read_on})")
        for profile in PERMITTED:
            decision = decide(effective(told, None, None), profile, today)
            until = f", until {decision.changes_on}" if decision.changes_on else ""
            click.echo(f"  {profile}: {'permitted' if decision.allowed else 'withheld'}{until}; {decision.reason}")
        if told.row_licence:
            click.echo(
                f"  each row's own licence (source column {told.row_licence.column}) counts before the dataset's"
            )
        click.echo()
