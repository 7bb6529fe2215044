"""A caller who does not speak, or does not read, is left after its time, over real sockets and a small app."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from gateway.surfaces.connections import Bounds, Connections
from tests.processes import eventually
from tests.unit.surfaces.listening import HEAD, SMALL, patient, place, rest, run

pytestmark = pytest.mark.slow


@patient
@pytest.mark.parametrize(
    ("data", "status"),
    [(b"", b""), (b"POST /echo HT", b"408"), (HEAD, b"408"), (b"\r\n\r\n", b"408")],
    ids=["nothing", "half-a-line", "half-a-head", "empty-lines"],
)
def test_a_head_that_does_not_come_is_not_waited_for(data: bytes, status: bytes) -> None:
    async def work() -> None:
        async with place(SMALL) as here:
            assert (await here.ask(data))[9:12] == status
            await eventually(lambda: len(here.connections) == 0)

    run(work())


async def _drip(writer: asyncio.StreamWriter, data: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        while True:
            writer.write(data)
            await writer.drain()
            await asyncio.sleep(0.01)


@patient
@pytest.mark.parametrize(
    ("begin", "more", "ended"),
    [
        (HEAD, b"x: y\r\n", []),
        (HEAD + b"content-length: 1000000\r\n\r\n", b"x", ["slow"]),
        (HEAD + b"content-length: 1000000\r\n\r\n", b"", ["slow"]),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n", ["slow"]),
        (HEAD + b"expect: 100-continue\r\ncontent-length: 1000000\r\n\r\n", b"", ["slow"]),
    ],
    ids=["head", "body", "half-a-body", "chunks", "after-continue"],
)
def test_what_drips_is_not_waited_for(begin: bytes, more: bytes, ended: list[str]) -> None:
    async def work() -> None:
        async with place(SMALL) as here:
            reader, writer = await here.open()
            writer.write(begin)
            dripping = asyncio.create_task(_drip(writer, more))
            got = await rest(reader)
            assert b"HTTP/1.1 408 " in got
            assert here.app.ended == ended
            dripping.cancel()
            writer.close()
            await eventually(lambda: len(here.connections) == 0)

    run(work())


@patient
def test_a_body_that_comes_steadily_is_read_however_long_it_takes() -> None:
    async def work() -> None:
        async with place(Bounds(body_s=0.2, min_bytes_per_s=1000)) as here:
            reader, writer = await here.open()
            writer.write(HEAD + b"content-length: 100000\r\n\r\n")
            for _ in range(10):
                writer.write(b"x" * 10_000)
                await writer.drain()
                await asyncio.sleep(0.1)
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
            writer.close()

    run(work())


@patient
def test_a_connection_that_is_kept_is_closed_after_its_time() -> None:
    async def work() -> None:
        async with place(SMALL) as here:
            got = await here.ask(HEAD + b"content-length: 2\r\n\r\nhi")
            assert got.endswith(b"hi")
            assert here.app.ended == ["ok"]

    run(work())


def _stuck(port: int, data: bytes) -> socket.socket:
    """A connection that sends and never reads."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", port))
    connection.sendall(data)
    return connection


@patient
@pytest.mark.parametrize(
    ("path", "ended"),
    [
        ("flood", "The caller read less than 100000 bytes per second"),
        ("flood?due", "The response timed out while the caller did not read it"),
        ("big", "ok"),
    ],
)
def test_a_caller_who_does_not_read_is_left(path: str, ended: str) -> None:
    async def work() -> None:
        bounds = SMALL if "due" not in path else Bounds(head_s=0.2)
        async with place(bounds) as here:
            with _stuck(here.port, b"GET /%b HTTP/1.1\r\nhost: x\r\n\r\n" % path.encode()):
                await eventually(lambda: len(here.app.ended) == 1 and len(here.connections) == 0)
            assert here.app.ended == [ended]

    run(work())


@patient
def test_a_caller_who_reads_slowly_but_steadily_gets_all() -> None:
    async def work() -> None:
        async with place(Bounds(write_s=0.2, min_bytes_per_s=1000)) as here:
            reader, writer = await here.open()
            writer.write(b"GET /big HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            size = 0
            while data := await reader.read(400_000):
                size += len(data)
                await asyncio.sleep(0.02)
            assert size > 8_000_000
            writer.close()

    run(work())


@patient
def test_a_full_house_closes_the_longest_silent_and_serves_the_next() -> None:
    async def work() -> None:
        async with place(Bounds(max_connections=10, max_per_address=10)) as here:
            silent = [await here.open() for _ in range(30)]
            for _ in range(3):
                ask = HEAD + b"connection: close\r\ncontent-length: 2\r\n\r\nhi"
                assert (await here.ask(ask)).endswith(b"hi")
            assert len(here.connections) <= 10
            for _, writer in silent:
                writer.close()

    run(work())


@patient
def test_a_house_full_of_work_says_so() -> None:
    async def work() -> None:
        async with place(Bounds(max_connections=3, max_per_address=3)) as here:
            busy = [await here.open() for _ in range(3)]
            for _, writer in busy:
                writer.write(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
            await eventually(lambda: len(here.app.seen) == 3)
            got = await here.ask(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
            assert got.startswith(b"HTTP/1.1 503 ")
            for _, writer in busy:
                writer.close()

    run(work())


@patient
def test_one_address_has_a_bound_of_its_own_and_a_proxy_has_not() -> None:
    from ipaddress import ip_network

    class Quiet:
        def __init__(self, address: str) -> None:
            self.address = address

        @property
        def idle_state(self) -> tuple[bool, float] | None:
            return None

        def check_deadlines(self, now: float) -> None: ...

        def drop(self) -> None: ...

    async def work() -> None:
        book = Connections(Bounds(max_connections=100, max_per_address=2, proxies=(ip_network("10.0.0.0/8"),)))
        assert [book.open(Quiet("192.0.2.1")) for _ in range(3)] == [True, True, False]
        assert book.open(Quiet("192.0.2.2"))
        assert all(book.open(Quiet("10.0.0.1")) for _ in range(20))

    run(work())
