"""Public reports about paths that are almost right, methods that are not, and calls from browsers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live import Answer
from tests.reports.vendors import House, house, user

CHAT: dict[str, Any] = {"model": "o", "messages": [user()]}
MESSAGE: dict[str, Any] = {"model": "a", "max_tokens": 9, "messages": [user()]}
GENERATE: dict[str, Any] = {"contents": [{"parts": [{"text": "hi"}]}]}


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("paths")) as it:
        yield it


@pytest.mark.report("http", "A path with extra or missing slashes, versions or prefixes is served if it is unambiguous")
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions/", CHAT),
        ("//v1/chat/completions", CHAT),
        ("/v1//chat/completions", CHAT),
        ("/v1/v1/chat/completions", CHAT),
        ("/chat/completions", CHAT),
        ("/openai/v1/chat/completions", CHAT),
        ("/openai/chat/completions", CHAT),
        ("/openai/v1/v1/chat/completions/", CHAT),
        ("/v1beta/openai/chat/completions", CHAT),
        ("/v1/messages/", MESSAGE),
        ("/v1/v1/messages", MESSAGE),
        ("/messages", MESSAGE),
        ("/anthropic/messages", MESSAGE),
        ("/v1/messages/count_tokens/", MESSAGE),
        ("/models/g:generateContent", GENERATE),
        ("/v1/v1beta/models/g:generateContent", GENERATE),
        ("/v1beta/v1beta/models/g:generateContent", GENERATE),
        ("/v1beta/models/g:generateContent/", GENERATE),
        ("//v1beta/models/g:generateContent", GENERATE),
        ("/gemini/models/g:generateContent", GENERATE),
    ],
)
def test_clear_paths_are_served(it: House, path: str, body: dict[str, Any]) -> None:
    answer = it.gateway.request("POST", path, body)
    assert answer.status == 200, answer.body


@pytest.mark.report("http", "Azure's paths name the model by its deployment")
@pytest.mark.parametrize("body", [{"messages": [user()]}, {"model": "gpt-4", "messages": [user()]}])
@pytest.mark.parametrize("slash", ["", "/"])
def test_azure_paths(it: House, body: dict[str, Any], slash: str) -> None:
    path = f"/openai/deployments/o/chat/completions{slash}?api-version=2024-10-21"
    answer = it.gateway.request("POST", path, body, {"api-key": "test-key"})
    assert answer.status == 200
    assert it.last["model"] == "gpt-x"


def test_azure_paths_of_models_that_are_not_there(it: House) -> None:
    answer = it.gateway.request("POST", "/openai/deployments/nope/chat/completions", {"messages": [user()]})
    assert answer.status == 404
    assert "nope" in answer.json()["error"]["message"]


@pytest.mark.report("http", "A misspelled path returns 404 and suggests the right one")
@pytest.mark.parametrize(
    ("path", "right"),
    [
        ("/v1/chat/completion", "POST /v1/chat/completions"),
        ("/v1/chat", "POST /v1/chat/completions"),
        ("/api/chat", "POST /v1/chat/completions"),
        ("/v2/chat/completions", "POST /v1/chat/completions"),
        ("/v1beta/chat/completions", "POST /v1/chat/completions"),
        ("/V1/Chat/Completions", "POST /v1/chat/completions"),
        ("/v1/chat/completions/chat/completions", "POST /v1/chat/completions"),
        ("/anthropic/v1/chat/completions", "POST /v1/chat/completions"),
        ("/v1/chat_completions", "POST /v1/chat/completions"),
        ("/v1/embedding", "POST /v1/embeddings"),
        ("/v1/message", "POST /v1/messages"),
        ("/v1/messages/v1/messages", "POST /v1/messages"),
        ("/v1/messages/count-tokens", "POST /v1/messages/count_tokens"),
        ("/v1beta/models/g:generatecontent", ":generateContent"),
        ("/v1beta/models/g:streamgeneratecontent", ":streamGenerateContent"),
    ],
)
def test_unclear_paths_are_named(it: House, path: str, right: str) -> None:
    answer = it.gateway.request("POST", path, CHAT)
    assert answer.status == 404
    text = json.dumps(answer.json())
    assert "did you mean" in text
    assert right in text


def shape_of(answer: Answer) -> str:
    body = answer.json()
    if body.get("type") == "error":
        return "anthropic"
    return "gemini" if "status" in body["error"] else "openai"


@pytest.mark.report(
    "http", "A provider's endpoint that the gateway does not serve returns 404 in that provider's error format"
)
@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v1/responses", "openai"),
        ("/v1/responses/resp_1", "openai"),
        ("/v1/completions", "openai"),
        ("/v1/audio/transcriptions", "openai"),
        ("/v1/files", "openai"),
        ("/v1/images/generations", "openai"),
        ("/v1/moderations", "openai"),
        ("/openai/v1/responses", "openai"),
        ("/responses", "openai"),
        ("/openai/deployments/o/completions", "openai"),
        ("/v1/messages/batches", "anthropic"),
        ("/v1/complete", "anthropic"),
        ("/anthropic/v1/messages/batches", "anthropic"),
        ("/v1beta/cachedContents", "gemini"),
        ("/v1beta/files", "gemini"),
        ("/upload/v1beta/files", "gemini"),
        ("/v1beta/models/g:predict", "gemini"),
        ("/v1beta/models/g:batchGenerateContent", "gemini"),
    ],
)
def test_endpoints_that_are_not_served(it: House, path: str, shape: str) -> None:
    answer = it.gateway.request("POST", path, CHAT)
    assert answer.status == 404
    assert "The gateway does not serve" in json.dumps(answer.json())
    assert shape_of(answer) == shape


@pytest.mark.report("http", "A wrong method returns 405 with the allowed methods")
@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("GET", "/v1/chat/completions/", "POST"),
        ("HEAD", "/v1/messages", "POST"),
        ("PUT", "/v1/embeddings", "POST"),
        ("GET", "/v1beta/models/g:generateContent", "POST"),
        ("GET", "/openai/deployments/o/chat/completions", "POST"),
        ("DELETE", "/v1/models/o", "GET, HEAD"),
        ("POST", "/models", "GET, HEAD"),
        ("GET", "/v1/cache", "DELETE"),
        ("POST", "/health", "GET"),
    ],
)
def test_wrong_methods(it: House, method: str, path: str, allow: str) -> None:
    answer = it.gateway.request(method, path)
    assert answer.status == 405
    assert answer.headers["allow"] == allow


@pytest.mark.report("http", "HEAD returns the status and length of GET, without the body")
@pytest.mark.parametrize(
    "path", ["/v1/models", "/v1/models/o", "/v1beta/models", "/models/", "/livez", "/readyz", "/health"]
)
def test_head(it: House, path: str) -> None:
    head, get = it.gateway.request("HEAD", path), it.gateway.request("GET", path)
    assert head.status == get.status == 200
    assert head.body == b""
    # /health tells the uptime, which may have a digit more by then.
    assert abs(int(head.headers["content-length"]) - len(get.body)) <= 2
    assert it.gateway.request("HEAD", "/metrics").status == 200


@pytest.mark.report("http", "No other spelling of a path bypasses a key, a limit or a rule")
def test_other_spellings_open_nothing(tmp_path: Path) -> None:
    more = """apps:
  claude: {keys: [test-key], surfaces: [anthropic]}
  few: {keys: [few-key], limits: {requests: 1 per hour}}
"""
    with house(tmp_path, more=more) as it:
        for path in ("/v1/chat/completions", "//chat/completions/", "/v1/v1/chat/completions", "/chat/completions"):
            assert it.gateway.request("POST", path, CHAT).status == 403
            assert it.gateway.request("POST", path, CHAT, {"authorization": ""}).status == 401
        azure = "/openai/deployments/o/chat/completions"
        assert it.gateway.request("POST", azure, CHAT).status == 403
        assert it.gateway.request("POST", "//messages/", MESSAGE).status == 200
        few = {"authorization": "Bearer few-key"}
        assert it.gateway.request("POST", "/chat/completions", CHAT, few).status == 200
        assert it.gateway.request("POST", "/v1/chat/completions", CHAT, few).status == 429
        assert it.gateway.request("POST", "/v1//chat/completions/", CHAT, few).status == 429


@pytest.mark.parametrize(
    "path",
    [
        "//admin/v1/keys", "/v1/admin/v1/keys", "/admin//v1/keys", "/v1/../admin/v1/keys", "/v1/v1/sources/a/documents",
        "//v1/sources/a/documents", "/v1/v1/cache", "//v1/cache", "//metrics", "/v1/metrics", "/v1/health", "//health",
        "/v1/./chat/completions", "/x/../v1/chat/completions",
    ],
)  # fmt: skip
def test_what_has_one_path_has_no_other(it: House, path: str) -> None:
    assert it.gateway.request("GET", path).status in (404, 405)
    assert it.gateway.request("POST", path, CHAT).status in (404, 405)


@pytest.mark.report("http", "The gateway's root address in a browser shows where the endpoints are")
@pytest.mark.parametrize("path", ["/", "/docs", "/favicon.ico"])
def test_pages_that_are_none(it: House, path: str) -> None:
    answer = it.gateway.request("GET", path)
    message = json.loads(answer.body)["error"]["message"]
    assert (answer.status, message.startswith(f"There is no endpoint at {path}: ")) == (404, True)
    assert "/v1" in message
    assert "/health" in message
    assert json.loads(it.gateway.request("GET", "/admin/v1/keys").body)["error"]["message"] == "Not Found"
