"""Writes docs/reference from the contracts and the code: ``python -m dagster_project.reference docs/reference``."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import click

from assets.readers import formats, reader
from catalog.dataset import Dataset, load_datasets
from catalog.derived import RESERVED_COLUMNS, Derived, load_derived
from catalog.expressions import FUNCTION_GROUPS, QUERY_GROUPS
from catalog.inventory import INVENTORY
from catalog.lineage import AGGREGATES
from catalog.query import TABLE_FUNCTIONS
from catalog.rights.licences import load_licences
from catalog.rights.policy import PERMITTED, Terms, decide
from catalog.table import Checks, Column, Table, load_table, table_names
from catalog.units import UNITS
from dagster_project.cli import main as command_line
from validations.science import science_checks

_COLUMNS = "\n| column | type | unit | term | required | description | checks |\n|---|---|---|---|---|---|---|"
# Pages that are written from data which lies beside the repository.
OTHERS = frozenset({"vcf-conformance.md"})
_NOTE = "<!-- Written by `make docs`; change the contracts or the code, not this page. -->\n"


def pages() -> dict[str, str]:
    """File name -> text of every reference page."""
    tables, datasets, derived = [load_table(name) for name in table_names()], load_datasets(), load_derived()
    found = {f"tables/{table.name}.md": _page(_table(table, datasets)) for table in tables}
    found |= {f"tables/{table.name}.md": _page(_derived(table)) for table in derived}
    return found | {
        "README.md": _page(_index(tables, derived)),
        "datasets.md": _page(_datasets(datasets)),
        "command-line.md": _page(_commands()),
        "licences.md": _page(_licences()),
        "formats.md": _page(_formats()),
        "signals.md": _page(_signals(datasets)),
        "expressions.md": _page(_expressions()),
        "queries.md": _page(_queries()),
    }


def _page(lines: Iterator[str]) -> str:
    return _NOTE + "\n".join(lines) + "\n"


def _index(tables: list[Table], derived: tuple[Derived, ...]) -> Iterator[str]:
    yield "# Reference\n"
    yield "- [Command line](command-line.md)\n- [Datasets](datasets.md)\n- [Licences](licences.md)"
    yield "- [Formats](formats.md): what can be read, with which options"
    yield "- [VCF conformance](vcf-conformance.md): what becomes of the files that test validators of VCF"
    yield "- [Signals](signals.md): what each machine's signals are in IMAS"
    yield "- [Expressions](expressions.md): the SQL functions and units that a contract may use"
    yield "- [Queries](queries.md): the `catalog` schema, and what a query may not do"
    yield "\nTables:\n"
    for table in tables:
        yield f"- [{table.name}](tables/{table.name}.md): {_line(table.description)}"
    yield "\nDerived tables:\n"
    for made in derived:
        yield f"- [{made.name}](tables/{made.name}.md): {made.title}"


def _derived(table: Derived) -> Iterator[str]:
    yield f"# {table.name}\n\n{table.title}. {_line(table.description)}\n"
    yield f"- Computed from: {', '.join(f'[{name}]({name}.md)' for name in table.inputs)}"
    yield f"- Key: {_code(table.key)}\n- Sorted by: {_code(table.order)}\n- Owner: {table.owner}"
    yield _COLUMNS
    for column in (*table.columns, *RESERVED_COLUMNS):
        yield _column(column)
    yield f"\n## SQL\n\n```sql\n{table.sql.strip()}\n```"


def _table(table: Table, datasets: tuple[Dataset, ...]) -> Iterator[str]:
    feeders = [dataset.name for dataset in datasets if table.name in dataset.feeds]
    yield f"# {table.name}\n\n{_line(table.description)}\n"
    yield f"- Standard: {table.standard}\n- Key: {_code(table.key)}\n- Sorted by: {_code(table.sort)}"
    yield f"- Fed by: {_code(feeders) or 'no dataset yet'}"
    yield _COLUMNS
    for column in table.all_columns:
        yield _column(column)
    yield "\n## Science checks\n\nA record that fails one of these is quarantined.\n"
    for name in table.science:
        yield f"- `{name}`: {(science_checks()[name].__doc__ or '').strip().splitlines()[0]}"
    if table.ratios:
        yield "\n## Ratios\n\nA run of which all rows together are out of these bounds is refused.\n"
    for ratio in table.ratios:
        bounds = f"{ratio.least:g} to {ratio.most:g}, from {ratio.min_rows:,} rows on"
        yield f"- `{ratio.name}`: {bounds}. {_line(ratio.description)}."
    for view in table.views:
        yield f"\n## View {view.name}\n\n{_line(view.description)}\n\n```sql\n{view.sql.strip()}\n```"


def _signals(datasets: tuple[Dataset, ...]) -> Iterator[str]:
    yield "# Signals\n"
    yield "For each machine, what its signals are in the IMAS data dictionary 4.1.1. What is not listed is not read.\n"
    for dataset in datasets:
        _, model = reader(dataset.source.format)
        for name in dataset.feeds if "signals" in model.model_fields else ():
            options: Any = model(**dataset.options(name))
            yield f"## {options.device}: {dataset.name}\n"
            yield "| signal | IMAS | unit in the source | unit | no value | may be absent |\n|---|---|---|---|---|---|"
            for source, rule in options.signals.items():
                missing = ", ".join(f"`{mark:g}`" for mark in rule.missing)
                said = rule.unit or "as the file says"
                cells = (
                    f"`{source}`",
                    f"`{rule.signal}`",
                    said,
                    rule.node.unit,
                    missing,
                    "yes" if rule.optional else "",
                )
                yield "| " + " | ".join(cells) + " |"
            yield ""


def _column(column: Column) -> str:
    required = "" if column.nullable else "yes"
    cells = (
        f"`{column.name}`",
        f"`{column.type}`",
        column.unit or "",
        column.term or "",
        required,
        _line(column.description),
        _checks(column.checks),
    )
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _checks(checks: Checks) -> str:
    words = {name: field.description for name, field in Checks.model_fields.items()}
    stated = {name: value for name, value in checks if value is not None}
    short = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "isin": "one of", "str_matches": "matches"}
    return "; ".join(f"{short.get(name, words[name])} `{_value(value)}`" for name, value in stated.items())


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join("any" if part is None else str(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _datasets(datasets: tuple[Dataset, ...]) -> Iterator[str]:
    yield "# Datasets"
    for dataset in datasets:
        terms = dataset.terms
        yield f"\n## {dataset.name}\n\n{dataset.title}. {_line(dataset.description)}\n"
        yield f"- Tables: {', '.join(f'[{name}](tables/{name}.md)' for name in dataset.feeds)}"
        yield f"- Source: {dataset.source.uri or 'unpublished: ' + _line(dataset.source.unpublished or '')}"
        yield f"- Format: `{dataset.source.format}`\n- Licence: `{terms.licence}`"
        yield f"- Attribution: {_line(terms.attribution)}"
        for key, value in terms.citation.items():
            yield f"- Cite ({key}): {_line(value)}"
        yield f"- Schedule: {f'`{dataset.schedule}` (UTC)' if dataset.schedule else 'none'}"
        yield f"- Owner: {dataset.owner}"


def _commands() -> Iterator[str]:
    context = click.Context(command_line, info_name="winnow", terminal_width=100, **command_line.context_settings)
    yield f"# Command line\n\n```text\n{command_line.get_help(context)}\n```"
    for name in command_line.list_commands(context):
        command = command_line.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context, max_content_width=100, terminal_width=100)
        yield f"\n## winnow {name}\n\n```text\n{command.get_help(inner)}\n```"
    yield "\n## Exit codes\n"
    yield "0: done. 1: refused or failed, with the problem and the remedy. 2: the command was written wrongly."
    yield "130: interrupted."


def _licences() -> Iterator[str]:
    yield "# Licences\n"
    yield "What each licence asks, and which profile permits its rows. A licence that is not here is unknown, and the"
    yield "rows of an unknown licence are shown to `internal` only.\n"
    yield f"| licence | obligations | {' | '.join(PERMITTED)} |\n|---|---|{'---|' * len(PERMITTED)}"
    for spdx, licence in sorted(load_licences().items()):
        terms = Terms(licence=spdx, embargo_until=None)
        # Any day will do: without an embargo the policy says the same on all of them.
        permitted = ("yes" if decide(terms, profile, date.min).allowed else "no" for profile in PERMITTED)
        asked = ", ".join(sorted(licence.obligations)) or "nothing"
        yield f"| [{spdx}]({licence.url}) | {asked} | {' | '.join(permitted)} |"


def _formats() -> Iterator[str]:
    yield "# Formats\n\nWhat `source.format` may say, and the `source.options` of each."
    for name in formats():
        read, model = reader(name)
        words = inspect.getdoc(sys.modules[read.__module__]) or ""
        yield f"\n## {name}\n\n{words.replace('``', '`')}\n\n### Options\n"
        yield from _options(model.model_json_schema())


def _options(schema: dict[str, Any]) -> Iterator[str]:
    if not schema["properties"]:
        yield "None."
    for name, option in schema["properties"].items():
        default = "required" if name in schema.get("required", ()) else f"default {_code([option.get('default')])}"
        words = _line(option.get("description", ""))
        yield f"- `{name}` ({_kind(option)}; {default})" + (f": {words}" if words else "")


def _kind(schema: dict[str, Any]) -> str:
    """The type of a JSON schema in words; it reads the same on every Python."""
    if "anyOf" in schema:
        return " or ".join(_kind(part) for part in schema["anyOf"] if part.get("type") != "null")
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    return str(schema.get("type", "any"))


def _expressions() -> Iterator[str]:
    yield "# Expressions in contracts\n"
    yield "A mapping is a source column or an SQL scalar expression over source columns, in DuckDB's SQL. It may call"
    yield "these functions and no others, and has no access to files, network or environment."
    for group, names in FUNCTION_GROUPS.items():
        yield f"\n## {group.capitalize()}\n\n{_code(sorted(names))}"
    yield f"\n## Units\n\nA `unit` is one of: {_code(UNITS)}"


def _queries() -> Iterator[str]:
    yield "# Queries\n"
    yield "`winnow query` answers one SELECT in DuckDB's SQL over the tables, their views, and the `catalog` schema."
    yield "Files and paths are refused: rows in them may be withheld."
    yield "PIVOT needs its values: `PIVOT t ON c IN ('a', 'b') USING count(*)`."
    yield "\n## Functions\n\nThose of [contracts' expressions](expressions.md) may be called, and the following. Others"
    yield "are refused: they might tell of withheld rows (by a column's statistics), or of the machine."
    yield f"\n- Table functions: {_code(sorted(TABLE_FUNCTIONS))}"
    for group, names in QUERY_GROUPS.items():
        more = AGGREGATES if group == "aggregates" else ()
        yield f"- {group.capitalize()}: {_code(sorted({*names, *more}))}"
    for name, schema in INVENTORY.items():
        yield f"\n## catalog.{name}\n\n| column | type |\n|---|---|"
        for field in schema:
            yield f"| `{field.name}` | `{field.type}` |"


def _code(names: Iterable[object]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _line(text: str) -> str:
    return " ".join(text.split())


def main(target: Path) -> None:
    """Write every page below a folder, and remove pages that are no longer made."""
    made = pages()
    for old in target.rglob("*.md"):
        if old.relative_to(target).as_posix() not in OTHERS.union(made):
            old.unlink()
    for name, text in made.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
