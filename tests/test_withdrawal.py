"""Withdrawal: the tombstone stops every reader at once, the bytes go, and nothing brings them back by itself."""

import gzip
import re
import zlib
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner

from assets.snapshot import Address
from catalog.dataset import Dataset, load_dataset
from catalog.errors import BusyError, GateError, StorageError, UnknownVersionError
from catalog.query import Door
from catalog.records import Release, Version
from catalog.warehouse import Warehouse
from dagster_project import curate
from dagster_project.cli import main
from dagster_project.settings import Settings
from dagster_project.vacuum import vacuum
from dagster_project.withdraw import Withdrawn, withdraw

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
TODAY = date(2027, 3, 1)
TABLE = "genomics.clinical_significance"
HEADER = """##fileformat=VCFv4.2
##reference=GRCh38
##INFO=<ID=GENE,Number=1,Type=String,Description="gene">
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO
"""
BAD = "1\t0\tCANARYrefused\tA\tC\t.\t.\tGENE=CANARYrefused\n"  # position 0: the gate refuses it


def vcf(*names: str) -> str:
    return HEADER + "".join(f"1\t{100 + i}\t{name}\tA\tC\t.\t.\tGENE={name}\n" for i, name in enumerate(names))


class Estate:
    """One dataset whose source a test rewrites, in a house of its own."""

    def __init__(self, root: Path, **settings: str) -> None:
        self.root = root
        self.source = root / "source.vcf"
        self.house = curate.House(Settings.at(root / "home", **settings), clock=lambda: NOW)
        self.dataset = self.contract()

    def contract(self, **terms: object) -> Dataset:
        place = self.root / "datasets" / "genomics" / "people"
        place.mkdir(parents=True, exist_ok=True)
        (place / "sample.vcf").write_text(vcf("one"))
        attributes = {
            "title": "people",
            "table": TABLE,
            "source": {"uri": str(self.source), "format": "vcf"},
            "sample": "sample.vcf",
            "gates": {"max_row_change": 10, "max_quarantined": 0.9},
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
        self.dataset = load_dataset("genomics/people", self.root / "datasets")
        return self.dataset

    def stage(self, text: str, run_id: str):
        self.source.write_text(text)
        snapshot = curate.fetch(self.house, self.dataset, curate.address(self.dataset))
        return curate.stage(self.house, self.dataset, snapshot, run_id)[0]

    def publish(self, text: str, run_id: str) -> Version:
        return curate.commit(self.house, self.dataset, self.stage(text, run_id))

    def withdraw(self, number: int, reason: str = "a person objected") -> Withdrawn:
        return withdraw(self.house, self.dataset.name, number, reason, "ada", self.dataset)

    def door(self, **at: int) -> Door:
        chosen = {self.dataset.name: at["at"]} if at else None
        return Door(self.house.warehouse, self.house.ledger, [self.dataset], "internal", TODAY, chosen, derived=[])

    def names(self, **at: int) -> list[str]:
        return sorted(name for (name,) in self.door(**at).answer(f"SELECT _record FROM {TABLE}").fetchall())

    def holding(self, canary: str, below: Path | None = None) -> list[str]:
        """The files in which a text stands, as it is or in a column, footer or manifest that is compressed."""
        home = self.house.settings.home
        files = (path for path in sorted((below or home).rglob("*")) if path.is_file())
        return [str(path.relative_to(home)) for path in files if canary.encode() in everything(path)]

    def iceberg_rows(self) -> list[str]:
        """What a reader of Iceberg who knows nothing of Winnow finds, in every snapshot."""
        table = Warehouse(
            self.house.settings.warehouse, self.house.settings.catalog, self.root / "x"
        ).iceberg.load_table(("genomics", "people__clinical_significance"))
        tables = [table.scan().to_arrow()]
        tables += [table.scan(snapshot_id=each.snapshot_id).to_arrow() for each in table.snapshots()]
        return sorted({name for found in tables for name in found["_record"].to_pylist()})


def everything(path: Path) -> bytes:
    """A file's bytes, and what they are when unpacked."""
    raw = path.read_bytes()
    if path.suffix == ".parquet":
        rows = duckdb.sql(f"SELECT to_json(t) FROM read_parquet('{path}') t").fetchall()
        return raw + repr(rows).encode() + repr(pq.ParquetFile(path).metadata.to_dict()).encode()
    if path.suffix == ".avro":
        return raw + inflated(raw)
    return raw + (gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else b"")


def inflated(raw: bytes) -> bytes:
    """Whatever deflated blocks there are in an Avro file, found by trying after every sync marker."""
    found = b""
    for match in re.finditer(re.escape(raw[-16:]), raw):
        for offset in range(match.end(), min(match.end() + 20, len(raw))):
            try:
                found += zlib.decompressobj(-15).decompress(raw[offset:])
            except zlib.error:
                continue
    return found


@pytest.fixture
def estate(tmp_path: Path) -> Estate:
    return Estate(tmp_path)


def test_the_search_finds_what_stands(estate: Estate) -> None:
    estate.publish(vcf("CANARYone") + BAD, "first")
    kinds = {Path(name).parts[0] for name in estate.holding("CANARY")}
    assert {"warehouse", "raw"} <= kinds
    assert any(name.endswith(".avro") for name in estate.holding("CANARY")), "manifests hold the bounds of columns"
    assert any("quarantine" in name for name in estate.holding("CANARYrefused"))
    assert estate.iceberg_rows() == ["CANARYone"]


def test_withdrawn_rows_are_in_no_file_and_no_snapshot(estate: Estate) -> None:
    estate.publish(vcf("kept"), "first")
    estate.publish(vcf("kept", "CANARYone") + BAD, "second")
    told = estate.house.settings.private(estate.dataset.name) / "earlier.txt"
    told.parent.mkdir(parents=True)
    told.write_text("CANARYone is no value")
    done = estate.withdraw(2)
    assert done.files_removed > 3
    assert done.raw_removed == 1
    assert [name for name in estate.holding("CANARY") if not name.startswith("catalog.db")] == []
    assert estate.iceberg_rows() == ["kept"]


def test_the_only_version_leaves_an_empty_table_behind(estate: Estate) -> None:
    estate.publish(vcf("CANARYone") + BAD, "first")
    estate.withdraw(1)
    assert estate.iceberg_rows() == []
    assert [name for name in estate.holding("CANARY") if not name.startswith("catalog.db")] == []
    assert estate.names() == []


def test_an_older_version_goes_and_the_current_one_stays(estate: Estate) -> None:
    estate.publish(vcf("CANARYone"), "first")
    estate.publish(vcf("two"), "second")
    estate.publish(vcf("three"), "third")
    estate.withdraw(1)
    assert estate.holding("CANARY", estate.house.settings.home / "warehouse") == []
    assert estate.names() == ["three"]
    assert estate.names(at=2) == ["two"]
    assert estate.iceberg_rows() == ["three", "two"]


def test_no_older_version_takes_the_place_of_a_withdrawn_one(estate: Estate) -> None:
    estate.publish(vcf("old"), "first")
    estate.publish(vcf("new"), "second")
    estate.withdraw(2)
    assert estate.house.ledger.current(estate.dataset.name) is None
    assert estate.names() == []
    assert estate.names(at=1) == ["old"]
    with pytest.raises(UnknownVersionError, match="withdrawn by ada on 2027-03-01: a person objected"):
        estate.names(at=2)
    with pytest.raises(UnknownVersionError, match="withdrawn by ada"):
        estate.house.ledger.version(estate.dataset.name)
    vacuum(estate.house)
    table = estate.house.warehouse.iceberg.load_table(("genomics", "people__clinical_significance"))
    assert table.scan().to_arrow().num_rows == 0, "nor does Iceberg's own current snapshot fall back"
    assert estate.names(at=1) == ["old"]


def test_a_number_is_not_used_again(estate: Estate) -> None:
    estate.publish(vcf("one"), "first")
    estate.withdraw(1)
    version = estate.publish(vcf("two"), "second")
    assert version.number == 2
    assert estate.names() == ["two"]
    assert estate.iceberg_rows() == ["two"]
    assert [each.number for each in estate.house.ledger.versions()] == [2]


def test_the_same_bytes_stay_out_whatever_the_code(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    estate.publish(vcf("CANARYone"), "first")
    snapshot = estate.house.ledger.snapshot(estate.dataset.name)
    estate.withdraw(1)
    monkeypatch.setattr(curate, "fingerprint", lambda *_: "f" * 64)
    with pytest.raises(GateError, match="withdrawn by ada on 2027-03-01: a person objected"):
        estate.publish(vcf("CANARYone"), "again")
    assert estate.holding("CANARY", estate.house.settings.raw) == [], "bytes that were fetched again are not kept"
    with pytest.raises(GateError, match="withdrawn by ada"):
        curate.stage(estate.house, estate.dataset, snapshot, "from a snapshot")


def test_a_pinned_source_is_not_even_fetched(estate: Estate) -> None:
    version = estate.publish(vcf("CANARYone"), "first")
    estate.withdraw(1)
    pinned = Address("file:///nowhere", "source", version.snapshot_sha256)
    with pytest.raises(GateError, match="withdrawn by ada"):
        curate.fetch(estate.house, estate.dataset, pinned)


def test_other_bytes_or_another_contract_run(estate: Estate) -> None:
    estate.publish(vcf("one"), "first")
    estate.withdraw(1)
    assert estate.publish(vcf("one", "two"), "second").number == 2
    estate.withdraw(2)
    estate.contract(attribution="somebody")
    with pytest.raises(GateError, match="still has the same bytes"):
        estate.publish(vcf("one", "two"), "with a word of thanks changed")
    estate.contract(embargo={"until": "2020-01-01"})
    assert estate.publish(vcf("one", "two"), "third").number == 3
    assert estate.names() == ["one", "two"]


def test_a_contract_that_is_gone_keeps_the_bytes_out_under_any(estate: Estate) -> None:
    estate.publish(vcf("one"), "first")
    withdraw(estate.house, estate.dataset.name, 1, "gone", "ada", None)
    estate.contract(attribution="somebody")
    with pytest.raises(GateError, match="withdrawn"):
        estate.publish(vcf("one"), "second")


def test_what_was_staged_before_a_withdrawal_is_not_committed_after_it(estate: Estate) -> None:
    estate.publish(vcf("one"), "first")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curate, "fingerprint", lambda *_: "f" * 64)
        staged = estate.stage(vcf("one"), "second")
    estate.withdraw(1)
    with pytest.raises(GateError, match="withdrawn"):
        curate.commit(estate.house, estate.dataset, staged)


def test_what_was_staged_of_other_bytes_can_still_be_committed(estate: Estate) -> None:
    estate.publish(vcf("one"), "first")
    staged = estate.stage(vcf("two") + BAD, "second")
    estate.withdraw(1)
    assert curate.commit(estate.house, estate.dataset, staged).number == 2
    assert estate.names() == ["two"]
    assert len(estate.door().quarantine(estate.dataset.name).fetchall()) > 0


def test_raw_bytes_stay_as_long_as_a_version_that_stands_has_them(estate: Estate) -> None:
    estate.publish(vcf("CANARYone"), "first")
    estate.contract(attribution="somebody")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curate, "fingerprint", lambda *_: "f" * 64)
        estate.publish(vcf("CANARYone"), "second")
    assert estate.withdraw(1).raw_removed == 0
    assert len(estate.holding("CANARY", estate.house.settings.raw)) == 1
    assert estate.names() == ["CANARYone"]
    assert estate.withdraw(2).raw_removed == 1


def test_the_tombstone_comes_first_and_a_repeated_call_goes_on(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    estate.publish(vcf("CANARYone") + BAD, "first")

    def fails(*_: object, **__: object) -> None:
        raise OSError(5, "the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(Warehouse, "_remove_all_but", fails)
        with pytest.raises(StorageError):
            estate.withdraw(1, "the first reason")
    assert estate.names() == []
    assert estate.holding("CANARY", estate.house.settings.home / "warehouse")
    done = estate.withdraw(1, "another reason")
    assert done.tombstone.reason == "the first reason"
    assert len(estate.house.ledger.withdrawals()) == 1
    assert estate.holding("CANARY", estate.house.settings.home / "warehouse") == []
    again = estate.withdraw(1)
    assert (again.files_removed, again.raw_removed) == (0, 0)


def test_vacuum_finishes_what_a_withdrawal_began(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    estate.publish(vcf("old"), "first")
    estate.publish(vcf("CANARYone") + BAD, "second")
    with monkeypatch.context() as patch:
        patch.setattr("dagster_project.withdraw._remove", lambda *_: (0, 0))
        estate.withdraw(2)
    vacuum(estate.house)
    assert [name for name in estate.holding("CANARY") if not name.startswith("catalog.db")] == []
    assert estate.names() == []
    assert estate.names(at=1) == ["old"]


def test_a_run_at_work_delays_the_bytes_but_not_the_tombstone(estate: Estate) -> None:
    estate.publish(vcf("one"), "first")
    with (
        estate.house.ledger.hold(estate.dataset.name),
        pytest.raises(BusyError, match="withdrawn and nobody reads it any more"),
    ):
        estate.withdraw(1)
    assert estate.names() == []
    assert estate.withdraw(1).files_removed


def test_refused_records_and_reports_of_withdrawn_bytes_are_not_shown(estate: Estate) -> None:
    estate.publish(vcf("one") + BAD, "first")
    assert estate.door().quarantine(estate.dataset.name) is not None
    estate.withdraw(1)
    assert estate.door().quarantine(estate.dataset.name) is None
    assert estate.door().answer("FROM catalog.quarantine").fetchall() == []
    assert estate.door().answer("FROM catalog.versions").fetchall() == []
    estate.contract(embargo={"until": "2020-01-01"})
    estate.publish(vcf("one") + BAD, "second")
    assert estate.door().quarantine(estate.dataset.name) is not None


def test_releases_that_hold_it_are_told(estate: Estate) -> None:
    version = estate.publish(vcf("one"), "first")
    about = {"profile": "open", "day": TODAY, "rows": 1, "bytes": 1, "manifest_sha256": "0" * 64, "cut_at": NOW}
    estate.house.ledger.record_release(Release(address="/with", versions=(str(version),), **about))
    estate.house.ledger.record_release(Release(address="/without", versions=(f"{version}0",), **about))
    assert [release.address for release in estate.withdraw(1).releases] == ["/with"]


def test_a_version_that_never_was_cannot_be_withdrawn(estate: Estate) -> None:
    with pytest.raises(UnknownVersionError, match="there is no version genomics/people@7"):
        estate.withdraw(7)
    assert estate.house.ledger.withdrawals() == []


def test_postgresql_keeps_the_tombstone(postgresql: str, tmp_path: Path) -> None:
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(f"{postgresql}/postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE winnow_withdrawal")
    estate = Estate(tmp_path, catalog=f"{postgresql}/winnow_withdrawal")
    estate.publish(vcf("CANARYone"), "first")
    estate.withdraw(1)
    assert estate.iceberg_rows() == []
    assert estate.holding("CANARY") == []
    with pytest.raises(GateError, match="withdrawn by ada"):
        estate.publish(vcf("CANARYone"), "second")


def test_an_object_store_gives_the_bytes_up(s3: str, tmp_path: Path) -> None:
    s3fs = pytest.importorskip("s3fs")
    store = s3fs.S3FileSystem(endpoint_url=s3, skip_instance_cache=True, use_listings_cache=False)
    store.mkdir("withdrawal")
    estate = Estate(tmp_path, warehouse="s3://withdrawal/warehouse")
    estate.publish(vcf("kept"), "first")
    before = set(store.find("withdrawal"))
    estate.publish(vcf("CANARYone") + BAD, "second")
    estate.withdraw(2)
    after = set(store.find("withdrawal"))
    assert {path for path in after if path.endswith(".parquet")} == {p for p in before if p.endswith(".parquet")}
    for path in after:
        data = store.cat_file(path)
        assert b"CANARY" not in data + (inflated(data) if path.endswith(".avro") else b"")
    assert estate.iceberg_rows() == ["kept"]


# -- the command -----------------------------------------------------------------------------------------


@pytest.fixture
def clinvar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with one version of ClinVar's sample."""
    home = tmp_path / "home"
    monkeypatch.setenv("WINNOW_HOME", str(home))
    done = CliRunner().invoke(main, ["run", "genomics/clinvar", "--sample"])
    assert done.exit_code == 0, done.output
    return home


def winnow(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, list(words))
    return done.exit_code, done.output


def test_the_command_takes_a_version_back_and_the_others_say_so(clinvar: Path) -> None:
    record = duckdb.sql(
        f"SELECT min(_record) FROM '{clinvar}/warehouse/genomics/clinvar__clinical_significance/data/*/*.parquet'"
    ).fetchall()[0][0]
    assert winnow("withdraw", "genomics/clinvar@1", "--reason", "revoked", "--by", "Ada", "--yes")[0] == 0
    assert "withdrawn by Ada" in winnow("versions", "genomics/clinvar")[1]
    assert "its newest was withdrawn" in winnow("query", f"SELECT count(*) FROM {TABLE}")[1]
    code, output = winnow("query", f"FROM {TABLE}", "--at", "genomics/clinvar@1")
    assert code == 1
    assert "withdrawn by Ada" in output
    code, output = winnow("diff", "genomics/clinvar@1", "genomics/clinvar@1")
    assert code == 1
    assert "revoked" in output
    code, output = winnow("run", "genomics/clinvar", "--sample")
    assert code == 1
    assert "revoked" in output
    assert "no record" in winnow("quarantine", "genomics/clinvar")[1]
    shown = [
        path for path in (clinvar / "dagster").rglob("*") if path.is_file() and record.encode() in path.read_bytes()
    ]
    assert shown == [], "the preview on the page of the run that published it is gone too"


def test_the_command_asks_for_what_it_needs(clinvar: Path) -> None:
    assert winnow("withdraw", "genomics/clinvar@1")[0] == 2
    assert winnow("withdraw", "genomics/clinvar@1", "--reason", " ")[0] == 2
    code, output = winnow("withdraw", "genomics/clinvar@1", "--reason", "nobody is asked here")
    assert (code, "add --yes" in output) == (2, True)
    assert winnow("withdraw", "genomics/clinvar", "--reason", "x")[0] == 1
    code, output = winnow("withdraw", "genomics/clinvar@9", "--reason", "x")
    assert (code, "there is no version genomics/clinvar@9" in output) == (1, True)
    assert winnow("withdraw", "nobody/knows@1", "--reason", "x")[0] == 1
    assert "@1" in winnow("list")[1]
