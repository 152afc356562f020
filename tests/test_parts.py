"""Datasets whose source comes in parts: one is run, fails and is run again alone; the others stay."""

import hashlib
import json
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pytest
import yaml
from click.testing import CliRunner

from catalog.dataset import Dataset, load_dataset
from catalog.errors import BusyError, ContractError, GateError, SourceError, UnknownVersionError, VersionConflictError
from catalog.parts import next_version
from catalog.query import Door
from catalog.records import Found, GateReport, Snapshot, Stage, Version
from dagster_project import curate, show
from dagster_project import run as runs
from dagster_project.cli import main
from dagster_project.component import asset_key
from dagster_project.definitions import definitions
from dagster_project.jobs import job_name
from dagster_project.resources import HouseResource
from dagster_project.settings import Settings
from dagster_project.vacuum import vacuum
from dagster_project.withdraw import sharing, withdraw

NAME = "biodiversity/flock"
TABLE = "biodiversity.occurrences"
PARTS = ("north", "south", "west")
HEAD = "occurrenceID,scientificName,basisOfRecord,country\n"
LAYERS = ("raw", "staged", "published")


def rows(part: str, count: int = 3) -> str:
    return HEAD + "".join(f"{part}-{i},Parus major,HumanObservation,{part}\n" for i in range(count))


class Flock:
    """One dataset of three parts, in a house of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.house = curate.House(Settings.at(root / "home"), clock=lambda: datetime(2027, 3, 1, 12, tzinfo=UTC))
        for part in PARTS:
            self.source(part).write_text(rows(part))
        self.dataset = self.contract()

    def source(self, part: str) -> Path:
        return self.root / f"{part}.csv"

    def contract(self, **more: object) -> Dataset:
        place = self.root / "datasets" / NAME
        place.mkdir(parents=True, exist_ok=True)
        (place / "sample.csv").write_text(rows("south", 2))
        source = {"uri": str(self.root / "{part}.csv"), "format": "darwin_core", "parts": list(PARTS)}
        finding = {"file": "sample.csv", "read_on": "2026-11-23", "quote": "CC0 1.0", "licence": "CC0-1.0"}
        attributes = {
            "title": "A flock",
            "table": TABLE,
            "source": {**source, "sample_part": "south", **more.pop("source", {})},  # type: ignore[dict-item]
            "sample": "sample.csv",
            "terms": {"licence": "CC0-1.0", "evidence": [finding], "attribution": "nobody"},
            "gates": {"max_row_change": 10, "max_quarantined": 0.9},
            "columns": {},
            "owner": "tests",
            **more,
        }
        document = {"type": "dagster_project.component.Dataset", "attributes": attributes}
        (place / "defs.yaml").write_text(yaml.safe_dump(document))
        self.dataset = load_dataset(NAME, self.root / "datasets")
        return self.dataset

    def stage(self, part: str, run_id: str = "", sample: bool = False) -> Stage:
        where = curate.address(self.dataset, sample=sample, part=part)
        snapshot = curate.fetch(self.house, self.dataset, where, part)
        return curate.stage(self.house, self.dataset, snapshot, run_id or f"run-{part}")[0]

    def publish(self, part: str, run_id: str = "", sample: bool = False) -> Version:
        return curate.commit(self.house, self.dataset, self.stage(part, run_id, sample))

    def publish_all(self) -> Version:
        return [self.publish(part) for part in PARTS][-1]

    def door(self, **at: int) -> Door:
        chosen = {NAME: at["at"]} if at else None
        today = date(2027, 3, 1)
        return Door(self.house.warehouse, self.house.ledger, [self.dataset], "internal", today, chosen, derived=[])

    def counts(self, **at: int) -> dict[str, int]:
        sql = f"SELECT _part, count(*) FROM {TABLE} GROUP BY ALL"
        return dict(self.door(**at).answer(sql).fetchall())

    def bytes_of(self, version: Version) -> dict[str, str]:
        """File -> sha256 of the data files of a version."""
        files = self.house.warehouse.files(version, TABLE)
        return {file: hashlib.sha256(Path(file.removeprefix("file://")).read_bytes()).hexdigest() for file in files}


@pytest.fixture
def flock(tmp_path: Path) -> Flock:
    return Flock(tmp_path)


# -- versions ----------------------------------------------------------------------------------------------


def test_committing_a_part_keeps_the_others_byte_for_byte(flock: Flock):
    before = flock.publish_all()
    assert flock.counts() == {"north": 3, "south": 3, "west": 3}
    held = flock.bytes_of(before)
    flock.source("south").write_text(rows("south", 5))
    after = flock.publish("south", "again")
    assert (before.number, after.number) == (3, 4)
    assert flock.counts() == {"north": 3, "south": 5, "west": 3}
    assert flock.counts(at=3) == {"north": 3, "south": 3, "west": 3}
    now = flock.bytes_of(after)
    kept = {file: sums for file, sums in held.items() if "south" not in Path(file).name}
    assert len(kept) == 2
    assert kept.items() <= now.items()
    assert after.part("north") == before.part("north")
    assert sum(said.rows for said in after.tables[0].row_terms) == after.tables[0].rows == 11
    vacuum(flock.house)
    assert flock.counts() == {"north": 3, "south": 5, "west": 3}
    assert flock.counts(at=1) == {"north": 3}


def test_an_unchanged_part_makes_no_version(flock: Flock):
    version = flock.publish_all()
    stage = flock.stage("north", "later")
    assert stage.unchanged
    assert curate.commit(flock.house, flock.dataset, stage) == version
    assert flock.house.ledger.current(NAME) == version


def test_a_stage_commits_after_another_part_but_not_after_the_same_part(flock: Flock):
    flock.publish_all()
    for part in PARTS:
        flock.source(part).write_text(rows(part, 4))
    north, south = flock.stage("north", "a"), flock.stage("south", "b")
    flock.source("north").write_text(rows("north", 5))
    again = flock.stage("north", "c")
    assert [north.base_version, south.base_version, again.base_version] == [3, 3, 3]
    curate.commit(flock.house, flock.dataset, north)
    assert curate.commit(flock.house, flock.dataset, south).number == 5
    with pytest.raises(VersionConflictError):
        curate.commit(flock.house, flock.dataset, again)
    assert flock.counts() == {"north": 4, "south": 4, "west": 3}


def test_parts_are_staged_side_by_side_and_one_part_only_once(flock: Flock):
    with flock.house.ledger.hold(NAME, "north"):
        assert flock.stage("south").part == "south"
        with pytest.raises(BusyError, match="flock north"):
            flock.stage("north")
        with pytest.raises(BusyError):
            vacuum(flock.house)


def test_rows_that_a_cut_off_commit_left_in_iceberg_are_in_no_version(flock: Flock, monkeypatch: pytest.MonkeyPatch):
    flock.publish_all()
    flock.source("west").write_text(rows("west", 9))
    stage = flock.stage("west", "cut off")

    def crash(*_: object) -> None:
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(type(flock.house.ledger), "record_version", crash)
        with pytest.raises(OSError, match="power cut"):
            curate.commit(flock.house, flock.dataset, stage)
    flock.source("north").write_text(rows("north", 4))
    flock.publish("north", "after")
    assert flock.counts() == {"north": 4, "south": 3, "west": 3}


def test_a_part_that_the_contract_gives_up_goes_with_the_next_commit(flock: Flock):
    flock.publish_all()
    flock.contract(source={"parts": ["north", "south"]})
    flock.source("north").write_text(rows("north", 4))
    assert [part.name for part in flock.publish("north", "again").parts] == ["north", "south"]
    assert flock.counts() == {"north": 4, "south": 3}


def test_a_sample_is_not_mixed_with_the_real_source(flock: Flock):
    sample = flock.publish("south", "sample", sample=True)
    assert (sample.origin, flock.counts()) == ("sample", {"south": 2})
    flock.publish("north")
    assert flock.counts() == {"north": 3}
    with pytest.raises(GateError, match="the bundled sample would replace it"):
        flock.stage("south", "again", sample=True)
    with pytest.raises(SourceError, match="the bundled sample is of part south, not of west"):
        curate.address(flock.dataset, sample=True, part="west")


def test_what_was_recorded_before_there_were_parts_still_loads():
    common = {"dataset": NAME, "run_id": "r", "fingerprint": "f"}
    table = {"table": TABLE, "iceberg_table": "a.b", "iceberg_snapshot": 1, "rows": 2, "bytes": 3, "row_terms": []}
    old = {**common, "number": 1, "origin": "source", "snapshot_sha256": "s", "tables": [table]}
    version = Version.model_validate_json(json.dumps({**old, "committed_at": "2026-01-01T00:00:00Z"}))
    part = version.part("all")
    assert part is not None
    assert (part.run_id, part.snapshot_sha256, part.tables[0].rows) == ("r", "s", 2)
    report = {**common, "tables": [], "checks": [], "created_at": "2026-01-01T00:00:00Z"}
    assert GateReport.model_validate_json(json.dumps(report)).part == "all"
    assert Snapshot.model_fields["part"].default == "all"


def test_licence_words_in_one_part_hold_all_of_the_version(flock: Flock):
    version = flock.publish_all()
    words = Found(file="west.csv", place="line 1", words="all rights reserved", means=())
    worse = tuple(p.model_copy(update={"found": (words,)}) if p.name == "west" else p for p in version.parts)
    stage = flock.stage("north")
    made = next_version(stage, 4, [p for p in worse if p.name != "north"], version.tables, version.committed_at)
    assert made.found == (words,)
    mixed = [p.model_copy(update={"row_rules": p.name}) for p in version.parts if p.name != "north"]
    rules = next_version(stage, 4, mixed, version.tables, version.committed_at).row_rules
    assert rules not in ("", "south", "west")


# -- gates ---------------------------------------------------------------------------------------------------


def test_a_value_that_must_be_present_and_is_not_is_a_failure(flock: Flock):
    flock.contract(gates={"present": {"country": ["{part}"]}})
    assert flock.publish("north").number == 1
    flock.source("south").write_text(rows("north"))
    flock.stage("south", "wrong")
    report = flock.house.ledger.report(NAME, "wrong", "south")
    assert report is not None
    (refused,) = report.refusals()
    assert (refused.name, refused.observed) == ("present__country", "no row with country south")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"parts": None}, "go together"),
        ({"uri": "a.csv"}, "go together"),
        ({"parts": []}, "at least 1"),
        ({"parts": ["a", "A"]}, "must differ"),
        ({"parts": ["all"]}, "none may be"),
        ({"parts": ["../x"]}, "pattern"),
        ({"parts": ["seventeen-letters"]}, "pattern"),
        ({"sample_part": "east"}, "is none of"),
        ({"sha256": "0" * 64}, "pins one file"),
    ],
)
def test_a_contract_whose_parts_do_not_fit_is_refused(flock: Flock, source: dict[str, object], words: str):
    with pytest.raises(ContractError, match=words):
        flock.contract(source=source)


def test_numbers_may_name_parts(flock: Flock):
    assert flock.contract(source={"parts": [1, 2, "X"], "sample_part": None}).parts == ("1", "2", "X")


# -- taking back -----------------------------------------------------------------------------------------------


def test_versions_that_share_a_part_go_with_the_one_that_is_withdrawn(flock: Flock):
    flock.publish_all()
    for part in PARTS:
        flock.source(part).write_text(rows(part, 4))
        flock.publish(part, f"second-{part}")
    ledger = flock.house.ledger
    third = ledger.version(NAME, 3)
    assert [version.number for version in sharing(ledger, third)] == [1, 2, 4, 5]
    done = withdraw(flock.house, NAME, 3, "a person objected", "ada", flock.dataset)
    assert [each.number for each in done.others] == [1, 2, 4, 5]
    assert [version.number for version in ledger.versions(NAME)] == [6]
    assert flock.counts() == {"north": 4, "south": 4, "west": 4}
    with pytest.raises(UnknownVersionError, match="a person objected"):
        flock.door(at=5)
    for part in PARTS:
        flock.source(part).write_text(rows(part))
        with pytest.raises(GateError, match="was withdrawn"):
            flock.stage(part, "back")
    left = [path for path in flock.house.settings.home.rglob("*.parquet") if "data" in path.parts]
    assert len(left) == 3
    vacuum(flock.house)
    assert flock.counts() == {"north": 4, "south": 4, "west": 4}


# -- runs ------------------------------------------------------------------------------------------------------


@pytest.fixture
def in_dagster(flock: Flock, monkeypatch: pytest.MonkeyPatch) -> Flock:
    """The flock as what the command line and Dagster know."""
    folder = flock.root / "datasets"
    monkeypatch.setenv("WINNOW_HOME", str(flock.root / "home"))
    monkeypatch.setattr(runs, "part_job", lambda name: definitions(folder).resolve_job_def(name))
    monkeypatch.setattr("catalog.dataset.load_dataset", lambda name, within=folder: load_dataset(name, within))
    monkeypatch.setattr("catalog.dataset.sound_datasets", lambda: ((flock.dataset,), {}))
    return flock


def test_one_part_fails_and_is_run_again_alone(in_dagster: Flock):
    flock = in_dagster
    flock.source("south").unlink()
    outcomes = runs.run(flock.house, [flock.dataset], False, None, 1)
    assert [(each.name, each.status) for each in outcomes] == [
        (f"{NAME} north", "committed"),
        (f"{NAME} south", "failed"),
        (f"{NAME} west", "committed"),
    ]
    assert flock.counts() == {"north": 3, "west": 3}
    flock.source("south").write_text(rows("south"))
    (again,) = runs.run(flock.house, [flock.dataset], False, None, 1, ["south"])
    assert again.status == "committed"
    assert flock.counts() == {"north": 3, "south": 3, "west": 3}
    assert {each.status for each in runs.run(flock.house, [flock.dataset], False, None, 1)} == {"unchanged"}


def test_the_command_line_tells_parts_apart(in_dagster: Flock, monkeypatch: pytest.MonkeyPatch):
    flock = in_dagster
    monkeypatch.setattr(runs, "_hush", lambda: None)
    ask = CliRunner()
    flock.source("west").unlink()
    done = ask.invoke(main, ["run", NAME])
    assert done.exit_code == 1, done.output
    assert f"{NAME} west failed" in done.output
    assert "is still current, without part west" in done.output
    assert "2 of 3, without west" in ask.invoke(main, ["list"]).output
    assert "2 of 3, without west" in ask.invoke(main, ["versions", NAME]).output
    assert "there is no part 'east'" in ask.invoke(main, ["run", NAME, "--part", "east"]).output
    assert "give --part" in ask.invoke(main, ["run", NAME, "--source", str(flock.source("north"))]).output
    copy = flock.root / "copy-west.csv"
    copy.write_text(rows("west", 2))
    with_copy = ask.invoke(main, ["run", NAME, "--part", "west", "--source", str(copy)])
    assert with_copy.exit_code == 0, with_copy.output
    assert flock.counts() == {"north": 3, "south": 3, "west": 2}


def test_a_sample_run_curates_the_part_that_the_sample_is_of(in_dagster: Flock):
    (outcome,) = runs.run(in_dagster.house, [in_dagster.dataset], True, None, 1)
    assert (outcome.name, outcome.status) == (f"{NAME} south", "committed")
    show.outcomes([outcome])


def test_partitions_in_dagster_hand_over_part_by_part_and_say_what_is_missing(in_dagster: Flock):
    flock = in_dagster
    defs = definitions(flock.root / "datasets")
    job = defs.resolve_job_def(job_name(flock.dataset))
    keys = {layer: asset_key(layer, NAME) for layer in LAYERS}
    with dg.DagsterInstance.ephemeral() as instance:
        for part in ("north", "south"):
            staged = [keys["raw"], keys["staged"]]
            assert job.execute_in_process(instance=instance, asset_selection=staged, partition_key=part).success
        # Each part's published goes on from what that part handed over, in whichever order they ran.
        only = [keys["published"]]
        done = job.execute_in_process(instance=instance, asset_selection=only, partition_key="north")
        assert flock.counts() == {"north": 3}
        (check,) = done.get_asset_check_evaluations()
        assert (check.check_name, check.passed, check.severity) == ("complete", False, dg.AssetCheckSeverity.ERROR)
        assert "1 of 3, without south, west" in check.description
        for part in ("south", "west"):
            assert job.execute_in_process(instance=instance, partition_key=part).success
        assert instance.get_materialized_partitions(keys["published"]) == set(PARTS)
    assert flock.counts() == {"north": 3, "south": 3, "west": 3}


def test_a_schedule_asks_for_every_part_and_the_sensor_for_changed_ones(in_dagster: Flock):
    flock = in_dagster
    flock.contract(schedule="0 4 * * 1")
    defs = definitions(flock.root / "datasets")
    repository = defs.get_repository_def()
    schedule = repository.get_schedule_def("biodiversity_flock")
    with dg.DagsterInstance.ephemeral() as instance:
        when = datetime(2027, 3, 1, 4, tzinfo=UTC)
        context = dg.build_schedule_context(instance, scheduled_execution_time=when, repository_def=repository)
        asked = schedule.evaluate_tick(context).run_requests
        assert [request.partition_key for request in asked] == list(PARTS)
        flock.publish_all()
        flock.source("west").write_text(rows("west", 7))
        sensor = repository.get_sensor_def("changed_sources")
        told = sensor.evaluate_tick(
            dg.build_sensor_context(instance, repository_def=repository, resources={"winnow": HouseResource()})
        )
        assert [(request.partition_key, request.job_name) for request in told.run_requests] == [
            ("west", "biodiversity_flock")
        ]
