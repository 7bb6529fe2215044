"""The pools of connections against a server that does exactly what it is told, byte by byte."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.errors import ConnectFailed, IncompleteReply, MalformedReply, Overloaded, TimedOut
from gateway.providers.http import ConnectionPool
from gateway.providers.proxied import ProxiedPool
from gateway.providers.response import Response
from gateway.providers.transport import Transport

Kind = Callable[..., Transport]
Play = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(params=[ConnectionPool, ProxiedPool], scope="module")
def kind(request: pytest.FixtureRequest) -> Kind:
    """Both pools of HTTP/1.1 keep the same contract; the second one goes to the origin where it has no proxy."""
    made: Kind = request.param
    return made


class Upstream:
    """Reads one request at a time and hands the connection to `play`."""

    def __init__(self, play: Play) -> None:
        self.play = play
        self.connections = 0
        self.requests: list[bytes] = []

    async def __aenter__(self) -> Upstream:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                await self.play(reader, writer)
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def answer(data: bytes, *, close: bool = False) -> Play:
    async def play(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        if close:
            writer.close()

    return play


async def call(pool: Transport, wait_s: float = 5.0) -> Response:
    head = pool.head("/x", {"content-type": "application/json"})
    deadline = asyncio.get_running_loop().time() + wait_s
    return await pool.post(head, b"{}", connect_s=2.0, deadline=deadline)


async def read(response: Response) -> bytes:
    parts = []
    while (data := await response.read()) is not None:
        parts.append(data)
    return b"".join(parts)


def chunked(*pieces: bytes) -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece)
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"


def test_a_connection_is_kept_and_used_again(kind: Kind) -> None:
    async def main() -> None:
        async with Upstream(answer(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")) as upstream:
            pool = kind(upstream.url + "/v1")
            for _ in range(3):
                assert await read(await call(pool)) == b"hi"
            assert upstream.connections == 1
            assert upstream.requests[0].startswith(b"POST /v1/x HTTP/1.1\r\nhost: 127.0.0.1:")
            await pool.close()

    asyncio.run(main())


def test_close_delimited_body_ends_cleanly(kind: Kind) -> None:
    async def main() -> None:
        async with Upstream(answer(b"HTTP/1.0 200 OK\r\n\r\nall of it", close=True)) as upstream:
            pool = kind(upstream.url)
            assert await read(await call(pool)) == b"all of it"
            await pool.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ],
)
def test_a_cut_body_is_never_a_clean_end(kind: Kind, data: bytes) -> None:
    async def main() -> None:
        async with Upstream(answer(data, close=True)) as upstream:
            pool = kind(upstream.url)
            response = await call(pool)
            with pytest.raises(IncompleteReply):
                await read(response)
            await pool.close()

    asyncio.run(main())


def test_a_dead_kept_connection_is_replaced_once(kind: Kind) -> None:
    async def main() -> None:
        plays = [
            answer(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"),
            answer(b"", close=True),
            answer(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nnew"),
        ]

        async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await plays.pop(0)(reader, writer)

        async with Upstream(play) as upstream:
            pool = kind(upstream.url)
            assert await read(await call(pool)) == b"hi"
            assert await read(await call(pool)) == b"new"
            assert upstream.connections == 2
            await pool.close()

    asyncio.run(main())


def test_a_new_connection_that_closes_unanswered_fails(kind: Kind) -> None:
    async def main() -> None:
        async with Upstream(answer(b"", close=True)) as upstream:
            pool = kind(upstream.url)
            with pytest.raises(ConnectFailed):
                await call(pool)
            assert upstream.connections == 1

    asyncio.run(main())


def test_nobody_listens(kind: Kind) -> None:
    async def main() -> None:
        server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        with pytest.raises(ConnectFailed):
            await call(kind(f"http://127.0.0.1:{port}"))

    asyncio.run(main())


def test_silence_times_out_and_closes(kind: Kind) -> None:
    async def main() -> None:
        gone = asyncio.Event()

        async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert await reader.read() == b""
            gone.set()

        async with Upstream(play) as upstream:
            pool = kind(upstream.url)
            with pytest.raises(TimedOut) as caught:
                await call(pool, wait_s=0.05)
            assert caught.value.phase == "first_token"
            await asyncio.wait_for(gone.wait(), 1)

    asyncio.run(main())


def test_a_moved_deadline_holds(kind: Kind) -> None:
    async def main() -> None:
        async with Upstream(answer(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nsome")) as upstream:
            pool = kind(upstream.url)
            response = await call(pool)
            loop = asyncio.get_running_loop()
            response.expect_by(loop.time() + 0.03, "idle")
            assert await response.read() == b"some"
            response.expect_by(loop.time() + 0.06, "idle")
            with pytest.raises(TimedOut, match="idle"):
                await response.read()
            await pool.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "data", [b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\n\r\n"]
)
def test_not_http(kind: Kind, data: bytes) -> None:
    async def main() -> None:
        async with Upstream(answer(data)) as upstream:
            pool = kind(upstream.url)
            with pytest.raises(MalformedReply):
                await read(await call(pool))
            await pool.close()

    asyncio.run(main())


def test_an_answer_that_nobody_asked_for_spoils_the_connection(kind: Kind) -> None:
    reply = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"

    async def main() -> None:
        async with Upstream(answer(reply + reply)) as upstream:
            pool = kind(upstream.url)
            for _ in range(2):
                assert await read(await call(pool)) == b"hi"
                await asyncio.sleep(0.01)
            assert upstream.connections == 2
            await pool.close()

    asyncio.run(main())


def in_halves(more: asyncio.Event) -> Play:
    """An answer of `ab`, and of `cd` when `more` is set."""

    async def play(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab")
        await more.wait()
        writer.write(b"cd")

    return play


def test_closing_early_drops_the_connection_and_lingering_keeps_it(kind: Kind) -> None:
    async def main() -> None:
        more = asyncio.Event()
        async with Upstream(in_halves(more)) as upstream:
            pool = kind(upstream.url)
            first = await call(pool)
            assert await first.read() == b"ab"
            first.close(linger=True)
            more.set()
            await asyncio.sleep(0.02)
            more.clear()
            second = await call(pool)
            assert upstream.connections == 1
            second.close()
            await call(pool)
            assert upstream.connections == 2
            await pool.close()

    asyncio.run(main())


def test_a_caller_who_is_slow_to_read_is_not_the_provider_s_silence(kind: Kind) -> None:
    async def main() -> None:
        more = asyncio.Event()
        async with Upstream(in_halves(more)) as upstream:
            pool = kind(upstream.url)
            response = await call(pool)
            assert await response.read() == b"ab"
            response.expect_by(asyncio.get_running_loop().time() + 0.03, "idle")
            await asyncio.sleep(0.1)
            more.set()
            assert await response.read() == b"cd"
            await pool.close()

    asyncio.run(main())


def test_connections_are_bounded(kind: Kind) -> None:
    async def main() -> None:
        async with Upstream(answer(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nsome")) as upstream:
            pool = kind(upstream.url, max_connections=1)
            held = await call(pool)
            with pytest.raises(Overloaded):
                await call(pool)
            held.close()
            await asyncio.sleep(0.01)
            await call(pool)
            await pool.close()

    asyncio.run(main())


def test_a_reader_that_is_slow_holds_the_sender_back(kind: Kind) -> None:
    async def main() -> None:
        sent = 0

        async def play(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
            for __ in range(400):
                writer.write(piece)
                await writer.drain()
                sent += 65536
            writer.write(b"0\r\n\r\n")

        async with Upstream(play) as upstream:
            pool = kind(upstream.url)
            response = await call(pool)
            await asyncio.sleep(0.3)
            assert sent < 400 * 65536, "the sender was never held back"
            assert len(await read(response)) == 400 * 65536
            await pool.close()

    asyncio.run(main())


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=6), st.lists(st.integers(0, 4000), max_size=8))
def test_any_split_on_the_wire_gives_the_same_body(kind: Kind, pieces: list[bytes], places: list[int]) -> None:
    wire = chunked(*pieces)
    edges = [0, *sorted({place % len(wire) for place in places}), len(wire)]

    async def play(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for a, b in itertools.pairwise(edges):
            writer.write(wire[a:b])
            await asyncio.sleep(0)

    async def main() -> None:
        async with Upstream(play) as upstream:
            pool = kind(upstream.url)
            for _ in range(2):
                assert await read(await call(pool)) == b"".join(pieces)
            assert upstream.connections == 1
            await pool.close()

    asyncio.run(main())


def test_headers_with_line_breaks_are_refused(kind: Kind) -> None:
    with pytest.raises(ValueError, match="line break"):
        kind("http://127.0.0.1:1").head("/x", {"a": "b\r\nc: d"})
