"""The reader of Parquet rows, by MAST's table of disruptions and by files made for one point each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from snapshots import snapshot

from assets.readers.parquet import Options, read
from catalog.dataset import load_dataset
from catalog.errors import SourceError
from catalog.query import Door
from catalog.records import utc_now
from dagster_project import curate
from dagster_project.settings import Settings

GENERAL = Path(__file__).parents[2] / "shared/data/fusion/mast/general.parquet"


def rows(*paths: Path, columns: tuple[str, ...] = ("a",)) -> list[dict[str, Any]]:
    return read(snapshot(*paths), Options(), columns).read_all().to_pylist()


def table(folder: Path, name: str = "one.parquet", **columns: Any) -> Path:
    pq.write_table(pa.table(columns), folder / name)
    return folder / name


def test_disruptions_of_mast_above_400_ka(tmp_path, publish):
    if not GENERAL.exists():
        pytest.skip(f"{GENERAL} is not here")
    house = curate.House(Settings.at(tmp_path))
    publish(house, "fusion/mast_shots", str(GENERAL))
    door = Door(
        house.warehouse, house.ledger, [load_dataset("fusion/mast_shots")], "open", utc_now().date(), derived=[]
    )
    source = pq.read_table(GENERAL)
    wanted = source.filter(pc.greater(source["disruption.current"], 400e3))
    found = door.answer("SELECT pulse, disruption_time FROM fusion.shots WHERE disruption_ip > 400e3 ORDER BY pulse")
    assert sorted(zip(wanted["shot"].to_pylist(), wanted["disruption.td"].to_pylist(), strict=True)) == found.fetchall()
    assert door.answer("SELECT count(*) FROM fusion.shots").fetchall() == [(source.num_rows,)]


def test_only_what_is_wanted_is_read_and_each_row_has_its_place(tmp_path):
    one, two = table(tmp_path, a=[1, 2], b=["x", "y"]), table(tmp_path, "two.parquet", b=["z"], a=[3])
    found = rows(one, two, columns=("A", "nonsense"))
    assert [(row["_source"], row["_position"], row["a"]) for row in found] == [
        (0, "one.parquet row 0", 1),
        (1, "one.parquet row 1", 2),
        (2, "two.parquet row 0", 3),
    ]
    assert "b" not in found[0]


def test_rows_are_counted_on_over_pieces(tmp_path):
    found = rows(table(tmp_path, a=list(range(70_000))))
    assert [row["_source"] for row in found] == list(range(70_000))
    assert found[-1]["_position"] == "one.parquet row 69999"


def test_what_is_no_parquet_or_differs_is_named(tmp_path):
    one, other = table(tmp_path, a=[1]), table(tmp_path, "other.parquet", a=["x"])
    with pytest.raises(SourceError, match="column 'a' is string, in the first int64"):
        rows(one, other)
    with pytest.raises(SourceError, match="column 'a' is absent"):
        rows(one, table(tmp_path, "third.parquet", b=[1]))
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(one.read_bytes()[:-9])
    with pytest.raises(SourceError, match="is no Parquet"):
        rows(broken)
    with pytest.raises(SourceError, match="has no files"):
        rows()


def test_a_damaged_page_is_told_with_the_row(tmp_path):
    path = table(tmp_path, a=list(range(10_000)))
    content = bytearray(path.read_bytes())
    content[4:400] = bytes(396)
    path.write_bytes(content)
    with pytest.raises(SourceError, match="cannot be read after row 0"):
        rows(path)
