"""Answers that are odd rather than absent: their ends, their depth, their length, and how they are wrapped."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from itertools import islice

import pytest

from gateway.simulator import oddities
from gateway.simulator.answers import TEXT
from gateway.simulator.behaviours import parse
from gateway.simulator.server import Simulator, running
from gateway.simulator.wires import find_wire
from tests.processes import until
from tests.unit.simulator.raw import PATHS, QUESTION, call, connect, ended_cleanly, said

DIALECTS = ("openai", "anthropic", "gemini")
dialects = pytest.mark.parametrize("dialect", DIALECTS)
modes = pytest.mark.parametrize("stream", [False, True])


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running() as simulator:
        yield simulator


def test_interim_answers_come_before_the_answer(simulator: Simulator) -> None:
    body = b'{"model": "sim-interim", "messages": [{"role": "user", "content": "hi"}]}'
    with connect(simulator.url) as connection:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
        connection.sendall(head % len(body) + body)
        got = b""
        while data := connection.recv(65_536):
            got += data
    statuses = [part.split()[0] for part in got.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"100", b"102", b"103", b"200"]


@dialects
@pytest.mark.parametrize("word", ["enderror", "endmalformed", "endother", "endunknown", "endcall"])
def test_odd_ends_are_whole_answers_but_for_their_reason(simulator: Simulator, dialect: str, word: str) -> None:
    raw = call(simulator.url, dialect, word, stream=True)
    assert (raw.whole, said(dialect, raw)) == (True, TEXT)
    good = call(simulator.url, dialect, "ok", stream=True)
    assert len(raw.frames()) == len(good.frames())
    assert raw.frames()[-3:] != good.frames()[-3:]


@dialects
def test_an_end_without_a_reason(simulator: Simulator, dialect: str) -> None:
    raw = call(simulator.url, dialect, "endnone")
    body = raw.json()
    if dialect == "openai":
        assert body["choices"][0]["finish_reason"] is None
    elif dialect == "anthropic":
        assert body["stop_reason"] is None
    else:
        assert "finishReason" not in body["candidates"][0]
    assert call(simulator.url, dialect, "endnone", stream=True).whole


@dialects
@modes
@pytest.mark.parametrize("word", ["deep", "deepargs", "cutargs"])
def test_what_is_too_deep_or_half(simulator: Simulator, dialect: str, stream: bool, word: str) -> None:
    raw = call(simulator.url, dialect, word, stream)
    assert (raw.status, raw.whole) == (200, True)
    assert (raw.body.count(b"[") >= oddities.DEPTH) is (word != "cutargs")
    assert (b"Ro" in raw.body, b"Rome" in raw.body) == {
        "deep": (False, False),
        "deepargs": (False, False),
        "cutargs": (True, False),
    }[word]


@dialects
def test_a_deep_error(simulator: Simulator, dialect: str) -> None:
    raw = call(simulator.url, dialect, "deeperror")
    assert raw.status == 500
    assert raw.body.count(b"[") == oddities.DEPTH


@dialects
@modes
def test_packed(simulator: Simulator, dialect: str, stream: bool) -> None:
    for word, wbits in (("gzip", 31), ("deflate", 15)):
        raw = call(simulator.url, dialect, word, stream)
        assert raw.headers["content-encoding"] == word
        assert "Süden".encode() in zlib.decompress(raw.body, wbits) or stream
    for word in ("gzip-lie", "br", "zstd"):
        raw = call(simulator.url, dialect, word, stream)
        assert raw.headers["content-encoding"] == word.partition("-")[0]
        assert "Süden".encode() in raw.body


@dialects
@modes
def test_what_is_announced_otherwise_than_it_comes(simulator: Simulator, dialect: str, stream: bool) -> None:
    longer = call(simulator.url, dialect, "longer", stream)
    assert (longer.framing, longer.whole, longer.ended) == ("length", False, "closed")
    assert int(longer.headers["content-length"]) == len(longer.body) + 10
    assert call(simulator.url, dialect, "shorter", stream).whole
    chunk = call(simulator.url, dialect, "cutchunk3", stream)
    assert (chunk.framing, chunk.whole, chunk.ended) == ("chunked", False, "closed")


@dialects
def test_the_errors_of_each_vendor_in_a_stream(simulator: Simulator, dialect: str) -> None:
    raw = call(simulator.url, dialect, "erroreven3-as429", stream=True)
    error = json.loads(raw.frames()[3].partition(b"data: ")[2])["error"]
    expected = {"openai": "requests", "anthropic": "rate_limit_error", "gemini": "RESOURCE_EXHAUSTED"}[dialect]
    assert error.get("status", error.get("type")) == expected
    assert not ended_cleanly(dialect, raw)


@dialects
@modes
@pytest.mark.parametrize("kind", ["words", "calls", "choices", "parts", "comments"])
def test_floods_go_on_until_the_client_leaves(simulator: Simulator, dialect: str, stream: bool, kind: str) -> None:
    simulator.reset()
    path = PATHS[dialect].format(model=f"sim-flood{kind}")
    body = {"model": f"sim-flood{kind}", "messages": QUESTION, "max_tokens": 10, "stream": stream}
    if dialect == "gemini":
        path = path.replace("generate", "streamGenerate") + "?alt=sse" if stream else path
        body = {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}
    data = json.dumps(body).encode()
    with connect(simulator.url) as connection:
        head = f"POST {path} HTTP/1.1\r\nanthropic-version: 2023-06-01\r\ncontent-length: {len(data)}\r\n\r\n"
        connection.sendall((head if dialect == "anthropic" else head.replace("anthropic-", "x-")).encode() + data)
        got = 0
        while got < 100_000:
            got += len(connection.recv(65_536))
    until(lambda: simulator.stats["client_left"] == 1)


@dialects
@pytest.mark.parametrize("kind", ["words", "calls", "choices", "parts"])
def test_what_a_flood_is_made_of_is_the_vendor_s_json(dialect: str, kind: str) -> None:
    wire = find_wire(PATHS[dialect], {})
    events = b"".join(islice(oddities.endless_events(wire, kind), 2)).replace(b"\r\n", b"\n").split(b"\n\n")
    assert all(json.loads(event.partition(b"data: ")[2]) for event in events[:-1])
    head, *pieces = islice(oddities.endless_body(wire, kind), 3)
    closing = {"{": "}", "[": "]", '"': '"'}
    body = (head + b"".join(pieces)).decode().rstrip(",")
    opened = [each for each in head.decode().replace('"text":"', "").replace('"content":"', "") if each in "{["]
    closed = [each for each in head.decode() if each in "}]"]
    missing = ['"'] if kind == "words" else []
    missing += ["}"] if kind == "words" and dialect != "openai" else []
    structure = opened[: len(opened) - len(closed)]
    if kind == "words" and dialect != "openai":
        structure = structure[:-1]
    assert json.loads(body + "".join(missing) + "".join(closing[each] for each in reversed(structure)))


def test_a_giant_event_has_the_size_that_was_asked() -> None:
    assert parse("giant512").number("giant", 1024) == 512


@dialects
@modes
def test_a_giant_answer(simulator: Simulator, dialect: str, stream: bool) -> None:
    raw = call(simulator.url, dialect, "giant64", stream)
    assert raw.whole
    assert 64 * 1024 < len(raw.body) < 80 * 1024
