"""Public reports about errors of providers: who is asked next, and what the caller is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.live import Answer
from tests.reports.vendors import (
    Piece,
    Request,
    anthropic_events,
    anthropic_reply,
    events,
    gemini_reply,
    house,
    openai_chunk,
    openai_reply,
    plain,
    response,
)

ROWS = [
    msgspec.json.decode(line)
    for line in (Path(__file__).parents[1] / "unit" / "dialects" / "failures.jsonl").read_bytes().splitlines()
]
REASONS = {400: "Bad Request", 413: "Payload Too Large", 429: "Too Many Requests"}
SECRET = "a-secret-of-ours-123"
# Each model asks one vendor's `bad` first.
BACKED = "".join(
    f"  {name}-backed: {{targets: [{name}/bad, o/good], retry: {{backoff: 0s}}, breaker: {{failures: 1000}}}}\n"
    for name in "oag"
)
RETRIED = {"rate_limited", "overloaded", "server_error", "timeout"}
FINAL = {"bad_request", "refusal"}


def told(status: int, body: Any) -> bytes:
    """A response of `status`; text that begins with < as HTML."""
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    kind = "text/html" if data.startswith(b"<") else "application/json"
    return response(data, kind, f"{status} {REASONS.get(status, 'X')}")


def is_bad(request: Request) -> bool:
    return b"bad" in request.body or "/bad:" in request.path


@pytest.mark.report(
    "fallback", "Any provider error falls back unless the caller's request caused it, whatever the status"
)
def test_who_is_asked_next(tmp_path: Path) -> None:
    now: dict[str, Any] = {}

    def script(request: Request) -> bytes:
        return told(now["status"], now["body"]) if is_bad(request) else plain(request)

    with house(tmp_path, script, BACKED) as it:
        for now in ROWS:
            before = len(it.upstream.requests)
            answer = it.chat(f"{now['dialect'][0]}-backed")
            asked = it.upstream.requests[before:]
            if now["kind"] in FINAL:
                assert (answer.status, len(asked)) == (400, 1), now
            else:
                calls = sum(map(is_bad, asked))
                assert (answer.status, answer.headers["x-gatehouse-target"]) == (200, "o/good"), now
                assert calls == 1 or now["kind"] in RETRIED, now


@pytest.mark.report(
    "fallback", "A request too large for a provider returns 413 `request_too_large`, not an invalid request error"
)
def test_too_large_is_said(tmp_path: Path) -> None:
    page = "<html><head><title>413 Request Entity Too Large</title></head></html>"
    with house(tmp_path, lambda _: told(413, page)) as it:
        for name in "oag":
            answer = it.chat(name)
            assert answer.status == 413
            assert answer.json()["error"]["code"] == "request_too_large"
            assert "html" not in answer.json()["error"]["message"]


@pytest.mark.report(
    "fallback", "A provider that rejects the gateway's key returns a 502 to the caller, without the key"
)
@pytest.mark.parametrize("status", [400, 401, 403])
def test_our_key_is_not_the_callers_mistake(tmp_path: Path, status: int) -> None:
    def script(_: Request) -> bytes:
        message = f"Incorrect API key provided: {SECRET}"
        return told(status, {"type": "error", "error": {"type": "x", "message": message}})

    with house(tmp_path, script) as it:
        for name in "oag":
            error = it.chat(name)
            assert error.status == 502
            message = error.json()["error"]["message"]
            assert error.json()["error"]["code"] == "upstream_credentials"
            assert SECRET not in message
            # What it is, and where to mend it.
            assert f"{name}/" in message
            assert f"providers.{name}" in message


@pytest.mark.report("secrets", "No error contains a secret that the gateway sends, even if the provider repeats it")
@pytest.mark.parametrize("streamed", [False, True])
def test_secrets_are_taken_out_of_errors(tmp_path: Path, streamed: bool) -> None:
    error = {"message": f"the header {SECRET} is odd", "type": "invalid_request_error", "status": "INVALID_ARGUMENT"}
    body = {"type": "error", "error": error}

    def script(_: Request) -> bytes:
        return events(body, done=False) if streamed else told(400, body)

    with house(tmp_path, script, key=SECRET) as it:
        for name in "oag":
            answer = it.chat(name, stream=streamed)
            assert answer.status == 400
            assert "is odd" in answer.json()["error"]["message"]
            assert SECRET.encode() not in answer.body


WORDS = [
    {"error": "the server is on fire"},
    {"error": {"message": "boom"}},
    {"error": {"message": "overloaded", "type": "overloaded_error"}},
    {"object": "error", "message": "boom", "type": "InternalServerError", "code": 500},
    {"type": "error", "error": {"type": "api_error", "message": "boom"}},
    {"detail": "boom"},
]


@pytest.mark.report("fallback", "An error inside a 200 response falls back, buffered or streamed, in any shape")
@pytest.mark.parametrize("way", ["whole", "json to a stream", "event", "named event", "text event"])
def test_an_error_with_status_200(tmp_path: Path, way: str) -> None:
    now: Any = None

    def script(request: Request) -> bytes:
        if not is_bad(request):
            return plain(request)
        data = json.dumps(now).encode()
        if way in ("whole", "json to a stream"):
            return response(data)
        name = b"" if way == "event" else b"event: error\n"
        return response(name + b"data: " + (b"boom" if way == "text event" else data) + b"\n\n", "text/event-stream")

    with house(tmp_path, script, BACKED) as it:
        for now in WORDS:
            for name in "oag":
                answer = it.chat(f"{name}-backed", stream=way != "whole")
                assert (answer.status, answer.headers["x-gatehouse-target"]) == (200, "o/good"), (now, name)
                assert b"hello" in answer.body
                assert b"boom" not in answer.body


def with_error(name: str, error: Any, streams: bool) -> bytes:
    """A good answer with `error` in it, everywhere."""
    if name == "o":
        if not streams:
            return response({**openai_reply(), "error": error})
        chunks = openai_chunk({"content": "hel"}), openai_chunk({"content": "lo"}), openai_chunk({}, "stop")
        return events(*({**each, "error": error} for each in chunks))
    if name == "g":
        reply = {**gemini_reply(), "error": error}
        return events(reply, done=False) if streams else response(reply)
    if not streams:
        return response({**anthropic_reply(), "error": error})
    data = anthropic_events(({"type": "text", "text": ""}, [{"type": "text_delta", "text": "hello"}]))
    frames = data.partition(b"\r\n\r\n")[2].decode().split("\n\n")
    payloads = [json.loads(frame.partition("data: ")[2]) for frame in frames if frame]
    return events(*({**each, "error": error} for each in payloads), named=True)


def words(surface: str, answer: Answer) -> str:
    """All text of an answer, whole or streamed, to OpenAI's surface or Anthropic's."""
    text = answer.body.decode()
    if not text.startswith(("event:", "data:", ":")):
        body = json.loads(text)
        if surface == "openai":
            return str(body["choices"][0]["message"]["content"])
        return "".join(block["text"] for block in body["content"])
    found = ""
    for line in text.splitlines():
        if line.startswith("data: {"):
            event = json.loads(line[6:])
            assert event.get("error") is None, event
            if surface == "openai":
                found += "".join(choice["delta"].get("content") or "" for choice in event["choices"])
            else:
                found += event.get("delta", {}).get("text", "")
    return found


@pytest.mark.report("errors", "An empty `error` field beside a valid answer is ignored, buffered or streamed")
@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("error", [{}, None, "", [], {"message": None, "code": ""}, False])
def test_an_empty_error(tmp_path: Path, error: Any, streams: bool) -> None:
    now = ""
    with house(tmp_path, lambda _: with_error(now, error, streams)) as it:
        for now in "oag":
            assert words("openai", it.chat(now, stream=streams)) == "hello", now
            assert words("anthropic", it.messages(now, stream=streams)) == "hello", now


def body_of(request: Request, *, streams: bool) -> bytes:
    """A vendor's good answer as bytes, whatever was asked."""
    name = "g" if "enerateContent" in request.path else "a" if request.path.endswith("/messages") else "o"
    return with_error(name, None, streams).partition(b"\r\n\r\n")[2]


BOM = b"\xef\xbb\xbf"
PLAIN = "text/plain; charset=utf-8"
KINDS = [
    PLAIN,
    "application/octet-stream",
    "text/html",
    "",
    "application/x-ndjson",
    "text/event-stream",
    "application/json",
]


@pytest.mark.report(
    "media types", "A response is parsed as JSON or as events by its bytes, not by its media type or the request"
)
@pytest.mark.parametrize("asks", [False, True], ids=["asked whole", "asked streamed"])
@pytest.mark.parametrize("streams", [False, True], ids=["answers JSON", "answers events"])
@pytest.mark.parametrize("kind", KINDS)
def test_media_types(tmp_path: Path, kind: str, streams: bool, asks: bool) -> None:
    def script(request: Request) -> bytes:
        data = body_of(request, streams=streams)
        if not streams:
            data += b"\n"
        full = response(b"\n" + data if kind == PLAIN else data, kind)
        return full if kind else full.replace(b"content-type: \r\n", b"")

    with house(tmp_path, script) as it:
        for name in "oag":
            assert words("openai", it.chat(name, stream=asks)) == "hello", name


@pytest.mark.report(
    "media types", "Byte order marks, CR line ends, comments and bare fields are parsed as the standards specify"
)
@pytest.mark.parametrize("odd", ["mark", "cr", "crlf", "no blank", "comments", "ids", "in pieces"])
@pytest.mark.parametrize("streams", [False, True], ids=["JSON", "events"])
def test_odd_bytes(tmp_path: Path, odd: str, streams: bool) -> None:
    def script(request: Request) -> bytes | list[Piece]:
        data = body_of(request, streams=streams)
        kind = "text/event-stream" if streams else "application/json"
        if odd == "mark":
            data = BOM + data
        elif odd in ("cr", "crlf") and streams:
            data = data.replace(b"\n", b"\r" if odd == "cr" else b"\r\n")
        elif odd == "no blank" and streams:
            data = data.replace(b"data: ", b"data:").replace(b"event: ", b"event:")
        elif odd == "comments" and streams:
            data = b": PROCESSING\n\n" + data.replace(b"\n\n", b"\n\n: still here\n\n:\n\n")
        elif odd == "ids" and streams:
            data = b"retry: 100\nid: 0\n\n" + data.replace(b"data: ", b"id: 1\ndata: ")
        if odd == "in pieces":
            head, _, rest = response(BOM + data, kind).partition(b"\r\n\r\n")
            return [head + b"\r\n\r\n", *(rest[place : place + 1] for place in range(8)), rest[8:]]
        return response(data, kind)

    with house(tmp_path, script) as it:
        for name in "oag":
            assert words("openai", it.chat(name, stream=streams)) == "hello", name


@pytest.mark.report("media types", "An HTML page in place of an answer falls back to the next target")
@pytest.mark.parametrize("streams", [False, True])
def test_a_page_is_no_answer(tmp_path: Path, streams: bool) -> None:
    def script(request: Request) -> bytes:
        return response(b"<html>Sign in</html>", "text/html") if is_bad(request) else plain(request)

    with house(tmp_path, script, BACKED) as it:
        for name in "oag":
            answer = it.chat(f"{name}-backed", stream=streams)
            assert (answer.status, answer.headers["x-gatehouse-target"]) == (200, "o/good")


@pytest.mark.report(
    "fallback", "When all targets fail, the error lists each target with its error class and suggests a fix"
)
def test_what_helps(tmp_path: Path) -> None:
    def script(request: Request) -> bytes:
        message = f"internal: {SECRET}"
        return told(401 if is_bad(request) else 500, {"error": {"message": message, "type": "x"}})

    with house(tmp_path, script, "  f: {targets: [o/bad, g/other], retry: {attempts: 1}}\n") as it:
        answer = it.chat("f")
        message = answer.json()["error"]["message"]
    assert answer.status == 502
    for part in ("o/bad: 401 auth (attempt 1)", "g/other: 500 server_error (attempt 2)", "keys", "providers.o"):
        assert part in message
    assert SECRET not in message


@pytest.mark.report(
    "errors", "An error inside a 200 response to an embeddings request is reported as that error and falls back"
)
def test_embeddings_errors(tmp_path: Path) -> None:
    vectors = {"data": [{"embedding": [0.5], "index": 0, "object": "embedding"}], "model": "e", "object": "list"}

    def script(request: Request) -> bytes:
        if is_bad(request):
            return response({"error": {"message": "rate limit", "code": 429, "status": "RESOURCE_EXHAUSTED"}})
        return response(BOM + json.dumps(vectors).encode())

    models = "".join(
        f"  {name}e: {{targets: [{name}/bad], retry: {{attempts: 1}}}}\n"
        f"  {name}eb: {{targets: [{name}/bad, o/good], retry: {{attempts: 1}}}}\n"
        for name in "og"
    )
    with house(tmp_path, script, models) as it:
        for name in "og":
            alone = it.gateway.request("POST", "/v1/embeddings", {"model": f"{name}e", "input": "hi"})
            assert alone.status == 429
            backed = it.gateway.request("POST", "/v1/embeddings", {"model": f"{name}eb", "input": "hi"})
            assert backed.status == 200
            assert backed.json()["data"][0]["embedding"] == [0.5]


@pytest.mark.report(
    "keys", "A provider key that is rejected or out of credit cools down, even if the response has status 200"
)
@pytest.mark.parametrize("way", ["400", "whole", "stream"])
def test_keys_rest(tmp_path: Path, way: str) -> None:
    def script(request: Request) -> bytes:
        if request.headers["authorization"] != "Bearer broke":
            return plain(request)
        error = {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}
        if way == "stream":
            return events(error, done=False)
        return told(400, error) if way == "400" else response(error)

    models = "  two: {targets: [two/m], retry: {attempts: 1}}\n"
    provider = '  two: {kind: openai, base_url: "URL/v1", api_keys: [broke, rich]}\n'
    with house(tmp_path, script, models, providers=provider) as it:
        for _ in range(4):
            answer = it.chat("two", stream=way == "stream")
            assert answer.status == 200
            assert b"hello" in answer.body
        assert [each.headers["authorization"] for each in it.upstream.requests].count("Bearer broke") == 1
