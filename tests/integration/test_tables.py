"""Questions answered from rows, through HTTP: SQL by a model, proven, run, cited; follow-ups that stand alone."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.configs import assert_refused
from tests.live import Gateway, running_gateway
from tests.recording import HEAD, Recording

YAML = (
    HEAD
    + """\
models:
  plain: {{targets: [up/m]}}
  shop: {{pipeline: shop}}
  files: {{pipeline: files}}
  talk: {{pipeline: talk}}
pipelines:
  shop: {{context: {{from: [orders], rewrite: null}}, model: plain}}
  files: {{context: {{from: [sheet], rewrite: null}}, model: plain}}
  talk: {{context: {{from: [notes], rewrite: plain}}, model: plain}}
sources:
  orders:
    kind: sql
    database: sqlite:///shop.db
    model: plain
    tables: {{orders: [region, amount]}}
    labels: [finance]
  sheet: {{kind: sql, files: {{sales: sales.csv}}, model: plain}}
  notes: {{kind: documents}}
apps:
  one: {{keys: [test-key], labels: [finance], ingest: [notes]}}
  two: {{keys: [other-key]}}
observe: {{log: "off"}}
"""
)


@pytest.fixture(scope="module")
def gateway(recorder: Recording, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("tables")
    connection = sqlite3.connect(folder / "shop.db")
    connection.execute("CREATE TABLE orders (region TEXT, amount REAL, secret TEXT)")
    connection.execute("CREATE TABLE users (name TEXT, password TEXT)")
    rows = [("north", 10.0, "s"), ("north", 30.0, "s"), ("south", 5.0, "s")]
    connection.executemany("INSERT INTO orders VALUES (?, ?, ?)", rows)
    connection.commit()
    connection.close()
    (folder / "sales.csv").write_text("month,total\n2024-01,7\n2024-02,9\n")
    with running_gateway(YAML.format(port=recorder.port), folder) as running:
        yield running


def ask(gateway: Gateway, model: str, *turns: str, key: str = "test-key") -> Any:
    messages = [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(turns)]
    body = {"model": model, "messages": messages}
    return gateway.request("POST", "/v1/chat/completions", body, {"authorization": f"Bearer {key}"})


def test_rows_answer_and_their_sql_is_cited(gateway: Gateway, upstream: Recording) -> None:
    upstream.answers += [
        lambda _: "```sql\nSELECT region, avg(amount) AS average FROM orders GROUP BY region ORDER BY 1\n```",
        lambda _: "20 in the north [1].",
    ]
    message = ask(gateway, "shop", "What is the average order by region?").json()["choices"][0]["message"]
    asked = json.dumps(upstream.bodies[0])
    assert "orders(region TEXT such as 'north' 'north' 'south', amount REAL" in asked
    assert "secret" not in asked
    assert "users" not in asked
    given = json.dumps(upstream.bodies[1])
    assert "| north | 20.0 |" in given
    source = message["gatehouse"]["sources"][0]
    assert source["cited"]
    assert source["place"].startswith('SELECT "orders"."region" AS "region", AVG("orders"."amount")')


@pytest.mark.parametrize(
    "bad",
    ["DELETE FROM orders", "SELECT * FROM users", "SELECT secret FROM orders", "SELECT nothing FROM orders", "hm?"],
)
def test_a_query_that_may_not_run_is_written_again(gateway: Gateway, upstream: Recording, bad: str) -> None:
    upstream.answers += [lambda _: bad, lambda _: "SELECT count(*) AS n FROM orders", lambda _: "Three [1]."]
    assert b"Three" in ask(gateway, "shop", f"How many orders are there? ({bad})").body
    assert "That can't run" in json.dumps(upstream.bodies[1])
    assert "| 3 |" in json.dumps(upstream.bodies[2])


def test_bounded_attempts_and_none(gateway: Gateway, upstream: Recording) -> None:
    upstream.answers += [lambda _: "DROP TABLE orders"] * 3 + [lambda _: "I don't know."]
    assert b"I don't know" in ask(gateway, "shop", "How many orders?").body
    assert len(upstream.bodies) == 4
    assert "retrieved_context" not in json.dumps(upstream.bodies[-1])
    upstream.bodies.clear()
    upstream.answers += [lambda _: "NONE", lambda _: "No idea."]
    assert b"No idea" in ask(gateway, "shop", "How many moons has the average planet?").body
    assert len(upstream.bodies) == 2


def test_a_question_that_has_nothing_to_do_with_tables_costs_no_call(gateway: Gateway, upstream: Recording) -> None:
    assert ask(gateway, "shop", "Tell me a joke").status == 200
    assert len(upstream.bodies) == 1


def test_an_app_without_the_label_gets_no_rows(gateway: Gateway, upstream: Recording) -> None:
    assert ask(gateway, "shop", "What is the average order by region?", key="other-key").status == 200
    assert len(upstream.bodies) == 1


def test_files_are_tables_too(gateway: Gateway, upstream: Recording) -> None:
    upstream.answers += [lambda _: "SELECT sum(total) AS s FROM sales", lambda _: "16 [1]."]
    assert b"16" in ask(gateway, "files", "What is the total of sales?").body
    assert "| 16 |" in json.dumps(upstream.bodies[1])
    upstream.answers += [lambda _: "SELECT * FROM read_csv('/etc/passwd')"] * 3 + [lambda _: "No."]
    ask(gateway, "files", "What is the total of sales?")
    assert "root" not in upstream.seen


def test_a_follow_up_stands_alone(gateway: Gateway, upstream: Recording) -> None:
    documents = [{"id": "a.md", "text": "Emily Doe last bought a red bicycle."}]
    assert gateway.request("POST", "/v1/sources/notes/documents", {"documents": documents}).status == 200
    upstream.answers += [
        lambda _: '{"question": "When did Emily Doe last buy something?", "unknown": ""}',
        lambda _: "A bicycle [1].",
    ]
    ask(gateway, "talk", "When did John Doe last buy something?", "In May.", "How about Emily Doe?")
    assert len(upstream.bodies) == 2
    assert "red bicycle" in json.dumps(upstream.bodies[1])
    # The user's own words stay as they are.
    assert upstream.bodies[1]["messages"][-1]["content"][-1]["text"] == "How about Emily Doe?"


def test_what_nobody_said_is_asked_back_and_a_silent_model_is_no_harm(gateway: Gateway, upstream: Recording) -> None:
    upstream.answers += [lambda _: '{"question": "What about his wife?", "unknown": "who he is"}', lambda _: "Who?"]
    ask(gateway, "talk", "Hello", "Hi!", "And his wife?")
    assert "ask the user what is meant" in json.dumps(upstream.bodies[-1])
    upstream.bodies.clear()
    upstream.answers += [lambda _: "I won't", lambda _: "Fine."]
    assert ask(gateway, "talk", "What did Emily Doe last buy?", "A thing.", "And what colour was it?").status == 200
    assert "red bicycle" in json.dumps(upstream.bodies[-1])


def test_a_question_that_stands_alone_is_not_rewritten(gateway: Gateway, upstream: Recording) -> None:
    ask(gateway, "talk", "Hello", "Hi!", "Please list all medals of the Norwegian biathlon team since 1990")
    assert len(upstream.bodies) == 1


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{kind: sql, model: plain}", "either database or files"),
        ("{kind: sql, model: other, files: {a: a.csv}}", "there is no"),
        ("{kind: sql, model: plain, database: 'oracle://x'}", "this is not a database URL"),
        ("{kind: sql, model: plain, files: {a: missing.csv}}", "does not exist"),
    ],
)
def test_bad_sources_are_refused(tmp_path: Path, source: str, words: str) -> None:
    assert_refused(
        tmp_path,
        "version: 1\nproviders: {p: {kind: simulated}}\nmodels: {plain: {targets: [p/m]}}\n"
        f"sources: {{s: {source}}}\n",
        words,
    )
