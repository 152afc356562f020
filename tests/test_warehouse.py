"""The warehouse: sorted Parquet files staged apart, committed whole, readable for ever, and cleaned without loss."""

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import catalog.parquet
from catalog.errors import CatalogError
from catalog.records import RowTerms, Stage, StagedTable, Version
from catalog.table import Table
from catalog.warehouse import Warehouse, table_name

DATASET = "lab/notebook"


def contract(*more: dict[str, Any], sort: tuple[str, ...] = ("group", "number")) -> Table:
    columns = [
        {"name": "group", "type": "string", "description": "The group", "term": "lab:group"},
        {"name": "number", "type": "int64", "unit": "kelvin", "description": "How warm", "nullable": False},
        *more,
    ]
    named = {"name": "lab.samples", "description": "Samples", "standard": "none", "key": ("number",), "sort": sort}
    return Table.model_validate({**named, "columns": columns, "science": ("a", "b", "c")})


def batch(rows: list[dict[str, Any]], of: Table) -> pa.RecordBatch:
    own = {"_dataset": DATASET, "_part": "all"}
    full = [{**own, "_record": str(row["number"]), **row} for row in rows]
    return pa.RecordBatch.from_pylist(full, schema=of.arrow_schema)


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(str(tmp_path / "warehouse"), f"sqlite:///{tmp_path / 'catalog.db'}", tmp_path / "tmp")


def staged(warehouse: Warehouse, numbers: list[int], run: str, of: Table) -> StagedTable:
    return warehouse.stage([batch([{"group": "g", "number": n} for n in numbers], of)], DATASET, of, run)


def stage_of(*tables: StagedTable, run: str = "run", base: int = 0) -> Stage:
    said = {"dataset": DATASET, "run_id": run, "fingerprint": run, "base_version": base, "origin": "source"}
    return Stage(**said, snapshot_sha256="0", tables=tables, quarantine=())  # type: ignore[arg-type]


def committed(warehouse: Warehouse, numbers: list[int], number: int, of: Table | None = None) -> Version:
    of = of or contract()
    stage = stage_of(staged(warehouse, numbers, f"run{number}", of), run=f"run{number}", base=number - 1)
    return Version(
        dataset=DATASET,
        number=number,
        fingerprint=stage.fingerprint,
        origin="source",
        snapshot_sha256="0",
        run_id=stage.run_id,
        tables=warehouse.commit(stage, [of]),
        committed_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def read(warehouse: Warehouse, version: Version, columns: str = "number") -> list[Any]:
    files = warehouse.files(version, "lab.samples")
    listed = ", ".join(f"'{file}'" for file in files)
    with warehouse.connect(files) as connection:
        rows = connection.sql(f"SELECT {columns} FROM read_parquet([{listed}]) ORDER BY ALL").fetchall()
    return [row[0] if len(row) == 1 else row for row in rows]


# -- staging -------------------------------------------------------------------------------------------


ROWS = st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.integers(-5, 5)), max_size=30)


@settings(max_examples=30, deadline=None)
@given(batches=st.lists(ROWS, min_size=1, max_size=3))
def test_staged_rows_are_all_there_in_the_order_of_the_contract(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[tuple[str | None, int]]]
) -> None:
    folder = tmp_path_factory.mktemp("stage")
    warehouse, of = Warehouse(str(folder), "sqlite://", folder / "tmp"), contract()
    made = [batch([{"group": group, "number": number} for group, number in rows], of) for rows in batches]
    found = warehouse.stage(iter(made), DATASET, of, "run")
    rows = [row for file in found.files for row in pq.read_table(file).to_pylist()]
    expected = sorted((row for rows in batches for row in rows), key=lambda row: (row[0] is None, row[0] or "", row[1]))
    assert [(row["group"], row["number"]) for row in rows] == expected
    assert found.rows == len(expected)
    assert found.bytes == sum(Path(file).stat().st_size for file in found.files)
    assert not list((folder / "tmp").iterdir())


@pytest.mark.parametrize(("memory", "rows", "spills"), [("256MB", 90_000, True), ("1MB", 2_000, False)])
def test_sorting_gives_the_same_out_of_core_and_where_the_memory_is_too_small(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, memory: str, rows: int, spills: bool
) -> None:
    monkeypatch.setattr(catalog.parquet, "SORT_MEMORY", memory)
    monkeypatch.setattr(catalog.parquet, "FILE_BYTES", 16 << 20)
    write, spilled = catalog.parquet.ParquetFile.write, []

    def watched(self: catalog.parquet.ParquetFile, rows: pa.RecordBatch) -> None:
        spilled.extend(warehouse._scratch.glob("*/spill/*"))
        write(self, rows)

    monkeypatch.setattr(catalog.parquet.ParquetFile, "write", watched)
    of, numbers = contract({"name": "text", "type": "string", "description": "Words"}), random.Random(0)
    made = []
    for start in range(0, 6 * rows, rows):
        words = [numbers.randbytes(160).hex() for _ in range(rows)]
        order = numbers.sample(range(start, start + rows), rows)
        columns = {"group": numbers.choices("abc", k=rows), "number": order, "text": words, "_record": words}
        made.append(pl.DataFrame({**columns, "_dataset": [DATASET] * rows, "_part": ["all"] * rows}))
    empty = of.arrow_schema.empty_table()
    batches = (
        part
        for frame in made
        for part in pa.concat_tables([empty, frame.to_arrow().cast(_part_of(of, frame))], promote_options="default")
        .select(of.arrow_schema.names)
        .to_batches()
    )
    found = warehouse.stage(batches, DATASET, of, "run")
    assert bool(spilled) is spills
    assert (len(found.files) > 1) is spills
    result = pl.concat([pl.read_parquet(file) for file in found.files])
    expected = pl.concat(made).sort("group", "number")
    assert result.select(expected.columns).equals(expected)


def _part_of(of: Table, frame: pl.DataFrame) -> pa.Schema:
    return pa.schema([of.arrow_schema.field(name) for name in frame.columns])


def test_the_files_say_what_their_columns_mean(warehouse: Warehouse) -> None:
    (file,) = staged(warehouse, [3, 1, 2], "run", contract()).files
    schema = pq.read_schema(file)
    assert schema.field("number").metadata == {b"description": b"How warm", b"unit": b"kelvin"}
    assert schema.field("group").metadata == {b"description": b"The group", b"term": b"lab:group"}
    assert not schema.field("number").nullable
    assert schema.field("group").nullable
    assert b"says one for this row" in schema.field("_licence").metadata[b"description"]


def test_row_groups_are_small_enough_to_skip_and_compressed(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog.parquet, "ROW_GROUP_ROWS", 100)
    of = contract()
    parts = [batch([{"group": "g", "number": n} for n in range(i, i + 30)], of) for i in range(0, 1200, 30)]
    (file,) = warehouse.stage(parts, DATASET, of, "run").files
    metadata = pq.read_metadata(file)
    sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    assert sum(sizes) == 1200
    assert max(sizes) <= 100
    number = metadata.row_group(3).column(1)
    assert number.compression == "ZSTD"
    assert number.statistics.has_min_max
    assert number.statistics.min > metadata.row_group(2).column(1).statistics.max
    assert number.has_column_index


def test_what_rows_say_of_their_terms_is_counted(warehouse: Warehouse) -> None:
    of, later = contract(), date(2027, 1, 1)
    rows = [{"group": "g", "number": n} for n in range(5)]
    rows[1]["_licence"] = rows[2]["_licence"] = "CC-BY-4.0"
    rows[2]["_embargo_until"] = later
    found = warehouse.stage([batch(rows, of)], DATASET, of, "run")
    assert set(found.row_terms) == {
        RowTerms(licence=None, embargo_until=None, rows=3),
        RowTerms(licence="CC-BY-4.0", embargo_until=None, rows=1),
        RowTerms(licence="CC-BY-4.0", embargo_until=later, rows=1),
    }


def test_no_rows_make_no_file(warehouse: Warehouse) -> None:
    found = warehouse.stage(iter([]), DATASET, contract(), "run")
    assert (found.files, found.rows, found.bytes, found.row_terms) == ((), 0, 0, ())


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_staging_that_breaks_off_leaves_nothing(
    warehouse: Warehouse, tmp_path: Path, error: type[BaseException]
) -> None:
    def breaks() -> Iterator[pa.RecordBatch]:
        yield batch([{"group": "g", "number": 1}], contract())
        raise error("enough")

    with pytest.raises(error, match="enough"):
        warehouse.stage(breaks(), DATASET, contract(), "run")
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix == ".parquet"]


# -- versions ------------------------------------------------------------------------------------------


def test_a_commit_replaces_all_rows_and_past_versions_stay(warehouse: Warehouse) -> None:
    first, second, third = (committed(warehouse, rows, i) for i, rows in enumerate(([1, 2], [2, 3, 4], [9]), start=1))
    assert read(warehouse, first) == [1, 2]
    assert read(warehouse, second) == [2, 3, 4]
    assert read(warehouse, third) == [9]
    assert first.tables[0].iceberg_table == "lab.notebook__samples"
    assert first.tables[0].rows == 2


def test_an_iceberg_reader_of_its_own_sees_the_same_rows(warehouse: Warehouse) -> None:
    first, _ = committed(warehouse, [1, 2], 1), committed(warehouse, [5], 2)
    table = warehouse.iceberg.load_table("lab.notebook__samples")
    assert table.scan().to_arrow()["number"].to_pylist() == [5]
    past = table.scan(snapshot_id=first.tables[0].iceberg_snapshot).to_arrow()
    assert sorted(past["number"].to_pylist()) == [1, 2]
    assert table.spec().fields[0].name == "_part"
    assert table.current_snapshot().summary["winnow.run"] == "run2"


def test_staged_files_show_nowhere_until_they_are_committed(warehouse: Warehouse) -> None:
    first = committed(warehouse, [1], 1)
    staged(warehouse, [7, 8], "later", contract())
    assert read(warehouse, first) == [1]
    assert warehouse.iceberg.load_table("lab.notebook__samples").scan().to_arrow().num_rows == 1


def test_a_stage_whose_file_is_gone_is_refused_with_the_remedy(warehouse: Warehouse) -> None:
    first = committed(warehouse, [1], 1)
    table = staged(warehouse, [7], "later", contract())
    warehouse.discard(table.files)
    with pytest.raises(CatalogError, match="is gone") as caught:
        warehouse.commit(stage_of(table, run="later", base=1), [contract()])
    assert "winnow run lab/notebook" in caught.value.remedy
    assert read(warehouse, first) == [1]


def test_a_table_gains_and_loses_columns_and_old_versions_stay_readable(warehouse: Warehouse) -> None:
    note = {"name": "note", "type": "list<struct<a: string, b: double>>", "description": "Notes"}
    first = committed(warehouse, [1], 1)
    second = committed(warehouse, [2], 2, contract(note))
    third = committed(warehouse, [3], 3)
    assert read(warehouse, first) == [1]
    assert read(warehouse, second, "number, note") == [(2, None)]
    assert read(warehouse, third) == [3]
    fourth = committed(warehouse, [4], 4, contract(note))
    assert read(warehouse, fourth, "number, note") == [(4, None)]
    table = warehouse.iceberg.load_table("lab.notebook__samples")
    for version, number in ((first, 1), (second, 2), (third, 3), (fourth, 4)):
        found = table.scan(snapshot_id=version.tables[0].iceberg_snapshot).to_arrow()
        assert found["number"].to_pylist() == [number]


def test_a_column_that_changes_its_type_is_refused_with_the_remedy(warehouse: Warehouse) -> None:
    first = committed(warehouse, [1], 1)
    changed = contract()
    other = changed.columns[0].model_copy(update={"type": "double"})
    changed = changed.model_copy(update={"columns": (other, *changed.columns[1:])})
    made = warehouse.stage([batch([{"group": 1.0, "number": 1}], changed)], DATASET, changed, "run2")
    with pytest.raises(CatalogError, match="cannot follow its contract") as caught:
        warehouse.commit(stage_of(made, run="run2", base=1), [changed])
    assert "another name" in caught.value.remedy
    assert read(warehouse, first) == [1]


def test_the_connection_reads_the_version_and_nothing_else(warehouse: Warehouse, tmp_path: Path) -> None:
    first, second = committed(warehouse, [1], 1), committed(warehouse, [2], 2)
    (allowed,), (other,) = warehouse.files(first, "lab.samples"), warehouse.files(second, "lab.samples")
    secret = tmp_path / "secret.csv"
    secret.write_text("1\n", encoding="utf-8")
    with warehouse.connect([allowed]) as connection:
        assert connection.sql(f"SELECT number FROM '{allowed}'").fetchall() == [(1,)]
        for path in (other, secret):
            with pytest.raises(duckdb.Error, match="disabled by configuration"):
                connection.sql(f"FROM '{path}'").fetchall()
        with pytest.raises(duckdb.Error):
            connection.execute("SET enable_external_access=true")


# -- cleaning ------------------------------------------------------------------------------------------


def held(root: Path) -> set[Path]:
    return {path for path in (root / "warehouse").rglob("*") if path.is_file()}


def test_vacuum_removes_orphans_and_every_version_stays_readable(warehouse: Warehouse, tmp_path: Path) -> None:
    versions = [committed(warehouse, [n, n + 1], n) for n in (1, 2, 3)]
    orphan = staged(warehouse, [7], "killed", contract()).files[0]
    kept, stale = (warehouse.put_quarantine(pa.table({"a": [1]}), DATASET, run, 0) for run in ("run3", "run1"))
    removed, freed = warehouse.vacuum(versions, [kept])
    assert {path for path in removed if path.endswith(".parquet")} == {orphan, stale}
    assert freed > 0
    assert Path(kept).exists()
    assert [read(warehouse, version) for version in versions] == [[1, 2], [2, 3], [3, 4]]
    assert warehouse.vacuum(versions, [kept]) == ([], 0)
    assert read(warehouse, committed(warehouse, [9], 4)) == [9]


def test_vacuum_rolls_back_a_commit_that_the_ledger_does_not_know(warehouse: Warehouse, tmp_path: Path) -> None:
    first = committed(warehouse, [1], 1)
    lost = committed(warehouse, [2], 2)
    (orphan,) = warehouse.files(lost, "lab.samples")
    removed, _ = warehouse.vacuum([first], [])
    assert orphan in removed
    table = warehouse.iceberg.load_table("lab.notebook__samples")
    assert [snapshot.snapshot_id for snapshot in table.snapshots()] == [first.tables[0].iceberg_snapshot]
    assert table.scan().to_arrow()["number"].to_pylist() == [1]
    again = committed(warehouse, [3], 2)
    assert (read(warehouse, first), read(warehouse, again)) == ([1], [3])


def test_vacuum_of_a_commit_that_never_became_a_version_leaves_nothing(warehouse: Warehouse, tmp_path: Path) -> None:
    committed(warehouse, [1], 1)
    warehouse.vacuum([], [])
    assert held(tmp_path) == set()
    assert read(warehouse, committed(warehouse, [2], 1)) == [2]


def test_vacuum_leaves_alone_what_is_not_winnows(warehouse: Warehouse, tmp_path: Path) -> None:
    first = committed(warehouse, [1], 1)
    foreign = tmp_path / "warehouse" / "notes.txt"
    foreign.write_text("mine", encoding="utf-8")
    assert warehouse.vacuum([first], []) == ([], 0)
    assert foreign.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("dataset", "table", "name"),
    [
        ("genomics/clinvar", "genomics.variants", ("genomics", "clinvar__variants")),
        ("fusion/vest", "materials.samples", ("fusion", "vest__materials_samples")),
    ],
)
def test_a_table_is_named_for_its_dataset_and_its_contract(dataset: str, table: str, name: tuple[str, str]) -> None:
    assert table_name(dataset, table) == name


def test_two_stagings_of_one_run_do_not_touch_each_others_files(warehouse: Warehouse) -> None:
    of = contract()
    first, second = (staged(warehouse, numbers, "run", of) for numbers in ([1, 2], [3]))
    refused = [warehouse.put_quarantine(pa.table({"a": [number]}), DATASET, "run", 0) for number in (1, 2)]

    def breaks() -> Iterator[pa.RecordBatch]:
        yield batch([{"group": "g", "number": 4}], of)
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        warehouse.stage(breaks(), DATASET, of, "run")
    warehouse.discard([*second.files, refused[1]])
    (file,) = first.files
    assert pq.read_table(file)["number"].to_pylist() == [1, 2]
    assert pq.read_table(refused[0]).to_pydict() == {"a": [1]}
    assert not any(Path(path).exists() for path in (*second.files, refused[1]))
