"""Limits: exactly so many are admitted, evenly after that; a request that one window refuses counts in none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from gateway.access.limits import MemoryLimits, RequestLimits
from gateway.contract.errors import TooManyRequests, Unavailable
from gateway.contract.exchange import Caller, Exchange, RequestLimit
from tests.services import RedisServer, redis_server


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("count", "window_s"), [(1, 1.0), (7, 60.0), (600, 60.0), (1000, 86_400.0)])
def test_exactly_so_many_at_once(count: int, window_s: float) -> None:
    clock = Clock()
    limits, limit = MemoryLimits(clock), (RequestLimit(count, window_s),)
    seen = [limits.admit("a", limit) for _ in range(count + 5)]
    assert [each.wait_s == 0 for each in seen] == [True] * count + [False] * 5
    assert [each.left for each in seen[:count]] == list(range(count - 1, -1, -1))
    assert limits.admit("b", limit).wait_s == 0
    clock.now += seen[-1].wait_s
    assert limits.admit("a", limit).wait_s == 0
    assert limits.admit("a", limit).wait_s > 0
    clock.now += window_s
    assert limits.admit("a", limit).left == count - 1


@given(st.lists(st.floats(0, 5), max_size=120), st.integers(1, 9), st.integers(1, 20))
@settings(deadline=None)
def test_no_window_holds_more_than_twice_and_none_is_refused_for_nothing(
    gaps: list[float], count: int, window_s: int
) -> None:
    clock = Clock()
    limits, limit = MemoryLimits(clock), (RequestLimit(count, float(window_s)), RequestLimit(10 * count, 1000.0))
    admitted: list[float] = []
    for gap in gaps:
        clock.now += gap
        if limits.admit("a", limit).wait_s == 0:
            admitted.append(clock.now)
        else:
            # A refusal has a reason: the bucket is full.
            assert sum(each > clock.now - window_s for each in admitted) + 1 > count / 2 or len(admitted) >= 10 * count
    for place, first in enumerate(admitted):
        inside = [each for each in admitted[place:] if each < first + window_s - 1e-6]
        assert len(inside) <= 2 * count
    assert len(admitted) <= 10 * count + (clock.now - 1000) * 10 * count / 1000 + 1


def test_a_refusal_counts_in_no_window() -> None:
    clock = Clock()
    limits = MemoryLimits(clock)
    both = (RequestLimit(2, 1.0), RequestLimit(3, 3600.0))
    assert [limits.admit("a", both).wait_s == 0 for _ in range(10)] == [True] * 2 + [False] * 8
    clock.now += 1.0
    assert [limits.admit("a", both).wait_s == 0 for _ in range(3)] == [True, False, False]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


def calling(limits: tuple[RequestLimit, ...], strict: bool = False) -> Exchange:
    exchange = Exchange("test")
    exchange.caller = Caller("a", limits=limits, strict=strict)
    return exchange


async def admitted(limits: RequestLimits, exchange: Exchange) -> bool:
    try:
        await limits.admit(exchange)
    except TooManyRequests as error:
        return not (error.retry_after_s or 0) > 0
    return True


def test_replicas_share_one_limit_and_each_counts_for_itself_while_redis_is_gone(redis: RedisServer) -> None:
    limit = (RequestLimit(50, 3600.0), RequestLimit(1000, 86_400.0))

    async def run() -> None:
        clients = [Redis.from_url(redis.url, socket_connect_timeout=1.0) for _ in range(4)]
        replicas = [RequestLimits(client) for client in clients]
        for client in clients:
            await client.ping()
        count = 0
        for _ in range(25):
            asked = [admitted(replicas[number % 4], calling(limit)) for number in range(8)]
            count += sum(await asyncio.gather(*asked))
        assert count == 50
        exchange = calling(limit)
        assert not await admitted(replicas[0], exchange)
        assert exchange.allowance is not None
        assert (exchange.allowance.limit, exchange.allowance.left) == (50, 0)
        redis.stall()
        started = time.monotonic()
        assert await admitted(replicas[0], calling(limit))
        with pytest.raises(Unavailable):
            await replicas[1].admit(calling(limit, strict=True))
        assert time.monotonic() - started < 1
        redis.resume()
        await asyncio.sleep(1.2)
        assert not await admitted(replicas[0], calling(limit))
        for client in clients:
            await client.aclose()

    asyncio.run(run())


def test_who_has_no_limit_is_not_counted() -> None:
    asyncio.run(RequestLimits().admit(calling(())))
