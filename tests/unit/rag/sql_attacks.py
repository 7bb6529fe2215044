"""Queries that would read what may not be read: a whole row, a hidden column or table, a value too large."""

from __future__ import annotations

from rag.tables.safety import Allowed, Dialect

# What may be read; the tables have `card` too, and there is a table `secrets`.
OPEN = {"orders": ("id", "region", "amount"), "Customers": ("id", "Name")}
CANARY = "CANARY-4111"


def open_tables(dialect: Dialect) -> Allowed:
    return Allowed(dialect, OPEN)


# Refused in every dialect.
ATTACKS = (
    """
SELECT o FROM orders o
SELECT orders FROM orders
SELECT (o) FROM orders o
SELECT count(o) FROM orders o
SELECT max(o) FROM orders o
SELECT min(orders) FROM orders
SELECT count(DISTINCT o) FROM orders o
SELECT CAST(o AS text) FROM orders o
SELECT CAST(o AS varchar(100)) FROM orders AS o
SELECT lower(CAST(o AS text)) FROM orders o
SELECT concat(o, '') FROM orders o
SELECT concat_ws(',', o, 'x') FROM orders o
SELECT coalesce(o, o) FROM orders o
SELECT length(CAST(o AS text)) FROM orders o
SELECT replace(CAST(o AS text), 'a', 'b') FROM orders o
SELECT CASE WHEN CAST(o AS text) LIKE '%4111%' THEN 1 END FROM orders o
SELECT region FROM orders o WHERE CAST(o AS text) LIKE '%CANARY%'
SELECT region FROM orders o WHERE o IS NOT NULL
SELECT region FROM orders o WHERE o = o
SELECT region FROM orders o WHERE o IN (SELECT p FROM orders p)
SELECT region FROM orders ORDER BY orders
SELECT region FROM orders o ORDER BY CAST(o AS text)
SELECT region FROM orders o GROUP BY region, o
SELECT region FROM orders o GROUP BY region HAVING max(CAST(o AS text)) > 'a'
SELECT row_number() OVER (ORDER BY o) FROM orders o
SELECT first_value(o) OVER (ORDER BY id) FROM orders o
SELECT lag(o) OVER (PARTITION BY region ORDER BY id) FROM orders o
SELECT sum(amount) OVER w FROM orders o WINDOW w AS (ORDER BY o)
WITH x AS (SELECT o AS a FROM orders o) SELECT a FROM x
WITH x AS (SELECT region FROM orders) SELECT x FROM x
SELECT x FROM (SELECT orders AS x FROM orders) y
SELECT x FROM (SELECT region FROM orders) x
SELECT a.region FROM orders a JOIN orders b ON a = b
SELECT a.region FROM orders a LEFT JOIN orders b ON CAST(a AS text) < CAST(b AS text)
SELECT (SELECT max(CAST(o AS text)) FROM orders o) FROM orders
SELECT (SELECT CAST(o AS text)) FROM orders o
SELECT region FROM orders o WHERE EXISTS (SELECT 1 FROM orders p WHERE p = o)
SELECT (o).card FROM orders o
SELECT (orders).card FROM orders
SELECT (o.*).card FROM orders o
SELECT o.o FROM orders o
SELECT o.orders FROM orders o
SELECT count(o.*) FROM orders o
SELECT CAST(o.* AS text) FROM orders o
SELECT count(DISTINCT o.*) FROM orders o
SELECT to_json(o) FROM orders o
SELECT row_to_json(o) FROM orders o
SELECT to_jsonb(o.*) FROM orders o
SELECT json_agg(o) FROM orders o
SELECT array_agg(o) FROM orders o
SELECT string_agg(CAST(o AS text), ',') FROM orders o
SELECT json_object(o) FROM orders o
SELECT hstore(o) FROM orders o
SELECT ROW(o) FROM orders o
SELECT struct_pack(a := o) FROM orders o
SELECT COLUMNS('.*') FROM orders
SELECT COLUMNS(*) FROM orders
SELECT max(COLUMNS(*)) FROM orders
SELECT card FROM orders
SELECT CARD FROM orders
SELECT p.card FROM orders o, orders p
SELECT orders.card FROM orders
SELECT ORDERS.CARD FROM ORDERS
SELECT card FROM ORDERS
SELECT card FROM Orders o
SELECT o.card FROM ORDERS o
SELECT Orders.card FROM Orders
SELECT card FROM "ORDERS" WHERE card <> 'x'
SELECT count(card) FROM ORDERS
SELECT region FROM ORDERS WHERE card LIKE '4%'
SELECT region FROM Orders ORDER BY card
SELECT region FROM orders WHERE card > 'a'
SELECT count(*) FROM orders GROUP BY card
SELECT region, max(card) FROM orders GROUP BY ALL
SELECT region FROM orders ORDER BY card
SELECT sum(amount) FILTER (WHERE card LIKE '4%') FROM orders
SELECT o.region FROM orders o JOIN orders p USING (card)
SELECT o.region FROM orders o JOIN orders p USING (id, card)
SELECT o.region FROM orders o NATURAL JOIN orders p
SELECT * FROM orders NATURAL LEFT JOIN Customers
SELECT o.region FROM orders o JOIN orders p ON o.card = p.card
SELECT * REPLACE (card AS region) FROM orders
SELECT * REPLACE (CAST(o AS text) AS region) FROM orders o
SELECT * EXCLUDE (region) FROM secrets
SELECT c FROM orders AS o(a, b, c)
SELECT o.d FROM orders AS o(a, b, c, d)
SELECT * FROM orders AS o(a, b)
SELECT ctid FROM orders
SELECT xmin FROM orders
SELECT o.xmax FROM orders o
SELECT cmin FROM orders
SELECT tableoid FROM orders
SELECT rowid FROM orders
SELECT _rowid_ FROM orders
SELECT oid FROM orders
SELECT o.rowid FROM orders o
SELECT region FROM orders ORDER BY rowid
SELECT region FROM orders WHERE oid = 1
SELECT file_row_number FROM orders
WITH orders AS (SELECT 1 AS card) SELECT card FROM orders
WITH Orders AS (SELECT * FROM orders) SELECT * FROM Orders
WITH customers AS (SELECT 1 AS id) SELECT * FROM customers
WITH x AS (SELECT 1 AS id), x AS (SELECT 2 AS id) SELECT * FROM x
WITH x AS (SELECT * FROM secrets) SELECT * FROM x
WITH a AS (SELECT * FROM b), b AS (SELECT 1 AS id) SELECT * FROM a
WITH x AS (SELECT 1 AS id) SELECT count(*) FROM "X", secrets
SELECT * FROM (WITH secrets AS (SELECT 1 AS id) SELECT * FROM secrets) q
SELECT x.region FROM orders o
SELECT x.card FROM orders o WHERE EXISTS (SELECT 1 FROM orders x)
SELECT region FROM orders o WHERE id = (SELECT max(p.card) FROM orders p WHERE p.id = o.id)
SELECT region FROM orders o WHERE id IN (SELECT o.card FROM Customers)
SELECT (SELECT o.card) FROM orders o
SELECT t.region FROM orders o, LATERAL (SELECT o.card AS region) t
SELECT region FROM orders UNION SELECT card FROM orders
SELECT region FROM orders UNION ALL SELECT CAST(o AS text) FROM orders o
SELECT id FROM orders EXCEPT SELECT card FROM orders
SELECT region FROM orders UNION SELECT region FROM orders ORDER BY card
SELECT DISTINCT ON (card) region FROM orders
SELECT * FROM orders PIVOT (max(card) FOR region IN ('north'))
SELECT * FROM orders UNPIVOT (v FOR n IN (region, card))
PIVOT orders ON region USING max(card)
UNPIVOT orders ON COLUMNS(*) INTO NAME n VALUE v
SELECT * FROM (VALUES (1), (2)) v
SELECT * FROM (TABLE secrets) t
TABLE secrets
FROM secrets
FROM secrets SELECT *
SELECT CAST('(1,x)' AS orders)
SELECT CAST(NULL AS secrets)
SELECT unnest(o) FROM orders o
SELECT o[1] FROM orders o
SELECT o['card'] FROM orders o
SELECT o.card.x FROM orders o
SELECT main.orders.card FROM orders
SELECT public.orders.card FROM orders
SELECT region FROM orders o POSITIONAL JOIN secrets
SELECT replace(replace(replace(region, 'a', '{long}'), 'a', '{long}'), 'a', '{long}') FROM orders
SELECT replace(region, 'n', Name) FROM orders, Customers
SELECT region FROM orders WHERE region LIKE '%a%a%a%a%a%a%a%b'
SELECT region FROM orders WHERE region LIKE replace('%a', '%', '%a%a')
SELECT string_agg(repeat(region, 1000), '') FROM orders
SELECT rpad(region, 100000000, 'x') FROM orders
SELECT max(id) FROM range(100000000)
SELECT * FROM generate_series(1, 100000000)
""".strip()
    .replace("{long}", "a" * 40)
    .split("\n")
)

SPECIAL_ATTACKS: dict[Dialect, list[str]] = {
    "duckdb": """
SELECT o::text FROM orders o
SELECT o::json FROM orders o
SELECT orders::text LIKE '%x%' FROM orders
SELECT list(o) FROM orders o
SELECT arg_max(o, id) FROM orders o
SELECT any_value(o) FROM orders o
SELECT mode(o) FROM orders o
SELECT histogram(o) FROM orders o
SELECT struct_extract(o, 'card') FROM orders o
SELECT {'a': o} FROM orders o
SELECT [o] FROM orders o
SELECT o.* LIKE '%x%' FROM orders o
SELECT * LIKE 'c%' FROM orders o WHERE o IS NOT NULL
SELECT region FROM orders QUALIFY row_number() OVER (ORDER BY card) = 1
SELECT card AS x, x FROM orders
FROM orders SELECT card
SELECT region FROM orders ORDER BY ALL, card
SELECT * FROM orders ASOF JOIN secrets USING (id)
SUMMARIZE SELECT * FROM orders
DESCRIBE secrets
""".strip().split("\n"),
    "postgres": """
SELECT o::text FROM orders o
SELECT (o)::text FROM orders o
SELECT o::orders FROM orders o
SELECT orders::text FROM orders
SELECT o.text FROM orders o
SELECT o.lower FROM orders o
SELECT (o.*)::text FROM orders o
SELECT jsonb_agg(o.*) FROM orders o
SELECT (json_populate_record(null::orders, '{}')).card
SELECT quote_literal(o) FROM orders o
SELECT format('%s', o) FROM orders o
SELECT count(*) FILTER (WHERE o::text LIKE '%x%') FROM orders o
SELECT region FROM "Orders"
SELECT region FROM "ORDERS" o
SELECT name FROM "Customers"
SELECT "NAME" FROM "Customers"
SELECT id FROM customers
WITH "Secrets" AS (SELECT 1 AS id) SELECT count(*) FROM secrets
WITH "X" AS (SELECT 1 AS id) SELECT * FROM x
SELECT * FROM ONLY orders
SELECT region FROM orders QUALIFY row_number() OVER (PARTITION BY region ORDER BY id) = 1
""".strip().split("\n"),
    "mysql": """
SELECT `card` FROM `ORDERS`
SELECT `o`.`card` FROM `Orders` `o`
SELECT o.CARD FROM orders o
SELECT 1 FROM SECRETS
SELECT count(*) FROM Secrets
WITH Secrets AS (SELECT 1 AS id) SELECT count(*) FROM secrets, `mysql`.`user`
SELECT region FROM orders PROCEDURE ANALYSE()
SELECT region FROM orders WHERE MATCH (card) AGAINST ('x')
SELECT GROUP_CONCAT(card) FROM orders
SELECT region FROM orders QUALIFY row_number() OVER (ORDER BY id) = 1
""".strip().split("\n"),
    "sqlite": """
SELECT "card" FROM "ORDERS"
SELECT [card] FROM [orders]
SELECT `card` FROM `orders`
SELECT 'x' FROM orders WHERE [card] > 'a'
SELECT group_concat(card) FROM orders
SELECT * FROM orders INDEXED BY by_card
SELECT sql FROM sqlite_master
SELECT * FROM pragma_table_info('orders')
SELECT region FROM orders WHERE orders MATCH 'x'
SELECT highlight(orders, 0, 'a', 'b') FROM orders
SELECT region FROM orders QUALIFY row_number() OVER (ORDER BY id) = 1
""".strip().split("\n"),
}

# What honest questions need: runs in every dialect, and says nothing that is hidden.
FAIR = """
SELECT * FROM orders
SELECT o.* FROM orders o
SELECT Region, Amount FROM ORDERS
SELECT region AS orders, count(*) AS n FROM orders GROUP BY region ORDER BY orders
SELECT region, count(*) AS orders FROM orders GROUP BY region ORDER BY orders DESC
SELECT count(*) FROM orders
SELECT count(*) AS n FROM orders a JOIN orders b ON a.id = b.id
SELECT a.region FROM orders a JOIN orders b USING (id) ORDER BY a.region
SELECT count(*) AS n FROM (orders a JOIN orders b ON a.id = b.id)
WITH t(r, a) AS (SELECT region, amount FROM orders) SELECT r, sum(a) AS s FROM t GROUP BY r ORDER BY r
SELECT t.r FROM (SELECT region AS r, id FROM orders) AS t ORDER BY t.id
SELECT region, sum(amount) AS s FROM orders GROUP BY 1 HAVING sum(amount) > 0 ORDER BY 2 DESC
SELECT o.id, (SELECT count(*) FROM orders p WHERE p.id <= o.id) AS n FROM orders o ORDER BY o.id
SELECT region FROM orders WHERE amount > (SELECT avg(amount) FROM orders)
SELECT region FROM orders UNION SELECT region FROM orders ORDER BY region
SELECT sum(amount) OVER w AS s FROM orders WINDOW w AS (PARTITION BY region ORDER BY id)
SELECT upper(region) AS x FROM orders ORDER BY id
SELECT region FROM orders WHERE region LIKE '%or%h%'
SELECT replace(region, 'n', 'N') AS r FROM orders ORDER BY r
SELECT region FROM orders GROUP BY region ORDER BY sum(amount) DESC
""".strip().split("\n")
