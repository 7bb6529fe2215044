"""The admin API: who may use it, what it does, and that it tells nobody what is not theirs."""

from __future__ import annotations

import http.client
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.administered import ADMIN, HEAD, OWNER, VIEWER, call, chat
from tests.live import Gateway, free_port, running_gateway
from tests.processes import until

YAML = (
    HEAD
    + """\
models:
  quick: {{targets: [pretend/m]}}
  clever: {{targets: [pretend/n]}}
  kept: {{pipeline: kept}}
caches: {{answers: {{ttl: 1h}}}}
pipelines: {{kept: {{cache: answers, model: quick}}}}
admin:
  {listen}
  keys:
    olga: {{key: {OWNER}, role: owner}}
    adam: {ADMIN}
    vera: {{key: {VIEWER}, role: viewer}}
organisations: {{acme: {{budget: 100 USD per month}}}}
teams: {{support: {{organisation: acme}}}}
apps:
  one: {{keys: [test-key], team: support, budget: 1 USD per day}}
"""
)


def yaml(folder: Path, listen: str = "") -> str:
    return YAML.format(folder=folder, OWNER=OWNER, ADMIN=ADMIN, VIEWER=VIEWER, listen=listen)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with running_gateway(yaml(tmp_path), tmp_path) as running:
        yield running


def until_answered(gateway: Gateway, key: str, status: int) -> None:
    until(lambda: chat(gateway, key).status == status)


def test_a_key_from_its_making_to_its_end(gateway: Gateway) -> None:
    made = call(gateway, "POST", "/v1/keys", {"app": "one", "name": "laptop", "expires": "90d", "models": ["quick"]})
    assert made.status == 201
    key, identity = made.json()["key"], made.json()["id"]
    assert key.startswith(f"gh-{identity}-")
    until_answered(gateway, key, 200)
    assert chat(gateway, key, "clever").status == 404
    listed = call(gateway, "GET", "/v1/keys?app=one", key=VIEWER)
    assert [(each["id"], each["name"], each["state"], each["options"]) for each in listed.json()] == [
        (identity, "laptop", "good", {"models": ["quick"]})
    ]
    # It is told once.
    assert key.encode() not in listed.body

    rotated = call(gateway, "POST", f"/v1/keys/{identity}/rotate", {"overlap": "1h"})
    assert rotated.status == 201
    assert rotated.json()["replaces"] == identity
    new = rotated.json()["key"]
    until_answered(gateway, new, 200)
    assert chat(gateway, key).status == 200
    # Whoever has lost the answer rotates the new one: the old one's days are numbered.
    again = call(gateway, "POST", f"/v1/keys/{identity}/rotate", {"overlap": "0"})
    assert again.status == 409
    assert rotated.json()["id"] in again.json()["error"]["message"]
    assert call(gateway, "DELETE", f"/v1/keys/gh-{identity}").status == 204
    until_answered(gateway, key, 401)

    assert call(gateway, "DELETE", f"/v1/keys/{rotated.json()['id']}").status == 204
    until_answered(gateway, new, 401)
    assert call(gateway, "POST", f"/v1/keys/{rotated.json()['id']}/rotate").status == 409
    assert call(gateway, "DELETE", "/v1/keys/nonesuch").status == 404


def test_no_key_is_anywhere_but_in_its_answer(gateway: Gateway, tmp_path: Path) -> None:
    made = call(gateway, "POST", "/v1/keys", {"app": "one"}).json()
    until_answered(gateway, made["key"], 200)
    secret = made["key"].split("-", 2)[2].encode()
    time.sleep(0.5)
    for path in (each for each in tmp_path.rglob("*") if each.is_file()):
        assert secret not in path.read_bytes(), path
        assert path.suffix == ".yaml" or path.name.startswith("counters") or path.stat().st_mode & 0o077 == 0, path
    assert secret not in call(gateway, "GET", "/v1/audit").body


def test_parties(gateway: Gateway) -> None:
    assert call(gateway, "POST", "/v1/teams", {"name": "blue", "options": {"organisation": "acme"}}).status == 201
    options = {"team": "blue", "models": ["quick"], "limits": {"requests": "2 per hour"}}
    assert call(gateway, "POST", "/v1/apps", {"name": "extra", "options": options}).status == 201
    assert call(gateway, "POST", "/v1/apps", {"name": "extra", "options": options}).status == 409
    key = call(gateway, "POST", "/v1/keys", {"app": "extra"}).json()["key"]
    until_answered(gateway, key, 200)
    assert chat(gateway, key, "clever").status == 404
    assert [chat(gateway, key).status for _ in range(2)] == [200, 429]
    changed = {**options, "limits": {"requests": "100 per hour"}, "models": ["clever"]}
    assert call(gateway, "PUT", "/v1/apps/extra", {"options": changed}).status == 200
    until(lambda: (chat(gateway, key).status, chat(gateway, key, "clever").status) == (404, 200))
    listed = {each["name"]: each["source"] for each in call(gateway, "GET", "/v1/apps", key=VIEWER).json()}
    assert listed == {"one": "config", "extra": "database"}
    assert call(gateway, "GET", "/v1/apps/extra").json()["options"]["models"] == ["clever"]
    # What the file declares is the file's.
    for method, path, body in (("PUT", "/v1/apps/one", {"options": {}}), ("DELETE", "/v1/teams/support", None)):
        assert call(gateway, method, path, body).status == 409
    refused = call(gateway, "DELETE", "/v1/teams/blue")
    assert refused.status == 409
    assert b"extra" in refused.body
    assert call(gateway, "DELETE", "/v1/apps/extra").status == 204
    until_answered(gateway, key, 401)
    assert call(gateway, "DELETE", "/v1/teams/blue").status == 204


WRONG: list[tuple[str, Any, str]] = [
    ("/v1/keys", {"app": "none"}, "there is no app none"),
    ("/v1/keys", {"app": "one", "models": ["nope"]}, "nope"),
    ("/v1/keys", {"app": "one", "expires": "yesterday"}, "not a time"),
    ("/v1/keys", {"app": "one", "expires": "2020-01-01"}, "in the past"),
    ("/v1/keys", {"app": "one", "expires": "99999d"}, "ten years"),
    ("/v1/keys", {"app": "one", "networks": ["here"]}, "is not a network"),
    ("/v1/keys", {"app": "one", "surfaces": ["cohere"]}, "cohere"),
    ("/v1/keys", {"app": "one", "admin": True}, "admin"),
    ("/v1/keys", {"app": "one", "name": "a\nb"}, "printable"),
    ("/v1/keys", {"app": "' OR 1=1 --"}, "there is no app"),
    ("/v1/keys", {}, "app"),
    ("/v1/keys", b"{", "JSON"),
    ("/v1/apps", {"name": "", "options": {}}, "name"),
    ("/v1/apps", {"name": "../up", "options": {}}, "name"),
    ("/v1/apps", {"name": "x", "options": {"keys": ["k"]}}, "keys create"),
    ("/v1/apps", {"name": "x", "options": {"models": ["nope"]}}, "nope"),
    ("/v1/apps", {"name": "x", "options": {"team": "nope"}}, "nope"),
    ("/v1/apps", {"name": "x", "options": {"budget": "5 EUR per day"}}, "EUR"),
    ("/v1/apps", {"name": "x", "options": {"budget": "lots"}}, "budget"),
    ("/v1/apps", {"name": "x", "options": {"bugdet": "5 USD per day"}}, "bugdet"),
    ("/v1/teams", {"name": "x", "options": {"organisation": 7}}, "organisation"),
]


@pytest.mark.parametrize(("path", "body", "said"), WRONG, ids=[str(each[2]) + str(i) for i, each in enumerate(WRONG)])
def test_wrong_input_is_told_and_changes_nothing(gateway: Gateway, path: str, body: Any, said: str) -> None:
    answer = call(gateway, "POST", path, body)
    assert answer.status in (400, 404)
    assert said in answer.json()["error"]["message"]
    assert call(gateway, "GET", "/v1/keys").json() == []
    assert [each["name"] for each in call(gateway, "GET", "/v1/apps").json()] == ["one"]


def test_a_packed_body_is_told(gateway: Gateway) -> None:
    headers = {"authorization": f"Bearer {ADMIN}", "content-type": "application/json", "content-encoding": "gzip"}
    answer = gateway.request("POST", "/admin/v1/keys", b"x", headers)
    assert answer.status == 415
    assert answer.headers["accept-encoding"] == "identity"
    assert answer.json()["error"]["code"] == "packed"


def test_what_is_read(gateway: Gateway) -> None:
    for model in ("quick", "quick", "clever"):
        assert chat(gateway, "test-key", model).status == 200

    def usage() -> dict[str, int]:
        rows = call(gateway, "GET", "/v1/usage?by=model&team=support", key=VIEWER).json()
        return {each["model"]: each["requests"] for each in rows}

    until(lambda: sum(usage().values()) >= 3)
    assert usage() == {"quick": 2, "clever": 1}
    csv = call(gateway, "GET", "/v1/usage?by=app,model&format=csv", key=VIEWER)
    assert csv.headers["content-type"].startswith("text/csv")
    assert csv.body.count(b"\n") == 3
    first = call(gateway, "GET", "/v1/requests?limit=2", key=VIEWER).json()
    rest = call(gateway, "GET", f"/v1/requests?limit=2&before={first['next']}", key=VIEWER).json()
    assert (len(first["requests"]), len(rest["requests"]), rest["next"]) == (2, 1, "")
    one = call(gateway, "GET", f"/v1/requests/{first['requests'][0]['id']}", key=VIEWER).json()
    assert one["model"] == "clever"
    assert len(one["attempts"]) == 1
    assert one["attempts"][0]["cost"] == one["cost"]
    budgets = {each["name"]: each for each in call(gateway, "GET", "/v1/budgets", key=VIEWER).json()}
    spent = sum(float(each["cost"]) for each in call(gateway, "GET", "/v1/usage?by=app").json())
    assert float(budgets["one"]["left_usd"]) == pytest.approx(1 - spent, abs=1e-9)
    assert float(budgets["acme"]["left_usd"]) == pytest.approx(100 - spent, abs=1e-9)
    for path in ("/v1/usage?by=nix", "/v1/usage?nix=1", "/v1/usage?format=xml", "/v1/requests?limit=0",
                 "/v1/usage?since=x", "/v1/requests?limit=x"):  # fmt: skip
        assert call(gateway, "GET", path).status == 400, path
    assert call(gateway, "GET", "/v1/requests/nonesuch").status == 404


def test_the_audit_names_who_did_it(gateway: Gateway, tmp_path: Path) -> None:
    identity = call(gateway, "POST", "/v1/keys", {"app": "one"}).json()["id"]
    call(gateway, "DELETE", f"/v1/keys/{identity}", key=OWNER)
    call(gateway, "POST", "/v1/reload", key=OWNER)
    rows = call(gateway, "GET", "/v1/audit?limit=500", key=VIEWER).json()["audit"]
    told = {(each["actor"], each["action"], each["subject"]) for each in rows}
    assert {("adam", "key.create", identity), ("olga", "key.revoke", identity)} <= told
    assert {("gatehouse", "config.load"), ("olga", "config.reload")} <= {each[:2] for each in told}
    verified = call(gateway, "GET", "/v1/audit/verify", key=VIEWER).json()
    assert verified["intact"] is True
    with sqlite3.connect(tmp_path / "gatehouse.db") as connection:
        connection.execute("UPDATE audit SET actor = 'nobody' WHERE action = 'key.revoke'")
    broken = call(gateway, "GET", f"/v1/audit/verify?head={verified['head']}", key=VIEWER).json()
    assert broken["intact"] is False
    assert broken["why"] == "changed"
    assert call(gateway, "GET", "/v1/audit/verify?head=x").status == 400


def test_caches_are_purged_for_all(gateway: Gateway) -> None:
    first, second = chat(gateway, "test-key", "kept"), chat(gateway, "test-key", "kept")
    assert (first.headers["x-gatehouse-cache"], second.headers["x-gatehouse-cache"]) == ("miss", "exact")
    assert call(gateway, "DELETE", "/v1/cache", key=ADMIN).status == 403
    assert call(gateway, "DELETE", "/v1/cache?model=other", key=OWNER).json() == {"removed": 0}
    assert call(gateway, "DELETE", "/v1/cache?older_than=1h", key=OWNER).json() == {"removed": 0}
    assert call(gateway, "DELETE", "/v1/cache?older_than=soon", key=OWNER).status == 400
    assert call(gateway, "DELETE", "/v1/cache", key=OWNER).json() == {"removed": 1}
    assert chat(gateway, "test-key", "kept").headers["x-gatehouse-cache"] == "miss"


ROUTES = [
    ("GET", "/v1/keys", "viewer"), ("POST", "/v1/keys", "admin"), ("DELETE", "/v1/keys/x", "admin"),
    ("POST", "/v1/keys/x/rotate", "admin"), ("POST", "/v1/apps", "admin"), ("PUT", "/v1/teams/x", "admin"),
    ("DELETE", "/v1/organisations/x", "admin"), ("GET", "/v1/usage", "viewer"), ("GET", "/v1/requests", "viewer"),
    ("GET", "/v1/budgets", "viewer"), ("GET", "/v1/audit", "viewer"), ("GET", "/v1/audit/verify", "viewer"),
    ("DELETE", "/v1/cache", "owner"), ("POST", "/v1/reload", "owner"), ("GET", "/openapi.json", "viewer"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "role"), ROUTES)
def test_who_may_what(gateway: Gateway, method: str, path: str, role: str) -> None:
    bad = {"nonsense": True} if method in ("POST", "PUT") else None
    for name, key in (("viewer", VIEWER), ("admin", ADMIN), ("owner", OWNER)):
        status = call(gateway, method, path, bad, key).status
        allowed = ("viewer", "admin", "owner").index(name) >= ("viewer", "admin", "owner").index(role)
        assert (status != 403) is allowed, (name, status)
        assert status not in (401, 500)
    for wrong in ("", "test-key", "x" * 5000, ADMIN[:-1], ADMIN + "x", "ü"):
        assert call(gateway, method, path, bad, wrong).status == 401
    # The hash of a key, which may stand in a file that many read, is no key.
    from config import hash_key

    assert call(gateway, method, path, bad, f"sha256:{hash_key(OWNER)}").status == 401
    assert chat(gateway, OWNER).status == 401


def test_the_schema_describes_every_route(gateway: Gateway) -> None:
    schema = call(gateway, "GET", "/openapi.json", key=VIEWER).json()
    told = {(method.upper(), path) for path, methods in schema["paths"].items() for method in methods}
    assert {(method, path) for method, path in told if "{" not in path} >= {
        (method, path) for method, path, _ in ROUTES if "/x" not in path and path != "/openapi.json"
    }
    assert all(each.get("summary") for methods in schema["paths"].values() for each in methods.values())
    assert "CreatedKey" in schema["components"]["schemas"]


def test_without_keys_there_is_no_admin_api(tmp_path: Path) -> None:
    text = (
        "version: 1\nproviders: {p: {kind: simulated}}\nmodels: {m: {targets: [p/m]}}\napps: {a: {keys: [test-key]}}\n"
    )
    with running_gateway(text, tmp_path) as gateway:
        for path in ("/v1/keys", "/v1/budgets", "/openapi.json", "", "/"):
            assert call(gateway, "GET", path).status == 404, path


def test_without_a_database_it_says_so(tmp_path: Path) -> None:
    text = (
        "version: 1\nproviders: {p: {kind: simulated}}\nmodels: {m: {targets: [p/m]}}\n"
        f"apps: {{a: {{keys: [test-key], budget: 2 USD per day}}}}\n"
        f"admin: {{keys: {{olga: {{key: {OWNER}, role: owner}}}}}}\n"
    )
    with running_gateway(text, tmp_path) as gateway:
        for path in ("/v1/keys", "/v1/usage", "/v1/audit"):
            answer = call(gateway, "GET", path, key=OWNER)
            assert answer.status == 409
            assert b"server.database" in answer.body
        assert [each["left_usd"] for each in call(gateway, "GET", "/v1/budgets", key=OWNER).json()] == ["2"]
        assert call(gateway, "POST", "/v1/reload", key=OWNER).status == 200


def test_a_port_of_its_own_and_a_network(tmp_path: Path) -> None:
    port = free_port()
    text = yaml(tmp_path, f"listen: 127.0.0.1:{port}\n  networks: [127.0.0.0/8]")
    with running_gateway(text, tmp_path) as gateway:
        assert call(gateway, "GET", "/v1/keys").status == 404
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/admin/v1/keys", headers={"authorization": f"Bearer {VIEWER}"})
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())) == (200, [])
        connection.request("POST", "/v1/chat/completions", b"{}", {"authorization": "Bearer test-key"})
        assert connection.getresponse().status == 404
        connection.close()
    with running_gateway(yaml(tmp_path, "networks: [10.0.0.0/8]"), tmp_path) as gateway:
        assert call(gateway, "GET", "/v1/keys").status == 403
        # Who writes where he comes from himself is not believed.
        forged = {"authorization": f"Bearer {OWNER}", "x-forwarded-for": "10.0.0.1", "x-real-ip": "10.0.0.1",
                  "forwarded": "for=10.0.0.1"}  # fmt: skip
        assert gateway.request("GET", "/admin/v1/keys", None, forged).status == 403
    # A load balancer that is named is believed, and only what it has added itself.
    behind = yaml(tmp_path, "networks: [10.0.0.0/8]").replace("server: {", "server: {trusted_proxies: [127.0.0.1], ")
    with running_gateway(behind, tmp_path) as gateway:
        for forwarded, status in (("10.0.0.1", 200), ("10.0.0.1, 192.0.2.7", 403), ("192.0.2.7, 10.0.0.1", 200)):
            headers = {"authorization": f"Bearer {OWNER}", "x-forwarded-for": forwarded}
            assert gateway.request("GET", "/admin/v1/keys", None, headers).status == status, forwarded


def test_metrics_tell_how_the_ledger_and_the_keys_are(gateway: Gateway) -> None:
    told = gateway.request("GET", "/metrics").body.decode()
    assert "gatehouse_ledger_lost_rows_total 0.0" in told
    assert "gatehouse_key_cache_age_seconds 0.0" in told
    assert "gatehouse_ledger_waiting_bytes " in told


def test_the_schema_leads_to_the_right_place(gateway: Gateway) -> None:
    schema = call(gateway, "GET", "/openapi.json", key=VIEWER).json()
    assert schema["servers"] == [{"url": "/admin"}]
    assert schema["security"] == [{"key": []}]
    filters = {each["name"] for each in schema["paths"]["/v1/requests"]["get"]["parameters"]}
    assert {"app", "user", "status", "before", "limit", "since"} <= filters
    for methods in schema["paths"].values():
        for operation in methods.values():
            assert "422" not in operation["responses"]
            assert {"401", "403", "503"} <= set(operation["responses"])
    summaries = [each["summary"] for methods in schema["paths"].values() for each in methods.values()]
    assert len(set(summaries)) == len(summaries)


def test_what_one_user_has_left(tmp_path: Path) -> None:
    text = yaml(tmp_path).replace(
        "team: support, budget", "per_user: {budget: 0.01 USD per day}, team: support, budget"
    )
    with running_gateway(text, tmp_path) as gateway:
        body = {"model": "clever", "messages": [{"role": "user", "content": "Hello"}], "user": "anna", "max_tokens": 50}
        assert gateway.request("POST", "/v1/chat/completions", body).status == 200
        (anna,) = call(gateway, "GET", "/v1/budgets?app=one&user=anna").json()
        (bert,) = call(gateway, "GET", "/v1/budgets?app=one&user=bert").json()
        assert float(anna["left_usd"]) < float(bert["left_usd"]) == 0.01
        assert call(gateway, "GET", "/v1/budgets?user=anna").status == 400


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_another_pepper_is_refused_at_the_start(tmp_path: Path) -> None:
    with running_gateway(yaml(tmp_path), tmp_path) as gateway:
        key = call(gateway, "POST", "/v1/keys", {"app": "one"}).json()["key"]
        until_answered(gateway, key, 200)
    (tmp_path / "pepper").write_text("q" * 64)
    with pytest.raises(RuntimeError), running_gateway(yaml(tmp_path), tmp_path):
        pass


def test_the_address_of_a_webhook_is_a_secret(gateway: Gateway) -> None:
    secret = "https://hooks.example.com/services/T0/B0/very-secret-indeed"
    budget = {"spend": "5 USD per day", "warn": ["80%"], "webhook": secret}
    for method, path, body in (
        ("POST", "/v1/apps", {"name": "x", "options": {"budget": budget}}),
        ("PUT", "/v1/apps/x", {"options": {"per_user": {"budget": [budget]}}}),
    ):
        answer = call(gateway, method, path, body)
        assert answer.status in (200, 201)
        assert b"very-secret" not in answer.body
    for path in ("/v1/apps", "/v1/apps/x", "/v1/audit", "/v1/budgets"):
        assert b"very-secret" not in call(gateway, "GET", path, key=VIEWER).body, path
    wrong = {"name": "y", "options": {"budget": {**budget, "webhook": "ftp://very-secret"}}}
    refused = call(gateway, "POST", "/v1/apps", wrong)
    assert refused.status == 400
    assert b"very-secret" not in refused.body
