"""What an operator sees of a materialisation: counts, sizes, speed, rows over versions, a permitted preview."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import dagster as dg

from catalog.dataset import Dataset
from catalog.parts import missing_parts, parts_in_words
from catalog.query import Door
from catalog.records import GateReport, Snapshot, Stage, Version
from catalog.rights.embargo import utc_day
from catalog.sight import Sight
from catalog.table import load_table
from catalog.warehouse import table_name
from dagster_project.curate import House
from dagster_project.privacy import is_private, marked, observed

PREVIEW_ROWS = 10
CELL_WIDTH = 40


def raw_metadata(house: House, dataset: Dataset, snapshot: Snapshot) -> dict[str, Any]:
    """Where the bytes came from, and what pins them; of a private dataset neither."""
    private = is_private(house, dataset)
    return {
        **marked(private),
        **({} if private else {"source": snapshot.uri, "sha256": snapshot.sha256}),
        "origin": snapshot.origin,
        "bytes": snapshot.size,
        "files": len(snapshot.files),
        "fetched_at": dg.MetadataValue.timestamp(snapshot.fetched_at),
    }


def staged_metadata(house: House, dataset: Dataset, stage: Stage, report: GateReport) -> dict[str, Any]:
    """The account of every source record, and how fast it went."""
    private = is_private(house, dataset, stage.found)
    unknown = sum(said.rows for table in stage.tables for said in table.row_terms if said.licence == "NOASSERTION")
    records = sum(table.read for table in report.tables)
    seconds = sum(stage.seconds.values())
    return {
        **marked(private),
        "unchanged": stage.unchanged,
        "records_read": records,
        "records_kept": sum(table.kept for table in report.tables),
        "records_quarantined": sum(table.quarantined for table in report.tables),
        "records_dropped": sum(sum(table.dropped.values()) for table in report.tables),
        _row_count(private): sum(table.rows for table in report.tables),
        **({"rows_with_unknown_licence": unknown} if unknown else {}),
        **({} if stage.unchanged else {"bytes": sum(table.bytes for table in stage.tables)}),
        **({"records_per_second": round(records / seconds)} if seconds else {}),
        **({"seconds": dg.MetadataValue.json(stage.seconds)} if seconds else {}),
        "reasons": _reasons(report, private),
    }


def published_metadata(house: House, dataset: Dataset, version: Version) -> dict[str, Any]:
    """The version, its size, its history, and a preview if the open profile permits one."""
    history = house.ledger.versions(dataset.name)
    private = is_private(house, dataset)
    return {
        **marked(private),
        "version": str(version),
        "version_number": version.number,
        _row_count(private): sum(table.rows for table in version.tables),
        "bytes": sum(table.bytes for table in version.tables),
        "rows_over_versions": dg.MetadataValue.md(_plot([(v.number, sum(t.rows for t in v.tables)) for v in history])),
        **_previews(house, dataset),
    }


def table_metadata(house: House, table: str, datasets: Sequence[Dataset]) -> dict[str, Any]:
    """Which versions a canonical table shows everybody now, and how many rows of them."""
    lines = ["| dataset | version | rows |", "|---|---|---|"]
    rows = 0
    sight = Sight(house.ledger, datasets, "open", utc_day(house.clock()))
    for name, version in sight.versions.items():
        part = next((part for part in version.tables if part.table == table), None) if version else None
        if version is None or part is None:
            continue
        permitted = [said.rows for said, _, decision in sight.judged(version, part) if decision.allowed]
        if permitted:
            rows += sum(permitted)
            lines.append(f"| {name} | {version} | {sum(permitted):,} |")
    contract = load_table(table)
    schema = dg.TableSchema(
        columns=[
            dg.TableColumn(column.name, type=column.type, description=_column_words(column.description, column.unit))
            for column in contract.all_columns
        ]
    )
    return {
        "dagster/row_count": rows,
        "versions": dg.MetadataValue.md("\n".join(lines)),
        "dagster/column_schema": schema,
    }


def _column_words(description: str, unit: str | None) -> str:
    return f"{description} [{unit}]" if unit else description


def _row_count(private: bool) -> str:
    """Dagster shows what has its own name for it on other pages too."""
    return "rows" if private else "dagster/row_count"


def _reasons(report: GateReport, private: bool) -> dg.MetadataValue[Any]:
    failures = [failure for table in report.tables for failure in table.failures]
    if not failures:
        return dg.MetadataValue.text("no record was quarantined")
    if private:
        counts = Counter[tuple[str, str, str]]()
        for f in failures:
            counts[f.table, f.column, f.check] += f.records
        return dg.MetadataValue.md(
            markdown(("table", "column", "check", "records"), [(*key, records) for key, records in counts.items()])
        )
    rows = [(f.table, f.column, f.check, f.records, f.reason) for f in failures]
    return dg.MetadataValue.md(markdown(("table", "column", "check", "records", "reason"), rows))


def _previews(house: House, dataset: Dataset) -> dict[str, Any]:
    door = Door(house.warehouse, house.ledger, [dataset], "open", utc_day(house.clock()))
    version = door.versions[dataset.name]
    if version is None or door.access(version) == "withheld":
        return {"preview": dg.MetadataValue.text(f"no preview: {door.decision(dataset.name).reason}")}
    previews = {}
    for table in dataset.feeds:
        namespace, name = table_name(dataset.name, table)
        relation = door.answer(f'FROM "{namespace}"."{name}" LIMIT {PREVIEW_ROWS}')
        previews[f"preview_{load_table(table).short_name}"] = dg.MetadataValue.md(
            markdown(relation.columns, [[_short(value) for value in row] for row in relation.fetchall()])
        )
    return previews


def check_result(gate: str, report: GateReport, private: bool) -> dg.AssetCheckResult:
    """The verdict of one gate with its checks; of a private dataset no record's value."""
    verdicts = [check for check in report.checks if check.gate == gate]
    refused = [check for check in verdicts if not check.passed]
    rows = [
        ("✓" if check.passed else "✗", check.table, check.name, observed(check, private), check.expected, check.remedy)
        for check in sorted(verdicts, key=lambda check: check.passed)
    ]
    words = "; ".join(
        f"{check.table} {check.name}: {observed(check, private)}, expected {check.expected}" for check in refused
    )
    columns = ("", "table", "check", "observed", "expected", "remedy")
    return dg.AssetCheckResult(
        check_name=gate,
        passed=bool(verdicts) and not refused,
        severity=dg.AssetCheckSeverity.ERROR,
        description=words or f"{len(verdicts)} checks passed",
        metadata={
            **marked(private),
            **({"remedy": refused[0].remedy} if refused else {}),
            "refused": len(refused),
            "verdicts": dg.MetadataValue.md(markdown(columns, rows)),
        },
    )


def complete_result(dataset: Dataset, version: Version) -> dg.AssetCheckResult:
    """Whether a version has all parts that the contract names. It blocks nothing, as parts may come one by one."""
    missing = missing_parts(version, dataset.parts)
    has = f"{version} has {parts_in_words(version, dataset.parts)} parts"
    return dg.AssetCheckResult(
        check_name="complete",
        passed=not missing,
        severity=dg.AssetCheckSeverity.ERROR,
        description=has,
        metadata={"missing": ", ".join(missing) or "none"},
    )


def markdown(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table, whatever its cells hold."""
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    return "\n".join([*lines, *(f"| {' | '.join(map(_cell, row))} |" for row in rows)])


def _cell(value: Any) -> str:
    # A source's own text may hold what Markdown or HTML would act on.
    return re.sub(r"([\\`*_{}\[\]<>|~$!&])", r"\\\1", str(value)).replace("\n", " ")


def _short(value: Any) -> str:
    if value is None:
        return ""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= CELL_WIDTH else text[: CELL_WIDTH - 1] + "…"


def _plot(points: Sequence[tuple[int, int]]) -> str:
    """A bar per version as an SVG image in Markdown; Dagster's own plots go by run, not by version."""
    width, height, bar = 40 * len(points) + 20, 120, 28
    top = max(rows for _, rows in points) or 1
    bars = []
    for index, (number, rows) in enumerate(points):
        x, tall = 10 + 40 * index, round(80 * rows / top)
        bars.append(f'<rect x="{x}" y="{95 - tall}" width="{bar}" height="{tall}" fill="#4f43dd"/>')
        bars.append(f'<text x="{x + bar / 2}" y="{90 - tall}" font-size="8" text-anchor="middle">{rows:,}</text>')
        bars.append(f'<text x="{x + bar / 2}" y="110" font-size="10" text-anchor="middle">@{number}</text>')
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">{"".join(bars)}</svg>'
    return f"![rows over versions](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"
