"""What is wrong in a contract is said with file, line and column, by `winnow check` and by `dg check yaml`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from assets.transforms import variants
from catalog.cron import cron_problem
from catalog.dataset import Dataset, Gates, Source, load_dataset, load_datasets
from catalog.errors import ContractError
from catalog.rights.embargo import Embargo
from catalog.rights.terms import DatasetTerms, Finding, Resolution, RowLicence, Sensitive
from catalog.table import read_table
from dagster_project.check import check_datasets

ROOT = Path(__file__).parent.parent
GOOD = """\
type: dagster_project.component.Dataset
attributes:
  title: Made for a test
  table: genomics.clinical_significance
  source:
    unpublished: made for a test
    format: vcf
    options: {}
  sample: sample.vcf
  terms:
    licence: CC0-1.0
    evidence: [{file: sample.vcf, read_on: 2026-11-23, quote: CC0 1.0}]
    attribution: nobody
  columns:
    allele_id: ALLELEID
    hgvs: url_decode(CLNHGVS)
  schedule: "0 4 * * 1"
  owner: tests
"""


@pytest.fixture
def contract(tmp_path):
    """Write a contract and a sample into an empty folder of datasets; gives the folder and the contract's path."""
    folder = tmp_path / "datasets" / "genomics" / "made"
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "assets/datasets/genomics/clinvar/sample.vcf", folder / "sample.vcf")

    def write(text=GOOD, old="", new=""):
        assert old in text
        (folder / "defs.yaml").write_text(text.replace(old, new, 1))
        return folder.parent.parent

    return write


def test_a_right_contract_loads(contract):
    assert load_dataset("genomics/made", contract()).feeds.keys() == {"genomics.clinical_significance"}


WRONG = {
    "a mistyped key": ("  owner: tests", "  ownr: tests", 18, 3, "unknown key 'ownr'"),
    "a missing key": ("  owner: tests", "", 2, 1, "'owner' is missing"),
    "a mistyped key of the terms": ("    attribution:", "    atribution:", 13, 5, "unknown key 'atribution'"),
    "a mistyped key beside attributes": ("attributes:", "atributes:", 2, 1, "unknown key 'atributes'"),
    "another type": ("component.Dataset", "component.Data", 1, 1, "must be dagster_project.component.Dataset"),
    "an unknown column": ("allele_id: A", "allele_idd: A", 15, 5, "has no column 'allele_idd'; it has: assembly,"),
    "a reserved column": ("allele_id: A", "_part: A", 15, 5, "has no column '_part'"),
    "an unknown table": ("clinical_significance\n", "clinical\n", 4, 3, "there is no table 'genomics.clinical'"),
    "a unit that does not convert": (
        "allele_id: ALLELEID", "position: {from: POS, unit: kelvin}", 15, 27, "'kelvin' does not convert to 'bp'"),
    "a unit that is not listed": (
        "allele_id: ALLELEID", "position: {from: POS, unit: bpp}", 15, 27, "'bpp' is not listed in catalog/units.py"),
    "a unit where there is none": (
        "allele_id: ALLELEID", "allele_id: {from: A, unit: m}", 15, 26, "the table's column has none"),
    "a key given twice": ("    allele_id: ALLELEID", "    allele_id: A\n    allele_id: B", 16, 5, "is given twice"),
    "cron with four fields": ('"0 4 * * 1"', '"0 4 * *"', 17, 3, "five fields"),
    "cron out of range": ('"0 4 * * 1"', '"0 24 * * 1"', 17, 3, "'24' is no hour"),
    "a sample that is not there": ("sample: sample.vcf", "sample: simple.vcf", 9, 3, "'simple.vcf' is not in made/"),
    "an unknown licence": ("CC0-1.0", "CC0-1.1", 11, 5, "did you mean 'CC0-1.0'?"),
    "no evidence": ("[{file: sample.vcf, read_on: 2026-11-23, quote: CC0 1.0}]", "[]", 12, 5, "at least 1"),
    "evidence without a date": ("read_on: 2026-11-23, ", "", 12, 16, "'read_on' is missing"),
    "getenv": ("url_decode(CLNHGVS)", "getenv('HOME')", 16, 5, "function 'getenv' is not allowed"),
    "read_csv": ("url_decode(CLNHGVS)", "read_csv('/etc/passwd')", 16, 5, "function 'read_csv' is not allowed"),
    "a subquery": ("url_decode(CLNHGVS)", "(SELECT 1)", 16, 5, "subquery is not allowed"),
    "broken SQL": ("url_decode(CLNHGVS)", "url_decode(CLNHGVS", 16, 5, "syntax error"),
    "table and tables": (
        "  source:", "  tables: {genomics.clinical_significance: {}}\n  source:", 2, 1, "give `table` (with `colu"),
    "no table at all": ("  table: genomics.clinical_significance\n", "  tables: {}\n", 2, 1, "`tables` names no table"),
    "a day that is none": ("2026-11-23", "2026-02-30", 12, 44, "day is out of range"),
    "a tag of Python's": ("Made for a test", "!!python/object:x {}", 3, 10, "python/object:x is not taken"),
    "a scalar of Python's": ("Made for a test", "!!python/name:os.system x", 3, 10, "python/name:os.system"),
    "a set": ("options: {}", "options: !!set {a}", 8, 14, "set is not taken"),
    "a truth that is none": ("Made for a test", "!!bool maybe", 3, 10, "'maybe' cannot be"),
    "a key that is no day": ("options: {}", "options: {2026-02-30: a}", 8, 15, "day is out of range"),
    "a merge of nothing": ("options: {}", "options: {<<: 5}", 8, 19, "for merging"),
    "a key that is a list": ("  owner: tests", "  owner: tests\n  ? [a]\n  : b", 19, 5, "a key must be plain text"),
    "a gate on no column": (
        "  owner: tests", "  owner: tests\n  gates: {max_null_fraction: {a: 0.1}}", 19, 31, "feeds has a column 'a'"),
    "an alias within itself": ("  title:", "  description: &d {a: *d}\n  title:", 3, 16, "alias within itself"),
    "a control character": ("nobody", "no\x07body", 1, 1, "special characters are not allowed"),
    "uri and unpublished": ("    format: vcf", "    uri: x\n    format: vcf", 5, 3, "give `uri`, or `unpublished`"),
    "broken YAML": ("    format: vcf", "   format: vcf", 7, 4, "expected"),
    "an embargo that is no day": (
        "    attribution:", "    embargo: {until: soon}\n    attribution:", 13, 15, "write it as 2027-06-01"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_contract_is_refused_with_file_line_and_column(contract, case):
    old, new, line, column, words = WRONG[case]
    folder = contract(old=old, new=new)
    with pytest.raises(ContractError) as refused:
        load_dataset("genomics/made", folder)
    first = refused.value.problem.splitlines()[0]
    assert words in refused.value.problem, refused.value.problem
    assert re.match(rf"{re.escape(str(folder))}/genomics/made/defs.yaml:\d+:\d+: ", first), first
    assert f"defs.yaml:{line}:{column}: " in refused.value.problem, refused.value.problem
    (verdict,) = [verdict for verdict in check_datasets(["genomics/made"], folder) if verdict.name != "tables"]
    assert not verdict.passed
    assert verdict.problem == refused.value.problem


@pytest.mark.parametrize(
    ("old", "new", "place", "words"),
    [
        ("format: vcf", "format: vfc", "7:5", "there is no reader for format 'vfc'; the formats are: "),
        ("options: {}", "options: {assembley: GRCh38}", "8:15", "option 'assembley'"),
    ],
)
def test_check_finds_an_unknown_format_or_option_with_its_place(contract, old, new, place, words):
    folder = contract(old=old, new=new)
    (verdict,) = [verdict for verdict in check_datasets(["genomics/made"], folder) if verdict.name != "tables"]
    assert f"defs.yaml:{place}: " in verdict.problem
    assert words in verdict.problem


def test_all_problems_are_told_at_once(contract):
    text = GOOD.replace("allele_id: A", "allele_idd: A").replace("CC0-1.0", "CC0").replace("url_decode", "getenv")
    with pytest.raises(ContractError) as refused:
        load_datasets(contract(text))
    assert [int(line.split(":")[1]) for line in refused.value.problem.splitlines()] == [11, 15, 16]


def test_a_sample_over_the_limit_is_refused(contract):
    folder = contract()
    (folder / "genomics/made/sample.vcf").write_bytes(b"#" * 50_001)
    with pytest.raises(ContractError, match=r"defs.yaml:9:3: sample 'sample.vcf' is larger than 50000 bytes"):
        load_dataset("genomics/made", folder)


def test_a_contract_that_is_not_utf_8_is_refused(contract):
    folder = contract()
    (folder / "genomics/made/defs.yaml").write_bytes(GOOD.replace("nobody", "Müller").encode("latin-1"))
    with pytest.raises(ContractError, match=r"defs\.yaml is not UTF-8"):
        load_dataset("genomics/made", folder)


def test_check_writes_nothing_beside_the_contract(contract, monkeypatch, tmp_path):
    folder = contract()
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    verdicts = check_datasets(["genomics/made"], folder)
    assert [verdict.problem for verdict in verdicts] == ["", ""]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("old", "new", "place", "words"),
    [
        ("term: vcf:POS\n", "term: vcf:POSS\n", r"\d+:5", "the standard has no 'POSS'"),
        ("    term: vcf:POS\n", "", r"\d+:5", "names no term"),
        ("unit: bp", "unit: bpp", r"\d+:5", "'bpp' is not listed"),
        ("type: int64", "type: int46", r"\d+:5", "type 'int46' is none of"),
        ("nullable: false", "nulable: false", r"\d+:5", "unknown key 'nulable'"),
    ],
)
def test_a_wrong_table_is_refused_with_file_line_and_column(tmp_path, old, new, place, words):
    path = tmp_path / "genomics" / "clinical_significance.yaml"
    path.parent.mkdir()
    text = (ROOT / "catalog/tables/genomics/clinical_significance.yaml").read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ContractError, match=rf"clinical_significance\.yaml:{place}: .*{re.escape(words)}"):
        read_table(path)


def test_an_optimade_table_has_only_optimades_names_or_the_prefix(tmp_path):
    path = tmp_path / "crystals" / "structures.yaml"
    path.parent.mkdir()
    text = (ROOT / "catalog/tables/crystals/structures.yaml").read_text()
    path.write_text(text.replace("nsites", "number_of_sites"))
    with pytest.raises(ContractError, match=r"structures\.yaml:\d+:\d+: .*number_of_sites"):
        read_table(path)


@pytest.mark.parametrize("text", ["0 4 * * 1", "*/15 * * * *", "0,30 6-18/2 1 1-12 0", "59 23 31 12 7"])
def test_cron_is_taken(text):
    assert cron_problem(text) is None


@pytest.mark.parametrize("text", ["", "* * * *", "60 * * * *", "* * 0 * *", "5-1 * * * *", "*/0 * * * *", "a * * * *"])
def test_what_is_not_cron_is_refused(text):
    assert cron_problem(text)


@pytest.fixture
def project(tmp_path):
    """A copy of the project with one dataset, and what `dg check yaml` says of it."""
    for name in ("catalog", "assets", "validations", "dagster_project"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "datasets"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    place = tmp_path / "assets/datasets/genomics/made"
    shutil.copytree(ROOT / "assets/datasets/genomics/clinvar", place)

    def check():
        return subprocess.run(
            [Path(sys.executable).with_name("dg"), "check", "yaml", "assets/datasets/genomics/made"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path), "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
        )

    return place / "defs.yaml", check


def test_dg_check_finds_key_column_and_unit_with_their_place(project):
    path, check = project
    path.write_text(
        GOOD.replace("  owner:", "  ownr:")
        .replace("allele_id: ALLELEID", "position: {from: POS, unit: kelvin}")
        .replace("hgvs", "hgv")
    )
    told = check()
    assert told.returncode != 0
    shown = re.findall(r"defs\.yaml:(\d+) - .*? (attributes\S*) (.*)", told.stdout + told.stderr)
    assert {(int(line), place) for line, place, _ in shown} >= {
        (15, "attributes.columns.position.unit"), (16, "attributes.columns.hgv"), (18, "attributes.ownr")
    }  # fmt: skip


def test_dg_check_finds_a_column_that_the_standard_lacks(project):
    path, check = project
    path.write_text(GOOD)
    table = path.parents[4] / "catalog/tables/genomics/clinical_significance.yaml"
    text = table.read_text()
    table.write_text(text.replace("term: vcf:POS\n", "term: vcf:POSS\n"))
    line = text[: text.index("term: vcf:POS\n")].count("\n") + 1
    told = check()
    assert told.returncode != 0
    found = re.search(
        r"clinical_significance\.yaml:(\d+):5: column 'position': the standard has no 'POSS'", told.stdout
    )
    assert found, told.stdout + told.stderr
    assert 0 < line - int(found[1]) < 6
    assert "Traceback" not in told.stdout + told.stderr


def test_the_guide_explains_every_key_of_a_contract():
    guide = (ROOT / "docs/how-to/add-a-dataset.md").read_text()
    words = set(re.findall(r"[a-z_]\w*", " ".join(re.findall(r"`+[^`]+`+|```yaml.*?```", guide, re.DOTALL))))
    models = (Dataset, DatasetTerms, Embargo, Finding, Gates, Resolution, RowLicence, Sensitive, Source)
    models += (variants.Options, variants.LiftOver)
    fields = {name for model in models for name in model.model_fields}
    assert fields | {"from", "unit", "values"} <= words


def test_an_option_that_yaml_takes_for_a_date_is_refused_by_the_reader_and_breaks_nothing(contract):
    folder = contract(old="options: {}", new="options: {assembly: 2026-11-23}")
    assert load_dataset("genomics/made", folder).identity()
    (verdict,) = [verdict for verdict in check_datasets(["genomics/made"], folder) if verdict.name != "tables"]
    assert "defs.yaml:8:15: option 'assembly'" in verdict.problem


@pytest.mark.parametrize("mapping", ["CLNHGVS + 1", "list_transform(CLNHGVS, lambda v: v)", "upper(CLNHGVS, CLNHGVS)"])
def test_check_tells_of_a_mapping_that_cannot_be_computed(contract, monkeypatch, mapping):
    folder = contract(old="hgvs: url_decode(CLNHGVS)", new=f'hgvs: "{mapping}"')
    (verdict,) = [verdict for verdict in check_datasets(["genomics/made"], folder) if verdict.name != "tables"]
    assert "genomics/made: the mapping to genomics.clinical_significance does not fit the source" in verdict.problem
    assert "correct the expression" in verdict.remedy


def test_a_key_of_inexact_numbers_is_refused(tmp_path):
    path = tmp_path / "crystals" / "structures.yaml"
    path.parent.mkdir()
    text = (ROOT / "catalog/tables/crystals/structures.yaml").read_text()
    for name in ("_winnow_volume", "elements_ratios"):
        path.write_text(re.sub(r"(?m)^key: .*", f"key: [_dataset, {name}]", text))
        with pytest.raises(ContractError, match=rf"the key has columns of inexact numbers: {name}"):
            read_table(path)
