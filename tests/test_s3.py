"""Sources and warehouse on S3: the same run, the same answers, the same care when something goes wrong."""

import errno
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from catalog.dataset import load_dataset
from catalog.errors import SourceError, StorageError
from catalog.query import Door
from catalog.store import open_store, storing
from catalog.table import load_table
from dagster_project import curate
from dagster_project.settings import Settings
from dagster_project.vacuum import vacuum

s3fs = pytest.importorskip("s3fs")

TODAY = date(2026, 11, 23)
CLINVAR = load_dataset("genomics/clinvar")
TABLE = load_table("genomics.clinical_significance")
LINES = CLINVAR.sample_path.read_text(encoding="utf-8").splitlines(keepends=True)
HEADER = [line for line in LINES if line.startswith("#")]
RECORDS = [line for line in LINES if not line.startswith("#")]


class Lake:
    """A bucket with a source in it, and a house whose warehouse is there too."""

    def __init__(self, endpoint: str, name: str, home: Path) -> None:
        self.store = s3fs.S3FileSystem(endpoint_url=endpoint, skip_instance_cache=True, use_listings_cache=False)
        self.name, self.source, self.root = name, f"s3://{name}/in/clinvar.vcf", f"s3://{name}/warehouse"
        self.store.mkdir(name)
        self.house = curate.House(Settings.at(home, self.root))

    def put(self, records: list[str]) -> None:
        self.store.pipe_file(self.source, "".join(HEADER + records).encode())

    def curate(self, run_id: str):
        snapshot = curate.fetch(self.house, CLINVAR, curate.address(CLINVAR, override=self.source))
        stage, _ = curate.stage(self.house, CLINVAR, snapshot, run_id)
        return stage, curate.commit(self.house, CLINVAR, stage)

    def answer(self, sql: str, **at: int) -> list[tuple]:
        chosen = {CLINVAR.name: at["version"]} if at else None
        door = Door(self.house.warehouse, self.house.ledger, [CLINVAR], "open", TODAY, chosen)
        return door.answer(sql).fetchall()

    def objects(self, below: str = "") -> set[str]:
        return set(self.store.find(f"{self.name}/{below}"))


@pytest.fixture(scope="module")
def lake(s3, tmp_path_factory) -> Lake:
    """Two versions of ClinVar, the first of all sample records, the second without the last."""
    lake = Lake(s3, "lake", tmp_path_factory.mktemp("home"))
    lake.put(RECORDS)
    lake.first = lake.curate("one")
    lake.between = lake.objects()
    lake.again = lake.curate("two")
    lake.after = lake.objects()
    lake.put(RECORDS[:-1])
    lake.second = lake.curate("three")
    return lake


@contextmanager
def access_denied(endpoint: str) -> Iterator[None]:
    """While it lasts the server wants keys that it has given out itself, so ours have no rights."""

    def checks_after(requests: str) -> None:
        headers = {"Content-Type": "text/plain"}
        request = urllib.request.Request(f"{endpoint}/moto-api/reset-auth", requests.encode(), headers)
        urllib.request.urlopen(request).close()

    checks_after("0")
    try:
        yield
    finally:
        checks_after("inf")


def test_every_byte_of_a_version_lies_in_the_bucket(lake):
    _, version = lake.first
    (data,) = lake.house.warehouse.files(version, TABLE.name)
    assert data.startswith(f"{lake.root}/genomics/clinvar__clinical_significance/data/one-")
    assert data.removeprefix("s3://") in lake.objects("warehouse")
    assert not (lake.house.settings.home / "warehouse").exists()
    assert not list((lake.house.settings.home / "tmp").glob("*"))


def test_another_engine_reads_the_same_rows_from_the_iceberg_table(lake):
    _, version = lake.second
    (part,) = version.tables
    ours = sorted(lake.answer(f"SELECT contig, position, _record, clinical_significance FROM {part.table}"))
    scanned = lake.house.warehouse.iceberg.load_table(part.iceberg_table).scan().to_arrow()
    scanned = scanned.select(["contig", "position", "_record", "clinical_significance"])
    theirs = sorted(tuple(row.values()) for row in scanned.to_pylist())
    assert len(ours) == len(RECORDS) - 1
    assert ours == theirs


def test_the_same_source_makes_no_version_and_no_object(lake):
    stage, version = lake.again
    assert stage.unchanged
    assert version == lake.first[1]
    assert lake.after == lake.between


def test_past_versions_stay_readable(lake):
    count = f"SELECT count(*) FROM {TABLE.name}"
    assert lake.second[1].number == 2
    assert lake.answer(count) == [(len(RECORDS) - 1,)]
    assert lake.answer(count, version=1) == [(len(RECORDS),)]


@pytest.mark.parametrize(
    "statement",
    [
        "FROM read_parquet('{other}')",
        "FROM read_parquet('{folder}/*.parquet')",
        "FROM read_text('s3://lake/in/clinvar.vcf')",
        "FROM read_text('/etc/hostname')",
        "COPY (SELECT 1) TO 's3://lake/warehouse/out.parquet'",
        "SET allowed_directories=['s3://lake/']",
    ],
)
def test_the_door_opens_only_the_files_of_the_chosen_version(lake, statement):
    (mine,) = lake.house.warehouse.files(lake.first[1], TABLE.name)
    (other,) = lake.house.warehouse.files(lake.second[1], TABLE.name)
    with lake.house.warehouse.connect([mine]) as connection:
        assert connection.sql(f"SELECT count(*) FROM read_parquet('{mine}')").fetchall() == [(len(RECORDS),)]
        with pytest.raises(duckdb.Error, match=r"disabled by configuration|has been locked"):
            connection.sql(statement.format(other=other, folder=mine.rpartition("/")[0])).fetchall()


def test_refused_records_wait_in_the_bucket(s3, tmp_path):
    lake = Lake(s3, "refusals", tmp_path)
    broken = RECORDS[1].split("\t")
    broken[1] = "-5"
    lake.put([*RECORDS[2:], "\t".join(broken)])
    stage, _ = lake.curate("run")
    (kept,) = stage.quarantine
    assert kept.startswith(f"{lake.root}/quarantine/genomics/clinvar/run/")
    door = Door(lake.house.warehouse, lake.house.ledger, [CLINVAR], "open", TODAY)
    rows = door.quarantine(CLINVAR.name).fetchall()
    assert len(rows) == 1
    assert "-5" in str(rows[0])


def test_an_anonymous_source_feeds_a_warehouse_with_keys(s3, tmp_path):
    lake = Lake(s3, "anonymous", tmp_path)
    lake.put(RECORDS)
    source = CLINVAR.source.model_copy(update={"storage_options": {"anon": True}})
    dataset = CLINVAR.model_copy(update={"source": source})
    address = curate.address(dataset, override=lake.source)
    with pytest.raises(SourceError, match="may not be read"):
        curate.fetch(lake.house, dataset, address)
    lake.store.chmod(lake.source, "public-read")
    snapshot = curate.fetch(lake.house, dataset, address)
    stage, _ = curate.stage(lake.house, dataset, snapshot, "run")
    assert curate.commit(lake.house, dataset, stage).number == 1


def test_vacuum_removes_orphans_and_nothing_else(s3, tmp_path):
    lake = Lake(s3, "vacuumed", tmp_path)
    lake.put(RECORDS)
    lake.curate("one")
    lake.put(RECORDS[:-1])
    lake.curate("two")
    vacuum(lake.house)  # Iceberg's own steps between two versions
    kept = lake.objects()
    table = f"{lake.root}/genomics/clinvar__clinical_significance"
    orphans = [f"{table}/data/crashed/all-00000.parquet", f"{lake.root}/quarantine/genomics/clinvar/old/00000.parquet"]
    foreign = [f"{lake.root}/README.md", f"{lake.root}/in/genomes/a.parquet"]
    for path in [*orphans, *foreign]:
        lake.store.pipe_file(path, b"x")
    assert vacuum(lake.house) == (2, 2)
    assert lake.objects() == kept | {path.removeprefix("s3://") for path in foreign}
    for version, rows in ((1, len(RECORDS)), (2, len(RECORDS) - 1)):
        assert lake.answer(f"SELECT count(*) FROM {TABLE.name}", version=version) == [(rows,)]


def test_a_missing_bucket_is_told_with_a_remedy(lake, tmp_path):
    house = curate.House(Settings.at(tmp_path, "s3://no-such-bucket/warehouse"))
    snapshot = lake.house.ledger.snapshot(CLINVAR.name)
    with pytest.raises(StorageError, match=r"s3://no-such-bucket/.* the bucket, folder or file is not there") as caught:
        curate.stage(house, CLINVAR, snapshot, "run")
    assert "create the bucket" in caught.value.remedy
    assert house.ledger.current(CLINVAR.name) is None


def test_a_refused_upload_leaves_the_version_before(lake, s3):
    before = lake.objects()
    lake.put(RECORDS[:-2])
    snapshot = curate.fetch(lake.house, CLINVAR, curate.address(CLINVAR, override=lake.source))
    with access_denied(s3), pytest.raises(StorageError, match="access is denied") as caught:
        curate.stage(lake.house, CLINVAR, snapshot, "denied")
    assert "AWS_PROFILE" in caught.value.remedy
    stage, report = curate.stage(lake.house, CLINVAR, snapshot, "late")
    assert report.passed
    with access_denied(s3), pytest.raises(StorageError, match="access is denied"):
        curate.commit(lake.house, CLINVAR, stage)
    with access_denied(s3), pytest.raises(StorageError, match="access is denied"):
        lake.answer(f"FROM {TABLE.name}")
    assert lake.house.ledger.current(CLINVAR.name) == lake.second[1]
    assert lake.answer(f"SELECT count(*) FROM {TABLE.name}") == [(len(RECORDS) - 1,)]
    lake.house.warehouse.discard(stage.tables[0].files)
    assert lake.objects() == before


def test_of_an_upload_that_fails_half_way_nothing_stays(lake, monkeypatch):
    before = lake.objects()
    warehouse = lake.house.warehouse
    monkeypatch.setattr("catalog.parquet.FILE_BYTES", 1)
    monkeypatch.setattr("catalog.parquet.ROW_GROUP_ROWS", 10_000)
    put, sent = warehouse._filesystem.put_file, []

    def put_one_and_fail(local: str, target: str) -> None:
        if sent:
            raise OSError(errno.EBUSY, "Reduce your request rate")
        sent.append(target)
        put(local, target)

    rows = duckdb.sql("SELECT 40000 - range AS position FROM range(40000)").to_arrow_table()
    monkeypatch.setattr(warehouse._filesystem, "put_file", put_one_and_fail)
    columns = [
        rows["position"].cast(field.type) if field.name == "position" else _filler(field, len(rows))
        for field in TABLE.arrow_schema
    ]
    batches = pa.Table.from_arrays(columns, schema=TABLE.arrow_schema).to_batches()
    with pytest.raises(StorageError, match="Reduce your request rate"):
        warehouse.stage(batches, CLINVAR.name, TABLE, "half")
    assert sent
    assert lake.objects() == before


def _filler(field: pa.Field, rows: int) -> pa.Array:
    return pa.nulls(rows, field.type) if field.nullable else pa.repeat(pa.scalar("x"), rows).cast(field.type)


@pytest.mark.parametrize(
    ("kind", "words", "remedy"),
    [
        ("EndpointConnectionError", "cannot be reached", "AWS_ENDPOINT_URL"),
        ("ReadTimeoutError", "cannot be reached", "AWS_ENDPOINT_URL"),
        ("NoCredentialsError", "no keys", "AWS_PROFILE"),
        ("ProfileNotFound", "no keys", "AWS_PROFILE"),
    ],
)
def test_what_the_aws_client_says_becomes_a_storage_error(tmp_path, kind, words, remedy):
    import botocore.exceptions

    error = getattr(botocore.exceptions, kind)(endpoint_url="http://x", profile="p", error="e")
    with pytest.raises(StorageError, match=words) as caught, storing("writing", tmp_path):
        raise error
    assert remedy in caught.value.remedy


def test_a_defect_is_not_called_a_trouble_of_the_store(tmp_path):
    with pytest.raises(ZeroDivisionError), storing("writing", tmp_path):
        raise ZeroDivisionError


@pytest.mark.parametrize("root", ["ftps://x/warehouse", "nothing://x"])
def test_a_store_of_an_unknown_kind_is_refused(root):
    with pytest.raises(StorageError, match="cannot be opened") as caught:
        open_store(root)
    assert "s3://" in caught.value.remedy


def test_the_command_line_works_with_a_profile_and_prints_no_warning(lake, s3, tmp_path):
    lake.put(RECORDS)
    config = tmp_path / "aws-config"
    config.write_text(
        f"[profile site]\nregion = us-east-1\nendpoint_url = {s3}\n"
        "aws_access_key_id = test\naws_secret_access_key = test\n",
        encoding="utf-8",
    )
    settings = Settings.at(tmp_path / "home", f"s3://{lake.name}/by-profile")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | {
        "AWS_CONFIG_FILE": str(config),
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_PROFILE": "site",
        "WINNOW_HOME": str(settings.home),
        "WINNOW_WAREHOUSE": settings.warehouse,
    }
    winnow = Path(sys.executable).with_name("winnow")
    command = [winnow, "run", CLINVAR.name, "--source", lake.source]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed
    assert not [word for word in ("warning", "botocore", "pyarrow", "s3fs", "traceback") if word in printed.lower()]
    house = curate.House(settings)
    (data,) = house.warehouse.files(house.ledger.version(CLINVAR.name, 1), TABLE.name)
    assert data.removeprefix("s3://") in lake.objects("by-profile")
