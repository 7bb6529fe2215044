"""Blocking HTTP ends at its deadline, however the other side drips."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from contract.bounded_http import opened
from observability import webhook
from rag import web
from rag.documents.reading import UnreadableFile
from rag.tools.fetch import FetchFailed, fetch

DEADLINE = "A server that drips its answer is let go of at the total deadline"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"


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
        fetch(url, {}, 0.5, 1_000_000, private=True)


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
        webhook.post_event(url, {"event": "x"})


def test_an_answer_in_time_is_read_whole() -> None:
    with server(whole) as url:
        assert fetch(url, {}, 5, 1_000_000, private=True) == ("text/plain", "all of it")
        with opened(url, 5, headers={}) as response:
            assert response.read() == b"all of it"
