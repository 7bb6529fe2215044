"""Rows of a real PostgreSQL: a role that could do harm is refused, one that only reads gets rows and nothing more."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag.tables.engines import EngineRefused
from rag.tables.postgres import PostgresEngine
from tests.integration.row_servers import check_failure, check_rows_and_schema, run_query, set_up_postgres

SETUP = """
CREATE TABLE orders (region text, amount numeric, placed date);
INSERT INTO orders
SELECT CASE n % 2 WHEN 0 THEN 'north' ELSE 'south' END, n, '2024-01-01' FROM generate_series(1, 1000) n;
CREATE TABLE secrets (token text);
INSERT INTO secrets VALUES ('hidden');
CREATE ROLE reader LOGIN;
GRANT SELECT ON orders TO reader;
"""


@pytest.fixture(scope="module")
def superuser(postgres_url: str) -> str:
    set_up_postgres(postgres_url, SETUP)
    return postgres_url


@pytest.fixture
def reader(superuser: str) -> str:
    return superuser.replace("postgres:@", "reader:@")


def _engine(url: str) -> PostgresEngine:
    return PostgresEngine(url, 1e6)


def test_a_superuser_is_refused(superuser: str) -> None:
    with pytest.raises(EngineRefused, match="superuser"):
        run_query(_engine(superuser), "SELECT 1")


def test_a_server_that_is_away_is_told(tmp_path: Path) -> None:
    with pytest.raises(EngineRefused, match="can't be reached"):
        run_query(_engine(f"postgresql://reader@/postgres?host={tmp_path}"), "SELECT 1")


def test_rows_and_schema(reader: str) -> None:
    check_rows_and_schema(_engine(reader))


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("DELETE FROM orders", "denied"),
        ("SELECT * FROM secrets", "denied"),
        ("CREATE TABLE x (a int)", "syntax error"),
        ("SELECT pg_sleep(10)", "longer than"),
        ("SELECT count(*) FROM orders a, orders b, orders c, orders d", "estimated cost is too high"),
        ("SELECT nothing FROM orders", "does not exist"),
    ],
)
def test_what_gets_past_the_proof_gets_no_further(reader: str, sql: str, words: str) -> None:
    check_failure(_engine(reader), sql, words)
