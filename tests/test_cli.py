"""The command line as a person meets it: help, tables, formats, errors with a remedy, exit codes."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from catalog.dataset import dataset_names, load_dataset
from catalog.errors import ContractError
from catalog.rights.embargo import Embargo
from catalog.rights.licences import load_licences
from dagster_project import curate
from dagster_project.cli import main
from dagster_project.settings import Settings
from validations.quarantine import QUARANTINE_SCHEMA

ROOT = Path(__file__).parent.parent
COMMANDS = (
    "check",
    "diff",
    "list",
    "quarantine",
    "query",
    "release",
    "run",
    "terms",
    "ui",
    "vacuum",
    "verify",
    "versions",
    "withdraw",
)
WINNOW = Path(sys.executable).with_name("winnow")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home in which the bundled samples are published; clinvar in two versions, the second without two records."""
    home = tmp_path_factory.mktemp("home")
    house = curate.House(Settings.at(home))
    for name in dataset_names():
        _publish(house, load_dataset(name), None)
    lines = (ROOT / "assets/datasets/genomics/clinvar/sample.vcf").read_text().splitlines(keepends=True)
    shorter = home / "shorter.vcf"
    shorter.write_text("".join(lines[:-2]))
    _publish(house, load_dataset("genomics/clinvar"), str(shorter))
    return home


def _publish(house, dataset, source):
    where = curate.address(dataset, sample=source is None, override=source)
    stage, report = curate.stage(house, dataset, curate.fetch(house, dataset, where), f"run-{source}")
    assert report.passed, report.refusals()
    curate.commit(house, dataset, stage)


@pytest.fixture
def winnow(home, monkeypatch):
    """Call the command line in this process."""
    monkeypatch.setenv("WINNOW_HOME", str(home))
    return _call


def _call(*arguments, code=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output + repr(result.exception)
    assert "Traceback" not in result.output
    return result


def test_these_are_the_commands():
    assert tuple(sorted(main.commands)) == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_a_place_in_the_reference(winnow, name):
    command = main.commands[name]
    assert command.help
    assert command.short_help
    assert all(option.help for option in command.params if isinstance(option, click.Option))
    shown = winnow(name, "--help").output
    assert "\\b" not in shown
    assert f"Usage: main {name}" in shown
    assert f"## winnow {name}\n" in (ROOT / "docs/reference/command-line.md").read_text()


def test_list_is_a_table_for_people_and_json_for_programs(winnow):
    first = [line.split()[0] for line in winnow("list").stdout.splitlines()[2:]]
    assert [cell for cell in first if cell != "│"] == list(dataset_names())  # long cells go on in a line below
    told = {row["dataset"]: row for row in json.loads(winnow("list", "--json").stdout)}
    assert told["genomics/clinvar"]["version"] == 2
    assert told["crystals/cod"]["access"] == "permitted"
    assert told["crystals/cod"]["last_gate"] == "passed"


def test_the_first_query_of_the_docs_tells_a_fact_of_each_science(winnow):
    rows = json.loads(winnow("query", (ROOT / "docs/first-query.sql").read_text(), "--format", "json").stdout)
    assert [row["science"] for row in rows] == ["genomics", "crystals", "proteins", "fusion", "biodiversity"]
    assert all(row["rows"] > 0 and row["fact"] for row in rows)


def test_a_past_version_is_read_with_at(winnow):
    count = "SELECT count(*) AS n FROM {}"
    for table in ("genomics.clinical_significance", "genomics.clinvar__clinical_significance"):
        now, then = (
            json.loads(winnow("query", count.format(table), "--format", "json", *at).stdout)[0]["n"]
            for at in ((), ("--at", "genomics/clinvar@1"))
        )
        assert then == now + 2


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_an_answer_is_the_same_in_every_format(winnow, tmp_path, form):
    sql = "SELECT variant_id, position, clinical_significance, rs_id FROM genomics.clinical_significance ORDER BY ALL"
    file = tmp_path / f"answer.{form}"
    assert winnow("query", sql, "-o", file).stdout == ""
    rows = {
        "csv": lambda: [
            {**row, "position": int(row["position"]), "clinical_significance": json.loads(row["clinical_significance"]),
             "rs_id": row["rs_id"] or None}
            for row in csv.DictReader(file.open(newline=""))
        ],
        "json": lambda: json.loads(file.read_text()),
        "parquet": lambda: pq.read_table(file).to_pylist(),
    }[form]()  # fmt: skip
    assert rows == json.loads(winnow("query", sql, "--format", "json").stdout)
    assert rows
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_json_has_no_nan(winnow):
    text = winnow("query", "SELECT 'nan'::DOUBLE AS a, ['inf'::DOUBLE, 1.5] AS b", "--format", "json").stdout
    assert json.loads(text, parse_constant=pytest.fail) == [{"a": None, "b": [None, 1.5]}]


def test_csv_quotes_whatever_would_end_a_line(winnow):
    text = winnow("query", r"SELECT E'a\rb' AS a, E'a\nb' AS b, E'a\r\nb' AS c, 1 AS d", "--format", "csv").stdout_bytes
    assert text.endswith(b",1\n")
    assert list(csv.reader(io.StringIO(text.decode(), newline="")))[1:] == [["a\rb", "a\nb", "a\r\nb", "1"]]


def test_an_answer_without_rows_says_so(winnow):
    assert "no rows; the columns are: n" in winnow("query", "SELECT 1 AS n WHERE false").output
    assert json.loads(winnow("query", "SELECT 1 AS n WHERE false", "--format", "json").stdout) == []


def test_a_long_answer_is_cut_on_the_screen_and_says_so(winnow):
    result = winnow("query", "FROM range(101) AS t(n)")
    assert "99" in result.stdout
    assert "100" not in result.stdout
    assert "the first 100 rows; write all with -o" in result.stderr


def test_a_wide_answer_is_shown_record_by_record(winnow):
    shown = winnow("query", "FROM genomics.clinical_significance WHERE assembly = 'GRCh37' LIMIT 2").output.splitlines()
    assert [line for line in shown if line.startswith("row")] == ["row 1", "row 2"]
    assert [line.split() for line in shown if line.split()[0] == "assembly"] == [["assembly", "GRCh37"]] * 2


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["query", "FROM genomics.variant"], 1, '`winnow query "FROM catalog.tables"` lists them'),
        (["query", "FROM 'x.parquet'"], 1, "files and paths are not read at this door"),
        (["query", "SELECT CAST('a' AS INTEGER)"], 1, "Conversion Error"),
        (["query", "SELECT CAST('a' AS INTEGER)", "--format", "csv"], 1, "Conversion Error"),
        (["query", "SELECT nothing FROM fusion.shots"], 1, "DESCRIBE"),
        (["query", "SELEC 1"], 1, "syntax error"),
        (["query", "SELECT 1", "--at", "genomics/clinvar@7"], 1, "there is no version genomics/clinvar@7"),
        (["query", "SELECT 1", "--at", "genomics/clinvar"], 1, "write DATASET@NUMBER"),
        (["query", "SELECT 1", "--at", "genomics/clinva@1"], 1, "the datasets are: biodiversity/gbif_download"),
        (["query", "SELECT 1", "--format", "parquet"], 2, "needs -o FILE"),
        (["query", "SELECT 1", "-o", "x.xls"], 2, "does not tell the format"),
        (["query", "SELECT 1", "-o", "/nowhere/x.csv"], 1, "cannot be written"),
        (["query", "SELECT 1", "--profile", "all"], 2, "internal"),
        (["versions", "genomics/clinva"], 1, "the datasets are: biodiversity/gbif_download"),
        (["quarantine", "genomics/clinva"], 1, "the datasets are: biodiversity/gbif_download"),
        (["quarantine", "crystals/cod", "--format", "parquet"], 2, "needs -o FILE"),
        (["quarantine", "crystals/cod", "-o", "x.xls"], 2, "does not tell the format"),
        (["quarantine", "crystals/cod", "-o", "/nowhere/x.csv"], 1, "cannot be written"),
        (["terms", "genomics/clinva"], 1, "the datasets are: biodiversity/gbif_download"),
        (["check", "genomics/clinva"], 1, "the datasets are: biodiversity/gbif_download"),
        (["run", "genomics/clinva"], 1, "the datasets are: biodiversity/gbif_download"),
        (["run", "--source", "x"], 2, "exactly one DATASET"),
        (["diff", "genomics/clinvar@1", "crystals/cod@1"], 2, "both must be versions of one dataset"),
        (["diff", "genomics/clinvar@1", "genomics/clinvar@9"], 1, "there is no version genomics/clinvar@9"),
    ],
)
def test_an_error_names_the_remedy_and_ends_with_its_code(winnow, arguments, code, words):
    result = winnow(*arguments, code=code)
    assert words in result.stderr
    assert result.stdout == "" or "--format" in arguments


def test_history_difference_quarantine_and_terms_are_shown(winnow):
    history = winnow("versions", "genomics/clinvar").output.splitlines()
    assert [line.split()[0] for line in history[2:]] == ["2", "1"]
    (line,) = winnow("diff", "genomics/clinvar@1", "genomics/clinvar@2").output.splitlines()[2:]
    assert line.replace("│", " ").split()[:4] == ["genomics.clinical_significance", "0", "2", "0"]
    assert "reason: the data block has no atom with a position" in winnow("quarantine", "crystals/cod").output
    assert "no record" in winnow("quarantine", "fusion/vest").output
    told = winnow("terms", "fusion/vest").output
    assert "attribution: VEST team" in told
    assert "open: permitted" in told


def test_terms_tell_the_name_and_address_of_each_licence(winnow):
    licence = load_licences()["Apache-2.0"]
    assert f"  licence: Apache-2.0, {licence.name}, {licence.url}\n" in winnow("terms", "fusion/vest").output


def test_terms_tell_every_licence_of_an_expression_and_none_where_none_is_stated(winnow, monkeypatch):
    def told(expression):
        dataset = load_dataset("fusion/vest")
        dataset = dataset.model_copy(update={"terms": dataset.terms.model_copy(update={"licence": expression})})
        monkeypatch.setattr("catalog.dataset.sound_datasets", lambda: ((dataset,), {}))
        lines = winnow("terms").output.splitlines()
        return [line.split()[1].rstrip(",") for line in lines if line.startswith("  licence: ")]

    assert told("CC-BY-4.0 AND (PDDL-1.0 OR CC0-1.0)") == ["CC-BY-4.0", "CC0-1.0", "PDDL-1.0"]
    assert told("NOASSERTION") == []


@pytest.fixture
def refusals(tmp_path, monkeypatch):
    """A home in which 25 records of clinvar are in quarantine, each with a long text; and what its files hold."""
    monkeypatch.setenv("WINNOW_HOME", str(tmp_path / "home"))
    house = curate.House(Settings.at(tmp_path / "home"))
    sample = (ROOT / "assets/datasets/genomics/clinvar/sample.vcf").read_text()
    note = 'said,"é"' * 100
    refused = [f"1\t-5\t{number}\tA\tC\t.\t.\tNOTE={note}\n" for number in range(24)]
    wrong = f"1\t100\t24\tA\tC\t.\t.\tCLNREVSTAT={'nonsense' * 100}\n"
    (tmp_path / "refused.vcf").write_text("".join([sample, *refused, wrong]), encoding="utf-8")
    dataset = load_dataset("genomics/clinvar")
    where = curate.address(dataset, sample=False, override=str(tmp_path / "refused.vcf"))
    stage, _ = curate.stage(house, dataset, curate.fetch(house, dataset, where), "run")
    held = [row for file in stage.quarantine for row in pq.read_table(file).to_pylist()]
    held.sort(key=lambda row: row["source"])
    assert [row["raw"] for row in held[:24]] == [line.rstrip("\n") for line in refused]
    assert json.loads(held[24]["raw"])["CLNREVSTAT"] == "nonsense" * 100
    return held


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_refused_records_are_all_and_whole_in_every_format(refusals, tmp_path, form):
    file = tmp_path / f"refused.{form}"
    assert _call("quarantine", "genomics/clinvar", "-o", file, "--limit", "3").stdout == ""
    assert _parsed(file.read_bytes(), form) == refusals
    if form != "parquet":
        shown = _call("quarantine", "genomics/clinvar", "--format", form, "--limit", "3")
        assert _parsed(shown.stdout_bytes, form) == refusals


def _parsed(content, form):
    """Refused records as they were before they were written."""
    if form == "parquet":
        return pq.read_table(pa.BufferReader(content)).to_pylist()
    if form == "json":
        return json.loads(content)
    rows = csv.DictReader(io.StringIO(content.decode(), newline=""))
    return [{name: int(value) if name == "source" else value or None for name, value in row.items()} for row in rows]


def test_the_screen_shows_the_first_refused_records_cut_and_says_so(refusals):
    shown = _call("quarantine", "genomics/clinvar", "--limit", "3")
    blocks = [line for line in shown.stdout.splitlines() if not line.startswith(" ")]
    assert len(blocks) == 3
    assert all(row["position"] in line for row, line in zip(refusals, blocks, strict=False))
    raw = [line for line in shown.stdout.splitlines() if line.startswith("  raw:")]
    assert all(line.endswith("…") and len(line) < 250 for line in raw)
    assert "the first 3 (--limit)" in shown.stderr
    assert _call("quarantine", "genomics/clinvar", "--limit", "25").stderr == ""


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_an_empty_quarantine_has_its_columns_in_every_format(winnow, tmp_path, form):
    file = tmp_path / f"refused.{form}"
    winnow("quarantine", "fusion/vest", "-o", file)
    assert _parsed(file.read_bytes(), form) == []
    if form == "parquet":
        assert pq.read_schema(file).names == QUARANTINE_SCHEMA.names
    if form == "csv":
        assert file.read_text().strip().split(",") == QUARANTINE_SCHEMA.names


@pytest.mark.parametrize("form", ["table", "csv", "json", "parquet"])
def test_a_withheld_quarantine_is_refused_in_every_format_but_to_internal(winnow, monkeypatch, tmp_path, form):
    dataset = load_dataset("crystals/cod")
    terms = dataset.terms.model_copy(update={"embargo": Embargo(until="2999-01-01")})
    withheld = dataset.model_copy(update={"terms": terms})
    monkeypatch.setattr("catalog.dataset.sound_datasets", lambda: ((withheld,), {}))
    file = tmp_path / f"refused.{form}"
    asked = ["quarantine", "crystals/cod", *([] if form == "table" else ["-o", file])]
    refused = winnow(*asked, code=1)
    assert "is withheld under open" in refused.stderr
    assert refused.stdout == ""
    assert list(tmp_path.iterdir()) == []
    if form in ("csv", "json"):
        assert winnow("quarantine", "crystals/cod", "--format", form, code=1).stdout == ""
    allowed = winnow(*asked, "--profile", "internal")
    if form == "table":
        assert "no atom with a position" in allowed.stdout
    else:
        (row,) = _parsed(file.read_bytes(), form)
        assert "no atom with a position" in row["reason"]
        assert row["raw"].startswith("data_")


def test_a_broken_contract_is_left_out_of_answers_and_named(winnow, monkeypatch):
    broken = {"genomics/clinvar": ContractError("defs.yaml:3:1: unknown key 'tabel'", "correct it")}
    monkeypatch.setattr("catalog.dataset.sound_datasets", lambda: ((load_dataset("crystals/cod"),), broken))
    for arguments in (["query", "SELECT count(*) FROM crystals.structures"], ["list"], ["terms"]):
        done = winnow(*arguments)
        assert done.exit_code == 0
        assert "left out: genomics/clinvar" in done.stderr
        assert "defs.yaml:3:1" in done.stderr


def test_what_is_withheld_is_said_and_not_counted(winnow, monkeypatch):
    def under_embargo(name):
        dataset = load_dataset(name)
        terms = dataset.terms.model_copy(update={"embargo": Embargo(until="2999-01-01")})
        return dataset.model_copy(update={"terms": terms})

    monkeypatch.setattr("catalog.dataset.sound_datasets", lambda: ((under_embargo("crystals/cod"),), {}))
    row = json.loads(winnow("list", "--json").stdout)[0]
    assert (row["access"], row["version"], row["rows"], row["last_gate"]) == ("withheld", None, None, None)
    assert row["embargo_until"] == "2999-01-01"
    asked = winnow("query", "SELECT count(*) AS n FROM crystals.structures", "--format", "json")
    assert json.loads(asked.stdout) == [{"n": 0}]
    assert "withheld under open: rows of crystals/cod" in asked.stderr
    assert asked.stderr.rstrip().endswith("until 2999-01-01)")
    assert "crystals/cod is withheld under open" in winnow("versions", "crystals/cod").stderr
    assert "is withheld under open" in winnow("quarantine", "crystals/cod", code=1).stderr
    assert "is withheld under open" in winnow("diff", "crystals/cod@1", "crystals/cod@1", code=1).stderr
    assert json.loads(winnow("list", "--json", "--profile", "internal").stdout)[0]["rows"] > 0
    assert "reason:" in winnow("quarantine", "crystals/cod", "--profile", "internal").output


def test_check_gives_markdown_for_a_pull_request(winnow):
    told = winnow("check", "crystals/cod", "--format", "markdown").output
    assert "### ✓ crystals/cod" in told
    assert "28 records read, 27 kept as 27 rows, 1 quarantined" in told
    assert "| ✓ | structure | crystals.structures | records |" in told


def test_an_answer_may_be_cut_off_by_its_reader(home):
    command = f"'{WINNOW}' query 'FROM range(200000)' --format csv | head -1"
    environment = {**os.environ, "WINNOW_HOME": str(home)}
    result = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=False)
    assert result.stdout == "range\n"
    assert result.stderr == ""


def test_a_source_that_a_server_lacks_is_told_and_nothing_else_is_printed(tmp_path):
    (tmp_path / "empty").mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "empty"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{server.server_port}/shot.json"
        done = subprocess.run(
            [WINNOW, "run", "fusion/vest", "--source", uri],
            env={**os.environ, "WINNOW_HOME": str(tmp_path / "home")},
            capture_output=True,
            text=True,
            timeout=120,
        )
        server.shutdown()
    assert done.returncode == 1
    first, problem, remedy = done.stderr.splitlines()
    assert first == ""
    assert problem == f"fusion/vest failed: fusion/vest: {uri} is not there"
    assert "remedy: correct source.uri" in remedy
