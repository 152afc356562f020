"""Leaks: nothing that is withheld stands in any byte that others get; and the search would find it if it did."""

import gzip
import shutil
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from byte_search import every_byte, hits, values_bytes
from canaries import (
    LOCATING,
    TABLE,
    Canary,
    PrivateHouse,
    command,
    private_house,
    secrets_of,
)

OTHER_TABLES = ("biodiversity.species_by_cell", "catalog.holdings")
INVENTORY = ("tables", "columns", "datasets", "versions", "gates", "quarantine")


@pytest.fixture(scope="module")
def house() -> PrivateHouse:
    return private_house()


@pytest.fixture(scope="module")
def names() -> list[str]:
    return [f"biodiversity/{name}" for name in ("plain", "mixed", "nests", *PrivateHouse.withheld)]


@pytest.fixture(scope="module")
def released(house: PrivateHouse, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release") / "open"
    told = command(house, "release", "--out", str(folder))
    assert "for open on 2027-03-01" in told
    return folder


def names_of_withheld() -> dict[str, bytes]:
    """A dataset of which a release holds nothing leaves no trace in it, not even its name."""
    return {f"name of {name}": name.encode() for name in PrivateHouse.withheld}


def test_the_house_holds_what_the_search_is_for(house: PrivateHouse) -> None:
    statuses = {name: outcome.status for name, outcome in house.outcomes.items()}
    assert statuses.pop("zzrefused") == "refused"
    assert set(statuses.values()) == {"committed"}
    held = list(every_byte(house.house.settings.home / "warehouse"))
    gone = {"gone", "gone-quarantined"}
    for name, canary in house.secret.items():
        found = hits(held, secrets_of([canary]))
        assert bool(found) == (name not in gone), name


# -- a release -----------------------------------------------------------------------------------------


def test_no_byte_of_a_release_tells_what_is_withheld(house: PrivateHouse, released: Path) -> None:
    found = list(every_byte(released))
    assert hits(found, house.secrets() | names_of_withheld()) == []
    # The same search, over the same bytes, finds what may be there, in each form and in each kind of file.
    there = {name: house.free[name] for name in ("free", "free-by", "plain", "nests-free")}
    seen = hits(found, secrets_of(there.values()))
    for name in there:
        for form in ("word", "latitude", "longitude as a double", "height", "day"):
            assert any(hit.startswith(f"{name}: {form} in") for hit in seen), (name, form)
    for kind in ("parquet, pages", "parquet, values", "parquet, dictionary of", "parquet, footer", "parquet_metadata"):
        assert any(kind in hit for hit in seen), kind
    for kind in ("catalog.duckdb, asked", "ATTRIBUTION.md"):
        assert any(kind in hit for hit in seen), kind


def test_a_release_for_internal_use_holds_what_open_withholds(house: PrivateHouse, tmp_path: Path) -> None:
    command(house, "release", "--profile", "internal", "--out", str(tmp_path / "all"))
    seen = hits(every_byte(tmp_path / "all"), house.secrets())
    for name in ("row-nc", "row-nd", "row-unknown", "row-future", "row-undated", "closed", "closed-extension", "later"):
        assert any(hit.startswith(f"{name}: word in") for hit in seen), name
    # But what was taken back, refused or made coarse is not even there.
    for name in ("taken", "gone", "nest", "nest-quarantined", "refused", "row-quarantined", "closed-quarantined"):
        assert not any(hit.startswith(f"{name}:") for hit in seen), name


def test_a_release_that_verifies_and_the_one_that_dagster_cut_are_as_clean(house: PrivateHouse, released: Path) -> None:
    by_dagster = house.house.settings.home / "releases" / "open" / "2027-03-01"
    assert (by_dagster / "manifest.json").exists()
    # Cut before the contract of zzdoubtful was corrected, and before two versions were taken back.
    for folder in (by_dagster, released):
        told = command(house, "verify", str(folder)) + command(house, "terms", str(folder))
        assert hits([("verify", told.encode())], house.secrets()) == []
    early = {name: form for name, form in house.secrets().items() if not name.startswith(("gone", "taken"))}
    early = {name: form for name, form in early.items() if "zzgone" not in name and "zztaken" not in name}
    assert hits(every_byte(by_dagster), early) == []


def test_a_release_of_what_is_withheld_as_a_whole_is_empty_of_it(house: PrivateHouse, tmp_path: Path) -> None:
    from dagster_project import releases

    only = [house.dataset(name) for name in PrivateHouse.withheld]
    releases.cut(house.house, "open", str(tmp_path / "none"), datasets=only)
    assert hits(every_byte(tmp_path / "none"), house.secrets() | names_of_withheld()) == []


# -- the terminal --------------------------------------------------------------------------------------


def _answers(names: list[str], folder: Path) -> list[list[str]]:
    asked = [["list"], ["list", "--json"], ["terms"]]
    for table in (TABLE, *OTHER_TABLES, *(f"catalog.{name}" for name in INVENTORY)):
        asked += [["query", f"FROM {table}"], ["query", f"FROM {table}", "--format", "json"]]
        asked += [["query", f"FROM {table}", "-o", str(folder / f"{table}.{kind}")] for kind in ("parquet", "csv")]
    asked += [["query", f"{verb} {TABLE}"] for verb in ("SUMMARIZE", "DESCRIBE")]
    asked += [["terms", "--query", f"SELECT species, count(*) FROM {TABLE} GROUP BY species"]]
    for name in names:
        asked += [["versions", name], ["terms", name], ["diff", f"{name}@1", f"{name}@1"]]
        asked += [["quarantine", name], ["quarantine", name, "--format", "json"]]
        asked += [["quarantine", name, "-o", str(folder / f"{name.replace('/', '.')}.csv")]]
        short = name.partition("/")[2]
        asked += [["query", f"FROM biodiversity.{short}__occurrences", "--at", f"{name}@1", "--format", "csv"]]
    return asked


def test_no_command_tells_the_public_what_is_withheld(house: PrivateHouse, names: list[str], tmp_path: Path) -> None:
    secrets = house.secrets()
    told = [(" ".join(words), command(house, *words).encode()) for words in _answers(names, tmp_path)]
    assert all(printed for where, printed in told if " -o " not in where)
    assert hits([*told, *every_byte(tmp_path)], secrets) == []
    seen = hits([*told, *every_byte(tmp_path)], secrets_of(house.free.values()))
    for where in ("json", "csv", "parquet, pages", "quarantine biodiversity/plain", "SUMMARIZE", "--at"):
        assert any(where in hit for hit in seen), where
    internal = command(house, "query", f"FROM {TABLE}", "--format", "json", "--profile", "internal").encode()
    inside = hits([("internal", internal)], secrets)
    for name in ("row-nc", "row-unknown", "closed", "closed-extension", "later", "paper", "doubtful", "unstated"):
        assert any(hit.startswith(f"{name}: word") for hit in inside), name
    refused = command(house, "quarantine", "biodiversity/zzclosed", "--profile", "internal").encode()
    assert hits([("internal", refused)], secrets_of([house.secret["closed-quarantined"]]))


def test_no_error_quotes_what_is_withheld(house: PrivateHouse) -> None:
    warehouse = house.house.settings.home / "warehouse"
    files = sorted(warehouse.rglob("*.parquet"))
    words = " OR ".join(f"locality LIKE '%{canary.word}%'" for canary in house.secret.values())
    latitudes = ", ".join(repr(canary.latitude) for canary in house.secret.values())
    asked = [
        f"FROM {TABLE} WHERE CASE WHEN {words} THEN CAST(locality AS INTEGER) > 0 ELSE true END",
        f"SELECT CASE WHEN {words} THEN error(locality) END FROM {TABLE}",
        f"FROM {TABLE} WHERE CASE WHEN decimalLatitude IN ({latitudes}) THEN CAST(locality AS DATE) < today() END",
        f"FROM {TABLE} AS a JOIN {TABLE} AS b ON CAST(a.locality AS INTEGER) = b.year",
        f"SELECT CAST(max(locality) AS INTEGER) FROM {TABLE}",
        f"FROM {TABLE}, read_parquet('{files[0]}')",
        f"SELECT * FROM '{files[0]}'",
        f"SELECT * FROM read_text('{warehouse}/**')",
        f"SELECT * FROM glob('{warehouse}/**')",
        f"COPY (FROM {TABLE}) TO '{warehouse}/x.csv'",
        f"ATTACH '{house.house.settings.home / 'catalog.db'}' AS ledger (TYPE sqlite)",
        "FROM duckdb_settings()",
        "SELECT current_setting('allowed_paths')",
        "FROM duckdb_views()",
        "EXPLAIN FROM biodiversity.occurrences",
    ]
    told = [(sql, command(house, "query", sql).encode()) for sql in asked]
    for sql, printed in told:
        # What was typed is the asker's own.
        secrets = {name: form for name, form in house.secrets().items() if form not in sql.encode()}
        assert hits([(sql, printed)], secrets) == []
        localities = {f"locality of {name}": f"{each.word} loc".encode() for name, each in house.secret.items()}
        assert hits([(sql, printed)], localities) == []


# -- what Dagster stores, and logs ---------------------------------------------------------------------


def test_nothing_that_dagster_stores_tells_of_private_records(house: PrivateHouse) -> None:
    """All but the address that the operator typed: Dagster keeps it with the run that he started."""
    found = list(every_byte(house.house.settings.dagster))
    # zztaken was open to everybody, and its withdrawal was interrupted: the repeated call removes what is left of it.
    secrets = {name: form for name, form in _for_the_operator(house).items() if "taken" not in name}
    assert hits(found, secrets) == []
    seen = hits(found, secrets_of([house.free["plain"], house.free["free-by"]]))
    assert any("event_logs" in hit for hit in seen), "previews of what is permitted are there, and are found"
    assert any(b"sources/mixed" in content for _, content in found)


def test_no_run_logs_or_prints_private_records(house: PrivateHouse) -> None:
    """Who runs a dataset reads in his terminal, and there only, which words in it contradict its licence."""
    secrets = _for_the_operator(house)
    assert hits([part for part in house.logged if part[0] != "winnow run"], secrets) == []
    printed = [part for part in house.logged if part[0] == "winnow run"]
    words = "refused: word"
    assert hits(printed, {name: form for name, form in secrets.items() if name != words}) == []
    assert hits(printed, {words: secrets[words]})


def _for_the_operator(house: PrivateHouse) -> dict[str, bytes]:
    """A licence's name in a contract is no secret there."""
    return {name: form for name, form in house.secrets().items() if name != "licence in the bytes"}


# -- sensitive places ----------------------------------------------------------------------------------


def test_a_coarsened_record_is_there_without_its_place(house: PrivateHouse, released: Path) -> None:
    with duckdb.connect(str(released / "catalog.duckdb"), read_only=True) as connection:
        found = connection.sql(f"FROM {TABLE} WHERE scientificName = 'Aquila secreta'").to_arrow_table()
    (row,) = found.to_pylist()
    canary = house.secret["nest"]
    assert [name for name in LOCATING if row[name] and canary.word in row[name]] == []
    assert row["eventDate"] == canary.day[:4]
    assert abs(row["decimalLatitude"] - canary.latitude) <= 0.05
    assert row["coordinateUncertaintyInMeters"] > 5_000
    assert row["dataGeneralizations"].endswith("It is rare")
    assert hits([("row", values_bytes(found))], secrets_of([canary])) == []


# -- the search itself ---------------------------------------------------------------------------------


def test_the_search_sees_through_every_kind_of_file(tmp_path: Path) -> None:
    canary = Canary("planted")
    columns = {"text": [canary.word, None], "place": [canary.latitude, None], "day": [canary.day, "x"]}
    table = pa.table(columns).replace_schema_metadata({"note": Canary("note").word})
    pq.write_table(table, tmp_path / "rows.parquet", compression="zstd")
    with duckdb.connect(str(tmp_path / "views.duckdb")) as connection:
        connection.execute(f"CREATE VIEW seen AS SELECT '{Canary('view').word}' AS word")
        connection.execute(f"CREATE TABLE kept AS SELECT '{Canary('table').word}' AS word FROM range(5000)")
    (tmp_path / "log.gz").write_bytes(gzip.compress(Canary("log").word.encode()))
    shutil.copy(tmp_path / "log.gz", tmp_path / f"{Canary('name').word}.txt")
    planted = [canary, *map(Canary, ("note", "view", "table", "log", "name"))]
    seen = hits(every_byte(tmp_path), secrets_of(planted))
    for each in planted:
        assert any(hit.startswith(f"{each.name}: word in") for hit in seen), each.name
    assert any(hit.startswith("planted: latitude as a double in rows.parquet, pages") for hit in seen)
    assert hits(every_byte(tmp_path), secrets_of([Canary("elsewhere")])) == []
