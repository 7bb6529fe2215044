"""Callers who fall silent, drip, don't read or leave: the slot is freed, the upstream call closed, one row written."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gateway.simulator.server import Simulator, running
from tests.live import Gateway, running_gateway
from tests.processes import until

VIEWER = "viewer-key-0123456789abcdef0123456789abcdef"
CONFIG = """
version: 1
server:
  database: "sqlite:///{folder}/gatehouse.db"
  data: {folder}
  header_timeout: 300ms
  body_timeout: 300ms
  write_timeout: 500ms
  idle_timeout: 400ms
  min_rate: 1MB
providers:
  openai: {{kind: openai, base_url: "{url}/v1", api_key: k}}
  anthropic: {{kind: anthropic, base_url: "{url}", api_key: k}}
  gemini: {{kind: gemini, base_url: "{url}", api_key: k}}
models:
  quick: {{targets: [openai/m]}}
  hang: {{targets: [openai/sim-hang]}}
  openai-flood: {{targets: [openai/sim-n60000]}}
  anthropic-flood: {{targets: [anthropic/sim-n200000]}}
  gemini-flood: {{targets: [gemini/sim-n200000]}}
  paced: {{targets: [openai/sim-n2000-pace20]}}
apps:
  one: {{keys: [test-key], limits: {{max_concurrent: 1}}}}
  other: {{keys: [neighbour-key]}}
admin: {{keys: {{vera: {{key: {viewer}, role: viewer}}}}}}
observe: {{log: "off"}}
"""
SHORT = CONFIG.replace("write_timeout: 500ms", "write_timeout: 60s").replace("n60000]}}", "n60000], timeout: 4s}}")

WAIT_S = 60  # for what comes at once on any machine that has the time

surfaces = pytest.mark.parametrize("surface", ["openai", "anthropic", "gemini"])
guarded = pytest.mark.guarantee("access", "A caller that stops sending or reading is disconnected and frees its slot")


@pytest.fixture(scope="module")
def upstream() -> Iterator[Simulator]:
    with running() as simulator:
        yield simulator


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream: Simulator) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("callers")
    yaml = CONFIG.format(url=upstream.url, folder=folder, viewer=VIEWER)
    with running_gateway(yaml, folder) as gateway:
        yield gateway


class Caller:
    """One who asks under a name of his own, so that his rows can be told."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.name = uuid.uuid4().hex
        self._connection: socket.socket | None = None

    def asks(self, surface: str, model: str, *, stream: bool, declared: int = 0) -> tuple[bytes, bytes]:
        """Head and body of a request."""
        body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": stream}
        path = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}.get(surface, "")
        if surface == "gemini":
            verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
            path, body = f"/v1beta/models/{model}:{verb}", {"contents": [{"parts": [{"text": "hi"}]}]}
        if surface == "anthropic":
            body["max_tokens"] = 10**6
        data = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer test-key\r\n"
            f"x-gatehouse-user: {self.name}\r\ncontent-length: {declared or len(data)}\r\n\r\n"
        )
        return head.encode(), data

    def connect(self, *, small: bool = False) -> socket.socket:
        """`small`: hardly anything fits between the two ends."""
        self._connection = connection = socket.socket()
        if small:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(WAIT_S)
        connection.connect(("127.0.0.1", self.gateway.port))
        return connection

    def rows(self) -> list[dict[str, Any]]:
        """What the ledger has of him."""
        answer = self.gateway.request(
            "GET", f"/admin/v1/requests?user={self.name}", headers={"authorization": f"Bearer {VIEWER}"}
        )
        found: list[dict[str, Any]] = answer.json()["requests"]
        return found

    def ends(self, outcome: str, status: int) -> dict[str, Any]:
        """The one row; and the slot is free."""
        until(lambda: len(self.rows()) > 0, WAIT_S)
        (row,) = self.rows()
        assert (row["outcome"], row["status"]) == (outcome, status), row
        until(lambda: ask(self.gateway, "test-key") == 200, WAIT_S)
        return row


@pytest.fixture(autouse=True)
def freed(gateway: Gateway) -> Iterator[None]:
    """The app has one slot: whatever a test has left of it is gone before the next one."""
    yield
    until(lambda: ask(gateway, "test-key") == 200, WAIT_S)


def ask(gateway: Gateway, key: str) -> int:
    """The status. All goes out at once: a slow machine must not make this caller one who drips."""
    body = b'{"model": "quick", "messages": [{"role": "user", "content": "hi"}]}'
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nconnection: close\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=WAIT_S) as connection:
        connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        return int(rest(connection)[9:12])


@contextlib.contextmanager
def neighbour(gateway: Gateway) -> Iterator[None]:
    """Asks all the time, and is answered."""
    statuses: list[int] = []
    ending = threading.Event()

    def asking() -> None:
        statuses.append(ask(gateway, "neighbour-key"))
        while not ending.wait(0.05):
            statuses.append(ask(gateway, "neighbour-key"))

    thread = threading.Thread(target=asking)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
    assert set(statuses) == {200}


def odd_ones(upstream: Simulator, since: float) -> list[dict[str, Any]]:
    """The upstream's requests from `since` on, but for the neighbour's."""
    return [
        each for each in list(upstream.requests) if set(each.get("behaviour", ())) - {"ok"} and each["started"] >= since
    ]


def rest(connection: socket.socket) -> bytes:
    got = b""
    with contextlib.suppress(ConnectionError):
        while data := connection.recv(65_536):
            got += data
    return got


@guarded
@pytest.mark.parametrize("cut", [0, 10, 60], ids=["silent", "half-a-line", "half-a-head"])
def test_a_caller_without_a_whole_head_is_closed_and_nothing_is_written(gateway: Gateway, cut: int) -> None:
    caller = Caller(gateway)
    head, _ = caller.asks("openai", "quick", stream=False)
    with neighbour(gateway), caller.connect() as connection:
        connection.sendall(head[:cut])
        assert rest(connection)[9:12] == (b"408" if cut else b"")
    assert caller.rows() == []


def _drip(connection: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        for byte in data:
            connection.send(bytes([byte]))
            threading.Event().wait(0.01)


@guarded
def test_a_dripping_head_is_closed(gateway: Gateway) -> None:
    caller = Caller(gateway)
    head, _ = caller.asks("openai", "quick", stream=False)
    with neighbour(gateway), caller.connect() as connection:
        _drip(connection, head[:-4])
        assert rest(connection)[9:12] == b"408"
    assert caller.rows() == []


@guarded
@surfaces
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("drips", [False, True])
def test_half_a_body_is_a_408_in_the_surface_s_shape(gateway: Gateway, surface: str, stream: bool, drips: bool) -> None:
    caller = Caller(gateway)
    head, body = caller.asks(surface, "quick", stream=stream, declared=10_000)
    with neighbour(gateway), caller.connect() as connection:
        connection.sendall(head + body)
        if drips:
            _drip(connection, b" " * 100)
        got = rest(connection)
    assert got.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in got
    assert json.loads(got.partition(b"\r\n\r\n")[2])["error"]
    # Nobody knows yet which model it was for: the log has it, the ledger has not.
    assert caller.rows() == []


@guarded
@surfaces
@pytest.mark.parametrize("target", ["openai-flood", "own"])
def test_who_does_not_read_a_stream_is_cut_off(
    gateway: Gateway, upstream: Simulator, surface: str, target: str
) -> None:
    caller, began = Caller(gateway), time.monotonic()
    with neighbour(gateway), caller.connect(small=True) as connection:
        connection.sendall(b"".join(caller.asks(surface, target.replace("own", f"{surface}-flood"), stream=True)))
        row = caller.ends("interrupted", 200)
    assert "slow_reader" in json.dumps(row)
    (record,) = odd_ones(upstream, began)
    until(lambda: record["client_left"], WAIT_S)


@guarded
@surfaces
def test_who_does_not_read_a_whole_answer_frees_his_slot_at_once(gateway: Gateway, surface: str) -> None:
    caller = Caller(gateway)
    with neighbour(gateway), caller.connect(small=True) as connection:
        connection.sendall(b"".join(caller.asks(surface, f"{surface}-flood", stream=False)))
        caller.ends("ok", 200)


@guarded
def test_the_timeout_of_a_model_holds_though_nobody_reads(
    tmp_path_factory: pytest.TempPathFactory, upstream: Simulator
) -> None:
    folder = tmp_path_factory.mktemp("timeout")
    with running_gateway(SHORT.format(url=upstream.url, folder=folder, viewer=VIEWER), folder) as gateway:
        caller = Caller(gateway)
        with neighbour(gateway), caller.connect(small=True) as connection:
            connection.sendall(b"".join(caller.asks("openai", "openai-flood", stream=True)))
            row = caller.ends("interrupted", 200)
        assert "slow_reader" in json.dumps(row)


def _half_closes(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)


def _resets(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def _asks_again_and_leaves(connection: socket.socket) -> None:
    connection.sendall(b"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer test-key\r\n\r\n")
    connection.close()


def _sends_nonsense(connection: socket.socket) -> None:
    connection.sendall(b"nonsense\r\n\r\n")


@guarded
@pytest.mark.parametrize("leaves", [_half_closes, _resets, _asks_again_and_leaves, _sends_nonsense])
@pytest.mark.parametrize(
    ("surface", "model", "stream", "status"),
    [
        ("openai", "hang", False, 499),
        ("anthropic", "hang", True, 499),
        ("openai", "paced", True, 200),
        ("anthropic", "paced", True, 200),
        ("gemini", "paced", True, 200),
    ],
)
def test_who_leaves_closes_the_upstream_call(
    gateway: Gateway,
    upstream: Simulator,
    surface: str,
    leaves: Callable[[socket.socket], None],
    model: str,
    stream: bool,
    status: int,
) -> None:
    caller, began = Caller(gateway), time.monotonic()
    with neighbour(gateway), contextlib.closing(caller.connect()) as connection:
        connection.sendall(b"".join(caller.asks(surface, model, stream=stream)))
        until(lambda: len(odd_ones(upstream, began)) == 1, WAIT_S)
        if model == "paced":
            got = b""
            while b"word3" not in got and (data := connection.recv(1000)):
                got += data
        leaves(connection)
        caller.ends("cancelled", status)
    (record,) = odd_ones(upstream, began)
    until(lambda: record["client_left"], WAIT_S)


@guarded
def test_a_second_request_behind_a_stream_is_answered_after_it(gateway: Gateway) -> None:
    caller = Caller(gateway)
    head, body = caller.asks("openai", "quick", stream=True)
    with neighbour(gateway), caller.connect() as connection:
        connection.sendall((head + body) * 2)
        got = rest(connection)
    assert got.count(b"HTTP/1.1 200 ") == 2
    assert got.count(b"[DONE]") == 2
    assert b"[DONE]" in got[: got.rindex(b"HTTP/1.1 200 ")]
    until(lambda: [row["outcome"] for row in caller.rows()] == ["ok", "ok"], WAIT_S)


@guarded
def test_a_kept_connection_that_says_nothing_more_is_closed(gateway: Gateway) -> None:
    caller = Caller(gateway)
    with neighbour(gateway), caller.connect() as connection:
        connection.sendall(b"".join(caller.asks("openai", "quick", stream=False)))
        assert rest(connection).startswith(b"HTTP/1.1 200 ")
    caller.ends("ok", 200)
