"""Memory: never more bytes than there are, the right one goes, and what is there is what was put."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.entry import CacheEntry
from cache.eviction import Kind, eviction
from cache.memory import OVERHEAD, MemoryTier
from cache.tier import Tiers
from config.problems import ConfigError
from contract.deltas import ChoiceDelta, Delta
from contract.tiers import CacheAddress, Purge
from gateway.assembly.configuration import load

KINDS = get_args(Kind)


def place(number: int, owner: str = "app", model: str = "m") -> CacheAddress:
    return CacheAddress(owner, model, number.to_bytes(16))


def value(text: str, made: float | None = None) -> bytes:
    return CacheEntry(made if made is not None else time.time(), "t", False, (Delta((ChoiceDelta(text=text),)),)).pack()


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("gpr"), st.integers(0, 12), st.integers(0, 900)), max_size=120))
def test_never_more_bytes_than_there_are(kind: Kind, steps: list[tuple[str, int, int]]) -> None:
    async def run() -> None:
        tier = MemoryTier(4 * (OVERHEAD + 300), kind)
        model: dict[int, bytes] = {}
        for what, number, size in steps:
            if what == "p":
                data = value("x" * size)
                await tier.put(place(number), data, 60.0)
                model[number] = data
            elif what == "g":
                found = await tier.get(place(number))
                assert found is None or found == model[number]
            else:
                await tier.purge(Purge("app", key=place(number).key))
                assert await tier.get(place(number)) is None
            assert tier.size <= 4 * (OVERHEAD + 300)
            kept = [await tier.get(place(each)) for each in range(13)]
            assert tier.size == sum(len(each) + OVERHEAD for each in kept if each is not None)
            assert len(tier) == sum(each is not None for each in kept)

    asyncio.run(run())


def test_each_order_lets_the_right_one_go() -> None:
    def gone(kind: Kind) -> int:
        order = eviction(kind)
        for number in (1, 2, 3):
            order.added(bytes([number]), 100)
        for number in (1, 1, 1, 3, 2):
            order.used(bytes([number]))
        return order.victim()[0]

    assert gone("lru") == 1
    assert gone("s3-fifo") == 2


def test_s3_fifo_keeps_what_is_asked_for_again_through_a_scan() -> None:
    async def run(kind: Kind) -> int:
        data = value("x" * 100)
        tier = MemoryTier(100 * (len(data) + OVERHEAD), kind)
        for number in range(20):
            await tier.put(place(number), data, 60.0)
        for _ in range(3):
            for number in range(20):
                await tier.get(place(number))
        for number in range(1000, 1500):
            await tier.put(place(number), data, 60.0)
        return sum([await tier.get(place(number)) is not None for number in range(20)])

    assert asyncio.run(run("s3-fifo")) == 20
    assert asyncio.run(run("lru")) == 0


@pytest.mark.parametrize("removed", ["lfu", "fifo"])
def test_a_removed_order_is_named(tmp_path: Path, removed: str) -> None:
    (tmp_path / "g.yaml").write_text(f"version: 1\ncaches: {{c: {{tiers: [{{kind: memory, evict: {removed}}}]}}}}\n")
    with pytest.raises(ConfigError, match=f'the order "{removed}" was removed') as caught:
        load(tmp_path / "g.yaml", {})
    assert "write s3-fifo" in str(caught.value)


def test_what_has_expired_is_gone() -> None:
    async def run() -> None:
        tier = MemoryTier(10_000)
        await tier.put(place(1), value("a"), 0.01)
        await asyncio.sleep(0.02)
        assert await tier.get(place(1)) is None
        assert tier.size == 0

    asyncio.run(run())


def test_a_purge_takes_what_it_names_and_nothing_else() -> None:
    async def run() -> None:
        tier = MemoryTier(100_000)
        now = time.time()
        await tier.put(place(1, "a", "x"), value("1", now - 100), 60.0)
        await tier.put(place(2, "a", "y"), value("2", now), 60.0)
        await tier.put(place(3, "b", "x"), value("3", now - 100), 60.0)
        assert await tier.purge(Purge("a", "x", now - 200)) == 0
        assert await tier.purge(Purge("a", "", now - 50)) == 1
        assert await tier.purge(Purge("b", "y")) == 0
        assert await tier.purge(Purge("a")) == 1
        assert len(tier) == 1

    asyncio.run(run())


def test_a_far_tier_fills_the_near_one() -> None:
    async def run() -> None:
        near, far = MemoryTier(10_000), MemoryTier(10_000)
        tiers = Tiers([near, far], 60.0)
        data = value("a")
        await far.put(place(1), data, 60.0)
        assert await tiers.get(place(1)) == (data, "memory")
        assert await near.get(place(1)) == data
        # One that is older than the time to live is none, whoever kept it.
        await far.put(place(2), value("b", time.time() - 61), 60.0)
        assert await tiers.get(place(2)) is None
        assert await tiers.purge(Purge("app")) == 2
        await tiers.put(place(3), data)
        assert await near.get(place(3)) == await far.get(place(3)) == data

    asyncio.run(run())
