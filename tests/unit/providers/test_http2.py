"""HTTP/2 to a provider keeps the contract of the other pools: streaming, back-pressure, timeouts, cancellation."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
import ssl
from pathlib import Path

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hypothesis import given
from hypothesis import strategies as st

from contract.attempt import Attempt
from contract.egress import read_proxy
from contract.errors import ConnectFailed, IncompleteReply, MalformedReply, Overloaded, TimedOut
from gateway.providers import http2_connection
from gateway.providers.goaway import GoAway, GoAwayReader
from gateway.providers.http2 import Http2Pool
from tests.reports.proxies import Proxy, certificate
from tests.unit.providers.http2_calls import Place, call, read, run, serving
from tests.unit.providers.http2_server import Asked, Http2Upstream, offering


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("tls"))


async def hi(asked: Asked) -> None:
    asked.answer(content_type="text/plain")


async def never(asked: Asked) -> None:
    await asyncio.Event().wait()


def test_calls_share_a_connection_and_say_what_http_1_says(place: Place) -> None:
    async def main() -> None:
        async with serving(place, hi) as (upstream, pool):
            answers = await asyncio.gather(*[call(pool) for _ in range(5)])
            assert [await read(each) for each in answers] == [b"hi"] * 5
            assert await read(await call(pool)) == b"hi"
            assert len(upstream.connections) == 1
            asked = upstream.asked[0]
            assert asked.headers == {
                ":method": "POST",
                ":authority": f"127.0.0.1:{upstream.port}",
                ":scheme": "https",
                ":path": "/v1/x",
                "content-type": "application/json",
                "x-team": "red",
                "content-length": "2",
            }
            assert asked.body == b"{}"
            assert (answers[0].status, answers[0].content_type) == (200, "text/plain")

    run(main)


def test_a_stream_comes_piece_by_piece(place: Place) -> None:
    async def main() -> None:
        more = asyncio.Event()

        async def play(asked: Asked) -> None:
            asked.head(content_type="text/event-stream")
            for number in range(3):
                asked.data(b"data: %d\n\n" % number)
                await more.wait()
                more.clear()
            asked.data(b"", end=True)

        async with serving(place, play) as (_, pool):
            response = await call(pool)
            for number in range(3):
                assert await response.read() == b"data: %d\n\n" % number
                more.set()
            assert await response.read() is None

    run(main)


def test_an_error_status_has_its_body(place: Place) -> None:
    async def play(asked: Asked) -> None:
        asked.answer(b'{"error": "slow down"}', 429, retry_after="7")

    async def main() -> None:
        async with serving(place, play) as (_, pool):
            response = await call(pool)
            assert (response.status, response.headers["retry-after"]) == (429, "7")
            assert await read(response) == b'{"error": "slow down"}'

    run(main)


@pytest.mark.parametrize("size", [1, 65_535, 65_536, 3_000_000])
def test_a_request_larger_than_the_windows_arrives_whole(place: Place, size: int) -> None:
    async def main() -> None:
        async with serving(place, hi) as (upstream, pool):
            body = bytes(range(256)) * (size // 256 + 1)
            assert await read(await call(pool, body=body[:size])) == b"hi"
            assert upstream.asked[0].body == body[:size]

    run(main)


def test_a_reader_that_is_slow_holds_its_own_stream_and_no_other(place: Place) -> None:
    async def main() -> None:
        sent = 0
        large = b"x" * 30_000_000

        def count(size: int) -> None:
            nonlocal sent
            sent += size

        async def play(asked: Asked) -> None:
            asked.head()
            if asked.stream == 1:
                await asked.all_of(large, count)
            else:
                await asked.all_of(large[:4_000_000])

        async with serving(place, play) as (upstream, pool):
            slow = await call(pool)
            for _ in range(3):
                assert len(await read(await call(pool))) == 4_000_000
            assert sent < 2_000_000, "the sender was never held back"
            assert len(upstream.connections) == 1
            assert len(await read(slow)) == len(large)

    run(main)


@pytest.mark.parametrize("begun", [False, True])
def test_a_call_that_is_given_up_is_reset_and_the_connection_stays(place: Place, begun: bool) -> None:
    async def play(asked: Asked) -> None:
        if asked.stream > 1:
            asked.answer()
        elif begun:
            asked.head()
            asked.data(b"some")
        await asked.reset.wait()

    async def main() -> None:
        async with serving(place, play) as (upstream, pool):
            task = asyncio.create_task(call(pool))
            if begun:
                response = await task
                assert await response.read() == b"some"
                response.close()
            else:
                while not upstream.asked:
                    await asyncio.sleep(0)
                await upstream.asked[0].complete.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            await upstream.asked[0].reset.wait()
            assert await read(await call(pool)) == b"hi"
            assert len(upstream.connections) == 1

    run(main)


def test_silence_times_out_and_resets(place: Place) -> None:
    async def main() -> None:
        async with serving(place, never) as (upstream, pool):
            attempt = Attempt("far/m", "far", "m")
            with pytest.raises(TimedOut) as caught:
                await call(pool, wait_s=0.2, attempt=attempt)
            assert caught.value.phase == "first_token"
            assert attempt.sent
            await upstream.asked[0].reset.wait()

    run(main)


def test_a_connection_that_has_gone_quiet_takes_no_more_calls(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2_connection, "QUIET_S", 0.1)

    async def main() -> None:
        async def play(asked: Asked) -> None:
            if len(upstream.connections) > 1:
                asked.answer()

        async with serving(place, play) as (upstream, pool):
            with pytest.raises(TimedOut):
                await call(pool, wait_s=0.2)
            assert await read(await call(pool)) == b"hi"
            assert len(upstream.connections) == 2

    run(main)


@pytest.mark.parametrize(("begun", "error"), [(True, IncompleteReply), (False, ConnectFailed)])
def test_a_stream_that_the_server_resets(place: Place, begun: bool, error: type[Exception]) -> None:
    async def play(asked: Asked) -> None:
        if begun:
            asked.head()
            asked.data(b"some")
        asked.break_off()

    async def main() -> None:
        async with serving(place, play) as (upstream, pool):
            with pytest.raises(error):
                await read(await call(pool))
            assert len(upstream.asked) == 1, "the model may have been asked: it is not asked again"

    run(main)


def test_a_stream_that_a_kept_connection_refuses_goes_to_another(place: Place) -> None:
    async def play(asked: Asked) -> None:
        if asked.stream == 3:
            asked.break_off(ErrorCodes.REFUSED_STREAM)
        else:
            asked.answer()

    async def main() -> None:
        async with serving(place, play) as (upstream, pool):
            assert await read(await call(pool)) == b"hi"
            assert await read(await call(pool)) == b"hi"
            assert len(upstream.connections) == 2

    run(main)


@pytest.mark.parametrize("begun", [False, True])
def test_a_server_that_leaves_in_good_order_ends_what_it_has_begun(place: Place, begun: bool) -> None:
    async def main() -> None:
        going, more = asyncio.Event(), asyncio.Event()

        async def play(asked: Asked) -> None:
            if asked.connection is not upstream.connections[0]:
                asked.answer(b"elsewhere")
            if asked.stream > 1 or asked.connection is not upstream.connections[0]:
                return  # what comes after the last stream is ignored
            if begun:
                asked.head()
                asked.data(b"first ")
            asked.connection.goaway(asked.stream)
            going.set()
            await more.wait()
            if not begun:
                asked.head()
            asked.data(b"last", end=True)

        async with serving(place, play) as (upstream, pool):
            first = asyncio.create_task(call(pool))
            await going.wait()
            # The connection takes no more calls, and closes after the last one.
            assert await read(await call(pool)) == b"elsewhere"
            more.set()
            assert await read(await first) == (b"first last" if begun else b"last")
            assert len(upstream.connections) == 2
            await upstream.connections[0].writer.wait_closed()

    run(main)


def test_what_a_leaving_server_has_not_begun_goes_to_another_connection(place: Place) -> None:
    async def main() -> None:
        async def play(asked: Asked) -> None:
            if asked.stream == 3:
                asked.connection.goaway(1)
            else:
                asked.answer()

        async with serving(place, play) as (upstream, pool):
            for _ in range(2):
                assert await read(await call(pool)) == b"hi"
            assert len(upstream.connections) == 2

    run(main)


def test_a_dead_kept_connection_is_replaced_once(place: Place) -> None:
    async def play(asked: Asked) -> None:
        if asked.stream == 3:
            asked.connection.writer.close()
        else:
            asked.answer()

    async def main() -> None:
        async with serving(place, play) as (upstream, pool):
            for _ in range(2):
                assert await read(await call(pool)) == b"hi"
            assert len(upstream.connections) == 2

    run(main)


@pytest.mark.parametrize(("begun", "error"), [(True, IncompleteReply), (False, ConnectFailed)])
def test_a_connection_that_is_lost(place: Place, begun: bool, error: type[Exception]) -> None:
    async def play(asked: Asked) -> None:
        if begun:
            asked.head()
            asked.data(b"some")
        await asked.connection.writer.drain()
        asked.connection.writer.close()

    async def main() -> None:
        async with serving(place, play) as (_, pool):
            with pytest.raises(error):
                await read(await call(pool))

    run(main)


@pytest.mark.parametrize("wire", [b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(40), b"\xff" * 60])
def test_what_is_not_http_2(place: Place, wire: bytes) -> None:
    async def play(asked: Asked) -> None:
        asked.connection.writer.write(wire)

    async def main() -> None:
        async with serving(place, play) as (_, pool):
            with pytest.raises(MalformedReply, match="HTTP/2"):
                await call(pool)

    run(main)


def test_answers_are_bounded(place: Place) -> None:
    async def play(asked: Asked) -> None:
        asked.head()
        with contextlib.suppress(Exception):
            await asked.all_of(bytes(2_000_000))

    async def main() -> None:
        async with serving(place, play, max_answer=1_000_000) as (upstream, pool):
            with pytest.raises(MalformedReply, match="max_response"):
                await read(await call(pool))
            await upstream.asked[0].reset.wait()

    run(main)


def test_packed_answers_are_unpacked(place: Place) -> None:
    async def play(asked: Asked) -> None:
        asked.answer(gzip.compress(b"words"), content_encoding="gzip")

    async def main() -> None:
        async with serving(place, play) as (_, pool):
            response = await call(pool)
            response.unpack()
            assert await read(response) == b"words"

    run(main)


def test_calls_are_bounded_and_streams_of_a_connection_too(place: Place) -> None:
    async def play(asked: Asked) -> None:
        asked.head()

    async def main() -> None:
        settings = {int(SettingCodes.MAX_CONCURRENT_STREAMS): 2}
        async with serving(place, play, settings, max_connections=5) as (upstream, pool):
            held = [await call(pool) for _ in range(5)]
            assert len(upstream.connections) == 3
            with pytest.raises(Overloaded):
                await call(pool)
            held[0].close()
            await call(pool)

    run(main)


def test_lingering_keeps_the_stream_until_it_ends(place: Place) -> None:
    async def main() -> None:
        more = asyncio.Event()

        async def play(asked: Asked) -> None:
            asked.head()
            asked.data(b"ab")
            await more.wait()
            asked.data(b"cd", end=True)

        async with serving(place, play) as (upstream, pool):
            first = await call(pool)
            assert await first.read() == b"ab"
            first.close(linger=True)
            more.set()
            assert await read(await call(pool)) == b"abcd"
            assert not upstream.asked[0].reset.is_set()

    run(main)


def test_a_server_without_http_2_is_named(place: Place, tmp_path: Path) -> None:
    path, tls = certificate(tmp_path, "old.vendor.test")
    offering(tls, "http/1.1")

    async def main() -> None:
        async with Http2Upstream(hi, tls) as upstream:
            pool = Http2Pool(upstream.url, tls=ssl.create_default_context(cafile=str(path)))
            with pytest.raises(ConnectFailed, match="does not speak HTTP/2; take http2 out"):
                await call(pool)
            # One whose certificate nobody vouches for.
            with pytest.raises(ConnectFailed, match="TLS failed"):
                await call(Http2Pool(upstream.url, tls=place.client()))

    run(main)


def test_through_a_proxy(place: Place) -> None:
    async def main() -> None:
        async with Http2Upstream(hi, place.server) as upstream:
            proxy = Proxy(upstream.port)
            through = read_proxy(proxy.url.replace("://", "://user:s3cret@"))
            pool = Http2Pool("https://api.vendor.test", tls=place.client(), proxy=through)
            for _ in range(2):
                assert await read(await call(pool)) == b"hi"
            await pool.close()
            assert proxy.tunnels == ["CONNECT api.vendor.test:443 HTTP/1.1"]
            assert upstream.asked[0].headers[":authority"] == "api.vendor.test"
            assert not any("proxy" in name for name in upstream.asked[0].headers)
            proxy.close()

    run(main)


@given(st.lists(st.integers(1, 80), max_size=8))
def test_goaway_is_read_however_the_wire_is_split(places: list[int]) -> None:
    data = (4).to_bytes(3) + b"\x00\x00" + (1).to_bytes(4) + b"abcd"
    goaway = (10).to_bytes(3) + b"\x07\x00" + bytes(4) + (0x80000005).to_bytes(4) + (2).to_bytes(4) + b"xx"
    wire = data + goaway + data
    edges = [0, *sorted({place % len(wire) for place in places}), len(wire)]
    reader, kept, found = GoAwayReader(), b"", []
    for a, b in itertools.pairwise(edges):
        frames, goaways = reader.feed(wire[a:b])
        kept += frames
        found += goaways
    assert (kept, found) == (data + data, [GoAway(5, 2)])
