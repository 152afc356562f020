"""Generalising sensitive records: no kept column tells the place better than the uncertainty that is declared."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

import pyarrow as pa
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.generalise import edges, generalise
from assets.harmonise import harmonise
from assets.readers import SOURCE_FIELDS
from catalog.dataset import FOLDER as DATASETS
from catalog.dataset import Dataset, read_dataset
from catalog.errors import ContractError
from catalog.rights.terms import Sensitive
from catalog.table import Table, load_table

pyproj = pytest.importorskip("pyproj", reason="pyproj is not installed")
GEOD = pyproj.Geod(ellps="WGS84")
OCCURRENCES = load_table("biodiversity.occurrences")
KEPT = {
    "decimalLatitude", "decimalLongitude", "coordinateUncertaintyInMeters", "coordinatePrecision", "eventDate",
    "_winnow_event_start", "_winnow_event_end",
}  # fmt: skip
"""The columns that locate and are coarsened rather than cleared."""


def canonical(rows: list[dict[str, Any]]) -> dict[str, pa.Array]:
    """Canonical columns in which every text that could locate holds a token."""
    tokens = {
        column.name: f"TOKEN-{column.name}"
        for column in OCCURRENCES.columns
        if column.locates and column.type == "string"
    }
    filled = [
        {**tokens, "_dataset": "d/x", "_record": f"TOKEN-record-{n}", "_part": "all", **row}
        for n, row in enumerate(rows)
    ]
    lenient = pa.schema([field.with_nullable(True) for field in OCCURRENCES.arrow_schema])
    table = pa.Table.from_pylist(filled, schema=lenient).combine_chunks()
    return {name: table[name].chunk(0) for name in table.column_names}


def told(rows: list[dict[str, Any]], rules: list[Sensitive], holds: list[list[bool | None]]) -> list[dict[str, Any]]:
    source = pa.array(range(100, 100 + len(rows)))
    found = generalise(canonical(rows), OCCURRENCES, rules, [pa.array(one, pa.bool_()) for one in holds], source, "k")
    return pa.table(found).to_pylist()


def rule(cell: float, reason: str = "orchid thieves", when: str = "true") -> Sensitive:
    return Sensitive(when=when, cell=cell, reason=reason)


places = st.tuples(
    st.floats(-90, 90) | st.sampled_from([-90.0, 90.0, 0.0, -0.0, 89.95]),
    st.floats(-180, 180) | st.sampled_from([-180.0, 180.0, 0.0, 179.99]),
)
cells = st.floats(0.001, 10) | st.sampled_from([0.01, 0.1, 0.5, 1.0, 7.0, 8.99, 10.0])
uncertainties = st.none() | st.floats(0.1, 1e6)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(places, uncertainties), min_size=1, max_size=8), cells)
def test_the_published_place_is_within_the_declared_uncertainty_of_the_original(spots, cell):
    rows = [
        {"decimalLatitude": lat, "decimalLongitude": lon, "coordinateUncertaintyInMeters": own}
        for (lat, lon), own in spots
    ]
    for before, after in zip(rows, told(rows, [rule(cell)], [[True] * len(rows)]), strict=True):
        latitude, longitude = after["decimalLatitude"], after["decimalLongitude"]
        own = before["coordinateUncertaintyInMeters"] or 0.0
        *_, away = GEOD.inv(before["decimalLongitude"], before["decimalLatitude"], longitude, latitude)
        assert away + own <= after["coordinateUncertaintyInMeters"] + 1e-6
        assert -90 <= latitude <= 90
        assert -180 <= longitude <= 180
        # The uncertainty does not come from where in its cell the record lies.
        south, north = (
            float(edge[0]) for edge in edges(pa.array([latitude]).to_numpy(), pa.array([cell]).to_numpy(), 90.0)
        )
        assert south <= latitude <= north
        assert after["coordinatePrecision"] == cell


@settings(max_examples=200, deadline=None)
@given(places, places, cells)
def test_two_records_of_one_cell_cannot_be_told_apart(one, other, cell):
    alike = [
        {"decimalLatitude": lat, "decimalLongitude": lon, "coordinateUncertaintyInMeters": 5.0}
        for lat, lon in (one, other)
    ]
    first, second = told(alike, [rule(cell)], [[True, True]])
    if (first["decimalLatitude"], first["decimalLongitude"]) == (second["decimalLatitude"], second["decimalLongitude"]):
        assert {k: v for k, v in first.items() if k != "_record"} == {k: v for k, v in second.items() if k != "_record"}


@settings(max_examples=100, deadline=None)
@given(places, cells)
def test_the_uncertainty_covers_every_corner_of_the_cell(place, cell):
    (lat, lon), width = place, pa.array([cell]).to_numpy()
    (after,) = told([{"decimalLatitude": lat, "decimalLongitude": lon}], [rule(cell)], [[True]])
    south, north = (float(edge[0]) for edge in edges(pa.array([lat]).to_numpy(), width, 90.0))
    west, east = (float(edge[0]) for edge in edges(pa.array([lon]).to_numpy(), width, 180.0))
    for corner in ((south, west), (south, east), (north, west), (north, east)):
        *_, away = GEOD.inv(after["decimalLongitude"], after["decimalLatitude"], corner[1], corner[0])
        assert away <= after["coordinateUncertaintyInMeters"]


def test_every_column_that_could_locate_is_empty_afterwards():
    row = {
        "decimalLatitude": 52.123456, "decimalLongitude": 4.654321, "eventDate": "2019-05-17T10:11:12",
        "year": 2019, "month": 5, "day": 17, "_winnow_event_start": date(2019, 5, 17),
        "_winnow_event_end": date(2019, 5, 17), "minimumElevationInMeters": 12.0, "depth": 3.0,
        "scientificName": "Orchis simia Lam.", "rightsHolder": "A. Owner",
    }  # fmt: skip
    (after,) = told([row], [rule(0.1)], [[True]])
    left = {c.name for c in OCCURRENCES.columns if c.locates and after[c.name] is not None}
    assert left == KEPT
    assert "TOKEN" not in str(after)
    assert not any(part in str(after) for part in ("52.12", "4.654", "05-17", "17T"))
    assert (after["eventDate"], after["year"]) == ("2019", 2019)
    assert (after["_winnow_event_start"], after["_winnow_event_end"]) == (date(2019, 1, 1), date(2019, 12, 31))
    assert (after["decimalLatitude"], after["decimalLongitude"]) == pytest.approx((52.15, 4.65))
    assert after["scientificName"] == "Orchis simia Lam."
    assert after["rightsHolder"] == "A. Owner"
    assert re.fullmatch("generalised-[0-9a-f]{24}", after["_record"])


def test_an_event_over_new_year_keeps_both_years():
    row = {
        "_winnow_event_start": date(1999, 12, 30),
        "_winnow_event_end": date(2000, 1, 2),
        "eventDate": "1999-12-30/2000-01-02",
    }
    (after,) = told([row], [rule(0.1)], [[True]])
    assert after["eventDate"] == "1999/2000"
    assert (after["_winnow_event_start"], after["_winnow_event_end"]) == (date(1999, 1, 1), date(2000, 12, 31))


def test_the_widest_cell_wins_and_each_rule_is_named():
    rows = [{"decimalLatitude": 10.01, "decimalLongitude": 10.01}] * 3
    rules = [rule(0.1, "eggs"), rule(1.0, "horns")]
    both, first, neither = told(rows, rules, [[True, True, False], [True, False, False]])
    assert both["coordinatePrecision"] == 1.0
    assert "eggs; horns" in both["dataGeneralizations"]
    assert first["coordinatePrecision"] == 0.1
    assert "horns" not in first["dataGeneralizations"]
    assert neither["decimalLatitude"] == 10.01
    assert neither["_record"] == "TOKEN-record-2"
    assert neither["dataGeneralizations"] is None


def test_what_the_source_says_of_its_own_generalising_is_kept():
    row = {"dataGeneralizations": "rounded by the publisher", "informationWithheld": "collector"}
    (after,) = told([row], [rule(0.1)], [[True]])
    assert after["dataGeneralizations"].startswith("rounded by the publisher | Place told to a cell of 0.1 degrees")
    assert after["informationWithheld"].startswith("collector | ")


def test_a_place_off_the_globe_stays_off_it_for_the_gate():
    (after,) = told([{"decimalLatitude": 95.0, "decimalLongitude": 4.0}], [rule(0.1)], [[True]])
    assert not -90 <= after["decimalLatitude"] <= 90


# -- by way of a contract ---------------------------------------------------------------------------------


def contract(*rules: dict[str, Any]) -> Dataset:
    made = Dataset.model_validate(
        {
            "title": "Orchids",
            "table": "biodiversity.occurrences",
            "columns": {},
            "source": {"uri": "x.zip", "format": "darwin_core"},
            "sample": "x.zip",
            "terms": {
                "licence": "CC0-1.0",
                "evidence": [{"file": "f", "read_on": "2026-01-01", "quote": "CC0"}],
                "attribution": "a",
                "sensitive": list(rules),
            },
            "owner": "lab",
        }
    )
    made._name = "biodiversity/orchids"
    return made


def mapped(rows: list[dict[str, str | None]], *rules: dict[str, Any]) -> list[dict[str, Any]]:
    names = sorted({name for row in rows for name in row})
    schema = pa.schema([*SOURCE_FIELDS, *(pa.field(name, pa.string()) for name in names)])
    numbered = [{"_source": n, "_position": f"x line {n}", "_record": f"r{n}", **row} for n, row in enumerate(rows)]
    source = pa.RecordBatchReader.from_batches(schema, [pa.RecordBatch.from_pylist(numbered, schema=schema)])
    return harmonise(source, contract(*rules), OCCURRENCES).read_all().to_pylist()


ORCHID = {"when": "genus = 'Orchis'", "cell": 0.1, "reason": "orchid thieves"}


def test_a_rule_that_cannot_be_told_holds():
    place = {"decimalLatitude": "52.123", "decimalLongitude": "4.654"}
    rows = [{**place, "genus": "Orchis"}, {**place, "genus": "Poa"}, {**place, "genus": None}]
    found = [row["dataGeneralizations"] is not None for row in mapped(rows, ORCHID)]
    assert found == [True, False, True]
    failing = {**ORCHID, "when": "CAST(genus AS INTEGER) = 1"}
    assert [row["dataGeneralizations"] is not None for row in mapped(rows, failing)] == [True, True, True]


def test_a_rule_may_read_what_is_derived():
    row = {"decimalLatitude": "52.123", "decimalLongitude": "4.654", "country": "Nederland", "genus": "Orchis"}
    (after,) = mapped([row], {**ORCHID, "when": "countryCode = 'NL'"})
    assert after["decimalLatitude"] == pytest.approx(52.15)
    assert after["countryCode"] is None


def test_a_table_without_columns_that_locate_refuses_a_rule(tmp_path):
    folder = tmp_path / "genomics" / "hidden"
    folder.mkdir(parents=True)
    text = (DATASETS / "genomics" / "clinvar" / "defs.yaml").read_text(encoding="utf-8")
    data = yaml.safe_load(text)
    data["attributes"]["terms"]["sensitive"] = [ORCHID]
    (folder / "defs.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    (folder / "sample.vcf").write_text("##fileformat=VCFv4.2\n", encoding="utf-8")
    with pytest.raises(ContractError, match="no column with `locates`"):
        read_dataset(folder / "defs.yaml")


def test_a_table_that_locates_without_coordinates_is_cleared():
    table = Table.model_validate(
        {
            "name": "biodiversity.notes", "description": "d", "standard": "s", "key": ["_record"], "sort": ["_record"],
            "columns": [
                {"name": "habitat", "type": "string", "description": "d", "locates": True},
                {"name": "taxon", "type": "string", "description": "d"},
            ],
            "science": ["a", "b", "c"],
        }
    )  # fmt: skip
    columns = {"habitat": pa.array(["by the mill"]), "taxon": pa.array(["Orchis"]), "_record": pa.array(["mill-1"])}
    after = generalise(columns, table, [rule(1.0)], [pa.array([None], pa.bool_())], pa.array([7]), "k")
    (row,) = pa.table(after).to_pylist()
    assert (row["habitat"], row["taxon"]) == (None, "Orchis")
    assert row["_record"].startswith("generalised-")
    other = generalise(columns, table, [rule(1.0)], [pa.array([None], pa.bool_())], pa.array([7]), "another snapshot")
    assert other["_record"] != after["_record"], "whoever lacks the snapshot cannot tell the ordinal"
