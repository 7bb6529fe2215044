"""Scripts, records and counters; HTTP as clients may speak it; requests that a vendor would refuse."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.simulator.behaviours import STATUSES, WORDS, Script, behaviours_help, parse
from gateway.simulator.server import Simulator, read_script, running
from tests.processes import until
from tests.unit.simulator.raw import QUESTION, call, connect, receive, send

CHAT = "/v1/chat/completions"
BODY = {"model": "m", "messages": QUESTION}
VERSION = {"anthropic-version": "2023-06-01"}


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with running({"flaky": ["429-after1", "500", "ok"], "down": "503"}) as simulator:
        yield simulator


def statuses(url: str, model: str, count: int) -> list[int]:
    return [send(url, CHAT, {**BODY, "model": model}).status for _ in range(count)]


def test_behaviour_is_chosen_by_header_then_script_then_name(simulator: Simulator) -> None:
    assert statuses(simulator.url, "flaky", 4) == [429, 500, 200, 200]
    assert statuses(simulator.url, "down", 2) == [503, 503]
    assert statuses(simulator.url, "sim-404", 1) == [404]
    assert statuses(simulator.url, "another", 1) == [200]
    assert send(simulator.url, CHAT, {**BODY, "model": "down"}, {"x-simulate": "ok"}).status == 200


def test_control(simulator: Simulator) -> None:
    assert send(simulator.url, "/__script", {"*": ["401", "ok"]}).status == 200
    assert statuses(simulator.url, "any", 2) == [401, 200]
    refused = send(simulator.url, "/__script", {"*": "bogus"})
    assert refused.status == 400
    assert b"unknown behaviour 'bogus'" in refused.body
    send(simulator.url, CHAT, BODY, {"authorization": "Bearer sk-secret-abcd"})
    [*_, record] = send(simulator.url, "/__requests").json()
    assert record["headers"]["authorization"] == "...abcd"
    assert "secret" not in json.dumps(record)
    assert (record["path"], record["body"], record["client_left"]) == (CHAT, BODY, False)
    assert record["ended"] >= record["started"]
    stats = send(simulator.url, "/__stats").json()
    assert stats["requests"] == 3
    assert stats["served"]["...abcd m"]["requests"] == 1
    assert stats["served"]["...abcd m"]["output"] > 5
    assert send(simulator.url, "/__reset", method="POST").status == 200
    assert send(simulator.url, "/__stats").json()["requests"] == 0
    assert send(simulator.url, "/__requests").json() == []


def test_a_key_in_the_url_is_not_kept(simulator: Simulator) -> None:
    send(simulator.url, "/v1beta/models/m:generateContent?key=AIza-secret-wxyz&alt=json", {"contents": []})
    assert simulator.requests[-1]["query"] == "key=...wxyz&alt=json"


def test_a_client_that_leaves_is_seen(simulator: Simulator) -> None:
    call(simulator.url, "openai", "n200-pace20", True, 0.1)
    until(lambda: simulator.stats["client_left"] == 1)
    record = simulator.requests[-1]
    assert record["client_left"]
    assert "ended" not in record
    assert 50 < record["left_after_ms"] < 1000
    until(lambda: "events" in record)
    assert 0 < record["events"] < 50
    assert simulator.stats["served"] == {}
    until(lambda: simulator.stats["open"] == 0)


def test_a_slow_reader_is_waited_for(simulator: Simulator) -> None:
    """Nothing piles up: the stream stands still until the client reads on."""
    body = json.dumps({**BODY, "stream": True, "model": "sim-n100000"}).encode()
    with connect(simulator.url) as connection:
        connection.sendall(f"POST {CHAT} HTTP/1.1\r\nhost: s\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        until(lambda: len(simulator.requests) == 1)
        assert simulator.stats["client_left"] == 0
    until(lambda: simulator.requests[-1].get("events", 10**6) < 99_000)


def test_keep_alive_and_pipelining(simulator: Simulator) -> None:
    body = json.dumps(BODY).encode()
    request = f"POST {CHAT} HTTP/1.1\r\nhost: s\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
    with connect(simulator.url) as connection:
        for _ in range(2):
            connection.sendall(request)
            assert receive(connection).status == 200
        connection.sendall(request + request.replace(b"host: s", b"connection: close"))
        got = b""
        while data := connection.recv(65536):
            got += data
    assert got.count(b"HTTP/1.1 200 OK") == 2
    assert got.count(b"connection: close") == 1


def test_expect_and_bad_http(simulator: Simulator) -> None:
    body = json.dumps(BODY).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nhost: s\r\nexpect: 100-continue\r\ncontent-length: {len(body)}\r\n\r\n"
    with connect(simulator.url) as connection:
        connection.sendall(head.encode())
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert receive(connection).status == 200
    with connect(simulator.url) as connection:
        connection.sendall(b"this is no HTTP\r\n\r\n")
        assert receive(connection).status == 400


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "words"),
    [
        (CHAT, {"messages": QUESTION}, {}, 400, "you must provide a model parameter"),
        (CHAT, {"model": "m"}, {}, 400, "Missing required parameter: 'messages'."),
        (CHAT, {**BODY, "n": "two"}, {}, 400, "Invalid type for 'n': expected integer, but got string"),
        (CHAT, {**BODY, "stream": 1}, {}, 400, "Invalid type for 'stream'"),
        (CHAT, {**BODY, "max_tokens": True}, {}, 400, "Invalid type for 'max_tokens'"),
        (CHAT, {**BODY, "messages": ["x"]}, {}, 400, "unexpected shape"),
        (CHAT, b"{", {}, 400, "could not parse"),
        (CHAT, b"[" * 100_000, {}, 400, "could not parse"),
        (CHAT, [], {}, 400, "must be a JSON object"),
        ("/v1/nothing", BODY, {}, 404, "Unknown path"),
        ("/v1/embeddings", {"model": "m"}, {}, 400, "'input'"),
        ("/v1/embeddings", {"model": "m", "input": "x", "dimensions": 10**9}, {}, 400, "'dimensions'"),
        ("/v1/messages", {**BODY, "max_tokens": 9}, {}, 400, "anthropic-version: header is required"),
        ("/v1/messages", BODY, VERSION, 400, "max_tokens: Field required"),
        ("/v1/messages", {**BODY, "max_tokens": "9"}, VERSION, 400, "max_tokens: Input should be a valid integer"),
        ("/v1/messages", {**BODY, "max_tokens": 9, "messages": []}, VERSION, 400, "at least one message"),
        ("/v1beta/models/m:generateContent", {}, {}, 400, "contents is not specified"),
        (
            "/v1beta/models/m:generateContent",
            {"contents": [{"parts": [{"text": "x"}]}], "generationConfig": {"temperature": "hot"}},
            {},
            400,
            "Invalid value at 'generation_config.temperature'",
        ),
        ("/openai/deployments/m/chat/completions", BODY, {}, 404, "Resource not found"),
    ],
)
def test_bad_requests(
    simulator: Simulator, path: str, body: Any, headers: dict[str, str], status: int, words: str
) -> None:
    raw = send(simulator.url, path, body, headers)
    assert raw.status == status, raw.body
    assert words in raw.json()["error"]["message"]


def test_anthropic_insists_on_tool_results(simulator: Simulator) -> None:
    turns = [
        *QUESTION,
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]},
        {"role": "user", "content": "never mind"},
    ]
    raw = send(simulator.url, "/v1/messages", {"model": "m", "max_tokens": 9, "messages": turns}, VERSION)
    assert raw.status == 400
    assert b"tool_result" in raw.body


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [(CHAT, {}, 401), ("/v1/messages", VERSION, 401), ("/v1/models/m:countTokens", {}, 403)],
)
def test_keys_are_required_if_asked(path: str, headers: dict[str, str], status: int) -> None:
    with running(require_key=True) as simulator:
        assert send(simulator.url, path, BODY, headers).status == status
        assert send(simulator.url, path, BODY, {**headers, "authorization": "Bearer k"}).status != status


def test_large_bodies(simulator: Simulator) -> None:
    large = {**BODY, "messages": [{"role": "user", "content": "x" * 3_000_000}]}
    assert send(simulator.url, CHAT, large, wait_s=5).status == 200
    assert simulator.requests[-1]["body"] is None
    assert simulator.requests[-1]["body_bytes"] > 3_000_000


def test_within_a_loop() -> None:
    async def ask() -> bytes:
        simulator = Simulator({"m": "n2"})
        port = await simulator.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = json.dumps(BODY).encode()
        writer.write(f"POST {CHAT} HTTP/1.1\r\nhost: s\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        answer = await reader.readuntil(b"}}")
        await simulator.close()
        await reader.read()
        writer.close()
        return answer

    assert b"word0 word1" in asyncio.run(ask())


def test_scripts_are_read() -> None:
    assert read_script(None) == {}
    assert read_script("429-after2") == {"*": "429-after2"}
    assert read_script("a=500, b=cut5") == {"a": "500", "b": "cut5"}
    assert read_script('{"a": ["429", "ok"]}') == {"a": ["429", "ok"]}
    with pytest.raises(ValueError, match=r"unknown behaviour 'cutt5'.*did you mean 'cut'"):
        Script({"a": "cutt5"})


def test_words() -> None:
    assert parse("cut-20") == parse("cut20")
    assert parse("429-after-2").status == 429
    with pytest.raises(ValueError, match="unknown behaviour 'html5'"):
        parse("html5")
    help_text = behaviours_help()
    assert all(f"  {word}" in help_text for word in WORDS)
    assert all(str(status) in help_text for status in STATUSES)


def test_every_word_is_in_the_docs() -> None:
    manual = (Path(__file__).resolve().parents[3] / "docs" / "concepts" / "simulator.md").read_text()
    for word in WORDS:
        assert re.search(rf"^\| .*`{word.rstrip('#')}\d*`.* \|", manual, re.MULTILINE), word


@pytest.mark.slow
def test_as_a_command() -> None:
    command = [sys.executable, "-m", "gateway", "simulate", "--port", "0", "--script"]
    with subprocess.Popen([*command, "m=503,*=n2"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            assert statuses(url, "m", 1) == [503]
            assert b"word0 word1" in send(url, CHAT, {**BODY, "model": "another"}).body
        finally:
            process.send_signal(signal.SIGINT)
            try:
                assert process.wait(60) == 0
            finally:
                process.kill()
    wrong = subprocess.run([*command, "m=bogus"], capture_output=True, text=True, timeout=20, check=False)
    assert (wrong.returncode, wrong.stderr.split(";")[0]) == (2, "unknown behaviour 'bogus' in 'bogus'")
