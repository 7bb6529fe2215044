"""`gatehouse keys | apps | teams | organisations | usage | audit | backup`, as typed, on a real database."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.commands.cli import app
from tests.live import Gateway, running_gateway
from tests.processes import until

YAML = """
version: 1
server: {{database: "{url}", data: "{folder}", pepper: "{pepper}"}}
providers: {{pretend: {{kind: simulated}}}}
models: {{quick: {{targets: [pretend/m]}}}}
prices: {{pretend/m: {{input: 1, output: 2}}}}
teams: {{blue: {{}}}}
apps: {{one: {{keys: [test-key], team: blue}}}}
observe: {{log: "off"}}
"""
Command = Callable[..., Result]


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("db")
    if request.param == "sqlite":
        return f"sqlite:///{folder}/gatehouse.db"
    address: str = request.getfixturevalue("postgres_url")
    return address


@pytest.fixture
def yaml(url: str, tmp_path: Path) -> str:
    return YAML.format(url=url, folder=tmp_path, pepper="p" * 32)


@pytest.fixture
def command(yaml: str, tmp_path: Path) -> Command:
    path = tmp_path / "gatehouse.yaml"
    path.write_text(yaml)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, [*arguments, "--config", str(path)])

    return run


def chat(gateway: Gateway, key: str) -> int:
    body = {"model": "quick", "messages": [{"role": "user", "content": "Hello"}]}
    return gateway.request("POST", "/v1/chat/completions", body, {"authorization": f"Bearer {key}"}).status


def until_answered(gateway: Gateway, key: str, status: int) -> None:
    until(lambda: chat(gateway, key) == status)


def test_a_running_server_follows(command: Command, yaml: str, tmp_path: Path) -> None:
    with running_gateway(yaml, tmp_path) as gateway:
        made = command("keys", "create", "--app", "one", "--name", "ci", "--expires", "90d")
        assert made.exit_code == 0
        # The key alone is on stdout, so that a script can take it.
        key = made.stdout.strip()
        assert key.startswith("gh-")
        assert "\n" not in key
        until_answered(gateway, key, 200)
        identity = key.split("-")[1]
        assert identity in command("keys", "list", "--app", "one").stdout
        new = command("keys", "rotate", identity, "--overlap", "0").stdout.strip()
        until_answered(gateway, key, 401)
        until_answered(gateway, new, 200)
        assert command("keys", "revoke", new.split("-")[1]).exit_code == 0
        until_answered(gateway, new, 401)

        assert command("apps", "add", "extra", "--options", '{"team": "blue", "models": ["quick"]}').exit_code == 0
        extra = command("keys", "create", "--app", "extra").stdout.strip()
        until_answered(gateway, extra, 200)
        assert command("apps", "change", "extra", "--options", '{"models": []}').exit_code == 0
        until_answered(gateway, extra, 404)
        assert command("apps", "remove", "extra").exit_code == 0
        until_answered(gateway, extra, 401)
        time.sleep(0.5)
    listed = json.loads(command("keys", "list", "--json").stdout)
    assert {each["state"] for each in listed} == {"revoked", "expired"}
    rows = list(csv.DictReader(io.StringIO(command("usage", "--by", "app", "--csv", "--only", "team=blue").stdout)))
    assert {row["app"] for row in rows} >= {"one"}
    assert all(int(row["requests"]) > 0 for row in rows)
    assert command("usage", "--by", "day").stdout.splitlines()[-1].startswith("total")
    audit = command("audit", "list", "--limit", "500")
    for word in ("key.create", "key.rotate", "key.revoke", "app.create", "app.change", "app.remove", "config.load"):
        assert word in audit.stdout
    assert "intact" in command("audit", "verify").stdout


WRONG = [
    (("keys", "create", "--app", "none"), "there is no app none"),
    (("keys", "create", "--app", "one", "--model", "none"), "there is no none"),
    (("keys", "create", "--app", "one", "--expires", "soon"), "use 90d"),
    (("keys", "rotate", "none"), "the key does not exist"),
    (("keys", "revoke", "none"), "the key does not exist"),
    (("apps", "add", "x", "--options", "{"), "not JSON"),
    (("apps", "add", "x", "--options", "[]"), "JSON object"),
    (("apps", "add", "one"), "configuration file"),
    (("apps", "add", "x", "--options", '{"limits": {}}'), "limits"),
    (("teams", "remove", "none"), "there is no team none"),
    (("usage", "--by", "none"), "unknown group"),
    (("usage", "--only", "none=1"), "unknown filter"),
    (("usage", "--since", "soon"), "is not a time"),
    (("audit", "verify", "--head", "x"), "head"),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG, ids=[" ".join(each[0])[:40] for each in WRONG])
def test_wrong_input_says_what_is_right(command: Command, arguments: tuple[str, ...], said: str) -> None:
    answer = command(*arguments)
    assert answer.exit_code == 2
    assert said in answer.stderr
    assert "Traceback" not in answer.output


def test_a_copy_of_the_database(command: Command, url: str, tmp_path: Path) -> None:
    made = command("keys", "create", "--app", "one").stdout.strip()
    answer = command("backup", str(tmp_path / "copy.db"))
    if url.startswith("postgres"):
        assert answer.exit_code == 2
        assert "pg_dump" in answer.stderr
        assert url not in answer.stderr
        return
    assert answer.exit_code == 0
    with sqlite3.connect(tmp_path / "copy.db") as connection:
        assert (made.split("-")[1],) in connection.execute("SELECT id FROM keys").fetchall()
    assert "already exists" in command("backup", str(tmp_path / "copy.db")).stderr


def test_without_a_database_and_with_one_that_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "g.yaml"
    base = YAML.format(url="", folder=tmp_path, pepper="p" * 32)
    for url, said, code in (("", "server.database", 2), ("postgresql://127.0.0.1:1/none", "can't be reached", 1)):
        path.write_text(base.replace('database: ""', f'database: "{url}"'))
        answer = CliRunner().invoke(app, ["keys", "list", "--config", str(path)])
        assert answer.exit_code == code
        assert said in answer.stderr
