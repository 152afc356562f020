"""The terms gate: what files and rows themselves say of their licence can stop a publication, or hold it back."""

import io
import zipfile
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import yaml

from assets.licence_words import licence_words
from catalog.dataset import Dataset, load_dataset
from catalog.errors import QueryError, SourceError
from catalog.query import Door
from catalog.records import Found, SourceFile
from catalog.sight import Sight
from dagster_project import curate
from dagster_project.check import check_datasets
from dagster_project.settings import Settings
from validations.terms import overdue_review, terms_check

TODAY = date(2027, 3, 1)
TABLE = "genomics.clinical_significance"
WORDS = "Licensed under CC BY-NC-SA 4.0 license"
VCF = f"""##fileformat=VCFv4.2
##reference=GRCh38
##{WORDS}
##INFO=<ID=GENE,Number=1,Type=String,Description="gene">
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO
1\t100\tone\tA\tC\t.\t.\tGENE=one
"""
DATA = Path(__file__).parents[2] / "shared/data"


def contract(folder: Path, text: str = VCF, **terms: object) -> Dataset:
    place = folder / "genomics" / "missense"
    place.mkdir(parents=True, exist_ok=True)
    (place / "sample.vcf").write_text(text)
    attributes = {
        "title": "missense",
        "table": TABLE,
        "source": {"unpublished": "made for a test", "format": "vcf"},
        "sample": "sample.vcf",
        "terms": {
            "licence": "CC-BY-4.0",
            "evidence": [{"url": "https://example.org", "read_on": "2026-11-23", "quote": "CC BY 4.0"}],
            "attribution": "somebody",
            **terms,
        },
        "columns": {"gene_symbols": "[GENE]"},
        "owner": "tests",
    }
    document = {"type": "dagster_project.component.Dataset", "attributes": attributes}
    (place / "defs.yaml").write_text(yaml.safe_dump(document))
    return load_dataset("genomics/missense", folder)


@pytest.fixture
def house(tmp_path: Path) -> curate.House:
    return curate.House(Settings.at(tmp_path / "home"), clock=lambda: datetime(2027, 3, 1, tzinfo=UTC))


def staged(house: curate.House, dataset: Dataset, run_id: str = "run"):
    return curate.stage(house, dataset, curate.fetch(house, dataset, curate.address(dataset, sample=True)), run_id)


RESOLUTION = {"by": "Ada", "decided_on": "2026-11-24", "why": "the owner relicensed it", "over": ["CC-BY-NC-SA-4.0"]}


def test_a_header_that_contradicts_the_declared_licence_refuses_the_run_in_its_own_words(house, tmp_path) -> None:
    stage, report = staged(house, contract(tmp_path))
    assert not report.passed
    (refusal,) = report.refusals()
    assert (refusal.gate, refusal.name) == ("terms", "licence")
    assert WORDS in refusal.observed
    assert "CC-BY-4.0" in refusal.observed
    assert "CC-BY-NC-SA-4.0" in refusal.observed
    assert "resolution" in refusal.remedy
    assert [found.means for found in stage.found] == [("CC-BY-NC-SA-4.0",)]
    assert not any(Path(file).exists() for table in stage.tables for file in table.files)


def test_check_shows_the_diff(tmp_path) -> None:
    contract(tmp_path)
    verdict = next(each for each in check_datasets(["genomics/missense"], tmp_path) if each.name != "tables")
    assert not verdict.passed
    assert WORDS in verdict.problem


def test_a_persons_resolution_lets_it_pass_and_stays_recorded(house, tmp_path) -> None:
    dataset = contract(tmp_path, resolution=RESOLUTION)
    stage, report = staged(house, dataset)
    assert report.passed, report.refusals()
    version = curate.commit(house, dataset, stage)
    assert version.found == stage.found
    assert Sight(house.ledger, [dataset], "open", TODAY, derived=[]).access(version) == "permitted"


def test_a_resolution_over_something_else_does_not(house, tmp_path) -> None:
    other = {**RESOLUTION, "over": ["CC-BY-ND-4.0"]}
    assert not staged(house, contract(tmp_path, resolution=other))[1].passed


def test_a_licence_corrected_in_the_yaml_alone_is_doubted_at_the_door_without_a_rerun(house, tmp_path) -> None:
    dataset = contract(tmp_path, resolution=RESOLUTION)
    version = curate.commit(house, dataset, staged(house, dataset)[0])
    rows = f"SELECT count(*) FROM {TABLE}"
    doors = lambda changed: Door(house.warehouse, house.ledger, [changed], "open", TODAY, derived=[])  # noqa: E731
    assert doors(dataset).answer(rows).fetchall() == [(1,)]
    changed = contract(tmp_path)
    door = doors(changed)
    assert door.answer(rows).fetchall() == [(0,)]
    assert "contradict CC-BY-4.0" in door.decision(changed.name).reason
    assert house.ledger.versions() == [version]


def test_evidence_that_names_no_licence_passes_the_gate_and_is_withheld(house, tmp_path) -> None:
    silent = [{"url": "https://example.org", "read_on": "2026-11-23", "quote": "see the terms"}]
    dataset = contract(tmp_path, VCF.replace(f"##{WORDS}\n", ""), evidence=silent)
    stage, report = staged(house, dataset)
    assert report.passed
    (check,) = (check for check in report.checks if check.gate == "terms")
    assert "unknown" in check.observed
    version = curate.commit(house, dataset, stage)
    assert Sight(house.ledger, [dataset], "open", TODAY, derived=[]).access(version) == "withheld"


def source_file(path: Path) -> SourceFile:
    return SourceFile(name=path.name, path=path, size=path.stat().st_size, sha256="0" * 64)


def test_the_real_alphamissense_file_declared_cc_by_is_refused_in_its_own_words(tmp_path) -> None:
    files = sorted(DATA.glob("genomics/alphamissense*.tsv"))
    if not files:
        pytest.skip("the shared data have no AlphaMissense sample")
    check = terms_check(contract(tmp_path), TODAY, licence_words([source_file(files[0])]))
    assert not check.passed
    assert "Licensed under CC BY-NC-SA 4.0 license" in check.observed


def test_words_in_a_file_that_cannot_be_read_are_quoted_all_the_same(tmp_path, house) -> None:
    files = sorted(DATA.glob("genomics/alphamissense*.tsv"))
    if not files:
        pytest.skip("the shared data have no AlphaMissense sample")
    dataset = contract(tmp_path)
    snapshot = curate.fetch(house, dataset, curate.address(dataset, override=str(files[0])))
    stage, report = curate.stage(house, dataset, snapshot, "run")
    terms, readable = report.refusals()
    assert '"# Licensed under CC BY-NC-SA 4.0 license"' in terms.observed
    assert (readable.name, stage.tables, stage.quarantine) == ("readable", (), ())
    allowed = contract(tmp_path, licence="CC-BY-NC-SA-4.0", evidence=[
        {"url": "https://example.org", "read_on": "2026-11-23", "quote": "CC BY-NC-SA 4.0"}])  # fmt: skip
    with pytest.raises(SourceError, match="not VCF"):
        curate.stage(house, allowed, snapshot, "run")


def test_an_archives_metadata_document_counts(tmp_path) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr(
            "meta.xml",
            '<archive xmlns="http://rs.tdwg.org/dwc/text/" metadata="eml.xml"><core><files><location>o.txt</location>'
            "</files></core></archive>",
        )
        made.writestr(
            "eml.xml",
            "<eml><dataset><intellectualRights><para>This work is licensed under a Creative Commons Attribution Non "
            "Commercial (CC-BY-NC) 4.0 License.</para></intellectualRights></dataset></eml>",
        )
    path = tmp_path / "archive.zip"
    path.write_bytes(archive.getvalue())
    check = terms_check(contract(tmp_path), TODAY, licence_words([source_file(path)]))
    assert not check.passed
    assert "Commercial (CC-BY-NC) 4.0 License" in check.observed


OCCURRENCES = (
    "occurrenceID\tbasisOfRecord\tscientificName\tlicense\n"
    "o1\tHumanObservation\tParus major\tCC_BY_4_0\n"
    "o2\tHumanObservation\tParus major\t{second}\n"
)


@pytest.mark.parametrize(
    ("second", "told"),
    [("CC_BY_NC_4_0", "CC-BY-NC-4.0"), ("CANARYmine", "words that name no licence known here"), ("CC_BY_4_0", None)],
)
def test_rows_whose_licence_column_the_contract_forgot_cannot_go_out_under_the_datasets(
    house, tmp_path, second: str, told: str | None
) -> None:
    place = tmp_path / "biodiversity" / "forgot"
    place.mkdir(parents=True)
    (place / "sample.tsv").write_text(OCCURRENCES.format(second=second))
    attributes = {
        "title": "forgot",
        "table": "biodiversity.occurrences",
        "source": {"unpublished": "made for a test", "format": "darwin_core"},
        "sample": "sample.tsv",
        "gates": {"max_quarantined": 1.0},
        "terms": {
            "licence": "CC-BY-4.0",
            "evidence": [{"file": "sample.tsv", "read_on": "2026-11-23", "quote": "CC BY 4.0"}],
            "attribution": "somebody",
        },
        "owner": "tests",
    }
    document = {"type": "dagster_project.component.Dataset", "attributes": attributes}
    (place / "defs.yaml").write_text(yaml.safe_dump(document))
    stage, report = staged(house, load_dataset("biodiversity/forgot", tmp_path))
    (check,) = (check for check in report.checks if check.gate == "terms")
    assert any(found.file == "rows" for found in stage.found)
    assert check.passed == (told is None)
    assert told is None or told in check.observed
    assert "CANARY" not in check.observed, "a row's own text may be anything"


def test_an_overdue_review_is_told_and_still_holds(tmp_path) -> None:
    embargo = {"event": "publication of the paper", "review_by": "2027-02-28"}
    dataset = contract(tmp_path, VCF.replace(f"##{WORDS}\n", ""), embargo=embargo)
    assert overdue_review(dataset, date(2027, 2, 28)) is None
    words = overdue_review(dataset, TODAY)
    assert words is not None
    assert "overdue since 2027-02-28" in words
    check = terms_check(dataset, TODAY)
    assert check.passed
    assert "review overdue since 2027-02-28" in check.observed


def test_found_words_of_the_declared_licence_agree(tmp_path) -> None:
    found = Found(file="f", place="line 1", words="CC BY 4.0", means=("CC-BY-4.0",))
    assert terms_check(contract(tmp_path), TODAY, [found]).passed


def test_what_was_refused_for_its_licence_words_is_not_shown_to_the_public(house, tmp_path) -> None:
    bad = "1\t0\tCANARYrefused\tA\tC\t.\t.\tGENE=x\n"
    dataset = contract(tmp_path, VCF + bad)
    assert not staged(house, dataset)[1].passed
    door = Door(house.warehouse, house.ledger, [dataset], "open", TODAY, derived=[])
    with pytest.raises(QueryError, match="withheld"):
        door.quarantine(dataset.name)
    assert door.answer("FROM catalog.gates").fetchall() == []
    assert door.answer("FROM catalog.quarantine").fetchall() == []
    internal = Door(house.warehouse, house.ledger, [dataset], "internal", TODAY, derived=[])
    assert WORDS in str(internal.answer("FROM catalog.gates").fetchall())
