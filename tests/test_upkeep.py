"""Upkeep: release assets, and the daily job that lets lapsed embargoes into releases and tells of overdue reviews."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pyarrow.parquet as pq
import pytest
import yaml

from catalog.dataset import load_datasets
from dagster_project import curate
from dagster_project.component import asset_key, dataset_keys
from dagster_project.definitions import definitions
from dagster_project.resources import HouseResource
from dagster_project.settings import Settings

TABLE = "genomics.clinical_significance"
HEADER = """##fileformat=VCFv4.2
##reference=GRCh38
##INFO=<ID=GENE,Number=1,Type=String,Description="gene">
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO
"""
OPEN = dg.AssetKey(["release", "open"])


class Days:
    """Two datasets, one of them under embargo until 2 March; a Dagster, and a clock that a test sets."""

    def __init__(self, root: Path, instance: dg.DagsterInstance) -> None:
        self.folder = root / "datasets"
        self.instance = instance
        self.now = datetime(2027, 3, 1, 12, tzinfo=UTC)
        self.house = curate.House(Settings.at(root / "home"), clock=lambda: self.now)
        self.write("plain", ["one", "two"])
        self.write("secret", ["CANARYrow"], embargo={"until": "2027-03-02"})

    def write(self, name: str, rows: list[str], **terms: Any) -> None:
        place = self.folder / "genomics" / name
        place.mkdir(parents=True, exist_ok=True)
        lines = "".join(f"1\t{100 + i}\t{row}\tA\tC\t.\t.\tGENE={row}\n" for i, row in enumerate(rows))
        (place / "sample.vcf").write_text(HEADER + lines)
        attributes = {
            "title": name,
            "table": TABLE,
            "source": {"uri": str(place / "sample.vcf"), "format": "vcf"},
            "sample": "sample.vcf",
            "terms": {
                "licence": "CC0-1.0",
                "evidence": [{"file": "sample.vcf", "read_on": "2026-11-23", "quote": "CC0 1.0"}],
                "attribution": "nobody",
                **terms,
            },
            "columns": {"gene_symbols": "[GENE]"},
            "owner": "tests",
        }
        document = {"type": "dagster_project.component.Dataset", "attributes": attributes}
        (place / "defs.yaml").write_text(yaml.safe_dump(document))

    def curate(self) -> dg.ExecuteInProcessResult:
        job = definitions(self.folder).resolve_job_def("curate")
        keys = sorted({key for dataset in load_datasets(self.folder) for key in dataset_keys(dataset)})
        return job.execute_in_process(instance=self.instance, asset_selection=keys)

    def tick(self) -> dg.RunRequest | str:
        """What the daily schedule asks for now: a run, or why there is none."""
        defs = definitions(self.folder)
        schedule = defs.resolve_schedule_def("embargo")
        with dg.build_schedule_context(instance=self.instance, resources={"winnow": HouseResource()}) as context:
            found = schedule.evaluate_tick(context)
        if found.run_requests:
            (request,) = found.run_requests
            return request
        return str(found.skip_message)

    def execute(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        """The run that Dagster's daemon would start for a request: only what it selects."""
        job = definitions(self.folder).resolve_job_def("embargo")
        chosen = job.get_subset(
            asset_selection=frozenset(request.asset_selection or ()),
            asset_check_selection=frozenset(request.asset_check_keys or ()),
        )
        return chosen.execute_in_process(instance=self.instance)

    def cut(self) -> dict[str, Any]:
        """Materialise release/open; its metadata."""
        result = self.execute(dg.RunRequest(asset_selection=[OPEN], asset_check_keys=[]))
        (event,) = result.get_asset_materialization_events()
        return {name: value.value for name, value in event.materialization.metadata.items()}


@pytest.fixture
def days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Days]:
    monkeypatch.setenv("WINNOW_HOME", str(tmp_path / "home"))
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        days = Days(tmp_path, instance)
        monkeypatch.setattr(HouseResource, "house", lambda self: days.house)
        yield days


def public_bytes(release: Path) -> bytes:
    found = b""
    for path in sorted(release.rglob("*")):
        if path.is_file():
            found += str(path).encode() + path.read_bytes()
            if path.suffix == ".parquet":
                found += (
                    repr(pq.read_table(path).to_pylist()).encode() + repr(pq.read_metadata(path).to_dict()).encode()
                )
    return found


def answer(release: str, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(f"{release}/catalog.duckdb", read_only=True) as connection:
        return connection.execute(sql).fetchall()


def test_there_is_a_release_asset_per_profile_and_no_run_of_datasets_makes_one(days: Days) -> None:
    graph = definitions(days.folder).resolve_asset_graph()
    for profile in ("open", "noncommercial", "internal"):
        asset = graph.get(dg.AssetKey(["release", profile]))
        assert asset.group_name == "releases"
        assert asset.parent_keys == {asset_key("published", f"genomics/{name}") for name in ("plain", "secret")}
    curated = definitions(days.folder).resolve_job_def("curate").asset_layer.executable_asset_keys
    assert asset_key("published", "genomics/plain") in curated
    assert not [key for key in curated if key.path[0] == "release"]


def test_nothing_is_asked_for_where_no_release_was_ever_cut(days: Days) -> None:
    days.curate()
    days.now = datetime(2027, 3, 2, 0, 5, tzinfo=UTC)
    assert "no embargo has lapsed" in str(days.tick())


def test_an_embargo_lapses_into_the_release_of_the_next_day_without_a_rerun(days: Days) -> None:
    days.curate()
    before = days.cut()
    assert b"CANARY" not in public_bytes(Path(before["release"]))
    assert b"secret" not in public_bytes(Path(before["release"]))
    assert before["dagster/row_count"] == 2
    assert "secret" not in str(before)
    for second in (datetime(2027, 3, 1, 0, 5, tzinfo=UTC), datetime(2027, 3, 1, 23, 59, 59, tzinfo=UTC)):
        days.now = second
        assert "no embargo has lapsed" in str(days.tick())
    days.now = datetime(2027, 3, 2, 0, 5, tzinfo=UTC)
    versions = days.house.ledger.versions()
    request = days.tick()
    assert isinstance(request, dg.RunRequest)
    assert (request.asset_selection, request.asset_check_keys) == ([OPEN], [])
    result = days.execute(request)
    assert result.success
    assert [event.asset_key for event in result.get_asset_materialization_events()] == [OPEN]
    after = days.house.ledger.releases("open")[-1]
    assert b"CANARYrow" in public_bytes(Path(after.address))
    assert answer(after.address, f"SELECT count(*) FROM {TABLE}") == [(3,)]
    assert answer(before["release"], f"SELECT count(*) FROM {TABLE}") == [(2,)]
    assert days.house.ledger.versions() == versions
    assert "no embargo has lapsed" in str(days.tick()), "once is enough"


def test_a_derived_count_changes_with_the_day(days: Days) -> None:
    days.curate()
    before = days.cut()["release"]
    days.now = datetime(2027, 3, 2, 0, 5, tzinfo=UTC)
    request = days.tick()
    assert isinstance(request, dg.RunRequest)
    days.execute(request)
    after = days.house.ledger.releases("open")[-1].address
    counted = "SELECT dataset, sum(rows)::INT FROM catalog.holdings GROUP BY ALL ORDER BY ALL"
    assert answer(before, counted) == [("genomics/plain", 2)]
    assert answer(after, counted) == [("genomics/plain", 2), ("genomics/secret", 1)]


def test_the_second_before_and_after_midnight_decide(days: Days) -> None:
    days.curate()
    days.now = datetime(2027, 3, 1, 23, 59, 59, tzinfo=UTC)
    assert days.cut()["dagster/row_count"] == 2
    days.now = datetime(2027, 3, 2, 0, 0, 0, tzinfo=UTC)
    assert days.cut()["dagster/row_count"] == 3


def test_an_overdue_review_is_a_warning_that_blocks_nothing(days: Days) -> None:
    days.write("paper", ["CANARYpaper"], embargo={"event": "publication", "review_by": "2027-03-01"})
    days.curate()
    assert "no embargo has lapsed" in str(days.tick()), "on the review's own day it is not overdue"
    days.now = datetime(2027, 3, 2, 0, 5, tzinfo=UTC)
    request = days.tick()
    assert isinstance(request, dg.RunRequest)
    assert list(request.asset_selection or []) == []
    assert request.asset_check_keys == [dg.AssetCheckKey(asset_key("published", "genomics/paper"), "review")]
    result = days.execute(request)
    assert result.success
    assert not result.get_asset_materialization_events()
    (evaluation,) = result.get_asset_check_evaluations()
    assert not evaluation.passed
    assert evaluation.severity == dg.AssetCheckSeverity.WARN
    assert "overdue since 2027-03-01" in (evaluation.description or "")
    assert days.cut()["dagster/row_count"] == 3, "past its review date it is still withheld"


def test_the_schedule_is_on_from_the_start_at_five_past_midnight_utc(days: Days) -> None:
    schedule = definitions(days.folder).resolve_schedule_def("embargo")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("5 0 * * *", "UTC")
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
