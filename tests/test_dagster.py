"""What an operator relies on in Dagster: assets, blocking checks, schedules, the sensor, and what a failure leaves."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from click.testing import CliRunner

from catalog.dataset import load_dataset, load_datasets, read_dataset
from catalog.errors import ContractError
from catalog.rights.policy import PERMITTED
from catalog.table import load_table, table_names
from dagster_project import automation, curate
from dagster_project.cli import main
from dagster_project.component import GATES, asset_key
from dagster_project.definitions import definitions, defs
from dagster_project.metadata import markdown
from dagster_project.resources import LedgerIOManager
from dagster_project.settings import Settings

CLINVAR = Path(__file__).parent.parent / "assets/datasets/genomics/clinvar"
VCF = (CLINVAR / "sample.vcf").read_text(encoding="utf-8").splitlines()
HEADER = [line for line in VCF if line.startswith("#")]
RECORDS = [line for line in VCF if not line.startswith("#")]
LAYERS = ("raw", "staged", "published")
TABLE = "genomics.clinical_significance"


def keys(*names: str) -> list[dg.AssetKey]:
    """The assets of datasets, and the table that they feed."""
    return [*(asset_key(layer, name) for name in names for layer in LAYERS), asset_key("table", TABLE)]


class Place:
    """Two datasets of one's own, each with a source that a test may change, in a house and a Dagster of their own."""

    def __init__(self, root: Path, instance: dg.DagsterInstance) -> None:
        self.folder = root / "datasets"
        self.sources = {name: root / f"{name}.vcf" for name in ("one", "two")}
        self.house = curate.House(Settings.at(root / "home"))
        self.instance = instance
        for name, source in self.sources.items():
            self.publish(name, RECORDS)
            self.contract(name, lambda attributes, uri=str(source): attributes["source"].update(uri=uri))

    def publish(self, name: str, records: Sequence[str]) -> None:
        """The owner of a source publishes other records."""
        self.sources[name].write_text("\n".join([*HEADER, *records]) + "\n", encoding="utf-8")

    def contract(self, name: str, change: Callable[[dict[str, Any]], object]) -> Path:
        """Write a dataset's YAML: the one it has, else clinvar's, changed."""
        path = self.folder / "genomics" / name / "defs.yaml"
        data = yaml.safe_load((path if path.exists() else CLINVAR / "defs.yaml").read_text(encoding="utf-8"))
        data["attributes"]["gates"] = {"min_rows": 1}
        change(data["attributes"])
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CLINVAR / "sample.vcf", path.parent)
        path.write_text(yaml.safe_dump(data), encoding="utf-8")
        return path

    def run(self, *selected: dg.AssetKey, defs: dg.Definitions | None = None) -> dg.ExecuteInProcessResult:
        """One run of these assets, or of all."""
        job = (defs or definitions(self.folder)).resolve_job_def("curate")
        return job.execute_in_process(
            instance=self.instance, asset_selection=list(selected) or None, raise_on_error=False
        )

    def version(self, name: str) -> int:
        version = self.house.ledger.current(f"genomics/{name}")
        return version.number if version else 0


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("WINNOW_HOME", str(tmp_path / "home"))
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        yield Place(tmp_path, instance)


def done(result: dg.ExecuteInProcessResult) -> set[str]:
    return {event.step_key for event in result.all_events if event.is_step_success and event.step_key}


def failures(result: dg.ExecuteInProcessResult) -> dict[str, tuple[str, str]]:
    """Step -> what the UI shows of its failure: the problem and the remedy."""
    found = {}
    for event in result.get_step_failure_events():
        told = event.step_failure_data.user_failure_data
        found[event.step_key] = (told.description, told.metadata["remedy"].value) if told else ("", "")
    return found


def shown(result: dg.ExecuteInProcessResult, key: dg.AssetKey) -> dict[str, Any]:
    """The metadata of an asset's materialisation."""
    materialisation = next(event for event in result.get_asset_materialization_events() if event.asset_key == key)
    return {name: value.value for name, value in materialisation.materialization.metadata.items()}


# -- what there is -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", load_datasets(), ids=lambda dataset: dataset.name)
def test_a_dataset_has_three_assets_in_a_row_with_what_its_contract_says(dataset):
    graph = defs.resolve_asset_graph()
    raw, staged, published = (graph.get(asset_key(layer, dataset.name)) for layer in LAYERS)
    assert (staged.parent_keys, published.parent_keys) == ({raw.key}, {staged.key})
    for asset, layer in zip((raw, staged, published), LAYERS, strict=True):
        assert asset.group_name == dataset.domain
        assert asset.owners == [f"team:{dataset.owner}"]
        assert layer in asset.kinds
        assert dataset.title in asset.description
        assert "dagster/code_references" in asset.metadata
    assert dataset.source.format in raw.kinds


@pytest.mark.parametrize("dataset", load_datasets(), ids=lambda dataset: dataset.name)
def test_the_four_gates_block_what_comes_after_staging(dataset):
    graph = defs.resolve_asset_graph()
    checks = {graph.get(key) for key in graph.asset_check_keys if key.asset_key == asset_key("staged", dataset.name)}
    assert {check.key.name for check in checks} == set(GATES)
    assert all(check.blocking and check.description for check in checks)


@pytest.mark.parametrize("name", table_names())
def test_a_table_comes_after_all_datasets_that_feed_it(name):
    asset = defs.resolve_asset_graph().get(asset_key("table", name))
    assert asset.parent_keys == {asset_key("published", d.name) for d in load_datasets() if name in d.feeds}
    assert asset.group_name == load_table(name).domain
    assert load_table(name).standard in asset.description


def test_dagsters_own_loader_of_components_finds_the_same_datasets():
    loaded = dg.load_from_defs_folder(path_within_project=CLINVAR)
    loaded = dg.Definitions.merge(loaded, dg.Definitions(resources=defs.resources))
    spanning = {asset_key("table", name) for name in table_names()}
    spanning |= {dg.AssetKey(["release", profile]) for profile in PERMITTED}
    assert loaded.resolve_asset_graph().materializable_asset_keys == (
        defs.resolve_asset_graph().materializable_asset_keys - spanning
    )


@pytest.mark.parametrize("dataset", load_datasets(), ids=lambda dataset: dataset.name)
def test_a_schedule_of_a_contract_runs_its_dataset_in_utc(dataset):
    name = dataset.name.replace("/", "_")
    schedules = {schedule.name: schedule for schedule in defs.schedules or ()}
    assert (name in schedules) == (dataset.schedule is not None)
    if dataset.schedule is None:
        return
    schedule = schedules[name]
    assert (schedule.cron_schedule, schedule.execution_timezone) == (dataset.schedule, "UTC")
    with dg.build_schedule_context(repository_def=defs.get_repository_def()) as context:
        asked = [request.partition_key for request in schedule.evaluate_tick(context).run_requests]
    assert asked == list(dataset.source.parts or [None])
    job = defs.resolve_job_def(schedule.job_name)
    tables = {asset_key("table", name) for name in dataset.feeds}
    assert job.asset_layer.executable_asset_keys == {asset_key(layer, dataset.name) for layer in LAYERS} | tables


# -- runs ----------------------------------------------------------------------------------------------


def test_the_second_run_on_unchanged_bytes_parses_nothing_and_says_so(place):
    first = place.run()
    assert first.success
    said = shown(first, asset_key("staged", "genomics/one"))
    assert (said["records_read"], said["records_kept"], said["unchanged"]) == (len(RECORDS), len(RECORDS), False)
    stages = len(place.house.ledger.stages("genomics/one"))
    second = place.run()
    assert second.success
    assert shown(second, asset_key("staged", "genomics/one"))["unchanged"] is True
    assert len(place.house.ledger.stages("genomics/one")) == stages
    assert place.version("one") == 1


def test_a_refused_dataset_stops_alone_and_keeps_its_version(place):
    assert place.run().success
    place.publish("one", RECORDS[:-1])
    place.publish("two", RECORDS[:5])
    result = place.run()
    assert not result.success
    assert "published__genomics__one" in done(result)
    assert not {"staged__genomics__two", "published__genomics__two", "table__genomics__clinical_significance"} & done(
        result
    )
    verdicts = {
        check.check_name: check.passed
        for check in result.get_asset_check_evaluations()
        if check.asset_key == asset_key("staged", "genomics/two")
    }
    assert verdicts == {"structure": True, "expectations": False, "science": True, "terms": True}
    assert (place.version("one"), place.version("two")) == (2, 1)


def test_a_refused_check_shows_what_was_observed_and_expected(place):
    place.run(*keys("genomics/two"))
    place.publish("two", RECORDS[:5])
    result = place.run(*keys("genomics/two"))
    check = next(c for c in result.get_asset_check_evaluations() if c.check_name == "expectations")
    assert check.severity == dg.AssetCheckSeverity.ERROR
    assert TABLE in check.description
    assert "expected" in check.description
    assert check.metadata["refused"].value == 1
    assert "✗" in check.metadata["verdicts"].value.splitlines()[2]


def test_published_alone_is_refused_after_a_refusal(place):
    place.run(*keys("genomics/two"))
    place.publish("two", RECORDS[:5])
    place.run(*keys("genomics/two"))
    result = place.run(asset_key("published", "genomics/two"))
    ((problem, remedy),) = failures(result).values()
    assert "refused" in problem
    assert "winnow quarantine genomics/two" in remedy
    assert place.version("two") == 1


def test_the_checks_cannot_be_left_out_of_a_run(place):
    mine = definitions(place.folder)
    without = dg.AssetSelection.assets(*keys("genomics/two")).without_checks()
    with pytest.raises(dg.DagsterInvalidDefinitionError):
        dg.materialize(mine.assets, instance=place.instance, resources=mine.resources, selection=without)
    assert place.version("two") == 0


def test_what_no_gate_has_judged_is_not_published(place):
    place.run(*keys("genomics/two"))
    staged = place.house.ledger.stage("genomics/two")
    unjudged = staged.model_copy(update={"run_id": "another", "fingerprint": "0" * 64, "base_version": 1})
    place.house.ledger.hand_over("staged/genomics/two", "another", unjudged)
    result = place.run(asset_key("published", "genomics/two"))
    ((problem, _),) = failures(result).values()
    assert "has no gate report" in problem
    assert place.version("two") == 1


def test_published_without_anything_before_it_says_what_to_do(place):
    result = place.run(asset_key("published", "genomics/one"))
    assert not result.success
    (event,) = result.get_step_failure_events()
    assert "materialise" in event.step_failure_data.error_display_string


def test_a_source_that_is_gone_shows_problem_and_remedy(place):
    place.sources["one"].unlink()
    result = place.run()
    assert not result.success
    assert failures(result)["raw__genomics__one"] == (
        f"genomics/one: {place.sources['one']} is not there",
        "correct source.uri, or give the file with --source",
    )
    assert (place.version("one"), place.version("two")) == (0, 1)


def test_a_run_goes_on_with_its_own_records_when_another_comes_in_between(place):
    class Crowded(LedgerIOManager):
        """Lets another run of the dataset through, on other bytes, once the first has fetched."""

        def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
            super().handle_output(context, obj)
            if not others:
                others.append("")
                place.publish("one", RECORDS[:-1])
                others[0] = place.run(asset_key("raw", "genomics/one")).run_id

    others: list[str] = []
    crowded = dg.Definitions.merge(
        dg.Definitions(assets=definitions(place.folder).assets, jobs=definitions(place.folder).jobs),
        dg.Definitions(resources={**definitions(place.folder).resources, "ledger": Crowded()}),
    )
    result = place.run(*keys("genomics/one"), defs=crowded)
    assert result.success
    assert others[0]
    assert place.house.ledger.version("genomics/one").tables[0].rows == len(RECORDS)


# -- contracts that are wrong --------------------------------------------------------------------------


def test_a_broken_contract_is_shown_and_does_not_stop_the_others(place):
    path = place.contract("two", lambda attributes: attributes.update(titel="?"))
    line = path.read_text(encoding="utf-8").splitlines().index("  titel: '?'") + 1
    broken = definitions(place.folder)
    asset = broken.resolve_asset_graph().get(asset_key("raw", "genomics/two"))
    assert f"defs.yaml:{line}" in asset.description
    result = place.run(defs=broken)
    problem, remedy = failures(result)["raw__genomics__two"]
    assert "titel" in problem
    assert remedy
    assert (place.version("one"), place.version("two")) == (1, 0)


def test_a_yaml_that_does_not_parse_is_shown_and_does_not_stop_the_others(place):
    (place.folder / "genomics/two/defs.yaml").write_text("type: [", encoding="utf-8")
    asset = definitions(place.folder).resolve_asset_graph().get(asset_key("raw", "genomics/two"))
    assert "defs.yaml" in asset.description


def test_a_run_of_everything_goes_on_without_a_broken_contract_and_tells_of_it(place, monkeypatch):
    error = ContractError("defs.yaml:3:3: unknown key", "correct the line")
    monkeypatch.setenv("DAGSTER_HOME", "")  # so that what a run sets is put back
    monkeypatch.setattr("catalog.dataset.sound_datasets", lambda: ((load_dataset("genomics/clinvar"),), {"a/b": error}))
    result = CliRunner().invoke(main, ["run", "--sample"])
    assert result.exit_code == 1
    assert re.search(r"genomics/clinvar +│ committed", result.output)
    assert "a/b failed: defs.yaml:3:3: unknown key\n  remedy: correct the line" in result.output
    assert "nothing new" not in result.output


def test_a_run_of_everything_leaves_out_what_has_no_source_and_says_so(place, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setattr("catalog.dataset.sound_datasets", lambda: ((load_dataset("fusion/vest"),), {}))
    result = CliRunner().invoke(main, ["run"])
    assert result.exit_code == 0
    assert re.search(r"fusion/vest +│ no source", result.output)
    named = CliRunner().invoke(main, ["run", "fusion/vest"])
    assert named.exit_code == 1
    assert "has no public location" in named.output


# -- the sensor ----------------------------------------------------------------------------------------


def tick(place: Place) -> tuple[list[dg.RunRequest], str]:
    sensor = automation.source_sensor(load_datasets(place.folder))
    resources = definitions(place.folder).resources
    with dg.build_sensor_context(instance=place.instance, resources={"winnow": resources["winnow"]}) as context:
        found = sensor.evaluate_tick(context)
    return list(found.run_requests or ()), found.skip_message or ""


def fetch(place: Place, name: str, sample: bool = False) -> None:
    contract = read_dataset(place.folder / "genomics" / name / "defs.yaml")
    curate.fetch(place.house, contract, curate.address(contract, sample=sample))


def test_the_sensor_leaves_alone_what_was_never_fetched_from_its_source(place):
    fetch(place, "one", sample=True)
    assert tick(place) == ([], "no dataset has been fetched from its own source yet")


def test_the_sensor_is_silent_while_nothing_changes(place):
    fetch(place, "one")
    assert tick(place) == ([], "no source changed")


def test_the_sensor_asks_once_for_each_state_of_a_source(place):
    fetch(place, "one")
    fetch(place, "two")
    place.publish("one", RECORDS[:-1])
    (first,), _ = tick(place)
    assert first.asset_selection == keys("genomics/one")
    (again,), _ = tick(place)
    assert again.run_key == first.run_key
    place.publish("one", RECORDS[:-2])
    (other,), _ = tick(place)
    assert other.run_key != first.run_key


def test_the_sensor_tells_of_a_source_that_is_gone_and_asks_the_others(place):
    fetch(place, "one")
    fetch(place, "two")
    place.sources["one"].unlink()
    requests, message = tick(place)
    assert not requests
    assert "genomics/one cannot be asked" in message
    assert "is not there" in message
    place.publish("two", RECORDS[:-1])
    assert [request.tags["winnow/dataset"] for request in tick(place)[0]] == ["genomics.two"]


def test_the_sensor_does_not_wait_for_a_source_that_keeps_silent(place, monkeypatch):
    import socket

    fetch(place, "one")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        uri = f"http://127.0.0.1:{mute.getsockname()[1]}/one.vcf"
        snapshot = place.house.ledger.snapshot("genomics/one")
        place.house.ledger.record_snapshot(snapshot.model_copy(update={"uri": uri}))
        place.contract("one", lambda attributes: attributes["source"].update(uri=uri))
        monkeypatch.setattr(automation, "PATIENCE", 0.2)
        requests, message = tick(place)
    assert not requests
    assert "genomics/one cannot be asked: no answer" in message


# -- what is shown -------------------------------------------------------------------------------------


def test_a_preview_is_shown_only_if_anyone_may_have_the_rows(place):
    evidence = [{"file": "sample.vcf", "read_on": "2026-11-23", "quote": "CC BY-NC 4.0"}]
    terms = {"licence": "CC-BY-NC-4.0", "evidence": evidence}
    place.contract("two", lambda attributes: attributes["terms"].update(terms))
    result = place.run()
    one, two = (shown(result, asset_key("published", f"genomics/{name}")) for name in ("one", "two"))
    assert len(one["preview_clinical_significance"].splitlines()) == 2 + 10
    assert "preview_clinical_significance" not in two
    assert two["preview"].startswith("no preview: ")


def test_a_cell_cannot_break_out_of_its_table():
    (row,) = markdown(["a"], [["x | y\n<script>[z](u)"]]).splitlines()[2:]
    assert row == r"| x \| y \<script\>\[z\](u) |"


def test_the_processes_of_jobs_leave_the_terminal_to_progress_and_outcome(tmp_path):
    environment = {**os.environ, "WINNOW_HOME": str(tmp_path / "home")}
    winnow = Path(sys.executable).with_name("winnow")
    ended = subprocess.run(
        [winnow, "run", "genomics/clinvar", "--sample", "--jobs", "2"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "committed" in ended.stdout
    assert len(ended.stdout.splitlines()) == 3


def test_places_given_relative_to_a_folder_are_found_from_any_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = {"WINNOW_HOME": "home", "WINNOW_WAREHOUSE": "house", "WINNOW_CATALOG": "sqlite:///books.db"}
    found = Settings.from_environment(given)
    assert (found.home, found.warehouse) == (tmp_path / "home", str(tmp_path / "house"))
    assert found.catalog == f"sqlite:///{tmp_path}/books.db"
    elsewhere = {"WINNOW_WAREHOUSE": "s3://bucket/house", "WINNOW_CATALOG": "postgresql://host/books"}
    found = Settings.from_environment(elsewhere)
    assert (found.warehouse, found.catalog) == ("s3://bucket/house", "postgresql://host/books")
