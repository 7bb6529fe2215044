"""Attacks on keys, narrowing, the admin API and what remembers, over HTTP on a gateway that runs."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from observability.logs import LogFormat, configure_logging
from tests.integration.administered import ADMIN, HEAD, OWNER, VIEWER, call, chat
from tests.live import Gateway, is_known, running_gateway
from tests.processes import until

YAML = (
    HEAD
    + """\
models:
  quick: {{targets: [pretend/m]}}
  clever: {{targets: [pretend/n]}}
  kept: {{pipeline: kept}}
  also: {{pipeline: also}}
  each: {{pipeline: each}}
caches: {{answers: {{ttl: 1h}}, personal: {{ttl: 1h, scope: user}}}}
pipelines:
  kept: {{cache: answers, model: quick}}
  also: {{cache: answers, model: quick}}
  each: {{cache: personal, model: quick}}
admin:
  keys:
    olga: {{key: {OWNER}, role: owner}}
    adam: {ADMIN}
    vera: {{key: {VIEWER}, role: viewer}}
teams: {{support: {{}}}}
apps:
  one: {{keys: [test-key], team: support}}
"""
)


def yaml(folder: Path) -> str:
    return YAML.format(folder=folder, OWNER=OWNER, ADMIN=ADMIN, VIEWER=VIEWER)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with running_gateway(yaml(tmp_path), tmp_path) as running:
        yield running


def made(gateway: Gateway, app: str = "one", **options: Any) -> dict[str, Any]:
    """A new key that the gateway has seen."""
    answer = call(gateway, "POST", "/v1/keys", {"app": app, **options})
    assert answer.status == 201, answer.body
    found: dict[str, Any] = answer.json()
    until(lambda: is_known(gateway, found["key"]))
    return found


def tampered(gateway: Gateway, folder: Path, statement: str, *values: Any) -> None:
    """What somebody writes into the database past us; the gateway has seen it when this returns."""
    with contextlib.closing(sqlite3.connect(folder / "gatehouse.db")) as connection, connection:
        connection.execute(statement, values)
        connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'callers'")
        ((version,),) = connection.execute("SELECT value FROM meta WHERE name = 'callers'")
    assert gateway.server.runtime is not None
    keys = gateway.server.runtime.resources.accounts.keys
    assert keys is not None
    until(lambda: keys._snapshot.version >= version)


STRANGERS = ["", "test-key", "x" * 5000, ADMIN[:-1]]


@pytest.mark.parametrize("key", STRANGERS, ids=["none", "app", "long", "cut"])
def test_who_has_no_admin_key_is_refused_before_anything_is_read(gateway: Gateway, key: str) -> None:
    """Neither a route nor a method nor a mistake in a body is told to him, and his body is not kept."""
    for method, path, body in (
        ("POST", "/v1/keys", b"{"), ("POST", "/v1/keys", b"[" * 100_000), ("GET", "/v1/nonsense", None),
        ("PATCH", "/v1/keys", None), ("HEAD", "/v1/keys", None), ("OPTIONS", "/v1/keys", None),
        ("GET", "/v1/usage?by=nix&since=x", None), ("POST", "/v1/keys?x=%00", b"\x00"), ("GET", "//v1/keys", None),
    ):  # fmt: skip
        assert call(gateway, method, path, body, key).status == 401, (method, path)


def test_a_stranger_who_sends_without_end_is_answered_at_once(gateway: Gateway) -> None:
    head = b"POST /admin/v1/keys HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n%s\r\n\r\n"
    for framing in (b"content-length: 100000000000", b"transfer-encoding: chunked"):
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as connection:
            connection.sendall(head % framing)
            connection.sendall(b"5\r\n{    \r\n" if b"chunked" in framing else b"{")
            # He has not sent the end, and never will.
            assert b" 401 " in connection.recv(200).split(b"\r\n")[0]


def test_what_administrators_send_has_an_end_too(gateway: Gateway) -> None:
    large = b'{"app": "' + b"x" * 2_000_000 + b'"}'
    answer = call(gateway, "POST", "/v1/keys", large)
    assert (answer.status, answer.json()["error"]["code"]) == (413, "too_large")
    for body in (
        b"[" * 100_000,
        b'{"app":' * 50_000,
        b'{"app": ' + b"9" * 10_000 + b"}",
        b"\xff",
        b'{"app": "\\ud800"}',
    ):
        answer = call(gateway, "POST", "/v1/keys", body)
        assert answer.status in (400, 404), body[:20]
        assert answer.json()["error"]["message"]
    assert call(gateway, "GET", "/v1/keys").json() == []


@pytest.mark.parametrize("options", ["{", "[]", "null", '{"models": 7}', "[" * 100_000, '{"networks": "10.0.0.0/8"}'])
def test_a_row_that_is_spoilt_stops_nobody_else(gateway: Gateway, tmp_path: Path, options: str) -> None:
    spoilt, good = made(gateway), made(gateway)
    tampered(gateway, tmp_path, "UPDATE keys SET options = ? WHERE id = ?", options, spoilt["id"])
    assert [chat(gateway, each["key"]).status for each in (spoilt, good)] == [401, 200]
    listed = call(gateway, "GET", "/v1/keys", key=VIEWER)
    assert {each["id"]: each["state"] for each in listed.json()} == {spoilt["id"]: "unreadable", good["id"]: "good"}
    assert call(gateway, "DELETE", f"/v1/keys/{spoilt['id']}").status == 204


def test_a_party_that_is_spoilt_stops_only_its_own(gateway: Gateway, tmp_path: Path) -> None:
    for name in ("blue", "red"):
        assert call(gateway, "POST", "/v1/teams", {"name": name, "options": {"budget": "5 USD per day"}}).status == 201
        assert call(gateway, "POST", "/v1/apps", {"name": f"of-{name}", "options": {"team": name}}).status == 201
    blue, red = made(gateway, "of-blue"), made(gateway, "of-red")
    for options in ("{", '{"budget": "5 EUR per day"}', "[" * 100_000, '{"budget": 7}'):
        tampered(gateway, tmp_path, "UPDATE parties SET options = ? WHERE name = 'blue'", options)
        assert [chat(gateway, each["key"]).status for each in (blue, red)] == [401, 200], options[:30]
        assert chat(gateway).status == 200
        assert len(call(gateway, "GET", "/v1/teams", key=VIEWER).json()) == 3
        budgets = call(gateway, "GET", "/v1/budgets", key=VIEWER)
        assert [each["name"] for each in budgets.json()] == ["red"]
    assert call(gateway, "PUT", "/v1/teams/blue", {"options": {"budget": "5 USD per day"}}).status == 200
    until(lambda: chat(gateway, blue["key"]).status == 200)


def test_a_currency_that_leaves_the_file_stops_only_its_own(tmp_path: Path) -> None:
    with running_gateway(yaml(tmp_path) + "currencies: {EUR: 1.08 USD}\n", tmp_path) as gateway:
        assert call(gateway, "POST", "/v1/apps", {"name": "x", "options": {"budget": "5 EUR per day"}}).status == 201
        assert chat(gateway, made(gateway, "x")["key"]).status == 200
    with running_gateway(yaml(tmp_path) + "currencies: {}\n", tmp_path) as gateway:
        key = call(gateway, "POST", "/v1/keys", {"app": "x"}).json()["key"]
        # A later key is known: the earlier one is refused, and not unheard of.
        made(gateway)
        assert [chat(gateway, each).status for each in (key, "test-key")] == [401, 200]
        assert call(gateway, "GET", "/v1/budgets").status == 200


@contextlib.contextmanager
def logging(log: LogFormat = "json") -> Iterator[None]:
    before = structlog.get_config()
    configure_logging(log)
    try:
        yield
    finally:
        structlog.configure(**before)


def test_logs_hold_no_key_and_name_who_was_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with running_gateway(yaml(tmp_path).replace('log: "off"', "log: json"), tmp_path) as gateway, logging():
        key = made(gateway)
        secrets = [key["key"], key["key"][14:40], OWNER, VIEWER, "swordfish"]
        # A mistake of ours, by a row that nobody would write.
        tampered(gateway, tmp_path, "UPDATE keys SET expires_ms = 'soon' WHERE id = ?", key["id"])
        chat(gateway, key["key"])
        chat(gateway, "swordfish-" * 4)
        chat(gateway, "test-key", "swordfish")
        gateway.request("POST", "/v1/chat/completions?key=swordfish", {}, {"authorization": ""})
        call(gateway, "DELETE", "/v1/cache", key=VIEWER)
        call(gateway, "GET", "/v1/keys", key="swordfish-swordfish-swordfish")
        call(gateway, "POST", "/v1/keys", {"app": "one", "name": "\u001b[31m"})
        call(gateway, "DELETE", "/v1/cache?app=%1b%5b31m%0a%7b%22level%22%3a%22error%22%7d", key=OWNER)
        time.sleep(0.4)
        metrics = gateway.request("GET", "/metrics").body.decode()
        health = gateway.request("GET", "/health").body.decode()
        rows = (
            call(gateway, "GET", "/v1/requests").body.decode()
            + call(gateway, "GET", "/v1/usage?by=model").body.decode()
        )
        told = capfd.readouterr().err
    for secret in secrets:
        for where in (told, metrics, health, rows):
            assert secret not in where, secret
    assert "\x1b" not in told
    refused = [line for line in map(json.loads, told.splitlines()) if line["event"] == "admin request refused"]
    assert [(each["problem"], each.get("actor")) for each in refused] == [("role", "vera"), ("key", None)]


def test_one_user_does_not_read_anothers_kept_answer(gateway: Gateway) -> None:
    """Whoever a token or the header names: not what anybody can write into the body."""

    def ask(user: str, said: str = "") -> str:
        body = {"model": "each", "messages": [{"role": "user", "content": "Hello"}], "user": said}
        return gateway.request("POST", "/v1/chat/completions", body, {"x-gatehouse-user": user}).headers[
            "x-gatehouse-cache"
        ]

    assert [ask("anna"), ask("anna"), ask("bert", "anna"), ask("bert"), ask("anna", "bert")] == [
        "miss", "exact", "miss", "exact", "exact",
    ]  # fmt: skip


def test_a_narrowed_key_purges_only_what_it_may_ask(gateway: Gateway) -> None:
    narrow = made(gateway, models=["kept"])["key"]
    piped = made(gateway, pipelines=["kept"])["key"]

    def purge(key: str, path: str = "") -> tuple[int, Any]:
        answer = gateway.request("DELETE", f"/v1/cache{path}", None, {"authorization": f"Bearer {key}"})
        return answer.status, answer.json().get("removed")

    entry = ""
    for model in ("kept", "also"):
        chat(gateway, model=model)
        entry = chat(gateway, model=model).headers["x-gatehouse-cache-entry"]
    for key in (narrow, piped):
        assert purge(key, "?model=also") == (200, 0)
        assert purge(key, f"/{entry}")[0] == 404
        assert purge(key) == (200, 1)
        assert chat(gateway, model="also").headers["x-gatehouse-cache"] == "exact"
        assert chat(gateway, model="kept").headers["x-gatehouse-cache"] == "miss"
    assert purge("test-key", f"/{entry}") == (200, 1)


def test_digits_that_are_none(gateway: Gateway) -> None:
    """`isdigit` takes more for digits than `int` does."""
    assert chat(gateway, model="kept", cache_control="max-age=\u00b2").status == 200
    body = {"model": "quick", "messages": [{"role": "user", "content": "Hi"}], "gatehouse": {"cache": "max-age=\u00b2"}}
    assert gateway.request("POST", "/v1/chat/completions", body).status == 200


def test_the_files_that_are_kept_are_for_nobody_else(gateway: Gateway, tmp_path: Path) -> None:
    key = made(gateway)["key"]
    assert chat(gateway, key).status == 200
    for name in ("keys.copy", "pepper", "gatehouse.db"):
        assert os.stat(tmp_path / name).st_mode & 0o077 == 0, name


def test_a_row_of_other_kinds_stops_nobody_else(gateway: Gateway, tmp_path: Path) -> None:
    spoilt, good = made(gateway), made(gateway)
    for column, value in (("expires_ms", "soon"), ("digest", b"\xff"), ("options", 7), ("app", b"\x00"), ("name", 1.5)):
        tampered(gateway, tmp_path, f"UPDATE keys SET {column} = ? WHERE id = ?", value, spoilt["id"])
        assert [chat(gateway, each["key"]).status for each in (spoilt, good)] == [401, 200], column
        assert good["id"] in {each["id"] for each in call(gateway, "GET", "/v1/keys", key=VIEWER).json()}
    tampered(
        gateway,
        tmp_path,
        "INSERT INTO parties (kind, name, options, created_ms) VALUES (7, ?, ?, 'x')",
        b"\xff",
        b"\x00",
    )
    assert chat(gateway, good["key"]).status == 200
    assert "keys" in gateway.request("GET", "/readyz").json()["parts"]
    assert gateway.request("GET", "/readyz").json()["parts"]["keys"].startswith("ready")


@pytest.fixture(scope="module")
def on_postgres(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("attacks")
    text = yaml(folder).replace(f'sqlite:///{folder}/gatehouse.db"', f'{postgres_url}", pepper: {"p" * 40}')
    with running_gateway(text, folder) as gateway:
        yield gateway


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/keys?app=%00", None, 200),
        ("GET", "/v1/keys?app=%ff%27%20OR%201=1--", None, 200),
        ("DELETE", "/v1/keys/%00", None, 404),
        ("POST", "/v1/keys/a%00b/rotate", {}, 404),
        ("DELETE", "/v1/apps/%00", None, 404),
        ("PUT", "/v1/apps/a%00", {"options": {}}, 400),
        ("POST", "/v1/apps", {"name": "x", "options": {"labels": ["\0"]}}, 400),
        ("POST", "/v1/keys", {"app": "\0"}, 404),
        ("POST", "/v1/keys", {"app": "one", "name": "\0"}, 400),
        ("GET", "/v1/requests/%00", None, 404),
        ("GET", "/v1/requests?user=%00&before=%00", None, 200),
        ("GET", "/v1/audit?before=-99999999999999999999", None, 200),
        ("GET", "/v1/audit/verify?head=999999999999999999:" + "0" * 64, None, 200),
        ("GET", "/v1/usage?by=" + ",".join(["app"] * 3000), None, 200),
        ("DELETE", "/v1/cache?app=%00&model=%00", None, 200),
    ],
)  # fmt: skip
def test_no_word_is_taken_for_a_fault_of_the_database(
    on_postgres: Gateway, method: str, path: str, body: Any, status: int
) -> None:
    answer = call(on_postgres, method, path, body, OWNER)
    assert answer.status == status, answer.body


def test_nobody_writes_lines_of_his_own_into_a_log_for_people(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    behind = yaml(tmp_path).replace("server: {", "server: {trusted_proxies: [127.0.0.1], ")
    with running_gateway(behind, tmp_path) as gateway, logging("text"):
        forged = "%1b%5b2J%0a2026-11-21%20%5binfo%5d%20all%20is%20well"
        assert call(gateway, "DELETE", f"/v1/cache?app={forged}", key=OWNER).status == 200
        headers = {"authorization": "Bearer nobody", "x-forwarded-for": "\x9b2J1.2.3.4 actor=olga"}
        assert gateway.request("GET", "/admin/v1/keys", None, headers).status == 401
        told = capfd.readouterr().err
    assert len(told.splitlines()) == 2
    assert "\x1b[2J" not in told
    assert "\x9b" not in told
    assert "all is well" in told
