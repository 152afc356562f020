"""Derived tables: the contract, rows made of permitted rows only, and terms that come from exactly those rows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.dataset import FOLDER, load_dataset
from catalog.derived import Derived, load_derived, no_rows, read_derived, sound_derived
from catalog.errors import ContractError, QueryError
from catalog.query import Door
from catalog.rights.combination import combine
from catalog.table import load_table, table_names
from dagster_project import curate
from dagster_project.settings import Settings

ROOT = Path(__file__).parent.parent
TODAY = date(2027, 3, 1)
TOMORROW = TODAY + timedelta(days=1)
HEADER = """##fileformat=VCFv4.2
##reference=GRCh38
##INFO=<ID=GENE,Number=1,Type=String,Description="gene">
##INFO=<ID=LIC,Number=1,Type=String,Description="licence">
##INFO=<ID=DAY,Number=1,Type=String,Description="embargo">
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO
"""
TABLE = "genomics.clinical_significance"
PER_GENE = {
    "title": "Records per gene",
    "sql": f"SELECT gene_symbols[1] AS gene, count(*) AS records FROM {TABLE} GROUP BY ALL",
    "columns": [
        {"name": "gene", "type": "string", "description": "the gene"},
        {"name": "records", "type": "int64", "description": "how many", "nullable": False},
    ],
    "key": ["gene"],
    "owner": "tests",
}
MIXED = [  # gene, licence, embargo
    ("free", None, None),
    ("free", "CC0-1.0", None),
    ("credited", None, None),
    ("credited", "CC-BY-4.0", None),
    ("partly", "CC-BY-4.0", None),
    ("partly", "CC-BY-NC-4.0", None),
    ("clash", "CC-BY-SA-4.0", None),
    ("clash", "ODbL-1.0", None),
    ("late", None, None),
    ("late", None, TOMORROW),
    ("lifted", None, TODAY),
    ("lifted", None, TODAY - timedelta(days=9)),
    ("canary", "CC-BY-NC-ND-4.0", None),
    ("unknown", "MyOwn-1.0", None),
]
OTHER = [("free", None, None), ("credited", None, None), ("clash", None, None)]


def vcf(rows):
    lines = []
    for index, (gene, licence, day) in enumerate(rows):
        info = [f"GENE={gene}"] + ([f"LIC={licence}"] if licence else []) + ([f"DAY={day}"] if day else [])
        lines.append(f"1\t{100 + index}\tr{index}\tA\tC\t.\t.\t{';'.join(info)}\n")
    return HEADER + "".join(lines)


def publish(house, folder, name, rows, terms):
    """A dataset folder with this VCF as its sample, curated and published."""
    place = folder / "genomics" / name
    place.mkdir(parents=True)
    (place / "sample.vcf").write_text(vcf(rows))
    licence = terms.get("licence", "CC0-1.0")
    finding = {"file": "sample.vcf", "read_on": "2026-11-23", "quote": "as its owner says", "licence": licence}
    contract = {
        "title": name,
        "table": TABLE,
        "source": {"unpublished": "made for a test", "format": "vcf"},
        "sample": "sample.vcf",
        "terms": {"licence": licence, "evidence": [finding], "attribution": f"the owner of {name}", **terms},
        "columns": {"gene_symbols": "[GENE]"},
        "owner": "tests",
    }
    document = {"type": "dagster_project.component.Dataset", "attributes": contract}
    (place / "defs.yaml").write_text(yaml.safe_dump(document))
    dataset = load_dataset(f"genomics/{name}", folder)
    snapshot = curate.fetch(house, dataset, curate.address(dataset, sample=True))
    stage, report = curate.stage(house, dataset, snapshot, f"run-{name}")
    assert report.passed, report.refusals()
    curate.commit(house, dataset, stage)
    return dataset


@pytest.fixture(scope="module")
def estate(tmp_path_factory):
    """A house with a dataset of mixed row terms, an attributed one, and one under embargo as a whole."""
    home = tmp_path_factory.mktemp("house")
    house = curate.House(Settings.at(home), clock=lambda: datetime(2027, 3, 1, tzinfo=UTC))
    own = {"row_licence": {"column": "LIC"}, "embargo": {"column": "coalesce(DAY, '2000-01-01')"}}
    folder = home / "datasets"
    return house, (
        publish(house, folder, "mixed", MIXED, own),
        publish(house, folder, "other", OTHER, {"licence": "CC-BY-4.0"}),
        publish(
            house, folder, "secret", [("free", None, None), ("secret", None, None)], {"embargo": {"until": TOMORROW}}
        ),
    )


def write(folder, name="genomics.per_gene", **changes):
    place = folder / name.replace(".", "/")
    place.mkdir(parents=True, exist_ok=True)
    path = place / "defs.yaml"
    document = {"type": "dagster_project.component.Derived", "attributes": PER_GENE | changes}
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


@pytest.fixture
def derive(estate, tmp_path):
    """The rows of a derived table under a profile on a day, and the door."""
    house, datasets = estate

    def rows(profile="open", today=TODAY, name="genomics.per_gene", **changes):
        derived = read_derived(write(tmp_path, name, **changes))
        door = Door(house.warehouse, house.ledger, datasets, profile, today, derived=[derived])
        table = door.derive(derived).read_all()
        assert table.schema.equals(derived.arrow_schema, check_metadata=True)
        return table.to_pylist(), door

    return rows


# -- rows and their terms ----------------------------------------------------------------------------


def test_rows_are_made_of_permitted_rows_and_carry_their_terms(derive):
    rows, _ = derive()
    found = {row["gene"]: (row["records"], row["_datasets"], row["_licence"]) for row in rows}
    both = ["genomics/mixed", "genomics/other"]
    assert found == {
        "free": (3, both, combine(["CC0-1.0", "CC-BY-4.0"]).expression),
        "credited": (3, both, combine(["CC0-1.0", "CC-BY-4.0"]).expression),
        "partly": (1, ["genomics/mixed"], "CC-BY-4.0"),
        "late": (1, ["genomics/mixed"], "CC0-1.0"),
        "lifted": (2, ["genomics/mixed"], "CC0-1.0"),
    }
    until = {row["gene"]: row["_embargo_until"] for row in rows}
    assert until["lifted"] == TODAY


def test_a_count_changes_with_the_profile_and_when_an_embargo_ends(derive):
    def counts(**asked):
        return {row["gene"]: row["records"] for row in derive(**asked)[0]}

    assert counts()["late"] == 1
    assert counts(today=TOMORROW)["late"] == 2
    assert "secret" not in counts()
    assert counts(today=TOMORROW)["secret"] == 1
    assert counts()["partly"] == 1
    assert counts(profile="noncommercial")["partly"] == 2
    assert counts(profile="internal")["canary"] == 1


def test_a_row_whose_licences_conflict_is_withheld_and_both_sides_are_named(derive):
    rows, door = derive()
    assert "clash" not in {row["gene"] for row in rows}
    (kept_back,) = [each for each in door.withheld if each.table == "genomics.per_gene"]
    assert kept_back.rows == 1
    assert kept_back.dataset == "genomics/mixed, genomics/other"
    assert "CC-BY-SA-4.0" in kept_back.decision.reason
    assert "ODbL-1.0" in kept_back.decision.reason


def test_within_the_house_rows_in_conflict_are_had_and_their_licence_is_not_asserted(derive):
    found = {row["gene"]: row["_licence"] for row in derive(profile="internal")[0]}
    assert found["clash"] == "NOASSERTION"
    assert found["canary"] == "NOASSERTION"
    assert found["unknown"] == "NOASSERTION"
    assert found["partly"] == combine(["CC-BY-4.0", "CC-BY-NC-4.0"]).expression


def test_rows_come_in_one_order_whatever_the_sql_says(derive):
    rows, _ = derive(sort=["records"])
    assert [(row["records"], row["gene"]) for row in rows] == sorted((row["records"], row["gene"]) for row in rows)
    assert derive(sort=["records"], sql=PER_GENE["sql"] + " ORDER BY gene DESC")[0] == rows


def test_sums_of_inexact_numbers_are_the_same_every_time(derive):
    columns = [PER_GENE["columns"][0], {"name": "mean", "type": "double", "description": "a mean"}]
    sql = f"SELECT gene_symbols[1] AS gene, avg(position / 7) AS mean FROM {TABLE} GROUP BY ALL"
    assert derive(sql=sql, columns=columns)[0] == derive(sql=sql, columns=columns)[0]


def test_a_row_made_of_no_row_is_left_out(derive):
    columns = [{"name": "n", "type": "int64", "description": "n"}]
    sql = f"SELECT count(*) AS n FROM {TABLE} WHERE gene_symbols[1] = 'nobody'"
    assert derive(sql=sql, columns=columns, key=["n"])[0] == []


def test_rows_that_break_the_contract_are_refused(derive):
    sql = f"SELECT gene_symbols[1] AS gene, 1::BIGINT AS records FROM {TABLE}"
    with pytest.raises(ContractError, match="two rows have the key gene"):
        derive(sql=sql)
    sql = f"SELECT gene_symbols[1] AS gene, nullif(count(*), 1) AS records FROM {TABLE} GROUP BY ALL"
    with pytest.raises(ContractError, match="'records' has no value"):
        derive(sql=sql)


def test_an_error_on_the_rows_is_a_query_error_and_quotes_no_withheld_value(derive):
    number = "CAST(gene_symbols[1] AS INTEGER)"
    sql = f"SELECT gene_symbols[1] AS gene, sum({number})::BIGINT AS records FROM {TABLE} GROUP BY ALL"
    with pytest.raises(QueryError) as refused:
        derive(sql=sql)
    assert not any(word in str(refused.value) for word in ("canary", "secret", "unknown"))


# -- at the query door -------------------------------------------------------------------------------


@pytest.fixture
def door(estate):
    house, datasets = estate
    derived = load_derived()
    return lambda profile="open", today=TODAY: Door(
        house.warehouse, house.ledger, datasets, profile, today, derived=derived
    )


def test_holdings_count_permitted_rows_and_no_withheld_dataset(door):
    sql = f"SELECT dataset, licence, rows FROM catalog.holdings WHERE \"table\" = '{TABLE}'"
    expected = door().answer(f"SELECT _dataset, _licence, count(*) FROM {TABLE} GROUP BY ALL").fetchall()
    assert sorted(door().answer(sql).fetchall()) == sorted(expected)
    assert "genomics/secret" not in str(door().answer("FROM catalog.holdings").fetchall())
    assert "genomics/secret" in str(door("open", TOMORROW).answer("FROM catalog.holdings").fetchall())
    held = door("internal").answer("SELECT sum(rows)::BIGINT FROM catalog.holdings").fetchall()
    assert held == [(len(MIXED) + len(OTHER) + 2,)]


def test_holdings_cover_every_canonical_table():
    (holdings,) = [derived for derived in load_derived() if derived.name == "catalog.holdings"]
    assert holdings.inputs == table_names()
    for name in table_names():
        assert f"'{name.partition('.')[0]}' AS domain, '{name}' AS \"table\"" in holdings.sql


def test_derived_tables_are_relations_like_others(door):
    told = door().answer("SELECT \"table\", kind FROM catalog.tables WHERE kind = 'derived'").fetchall()
    assert sorted(told) == sorted((derived.name, "derived") for derived in load_derived())
    for derived in load_derived():
        described = door().answer(f"DESCRIBE {derived.name}").fetchall()
        assert [row[0] for row in described] == derived.arrow_schema.names
        listed = door().answer(f'SELECT "column" FROM catalog.columns WHERE "table" = \'{derived.name}\'').fetchall()
        assert sorted(row[0] for row in listed) == sorted(column.name for column in derived.columns)


def test_a_query_joins_a_derived_table_with_others(door):
    matched = "h.dataset = t._dataset AND h.licence = t._licence"
    sql = f"SELECT count(*) FROM catalog.holdings AS h JOIN {TABLE} AS t ON {matched}"
    assert door().answer(sql).fetchall() == door().answer(f"SELECT count(*) FROM {TABLE}").fetchall()


def test_access_to_a_derived_table_is_noted_for_the_datasets_behind(estate, door):
    ledger = estate[0].ledger
    before = len(ledger.decisions("genomics/secret"))
    door().answer("FROM catalog.holdings")
    assert len(ledger.decisions("genomics/secret")) == before
    door("internal").answer("FROM catalog.holdings")
    assert len(ledger.decisions("genomics/secret")) == before + 1


def test_what_an_answer_is_made_of_is_traced_or_said_not_to_be(door):
    made, untraced = door().made_of(f"SELECT gene_symbols[1], count(*) FROM {TABLE} GROUP BY ALL")
    assert untraced is None
    rows = {each.held: each.rows for each in made}
    assert rows[("genomics/mixed", "CC-BY-4.0"),] == 1  # partly
    assert (
        rows[("genomics/mixed", "CC-BY-SA-4.0"), ("genomics/mixed", "ODbL-1.0"), ("genomics/other", "CC-BY-4.0")] == 1
    )
    made, untraced = door().made_of(f"SELECT * FROM {TABLE} LIMIT 1")
    assert untraced is not None
    assert {held for each in made for held in each.held} == {
        (row[0], row[1]) for row in door().answer(f"SELECT DISTINCT _dataset, _licence FROM {TABLE}").fetchall()
    }


# -- the contract ------------------------------------------------------------------------------------


def test_the_derived_tables_here_are_sound():
    sound, broken = sound_derived()
    assert not broken
    assert {"biodiversity.species_by_cell", "catalog.holdings"} <= {derived.name for derived in sound}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sqll": "SELECT 1"}, "unknown key 'sqll'"),
        ({"sql": "SELECT 1 AS gene, 2 AS records FROM genomics.nosuch"}, "'genomics.nosuch', which is no canonical"),
        ({"sql": "SELECT 1 AS gene, 2 AS records FROM 'x.parquet'"}, "'x.parquet', which is no canonical"),
        ({"sql": "SELECT 1 AS gene FROM fusion.signal_values"}, "which is no canonical"),
        ({"sql": f"SELECT 1 AS gene FROM genomics.x, {TABLE}"}, "'genomics.x'"),
        ({"sql": f"SELECT DISTINCT gene_symbols[1] AS gene FROM {TABLE}"}, "DISTINCT"),
        ({"sql": "SELEC"}, "syntax error"),
        ({"sql": f"SELECT nosuch AS gene, 1 AS records FROM {TABLE}"}, "nosuch"),
        ({"sql": f"SELECT gene_symbols[1] AS gene, 1 AS records FROM {TABLE}"}, "'records' is INTEGER in the SQL"),
        ({"sql": f"SELECT gene_symbols[1] AS gene FROM {TABLE}"}, "the SQL gives no column 'records'"),
        ({"sql": PER_GENE["sql"].replace("count(*)", "1 AS more, count(*)")}, "gives 'more'"),
        ({"key": ["nosuch"]}, "nosuch"),
        ({"sort": ["nosuch"]}, "nosuch"),
        ({"columns": [*PER_GENE["columns"], {"name": "_licence", "type": "string", "description": "x"}]}, "_licence"),
        ({"columns": [*PER_GENE["columns"], PER_GENE["columns"][0]]}, "given twice: gene"),
    ],
)
def test_a_wrong_contract_is_refused_with_its_place(tmp_path, changes, words):
    path = write(tmp_path, **changes)
    with pytest.raises(ContractError) as refused:
        read_derived(path)
    assert words in refused.value.problem
    line = int(refused.value.problem.removeprefix(f"{path}:").partition(":")[0])
    at = next(iter(changes))
    assert path.read_text().splitlines()[line - 1].strip().startswith((at, "- name", "attributes"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (TABLE, "already a canonical table"),
        ("catalog.tables", "already a table about the catalog"),
        ("genomics.clinvar__clinical_significance", "single underscores"),
        ("genomics.Genes", "lower-case"),
    ],
)
def test_a_name_that_is_taken_is_refused(tmp_path, name, words):
    with pytest.raises(ContractError, match=words):
        read_derived(write(tmp_path, name))


def test_a_broken_contract_does_not_stop_the_others(tmp_path):
    write(tmp_path)
    write(tmp_path, "genomics.broken", sql="SELEC")
    sound, broken = sound_derived(tmp_path)
    assert [derived.name for derived in sound] == ["genomics.per_gene"]
    assert list(broken) == ["genomics.broken"]
    with pytest.raises(ContractError, match="broken"):
        load_derived(tmp_path)


# -- in Dagster --------------------------------------------------------------------------------------


def test_each_derived_table_is_an_asset_after_its_inputs():
    from dagster_project.component import asset_key
    from dagster_project.definitions import definitions

    graph = definitions().resolve_asset_graph()
    for derived in load_derived():
        node = graph.get(asset_key("table", derived.name))
        assert set(node.parent_keys) == {asset_key("table", name) for name in derived.inputs}
        assert derived.sql.strip() in (node.description or "")


def test_a_broken_derived_table_is_an_asset_that_fails_with_the_problem(tmp_path):
    import dagster as dg

    from dagster_project.component import asset_key
    from dagster_project.definitions import definitions

    write(tmp_path, "genomics.broken", sql="SELEC")
    shutil.copytree(FOLDER / "genomics/clinvar", tmp_path / "genomics/clinvar")
    key = asset_key("table", "genomics.broken")
    defs = definitions(tmp_path)
    node = defs.resolve_asset_graph().get(key)
    assert "syntax error" in (node.description or "")
    (asset,) = [each for each in defs.assets or () if isinstance(each, dg.AssetsDefinition) and key in each.keys]
    assert not dg.materialize([asset], raise_on_error=False).success


def test_the_asset_tells_how_many_rows_anyone_may_have(estate, tmp_path, monkeypatch):
    import dagster as dg

    from dagster_project import component
    from dagster_project.resources import HouseResource

    house, datasets = estate
    monkeypatch.setattr(component, "sound_datasets", lambda folder: (datasets, {}))
    monkeypatch.setattr(HouseResource, "house", lambda self: house)
    asset = component.derived_asset(read_derived(write(tmp_path)))
    done = dg.materialize([asset], resources={"winnow": HouseResource()})
    (event,) = done.get_asset_materialization_events()
    assert event.materialization.metadata["dagster/row_count"].value == 5


def test_dg_check_yaml_finds_a_mistyped_key_with_its_place(tmp_path):
    for name in ("catalog", "assets", "validations", "dagster_project"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "datasets"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    folders = [f"assets/datasets/{name}" for name in ("biodiversity/species_by_cell", "catalog/holdings")]
    for folder in folders:
        shutil.copytree(ROOT / folder, tmp_path / folder)

    def check():
        return subprocess.run(
            [Path(sys.executable).with_name("dg"), "check", "yaml", *folders],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path), "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
        )

    done = check()
    assert done.returncode == 0, done.stdout + done.stderr
    path = tmp_path / folders[0] / "defs.yaml"
    text = path.read_text()
    path.write_text(text.replace("  key:", "  kee:"))
    done = check()
    assert done.returncode != 0
    line = text[: text.index("  key:")].count("\n") + 1
    assert re.search(rf"defs\.yaml:{line} .*attributes\.kee", done.stdout + done.stderr)


# -- species by cell ---------------------------------------------------------------------------------

CELLS = read_derived(FOLDER / "biodiversity/species_by_cell/defs.yaml")
PLACED = {
    "species": "Apus apus",
    "speciesKey": "1",
    "year": 2020,
    "decimalLatitude": 52.55,
    "decimalLongitude": 13.35,
}


def cells(*changes):
    """Species, year, cell and count of occurrences that differ in this from one that counts."""
    with duckdb.connect() as connection:
        connection.execute("CREATE SCHEMA biodiversity")
        empty = no_rows(load_table("biodiversity.occurrences"))
        connection.execute(f"CREATE TABLE biodiversity.occurrences AS {empty}")
        for change in changes:
            row = PLACED | change
            names, marks = ", ".join(f'"{name}"' for name in row), ", ".join("?" for _ in row)
            connection.execute(f"INSERT INTO biodiversity.occurrences ({names}) VALUES ({marks})", list(row.values()))
        wanted = "species, speciesKey, year, cell_south, cell_west, occurrences"
        return connection.sql(f"SELECT {wanted} FROM ({CELLS.sql}) ORDER BY ALL").fetchall()


def test_occurrences_are_counted_per_species_year_and_cell():
    here = ("Apus apus", "1", 2020, 52.5, 13.3)
    assert cells({}, {"decimalLatitude": 52.5999}, {"occurrenceStatus": "PRESENT"}) == [(*here, 3)]
    assert cells({}, {"year": 2021}) == [(*here, 1), ("Apus apus", "1", 2021, 52.5, 13.3, 1)]
    assert len(cells({}, {"species": "Apus pallidus", "speciesKey": "2"}, {"decimalLongitude": 13.4})) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"occurrenceStatus": "ABSENT"},
        {"coordinateUncertaintyInMeters": 11_133.0},
        {"decimalLatitude": None},
        {"decimalLongitude": None},
        {"year": None},
        {"species": None},
        {"species": None, "genus": "Apus"},
        {"decimalLatitude": 0.0, "decimalLongitude": 0.0, "issue": ["ZERO_COORDINATE"]},
    ],
)
def test_absences_coarse_places_and_what_lacks_place_year_or_species_are_not_counted(change):
    assert cells(change) == []


@pytest.mark.parametrize(
    "change",
    [
        {"coordinateUncertaintyInMeters": 11_132.0},
        {"coordinateUncertaintyInMeters": None},
        {"issue": ["GEODETIC_DATUM_ASSUMED_WGS84"]},
        {"species": None, "genus": "Apus", "specificEpithet": "apus"},
    ],
)
def test_what_is_known_well_enough_is_counted(change):
    assert [(row[0], row[-1]) for row in cells(change)] == [("Apus apus", 1)]


@given(st.integers(-900, 899), st.integers(-1800, 1799), st.decimals(0, "0.0999", places=4))
@settings(max_examples=60, deadline=None)
def test_a_place_lies_in_its_cell_and_the_corner_belongs_to_it(south, west, within):
    latitude, longitude = Decimal(south) / 10 + within, Decimal(west) / 10 + within
    ((*_, cell_south, cell_west, _),) = cells(
        {"decimalLatitude": float(latitude), "decimalLongitude": float(longitude)}
    )
    assert (cell_south, cell_west) == (south / 10, west / 10)


def test_the_poles_and_the_date_line_belong_to_the_last_cell():
    ((*_, south, west, _),) = cells({"decimalLatitude": 90.0, "decimalLongitude": 180.0})
    assert (south, west) == (89.9, 179.9)


def test_the_guide_explains_every_key_and_its_example_is_sound(tmp_path: Path) -> None:
    guide = (Path(__file__).parent.parent / "docs/how-to/add-a-derived-table.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    path = tmp_path / "genomics" / "pathogenic_by_gene" / "defs.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(example)
    assert read_derived(path).inputs == ("genomics.clinical_significance",)
    assert all(f"`{key}`" in guide for key in Derived.model_fields)
