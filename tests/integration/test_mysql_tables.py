"""Rows of a real MariaDB: a role that could do harm is refused, one that only reads gets rows and nothing more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rag.tables.engines import EngineRefused
from rag.tables.mysql import MysqlEngine, cost_of, rights_of
from rag.tables.safety import Allowed, prove
from tests.integration.row_servers import check_failure, check_rows_and_schema, mariadb_with, run_query

SETUP = """
CREATE DATABASE shop;
USE shop;
CREATE TABLE shop.orders (region varchar(10), amount decimal(10,2), placed date);
INSERT INTO shop.orders SELECT IF(seq % 2, 'south', 'north'), seq, '2024-01-01' FROM seq_1_to_1000;
CREATE TABLE shop.secrets (token text);
INSERT INTO shop.secrets VALUES ('hidden');
CREATE USER reader@localhost IDENTIFIED BY 'p@ss word';
GRANT SELECT ON shop.orders TO reader@localhost;
CREATE USER writer@localhost;
GRANT SELECT, INSERT ON shop.orders TO writer@localhost;
CREATE USER filer@localhost;
GRANT SELECT ON shop.* TO filer@localhost;
GRANT FILE ON *.* TO filer@localhost;
CREATE ROLE analysts;
CREATE USER member@localhost;
GRANT SELECT ON shop.orders TO member@localhost;
GRANT analysts TO member@localhost
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with mariadb_with(SETUP) as url:
        yield url


def _as(url: str, user: str) -> str:
    return url.replace("root@", f"{user}@")


@pytest.fixture
def reader(server: str) -> str:
    return _as(server, "reader:p%40ss%20word")


def _engine(url: str) -> MysqlEngine:
    return MysqlEngine(url, 1e6)


@pytest.mark.parametrize(
    ("user", "why"), [("root", "ALL PRIVILEGES"), ("writer", "INSERT"), ("filer", "FILE"), ("member", "analysts")]
)
def test_a_role_that_may_do_more_than_read_is_refused(server: str, user: str, why: str) -> None:
    with pytest.raises(EngineRefused, match=why):
        run_query(_engine(_as(server, user)), "SELECT 1")


@pytest.mark.parametrize("change", [("p%40ss", "wrong"), ("reader", "nobody"), ("socket=", "socket=/nowhere")])
def test_a_server_that_can_not_be_reached_is_told(reader: str, change: tuple[str, str]) -> None:
    with pytest.raises(EngineRefused, match="can't be reached"):
        run_query(_engine(reader.replace(*change)), "SELECT 1")


def test_rows_and_schema(reader: str) -> None:
    check_rows_and_schema(_engine(reader))


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("DELETE FROM orders", "denied|READ ONLY"),
        ("SELECT * FROM secrets", "denied"),
        ("SELECT load_file('/etc/passwd') FROM orders, secrets", "denied"),
        ("CREATE TABLE x (a int)", "EXPLAIN|syntax|denied"),
        ("SELECT count(*) FROM orders WHERE sleep(5) = 0", "longer than"),
        ("SELECT count(*) FROM orders a, orders b, orders c, orders d", "estimated cost is too high"),
        ("SELECT nothing FROM orders", "Unknown column"),
        ("SELECT 1; SELECT 2", "syntax"),
    ],
)
def test_what_gets_past_the_proof_gets_no_further(reader: str, sql: str, words: str) -> None:
    check_failure(_engine(reader), sql, words)


@pytest.mark.report("tables", "SQL that a model writes for MySQL also runs on MariaDB")
@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("region REGEXP '^n'", 1),
        ("NOT region RLIKE '^n'", 0),
        ("REGEXP_LIKE(region, 'th$') + 1", 2),
        ("doc->>'$.a.b'", "x"),
        ("doc->'$.a.b'", '"x"'),
        ("JSON_UNQUOTE(JSON_EXTRACT(doc, '$.a.b'))", "x"),
        ("JSON_VALUE(doc, '$.a.b')", "x"),
        ("ANY_VALUE(region)", "north"),
    ],
)
def test_what_mysql_has_and_mariadb_lacks(reader: str, what: str, told: object) -> None:
    source = '(SELECT region, \'{"a": {"b": "x"}}\' AS doc FROM orders WHERE region = \'north\') AS o'
    allowed = Allowed("mysql", {"orders": ("region", "amount", "placed")})
    sql = prove(f"SELECT {what} FROM {source} LIMIT 1", allowed, 10)
    assert run_query(_engine(reader), sql).rows == ((told,),)


@pytest.mark.parametrize(
    ("line", "rights"),
    [
        ("GRANT USAGE ON *.* TO `a`@`b` IDENTIFIED BY PASSWORD 'x'", {"USAGE"}),
        ("GRANT SELECT (a, b), SHOW VIEW ON `d`.`t` TO `a`@`b`", {"SELECT", "SHOW VIEW"}),
        ("GRANT SELECT ON `d`.* TO `a`@`b` WITH GRANT OPTION", {"SELECT", "GRANT OPTION"}),
        ("GRANT `r`@`%` TO `a`@`b`", {"`r`@`%`"}),
        ("GRANT SELECT, INSERT ON `other`.* TO `a`@`b`", set()),
        ("GRANT INSERT ON `d%`.* TO `a`@`b`", {"INSERT"}),
        ("GRANT INSERT ON `d\\_x`.* TO `a`@`b`", set()),
        ("GRANT EXECUTE ON PROCEDURE `d`.`p` TO `a`@`b`", {"EXECUTE"}),
        ("GRANT PROXY ON ''@'%' TO 'root'@'localhost' WITH GRANT OPTION", {"PROXY", "GRANT OPTION"}),
    ],
)
def test_rights_are_read(line: str, rights: set[str]) -> None:
    assert rights_of(line, "d") == rights


def test_the_cost_of_a_plan() -> None:
    assert cost_of({"query_block": {"cost_info": {"query_cost": "12.5"}}}) == 12.5
    assert cost_of({"query_block": {"cost": 3.5}}) == 3.5
    joined = [{"table": {"table_name": "a", "rows": 10}}, {"block-nl-join": {"table": {"table_name": "b", "rows": 20}}}]
    assert cost_of({"query_block": {"nested_loop": joined}}) == 200
    assert cost_of({"query_block": {"message": "No tables used"}}) == 1
