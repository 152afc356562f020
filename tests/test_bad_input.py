"""What bad input and broken runs get: words with the remedy, a non-zero exit, the last good version still current."""

import gzip
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from click.testing import CliRunner, Result

import catalog.dataset
from catalog.dataset import Dataset, load_dataset, load_datasets
from catalog.query import Door
from catalog.rights.embargo import utc_day
from dagster_project import component, run
from dagster_project.cli import main
from dagster_project.curate import House
from dagster_project.jobs import table_assets
from dagster_project.resources import HouseResource, LedgerIOManager
from dagster_project.settings import Settings

REPOSITORY = Path(__file__).parent.parent
CLINVAR = REPOSITORY / "assets/datasets/genomics/clinvar"
COD = REPOSITORY / "assets/datasets/crystals/cod"
VCF = (CLINVAR / "sample.vcf").read_text(encoding="utf-8")
HEADER = [line for line in VCF.splitlines() if line.startswith("#")]
RECORDS = [line for line in VCF.splitlines() if not line.startswith("#")]


@dataclass
class Place:
    """A home of its own, and the command line on it."""

    home: Path
    folder: Path

    @property
    def house(self) -> House:
        return House(Settings.at(self.home))

    def winnow(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, list(arguments))

    def run(self, dataset: str, source: Path | str) -> Result:
        return self.winnow("run", dataset, "--source", str(source))

    def door(self, at: dict[str, int] | None = None) -> Door:
        house = self.house
        return Door(house.warehouse, house.ledger, load_datasets(), "internal", utc_day(house.clock()), at)

    def rows(self, table: str, at: dict[str, int] | None = None) -> list[tuple[Any, ...]]:
        return sorted(self.door(at).answer(f"FROM {table}").fetchall(), key=repr)

    def visible(self) -> dict[str, Any]:
        """All that a reader of this place can see."""
        names = ("genomics.clinical_significance", "crystals.structures", "catalog.versions")
        seen: dict[str, Any] = {name: self.rows(name) for name in names}
        refused = [self.door().quarantine(dataset.name) for dataset in load_datasets()]
        seen["quarantine"] = [relation.fetchall() for relation in refused if relation is not None]
        return seen

    def data_files(self) -> set[Path]:
        return {path for path in (self.home / "warehouse").rglob("*.parquet") if "quarantine" not in path.parts}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An empty home."""
    monkeypatch.setenv("DAGSTER_HOME", "")  # so that what a run sets is put back
    monkeypatch.setenv("WINNOW_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "240")
    return Place(tmp_path / "home", tmp_path / "datasets")


@pytest.fixture
def published(place: Place, tmp_path: Path) -> Place:
    """A home in which genomics/clinvar has a good version."""
    result = place.run("genomics/clinvar", vcf(tmp_path / "good.vcf"))
    assert result.exit_code == 0, result.output
    return place


def vcf(path: Path, records: list[str] = RECORDS, header: list[str] = HEADER) -> Path:
    text = "\n".join([*header, *records]) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def many(count: int) -> list[str]:
    """Records like the sample's, each at a place and with an identifier of its own."""
    chromosome, _, _, *rest = re.sub("CLN(HGVS|DN)=[^;]*;", "", RECORDS[0]).split("\t")
    numbers = random.Random(0)
    names = (f";CLNDN={numbers.randbytes(80).hex()}" for _ in range(count))  # what no compression makes small
    return ["\t".join([chromosome, str(1000 + i), str(5_000_000 + i), *rest]) + name for i, name in enumerate(names)]


def refused(result: Result | subprocess.CompletedProcess[str], *words: str) -> None:
    """The run ended with an error that says these words, a remedy among them, and shows no traceback."""
    if isinstance(result, Result):
        code, output = result.exit_code, result.output
    else:
        code, output = result.returncode, result.stdout + result.stderr
    assert code == 1, output
    plain = re.sub(r"\s+", " ", output)
    for word in words:
        assert word in plain, f"{word!r} is not in: {output}"
    assert "remedy" in plain
    assert "Traceback" not in output
    assert "defect in Winnow" not in output


def goes_on(place: Place, source: Path, rows: int) -> None:
    """The next ordinary run publishes the next version, and the one before stays readable."""
    before = place.house.ledger.version("genomics/clinvar")
    held = place.rows("genomics.clinical_significance")
    result = place.run("genomics/clinvar", source)
    assert result.exit_code == 0, result.output
    assert place.house.ledger.version("genomics/clinvar").number == before.number + 1
    assert len(place.rows("genomics.clinical_significance")) == rows
    assert place.rows("genomics.clinical_significance", {"genomics/clinvar": before.number}) == held


def truncated_gzip(folder: Path) -> Path:
    path = vcf(folder / "cut.vcf.gz")
    path.write_bytes(path.read_bytes()[:-100])
    return path


def empty_file(folder: Path) -> Path:
    path = folder / "nothing.vcf"
    path.write_bytes(b"")
    return path


def header_alone(folder: Path) -> Path:
    return vcf(folder / "header.vcf", [])


def another_format(folder: Path) -> Path:
    return Path(shutil.copy(COD / "sample.zip", folder / "structures.zip"))


def missing_column(folder: Path) -> Path:
    header = [line for line in HEADER if "ID=CLNREVSTAT," not in line]
    records = [re.sub("CLNREVSTAT=[^;]*;?", "", line) for line in RECORDS]
    return vcf(folder / "lacking.vcf", records, header)


def vanished(folder: Path) -> Path:
    return folder / "gone.vcf"


def halved(folder: Path) -> Path:
    return vcf(folder / "half.vcf", RECORDS[: len(RECORDS) // 2])


BAD = {
    truncated_gzip: ("genomics/clinvar", "cut.vcf.gz", "cut short", "fetch it again"),
    empty_file: ("genomics/clinvar", "nothing.vcf", "is empty", "correct source.uri"),
    header_alone: ("genomics/clinvar", "0 of 0 records", "at least one record"),
    another_format: ("genomics/clinvar", "structures.zip", "contradicts", "does not fit its format"),
    missing_column: ("genomics/clinvar", "CLNREVSTAT", "lacking.vcf"),
    vanished: ("genomics/clinvar", "gone.vcf is not there", "--source"),
    halved: ("genomics/clinvar", "rows_per_previous_row: 0.5", "0.8 to 1.2", "gates.max_row_change"),
}


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for all bad sources, as an operator has it: each leaves the good version to the next."""
    return tmp_path_factory.mktemp("lasting") / "home"


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_a_bad_source_is_refused_in_words_and_the_last_version_stays(
    place: Place,
    lasting: Path,
    tmp_path: Path,
    make: Callable[[Path], Path],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WINNOW_HOME", str(lasting))
    place.home = lasting
    if place.house.ledger.current("genomics/clinvar") is None:
        assert place.run("genomics/clinvar", vcf(tmp_path / "good.vcf")).exit_code == 0
    before = place.house.ledger.version("genomics/clinvar").number
    seen, files = place.visible(), place.data_files()
    refused(place.run("genomics/clinvar", make(tmp_path)), *BAD[make])
    assert place.visible() == seen
    assert place.data_files() == files
    assert "Traceback" not in "".join(capfd.readouterr())
    goes_on(place, vcf(tmp_path / "next.vcf", RECORDS[before % 2 :]), len(RECORDS) - before % 2)


# -- contracts -----------------------------------------------------------------------------------------


def contract(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The contract of genomics/clinvar, changed, in a folder of datasets; its source is the sample beside it."""
    place = folder / "genomics/clinvar"
    place.mkdir(parents=True, exist_ok=True)
    shutil.copy(CLINVAR / "sample.vcf", place)
    data = yaml.safe_load((CLINVAR / "defs.yaml").read_text(encoding="utf-8"))
    data["attributes"]["source"]["uri"] = str(place / "sample.vcf")
    data["attributes"]["gates"] = {"min_rows": 1}
    change(data["attributes"])
    (place / "defs.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    return place / "defs.yaml"


@pytest.fixture
def own_contracts(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[dict[str, Any]], object]], Path]:
    """Let the command line and Dagster see a folder of contracts of one's own; gives what writes one into it."""

    def datasets(folder: Path = place.folder) -> tuple[Dataset, ...]:
        return load_datasets(folder)

    def job() -> dg.JobDefinition:
        parts = [component.Dataset(dataset).build_defs(None) for dataset in datasets()]  # type: ignore[arg-type]
        resources = {"winnow": HouseResource(), "ledger": LedgerIOManager()}
        rest = dg.Definitions(
            assets=table_assets(datasets()), jobs=[dg.define_asset_job("curate")], resources=resources
        )
        return dg.Definitions.merge(rest, *parts).resolve_job_def("curate")

    monkeypatch.setattr(catalog.dataset, "load_dataset", lambda name, folder=place.folder: load_dataset(name, folder))
    monkeypatch.setattr(catalog.dataset, "load_datasets", datasets)
    monkeypatch.setattr(run, "curate_job", job)
    return lambda change: contract(place.folder, change)


def test_other_bytes_than_the_contract_pins_are_refused(place: Place, own_contracts: Callable[..., Path]) -> None:
    own_contracts(lambda _: None)
    assert place.winnow("run", "genomics/clinvar").exit_code == 0
    seen = place.visible()
    own_contracts(lambda attributes: attributes["source"].update(sha256="0" * 64))
    result = place.winnow("run", "genomics/clinvar")
    refused(result, "genomics/clinvar", "sample.vcf has sha256", "pins 0000", "update source.sha256")
    assert place.visible() == seen


CONTRACTS = {
    "unknown licence": (
        lambda attributes: attributes["terms"].update(licence="CC-BY-9.0"),
        ("CC-BY-9.0", "licence"),
    ),
    "file function": (
        lambda attributes: attributes["columns"].update(allele_id="read_csv('/etc/passwd')"),
        ("read_csv", "not allowed"),
    ),
    "environment": (
        lambda attributes: attributes["columns"].update(allele_id="getenv('HOME')"),
        ("getenv", "not allowed"),
    ),
    "subquery": (
        lambda attributes: attributes["columns"].update(allele_id="(SELECT 1 FROM read_csv('/etc/passwd'))"),
        ("subquery is not allowed",),
    ),
    "unknown format": (
        lambda attributes: attributes["source"].update(format="vfc"),
        ("vfc", "vcf"),
    ),
}


@pytest.mark.parametrize("wrong", CONTRACTS)
def test_a_wrong_contract_is_refused_with_its_line_and_the_last_version_stays(
    place: Place, own_contracts: Callable[..., Path], wrong: str
) -> None:
    own_contracts(lambda _: None)
    assert place.winnow("run", "genomics/clinvar").exit_code == 0
    seen = place.visible()
    change, words = CONTRACTS[wrong]
    path = own_contracts(change)
    result = place.winnow("run", "genomics/clinvar")
    refused(result, *words)
    if wrong != "unknown format":
        assert re.search(re.escape(str(path)) + r":\d+:\d+", result.output.replace("\n", ""))
    assert place.visible() == seen


# -- one record among many -----------------------------------------------------------------------------


def test_a_cif_that_does_not_parse_is_quarantined_and_the_rest_is_published(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "cifs"
    with zipfile.ZipFile(COD / "sample.zip") as archive:
        archive.extractall(folder)
    assert place.run("crystals/cod", folder).exit_code == 0
    before = place.rows("crystals.structures")
    (folder / "broken.cif").write_text("data_broken\nloop_\n_atom_site_label\n'never closed\n", encoding="utf-8")
    result = place.run("crystals/cod", folder)
    assert result.exit_code == 0, result.output
    after = place.rows("crystals.structures")
    assert after == before
    assert place.house.ledger.version("crystals/cod").number == 2
    refused = place.door().quarantine("crystals/cod")
    assert refused is not None
    (broken,) = [row for row in refused.to_arrow_table().to_pylist() if "broken" in row["position"]]
    assert broken["check"] == "readable"
    assert "never closed" in broken["raw"]
    assert "broken.cif" in place.winnow("quarantine", "crystals/cod").output


# -- disks and processes -------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 MB of its own."""
    mounted = tmp_path / "home"
    mounted.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(mounted)], capture_output=True)
    if done.returncode:
        pytest.skip("a small file system cannot be mounted here (that takes root)")
    yield mounted
    subprocess.run(["umount", "--lazy", str(mounted)], check=True)


def test_a_disk_that_fills_during_staging_leaves_the_last_version(small_disk: Path, published: Place) -> None:
    seen, files = published.visible(), published.data_files()
    source = vcf(small_disk.parent / "large.vcf.gz", many(40_000))
    # Room for the raw bytes and for what Dagster notes, not for the rows beside.
    room = source.stat().st_size + 1_500_000
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"\0" * (shutil.disk_usage(small_disk).free - room))

    refused(published.run("genomics/clinvar", source), "genomics/clinvar", "disk is full", "free space")
    assert published.visible() == seen
    assert published.data_files() == files
    ballast.unlink()
    goes_on(published, vcf(small_disk.parent / "next.vcf", RECORDS[:-1]), len(RECORDS) - 1)


def test_a_disk_without_any_room_is_told_of_in_words(small_disk: Path, published: Place) -> None:
    seen = published.visible()
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"\0" * shutil.disk_usage(small_disk).free)
    result = published.run("genomics/clinvar", vcf(small_disk.parent / "next.vcf", RECORDS[:-1]))
    refused(result, "full", str(small_disk), "free space")
    ballast.unlink()
    assert published.visible() == seen
    goes_on(published, vcf(small_disk.parent / "next.vcf", RECORDS[:-1]), len(RECORDS) - 1)


def in_process(place: Place, code: str) -> subprocess.Popen[str]:
    """Python in a process of its own, with a house and the contract of genomics/clinvar at hand."""
    start = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from catalog.dataset import load_dataset\n"
        "from dagster_project import curate, staging\n"
        "from dagster_project.settings import Settings\n"
        "house, dataset = curate.House(Settings.from_environment()), load_dataset('genomics/clinvar')\n"
        "snapshot = curate.fetch(house, dataset, curate.address(dataset, override=sys.argv[1]))\n"
        "die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "WINNOW_HOME": str(place.home)}
    source = vcf(place.home.parent / "killed.vcf", RECORDS[:-1])
    return subprocess.Popen(
        [sys.executable, "-c", start + code, str(source)],
        cwd=REPOSITORY,
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


KILLS = {
    "between stage and commit": "curate.stage(house, dataset, snapshot, 'killed')\ndie()\n",
    "between the Iceberg commit and the ledger": (
        "stage, _ = curate.stage(house, dataset, snapshot, 'killed')\n"
        "type(house.ledger).record_version = die\n"
        "curate.commit(house, dataset, stage)\n"
    ),
}


@pytest.mark.parametrize("moment", KILLS)
def test_a_run_that_is_killed_publishes_nothing_and_vacuum_removes_its_leftovers(
    published: Place, tmp_path: Path, moment: str
) -> None:
    seen, files = published.visible(), published.data_files()
    process = in_process(published, KILLS[moment])
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, errors
    left = published.data_files() - files
    assert left, "the run was killed before it had staged"
    assert published.visible() == seen
    goes_on(published, vcf(tmp_path / "next.vcf", RECORDS[1:]), len(RECORDS) - 1)
    after, old = published.visible(), published.rows("genomics.clinical_significance", {"genomics/clinvar": 1})
    result = published.winnow("vacuum")
    assert result.exit_code == 0, result.output
    assert "every version is kept" in result.output
    assert not left & published.data_files()
    assert published.visible() == after
    assert published.rows("genomics.clinical_significance", {"genomics/clinvar": 1}) == old


def test_vacuum_after_a_kill_brings_the_published_state_back_to_the_iceberg_table(published: Place) -> None:
    process = in_process(published, KILLS["between the Iceberg commit and the ledger"])
    process.communicate(timeout=60)
    house = published.house
    part = house.ledger.version("genomics/clinvar").tables[0]
    assert (
        house.warehouse.iceberg.load_table(part.iceberg_table).current_snapshot().snapshot_id != part.iceberg_snapshot
    )
    seen = published.visible()
    assert published.winnow("vacuum").exit_code == 0
    table = published.house.warehouse.iceberg.load_table(part.iceberg_table)
    assert [snapshot.snapshot_id for snapshot in table.snapshots()] == [part.iceberg_snapshot]
    assert table.current_snapshot().snapshot_id == part.iceberg_snapshot
    assert published.visible() == seen
    goes_on(published, vcf(published.home.parent / "next.vcf", RECORDS[:-1]), len(RECORDS) - 1)


def test_the_second_of_two_runs_at_once_is_told_to_wait(published: Place, tmp_path: Path) -> None:
    seen = published.visible()
    code = (
        "keep = staging.Gate.keep\n"
        "def slow(*arguments):\n"
        "    print('at work', flush=True)\n"
        "    sys.stdin.readline()\n"
        "    return keep(*arguments)\n"
        "staging.Gate.keep = slow\n"
        "stage, _ = curate.stage(house, dataset, snapshot, 'first')\n"
        "print(curate.commit(house, dataset, stage))\n"
    )
    process = in_process(published, code)
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    second = vcf(tmp_path / "second.vcf", RECORDS[1:])
    refused(
        published.run("genomics/clinvar", second), "genomics/clinvar is being run by process", str(process.pid), "wait"
    )
    refused(published.winnow("vacuum"), "genomics/clinvar is being run by process", "wait")
    assert published.visible() == seen
    output, errors = process.communicate("\n", timeout=60)
    assert output == "genomics/clinvar@2\n", errors
    goes_on(published, second, len(RECORDS) - 1)


def test_ctrl_c_in_mid_run_publishes_nothing_and_says_how_to_go_on(published: Place, tmp_path: Path) -> None:
    seen, files = published.visible(), published.data_files()
    command = [Path(sys.executable).with_name("winnow"), "run", "genomics/clinvar", "--source"]
    process = subprocess.Popen(
        [*command, vcf(tmp_path / "large.vcf", many(200_000))],
        env={**os.environ, "WINNOW_HOME": str(published.home)},
        cwd=REPOSITORY,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 60
    while not list((published.home / "tmp").glob("*/rows-*.parquet")):
        assert process.poll() is None, "the run ended before it staged"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, output + errors
    assert "interrupted" in output + errors
    assert not re.search("Traceback|leaked|defect", output + errors), output + errors
    assert published.visible() == seen
    assert published.data_files() == files
    assert not list((published.home / "tmp").iterdir())
    goes_on(published, vcf(tmp_path / "next.vcf", RECORDS[:-1]), len(RECORDS) - 1)
