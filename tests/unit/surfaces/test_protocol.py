"""What a connection may bring before anybody's key is known, over real sockets and a small app."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
import uvicorn
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.errors import BodyTooSlow
from gateway.surfaces.connections import Bounds, Connections
from gateway.surfaces.http import HttpCall
from gateway.surfaces.protocol import MOST_FIELDS, MOST_HEADERS, MOST_URL, front_protocol

guarded = pytest.mark.guarantee("access", "What comes before a key is known is bounded: URL, headers, trailers, chunks")
patient = pytest.mark.guarantee("access", "A caller who does not speak or read is left, and takes nobody's place")

HEAD = b"POST /echo HTTP/1.1\r\nhost: x\r\n"


class App:
    """Answers with the body and the headers that it saw; remembers how each request ended."""

    def __init__(self) -> None:
        self.seen: list[dict[bytes, bytes]] = []
        self.ended: list[str] = []
        self.going = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        call = HttpCall(scope, receive, send)
        try:
            await self._answer(call)
            self.ended.append("ok")
        except BodyTooSlow:
            self.ended.append("slow")
            await call.respond(408, [], b"slow")
        except asyncio.CancelledError:
            self.ended.append(call.cut_off or "left")
        finally:
            call.unwatch()

    async def _answer(self, call: HttpCall) -> None:
        self.going.set()
        if call.path == "/early":
            await call.respond(401, [], b"no")
            return
        body = await call.read_body(10_000_000)
        self.seen.append(call.headers)
        if call.path == "/wait":
            call.watch()
            await asyncio.Event().wait()
        if call.path == "/flood":
            call.watch()
            await call.begin(200, [])
            if call.query:
                call.end_by(asyncio.get_running_loop().time() + 0.05)
            while True:
                await call.write(b"x" * 100_000)
        await call.respond(200, [], body if call.path != "/big" else b"x" * 8_000_000)


class Place:
    """A server with the app."""

    def __init__(self, app: App, connections: Connections, port: int) -> None:
        self.app = app
        self.connections = connections
        self.port = port

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, data: bytes) -> bytes:
        """All that comes back until the server closes."""
        reader, writer = await self.open()
        writer.write(data)
        got = await _rest(reader)
        writer.close()
        return got


async def _rest(reader: asyncio.StreamReader) -> bytes:
    got = b""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            got += data
    return got


@contextlib.asynccontextmanager
async def place(bounds: Bounds | None = None) -> AsyncIterator[Place]:
    app, connections = App(), Connections(bounds or Bounds())
    server = uvicorn.Server(
        uvicorn.Config(
            app, http=front_protocol(connections), ws="none", lifespan="off", log_config=None, host="127.0.0.1", port=0,
            timeout_graceful_shutdown=1,
        )
    )  # fmt: skip
    serving = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.001)
    try:
        yield Place(app, connections, server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        await serving


def run(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(work, 60))


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        await asyncio.sleep(0.005)


@guarded
@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /" + b"a" * MOST_URL + b" HTTP/1.1\r\nhost: x\r\n\r\n", 414),
        (b"GET /?" + b"a" * 5_000_000, 414),
        (HEAD + b"x: " + b"y" * MOST_HEADERS + b"\r\n\r\n", 431),
        (HEAD + b"x: " + b"y" * 5_000_000, 431),
        (HEAD + b"y" * 5_000_000, 431),
        (HEAD + b"".join(b"x-%d: %b\r\n" % (each, b"y" * 1000) for each in range(70)) + b"\r\n", 431),
        (HEAD + b"a: b\r\n" * MOST_FIELDS + b"\r\n", 431),
        (b"\r\n" * 200_000, 431),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\n" + b"x: " + b"y" * 5_000_000, 400),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\n" + b"x: " + b"y" * 66_000 + b"\r\n\r\n", 431),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n1;" + b"x" * 5_000_000, 400),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n" + b"0" * 5_000_000, 400),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n" + (b"1;" + b"x" * 3000 + b"\r\nx\r\n") * 3000, 400),
        (b"CONNECT example.com:443 HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", 400),
        (HEAD + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ],
)  # fmt: skip
def test_what_is_too_much_is_refused_and_the_answer_arrives(data: bytes, status: int) -> None:
    async def work() -> None:
        async with place() as here:
            got = await here.ask(data)
            assert got.startswith(b"HTTP/1.1 %d " % status), got[:100]
            assert b"connection: close" in got
            assert "ok" not in here.app.ended

    run(work())


@guarded
@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_a_head_in_pieces_has_the_same_bounds(piece: int) -> None:
    async def work() -> None:
        async with place() as here:
            fits = HEAD + b"x: " + b"y" * 3000 + b"\r\ncontent-length: 2\r\n\r\nhi"
            reader, writer = await here.open()
            for start in range(0, len(fits), piece):
                writer.write(fits[start : start + piece])
                await writer.drain()
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
            writer.close()
            # One byte at a time for so long would take minutes: the last of it comes slowly.
            endless = HEAD + b"x: " + b"y" * (MOST_HEADERS - 2000)
            reader, writer = await here.open()
            writer.write(endless)
            for _ in range(4000 // piece + 1):
                writer.write(b"y" * piece)
                await writer.drain()
            assert (await reader.readline()).startswith(b"HTTP/1.1 431 ")
            writer.close()

    run(work())


@guarded
def test_memory_does_not_grow_with_what_is_refused() -> None:
    async def work() -> None:
        async with place() as here:
            _, writer = await here.open()
            writer.write(HEAD + b"x: ")
            with contextlib.suppress(ConnectionError):
                for _ in range(100):
                    writer.write(b"y" * 1_000_000)
                    await writer.drain()
                raise AssertionError("a hundred megabytes were read")
            writer.close()
            assert (await here.ask(HEAD + b"connection: close\r\ncontent-length: 2\r\n\r\nhi")).endswith(b"hi")

    run(work())


@guarded
def test_what_follows_the_body_is_no_header() -> None:
    async def work() -> None:
        async with place() as here:
            trailers = b"authorization: Bearer k\r\nx-forwarded-for: 10.0.0.1\r\nx-gatehouse-user: bob\r\n"
            chunked = b"transfer-encoding: chunked\r\nx-gatehouse-user: alice\r\nconnection: close\r\n\r\n"
            got = await here.ask(HEAD + chunked + b"2\r\nhi\r\n0\r\n" + trailers + b"\r\n")
            assert got.startswith(b"HTTP/1.1 200 ")
            (seen,) = here.app.seen
            assert seen[b"x-gatehouse-user"] == b"alice"
            assert b"authorization" not in seen
            assert b"x-forwarded-for" not in seen

    run(work())


@guarded
def test_the_headers_of_a_request_are_its_own_behind_another_with_trailers() -> None:
    async def work() -> None:
        async with place() as here:
            first = HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\nx-a: 1\r\n\r\n"
            second = b"GET /second HTTP/1.1\r\nhost: y\r\nx-b: 2\r\nconnection: close\r\n\r\n"
            await here.ask(first + second)
            assert [sorted(each) for each in here.app.seen] == [
                [b"host", b"transfer-encoding"],
                [b"connection", b"host", b"x-b"],
            ]

    run(work())


def test_an_upgrade_that_is_not_taken_is_ignored_and_the_body_read() -> None:
    async def work() -> None:
        async with place() as here:
            offer = b"connection: Upgrade, HTTP2-Settings, close\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIA\r\n"
            for body in (
                b"content-length: 5\r\n\r\nhello",
                b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            ):
                got = await here.ask(HEAD + offer + body)
                assert got.startswith(b"HTTP/1.1 200 ")
                assert got.endswith(b"hello")
            assert b"upgrade" not in here.app.seen[0]

    run(work())


def test_a_hundred_requests_at_once_on_one_connection_are_too_many() -> None:
    async def work() -> None:
        async with place() as here:
            one = b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n"
            got = await here.ask(one * 100)
            assert got == b""
            await until(lambda: here.app.ended == ["left"])

    run(work())


def test_requests_behind_each_other_are_answered_in_order() -> None:
    async def work() -> None:
        async with place() as here:
            asks = [HEAD + b"content-length: 1\r\n\r\n%d" % each for each in range(9)]
            got = await here.ask(b"".join(asks) + HEAD + b"connection: close\r\n\r\n")
            assert [each[:1] for each in got.split(b"\r\n\r\n")[1:10]] == [b"%d" % each for each in range(9)]

    run(work())


def test_no_answer_of_ours_is_written_into_another_one() -> None:
    async def work() -> None:
        async with place() as here:
            got = await here.ask(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\nnonsense\r\n\r\n")
            assert got == b""
            await until(lambda: here.app.ended == ["left"])

    run(work())


def test_a_caller_who_leaves_ends_the_request_that_is_answered_not_only_the_last_one() -> None:
    async def work() -> None:
        async with place() as here:
            _, writer = await here.open()
            writer.write(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\nGET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
            await here.app.going.wait()
            writer.close()
            await until(lambda: here.app.ended == ["left"])

    run(work())


SMALL = Bounds(head_s=0.2, body_s=0.2, write_s=0.3, idle_s=0.2, slowest=100_000)


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
            await until(lambda: len(here.connections) == 0)

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
            got = await _rest(reader)
            assert b"HTTP/1.1 408 " in got
            assert here.app.ended == ended
            dripping.cancel()
            writer.close()
            await until(lambda: len(here.connections) == 0)

    run(work())


@patient
def test_a_body_that_comes_steadily_is_read_however_long_it_takes() -> None:
    async def work() -> None:
        async with place(Bounds(body_s=0.2, slowest=1000)) as here:
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
        ("flood", "The caller read less than 100000 bytes a second"),
        ("flood?due", "The time for the answer was over while the caller did not read it"),
        ("big", "ok"),
    ],
)
def test_a_caller_who_does_not_read_is_left(path: str, ended: str) -> None:
    async def work() -> None:
        bounds = SMALL if "due" not in path else Bounds(head_s=0.2)
        async with place(bounds) as here:
            with _stuck(here.port, b"GET /%b HTTP/1.1\r\nhost: x\r\n\r\n" % path.encode()):
                await until(lambda: len(here.app.ended) == 1 and len(here.connections) == 0)
            assert here.app.ended == [ended]

    run(work())


@patient
def test_a_caller_who_reads_slowly_but_steadily_gets_all() -> None:
    async def work() -> None:
        async with place(Bounds(write_s=0.2, slowest=1000)) as here:
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
        async with place(Bounds(most=10, most_per_address=10)) as here:
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
        async with place(Bounds(most=3, most_per_address=3)) as here:
            busy = [await here.open() for _ in range(3)]
            for _, writer in busy:
                writer.write(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
            await until(lambda: len(here.app.seen) == 3)
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
        def silent(self) -> tuple[bool, float] | None:
            return None

        def look(self, now: float) -> None: ...

        def drop(self) -> None: ...

    async def work() -> None:
        book = Connections(Bounds(most=100, most_per_address=2, proxies=(ip_network("10.0.0.0/8"),)))
        assert [book.open(Quiet("192.0.2.1")) for _ in range(3)] == [True, True, False]
        assert book.open(Quiet("192.0.2.2"))
        assert all(book.open(Quiet("10.0.0.1")) for _ in range(20))

    run(work())


def test_an_answer_that_comes_before_the_body_does_not_keep_the_connection() -> None:
    async def work() -> None:
        async with place(SMALL) as here:
            got = await here.ask(b"POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\nx")
            assert got.startswith(b"HTTP/1.1 401 ")
            got = await here.ask(
                b"POST /early HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 1000000\r\n\r\n"
            )
            assert got.startswith(b"HTTP/1.1 401 ")

    run(work())


_small = st.binary(max_size=30)
_part: st.SearchStrategy[bytes] = st.one_of(
    _small,
    st.sampled_from([
        b"POST /echo HTTP/1.1\r\n", b"GET /early HTTP/1.1\r\n", b"host: x\r\n", b"content-length: 3\r\n", b"\r\n",
        b"abc", b"transfer-encoding: chunked\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n",
        b"connection: upgrade\r\nupgrade: h2c\r\n",
        b"expect: 100-continue\r\n", b"0\r\nx: y\r\n\r\n", b"3;a=b\r\n",
    ]),
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(_part, max_size=12).map(b"".join), max_size=12))
def test_whatever_comes_ends_and_the_next_caller_is_served(sent: list[bytes]) -> None:
    async def work() -> None:
        bounds = Bounds(head_s=0.05, body_s=0.05, write_s=0.1, idle_s=0.05)
        async with place(bounds) as here:
            reader, writer = await here.open()
            for data in sent:
                # uvloop tells so that the other end has closed already.
                with contextlib.suppress(RuntimeError):
                    writer.write(data)
                await asyncio.sleep(0)
            await _rest(reader)
            writer.close()
            await until(lambda: len(here.connections) == 0)
            ask = HEAD + b"connection: close\r\ncontent-length: 2\r\n\r\nhi"
            assert (await here.ask(ask)).endswith(b"hi")

    run(work())
