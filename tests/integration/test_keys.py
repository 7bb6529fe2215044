"""Keys and tokens through HTTP: what each may, and that nobody gets further by writing something else."""

from __future__ import annotations

import asyncio
import json
import socket
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from access.database.store import Database
from gateway.admin.administration import Administration
from gateway.assembly.configuration import load
from tests.integration.administered import chat
from tests.live import Gateway, is_known, running_gateway
from tests.processes import until
from tests.unit.access.tokens import jwk, key_set, private, raw_token, token

ISSUER = "https://id.example.com/"
YAML = """
version: 1
server: {{database: "sqlite:///{folder}/gatehouse.db", data: "{folder}"}}
providers: {{pretend: {{kind: simulated}}}}
models: {{quick: {{targets: [pretend/m]}}, clever: {{targets: [pretend/n]}}, desk: {{pipeline: desk}}}}
pipelines: {{desk: {{model: clever}}}}
prices: {{pretend/m: {{input: 1, output: 2}}, pretend/n: {{input: 1, output: 2}}}}
teams: {{blue: {{}}}}
apps:
  one: {{keys: [test-key], models: [quick]}}
  two: {{team: blue, per_user: {{limits: {{requests: 2 per hour}}}}}}
  near: {{keys: [near-key], networks: [127.0.0.0/8], surfaces: [openai]}}
  far: {{keys: [far-key], networks: [10.0.0.0/8]}}
identity:
  - {{issuer: "{issuer}", audience: gatehouse, jwks_file: "{folder}/jwks.json", algorithms: [EdDSA, RS256],
     app_claim: azp, team_claim: groups}}
observe: {{log: "off"}}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    (folder / "jwks.json").write_bytes(key_set(jwk(private("EdDSA"), "EdDSA", alg="EdDSA", use="sig")))
    return folder


@pytest.fixture(scope="module")
def gateway(place: Path) -> Iterator[Gateway]:
    with running_gateway(YAML.format(folder=place, issuer=ISSUER), place) as running:
        yield running


def make_key(gateway: Gateway, place: Path, app: str, **options: Any) -> str:
    """As `gatehouse keys create` makes it; the server has seen it when this returns."""
    path = place / "keys.yaml"
    path.write_text(YAML.format(folder=place, issuer=ISSUER))
    config = load(path, environ={})

    async def act() -> str:
        database = Database(f"sqlite:///{place}/gatehouse.db")
        expires = options.pop("expires", "")
        try:
            _, key = await Administration(lambda: config, database).create_key("test", app, "", expires, options)
        finally:
            await database.close()
        return key

    key = asyncio.run(act())
    until(lambda: is_known(gateway, key))
    return key


def test_a_key_narrows_its_app_and_never_widens(gateway: Gateway, place: Path) -> None:
    # The app may only have quick: a key that names both gets one.
    both, neither = (
        make_key(gateway, place, "one", models=["quick", "clever"]),
        make_key(gateway, place, "one", models=["clever"]),
    )
    assert [chat(gateway, both, model).status for model in ("quick", "clever")] == [200, 404]
    assert [chat(gateway, neither, model).status for model in ("quick", "clever")] == [404, 404]
    piped = make_key(gateway, place, "two", pipelines=["desk"])
    assert [chat(gateway, piped, model).status for model in ("quick", "clever", "desk")] == [404, 404, 200]
    listed = gateway.request("GET", "/v1/models", None, {"authorization": f"Bearer {piped}"}).json()["data"]
    assert [each["id"] for each in listed] == ["desk"]
    # Nobody is told of what is not theirs.
    assert "quick" not in chat(gateway, piped, "quix").json()["error"]["message"].replace("quix", "")
    surfaced = make_key(gateway, place, "one", surfaces=["anthropic"])
    assert chat(gateway, surfaced).status == 403
    body = {"model": "quick", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    assert gateway.request("POST", "/v1/messages", body, {"authorization": f"Bearer {surfaced}"}).status == 200
    away = make_key(gateway, place, "one", networks=["192.0.2.0/24"])
    assert chat(gateway, away).status == 403
    assert (
        chat(gateway, away, x_forwarded_for="192.0.2.1", forwarded="for=192.0.2.1", x_real_ip="192.0.2.1").status == 403
    )
    short = make_key(gateway, place, "one", expires="1s")
    until(lambda: chat(gateway, short).status == 401)
    refused = chat(gateway, short)
    assert "expired" in refused.json()["error"]["message"]


def test_apps_are_held_to_their_networks_and_surfaces(gateway: Gateway) -> None:
    assert [chat(gateway, key).status for key in ("near-key", "far-key")] == [200, 403]
    body = {"model": "quick", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    assert gateway.request("POST", "/v1/messages", body, {"authorization": "Bearer near-key"}).status == 403
    contents = {"contents": [{"parts": [{"text": "Hi"}]}]}
    gemini = gateway.request(
        "POST", "/v1beta/models/quick:generateContent", contents, {"authorization": "Bearer near-key"}
    )
    assert gemini.status == 403


SURFACES = {
    "openai": ("/v1/chat/completions", "authorization"),
    "anthropic": ("/v1/messages", "x-api-key"),
    "gemini": ("/v1beta/models/quick:generateContent", "x-goog-api-key"),
}
WORDS = {"openai": b"invalid_api_key", "anthropic": b"authentication_error", "gemini": b"UNAUTHENTICATED"}


@pytest.mark.parametrize("surface", SURFACES)
def test_wrong_keys_are_refused_in_the_words_of_the_surface(gateway: Gateway, place: Path, surface: str) -> None:
    good = make_key(gateway, place, "one") if surface == "openai" else "gh-abcdefghij-" + "x" * 43
    for wrong in (
        good[:-1], good + "x", good[:13], good.upper(), "gh-", "gh--", "gh-abcdefghij", "gh-abcdefghij-",
        "gh-' OR '1'='1-x", "sha256:" + "0" * 64, "x" * 20_000, "ü" * 10, "null", "..",
    ):  # fmt: skip
        path, header = SURFACES[surface]
        value = wrong.encode().decode("latin-1")
        # Without `Bearer` there is no key in it.
        sent = {"authorization": f"Bearer {value}"} if surface == "openai" else {"authorization": "", header: value}
        answer = gateway.request("POST", path, {"model": "quick"}, sent)
        assert answer.status == 401, wrong[:40]
        assert WORDS[surface] in answer.body
        assert len(wrong) < 9 or wrong.encode() not in answer.body


def test_who_calls_is_what_the_key_says_and_nothing_else(gateway: Gateway) -> None:
    forged = {
        "x_gatehouse_app": "two", "x_gatehouse_team": "blue", "x_gatehouse_organisation": "acme", "x_app": "two",
        "openai_organization": "acme", "openai_project": "two", "x_gatehouse_models": "clever",
    }  # fmt: skip
    assert chat(gateway, "test-key", "clever", **forged).status == 404
    # What stands in front of us may have looked at the other key.
    assert chat(gateway, "wrong", x_api_key="test-key").status == 400
    assert chat(gateway, "test-key", x_goog_api_key="near-key").status == 400
    assert chat(gateway, "test-key", x_api_key="test-key").status == 200
    url = gateway.request("POST", "/v1/chat/completions?key=test-key", {}, {"authorization": "Bearer test-key"})
    assert url.status == 400
    assert gateway.request("POST", "/v1/chat/completions?key=test-key", {}, {"authorization": ""}).status == 400


def raw(gateway: Gateway, *headers: bytes) -> bytes:
    """The status line of an answer to headers that no client would send."""
    body = b'{"model":"quick","messages":[{"role":"user","content":"Hi"}]}'
    lines = [b"POST /v1/chat/completions HTTP/1.1", b"host: x", b"content-length: %d" % len(body), *headers, b"", body]
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
        connection.sendall(b"\r\n".join(lines))
        return connection.recv(100).split(b"\r\n")[0]


def test_odd_headers(gateway: Gateway) -> None:
    good = b"authorization: Bearer test-key"
    assert b" 200 " in raw(gateway, good)
    assert b" 200 " in raw(gateway, b"AUTHORIZATION:bearer   test-key  ")
    # Two keys: whoever stands in front may have looked at the other one.
    assert b" 400 " in raw(gateway, good, b"authorization: Bearer near-key")
    assert b" 400 " in raw(gateway, b"authorization: Bearer near-key", good)
    assert b" 400 " in raw(gateway, good, good)
    assert b" 200 " in raw(gateway, good, b"x-other: 1", b"x-other: 2")
    assert b" 401 " in raw(gateway, b"authorization: Basic test-key")
    assert b" 400 " in raw(gateway, b"authorization : Bearer test-key")
    assert b" 401 " in raw(gateway, b"authorization: Bearer test-key, Bearer near-key")
    assert b" 401 " in raw(gateway, b"authorization: Bearer " + b"x" * 60_000)
    assert b" 401 " in raw(gateway, *[b"x-%d: y" % number for number in range(100)])
    assert b" 431 " in raw(gateway, *[b"x-%d: y" % number for number in range(2000)])
    assert b" 400 " in raw(gateway, b"authorization: Bearer test-key\x00")
    assert b" 200 " in raw(gateway, good)


def test_tokens(gateway: Gateway) -> None:
    now = time.time()
    times: dict[str, Any] = {"exp": now + 600, "nbf": now - 5, "iat": now}
    good = token(azp="two", groups=["red", "blue"], **times)
    assert chat(gateway, good, "clever").status == 200
    for wrong in (
        token(azp="none", groups=["blue"], **times),
        token(azp="two", groups=["red"], **times),
        token(azp="two", **times),
        token(azp="two", groups=["blue"], **{**times, "exp": now - 60}),
        token(azp="two", groups=["blue"], **times, aud="others"),
        token(azp="two", groups=["blue"], **times, iss="https://evil.example.com/"),
        raw_token(b'{"alg":"none"}', json.dumps({"iss": ISSUER, "aud": "gatehouse", "azp": "two", **times}).encode()),
        good[:-4] + "AAAA",
        good.rpartition(".")[0] + ".",
    ):
        answer = chat(gateway, wrong)
        assert answer.status == 401
        assert wrong.encode() not in answer.body


def test_a_token_names_its_user(gateway: Gateway) -> None:
    now = time.time()
    claims: dict[str, Any] = {"azp": "two", "groups": "blue", "exp": now + 600, "nbf": now - 5, "iat": now}
    anna, bert = token(sub="anna", **claims), token(sub="bert", **claims)
    assert [chat(gateway, anna).status for _ in range(3)] == [200, 200, 429]
    # Who has a token can't be somebody else.
    assert chat(gateway, anna, x_gatehouse_user="bert").status == 429
    assert chat(gateway, bert).status == 200


def test_the_time_it_takes_tells_nothing(gateway: Gateway, place: Path) -> None:
    """A key whose beginning is known is refused as fast as one whose beginning is not."""
    known = make_key(gateway, place, "one")
    shapes = {"known": known[:-6] + "aaaaaa", "unknown": "gh-zzzzzzzzzz-" + known[14:-6] + "aaaaaa"}
    took: dict[str, list[float]] = {name: [] for name in shapes}
    for _ in range(300):
        for name, key in shapes.items():
            began = time.perf_counter()
            assert chat(gateway, key).status == 401
            took[name].append(time.perf_counter() - began)
    one, other = (statistics.median(each) for each in took.values())
    assert abs(one - other) < 0.2 * max(one, other)
