"""fusion.flat_top_means by the real shots of MAST, and what becomes of MAST's signals beside GNoME's crystals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from catalog.dataset import load_dataset
from catalog.derived import FOLDER, read_derived
from catalog.query import Door
from catalog.records import utc_now
from dagster_project import curate
from dagster_project.settings import Settings

MAST = Path(__file__).parents[2] / "shared/data/fusion/mast"
COLUMNS = {
    "ip": "ip",
    "n_e_line": "n_e_line",
    "t_e_magnetic_axis": "t_e_core",
    "power_nbi": "power_nbi",
    "power_radiated": "power_radiated",
}


@pytest.fixture
def house(tmp_path) -> curate.House:
    return curate.House(Settings.at(tmp_path / "house"))


def door(house: curate.House, profile: str, *names: str, **derived) -> Door:
    return Door(
        house.warehouse, house.ledger, [load_dataset(name) for name in names], profile, utc_now().date(), **derived
    )


def test_means_over_the_flat_top_are_those_of_the_source(house, publish, tmp_path):
    if not MAST.exists():
        pytest.skip(f"{MAST} is not here")
    shots = tmp_path / "shots"
    shots.mkdir()
    for number in (30421, 12386):
        (shots / f"{number}.parquet").symlink_to(MAST / f"{number}.parquet")
    publish(house, "fusion/mast_signals", str(shots))
    publish(house, "fusion/mast_shots", str(MAST / "general.parquet"))
    names = ("fusion/mast_signals", "fusion/mast_shots")
    table = read_derived(FOLDER / "fusion/flat_top_means/defs.yaml")
    found = door(house, "open", *names, derived=[table]).derive(table).read_all().to_pylist()
    assert [row["pulse"] for row in found] == [12386, 30421]
    for row in found:
        source = pq.read_table(MAST / f"{row['pulse']}.parquet").to_pandas().reset_index()
        flat = source[(source["time"] >= row["flat_top_begin"]) & (source["time"] <= row["flat_top_end"])]
        assert len(flat) > 1000
        for name, column in COLUMNS.items():
            assert row[name] == pytest.approx(np.nanmean(flat[column]), rel=1e-9), name
        assert row["n_e_line_average"] is None
        assert (row["_licence"], row["_datasets"]) == ("CC-BY-SA-4.0", sorted(names))


def test_mast_under_by_sa_and_gnome_under_by_nc_do_not_go_into_one_row(house, publish, tmp_path):
    names = ("fusion/mast_signals", "crystals/gnome")
    for name in names:
        publish(house, name)
    place = tmp_path / "fusion/mixed"
    place.mkdir(parents=True)
    document = {
        "type": "dagster_project.component.Derived",
        "attributes": {
            "title": "Signals beside crystals",
            "sql": "SELECT device, count(*) AS rows FROM fusion.signals, crystals.structures GROUP BY device",
            "columns": [
                {"name": "device", "type": "string", "nullable": False, "description": "the machine"},
                {"name": "rows", "type": "int64", "unit": "1", "nullable": False, "description": "their number"},
            ],
            "key": ["device"],
            "owner": "fusion",
        },
    }
    (place / "defs.yaml").write_text(yaml.safe_dump(document))
    table = read_derived(place / "defs.yaml")
    for profile in ("open", "noncommercial"):
        asked = door(house, profile, *names, derived=[table])
        assert asked.derive(table).read_all().to_pylist() == [], profile
    (kept_back,) = [each for each in asked.withheld if each.table == table.name]
    assert kept_back.dataset == "crystals/gnome, fusion/mast_signals"
    assert "CC-BY-SA-4.0" in kept_back.decision.reason
    assert "CC-BY-NC-4.0" in kept_back.decision.reason
