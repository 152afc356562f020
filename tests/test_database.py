"""The database that ledger and Iceberg catalog share: its URL, its creation, and SQLite under several writers."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from catalog.database import open_engine
from catalog.dataset import load_dataset
from catalog.errors import CatalogError
from catalog.ledger import Ledger
from catalog.records import Decision, utc_now
from catalog.warehouse import Warehouse
from dagster_project import curate
from dagster_project.settings import Settings

DECISION = Decision(allowed=True, profile="open", reason="test", obligations=())


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://winnow:cret@host:port/db",
        "cret",
        "",
    ],
)
def test_a_url_that_does_not_parse_is_not_repeated(url):
    with pytest.raises(CatalogError, match="WINNOW_CATALOG is not a database URL") as caught:
        open_engine(url)
    assert "cret" not in str(caught.value)
    assert "%40" in caught.value.remedy


@pytest.mark.parametrize("url", ["nosuch://u:cret@host/db", "postgresql+nosuch://u:cret@host/db?password=cret"])
def test_a_database_of_an_unknown_kind_is_refused_without_its_password(url):
    with pytest.raises(CatalogError, match="host/db") as caught:
        open_engine(url)
    assert ".[postgresql]" in caught.value.remedy
    assert "cret" not in str(caught.value)


def test_a_database_that_is_none_is_told_with_its_path(tmp_path):
    (tmp_path / "catalog.db").write_bytes(b"this is not SQLite" * 100)
    with pytest.raises(CatalogError, match=r"catalog\.db .* not a database") as caught:
        Ledger(f"sqlite:///{tmp_path}/catalog.db")
    assert "WINNOW_HOME" in caught.value.remedy


def test_a_home_that_cannot_be_made_is_told_with_a_remedy(tmp_path):
    (tmp_path / "home").write_text("a file")
    with pytest.raises(CatalogError, match="home") as caught:
        Ledger(f"sqlite:///{tmp_path}/home/catalog.db")
    assert "WINNOW_HOME" in caught.value.remedy


def test_many_runs_may_open_a_new_home_at_once(tmp_path):
    writers = range(6)

    def open_and_write(url: str, writer: int) -> None:
        ledger = Ledger(url)
        catalog = Warehouse(str(tmp_path / "warehouse"), url, tmp_path / "tmp").iceberg
        for _ in range(5):
            ledger.record_decision(f"genomics/{writer}", "query", DECISION, utc_now())
        catalog.create_namespace_if_not_exists(f"domain{writer}")

    with ThreadPoolExecutor(len(writers)) as pool:
        for home in range(4):
            url = f"sqlite:///{tmp_path}/{home}/catalog.db"
            list(pool.map(open_and_write, [url] * len(writers), writers))
            assert [len(Ledger(url).decisions(f"genomics/{writer}")) for writer in writers] == [5] * len(writers)


def test_datasets_run_at_the_same_time_on_one_sqlite_file(tmp_path):
    def run(name: str) -> int:
        house = curate.House(Settings.at(Path(tmp_path)))
        dataset = load_dataset(name)
        snapshot = curate.fetch(house, dataset, curate.address(dataset, sample=True))
        stage, _ = curate.stage(house, dataset, snapshot, f"run-{name}")
        return curate.commit(house, dataset, stage).number

    names = ["genomics/clinvar", "fusion/vest", "crystals/cod"]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(run, names)) == [1, 1, 1]
    assert len(curate.House(Settings.at(tmp_path)).ledger.versions()) == 3
