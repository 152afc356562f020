"""What several test modules share: real servers on loopback."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The endpoint of moto's S3 server; AWS_* in the environment point to it and hold keys."""
    server_module = pytest.importorskip("moto.server", reason="moto is not installed")
    server = server_module.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield endpoint
    server.stop()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of an empty PostgreSQL server without a database's name; its one user asks for a password."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    programs = _postgresql_programs()
    # PostgreSQL does not run as root; its own user must be able to reach the folder.
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="winnow-pg-"))
    try:
        if user is not None:
            shutil.chown(folder, user)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        password = folder / "password"
        password.write_text("s3cret", encoding="utf-8")
        password.chmod(0o644)
        make = [programs / "initdb", "-D", folder / "data", "-U", "winnow", "-A", "scram-sha-256", "--no-sync"]
        subprocess.run([*make, f"--pwfile={password}"], check=True, user=user, stdout=subprocess.DEVNULL, cwd=folder)
        options = ["-c", "listen_addresses=127.0.0.1", "-p", str(port), "-k", folder, "-c", "fsync=off"]
        with (folder / "log").open("w") as log:
            server = subprocess.Popen(
                [programs / "postgres", "-D", folder / "data", *options], user=user, stderr=log, cwd=folder
            )
        try:
            _wait_until(port, server, folder / "log")
            yield f"postgresql://winnow:s3cret@127.0.0.1:{port}"
        finally:
            server.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(10)
            server.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _postgresql_programs() -> Path:
    """Where Debian's package, or the path, has initdb and postgres."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    on_path = shutil.which("initdb")
    if on_path:
        found.append(Path(on_path).resolve().parent)
    if not found:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    if os.geteuid() == 0 and "postgres" not in {entry.pw_name for entry in pwd.getpwall()}:
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    return max(found)


def _wait_until(port: int, server: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(200):
        if server.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                if "ready to accept connections" in log.read_text(encoding="utf-8"):
                    return
        time.sleep(0.05)
    pytest.fail(f"PostgreSQL did not start:\n{log.read_text(encoding='utf-8')}")


class Lab:
    """A house in a folder whose datasets of occurrences are made of rows as a test says them."""

    def __init__(self, folder: Path, day: str = "2027-03-01", warehouse: str | None = None) -> None:
        from dagster_project import curate
        from dagster_project.settings import Settings

        self.folder = folder
        self.at = lambda day: curate.House(
            Settings.at(folder / "home", warehouse), clock=lambda: datetime.fromisoformat(day).replace(tzinfo=UTC)
        )
        self.house = self.at(day)
        self.datasets: dict = {}

    def contract(self, name: str, **terms: object):
        """Write (or rewrite) the contract of ``biodiversity/<name>``; CC0-1.0 if no licence is given."""
        import yaml

        from catalog.dataset import load_dataset

        place = self.folder / "datasets" / "biodiversity" / name
        place.mkdir(parents=True, exist_ok=True)
        (place / "sample.csv").write_text("occurrenceID\n1\n")
        licence = terms.get("licence", "CC0-1.0")
        finding = {"file": "sample.csv", "read_on": "2026-11-23", "quote": "as its owner says", "licence": licence}
        said = {"licence": licence, "evidence": [finding], "attribution": f"The people of {name}", **terms}
        attributes = {
            "title": f"Birds of {name}",
            "table": "biodiversity.occurrences",
            "source": {"unpublished": "made for a test", "format": "darwin_core"},
            "sample": "sample.csv",
            "terms": said,
            "columns": {},
            "owner": "tests",
        }
        document = {"type": "dagster_project.component.Dataset", "attributes": attributes}
        (place / "defs.yaml").write_text(yaml.safe_dump(document))
        self.datasets[name] = load_dataset(f"biodiversity/{name}", self.folder / "datasets")
        return self.datasets[name]

    def publish(self, name: str, rows: list[dict]):
        """Commit rows as the next version of a dataset, past the gates."""
        import pyarrow as pa

        from catalog.records import Stage, Version, utc_now
        from catalog.table import load_table

        table, dataset = load_table("biodiversity.occurrences"), f"biodiversity/{name}"
        reserved = {"_dataset": dataset, "_part": "all"}
        full = [{"_record": f"{name}-{index:06d}", **reserved, **row} for index, row in enumerate(rows)]
        batch = pa.RecordBatch.from_pylist(full, schema=table.arrow_schema)
        ledger, warehouse = self.house.ledger, self.house.warehouse
        number = len(ledger.versions(dataset)) + 1
        told = {"dataset": dataset, "run_id": f"run{number}", "fingerprint": f"{name}{number}", "origin": "source"}
        told["snapshot_sha256"] = f"{number:064x}"
        told["row_rules"] = self.datasets[name].terms.row_rules()
        staged = warehouse.stage([batch], dataset, table, told["run_id"])
        stage = Stage(**told, base_version=number - 1, tables=(staged,), quarantine=())
        tables = warehouse.commit(stage, [table])
        version = Version(**told, number=number, tables=tables, committed_at=utc_now())
        ledger.record_version(version)
        return version

    def cut(self, out: Path | str | None = None, day: str | None = None, profile: str = "open", **options):
        """Cut a release of these datasets."""
        from dagster_project import releases

        house = self.at(day) if day else self.house
        return releases.cut(house, profile, out and str(out), datasets=self.datasets.values(), **options)

    def verify(self, path: Path | str, day: str | None = None):
        """Verify a release with what this house knows."""
        from dagster_project import releases

        return releases.verify(self.at(day) if day else self.house, str(path), self.datasets.values())

    def door(self, day: str = "2027-03-01", profile: str = "open"):
        """The query door over these datasets."""
        from datetime import date

        from catalog.query import Door

        house, today = self.house, date.fromisoformat(day)
        return Door(house.warehouse, house.ledger, self.datasets.values(), profile, today)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """An empty house on 2027-03-01."""
    return Lab(tmp_path)


@pytest.fixture(scope="session")
def lab_at():
    """Makes a house in a folder."""
    return Lab


@pytest.fixture(scope="session")
def publish() -> Callable[..., None]:
    """Publishes the bundled sample of a dataset, or another source, in a house."""

    def run(house: Any, name: str, source: Path | None = None) -> None:
        from catalog.dataset import load_dataset
        from dagster_project import curate

        dataset = load_dataset(name)
        where = curate.address(dataset, sample=source is None, override=source and str(source))
        stage, report = curate.stage(house, dataset, curate.fetch(house, dataset, where), f"run-{name}")
        assert report.passed, report.refusals()
        curate.commit(house, dataset, stage)

    return run


class Curated(NamedTuple):
    """What one committed source came to: its rows as the query door gives them, and the report of its gates."""

    rows: list[dict[str, Any]]
    report: Any
    refused: list[tuple[Any, ...]]


@pytest.fixture
def curated(tmp_path: Path) -> Callable[..., Curated]:
    """Commits a source through a contract like a bundled one, in which other attributes are put or (None) left out."""

    def run(like: str, file: object, name: str = "made", **attributes: object) -> Curated:
        import yaml

        from catalog.dataset import FOLDER, load_dataset
        from catalog.query import Door
        from dagster_project import curate
        from dagster_project.settings import Settings

        contract = yaml.safe_load((FOLDER / like / "defs.yaml").read_text(encoding="utf-8"))
        changed = {"gates": {"min_rows": 1}, "sample": "sample.txt", **attributes}
        given = {key: value for key, value in (contract["attributes"] | changed).items() if value is not None}
        folder = tmp_path / "datasets" / "genomics" / name
        folder.mkdir(parents=True)
        (folder / "sample.txt").write_text("x", encoding="utf-8")
        (folder / "defs.yaml").write_text(yaml.safe_dump(contract | {"attributes": given}), encoding="utf-8")
        dataset = load_dataset(f"genomics/{name}", tmp_path / "datasets")
        now = datetime(2027, 3, 1, tzinfo=UTC)
        house = curate.House(Settings.at(tmp_path / "home"), clock=lambda: now)
        snapshot = curate.fetch(house, dataset, curate.address(dataset, override=str(file)))
        stage, report = curate.stage(house, dataset, snapshot, f"run-{name}")
        assert report.passed, report.refusals()
        version = curate.commit(house, dataset, stage)
        door = Door(house.warehouse, house.ledger, [dataset], "internal", now.date())
        (table,) = report.tables
        rows = door.answer(f"SELECT * FROM {table.table}").to_arrow_table().to_pylist()
        assert len(rows) == sum(committed.rows for committed in version.tables)
        refused = door.quarantine(dataset.name)
        return Curated(rows, table, refused.fetchall() if refused else [])

    return run
