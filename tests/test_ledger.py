"""The ledger: append-only, the publish pointer, and one run at a time per dataset."""

import os
import subprocess
import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path

import pytest

from catalog.errors import BusyError, GateError, UnknownVersionError, VersionConflictError
from catalog.ledger import Ledger
from catalog.records import Check, Decision, GateReport, Snapshot, SourceFile, Stage, TableReport, Version

NOW = datetime(2026, 11, 23, 4, 0, 1, 250_000, tzinfo=UTC)
DATASET = "genomics/clinvar"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path / 'catalog.db'}")


def version(number: int, dataset: str = DATASET, fingerprint: str = "f") -> Version:
    return Version(
        dataset=dataset,
        number=number,
        fingerprint=fingerprint,
        origin="source",
        snapshot_sha256="0" * 64,
        run_id=f"run{number}",
        tables=(),
        committed_at=NOW,
    )


def snapshot(uri: str, sha256: str) -> Snapshot:
    file = SourceFile(name="a.vcf", path=Path("/raw/ab/abc"), size=3, sha256=sha256)
    return Snapshot(
        dataset=DATASET,
        uri=uri,
        origin="source",
        sha256=sha256,
        validator="etag",
        size=3,
        fetched_at=NOW,
        files=(file,),
    )


def stage(run: str = "run1", fingerprint: str = "f") -> Stage:
    return Stage(
        dataset=DATASET,
        run_id=run,
        fingerprint=fingerprint,
        base_version=0,
        origin="source",
        snapshot_sha256="0" * 64,
        tables=(),
        quarantine=("a.parquet",),
        seconds={"read": 0.5},
    )


def report(run: str = "run1", *passed: bool, fingerprint: str = "f") -> GateReport:
    checks = [
        Check(gate="science", name=f"check{i}", table="t", passed=verdict, observed="1", expected="2", remedy="mend it")
        for i, verdict in enumerate(passed)
    ]
    account = TableReport(table="t", read=1, kept=1, quarantined=0, dropped={}, rows=1)
    return GateReport(
        dataset=DATASET, run_id=run, fingerprint=fingerprint, tables=(account,), checks=tuple(checks), created_at=NOW
    )


def test_what_was_noted_comes_back_as_it_was_in_another_process_too(ledger: Ledger, tmp_path: Path) -> None:
    noted = snapshot("https://a", "1" * 64), stage(), report("run1", True, False), version(1)
    for record, note in zip(
        noted,
        (ledger.record_snapshot, ledger.record_stage, ledger.record_report, ledger.record_version),
        strict=True,
    ):
        note(record)  # type: ignore[operator]
    again = Ledger(f"sqlite:///{tmp_path / 'catalog.db'}")
    found = again.snapshot(DATASET), again.stage(DATASET), again.report(DATASET), again.version(DATASET)
    assert found == noted
    assert found[3].committed_at == NOW


def test_the_latest_snapshot_is_found_by_address_and_by_content(ledger: Ledger) -> None:
    assert ledger.snapshot(DATASET) is None
    for uri, sha256 in (("https://a", "1"), ("https://b", "2"), ("https://a", "3")):
        ledger.record_snapshot(snapshot(uri, sha256 * 64))
    assert ledger.snapshot(DATASET) == snapshot("https://a", "3" * 64)
    assert ledger.snapshot(DATASET, "https://b") == snapshot("https://b", "2" * 64)
    assert ledger.snapshot(DATASET, "https://c") is None
    assert ledger.snapshot_by_sha256(DATASET, "1" * 64) == snapshot("https://a", "1" * 64)
    assert ledger.snapshot_by_sha256("genomics/other", "1" * 64) is None


def test_history_is_by_number_and_by_dataset(ledger: Ledger) -> None:
    for number in (1, 2, 3):
        ledger.record_version(version(number))
    ledger.record_version(version(1, "crystals/cod"))
    assert [found.number for found in ledger.versions(DATASET)] == [1, 2, 3]
    assert len(ledger.versions()) == 4
    assert ledger.current(DATASET) == ledger.version(DATASET) == version(3)
    assert ledger.version(DATASET, 2) == version(2)
    assert ledger.current("fusion/vest") is None


@pytest.mark.parametrize(("number", "words"), [(None, DATASET), (7, f"{DATASET}@7")])
def test_a_version_that_is_not_there_is_told_with_where_to_look(ledger: Ledger, number: int | None, words: str) -> None:
    with pytest.raises(UnknownVersionError, match=f"there is no version {words}") as caught:
        ledger.version(DATASET, number)
    assert f"winnow versions {DATASET}" in caught.value.remedy
    assert isinstance(caught.value, LookupError)


def test_a_number_is_given_once(ledger: Ledger) -> None:
    ledger.record_version(version(1))
    with pytest.raises(VersionConflictError, match="genomics/clinvar@1 was committed by another run") as caught:
        ledger.record_version(version(1, fingerprint="other"))
    assert f"winnow run {DATASET}" in caught.value.remedy
    assert ledger.versions(DATASET) == [version(1)]


@pytest.mark.parametrize(
    ("noted", "words"),
    [
        (None, "run run1 has no gate report for what it staged"),
        (report("run2", True), "run run1 has no gate report"),
        (report("run1", True, fingerprint="other"), "has no gate report for what it staged"),
        (report("run1"), "the gates refused run run1: no check ran"),
        (report("run1", True, False, True), "the gates refused run run1: science.check1"),
    ],
)
def test_only_a_passing_report_on_the_same_inputs_lets_a_stage_through(
    ledger: Ledger, noted: GateReport | None, words: str
) -> None:
    if noted is not None:
        ledger.record_report(noted)
    with pytest.raises(GateError, match=words) as caught:
        ledger.passed_report(stage())
    assert caught.value.remedy
    ledger.record_report(report("run1", True, True))
    assert ledger.passed_report(stage()) == report("run1", True, True)
    ledger.record_report(report("run1", True, False))
    with pytest.raises(GateError, match=r"science\.check1") as caught:
        ledger.passed_report(stage())
    assert caught.value.report == report("run1", True, False)


def test_a_hand_over_is_the_runs_own_or_else_the_last(ledger: Ledger) -> None:
    assert ledger.handed_over("staged/genomics/clinvar", "run1", Stage) is None
    ledger.hand_over("staged/genomics/clinvar", "run1", stage("run1"))
    ledger.hand_over("staged/genomics/clinvar", "run2", stage("run2"))
    assert ledger.handed_over("staged/genomics/clinvar", "run1", Stage) == stage("run1")
    assert ledger.handed_over("staged/genomics/clinvar", "run3", Stage) == stage("run2")


def test_decisions_are_kept_in_their_order(ledger: Ledger) -> None:
    made = [Decision(allowed=allowed, profile="open", reason="r", obligations=("A",)) for allowed in (True, False)]
    for decision in made:
        ledger.record_decision(DATASET, "query", decision, NOW)
    assert ledger.decisions(DATASET) == made
    assert ledger.decisions("crystals/cod") == []


def test_a_held_dataset_is_busy_for_others_and_free_afterwards(ledger: Ledger) -> None:
    with ledger.hold(DATASET):
        with pytest.raises(BusyError, match=rf"genomics/clinvar is being run by process {os.getpid()}\b") as caught:
            ledger.hold(DATASET).__enter__()
        assert "wait until that run has ended" in caught.value.remedy
        with ledger.hold("crystals/cod"):
            pass
    with pytest.raises(ZeroDivisionError), ledger.hold(DATASET):
        _ = 1 / 0
    with ledger.hold(DATASET):
        pass


def test_the_lock_of_a_killed_process_is_gone_with_it(ledger: Ledger, tmp_path: Path) -> None:
    code = f"""
        import sys
        from catalog.ledger import Ledger
        with Ledger("sqlite:///{tmp_path / "catalog.db"}").hold("{DATASET}"):
            print("held", flush=True)
            sys.stdin.read()
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(BusyError, match=f"process {process.pid}"):
        ledger.hold(DATASET).__enter__()
    process.kill()
    process.communicate(timeout=30)
    with ledger.hold(DATASET):
        pass
