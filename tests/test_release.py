"""Releases: permitted rows only, byte for byte the same, whole or not at all, and of use from anywhere."""

import hashlib
import json
import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import catalog.parquet
from catalog.errors import ReleaseError, StorageError, UnknownVersionError
from catalog.manifest import Manifest
from catalog.records import Withdrawal
from catalog.release_catalog import write_catalog
from dagster_project import releases
from dagster_project.cli import main

TODAY = date(2027, 3, 1)
OCCURRENCES = "biodiversity/occurrences"
SECRET = "CANARY-7f3a"
MIXED = [
    {"_licence": None, "_embargo_until": None, "scientificName": "Parus major"},
    {"_licence": "CC-BY-4.0", "_embargo_until": None, "scientificName": "Sitta europaea"},
    {"_licence": "CC-BY-NC-4.0", "_embargo_until": None, "scientificName": f"{SECRET}-nc"},
    {"_licence": None, "_embargo_until": TODAY, "scientificName": "Turdus merula"},
    {"_licence": None, "_embargo_until": TODAY + timedelta(days=1), "scientificName": f"{SECRET}-tomorrow"},
    {"_licence": "NOASSERTION", "_embargo_until": None, "scientificName": f"{SECRET}-unknown"},
]
OPEN_NAMES = ["Parus major", "Sitta europaea", "Turdus merula"]


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def ask(release, sql):
    with duckdb.connect(str(release / "catalog.duckdb"), read_only=True) as connection:
        return connection.sql(sql).fetchall()


def names(release, table="biodiversity.occurrences"):
    return [name for (name,) in ask(release, f"SELECT scientificName FROM {table} ORDER BY 1")]


def manifest(release):
    return Manifest.model_validate_json((release / "manifest.json").read_bytes())


@pytest.fixture
def mixed(lab):
    """Rows under six terms, of which open may have three."""
    lab.contract("mixed", row_licence={"column": "license"}, embargo=None)
    lab.publish("mixed", MIXED)
    return lab


# -- what is in it -------------------------------------------------------------------------------------


def test_a_release_holds_what_each_profile_permits(mixed, tmp_path):
    for profile, wanted in {
        "open": OPEN_NAMES,
        "noncommercial": [f"{SECRET}-nc", *OPEN_NAMES],
        "internal": sorted(row["scientificName"] for row in MIXED),
    }.items():
        cut = mixed.cut(tmp_path / profile, profile=profile)
        assert names(tmp_path / profile) == wanted
        assert cut.release.rows == len(wanted)
        assert mixed.verify(tmp_path / profile).passed


def test_a_release_has_the_layout_that_is_promised(mixed, tmp_path):
    mixed.cut(tmp_path / "out")
    expected = {
        f"{OCCURRENCES}/dataset=mixed/part-00000.parquet",
        "catalog/holdings/part-00000.parquet",
        "catalog.duckdb",
        "ATTRIBUTION.md",
        "LICENSES/CC0-1.0.txt",
        "LICENSES/CC-BY-4.0.txt",
        "manifest.json",
        "SHA256SUMS",
    }
    assert set(files(tmp_path / "out")) == expected
    done = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path / "out", capture_output=True)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == len(expected) - 1


def test_the_default_place_is_in_the_home(mixed):
    cut = mixed.cut()
    assert cut.release.address == str(mixed.house.settings.home / "releases" / "open" / "2027-03-01")
    assert names(Path(cut.release.address)) == OPEN_NAMES
    (noted,) = mixed.house.ledger.releases("open")
    assert noted == cut.release
    assert noted.versions == ("biodiversity/mixed@1",)
    assert noted.lapses_on == TODAY + timedelta(days=1)


def test_no_byte_of_a_withheld_row_is_in_a_release(mixed, tmp_path):
    mixed.contract("gone", licence="CC-BY-NC-4.0", attribution=f"{SECRET} people")
    mixed.publish("gone", [{"scientificName": SECRET, "_part": f"{SECRET}-part"}])
    mixed.cut(tmp_path / "out")
    for name, content in files(tmp_path / "out").items():
        assert SECRET.encode() not in content, name
        assert b"biodiversity/gone" not in content, name
        assert b"Birds of gone" not in content, name
    # Parquet's pages are compressed: what their footers and dictionaries hold, decoded, is the row's own values.
    part = tmp_path / "out" / OCCURRENCES / "dataset=mixed" / "part-00000.parquet"
    with pq.ParquetFile(part) as file:
        assert file.read()["scientificName"].to_pylist() == OPEN_NAMES
        column = file.schema_arrow.get_field_index("scientificName")
        statistics = file.metadata.row_group(0).column(column).statistics
        assert (statistics.min, statistics.max) == (OPEN_NAMES[0], OPEN_NAMES[-1])
        embargo = file.metadata.row_group(0).column(file.schema_arrow.get_field_index("_embargo_until")).statistics
        assert embargo.max == TODAY
    database = tmp_path / "out" / "catalog.duckdb"
    with duckdb.connect(str(database), read_only=True) as connection:
        told = [connection.sql(f"FROM duckdb_{what}()").fetchall() for what in ("views", "columns", "tables")]
        told.append(connection.sql("FROM datasets").fetchall())
    assert SECRET not in str(told)
    # A source that is partly withheld is not told by hashes over all of it.
    (dataset,) = manifest(tmp_path / "out").datasets
    assert dataset.fingerprint is None
    assert dataset.rows == len(OPEN_NAMES)


def test_a_dataset_that_is_kept_whole_tells_its_fingerprint(lab, tmp_path):
    lab.contract("whole")
    version = lab.publish("whole", [{"scientificName": "Parus major"}])
    lab.cut(tmp_path / "out")
    (dataset,) = manifest(tmp_path / "out").datasets
    assert dataset.fingerprint == version.fingerprint


def test_rows_show_the_terms_in_force(mixed, tmp_path):
    mixed.cut(tmp_path / "out")
    shown = ask(tmp_path / "out", "SELECT scientificName, _licence, _embargo_until FROM biodiversity.occurrences")
    assert sorted(shown) == [
        ("Parus major", "CC0-1.0", None),
        ("Sitta europaea", "CC-BY-4.0", None),
        ("Turdus merula", "CC0-1.0", TODAY),
    ]
    counted = ask(
        tmp_path / "out", 'SELECT licence, embargo_until, "rows" FROM catalog.terms WHERE dataset IS NOT NULL'
    )
    assert sorted(counted, key=str) == [("CC-BY-4.0", None, 1), ("CC0-1.0", None, 1), ("CC0-1.0", TODAY, 1)]


def test_an_embargo_lapses_without_a_rerun(lab, tmp_path):
    lab.contract("later", embargo={"until": "2027-03-02"})
    lab.publish("later", [{"scientificName": SECRET}])
    today = lab.cut(tmp_path / "today")
    assert today.release.lapses_on == date(2027, 3, 2)
    assert today.release.versions == ()
    assert all(b"later" not in content for content in files(tmp_path / "today").values())
    assert b"This release is empty" in (tmp_path / "today" / "ATTRIBUTION.md").read_bytes()
    assert names(tmp_path / "today") == []
    assert lab.verify(tmp_path / "today").passed
    tomorrow = lab.cut(tmp_path / "tomorrow", day="2027-03-02")
    assert names(tmp_path / "tomorrow") == [SECRET]
    assert tomorrow.release.lapses_on is None
    assert ask(tmp_path / "tomorrow", 'SELECT sum("rows") FROM catalog.holdings') == [(1,)]


def test_derived_tables_are_made_of_permitted_rows_only(lab, tmp_path):
    place = {"species": "Parus major", "decimalLatitude": 1.05, "decimalLongitude": 2.05, "year": 2020}
    lab.contract("mixed", row_licence={"column": "license"})
    lab.publish("mixed", [place, {**place, "_licence": "CC-BY-4.0"}, {**place, "_licence": "CC-BY-NC-4.0"}])
    for profile, count in {"open": 2, "noncommercial": 3}.items():
        lab.cut(tmp_path / profile, profile=profile)
        said = ask(tmp_path / profile, "SELECT occurrences, _datasets FROM biodiversity.species_by_cell")
        assert said == [(count, ["biodiversity/mixed"])]
        (table,) = (each for each in manifest(tmp_path / profile).tables if each.name == "biodiversity.species_by_cell")
        assert table.sources == ("biodiversity/mixed@1",)
    assert ask(tmp_path / "open", "SELECT _licence FROM biodiversity.species_by_cell") == [("CC-BY-4.0 AND CC0-1.0",)]


def test_a_past_version_can_be_released(lab, tmp_path):
    lab.contract("birds")
    lab.publish("birds", [{"scientificName": "Parus major"}])
    lab.publish("birds", [{"scientificName": "Sitta europaea"}])
    lab.cut(tmp_path / "past", at={"biodiversity/birds": 1})
    lab.cut(tmp_path / "now")
    assert names(tmp_path / "past") == ["Parus major"]
    assert names(tmp_path / "now") == ["Sitta europaea"]
    with pytest.raises(UnknownVersionError):
        lab.cut(tmp_path / "never", at={"biodiversity/birds": 9})
    assert not (tmp_path / "never").exists()


def test_only_profiles_beside_open_are_noted(mixed, tmp_path):
    mixed.cut(tmp_path / "open")
    assert mixed.house.ledger.decisions("biodiversity/mixed") == []
    mixed.cut(tmp_path / "internal", profile="internal")
    (noted,) = mixed.house.ledger.decisions("biodiversity/mixed")
    assert noted.profile == "internal"


def small_files(patch, size):
    """Let the warehouse write files of so many rows."""
    write = catalog.parquet.write

    def unsorted(batches, table, folder):
        return write(batches, table, folder)._replace(is_sorted=False)

    def split(sources, table, folder):
        whole = pa.concat_tables(map(pq.read_table, sources))
        for index, start in enumerate(range(0, whole.num_rows, size)):
            path = folder / f"sorted-{index:05d}.parquet"
            with catalog.parquet.ParquetFile(path, table.arrow_schema) as file:
                for batch in whole.slice(start, size).to_batches():
                    file.write(batch)
            yield path

    patch.setattr(catalog.parquet, "write", unsorted)
    patch.setattr(catalog.parquet, "sort", split)


# -- rows agree with the query door ----------------------------------------------------------------------

LICENCES = st.sampled_from(
    [None, "CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC-BY-ND-4.0", "NOASSERTION"]
)
DAYS = st.none() | st.integers(-2, 2).map(lambda days: TODAY + timedelta(days=days))
ROWS = st.lists(st.tuples(LICENCES, DAYS), min_size=1, max_size=60)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=ROWS,
    licence=st.sampled_from(["CC0-1.0", "CC-BY-NC-4.0"]),
    until=st.none() | st.integers(-1, 1),
    profile=st.sampled_from(["open", "noncommercial", "internal"]),
)
def test_a_release_and_a_query_show_the_same_rows(lab_at, tmp_path_factory, rows, licence, until, profile):
    folder = tmp_path_factory.mktemp("lab")
    lab = lab_at(folder)
    embargo = {} if until is None else {"embargo": {"until": str(TODAY + timedelta(days=until))}}
    lab.contract("any", licence=licence, row_licence={"column": "license"}, **embargo)
    with pytest.MonkeyPatch.context() as patch:
        small_files(patch, 3)  # some are kept whole, some in part, some not at all
        lab.publish("any", [{"_licence": said, "_embargo_until": day} for said, day in rows])
        lab.cut(folder / "out", profile=profile)
    for table in ("biodiversity.occurrences", "biodiversity.any__occurrences"):
        sql = f"SELECT * FROM {table} ORDER BY _record"
        asked = lab.door(profile=profile).answer(sql).fetchall()
        present = table == "biodiversity.occurrences" or asked
        assert (ask(folder / "out", sql) if present else []) == asked
    assert lab.verify(folder / "out").passed


def test_files_are_linked_where_all_is_permitted_and_absent_where_nothing_is(lab, tmp_path, monkeypatch):
    small_files(monkeypatch, 4)
    lab.contract("mixed", row_licence={"column": "license"})
    said = ["CC-BY-NC-4.0"] * 4 + ["CC0-1.0"] * 4 + ["CC0-1.0", "CC-BY-NC-4.0"] * 2
    version = lab.publish("mixed", [{"_licence": licence} for licence in said])
    sources = lab.house.warehouse.files(version, "biodiversity.occurrences")
    assert len(sources) == 3
    lab.cut(tmp_path / "out")
    first, second = sorted((tmp_path / "out" / OCCURRENCES).rglob("*.parquet"))
    assert [first.name, second.name] == ["part-00000.parquet", "part-00001.parquet"]
    assert first.samefile(sources[1])
    assert pq.read_metadata(second).num_rows == 2
    assert pq.read_schema(second).equals(pq.read_schema(sources[2]), check_metadata=True)
    assert "-000001" not in second.name


# -- the same bytes --------------------------------------------------------------------------------------


def test_the_same_versions_profile_and_day_give_the_same_bytes(mixed, tmp_path):
    mixed.cut(tmp_path / "out")
    first = files(tmp_path / "out")
    again = mixed.cut(tmp_path / "out")
    assert not again.is_new
    (tmp_path / "out").rename(tmp_path / "moved")
    assert mixed.cut(tmp_path / "out").is_new
    assert files(tmp_path / "out") == first
    mixed.cut(tmp_path / "elsewhere")
    other = files(tmp_path / "elsewhere")
    assert {name for name in first if first[name] != other[name]} == {"catalog.duckdb", "SHA256SUMS"}
    mixed.cut(tmp_path / "based", base_url=str(tmp_path / "out"))
    assert files(tmp_path / "based") == first


def test_the_database_is_the_same_from_any_process_and_holds_nothing_of_its_memory(mixed, tmp_path):
    mixed.cut(tmp_path / "out")
    held = manifest(tmp_path / "out")
    with duckdb.connect() as connection:  # fills and frees DuckDB's buffers
        connection.execute(f"CREATE TABLE t AS SELECT '{SECRET}' || i AS x FROM range(300000) AS t(i)")
        connection.execute("SELECT count(*) FROM (FROM t ORDER BY x DESC)").fetchall()
    write_catalog(held, str(tmp_path / "out"), tmp_path / "here.duckdb")
    code = (
        "import sys, pathlib\nfrom catalog.manifest import Manifest\n"
        "from catalog.release_catalog import write_catalog\n"
        "text = pathlib.Path(sys.argv[1], 'manifest.json').read_bytes()\n"
        "write_catalog(Manifest.model_validate_json(text), sys.argv[1], pathlib.Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "out"), str(tmp_path / "there.duckdb")]
    subprocess.run(command, check=True, cwd=Path(__file__).parent.parent)
    here, there, cut = (
        (path).read_bytes()
        for path in (tmp_path / "here.duckdb", tmp_path / "there.duckdb", tmp_path / "out/catalog.duckdb")
    )
    assert here == there == cut
    assert SECRET.encode() not in here


# -- the database ----------------------------------------------------------------------------------------


def test_the_database_works_from_any_folder_and_under_any_name(mixed, tmp_path, monkeypatch):
    mixed.cut(tmp_path / "out")
    monkeypatch.chdir("/")
    assert names(tmp_path / "out", "biodiversity.mixed__occurrences") == OPEN_NAMES
    (comment,) = ask(
        tmp_path / "out",
        "SELECT comment FROM duckdb_columns() WHERE table_name = 'occurrences' AND column_name = 'decimalLatitude'",
    )
    assert "[degree]" in comment[0]
    assert ask(tmp_path / "out", "SELECT unit FROM catalog.columns WHERE \"column\" = 'decimalLatitude'") == [
        ("degree",)
    ]
    said = "SELECT dataset, licence, attribution, version, rows FROM catalog.datasets"
    assert ask(tmp_path / "out", said) == [("biodiversity/mixed", "CC-BY-4.0 AND CC0-1.0", "The people of mixed", 1, 3)]
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{tmp_path / 'out' / 'catalog.duckdb'}' AS mine (READ_ONLY)")
        assert connection.sql("SELECT count(*) FROM mine.biodiversity.occurrences").fetchall() == [(3,)]
        assert connection.sql("SELECT count(*) FROM mine.fusion.samples").fetchall() == [(0,)]


def test_after_a_move_a_release_can_be_rebased(mixed, tmp_path):
    mixed.cut(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "moved")
    with pytest.raises(duckdb.Error):
        names(tmp_path / "moved")
    assert releases.rebase(mixed.house, str(tmp_path / "moved")) == str(tmp_path / "moved")
    assert names(tmp_path / "moved") == OPEN_NAMES
    assert mixed.verify(tmp_path / "moved").passed
    releases.rebase(mixed.house, str(tmp_path / "moved"), "https://data.example.org/birds")
    assert mixed.verify(tmp_path / "moved").passed
    (sql,) = ask(tmp_path / "moved", "SELECT sql FROM duckdb_views() WHERE view_name = 'mixed__occurrences'")
    assert f"https://data.example.org/birds/{OCCURRENCES}/dataset=mixed/part-00000.parquet" in sql[0]
    (tmp_path / "moved" / "manifest.json").write_text("{}")
    with pytest.raises(ReleaseError, match="is not the file that was released"):
        releases.rebase(mixed.house, str(tmp_path / "moved"))
    with pytest.raises(ReleaseError, match="is no release"):
        releases.rebase(mixed.house, str(tmp_path))


# -- where it may lie ------------------------------------------------------------------------------------


def test_another_release_is_replaced_only_if_forced(mixed, tmp_path):
    mixed.cut(tmp_path / "out", profile="noncommercial")
    before = files(tmp_path / "out")
    with pytest.raises(ReleaseError, match="another release lies in"):
        mixed.cut(tmp_path / "out")
    assert files(tmp_path / "out") == before
    mixed.cut(tmp_path / "out", force=True)
    assert names(tmp_path / "out") == OPEN_NAMES
    assert mixed.verify(tmp_path / "out").passed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["datasets", "home", "out"]


def test_what_is_no_release_is_never_replaced(mixed, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for force in (False, True):
        with pytest.raises(ReleaseError, match="no release, which stays as it is"):
            mixed.cut(tmp_path / "mine", force=force)
    assert set(files(tmp_path / "mine")) == {"thesis.txt"}


@pytest.mark.parametrize("place", ["warehouse", "warehouse/public", "raw/x", "", "tmp", "elsewhere/../warehouse/x"])
def test_a_release_never_lies_among_private_bytes(mixed, place):
    with pytest.raises(ReleaseError, match="holds bytes that may be withheld"):
        mixed.cut(mixed.house.settings.home / place)


def test_a_link_into_the_warehouse_does_not_help(mixed, tmp_path):
    (tmp_path / "link").symlink_to(mixed.house.settings.warehouse)
    with pytest.raises(ReleaseError, match="holds bytes that may be withheld"):
        mixed.cut(tmp_path / "link" / "out")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_after_an_error_nothing_stays(mixed, tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr("catalog.release.write_catalog", fail)
    with pytest.raises((StorageError, KeyboardInterrupt)):
        mixed.cut(tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["datasets", "home"]
    assert list((mixed.house.settings.home / "tmp").iterdir()) == []
    assert mixed.house.ledger.releases() == []


def test_a_version_withdrawn_meanwhile_is_not_shown(mixed, tmp_path, monkeypatch):
    def withdraw_and_write(manifest, address, path):
        when = datetime(2027, 3, 1, tzinfo=UTC)
        told = {"dataset": "biodiversity/mixed", "number": 1, "by": "Ada", "at": when, "reason": "an observer objected"}
        mixed.house.ledger.record_withdrawal(Withdrawal(**told, snapshot_sha256="0", contract=""))
        write_catalog(manifest, address, path)

    monkeypatch.setattr("catalog.release.write_catalog", withdraw_and_write)
    with pytest.raises(ReleaseError, match="an observer objected"):
        mixed.cut(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("lies_there", [False, True])
def test_a_version_withdrawn_as_the_release_is_noted_is_taken_away_again(mixed, tmp_path, monkeypatch, lies_there):
    if lies_there:
        mixed.cut(tmp_path / "out")
    ledger = type(mixed.house.ledger)
    record = ledger.record_release

    def withdraw_and_record(self, release):
        when = datetime(2027, 3, 1, tzinfo=UTC)
        told = {"dataset": "biodiversity/mixed", "number": 1, "by": "Ada", "at": when, "reason": "an observer objected"}
        self.record_withdrawal(Withdrawal(**told, snapshot_sha256="0", contract=""))
        record(self, release)

    monkeypatch.setattr(ledger, "record_release", withdraw_and_record)
    with pytest.raises(ReleaseError, match="an observer objected"):
        mixed.cut(tmp_path / "out")
    # What lay there before was noted before, so that whoever withdrew was told of it.
    assert (tmp_path / "out").exists() == lies_there
    assert [path.name for path in tmp_path.glob(".out*")] == []


@pytest.mark.parametrize("damage", [lambda content: b"x" * len(content), lambda content: content[: len(content) // 2]])
def test_a_damaged_file_of_the_warehouse_is_told_in_words(mixed, tmp_path, damage):
    version = mixed.house.ledger.current("biodiversity/mixed")
    (source,) = mixed.house.warehouse.files(version, "biodiversity.occurrences")
    Path(source).write_bytes(damage(Path(source).read_bytes()))
    with pytest.raises(StorageError, match="cannot be read as Parquet") as told:
        mixed.cut(tmp_path / "out")
    assert source in told.value.problem
    assert told.value.remedy
    assert not (tmp_path / "out").exists()


def test_a_lost_file_of_the_warehouse_is_told_in_words(mixed, tmp_path):
    version = mixed.house.ledger.current("biodiversity/mixed")
    (source,) = mixed.house.warehouse.files(version, "biodiversity.occurrences")
    Path(source).unlink()
    with pytest.raises(StorageError, match="not there"):
        mixed.cut(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_leftovers_of_a_killed_run_do_not_get_in(mixed, tmp_path):
    leftover = tmp_path / ".out.open.partial"
    leftover.mkdir()
    (leftover / "old.parquet").write_bytes(b"x")
    mixed.cut(tmp_path / "out")
    assert "old.parquet" not in files(tmp_path / "out")
    assert mixed.verify(tmp_path / "out").passed


def test_a_copy_is_made_where_no_link_can_be(mixed, tmp_path, monkeypatch):
    mixed.contract("whole")
    mixed.publish("whole", [{"scientificName": "Parus major"}])
    mixed.cut(tmp_path / "linked")

    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    mixed.cut(tmp_path / "copied", base_url=str(tmp_path / "linked"))
    assert files(tmp_path / "copied") == files(tmp_path / "linked")


def test_releases_in_object_stores_are_whole_or_absent(s3, mixed, tmp_path, monkeypatch):
    s3fs = pytest.importorskip("s3fs")
    store = s3fs.S3FileSystem(endpoint_url=s3, skip_instance_cache=True, use_listings_cache=False)
    store.mkdir("public")
    mixed.contract("whole")
    mixed.publish("whole", [{"scientificName": "Parus major"}])
    assert mixed.cut("s3://public/a").is_new
    mixed.cut(tmp_path / "local", base_url="s3://public/a")
    there = {path.removeprefix("public/a/"): store.cat_file(path) for path in store.find("public/a")}
    assert there == files(tmp_path / "local")
    assert not mixed.cut("s3://public/a").is_new
    assert mixed.verify("s3://public/a").passed
    mixed.publish("whole", [{"scientificName": "Sitta europaea"}])
    with pytest.raises(ReleaseError, match="another release lies in"):
        mixed.cut("s3://public/a")
    assert {path.removeprefix("public/a/"): store.cat_file(path) for path in store.find("public/a")} == there
    assert mixed.cut("s3://public/a", force=True).is_new
    assert mixed.verify("s3://public/a").passed
    releases.rebase(mixed.house, "s3://public/a", "https://data.example.org")
    assert mixed.verify("s3://public/a").passed

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("catalog.release.write_catalog", fail)
    with pytest.raises(KeyboardInterrupt):
        mixed.cut("s3://public/b")
    assert store.find("public/b") == []


def test_a_warehouse_in_an_object_store_is_released_to_a_folder(s3, lab_at, tmp_path):
    s3fs = pytest.importorskip("s3fs")
    s3fs.S3FileSystem(endpoint_url=s3, skip_instance_cache=True).mkdir("held")
    lab = lab_at(tmp_path, warehouse="s3://held/warehouse")
    lab.contract("mixed", row_licence={"column": "license"})
    lab.publish("mixed", MIXED)
    lab.contract("whole")
    lab.publish("whole", [{"scientificName": "Parus minor"}])
    lab.cut(tmp_path / "out")
    assert names(tmp_path / "out") == sorted([*OPEN_NAMES, "Parus minor"])
    with pytest.raises(ReleaseError, match="holds bytes that may be withheld"):
        lab.cut("s3://held/warehouse/public")


def test_the_commands_say_what_they_did_and_end_with_a_code(tmp_path, monkeypatch):
    monkeypatch.setenv("WINNOW_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("WINNOW_WAREHOUSE", raising=False)
    monkeypatch.delenv("WINNOW_CATALOG", raising=False)
    out = str(tmp_path / "out")

    def winnow(*arguments):
        return CliRunner().invoke(main, arguments)

    cut = winnow("release", "--out", out)
    assert cut.exit_code == 0
    assert "the release is empty" in cut.output
    assert "holds this very release already" in winnow("release", "--out", out).output
    assert winnow("verify", out).exit_code == 0
    assert winnow("release", "--rebase", out, "--base-url", "https://data.example.org").exit_code == 0
    assert winnow("release", "--rebase", out, "--force").exit_code == 2
    (tmp_path / "out" / "ATTRIBUTION.md").write_text("nobody")
    found = winnow("verify", out)
    assert found.exit_code == 1
    assert "✗ ATTRIBUTION.md is not the file that was released" in found.output
    refused = winnow("release", "--at", "biodiversity/none@1")
    assert refused.exit_code == 1
    assert "remedy" in refused.output


def test_the_manifest_says_what_the_files_are(mixed, tmp_path):
    mixed.cut(tmp_path / "out")
    told = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (told["format"], told["profile"], told["day"]) == ("winnow-release-1", "open", "2027-03-01")
    (table,) = (each for each in told["tables"] if each["name"] == "biodiversity.occurrences")
    (part,) = table["parts"]
    (file,) = part["files"]
    content = (tmp_path / "out" / file["path"]).read_bytes()
    assert (file["bytes"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert file["rows"] == sum(terms["rows"] for terms in part["terms"]) == 3
    assert part["terms"][-1]["obligations"] == ["ATTRIBUTION", "INDICATE_CHANGES", "NO_ENDORSEMENT"]
    assert str(tmp_path) not in json.dumps(told)
