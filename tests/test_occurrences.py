"""Occurrences: dates, places and words of real and awkward records; GBIF's own interpretation is the oracle."""

from __future__ import annotations

import csv
import zipfile
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from assets.event_dates import IMPOSSIBLE, UNREADABLE, event, event_of
from assets.harmonise import harmonise, wanted_columns
from assets.occurrence_words import basis, country, datum, rank, rank_of_name, status
from assets.readers import SOURCE_FIELDS, darwin_core
from assets.transforms.occurrences import transform
from catalog.dataset import Dataset, load_dataset
from catalog.records import Snapshot, SourceFile
from catalog.rights.policy import decide, effective
from catalog.standards import FOLDER as STANDARDS
from catalog.table import load_table
from validations.gate import Gate

DATA = Path(__file__).parent.parent.parent / "shared" / "data" / "biodiversity"
TABLE = load_table("biodiversity.occurrences")
TODAY = date(2026, 11, 23)


def real(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return path


def snapshot(path: Path) -> Snapshot:
    paths = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    files = tuple(
        SourceFile(
            name=each.name if path.is_file() else each.relative_to(path).as_posix(),
            path=each,
            size=each.stat().st_size,
            sha256="0" * 64,
        )
        for each in paths
    )
    return Snapshot(
        dataset="biodiversity/test",
        uri=f"file://{path}",
        origin="override",
        sha256="0" * 64,
        validator="",
        size=1,
        fetched_at=datetime(2026, 11, 23, tzinfo=UTC),
        files=files,
    )


def gated(source: pa.RecordBatchReader, dataset: Dataset) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The kept rows and the refused records."""
    refused: list[dict[str, Any]] = []
    gate = Gate(dataset.name, TABLE, lambda table: refused.extend(table.to_pylist()))
    kept = [row for batch in gate.keep(harmonise(source, dataset, TABLE)) for row in batch.to_pylist()]
    return kept, refused


def curated(path: Path, **options: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    dataset = load_dataset("biodiversity/gbif_download")
    wanted = wanted_columns(dataset, TABLE)
    return gated(darwin_core.read(snapshot(path), darwin_core.Options.model_validate(options), wanted), dataset)


def batch(rows: list[dict[str, str | None]]) -> pa.RecordBatch:
    names = sorted({name for row in rows for name in row} | {"license"})
    schema = pa.schema([*SOURCE_FIELDS, *(pa.field(name, pa.string()) for name in names)])
    numbered = [{"_source": n, "_position": f"x line {n}", "_record": f"r{n}", **row} for n, row in enumerate(rows)]
    return pa.RecordBatch.from_pylist(numbered, schema=schema)


def one(**row: str | None) -> dict[str, Any]:
    return transform(batch([row])).to_pylist()[0]


def judged(*rows: dict[str, str | None]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    source = batch(list(rows))
    reader = pa.RecordBatchReader.from_batches(source.schema, [source])
    return gated(reader, load_dataset("biodiversity/gbif_download"))


# -- against GBIF's interpretation ---------------------------------------------------------------------------


def test_verbatim_records_agree_with_what_gbif_made_of_them():
    folder = real("gbif_verbatim_interpreted")
    kept, refused = curated(folder, file="verbatim.txt")
    with (folder / "occurrence.txt").open(encoding="utf-8", newline="") as text:
        theirs = {row["gbifID"]: row for row in csv.DictReader(text, delimiter="\t", quoting=csv.QUOTE_NONE)}
    assert (len(kept), refused) == (1534, [])
    agree: Counter[str] = Counter()
    ranks: Counter[tuple[str | None, str]] = Counter()
    for row in kept:
        other = theirs[row["_record"]]
        agree["date"] += str(row["_winnow_event_start"]) == other["eventDate"][:10] == str(row["_winnow_event_end"])
        agree["year, month, day"] += all(str(row[part]) == other[part] for part in ("year", "month", "day"))
        agree["coordinates"] += all(row[name] == float(other[name]) for name in ("decimalLatitude", "decimalLongitude"))
        agree["country"] += row["countryCode"] == other["countryCode"]
        agree["basis of record"] += row["basisOfRecord"] == other["basisOfRecord"]
        agree["datum issue"] += "GEODETIC_DATUM_ASSUMED_WGS84" in row["issue"] and (
            "GEODETIC_DATUM_ASSUMED_WGS84" in other["issue"]
        )
        height = row["minimumElevationInMeters"]
        agree["elevation"] += ("" if height is None else str(height)) == other["elevation"]
        agree["rank"] += row["taxonRank"] == other["taxonRank"]
        ranks[(row["taxonRank"], other["taxonRank"])] += row["taxonRank"] != other["taxonRank"]
        assert row["_winnow_taxon_rank_inferred"] == (row["taxonRank"] is not None)
    everyone = ("date", "year, month, day", "coordinates", "country", "basis of record", "datum issue", "elevation")
    assert {name: agree[name] for name in everyone} == dict.fromkeys(everyone, 1534)
    # What docs/explanation/occurrences.md explains, class by class.
    assert agree["rank"] == 1382
    assert {pair: count for pair, count in ranks.items() if count} == {
        ("VARIETY", "SPECIES"): 60,
        (None, "KINGDOM"): 30,
        ("SPECIES_AGGREGATE", "SPECIES"): 24,
        ("SUBSPECIES", "VARIETY"): 21,
        ("VARIETY", "SUBSPECIES"): 11,
        ("SPECIES", "GENUS"): 4,
        ("SUBGENUS", "GENUS"): 1,
        ("SECTION", "FAMILY"): 1,
    }


def test_an_interpreted_file_keeps_gbif_s_own_answers():
    folder = real("gbif_verbatim_interpreted")
    kept, refused = curated(folder, file="occurrence.txt")
    with (folder / "occurrence.txt").open(encoding="utf-8", newline="") as text:
        theirs = {row["gbifID"]: row for row in csv.DictReader(text, delimiter="\t", quoting=csv.QUOTE_NONE)}
    assert (len(kept), refused) == (1534, [])
    for row in kept:
        other = theirs[row["gbifID"]]
        assert row["taxonRank"] == other["taxonRank"]
        assert row["_winnow_taxon_rank_inferred"] is False
        assert sorted(row["issue"]) == sorted(filter(None, other["issue"].split(";")))
        assert row["_licence"] == "CC-BY-4.0"
        assert row["eventDate"] == other["eventDate"]
        assert (row["species"] or "") == other["species"]


# -- row licences --------------------------------------------------------------------------------------------


def permitted(kept: list[dict[str, Any]], profile: str) -> Counter[str]:
    terms = load_dataset("biodiversity/gbif_download").terms
    return Counter(
        row["license"] or "none"
        for row in kept
        if decide(effective(terms, row["_licence"], row["_embargo_until"]), profile, TODAY).allowed
    )


def test_rows_of_a_download_leave_under_their_own_licence():
    path = real("gbif_download_3_licences/gbif_download.zip")
    kept, _ = curated(path)
    with zipfile.ZipFile(path) as archive:
        text = archive.read("occurrence.txt").decode("utf-8").splitlines()
    rows = list(csv.DictReader(text, delimiter="\t", quoting=csv.QUOTE_NONE))
    said = Counter(row["license"] for row in rows)
    assert len(kept) == len(rows)
    assert permitted(kept, "open") == Counter({name: said[name] for name in ("CC0_1_0", "CC_BY_4_0")})
    assert permitted(kept, "noncommercial") == said
    assert set(said) == {"CC0_1_0", "CC_BY_4_0", "CC_BY_NC_4_0"}


def test_rows_without_a_licence_leave_under_none():
    kept, _ = curated(real("gbif_download_3_licences/gbif_download.zip"), file="verbatim.txt")
    assert sum(row["license"] is None for row in kept) == 1
    assert permitted(kept, "open")["none"] == permitted(kept, "noncommercial")["none"] == 0
    assert permitted(kept, "internal").total() == len(kept)


# -- dates ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "start", "end", "iso"),
    [
        ("1999-07-12", "1999-07-12", "1999-07-12", "1999-07-12"),
        ("1999-07-12T10:11", "1999-07-12", "1999-07-12", "1999-07-12T10:11"),
        ("1999-07-12 10:11:12Z", "1999-07-12", "1999-07-12", "1999-07-12T10:11:12Z"),
        ("2017-05-15T23:30:00-05:00", "2017-05-15", "2017-05-15", "2017-05-15T23:30:00-05:00"),
        ("1999-07", "1999-07-01", "1999-07-31", "1999-07"),
        ("2000-02", "2000-02-01", "2000-02-29", "2000-02"),
        ("1999", "1999-01-01", "1999-12-31", "1999"),
        ("2007-11-13/15", "2007-11-13", "2007-11-15", "2007-11-13/2007-11-15"),
        ("2007-11-13/12-01", "2007-11-13", "2007-12-01", "2007-11-13/2007-12-01"),
        ("1999/2001", "1999-01-01", "2001-12-31", "1999/2001"),
        ("2007-03-01T13:00Z/15:30Z", "2007-03-01", "2007-03-01", "2007-03-01T13:00Z/2007-03-01T15:30Z"),
        ("25-May-2010", "2010-05-25", "2010-05-25", "2010-05-25"),
        ("May 25, 2010", "2010-05-25", "2010-05-25", "2010-05-25"),
        ("3.VII.1999", "1999-07-03", "1999-07-03", "1999-07-03"),
        ("Sept 1999", "1999-09-01", "1999-09-30", "1999-09"),
        ("25/12/2010", "2010-12-25", "2010-12-25", "2010-12-25"),
        ("12/25/2010", "2010-12-25", "2010-12-25", "2010-12-25"),
        ("04.04.2005", "2005-04-04", "2005-04-04", "2005-04-04"),
        ("2017/05/15", "2017-05-15", "2017-05-15", "2017-05-15"),
        ("20100503", "2010-05-03", "2010-05-03", "2010-05-03"),
    ],
)  # fmt: skip
def test_dates_are_read_to_intervals(text, start, end, iso):
    known = event(text)
    assert (str(known.start), str(known.end), known.text, known.problem) == (start, end, iso, None)


@pytest.mark.parametrize("text", ["03/04/2005", "1999/07", "summer of 69", "?", "1850-1870", "5-1999", "2010/"])
def test_what_has_two_readings_or_none_is_not_guessed(text):
    assert event(text) == UNREADABLE
    row = one(eventDate=text)
    assert row["eventDate"] is row["year"] is row["_winnow_event_start"] is None
    assert row["verbatimEventDate"] == text
    assert "RECORDED_DATE_INVALID" in row["issue"]


@pytest.mark.parametrize("text", ["2005-02-31", "0000-00-00", "1999-13-01", "31/02/2005", "2010/2009", "0000"])
def test_days_that_no_calendar_has_are_refused_with_the_source_s_words(text):
    assert event(text) == IMPOSSIBLE
    kept, refused = judged({"eventDate": text, "genus": "Poa"})
    assert kept == []
    assert text in refused[0]["reason"]
    assert text in refused[0]["raw"]


@pytest.mark.parametrize("parts", [("0", "1", "1"), ("1999", "2", "30"), ("1999", "13", None), ("99999", "1", "1")])
def test_years_months_and_days_that_no_calendar_has_are_refused(parts):
    kept, refused = judged(dict(zip(("year", "month", "day"), parts, strict=True)))
    assert kept == []
    assert "no date of the calendar" in refused[0]["reason"]


@given(st.dates(date(1, 1, 1), date(9999, 12, 31)))
@example(date(2000, 2, 29))
def test_every_day_is_read_back_from_each_of_its_spellings(day):
    iso = day.isoformat()
    spellings = [iso, iso.replace("-", "/"), iso.replace("-", ""), f"{day.day} {day.strftime('%B')} {day.year:04}"]
    assert {event(text)[:3] for text in spellings} == {(day, day, iso)}
    assert event_of(day.year, day.month, day.day)[:2] == (day, day)


@given(st.dates(date(1600, 1, 1)), st.dates(date(1600, 1, 1)))
def test_intervals_have_their_ends(first, last):
    known = event(f"{first}/{last}")
    assert known == IMPOSSIBLE if last < first else (known.start, known.end) == (first, last)


@given(st.text(max_size=40))
def test_no_text_breaks_a_reading(text):
    known = event(text)
    assert (known.start is None) == (known.text is None)
    assert known.start is None or known.start <= known.end
    for read in (basis, status, rank, country, datum):
        read(text)
    rank_of_name(text, None, None)


def test_year_month_and_day_stand_in_for_a_missing_event_date():
    row = one(year="2005", month="4")
    assert (row["eventDate"], str(row["_winnow_event_end"]), row["day"]) == ("2005-04", "2005-04-30", None)
    assert "RECORDED_DATE_INVALID" in one(year="2005", month="4", day="0")["issue"]
    assert one(verbatimEventDate="2017/05/15 3:21 PM CEST")["eventDate"] == "2017-05-15"


def test_an_event_date_and_parts_that_disagree_are_flagged():
    row = one(eventDate="2005-04-03", year="2005", month="5", day="3")
    assert (row["eventDate"], row["month"]) == ("2005-04-03", 4)
    assert row["issue"] == ["RECORDED_DATE_MISMATCH"]
    assert one(eventDate="2005-04-03", year="2005", month="4", day="3")["issue"] == []
    assert one(eventDate="2005", year="2005", month="4", day="3")["eventDate"] == "2005-04-03"
    within = one(eventDate="2005-04-01/2005-04-30", year="2005", month="4", day="1")
    assert (within["eventDate"], within["day"], within["issue"]) == ("2005-04-01/2005-04-30", None, [])
    assert one(eventDate="03/04/2005", year="2005", month="4", day="3")["eventDate"] == "2005-04-03"


def test_an_event_after_the_record_was_changed_is_unlikely():
    assert one(eventDate="2030-01-01", modified="2020-01-01T00:00:00Z")["issue"] == ["RECORDED_DATE_UNLIKELY"]
    assert one(eventDate="1200-01-01")["issue"] == ["RECORDED_DATE_UNLIKELY"]


# -- places --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "longitude", "latitude"),
    [
        ("NAD27", -100.25, 40.5),
        ("urn:ogc:def:crs:EPSG::4267", -100.25, 40.5),
        ("ED50", 10.25, 50.5),
        ("EPSG:4283", 150.25, -30.5),
        ("NAD83", -100.25, 40.5),
    ],
)
def test_coordinates_in_another_datum_are_put_into_wgs84(name, longitude, latitude):
    from pyproj import Transformer

    row = one(decimalLatitude=str(latitude), decimalLongitude=str(longitude), geodeticDatum=name)
    known = Transformer.from_crs(f"EPSG:{datum(name)}", "EPSG:4326", always_xy=True)
    expected = known.transform(longitude, latitude)
    # Of several conversions with an accuracy of metres each may be chosen: 0.0001 degrees are 11 m.
    assert (row["decimalLongitude"], row["decimalLatitude"]) == pytest.approx(expected, abs=1e-4)
    assert row["issue"] == ["COORDINATE_REPROJECTED"]
    assert (row["geodeticDatum"], row["verbatimSRS"]) == ("WGS84", name)
    assert row["verbatimCoordinates"] == f"{latitude} {longitude}"


def test_datums_are_assumed_or_refused_aloud():
    place = {"decimalLatitude": "40", "decimalLongitude": "10"}
    assert one(**place)["issue"] == ["GEODETIC_DATUM_ASSUMED_WGS84"]
    assert one(**place, geodeticDatum="EPSG:4326")["issue"] == []
    odd = one(**place, geodeticDatum="somebody's own")
    assert (odd["issue"], odd["geodeticDatum"], odd["verbatimSRS"]) == (
        ["GEODETIC_DATUM_INVALID"],
        None,
        "somebody's own",
    )
    assert "GEODETIC_DATUM_INVALID" in one(**place, geodeticDatum="EPSG:27700")["issue"]
    assert one(**place, issue="COUNTRY_INVALID")["issue"] == ["COUNTRY_INVALID"]


def test_coordinates_that_are_no_numbers_are_kept_verbatim():
    row = one(decimalLatitude="52°N", decimalLongitude="4.5")
    assert row["decimalLatitude"] is row["decimalLongitude"] is None
    assert (row["verbatimLatitude"], row["verbatimLongitude"]) == ("52°N", "4.5")
    assert "COORDINATE_INVALID" in row["issue"]
    assert one(decimalLatitude="52,5", decimalLongitude="4,25")["decimalLatitude"] == 52.5
    assert one(decimalLatitude="nan", decimalLongitude="inf")["decimalLatitude"] is None
    assert "ZERO_COORDINATE" in one(decimalLatitude="0", decimalLongitude="0.0")["issue"]


def test_latitude_95_and_half_a_coordinate_are_quarantined():
    kept, refused = judged(
        {"decimalLatitude": "95", "decimalLongitude": "4"},
        {"decimalLatitude": "52", "decimalLongitude": None},
        {"decimalLatitude": "52", "decimalLongitude": "4"},
    )
    assert len(kept) == 1
    assert [(row["source"], row["check"]) for row in refused] == [(0, "le"), (1, "coordinates_are_a_pair")]


def test_elevations_and_uncertainties():
    row = one(minimumElevationInMeters="300 ft", maximumElevationInMeters="50")
    assert (row["minimumElevationInMeters"], row["maximumElevationInMeters"]) == (50.0, pytest.approx(91.44))
    assert row["issue"] == ["ELEVATION_NOT_METRIC", "ELEVATION_MIN_MAX_SWAPPED"]
    odd = one(minimumElevationInMeters="2000-2100", minimumDepthInMeters="-3")
    assert (odd["minimumElevationInMeters"], odd["verbatimElevation"]) == (None, "2000-2100")
    assert odd["issue"] == ["ELEVATION_NON_NUMERIC", "DEPTH_UNLIKELY"]
    assert one(coordinateUncertaintyInMeters="0")["issue"] == ["COORDINATE_UNCERTAINTY_METERS_INVALID"]


# -- words ---------------------------------------------------------------------------------------------------


def test_words_have_one_spelling():
    assert {basis(text) for text in ("specimen", "PreservedSpecimen", "PRESERVED_SPECIMEN", "Preserved specimen")} == {
        "PRESERVED_SPECIMEN"
    }
    assert {country(text) for text in ("Turkey", "Türkiye", "TUR", "tr")} == {"TR"}
    assert [country(text) for text in ("UK", "U.S.A.", "Côte d'Ivoire", "Narnia", "Kosovo")] == [
        "GB",
        "US",
        "CI",
        None,
        "XK",
    ]
    assert [rank(text) for text in ("subsp.", "Species", "f.", "phylum", "thing")] == [
        "SUBSPECIES",
        "SPECIES",
        "FORM",
        "PHYLUM",
        None,
    ]
    assert [status(text) for text in ("present", "Absent", "maybe")] == ["PRESENT", "ABSENT", None]


@pytest.mark.parametrize(
    ("name", "kingdom", "expected"),
    [
        ("Poa bulbosa L.", "Plantae", "SPECIES"), ("Poa (Ochlopoa) annua", None, "SPECIES"),
        ("Galium incanum subsp. centrale Ehrend.", "Plantae", "SUBSPECIES"), ("Poa annua var. alpina", None, "VARIETY"),
        ("Parus major major", "Animalia", "SUBSPECIES"), ("Poa annua alpina", "Plantae", "INFRASPECIFIC_NAME"),
        ("Poa sp.", None, "GENUS"), ("Asteraceae spec.", "Plantae", "FAMILY"), ("Asteraceae", None, "FAMILY"),
        ("Felidae Fischer, 1817", "Animalia", "FAMILY"), ("Felidae", "Plantae", None), ("unknown bird", None, None),
        ("Plantae", "Plantae", "KINGDOM"), ("Salix × rubens Schrank", "Plantae", "SPECIES"),
        ("Bromus sect. Pnigma Dumont", "Plantae", "SECTION"),
    ],
)  # fmt: skip
def test_ranks_show_in_the_form_of_names(name, kingdom, expected):
    assert rank_of_name(name, kingdom, None) == expected


def test_doubtful_words_are_flagged_and_not_lost():
    row = one(basisOfRecord="hearsay", countryCode="QQ", occurrenceStatus="perhaps", individualCount="2-3")
    assert row["basisOfRecord"] is row["countryCode"] is row["occurrenceStatus"] is row["individualCount"] is None
    assert sorted(row["issue"]) == [
        "BASIS_OF_RECORD_INVALID", "COUNTRY_INVALID", "INDIVIDUAL_COUNT_INVALID", "OCCURRENCE_STATUS_UNPARSABLE",
    ]  # fmt: skip
    assert row["country"] == "QQ"
    assert one(countryCode="NL", country="Belgium")["issue"] == ["COUNTRY_MISMATCH"]
    conflict = one(occurrenceStatus="present", individualCount="0")["issue"]
    assert conflict == ["INDIVIDUAL_COUNT_CONFLICTS_WITH_OCCURRENCE_STATUS"]


def test_issues_found_here_are_gbif_s_words():
    awkward = batch(
        [
            {
                "decimalLatitude": "x",
                "decimalLongitude": "4",
                "eventDate": "?",
                "basisOfRecord": "?",
                "countryCode": "?",
            },
            {"decimalLatitude": "0", "decimalLongitude": "0", "occurrenceStatus": "?", "individualCount": "?"},
            {"minimumElevationInMeters": "9 ft", "maximumElevationInMeters": "1", "minimumDepthInMeters": "x"},
        ]
    )
    known = set(yaml.safe_load((STANDARDS / "gbif_issue.yaml").read_text(encoding="utf-8"))["terms"])
    found = {name for issues in transform(awkward)["issue"].to_pylist() for name in issues}
    assert len(found) >= 9
    assert found <= known


def test_a_source_with_hardly_any_column_is_read():
    row = one(scientificName="Poa annua L.")
    assert (row["taxonRank"], row["_winnow_taxon_rank_inferred"], row["issue"]) == ("SPECIES", True, [])
    assert row["eventDate"] is row["decimalLatitude"] is None
    kept, refused = judged({"scientificName": "Poa annua L."})
    assert (len(kept), refused) == (1, [])


def test_batches_without_rows_and_unreadable_records_pass_through():
    assert transform(batch([{"eventDate": "1999"}]).slice(0, 0)).num_rows == 0
    source = batch([{"eventDate": None}, {"eventDate": "2005-02-31"}])
    source = source.set_column(3, SOURCE_FIELDS[3], pa.array(["cut short", None]))
    source = source.set_column(4, SOURCE_FIELDS[4], pa.array(["x\ty", None]))
    first, second = transform(source).to_pylist()
    assert (first["_error"], first["_raw"]) == ("cut short", "x\ty")
    assert "2005-02-31" in second["_error"]
    assert "2005-02-31" in second["_raw"]


parts = st.tuples(st.integers(-1, 10_001) | st.none(), st.integers(0, 13) | st.none(), st.integers(0, 32) | st.none())


@given(st.lists(parts, min_size=1, max_size=30))
def test_columns_of_year_month_and_day_are_read_as_one_by_one(rows):
    names = ("year", "month", "day")
    told = [{name: None if p is None else str(p) for name, p in zip(names, row, strict=True)} for row in rows]
    for (year, month, day), out in zip(rows, transform(batch(told)).to_pylist(), strict=True):
        expected = event_of(year, month, day) if year is not None else UNREADABLE
        assert (out["_winnow_event_start"], out["_winnow_event_end"]) == expected[:2]
        assert out["eventDate"] == expected.text
        assert (out["_error"] is not None) == (expected == IMPOSSIBLE)
        assert ("RECORDED_DATE_INVALID" in out["issue"]) == (expected.problem == "doubtful")


@given(
    st.lists(
        st.sampled_from(["1999-07-12", "1999-07-12T10:11Z", "1999", "?", "2005-02-31", None, "1999-07-12/14"]),
        min_size=1,
    )
)
def test_columns_of_dates_are_read_as_one_by_one(texts):
    for text, out in zip(texts, transform(batch([{"eventDate": text} for text in texts])).to_pylist(), strict=True):
        expected = event(text) if text is not None else UNREADABLE
        assert (out["_winnow_event_start"], out["eventDate"]) == (expected.start, expected.text)
        assert (out["_error"] is not None) == (expected == IMPOSSIBLE)
