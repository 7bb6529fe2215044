"""Calls beside the path: they end at their deadline and their size, and reach checked addresses only."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from contract.egress import DIRECT, Egress
from contract.outbound import Call, Outbound
from observability import webhook
from rag import web
from rag.documents.reading import UnreadableFile
from rag.tools.fetch import FetchFailed, fetch

DEADLINE = "A server that sends its response too slowly is disconnected at the total deadline"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"


def got(url: str, *, timeout_s: float = 5.0, most: int = 1_000_000, private: bool = True) -> tuple[str, str]:
    """What a tool fetches."""

    async def ask() -> tuple[str, str]:
        outbound = Outbound("tools")
        try:
            return await fetch(outbound, Call(url, timeout_s, private=private), most)
        finally:
            await outbound.close()

    return asyncio.run(ask())


@contextmanager
def server(answer: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """Where a server listens that answers so; it ends with the block."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=one, args=(connection,), daemon=True).start()

    def one(connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65_536)
                answer(connection, over)
            except OSError:
                pass

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        over.set()
        listener.close()


def headers(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(HEAD)
    while not over.wait(0.05):
        connection.sendall(b"x-more: a\r\n")


def body(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(HEAD + b"\r\n")
    while not over.wait(0.05):
        connection.sendall(b"a")


def first_line(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 O")
    while not over.wait(0.05):
        connection.sendall(b"K")


def whole(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(HEAD + b"connection: close\r\n\r\nall of it")


@pytest.mark.guarantee("fairness", DEADLINE)
@pytest.mark.parametrize("drip", [headers, body, first_line])
def test_a_tools_server_that_drips(drip: Callable[[socket.socket, threading.Event], None]) -> None:
    with server(drip) as url, pytest.raises(FetchFailed, match=r"longer than 0\.5 s|can't be reached"):
        got(url, timeout_s=0.5)


@pytest.mark.guarantee("fairness", DEADLINE)
@pytest.mark.parametrize("drip", [headers, body, first_line])
def test_a_page_that_drips(
    drip: Callable[[socket.socket, threading.Event], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "TIMEOUT_S", 0.5)
    with server(drip) as url, pytest.raises(UnreadableFile):
        web.web_items([url])[0].load()


@pytest.mark.guarantee("fairness", DEADLINE)
@pytest.mark.parametrize("drip", [headers, first_line])
def test_a_webhook_that_drips(
    drip: Callable[[socket.socket, threading.Event], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "TIMEOUT_S", 0.5)
    with server(drip) as url, pytest.raises(OSError):  # noqa: PT011 -- of several classes
        asyncio.run(webhook.post_event(Outbound("webhooks"), url, {"event": "x"}))


def test_an_answer_in_time_is_read_whole() -> None:
    with server(whole) as url:
        assert got(url) == ("text/plain", "all of it")


def answering(wire: bytes) -> Callable[[socket.socket, threading.Event], None]:
    """Answers with `wire` and keeps the connection."""

    def answer(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(wire)
        while connection.recv(65_536):
            connection.sendall(wire)

    return answer


def test_a_small_body_that_holds_a_lot_is_given_up_at_the_bound() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    wire = HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n%b" % (len(bomb), bomb)
    with server(answering(wire)) as url:
        tracemalloc.start()
        with pytest.raises(FetchFailed, match="larger than 100000 bytes"):
            got(url, most=100_000)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 10_000_000


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_packed_answers_are_asked_for_and_read(coding: str) -> None:
    packed = gzip.compress(b"words") if coding == "gzip" else zlib.compress(b"words")
    wire = HEAD + b"content-encoding: %b\r\ncontent-length: %d\r\n\r\n%b" % (coding.encode(), len(packed), packed)
    with server(answering(wire)) as url:
        assert got(url) == ("text/plain", "words")


@pytest.mark.parametrize(
    ("more", "body", "problem"),
    [
        (b"content-encoding: gzip\r\n", b"no gzip at all", "can't be decompressed"),
        (b"content-encoding: rot13\r\n", b"x", "can't be decompressed"),
        (b"content-encoding: gzip\r\n", gzip.compress(b"words", mtime=0)[:-4], "can't be decompressed"),
    ],
    ids=["not-gzip", "unknown-coding", "cut-gzip"],
)
def test_what_can_not_be_unpacked(more: bytes, body: bytes, problem: str) -> None:
    wire = HEAD + more + b"content-length: %d\r\n\r\n%b" % (len(body), body)
    with server(answering(wire)) as url, pytest.raises(FetchFailed, match=problem):
        got(url)


@pytest.mark.parametrize("wire", [b"SSH-2.0-OpenSSH\r\n\r\n", b"", HEAD + b"content-length: 9\r\n\r\nhalf"])
def test_what_is_not_http_or_ends_early(wire: bytes) -> None:
    def answer(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(wire)

    with server(answer) as url, pytest.raises(FetchFailed, match="not HTTP or ends early"):
        got(url)


def test_a_redirect_is_not_followed() -> None:
    wire = b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n"
    with server(answering(wire)) as url, pytest.raises(FetchFailed, match="status 302; redirects are not followed"):
        got(url)


def test_nobody_listens_and_no_secret_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(FetchFailed, match="Connection refused") as failed:
        got(f"http://127.0.0.1:{port}/?key=s3cret")
    assert "s3cret" not in str(failed.value)


def test_private_addresses_are_refused_unless_they_are_allowed() -> None:
    with server(whole) as url:
        with pytest.raises(FetchFailed, match="private address"):
            got(url, private=False)
        # A connection that was allowed is not used by a call that is not.
        assert mixed(url) == ["all of it", "the host has a private address"]


def mixed(url: str) -> list[str]:
    async def ask() -> list[str]:
        outbound = Outbound("tools")
        found = []
        for private in (True, False):
            try:
                found.append((await fetch(outbound, Call(url, 5, private=private), 1000))[1])
            except FetchFailed as error:
                found.append(str(error).partition(": ")[2])
        await outbound.close()
        return found

    return asyncio.run(ask())


def test_connections_are_used_again_and_cookies_are_not_kept() -> None:
    heads: list[bytes] = []
    connections = 0

    def answer(connection: socket.socket, over: threading.Event) -> None:
        nonlocal connections
        connections += 1
        while not over.is_set():
            connection.sendall(HEAD + b"set-cookie: of=another-caller\r\ncontent-length: 2\r\n\r\nok")
            data = b""
            # A GET ends with its head, and this POST with its body.
            while not data.endswith(b"}" if data.startswith(b"POST") else b"\r\n\r\n"):
                if not (part := connection.recv(65_536)):
                    return
                data += part
            heads.append(data.lower())

    async def ask(url: str) -> None:
        outbound = Outbound("tools")
        for _ in range(3):
            await fetch(outbound, Call(url, 5, private=True), 1000)
        for _ in range(3):
            await webhook.post_event(outbound, url, {"event": "x"})
        await outbound.close()

    with server(answer) as url:
        asyncio.run(ask(url))
    assert connections == 1
    assert len(heads) == 5
    assert not any(b"cookie" in head for head in heads)


def test_one_caller_leaves_room_for_others() -> None:
    """Of three calls at a time one caller gets two, and another the third at once."""
    held, over = threading.Event(), threading.Event()

    def answer(connection: socket.socket, _: threading.Event) -> None:
        held.wait(10)
        whole(connection, over)

    async def ask(url: str) -> None:
        outbound = Outbound("tools", 3)
        greedy = [asyncio.create_task(fetch(outbound, Call(url, 10, private=True), 1000, "a")) for _ in range(6)]
        await asyncio.sleep(0)
        with server(whole) as quick:
            assert (await fetch(outbound, Call(quick, 5, private=True), 1000, "b"))[1] == "all of it"
        assert not any(each.done() for each in greedy)
        held.set()
        await asyncio.gather(*greedy)
        await outbound.close()

    with server(answer) as url:
        asyncio.run(ask(url))


def test_a_call_that_is_given_up_closes_its_connection() -> None:
    begun, gone = threading.Event(), threading.Event()

    def answer(connection: socket.socket, over: threading.Event) -> None:
        begun.set()
        if not connection.recv(1):
            gone.set()

    async def ask(url: str) -> None:
        outbound = Outbound("tools")
        task = asyncio.create_task(fetch(outbound, Call(url, 10, private=True), 1000))
        await asyncio.to_thread(begun.wait, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(gone.wait, 5)
        await outbound.close()

    with server(answer) as url:
        asyncio.run(ask(url))


@pytest.mark.parametrize("url", ["http://[::1/", "http://127.0.0.1:99999/", "ftp://127.0.0.1/"])
def test_addresses_that_can_not_be_asked(url: str) -> None:
    with pytest.raises(FetchFailed, match="is invalid"):
        got(url)


def test_a_webhook_that_is_slow_to_end_has_been_told() -> None:
    with server(body) as url:
        asyncio.run(webhook.post_event(Outbound("webhooks"), url, {"event": "x"}, DIRECT))


def test_what_has_begun_may_end_before_connections_close() -> None:
    async def act(url: str) -> None:
        outbound = Outbound("webhooks")
        told = asyncio.create_task(webhook.post_event(outbound, url, {"event": "x"}, Egress()))
        await asyncio.sleep(0)
        await outbound.close(5.0)
        await told

    with server(whole) as url:
        asyncio.run(act(url))


def test_a_kept_connection_that_the_server_has_closed_is_replaced() -> None:
    """Also where it closes as the request comes."""
    connections = 0

    def answer(connection: socket.socket, over: threading.Event) -> None:
        nonlocal connections
        connections += 1
        connection.sendall(HEAD + b"content-length: 2\r\n\r\nok")
        connection.recv(1)

    async def ask(url: str) -> None:
        outbound = Outbound("tools")
        for _ in range(3):
            assert (await fetch(outbound, Call(url, 5, private=True), 1000))[1] == "ok"
        await outbound.close()

    with server(answer) as url:
        asyncio.run(ask(url))
    assert connections == 3


def test_addresses_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    with server(whole) as url:
        got(url + "?key=s3cret")
    assert "s3cret" not in caplog.text
