"""Public reports about calls from web pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from config import ConfigError
from gateway.assembly.configuration import load
from tests.live import Answer
from tests.reports.vendors import House, house, response, user

LISTED = (
    "server: {cors_origins: ['https://chat.example.com', 'https://*.example.org', 'http://localhost:*', 'null', "
    "'chrome-extension://abcdefgh'], keepalive: 100ms}\n"
    "apps: {page: {keys: [test-key]}}\n"
)
# What openai, anthropic and google-genai send from a page.
ASKED = (
    "authorization,content-type,x-stainless-arch,x-stainless-lang,x-stainless-os,x-stainless-package-version,"
    "x-stainless-retry-count,x-stainless-runtime,x-stainless-timeout,anthropic-version,anthropic-beta,"
    "anthropic-dangerous-direct-browser-access,x-api-key,x-goog-api-key,x-goog-api-client,openai-organization,"
    "x-gatehouse-user,x-gatehouse-conversation,x-request-id"
)
PATHS = ("/v1/chat/completions", "/v1/messages", "/v1beta/models/g:generateContent", "/v1/models", "/v1/nothing")


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("browsers"), more=LISTED) as it:
        yield it


def preflight(it: House, path: str, origin: str, **more: str) -> Answer:
    headers = {"origin": origin, "access-control-request-method": "POST", "authorization": "", **more}
    return it.gateway.request("OPTIONS", path, None, headers)


@pytest.mark.report("http", "The gateway answers a CORS preflight from each origin in server.cors_origins")
@pytest.mark.parametrize("path", PATHS)
def test_preflight(it: House, path: str) -> None:
    asked = {
        "access-control-request-headers": ASKED,
        "access-control-request-private-network": "true",
    }
    answer = preflight(it, path, "https://chat.example.com", **asked)
    assert answer.status == 204
    assert answer.body == b""
    assert answer.headers["access-control-allow-origin"] == "https://chat.example.com"
    assert answer.headers["access-control-allow-headers"] == ASKED
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-private-network"] == "true"
    assert int(answer.headers["access-control-max-age"]) >= 600
    assert "origin" in answer.headers["vary"]
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://chat.example.com", True),
        ("http://chat.example.com", False),
        ("https://chat.example.com:8443", False),
        ("https://chat.example.com.evil.test", False),
        ("https://evilchat.example.com", False),
        ("https://a.example.org", True),
        ("https://a.b.example.org", True),
        ("https://example.org", False),
        ("https://evilexample.org", False),
        ("https://a.example.org.evil.test", False),
        ("https://evil.test/.example.org", False),
        ("http://localhost:3000", True),
        ("http://localhost", True),
        ("http://localhost:3000.evil.test", False),
        ("null", True),
        ("chrome-extension://abcdefgh", True),
        ("", False),
    ],
)
def test_origins(it: House, origin: str, allowed: bool) -> None:
    asked = preflight(it, "/v1/chat/completions", origin)
    assert asked.status == (204 if allowed else 403)
    assert asked.headers.get("access-control-allow-origin") == (origin if allowed else None)
    body = {"model": "o", "messages": [user()]}
    answer = it.gateway.request("POST", "/v1/chat/completions", body, {"origin": origin})
    assert answer.status == 200
    assert answer.headers.get("access-control-allow-origin") == (origin if allowed else None)
    assert "origin" in answer.headers["vary"]


@pytest.mark.report("http", "Errors and streams have the CORS headers that let a page read them")
def test_errors_and_streams(it: House) -> None:
    page = {"origin": "https://chat.example.com"}
    chat = {"model": "o", "messages": [user()]}
    answers = [
        it.gateway.request("POST", "/v1/chat/completions", {**chat, "stream": True}, page),
        it.gateway.request("POST", "/v1/chat/completions", {**chat, "model": "none"}, page),
        it.gateway.request("POST", "/v1/messages", b"{", page),
        it.gateway.request("POST", "/v1/chat/completion", chat, page),
        it.gateway.request("GET", "/v1/chat/completions", None, page),
        it.gateway.request("POST", "/v1/chat/completions", chat, {**page, "authorization": "Bearer wrong"}),
    ]
    assert [answer.status for answer in answers] == [200, 404, 400, 404, 405, 401]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == "https://chat.example.com"
        assert "x-request-id" in answer.headers["access-control-expose-headers"]
        assert "x-gatehouse-dropped-params" in answer.headers["access-control-expose-headers"]


def test_callers_that_are_no_pages(it: House) -> None:
    answer = it.chat("o")
    assert answer.status == 200
    assert "access-control-allow-origin" not in answer.headers
    plain = it.gateway.request("OPTIONS", "/v1/models")
    assert plain.status == 204
    assert "GET" in plain.headers["allow"]


@pytest.mark.parametrize("path", ["/admin/v1/keys", "/metrics", "/health", "/admin/openapi.json"])
def test_what_is_for_operators_is_open_to_no_page(it: House, path: str) -> None:
    for method in ("GET", "OPTIONS"):
        headers = {"origin": "https://chat.example.com", "access-control-request-method": "GET"}
        answer = it.gateway.request(method, path, None, headers)
        assert "access-control-allow-origin" not in answer.headers


def test_every_origin(tmp_path: Path) -> None:
    with house(tmp_path, more="server: {cors_origins: ['*']}\n") as it:
        answer = preflight(it, "/v1/messages", "https://any.test")
        assert answer.status == 204
        assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.report("http", "Pages on this machine may call a gateway that listens only on this machine")
@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1:8501", "http://localhost"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1beta/models/g:generateContent"])
def test_pages_of_this_machine(tmp_path: Path, origin: str, path: str) -> None:
    with house(tmp_path) as it:
        answer = preflight(it, path, origin)
        assert answer.status == 204
        assert answer.headers["access-control-allow-origin"] == origin
        assert it.chat("o", headers={"origin": origin}).headers["access-control-allow-origin"] == origin


@pytest.mark.report(
    "http", "A page from an origin that server.cors_origins does not list gets a 403 that names the setting"
)
@pytest.mark.parametrize(
    ("server", "origin"),
    [
        ("", "https://chat.example.com"),
        ("", "http://localhost.example.com"),
        ("server: {cors_origins: []}\n", "https://chat.example.com"),
        ("server: {cors_origins: []}\n", "http://localhost:3000"),
    ],
)
def test_off_by_default(tmp_path: Path, server: str, origin: str) -> None:
    with house(tmp_path, more=server) as it:
        answer = preflight(it, "/v1/chat/completions", origin)
        assert answer.status == 403
        assert "server.cors_origins" in answer.json()["error"]["message"]
        assert not any(name.startswith("access-control") for name in answer.headers)
        assert "vary" not in it.chat("o").headers


@pytest.mark.report("http", "`gatehouse check` refuses origins that no browser sends")
@pytest.mark.parametrize(
    "origin",
    [
        "https://chat.example.com/", "https://chat.example.com/page", "chat.example.com", "HTTPS://Chat.Example.com",
        "https://*", "https://*.com", "https://a*.example.com", "https://chat.example.com:443", "*.example.com",
        "https://chat.*.com", "", "https://user@example.com",
    ],
)  # fmt: skip
def test_wrong_origins(tmp_path: Path, origin: str) -> None:
    path = tmp_path / "gatehouse.yaml"
    path.write_text(f"version: 1\nserver: {{cors_origins: ['{origin}']}}\n")
    with pytest.raises(ConfigError):
        load(path, {})


def test_a_page_reads_a_cut_answer(tmp_path: Path) -> None:
    failing = response({"error": {"message": "no"}}, status="500 Internal Server Error")
    with house(tmp_path, lambda _: failing, more="server: {cors_origins: ['https://chat.example.com']}\n") as it:
        answer = it.chat("o", headers={"origin": "https://chat.example.com"}, stream=True)
        assert answer.status == 502
        assert answer.headers["access-control-allow-origin"] == "https://chat.example.com"
