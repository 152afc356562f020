"""Other libraries' conversions of the same VCF, each a process of its own, and whether all of them say the same.

They pin other versions of what Winnow uses, so they live in an environment of their own, which is made once, under
``~/.cache/winnow-benchmarks`` (or ``$WINNOW_BENCH_CACHE``), of what ``peers.txt`` lists; those for crystals have one of
their own, of ``crystal_peers.txt``.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import click
import duckdb

from benchmarks.gnomad_generator import INFO
from benchmarks.measure import Cost, measure
from catalog.sql_types import literal

PEERS = ("cyvcf2", "oxbow", "polars-bio", "duckdb")
_HERE = Path(__file__).parent
_FIXED = {
    "CHROM": ("CHROM", "chrom"), "POS": ("POS", "pos", "start"), "ID": ("ID", "id"), "REF": ("REF", "ref"),
    "ALT": ("ALT", "alt"), "QUAL": ("QUAL", "qual"), "FILTER": ("FILTER", "filter"),
}  # fmt: skip
_JOINED = {"ID": ";", "ALT": ",", "FILTER": ";", "vep": ","}
_TYPES = {"CHROM": "VARCHAR", "POS": "BIGINT", "REF": "VARCHAR", "QUAL": "FLOAT"}


def environment(requirements: str = "peers.txt") -> Path | None:
    """The folder of programs of the peers' environment, made if need be; None, said aloud, if it cannot be made."""
    listed = (_HERE / requirements).read_text(encoding="utf-8")
    cache = Path(os.environ.get("WINNOW_BENCH_CACHE") or Path.home() / ".cache" / "winnow-benchmarks")
    folder = cache / hashlib.sha256(listed.encode()).hexdigest()[:12]
    if not (folder / "complete").exists():
        commands = [
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            [str(folder / "bin" / "pip"), "install", "-q", "-r", str(_HERE / requirements)],
        ]
        for command in commands:
            if subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode:
                click.echo(f"skipped: the peers could not be installed ({' '.join(command)})", err=True)
                return None
        (folder / "complete").touch()
    return folder / "bin"


def convert(peer: str, source: Path, target: Path) -> Cost:
    """Measure one peer's conversion of a VCF file to Parquet."""
    programs = environment()
    if programs is None:
        raise SystemExit("the peers are not installed")
    script = _HERE / "conversions.py"
    command = [str(programs / "python"), str(script), peer, str(source), str(target), json.dumps(INFO)]
    return measure(command, quiet=True)


def compare(outputs: Mapping[str, Path]) -> None:
    """See that all files hold the same rows, whatever types their writers gave the columns.

    Compared are the number of rows and two sums over the hashes of their values, column by column, so that it takes
    no memory. Numbers are compared as 32-bit floats, which is what VCF's own libraries make of them.

    Raises:
        SystemExit: they do not; it names the columns and shows rows that only one of two files has.
    """
    names = [*_FIXED, *INFO]
    sums = ", ".join(f'bit_xor(hash("{name}")), sum(hash("{name}")::HUGEINT)' for name in names)
    whole = f"hash({', '.join(map(_quoted, names))})"
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar=false")
        connection.execute("SET memory_limit='4GB'")
        selects = {name: _canonical(connection, path) for name, path in outputs.items()}
        found = {
            name: connection.execute(
                f"SELECT count(*), bit_xor({whole}), sum({whole}::HUGEINT), {sums} FROM ({select})"
            ).fetchall()[0]
            for name, select in selects.items()
        }
        first, *others = found
        for other in others:
            if found[first] != found[other]:
                pairs = zip(found[first][3::2], found[other][3::2], strict=True)
                columns = [name for name, (mine, theirs) in zip(names, pairs, strict=True) if mine != theirs]
                shown = connection.sql(
                    f"(({selects[first]}) EXCEPT ALL ({selects[other]}) LIMIT 2) UNION ALL "
                    f"(({selects[other]}) EXCEPT ALL ({selects[first]}) LIMIT 2)"
                )
                raise SystemExit(
                    f"{first} and {other} differ: {found[first][0]:,} and {found[other][0]:,} rows, "
                    f"columns {', '.join(columns) or '(rows only)'}\n{shown}"
                )


def _quoted(name: str) -> str:
    return f'"{name}"'


def _canonical(connection: duckdb.DuckDBPyConnection, path: Path) -> str:
    """A SELECT of a file's columns under one set of names and types."""
    told = connection.execute(f"DESCRIBE SELECT * FROM read_parquet({literal(path)})").fetchall()
    types = {row[0]: str(row[1]) for row in told}
    columns = []
    for name in (*_FIXED, *INFO):
        given = next((each for each in _FIXED.get(name, (name,)) if each in types), None)
        if given is None:
            raise SystemExit(f"{path.name} has no column {name}")
        columns.append(f'{_value(name, _quoted(given), types[given])} AS "{name}"')
    return f"SELECT {', '.join(columns)} FROM read_parquet({literal(path)})"


def _value(name: str, column: str, kind: str) -> str:
    if name in _JOINED:
        separator = _JOINED[name]
        text = f"array_to_string({column}, '{separator}')" if kind.endswith("[]") else column
        text = f"replace({text}, '|', ',')" if name == "ALT" else text
        return f"coalesce(nullif({text}, ''), 'PASS')" if name == "FILTER" else f"nullif(nullif({text}, ''), '.')"
    if name in _TYPES:
        return f"{column}::{_TYPES[name]}"
    number, _, type_ = INFO[name].partition(",")
    if type_ == "Flag":
        return f"coalesce({column}, false)"
    plain = "INTEGER" if type_ == "Integer" else "FLOAT"
    return f"{column}::{plain}{'[]' if number == 'A' else ''}"
