"""Servers of HTTP/2 that misbehave: each call ends, in bounded time, and connections don't pile up."""

from __future__ import annotations

import asyncio

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from contract.errors import MalformedReply
from gateway.providers.goaway import MOST_EMPTY, GoAwayReader
from gateway.providers.transport import IDLE_S
from tests.unit.providers.http2_calls import Place, call, read, run, serving
from tests.unit.providers.http2_server import Asked


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("tls"))


def test_a_connection_that_refuses_all_streams_costs_one_more_and_not_one_per_call(place: Place) -> None:
    async def main() -> None:
        async def play(asked: Asked) -> None:
            if asked.connection is upstream.connections[0] and asked.stream > 1:
                asked.break_off(ErrorCodes.REFUSED_STREAM)
            else:
                asked.answer()

        async with serving(place, play) as (upstream, pool):
            for _ in range(5):
                assert await read(await call(pool)) == b"hi"
            assert len(upstream.connections) == 2

    run(main)


def test_a_connection_that_allows_no_streams_is_closed(place: Place) -> None:
    async def main() -> None:
        async def play(asked: Asked) -> None:
            asked.answer()

        async with serving(place, play, {SettingCodes.MAX_CONCURRENT_STREAMS: 0}) as (upstream, pool):
            for _ in range(3):
                assert await read(await call(pool)) == b"hi"
            await asyncio.gather(*(each.gone.wait() for each in upstream.connections[:2]))

    run(main)


def test_connections_of_a_burst_close_when_they_are_idle(place: Place) -> None:
    async def main() -> None:
        both = asyncio.Barrier(2)

        async def play(asked: Asked) -> None:
            if len(upstream.asked) in (2, 3):
                await both.wait()
            asked.answer()

        async with serving(place, play, {SettingCodes.MAX_CONCURRENT_STREAMS: 1}) as (upstream, pool):
            await read(await call(pool))
            for response in await asyncio.gather(call(pool), call(pool)):
                await read(response)
            assert len(upstream.connections) == 2
            pool._connections[1].idle_since -= IDLE_S
            await read(await call(pool))
            await upstream.connections[1].gone.wait()
            assert not upstream.connections[0].gone.is_set()

    run(main)


@pytest.mark.parametrize("status", ["0", "99", "-1", "000"])
def test_a_status_that_there_is_not_fails_its_call_alone(place: Place, status: str) -> None:
    async def main() -> None:
        async def play(asked: Asked) -> None:
            if asked.stream > 1:
                asked.answer()
                return
            block = asked.connection.h2.encoder.encode([(":status", status)])
            asked.connection.writer.write(len(block).to_bytes(3) + b"\x01\x05" + asked.stream.to_bytes(4) + block)

        async with serving(place, play) as (upstream, pool):
            with pytest.raises(MalformedReply, match="no valid status"):
                await call(pool)
            assert await read(await call(pool)) == b"hi"
            assert len(upstream.connections) == 1

    run(main)


@pytest.mark.parametrize(
    "frame", [b"\x04\x00\x00\x00\x00\x00", b"\x63\x00\x00\x00\x00\x00", b"\x00\x00\x00\x00\x00\x01"]
)
def test_frames_without_end_that_carry_nothing_end_the_connection(place: Place, frame: bytes) -> None:
    """Settings, an unknown kind, and empty data."""

    async def main() -> None:
        async def play(asked: Asked) -> None:
            asked.head()
            while not asked.connection.gone.is_set():
                asked.connection.writer.write((b"\x00\x00\x00" + frame) * 1_000)
                await asked.connection.writer.drain()

        async with serving(place, play) as (upstream, pool):
            response = await call(pool)
            with pytest.raises(MalformedReply):
                await read(response)
            await upstream.connections[0].gone.wait()

    run(main)


def test_frames_that_carry_nothing_are_counted_between_those_that_carry_something() -> None:
    ping, data = b"\x00\x00\x08\x06" + bytes(13), b"\x00\x00\x01\x00" + bytes(6)
    reader = GoAwayReader()
    for _ in range(3):
        reader.feed(ping * MOST_EMPTY)
        reader.feed(data)
    reader.feed(ping * MOST_EMPTY)
    with pytest.raises(ValueError, match="carry nothing"):
        reader.feed(ping)
