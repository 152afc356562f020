"""PostgreSQL as WINNOW_CATALOG: the ledger and the Iceberg catalog in one database, for many processes and machines."""

import re
import subprocess
import sys
import time
import traceback
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest

from catalog.dataset import load_dataset
from catalog.errors import BusyError, CatalogError, VersionConflictError
from catalog.ledger import Ledger
from catalog.query import Door
from catalog.warehouse import Warehouse
from dagster_project import curate
from dagster_project.settings import Settings
from dagster_project.vacuum import vacuum

psycopg = pytest.importorskip("psycopg")

CLINVAR = load_dataset("genomics/clinvar")
TABLE = CLINVAR.table
REPOSITORY = Path(__file__).parent.parent


@pytest.fixture
def database(postgresql) -> str:
    """The URL of an empty database."""
    name = f"winnow_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(f"{postgresql}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{postgresql}/{name}"


@pytest.fixture
def source(tmp_path) -> Path:
    """ClinVar's sample where a test may edit it."""
    path = tmp_path / "clinvar.vcf"
    path.write_bytes(CLINVAR.sample_path.read_bytes())
    return path


@pytest.fixture
def house(database, tmp_path) -> curate.House:
    return curate.House(Settings.at(tmp_path / "home", catalog=database))


def drop_last_record(source: Path) -> None:
    lines = source.read_text(encoding="utf-8").splitlines(keepends=True)
    source.write_text("".join(lines[:-1]), encoding="utf-8")


def staged(house: curate.House, source: Path, run_id: str):
    snapshot = curate.fetch(house, CLINVAR, curate.address(CLINVAR, override=str(source)))
    return curate.stage(house, CLINVAR, snapshot, run_id)[0]


def rows(house: curate.House, at: dict[str, int] | None = None) -> int:
    door = Door(house.warehouse, house.ledger, [CLINVAR], "open", date(2026, 11, 23), at)
    return door.answer(f"SELECT count(*) FROM {TABLE}").fetchall()[0][0]


def sql(database: str, query: str) -> list[tuple]:
    with psycopg.connect(database) as connection:
        return connection.execute(query).fetchall()


def test_a_run_keeps_ledger_and_iceberg_catalog_in_one_database(house, database, source):
    assert database.startswith("postgresql://")
    first = curate.commit(house, CLINVAR, staged(house, source, "one"))
    all_rows = rows(house)
    again = staged(house, source, "two")
    assert again.unchanged
    assert curate.commit(house, CLINVAR, again) == first
    drop_last_record(source)
    second = curate.commit(house, CLINVAR, staged(house, source, "three"))
    assert (first.number, second.number) == (1, 2)
    assert rows(house) == all_rows - 1
    assert rows(house, {CLINVAR.name: 1}) == all_rows
    assert sql(database, "SELECT number FROM versions ORDER BY 1") == [(1,), (2,)]
    assert sql(database, "SELECT table_namespace FROM iceberg_tables") == [("genomics",)]
    assert not list(house.settings.home.rglob("*.db"))
    vacuum(house)
    assert rows(house, {CLINVAR.name: 1}) == all_rows
    idle = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    assert sql(database, idle) == [(0,)]


def test_a_version_committed_in_between_is_a_conflict(house, source):
    mine = staged(house, source, "mine")
    drop_last_record(source)
    other = curate.commit(house, CLINVAR, staged(house, source, "other"))
    with pytest.raises(VersionConflictError, match=r"genomics/clinvar@1 was committed after this run had staged"):
        curate.commit(house, CLINVAR, mine)
    with pytest.raises(VersionConflictError, match="by another run"):
        house.ledger.record_version(other.model_copy(update={"run_id": "third"}))
    assert house.ledger.versions() == [other]


def test_a_dataset_is_held_by_one_process_until_that_is_killed(database):
    program = (
        "import sys, time; from catalog.ledger import Ledger\n"
        "with Ledger(sys.argv[1]).hold('genomics/clinvar'): print('held', flush=True); time.sleep(60)"
    )
    ledger = Ledger(database)
    with subprocess.Popen(
        [sys.executable, "-c", program, database], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    ) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(BusyError, match="genomics/clinvar is being run") as caught, ledger.hold(CLINVAR.name):
                pass
            assert "wait" in caught.value.remedy
            with ledger.hold("fusion/vest"):
                pass
        finally:
            holder.kill()
    deadline = time.monotonic() + 10
    while True:
        try:
            with ledger.hold(CLINVAR.name):
                return
        except BusyError:
            assert time.monotonic() < deadline, "the lock outlived its process"
            time.sleep(0.02)


def test_a_lock_is_given_back_at_once_and_after_an_error(database):
    ledger = Ledger(database)
    for _ in range(5):
        with pytest.raises(ZeroDivisionError), ledger.hold(CLINVAR.name):
            raise ZeroDivisionError


def test_a_connection_lost_while_holding_loses_no_work(database):
    ledger = Ledger(database)
    cut = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
    with ledger.hold(CLINVAR.name):
        assert sql(database, cut) == [(True,)]
    with ledger.hold(CLINVAR.name):
        pass


def test_many_processes_may_open_an_empty_database_at_once(database, tmp_path):
    def open_all(index: int) -> None:
        Ledger(database)
        catalog = Warehouse(str(tmp_path / "warehouse"), database, tmp_path / "tmp").iceberg
        with closing(catalog):
            catalog.create_namespace_if_not_exists(f"domain{index}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(open_all, range(8)))
    assert sql(database, "SELECT count(*) FROM iceberg_namespace_properties") == [(8,)]


def test_domains_are_created_by_two_datasets_at_once(database, tmp_path):
    houses = [curate.House(Settings.at(tmp_path / str(index), str(tmp_path / "w"), database)) for index in range(4)]
    names = ["genomics/a", "genomics/b", "genomics/c", "genomics/d"]
    contract = curate.load_table(TABLE)

    def create(house: curate.House, name: str) -> str:
        with house.ledger.hold(name):
            return house.warehouse._open_or_create(name, contract).name()[1]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(create, houses, names))
    assert found == [f"{name[-1]}__clinical_significance" for name in names]


@pytest.mark.parametrize(
    ("pattern", "new", "words", "remedy"),
    [
        (":s3cret@", ":wr0ng-pw@", "authentication failed", "PGPASSWORD"),
        (":s3cret@", "@", "no password", "PGPASSWORD"),
        (r":\d+/", ":1/", "refused", "server runs"),
        ("/winnow_", "/absent_", "does not exist", "WINNOW_CATALOG"),
    ],
)
def test_a_server_that_does_not_let_us_in_is_told_without_the_password(database, pattern, new, words, remedy):
    with pytest.raises(CatalogError, match=words) as caught:
        Ledger(re.sub(pattern, new, database))
    assert remedy in caught.value.remedy
    told = repr(caught.value) + "".join(traceback.format_exception(caught.value))
    assert "127.0.0.1" in told
    assert "s3cret" not in told
    assert "wr0ng-pw" not in told


def test_a_user_without_rights_is_told_so(postgresql, database):
    with psycopg.connect(f"{postgresql}/postgres", autocommit=True) as connection:
        connection.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    with pytest.raises(CatalogError, match="permission denied") as caught:
        Ledger(database.replace("winnow:s3cret", "guest:guest"))
    assert "grant" in caught.value.remedy


def test_dagster_learns_no_password(database, tmp_path, monkeypatch):
    import dagster as dg

    from dagster_project.component import asset_key
    from dagster_project.run import curate_job

    monkeypatch.setenv("WINNOW_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WINNOW_CATALOG", database.replace("s3cret", "wr0ng-pw"))
    key = asset_key("raw", CLINVAR.name)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        result = curate_job().execute_in_process(
            instance=instance,
            asset_selection=[key],
            raise_on_error=False,
            run_config={"ops": {"__".join(key.path): {"config": {"sample": True}}}},
        )
        events = "".join(str(record) for record in instance.all_logs(result.run_id))
    assert not result.success
    assert "authentication failed" in events
    assert "wr0ng-pw" not in events
