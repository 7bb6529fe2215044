"""Pools of threads: turns between callers, bounds, and what happens to work that nobody waits for."""

from __future__ import annotations

import asyncio
import threading

import pytest

from contract.errors import TooManyRequests
from contract.work import WorkPool


@pytest.mark.guarantee("fairness", "Callers that share a thread pool take turns")
def test_callers_take_turns() -> None:
    async def run() -> None:
        pool, gate, order = WorkPool("test"), threading.Event(), list[str]()
        first = asyncio.ensure_future(pool.run("greedy", gate.wait, 10))
        await asyncio.sleep(0)
        rest = [asyncio.ensure_future(pool.run("greedy", order.append, "greedy")) for _ in range(50)]
        await asyncio.sleep(0)
        rest.append(asyncio.ensure_future(pool.run("neighbour", order.append, "neighbour")))
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(first, *rest)
        assert order.index("neighbour") <= 1
        pool.close()

    asyncio.run(run())


def test_no_caller_gets_the_last_thread() -> None:
    async def run() -> None:
        pool, gate = WorkPool("test", threads=3), threading.Event()
        held = [asyncio.ensure_future(pool.run("greedy", gate.wait, 10)) for _ in range(9)]
        await asyncio.sleep(0)
        assert await pool.run("neighbour", lambda: 7) == 7
        gate.set()
        assert all(await asyncio.gather(*held))
        pool.close()

    asyncio.run(run())


def test_a_full_queue_is_its_callers_own_error() -> None:
    async def run() -> None:
        pool, gate = WorkPool("test", most_waiting=2), threading.Event()
        held = [asyncio.ensure_future(pool.run("greedy", gate.wait, 10)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(TooManyRequests):
            await pool.run("greedy", gate.wait)
        other = asyncio.ensure_future(pool.run("neighbour", gate.wait, 10))
        await asyncio.sleep(0)
        gate.set()
        assert all(await asyncio.gather(*held, other))
        pool.close()

    asyncio.run(run())


def test_who_stops_waiting_gives_up_the_place() -> None:
    async def run() -> None:
        pool, gate, ran = WorkPool("test"), threading.Event(), list[int]()
        held = asyncio.ensure_future(pool.run("a", gate.wait, 10))
        await asyncio.sleep(0)
        left = asyncio.ensure_future(pool.run("a", ran.append, 1))
        stays = asyncio.ensure_future(pool.run("a", ran.append, 2))
        await asyncio.sleep(0)
        left.cancel()
        gate.set()
        await asyncio.gather(held, stays)
        assert ran == [2]
        pool.close()

    asyncio.run(run())


def test_errors_reach_who_asked() -> None:
    async def run() -> None:
        pool = WorkPool("test")
        with pytest.raises(ZeroDivisionError):
            await pool.run("a", lambda: 1 / 0)
        assert await pool.run("a", lambda: 1) == 1
        pool.close()

    asyncio.run(run())
