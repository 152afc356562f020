"""Every dataset folder and every table is as it should be. A new one is tested by being there."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog import standards
from catalog.dataset import SAMPLE_LIMIT, dataset_names, load_dataset
from catalog.rights.licences import known
from catalog.table import load_table, table_names, term_problem
from dagster_project import reference
from dagster_project.check import check_datasets
from validations.science import science_checks

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def verdicts():
    return {verdict.name: verdict for verdict in check_datasets([])}


@pytest.mark.parametrize("name", dataset_names())
def test_a_dataset_passes_its_check_and_accounts_for_every_record(name, verdicts):
    verdict = verdicts[name]
    assert verdict.problem == ""
    assert verdict.report is not None
    assert {table.table for table in verdict.report.tables} == set(load_dataset(name).feeds)
    for table in verdict.report.tables:
        assert table.kept > 0
        assert table.read == table.kept + table.quarantined + sum(table.dropped.values())
        assert (sum(failure.records for failure in table.failures) > 0) == (table.quarantined > 0)
        assert all(failure.reason for failure in table.failures)


@pytest.mark.parametrize("name", dataset_names())
def test_a_datasets_sample_is_small_and_its_terms_are_evidenced(name):
    dataset = load_dataset(name)
    assert 0 < dataset.sample_path.stat().st_size <= SAMPLE_LIMIT
    assert known(dataset.terms.licence) is None
    assert all(finding.quote.strip() for finding in dataset.terms.evidence)
    assert dataset.terms.attribution
    assert dataset.terms.citation
    assert {path.name for path in dataset.folder.iterdir()} == {"defs.yaml", dataset.sample}


def test_the_tables_pass_their_check(verdicts):
    assert verdicts["tables"].problem == ""


@pytest.mark.parametrize("name", table_names())
def test_a_tables_terms_resolve_and_its_science_checks_say_why(name):
    table = load_table(name)
    assert [wrong for column in table.columns if (wrong := term_problem(table, column))] == []
    assert [column.term for column in table.columns if column.term and standards.resolve(column.term)] == []
    for check in table.science:
        assert (science_checks()[check].__doc__ or "").strip(), check


@pytest.mark.parametrize("name", sorted(reference.pages()))
def test_a_reference_page_is_up_to_date(name):
    page = ROOT / "docs" / "reference" / name
    assert page.read_text(encoding="utf-8") == reference.pages()[name], "run `make docs` and commit what changed"


def test_no_reference_page_is_left_over():
    folder = ROOT / "docs" / "reference"
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*.md")}
    assert found == reference.OTHERS.union(reference.pages())
