"""Expressions in contracts are pure scalar SQL, and a query's tables and functions are found wherever they hide."""

from __future__ import annotations

import duckdb
import pytest

from catalog.expressions import SCALAR_FUNCTIONS, expression_columns, parse_query


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("POS", {"POS"}),
        ('"a column" || b', {"a column", "b"}),
        ("CASE WHEN a THEN b ELSE c END", {"a", "b", "c"}),
        ("TRY_CAST(a AS INTEGER) BETWEEN 1 AND b", {"a", "b"}),
        ("list_transform(genes, lambda gene: split_part(gene, ':', n))", {"genes", "n"}),
        ("list_transform(x, lambda x: x + 1)", {"x"}),
        ("[v + 1 for v in x if v > y]", {"x", "y"}),
        ("list_reduce(a, lambda x, y: x + y + z)", {"a", "z"}),
        ("a ->> '$.b'", {"a"}),
        ("1 + 2", set()),
    ],
)
def test_the_columns_that_an_expression_reads_are_found(text, columns):
    assert expression_columns(text) == columns


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("getenv('HOME')", "'getenv' is not allowed"),
        ("read_csv('/etc/passwd')", "'read_csv' is not allowed"),
        ("list_transform(a, lambda x: getenv(x))", "'getenv' is not allowed"),
        ("coalesce(a, (SELECT content FROM read_text('x')))", "subquery is not allowed"),
        ("EXISTS (FROM 'x.parquet')", "subquery is not allowed"),
        ("a FROM 'x.parquet'", "only one scalar expression"),
        ("a WHERE b", "only one scalar expression"),
        ("a, b", "only one scalar expression"),
        ("a; SELECT 1", "more than one"),
        ("random()", "'random' is not allowed"),
        ("nextval('s')", "'nextval' is not allowed"),
        ("sum(a) OVER ()", "window is not allowed"),
        ("*", "star is not allowed"),
        ("COLUMNS('a.*')", "star is not allowed"),
        ("$1", "parameter is not allowed"),
        ("list_transform(a, x -> x + 1)", "write `lambda x: ...`"),
        ("a +", "syntax error"),
        ("", "SELECT"),
    ],
)
def test_what_is_not_a_pure_scalar_expression_is_refused(text, words):
    with pytest.raises(ValueError, match=words.replace("(", r"\(").replace(".", r"\.")):
        expression_columns(text)


def functions(where):
    with duckdb.connect() as connection:
        found = connection.sql(f"SELECT function_name FROM duckdb_functions() WHERE {where}").fetchall()
    return {name for (name,) in found}


def test_every_allowed_function_is_one_that_works_row_by_row():
    in_the_grammar = {"coalesce", "if", "ifnull"}
    assert SCALAR_FUNCTIONS - in_the_grammar <= functions("function_type IN ('scalar', 'macro')")


def test_no_allowed_function_depends_on_anything_but_its_arguments():
    assert SCALAR_FUNCTIONS & functions("stability <> 'CONSISTENT'") == set()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT (SELECT max(x) FROM Found.It)",
        "SELECT 1 WHERE EXISTS (FROM found.it)",
        "SELECT 1 ORDER BY (SELECT x FROM found.it)",
        "SELECT 1 LIMIT (SELECT x FROM found.it)",
        "SELECT count(*) FILTER ((SELECT x FROM found.it))",
        "SELECT sum(1) OVER (ORDER BY (SELECT x FROM found.it))",
        "SELECT 1 GROUP BY (SELECT x FROM found.it) HAVING true",
        "WITH a AS (FROM found.it) FROM a",
        "WITH RECURSIVE a AS (SELECT 1 UNION ALL FROM found.it) FROM a",
        "SELECT 1 UNION ALL FROM found.it",
        "FROM range(3) JOIN found.it ON true",
        "FROM range(3), LATERAL (FROM found.it)",
        "FROM range((SELECT x FROM found.it))",
        "PIVOT found.it ON a IN (1, 2) USING count(*)",
        "UNPIVOT found.it ON a, b",
        "DESCRIBE found.it",
        "SUMMARIZE FROM found.it",
        "SELECT list_transform([1], lambda x: (SELECT y FROM found.it))",
        "SELECT * REPLACE ((SELECT x FROM found.it) AS a) FROM (SELECT 1 AS a)",
        "VALUES ((SELECT x FROM found.it))",
        'TABLE found."it"',
    ],
)
def test_a_table_is_found_in_every_clause(sql):
    assert "found.it" in parse_query(sql).tables


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT b.* FROM (WITH hidden AS (SELECT 1) FROM hidden) a, hidden b",
        "(WITH hidden AS (SELECT 1) FROM hidden) UNION ALL FROM hidden",
        "WITH a AS (WITH hidden AS (SELECT 1) FROM hidden) SELECT * FROM a, hidden",
        "WITH hidden AS (FROM hidden) FROM hidden",
        "WITH a AS (FROM hidden), hidden AS (SELECT 1) FROM a, hidden",
        "WITH RECURSIVE hidden AS (FROM hidden) FROM hidden",
        "WITH RECURSIVE hidden(a) AS (SELECT a FROM hidden UNION ALL SELECT 1) FROM hidden",
        "WITH RECURSIVE a AS (SELECT 1 UNION ALL FROM (WITH hidden AS (SELECT 1) FROM hidden), hidden) FROM a",
        "SELECT (WITH hidden AS (SELECT 1 AS a) SELECT a FROM hidden), (SELECT count(*) FROM hidden)",
        "WITH \N{KELVIN SIGN}idden AS (SELECT 1) FROM kidden AS hidden",
    ],
)
def test_a_name_after_with_excuses_no_table_where_it_does_not_hold(sql):
    assert parse_query(sql).tables <= {"hidden", "kidden"}
    assert parse_query(sql).tables


@pytest.mark.parametrize(
    "sql",
    [
        "WITH a AS (SELECT 1), b AS (FROM a) SELECT (SELECT 1 FROM A) FROM b",
        "WITH a AS (SELECT 1) SELECT * FROM (FROM a UNION ALL FROM a) WHERE EXISTS (FROM a)",
        "WITH RECURSIVE a(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM a WHERE n < 3) FROM a",
        "WITH a AS (SELECT 1) FROM (WITH a AS (FROM a) FROM a)",
        "SELECT 1 WHERE 2 IN (WITH a AS MATERIALIZED (SELECT 2) FROM a)",
    ],
)
def test_a_name_after_with_holds_in_its_query_and_below(sql):
    assert parse_query(sql).tables == frozenset()
    duckdb.connect().sql(sql).fetchall()


def test_functions_are_found_wherever_they_stand():
    sql = """
        SELECT a(1) + B(2), c(x) OVER (ORDER BY d(x)), list_transform([1], lambda y: main.e(y)), ('x').f()
        FROM t JOIN u ON g(1) WHERE h(x) GROUP BY i(x) HAVING j(x) QUALIFY k(x) ORDER BY l(x) LIMIT m(1)
    """
    assert frozenset("abcdefghijklm") <= parse_query(sql).functions


@pytest.mark.parametrize("depth", [400, 900])
def test_what_is_nested_beyond_reason_is_refused_in_words(depth):
    with pytest.raises(ValueError, match=r"(?i)deep|depth|nest"):
        parse_query(f"SELECT {'(SELECT ' * depth}1{')' * depth}")


def test_a_name_after_with_excuses_no_file():
    with pytest.raises(ValueError, match="letters, digits and underscores"):
        parse_query("""FROM (WITH "/secret.parquet" AS (SELECT 1) SELECT 1), '/secret.parquet'""")


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO 'x'",
        "ATTACH 'x.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET threads = 1",
        "RESET threads",
        "PRAGMA version",
        "CALL pragma_version()",
        "CREATE TABLE x AS SELECT 1",
        "INSERT INTO x VALUES (1)",
        "DROP VIEW x",
        "EXPLAIN SELECT 1",
        "EXPORT DATABASE 'x'",
        "SELECT 1; SELECT 2",
        "SHOW TABLES",
        "SHOW ALL TABLES",
        "",
        "SELEC 1",
    ],
)
def test_what_is_not_one_select_is_refused(sql):
    with pytest.raises(ValueError, match=r"."):
        parse_query(sql)
