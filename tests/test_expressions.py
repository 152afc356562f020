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
