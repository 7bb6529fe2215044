"""Public reports about models that think before they speak, and about time limits. All limits here are small."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.reports.vendors import House, Piece, Request, house, openai_chunk, openai_reply, plain, response

OPEN = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
COMMENT = b": still here\n\n"
DRIP: list[Piece] = [0.1, COMMENT] * 30
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
GEMINI = b'{"candidates": [{"content": {"parts": [{"text": "%b"}]}, "index": 0%b}]}'


def chunk(text: str = "", finish: str | None = None) -> bytes:
    delta = {"content": text} if text else {}
    return b"data: " + json.dumps(openai_chunk(delta, finish)).encode() + b"\n\n"


def said(name: str, text: str) -> tuple[bytes, bytes]:
    """One piece of a stream of each vendor's, and what ends it."""
    if name == "o":
        return chunk(text), chunk("", "stop") + b"data: [DONE]\n\n"
    if name == "g":
        end = GEMINI % (b"", b', "finishReason": "STOP"')
        return b"data: " + GEMINI % (text.encode(), b"") + b"\n\n", b"data: " + end + b"\n\n"
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    stop = {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {}}
    piece = b"event: content_block_delta\ndata: " + json.dumps(delta).encode() + b"\n\n"
    end = b"event: message_delta\ndata: " + json.dumps(stop).encode() + b"\n\n"
    return piece, end + b'event: message_stop\ndata: {"type": "message_stop"}\n\n'


def dialect_of(request: Request) -> str:
    return "g" if "enerateContent" in request.path else "a" if request.path.endswith("/messages") else "o"


def thinking(*silence: Piece) -> Callable[[Request], list[Piece]]:
    """A stream whose first word comes after `silence`."""

    def script(request: Request) -> list[Piece]:
        piece, end = said(dialect_of(request), "done")
        return [OPEN, *silence, piece, end, None]

    return script


def limited(limits: str) -> str:
    """Models of each vendor's with these limits."""
    return "".join(f"  {name}t: {{targets: [{name}/m], {limits}, retry: {{attempts: 1}}}}\n" for name in "oag")


@pytest.mark.report(
    "timeouts", "The `thinking` timeout applies to requests that ask for reasoning, also while the provider is silent"
)
def test_silent_thinking(tmp_path: Path) -> None:
    models = limited("first_token: 200ms, thinking: 20s")
    with house(tmp_path, thinking(1.3), models) as it:
        for name in "oag":
            answer = it.chat(f"{name}t", stream=True, reasoning_effort="high")
            assert b"done" in answer.body, name
            assert answer.headers["x-gatehouse-attempts"] == "1"
            late = it.chat(f"{name}t", stream=True)
            assert late.status == 504
            message = late.json()["error"]["message"]
            assert "200ms" in message
            assert f"models.{name}t.first_token" in message
        answer = it.messages("at", stream=True, max_tokens=4000, thinking={"type": "enabled", "budget_tokens": 2000})
        assert b"done" in answer.body


@pytest.mark.report(
    "timeouts", "The `thinking` timeout applies to known reasoning models unless the request turns reasoning off"
)
def test_known_thinkers(tmp_path: Path) -> None:
    models = "  t: {targets: [o/o3-mini], first_token: 200ms, thinking: 20s, retry: {attempts: 1}}\n"
    with house(tmp_path, thinking(1.3), models) as it:
        assert b"done" in it.chat("t", stream=True).body
        assert it.chat("t", stream=True, reasoning_effort="none").status == 504


@pytest.mark.report("timeouts", "Comments and pings from a provider restart the `idle` timeout")
@pytest.mark.parametrize("sign", [COMMENT, PING, b""], ids=["comment", "ping", "silence"])
def test_signs_of_life(tmp_path: Path, sign: bytes) -> None:
    def script(request: Request) -> list[Piece]:
        name = dialect_of(request)
        first, end = said(name, "first")
        life = COMMENT if sign and name != "a" else sign
        silence: list[Piece] = [0.5, life] * 7
        return [OPEN, first, *silence, said(name, "second")[0], end, None]

    with house(tmp_path, script, limited("idle: 2s")) as it:
        for name in "oag":
            body = it.chat(f"{name}t", stream=True).body
            assert b"first" in body
            assert (b"second" in body) == bool(sign), name
            assert (b"models.%bt.idle" % name.encode() in body) == (not sign)


@pytest.mark.report("timeouts", "A provider that sends only pings times out after the `thinking` limit")
def test_life_without_words_ends(tmp_path: Path) -> None:
    def script(request: Request) -> list[Piece]:
        first, _ = said("o", "first")
        silence: list[Piece] = [0.1, COMMENT] * 60
        return [OPEN, first, *silence, None]

    with house(tmp_path, script, limited("idle: 1500ms, thinking: 2s")) as it:
        body = it.chat("ot", stream=True).body
    assert b"models.ot.thinking" in body
    assert b"within 2s" in body


@pytest.mark.report("timeouts", "A first_token timeout in the YAML is strict, even if the provider sends comments")
def test_an_own_limit_is_hard(tmp_path: Path) -> None:
    with house(tmp_path, thinking(*DRIP), limited("first_token: 500ms")) as it:
        answer = it.chat("ot", stream=True, reasoning_effort="high")
    assert answer.status == 504
    assert "models.ot.first_token" in answer.json()["error"]["message"]


@pytest.mark.report("timeouts", "A buffered request that times out is neither retried nor sent to another target")
@pytest.mark.parametrize("limits", ["deadline: 400ms", "timeout: 400ms, deadline: 400ms"])
def test_no_second_call_after_the_patience(tmp_path: Path, limits: str) -> None:
    models = f"  t: {{targets: [o/m, a/m], {limits}, retry: {{attempts: 3, backoff: 0s}}}}\n"
    with house(tmp_path, lambda _: [1.5, response(openai_reply())], models) as it:
        answer = it.chat("t")
        assert answer.status == 504
        assert len(it.upstream.requests) == 1
        message = answer.json()["error"]["message"]
    assert "400ms" in message
    assert "models.t." in message


@pytest.mark.report("timeouts", "A stream that makes progress has no timeout unless the YAML sets one")
def test_a_moving_stream(tmp_path: Path) -> None:
    def script(request: Request) -> list[Piece]:
        piece, end = said(dialect_of(request), "word ")
        pieces: list[Piece] = [0.15, piece] * 16
        return [OPEN, *pieces, end, None]

    models = limited("deadline: 1500ms") + "  short: {targets: [o/m], timeout: 500ms, retry: {attempts: 1}}\n"
    with house(tmp_path, script, models) as it:
        for name in "oag":
            assert it.chat(f"{name}t", stream=True).body.count(b"word ") == 16
        body = it.chat("short", stream=True).body
    assert b"models.short.timeout" in body
    assert b"[DONE]" not in body


@pytest.mark.report("timeouts", "A reasoning model's silence triggers neither a hedge nor the breaker")
def test_thinking_is_no_trouble(tmp_path: Path) -> None:
    models = (
        "  h: {targets: [o/m, o/other], hedge: {after: 50ms}, first_token: 100ms, thinking: 20s, "
        "breaker: {failures: 1}, retry: {attempts: 1}}\n"
    )
    with house(tmp_path, thinking(0.5), models) as it:
        for _ in range(3):
            answer = it.chat("h", stream=True, reasoning_effort="medium")
            assert (answer.headers["x-gatehouse-target"], answer.headers["x-gatehouse-attempts"]) == ("o/m", "1")
        assert len(it.upstream.requests) == 3
        states = {each["target"]: each["state"] for each in it.gateway.request("GET", "/health").json()["targets"]}
    assert states["o/m"] == "closed"


def ask(it: House, surface: str, model: str) -> bytes:
    return it.chat(model, stream=True).body if surface == "openai" else it.messages(model, stream=True).body


@pytest.mark.report("timeouts", "A streaming caller gets keepalives while the provider is silent")
@pytest.mark.parametrize(("surface", "sign"), [("openai", b": keep-alive\n\n"), ("anthropic", b"event: ping\n")])
def test_callers_hear_of_a_silent_provider(tmp_path: Path, surface: str, sign: bytes) -> None:
    def script(request: Request) -> list[Piece]:
        return [1.8, plain(request)]

    with house(tmp_path, script, more="server: {keepalive: 200ms}\n") as it:
        for name in "oag":
            body = ask(it, surface, name)
            assert body.startswith(sign), body
            assert body.count(sign) >= 2
            assert b"hello" in body
            assert b"error" not in body


@pytest.mark.report("timeouts", "After keepalives, fallback still works and an error still ends the stream")
@pytest.mark.parametrize("surface", ["openai", "anthropic"])
def test_signs_of_life_bind_to_nothing(tmp_path: Path, surface: str) -> None:
    def script(request: Request) -> list[Piece]:
        if b"good" in request.body:
            return [plain(request)]
        return [1.2, response({"error": {"message": "x"}}, status="500 Internal Server Error")]

    models = "  f: {targets: [o/bad, o/good], retry: {attempts: 1}}\n"
    with house(tmp_path, script, models, "server: {keepalive: 200ms}\n") as it:
        assert b"hello" in ask(it, surface, "f")
        body = ask(it, surface, "o")
    assert body.startswith((b": keep-alive", b"event: ping"))
    assert b"error" in body
    assert b"o/gpt-x" in body
    assert b"[DONE]" not in body


@pytest.mark.report("timeouts", "Gemini's surface sends no keepalives, so that an error has its own status")
def test_gemini_waits_in_silence(tmp_path: Path) -> None:
    def script(_: Request) -> list[Piece]:
        return [1.2, response({"error": {"message": "x"}}, status="500 Internal Server Error")]

    with house(tmp_path, script, more="server: {keepalive: 200ms}\n") as it:
        assert it.generate("o", stream=True).status == 502
        assert it.chat("o").status == 502


@pytest.mark.report(
    "timeouts", "A JSON response to a streamed request has the timeout of a buffered response once its headers arrive"
)
def test_json_to_a_stream(tmp_path: Path) -> None:
    data = json.dumps(openai_reply()).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(data)
    with house(tmp_path, lambda _: [head + data[:20], 2.5, data[20:]], limited("first_token: 1500ms")) as it:
        answer = it.chat("ot", stream=True)
    assert b"hello" in answer.body
