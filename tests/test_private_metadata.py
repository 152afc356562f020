"""What Dagster's pages, logs and the terminal tell of records that are not open to everybody: counts, and no more."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
import yaml
from click.testing import CliRunner

from catalog.dataset import load_datasets
from catalog.errors import SourceError
from catalog.records import ALL
from catalog.table import load_table
from dagster_project import curate
from dagster_project import run as runs
from dagster_project.cli import main
from dagster_project.component import asset_key, dataset_keys
from dagster_project.definitions import definitions
from dagster_project.resources import HouseResource
from dagster_project.settings import Settings
from validations import gate as gates

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
TABLE = "genomics.clinical_significance"
HEADER = """##fileformat=VCFv4.2
##reference=GRCh38
##INFO=<ID=GENE,Number=1,Type=String,Description="gene">
##INFO=<ID=LIC,Number=1,Type=String,Description="licence">
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO
"""
CANARY = "XKCANARY"
ROWS = [
    f"1\t123454321\t{CANARY}id\tA\tC\t.\t.\tGENE={CANARY}gene;LIC={CANARY}licence",
    f"1\t0\t{CANARY}low\tA\tC\t.\t.\tGENE={CANARY}low",  # refused by the gate
    f"1\t{CANARY}position\tx\tA\tC\t.\t.\tGENE=x",  # cannot be read
]
EVIDENCE = {"file": "sample.vcf", "read_on": "2026-11-23"}
PRIVATE: dict[str, dict[str, Any]] = {
    "noncommercial": {"licence": "CC-BY-NC-4.0", "evidence": [{**EVIDENCE, "quote": "CC BY-NC 4.0"}]},
    "embargoed": {"embargo": {"until": "2027-03-02"}},
    "unpublished": {"embargo": {"event": "publication", "review_by": "2027-01-01"}},
    "by_row": {"row_licence": {"column": "LIC"}},
}


class Desk:
    """An operator's Dagster and terminal over datasets that a test writes, each from a file with a telling name."""

    def __init__(self, root: Path, instance: dg.DagsterInstance) -> None:
        self.root, self.instance = root, instance
        self.folder = root / "datasets"
        self.house = curate.House(Settings.at(root / "home"), clock=lambda: NOW)

    def write(self, name: str, rows: list[str], **terms: Any) -> Path:
        place = self.folder / "genomics" / name
        place.mkdir(parents=True, exist_ok=True)
        (place / "sample.vcf").write_text(HEADER + "1\t100\tknown\tA\tC\t.\t.\tGENE=known\n")
        source = self.root / f"{CANARY}{name}.vcf"
        source.write_text(HEADER + "\n".join(rows) + "\n")
        attributes = {
            "title": name,
            "table": TABLE,
            "source": {"uri": "file:///owner/of/the/data.vcf", "format": "vcf"},
            "sample": "sample.vcf",
            "gates": {"max_quarantined": 0.9},
            "terms": {
                "licence": "CC0-1.0",
                "evidence": [{**EVIDENCE, "quote": "CC0 1.0"}],
                "attribution": "nobody",
                **terms,
            },
            "columns": {"gene_symbols": "[GENE]"},
            "owner": "tests",
        }
        document = {"type": "dagster_project.component.Dataset", "attributes": attributes}
        (place / "defs.yaml").write_text(yaml.safe_dump(document))
        return source

    def curate(self, name: str, source: Path) -> dg.ExecuteInProcessResult:
        job = definitions(self.folder).resolve_job_def("curate")
        (dataset,) = (each for each in load_datasets(self.folder) if each.short_name == name)
        return job.execute_in_process(
            run_config={"ops": {f"raw__genomics__{name}": {"config": {"source": str(source)}}}},
            instance=self.instance,
            asset_selection=dataset_keys(dataset),
            raise_on_error=False,
        )

    def told(self) -> str:
        """All that Dagster has written down: every event with its metadata, and every captured log."""
        events = []
        for run in self.instance.get_runs():
            events += [dg.serialize_value(entry) for entry in self.instance.all_logs(run.run_id)]
        return "\n".join(events)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("WINNOW_HOME", str(tmp_path / "home"))
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        desk = Desk(tmp_path, instance)
        monkeypatch.setattr(HouseResource, "house", lambda self: desk.house)
        yield desk


def shown(result: dg.ExecuteInProcessResult, layer: str, name: str) -> dict[str, Any]:
    key = asset_key(layer, f"genomics/{name}") if layer != "table" else asset_key("table", name)
    (event,) = (event for event in result.get_asset_materialization_events() if event.asset_key == key)
    return {name: value.value for name, value in event.materialization.metadata.items()}


def without_own_configuration(told: str, source: Path) -> str:
    """Without the address that the operator himself typed: Dagster keeps it with the run that he started."""
    return told.replace(str(source), "").replace(source.name, "")


@pytest.mark.parametrize("name", PRIVATE)
def test_nothing_but_counts_of_private_records_is_written_down(desk: Desk, name: str, capfd) -> None:
    source = desk.write(name, ROWS, **PRIVATE[name])
    result = desk.curate(name, source)
    assert result.success
    dataset = f"genomics/{name}"
    assert desk.house.ledger.current(dataset) is not None
    for layer in ("raw", "staged", "published"):
        page = shown(result, layer, name)
        assert page["private"] is True
        assert "open to everybody" in page["privacy"]
        assert not {"source", "sha256", "dagster/row_count"} & page.keys()
    assert shown(result, "staged", name)["records_read"] == 3
    assert shown(result, "staged", name)["records_quarantined"] == 2
    assert shown(result, "published", name)["rows"] == 1
    table = shown(result, "table", TABLE)
    assert table["dagster/row_count"] == 0
    assert name not in str(table)
    told = without_own_configuration(desk.told(), source)
    version = desk.house.ledger.version(dataset)
    for secret in (CANARY, "123454321", version.snapshot_sha256, version.fingerprint):
        assert secret not in told
    validator = desk.house.ledger.snapshot(dataset).validator
    assert validator not in told
    printed = capfd.readouterr()
    assert CANARY not in without_own_configuration(printed.out + printed.err, source)


def test_the_same_records_under_an_open_licence_are_shown(desk: Desk) -> None:
    result = desk.curate("plain", desk.write("plain", ROWS))
    assert shown(result, "raw", "plain")["source"].endswith(".vcf")
    assert "private" not in shown(result, "published", "plain")
    assert f"{CANARY}gene" in str(shown(result, "published", "plain"))
    assert shown(result, "table", TABLE)["dagster/row_count"] == 1


def test_of_rows_with_licences_of_their_own_only_the_permitted_are_previewed_and_counted(desk: Desk) -> None:
    rows = [ROWS[0], "1\t200\tyours\tA\tC\t.\t.\tGENE=yours;LIC=CC-BY-4.0"]
    result = desk.curate("by_row", desk.write("by_row", rows, row_licence={"column": "LIC"}))
    page = shown(result, "published", "by_row")
    assert "yours" in page["preview_clinical_significance"]
    assert CANARY not in str(page)
    assert page["rows"] == 2
    assert shown(result, "staged", "by_row")["rows_with_unknown_licence"] == 1
    table = shown(result, "table", TABLE)
    assert table["dagster/row_count"] == 1
    assert "| genomics/by_row | genomics/by_row@1 | 1 |" in table["versions"]


@pytest.mark.parametrize(
    "error",
    [
        SourceError(f"record 7: {CANARY} is no value", f"ask {CANARY}"),
        pa.ArrowInvalid(f"could not convert {CANARY}"),
        ValueError(CANARY),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_that_quotes_a_private_record_is_kept_in_the_house(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, error: Exception, capfd
) -> None:
    def fails(*_: object) -> None:
        raise error

    source = desk.write("noncommercial", ROWS, **PRIVATE["noncommercial"])
    monkeypatch.setattr(curate, "stage", fails)
    result = desk.curate("noncommercial", source)
    assert not result.success
    assert CANARY not in without_own_configuration(desk.told(), source)
    (event,) = (each for each in result.get_step_failure_events() if each.step_key == "staged__genomics__noncommercial")
    told = event.step_failure_data.user_failure_data
    assert "not open to everybody" in told.description
    (kept,) = (desk.house.settings.home / "private").rglob("*.txt")
    assert str(kept) in told.metadata["remedy"].value
    assert CANARY in kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0
    printed = capfd.readouterr()
    assert CANARY not in without_own_configuration(printed.out + printed.err, source)


def test_an_error_of_an_open_dataset_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise SourceError(f"record 7: {CANARY} is no value", "mend it")

    monkeypatch.setattr(curate, "stage", fails)
    result = desk.curate("plain", desk.write("plain", ROWS))
    (event,) = (each for each in result.get_step_failure_events() if each.step_key.startswith("staged"))
    assert CANARY in event.step_failure_data.user_failure_data.description


def test_a_private_dataset_that_the_gates_refuse_is_refused_without_its_values(desk: Desk) -> None:
    source = desk.write("embargoed", ROWS[1:], **PRIVATE["embargoed"])
    result = desk.curate("embargoed", source)
    assert not result.success
    assert desk.house.ledger.current("genomics/embargoed") is None
    assert CANARY not in without_own_configuration(desk.told(), source)
    (dataset,) = load_datasets(desk.folder)
    outcome = runs._outcome(desk.house, dataset, ALL, result.run_id, {}, set())
    assert outcome.status == "refused"
    assert "2 of 2 records quarantined" in outcome.problem
    assert CANARY not in outcome.problem + outcome.remedy


def test_no_command_tells_the_public_more(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, terms in PRIVATE.items():
        desk.curate(name, desk.write(name, ROWS, **terms))
    monkeypatch.setattr("dagster_project.cli._sound", lambda: load_datasets(desk.folder))
    monkeypatch.setattr("dagster_project.cli._house", lambda: desk.house)
    monkeypatch.setattr("dagster_project.cli._known", lambda _: None)
    versions = desk.house.ledger.versions()
    secrets = [CANARY, "123454321"]
    secrets += [secret for version in versions for secret in (version.snapshot_sha256[:12], version.run_id)]
    asked = [["list"], ["list", "--json"], ["query", f"FROM {TABLE}"]]
    asked += [["query", f"FROM catalog.{name}"] for name in ("datasets", "versions", "gates", "quarantine", "tables")]
    for name in PRIVATE:
        asked += [["versions", f"genomics/{name}"], ["quarantine", f"genomics/{name}"]]
        asked += [["diff", f"genomics/{name}@1", f"genomics/{name}@1"]]
    for words in asked:
        printed = CliRunner().invoke(main, words).output
        assert printed
        assert [secret for secret in secrets if secret in printed] == [], words
    internal = CliRunner().invoke(main, ["query", f"SELECT _record FROM {TABLE}", "--profile", "internal"]).output
    assert f"{CANARY}id" in internal, "what is searched for is there"


def test_a_source_that_cannot_be_asked_is_not_named_if_it_is_private(desk: Desk) -> None:
    source = desk.write("embargoed", ROWS[:1], **PRIVATE["embargoed"])
    desk.curate("embargoed", source)
    snapshot = desk.house.ledger.snapshot("genomics/embargoed")
    desk.house.ledger.record_snapshot(snapshot.model_copy(update={"uri": "file:///owner/of/the/data.vcf"}))
    sensor = definitions(desk.folder).resolve_sensor_def("changed_sources")
    with dg.build_sensor_context(instance=desk.instance, resources={"winnow": HouseResource()}) as context:
        found = sensor.evaluate_tick(context)
    assert "genomics/embargoed cannot be asked" in str(found.skip_message)
    assert "/owner/" not in str(found.skip_message)


def test_reasons_without_end_do_not_make_a_report_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "REASONS", 5)
    gate = gates.Gate("lab/notebook", load_table(TABLE), lambda _: None)
    for number in range(1000):
        gate._tally("structure", f"column{number}" if number % 2 else "", "readable", f"{CANARY}{number}")
    gate._kept = 7
    report = gate.report(7)
    assert len(report.failures) <= 12
    assert sum(failure.records for failure in report.failures) == 1000
