"""The query door: permitted rows only, past versions, the catalog as tables, and nothing else."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

import duckdb
import pytest
import yaml

from catalog.dataset import load_dataset
from catalog.errors import QueryError, UnknownVersionError
from catalog.expressions import QUERY_GROUPS
from catalog.query import QUERY_FUNCTIONS, Door, query_errors
from dagster_project import curate
from dagster_project.settings import Settings

TODAY = date(2027, 3, 1)
HEADER = """##fileformat=VCFv4.2
##reference=GRCh38
##INFO=<ID=GENE,Number=1,Type=String,Description="gene">
##INFO=<ID=LIC,Number=1,Type=String,Description="licence">
##INFO=<ID=DAY,Number=1,Type=String,Description="embargo">
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO
"""
ROWS = {  # name -> licence, embargo
    "says_nothing": (None, None),
    "open": ("CC-BY-4.0", None),
    "noncommercial": ("CC-BY-NC-4.0", None),
    "unknown": ("MyOwn-1.0", None),
    "lifted_today": (None, TODAY),
    "tomorrow": (None, TODAY + timedelta(days=1)),
    "open_but_tomorrow": ("CC0-1.0", TODAY + timedelta(days=1)),
    "empty": ("NOASSERTION", None),
}


def vcf(rows, start=100):
    lines = []
    for index, (name, (licence, day)) in enumerate(rows.items()):
        info = [f"GENE={name}"] + ([f"LIC={licence}"] if licence else []) + ([f"DAY={day}"] if day else [])
        lines.append(f"1\t{start + index}\t{name}\tA\tC\t.\t.\t{';'.join(info)}\n")
    return HEADER + "".join(lines)


def write_dataset(folder, name, text, terms=None):
    """A dataset folder with this VCF as its sample; ``terms`` overrides what its contract says."""
    place = folder / "genomics" / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "sample.vcf").write_text(text)
    licence = (terms or {}).get("licence", "CC0-1.0")
    finding = {"file": "sample.vcf", "read_on": "2026-11-23", "quote": "as its owner says", "licence": licence}
    contract = {
        "title": name,
        "table": "genomics.clinical_significance",
        "source": {"unpublished": "made for a test", "format": "vcf"},
        "sample": "sample.vcf",
        "terms": {
            "licence": "CC0-1.0",
            "evidence": [finding],
            "attribution": "nobody",
            **(terms or {}),
        },
        "columns": {"gene_symbols": "[GENE]"},
        "owner": "tests",
    }
    document = {"type": "dagster_project.component.Dataset", "attributes": contract}
    (place / "defs.yaml").write_text(yaml.safe_dump(document))
    return load_dataset(f"genomics/{name}", folder)


def publish(house, dataset):
    snapshot = curate.fetch(house, dataset, curate.address(dataset, sample=True))
    run = f"run-{dataset.short_name}-{len(house.ledger.versions(dataset.name))}"
    stage, report = curate.stage(house, dataset, snapshot, run)
    assert report.passed, report.refusals()
    return curate.commit(house, dataset, stage)


@pytest.fixture(scope="module")
def estate(tmp_path_factory):
    """A house with one mixed dataset, one under embargo, and one that is open and has two versions."""
    home = tmp_path_factory.mktemp("house")
    house = curate.House(Settings.at(home), clock=lambda: datetime(2027, 3, 1, tzinfo=UTC))
    folder = home / "datasets"
    mixed = write_dataset(
        folder,
        "mixed",
        vcf(ROWS),
        {"row_licence": {"column": "LIC"}, "embargo": {"column": "coalesce(DAY, '2000-01-01')"}},
    )
    secret = write_dataset(folder, "secret", vcf({"hidden": (None, None)}), {"embargo": {"until": "2027-03-02"}})
    plain = write_dataset(folder, "plain", vcf({"one": (None, None), "two": (None, None), "three": (None, None)}))
    for dataset in (mixed, secret, plain):
        publish(house, dataset)
    text = vcf({"one": (None, None), "two": (None, None), "four": (None, None)}).replace("GENE=two", "GENE=changed")
    plain = write_dataset(folder, "plain", text)
    publish(house, plain)
    absent = write_dataset(folder, "absent", vcf({"one": (None, None)}))
    return house, (mixed, secret, plain, absent)


@pytest.fixture
def door(estate):
    house, datasets = estate
    return lambda profile="open", today=TODAY, **at: Door(
        house.warehouse, house.ledger, datasets, profile, today, {f"genomics/{name}": at[name] for name in at}
    )


def column(door, sql):
    return sorted(row[0] for row in door.answer(sql).fetchall())


OPEN_ROWS = ["lifted_today", "open", "says_nothing"]


@pytest.mark.parametrize("table", ["genomics.mixed__clinical_significance", "genomics.clinical_significance"])
@pytest.mark.parametrize(
    "form",
    [
        "SELECT _record FROM {t}",
        "SELECT _record FROM {t} WHERE _licence = 'CC-BY-NC-4.0' OR _licence IS NULL OR _licence <> 'x'",
        "SELECT _record FROM {t} WHERE NOT (_licence = 'CC0-1.0') OR true",
        "WITH a AS (FROM {t}) SELECT _record FROM a",
        "SELECT (SELECT string_agg(_record, ',') FROM {t})",
        "SELECT a._record FROM {t} a FULL JOIN {t} b USING (_record)",
        "SELECT unnest(list(_record)) FROM {t}",
        "SELECT _record FROM {t} LEFT JOIN range(2) ON false",
        "SELECT string_agg(_record, ',') OVER () FROM {t}",
        "SELECT min FROM (SUMMARIZE FROM {t}) WHERE column_name = '_record'",
        "SELECT max FROM (SUMMARIZE FROM {t}) WHERE column_name = '_record'",
    ],
)
def test_open_never_sees_a_withheld_row(door, table, form):
    seen = {word for text in column(door(), form.format(t=table)) for word in re.findall(r"\w+", text)}
    assert seen
    assert seen <= {*OPEN_ROWS, "one", "two", "four"}


def test_each_profile_sees_what_the_policy_permits(door):
    sql = "SELECT _record FROM genomics.mixed__clinical_significance"
    assert column(door("open"), sql) == OPEN_ROWS
    assert column(door("noncommercial"), sql) == sorted([*OPEN_ROWS, "noncommercial"])
    assert column(door("internal"), sql) == sorted(ROWS)


def test_an_embargo_lifts_at_the_start_of_its_day(door):
    sql = "SELECT _record FROM genomics.clinical_significance WHERE _dataset IN ('genomics/mixed', 'genomics/secret')"
    tomorrow = sorted([*OPEN_ROWS, "tomorrow", "open_but_tomorrow", "hidden"])
    assert column(door("open", TODAY + timedelta(days=1)), sql) == tomorrow


def test_a_whole_dataset_under_embargo_shows_no_row_and_says_why(door):
    closed = door()
    assert column(closed, "SELECT _record FROM genomics.secret__clinical_significance") == []
    assert [(part.dataset, str(part.decision.changes_on)) for part in closed.withheld] == [
        ("genomics/secret", "2027-03-02")
    ]


def test_rows_show_the_terms_in_force(door):
    sql = "SELECT _record, _licence, CAST(_embargo_until AS VARCHAR) FROM genomics.mixed__clinical_significance"
    terms = {record: (licence, until) for record, licence, until in door("internal").answer(sql).fetchall()}
    assert terms["says_nothing"] == ("CC0-1.0", "2000-01-01")
    assert terms["open"][0] == "CC-BY-4.0"
    assert terms["tomorrow"] == ("CC0-1.0", "2027-03-02")


@pytest.mark.parametrize("condition", ["error(_record) > ''", "CAST(_record AS INTEGER) = 3"])
def test_no_condition_is_evaluated_on_a_withheld_row(tmp_path, condition):
    # An error in it would quote the row.
    house = curate.House(Settings.at(tmp_path))
    rows = {"1": (None, None), "withheld": ("CC-BY-NC-4.0", None)}
    dataset = write_dataset(tmp_path / "datasets", "half", vcf(rows), {"row_licence": {"column": "LIC"}})
    publish(house, dataset)
    sql = f"SELECT count(*) FROM genomics.half__clinical_significance WHERE starts_with(_record, 'w') AND {condition}"
    assert column(Door(house.warehouse, house.ledger, [dataset], "open", TODAY), sql) == [0]
    with pytest.raises(QueryError, match="withheld"), query_errors():
        Door(house.warehouse, house.ledger, [dataset], "internal", TODAY).answer(sql).fetchall()


def test_an_internal_query_is_noted_in_the_ledger_and_an_open_one_is_not(door, estate):
    ledger = estate[0].ledger
    before = {name: len(ledger.decisions(f"genomics/{name}")) for name in ("mixed", "secret", "plain")}
    door("open").answer("FROM genomics.clinical_significance").fetchall()
    door("internal").answer('FROM "Genomics".Mixed__Clinical_Significance').fetchall()
    after = {name: len(ledger.decisions(f"genomics/{name}")) for name in before}
    assert after == {**before, "mixed": before["mixed"] + 1}
    door("internal").answer("FROM genomics.clinical_significance").fetchall()
    assert {name: len(ledger.decisions(f"genomics/{name}")) for name in before} == {
        name: count + 1 for name, count in after.items()
    }


def test_who_asks_the_catalog_for_more_than_is_open_is_noted(door, estate):
    ledger = estate[0].ledger
    before = len(ledger.decisions("genomics/secret"))
    door("open").answer("FROM catalog.gates").fetchall()
    assert len(ledger.decisions("genomics/secret")) == before
    door("internal").answer("FROM catalog.gates").fetchall()
    assert len(ledger.decisions("genomics/secret")) == before + 1


def test_the_catalog_tells_nothing_of_withheld_rows(door):
    shown = {
        row[0]: row[1:]
        for row in door().answer("SELECT dataset, access, version, rows FROM catalog.datasets").fetchall()
    }
    assert shown["genomics/secret"] == ("withheld", None, None)
    assert shown["genomics/mixed"] == ("partly", 1, len(OPEN_ROWS))
    assert shown["genomics/plain"] == ("permitted", 2, 3)
    assert shown["genomics/absent"] == ("permitted", None, None)
    for table in ("versions", "gates", "quarantine"):
        assert "genomics/secret" not in column(door(), f"SELECT dataset FROM catalog.{table}")
    for table in ("gates", "quarantine"):
        assert "genomics/mixed" not in column(door(), f"SELECT dataset FROM catalog.{table}")
        assert "genomics/mixed" in column(door("internal"), f"SELECT dataset FROM catalog.{table}")
    assert column(door(), "SELECT rows FROM catalog.versions WHERE dataset = 'genomics/mixed'") == [len(OPEN_ROWS)]
    assert column(door(), "SELECT bytes FROM catalog.versions WHERE dataset = 'genomics/mixed'") == [None]


def test_the_catalog_lists_every_table_that_can_be_asked(door):
    for name in column(door("internal"), 'SELECT "table" FROM catalog.tables'):
        assert door("internal").answer(f"FROM {name} LIMIT 1").columns
    assert ("position", "bp") in door().answer('SELECT "column", unit FROM catalog.columns').fetchall()


@pytest.mark.parametrize("table", ["genomics.plain__clinical_significance", "genomics.clinical_significance"])
def test_a_past_version_shows_in_the_datasets_table_and_in_the_canonical_one(door, table):
    sql = f"SELECT _record || ':' || gene_symbols[1] FROM {table} WHERE _dataset = 'genomics/plain'"
    assert column(door(), sql) == ["four:four", "one:one", "two:changed"]
    assert column(door(plain=1), sql) == ["one:one", "three:three", "two:two"]


def test_an_unknown_version_is_refused(door):
    with pytest.raises(UnknownVersionError, match="genomics/plain@7"):
        door(plain=7)


def test_a_dataset_without_a_version_is_empty_and_says_so(door):
    asked = door()
    assert column(asked, "SELECT _record FROM genomics.absent__clinical_significance") == []
    assert asked.unpublished == {"genomics/absent"}


def test_diff_counts_rows_by_key(door, estate):
    ledger = estate[0].ledger
    (found,) = door().diff(ledger.version("genomics/plain", 1), ledger.version("genomics/plain", 2))
    # Record `four` has the place of `three`: another key, so one came and one went; `two` changed its gene.
    assert (found["rows_added"], found["rows_removed"], found["rows_changed"]) == (1, 1, 1)
    assert found["columns_added"] == found["columns_removed"] == found["columns_retyped"] == []


def test_diff_and_quarantine_of_what_is_withheld_are_refused(door, estate):
    version = estate[0].ledger.version("genomics/secret", 1)
    with pytest.raises(QueryError, match=r"genomics/secret is withheld under open.*until 2027-03-02"):
        door().diff(version, version)
    for name in ("secret", "mixed"):
        with pytest.raises(QueryError, match="is withheld under open"):
            door().quarantine(f"genomics/{name}")
        assert door("internal").quarantine(f"genomics/{name}") is None


def test_refused_records_come_in_the_order_of_their_source_to_whom_their_terms_permit(tmp_path):
    house = curate.House(Settings.at(tmp_path / "home"), clock=lambda: datetime(2027, 3, 1, tzinfo=UTC))
    refused = [f"1\t-5\t{name}\tA\tC\t.\t.\tGENE={'x' * 5000}\n" for name in ("b", "a", "c")]
    own_terms = {"row_licence": {"column": "LIC"}}
    mixed, plain = (
        write_dataset(tmp_path, name, vcf({"one": (None, None)}) + "".join(refused), terms)
        for name, terms in (("mixed", own_terms), ("plain", {}))
    )
    for dataset in (mixed, plain):
        snapshot = curate.fetch(house, dataset, curate.address(dataset, sample=True))
        curate.stage(house, dataset, snapshot, f"run-{dataset.short_name}")
    for dataset, profile in ((mixed, "internal"), (plain, "open"), (plain, "internal")):
        door = Door(house.warehouse, house.ledger, (mixed, plain), profile, TODAY)
        told = door.quarantine(dataset.name).select("raw").fetchall()
        assert told == [(line.rstrip("\n"),) for line in refused]
    with pytest.raises(QueryError, match="genomics/mixed is withheld under open"):
        Door(house.warehouse, house.ledger, (mixed, plain), "open", TODAY).quarantine("genomics/mixed")


@pytest.mark.parametrize(
    "call",
    [
        "read_csv('{f}')",
        "read_parquet('{f}')",
        "parquet_metadata('{f}')",
        "parquet_scan(['{f}'])",
        "glob('{d}/**')",
        "sniff_csv('{f}')",
        "read_text('{f}')",
        "read_blob('{f}')",
        "query('FROM ''{f}''')",
        "query_table(['genomics.secret__clinical_significance'])",
        "duckdb_views()",
        "duckdb_settings()",
        "json_execute_serialized_sql('x')",
    ],
)
def test_functions_that_reach_outside_are_refused_by_name(door, estate, call):
    house, (mixed, *_) = estate
    file = house.warehouse.files(house.ledger.version(mixed.name, 1), "genomics.clinical_significance")[0]
    text = call.format(f=file, d=house.settings.home)
    name = call.partition("(")[0]
    for sql in (f"FROM {text}", f"SELECT (SELECT count(*) FROM {text})", f"WITH a AS (FROM {text}) FROM a"):
        with pytest.raises(QueryError, match=rf"function '{name}' is not available here: it reaches outside"):
            door().answer(sql)


@pytest.mark.parametrize("function", ["getenv('HOME')", "current_setting('allowed_paths')", "getvariable('a')"])
def test_functions_that_tell_of_the_process_are_refused(door, function):
    with pytest.raises(QueryError, match="is not available here"):
        door().answer(f"SELECT upper({function})")


@pytest.mark.parametrize(
    "call",
    [
        "stats(_record)",
        "main.stats(_record)",
        "system.main.STATS(_record)",
        "_record.stats()",
        "list_transform([_record], lambda each: stats(each))",
        "vector_type(_record)",
        "bitstring_agg(pos)",
        "bitstring_agg(pos) OVER ()",
        "pg_get_viewdef(0)",
        "current_setting('allowed_paths')",
        "json_serialize_plan('FROM duckdb_views')",
        "sleep_ms(1)",
        "write_log('x')",
        "a_function_of_a_later_duckdb(_record)",
    ],
)
def test_functions_that_are_not_listed_are_refused(door, call):
    # A column's statistics are the whole file's, withheld rows included.
    table = "genomics.mixed__clinical_significance"
    for sql in (f"SELECT {call} FROM {table}", f"FROM {table} ORDER BY (SELECT {call} FROM {table} LIMIT 1)"):
        with pytest.raises(QueryError, match=r"is not available here: it is not known to see nothing but"):
            door().answer(sql)


def test_a_misspelt_function_is_told_with_the_nearest(door):
    with pytest.raises(QueryError, match="did you mean strip_accents"):
        door().answer("SELECT strip_acents('é')")


def test_every_listed_function_exists_and_none_tells_of_storage_or_settings():
    """One that this DuckDB has not got is of a version beside it."""
    with duckdb.connect() as connection:
        told = connection.sql(
            "SELECT lower(function_name), stability, function_type FROM duckdb_functions()"
        ).fetchall()
    there = {name for name, _, _ in told}
    listed = [name for group in QUERY_GROUPS.values() for name in group]
    assert len(listed) == len(set(listed))
    in_one_version_only = {"overlay", "if"}
    assert set(listed) - there <= in_one_version_only
    clock_and_chance = {
        "random",
        "uuid",
        "uuidv4",
        "uuidv7",
        "gen_random_uuid",
        "error",
        "current_date",
        "now",
        "today",
    }
    clock_and_chance |= {"get_current_time", "get_current_timestamp", "transaction_timestamp"}
    varying = {name for name, stability, _ in told if stability in ("VOLATILE", "CONSISTENT_WITHIN_QUERY")}
    assert QUERY_FUNCTIONS & varying <= clock_and_chance
    # These take a column's statistics, or text that is run.
    assert not QUERY_FUNCTIONS & {"stats", "vector_type", "bitstring_agg", "json_serialize_plan", "getenv", "query"}


@pytest.mark.parametrize(
    "view", ["pg_settings", "duckdb_views", "duckdb_logs", "sqlite_master", "duckdb_settings", "pragma_database_list"]
)
def test_a_name_after_with_opens_no_view_of_the_system(door, view):
    for sql in (
        f"SELECT b.* FROM (WITH {view} AS (SELECT 1) FROM {view}) a, {view} b",
        f"WITH {view} AS (FROM {view}) FROM {view}",
        f"WITH RECURSIVE {view} AS (FROM {view}) FROM {view}",
        f"WITH {view} AS (SELECT 1) FROM main.{view}",
        f"WITH {view} AS (SELECT 1) FROM {view}, information_schema.tables",
    ):
        with pytest.raises(QueryError, match="there is no table"):
            door().answer(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a LIKE 'x' AND a NOT ILIKE 'y' AND a SIMILAR TO 'z' AND a GLOB 'q' FROM (SELECT 'x' AS a)",
        "SELECT a LIKE 'x' ESCAPE '!', a ~ 'x', a[1], a[1:2], a || 'b', upper(a) COLLATE NOCASE FROM (SELECT 'x' AS a)",
        "SELECT [x + 1 for x in [1, 2] if x > 1], {'a': 1}.a, MAP {'a': 1}['a'], -(1), 5 // 2, 5 % 2, 2 ** 3, @(-1)",
        "SELECT INTERVAL 1 DAY, extract(year FROM DATE '2020-01-01'), now() > current_date, trim(BOTH 'a' FROM 'aba')",
        "SELECT row_number() OVER (), lag(1) OVER (ORDER BY 1), arg_max(1, 2) FILTER (true), approx_quantile(1, 0.5)",
        "SELECT '{\"a\": 1}'::JSON ->> 'a', json_keys('{}')",
        "SELECT TRY_CAST('x' AS INTEGER), GROUPING(a) FROM (SELECT 1 AS a) GROUP BY CUBE (a)",
        "UNPIVOT (SELECT 1 AS a, 2 AS b) ON a, b",
        "SELECT COLUMNS('a.*') FROM (SELECT 1 AS aa)",
        "SELECT levenshtein('a', 'b'), list_cosine_similarity([1.0], [1.0])",
        "SELECT time_bucket(INTERVAL 1 DAY, DATE '2020-01-01')",
    ],
)
def test_what_researchers_write_is_answered(door, sql):
    door().answer(sql).fetchall()


@pytest.mark.parametrize(
    "form",
    [
        "FROM '{f}'",
        'FROM "{f}"',
        "DESCRIBE '{f}'",
        "SUMMARIZE '{f}'",
        "WITH secret AS (FROM '{f}') FROM secret",
        "SELECT * FROM genomics.mixed__clinical_significance, '{f}'",
        """FROM (WITH "{f}" AS (SELECT 1) SELECT 1), '{f}'""",
        "FROM 's3://bucket/x.parquet'",
        "FROM 'warehouse/*.parquet'",
    ],
)
def test_files_are_refused_even_those_that_the_connection_may_read(door, estate, form):
    house, (mixed, *_) = estate
    file = house.warehouse.files(house.ledger.version(mixed.name, 1), "genomics.clinical_significance")[0]
    with pytest.raises(QueryError, match=r"is a file|letters, digits and underscores"):
        door().answer(form.format(f=file))


def test_the_connection_itself_reads_nothing_else(door, estate):
    house = estate[0]
    other = house.settings.home / "other.csv"
    other.write_text("a\n1\n")
    connection = door()._open(frozenset({"genomics.plain__clinical_significance"}))
    for sql in (
        f"FROM '{other}'",
        f"COPY (SELECT 1) TO '{other}'",
        "SET enable_external_access=true",
        "INSTALL httpfs",
    ):
        with pytest.raises(Exception, match=r"(?i)permission|locked|disabled|cannot"):
            connection.execute(sql)
    assert other.read_text() == "a\n1\n"


@pytest.mark.parametrize(
    "sql", ['FROM GENOMICS."Clinical_Significance"', "DESCRIBE genomics.clinical_significance", "FROM fusion.samples",
            "SUMMARIZE genomics.clinical_significance", "FROM catalog.gates", "SELECT 1;", "/* c */ SELECT 1 -- d",
            "PIVOT genomics.clinical_significance ON contig IN ('1', 'X') USING count(*)"]
)  # fmt: skip
def test_these_are_answered(door, sql):
    assert door().answer(sql).columns


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("FROM clinical_significance", "did you mean genomics.clinical_significance?"),
        ("FROM genomics.variant", '`winnow query "FROM catalog.tables"` lists them'),
        ("FROM secret.schema.table", "there is no table"),
        ("FROM information_schema.tables", "there is no table"),
        ("FROM duckdb_views", "there is no table"),
        ("PIVOT genomics.clinical_significance ON contig USING count(*)", "write the values out"),
        ("COPY genomics.clinical_significance TO 'x.csv'", "only SELECT is answered here"),
        ("ATTACH 'x.db'", "only SELECT is answered here"),
        ("SELECT nothing FROM genomics.clinical_significance", "DESCRIBE"),
        ("SELECT 1; SELECT 2", "2 statements"),
    ],
)
def test_a_refusal_says_what_to_do(door, sql, words):
    with pytest.raises(QueryError) as refused:
        door().answer(sql)
    assert words in str(refused.value)
