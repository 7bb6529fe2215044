"""Conformance tests that the author of a cache tier inherits. This needs pytest.

class TestDisk(TierConformance):
    config = DiskTierConfig
    options = {"folder": "/tmp/answers"}
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from cache.entry import made_of
from config.caches import TierConfig
from config.conformance import ComponentConformance
from contract.tiers import CacheAddress, Purge, Tier

if TYPE_CHECKING:
    from redis.asyncio import Redis

R = TypeVar("R")
_PATIENCE_S = 5.0


@dataclass(frozen=True)
class FakeServices:
    """A fake of the process-wide services that tiers use."""

    redis: Redis | None = None


def place(number: int, owner: str = "app", model: str = "m") -> CacheAddress:
    """The address of an answer."""
    return CacheAddress(owner, model, f"{owner} {model} {number}".encode().ljust(32, b"\0"))


def value(text: str, created: float | None = None) -> bytes:
    """A packed answer: its creation time, and arbitrary bytes."""
    packed = struct.pack("<d", time.time() if created is None else created) + text.encode() + bytes(range(256))
    assert abs(made_of(packed) - (time.time() if created is None else created)) < 1
    return packed


class TierConformance(ComponentConformance):
    """Each test opens its own tier, which is purged first."""

    config: type[TierConfig]

    def services(self) -> FakeServices:
        """Override this if the tier needs the Redis of `server.redis`. Called in the test's event loop."""
        return FakeServices()

    def run(self, act: Callable[[Tier], Awaitable[R]]) -> R:
        """Returns the result of `act` on an open, empty tier."""

        async def run_with_tier() -> R:
            services = self.services()
            tier = self.read(self.options).open("conformance", services)
            try:
                for owner in ("app", "other", ""):
                    await tier.purge(Purge(owner))
                return await act(tier)
            finally:
                await tier.close()
                if services.redis is not None:
                    await services.redis.aclose()

        return asyncio.run(run_with_tier())

    def test_a_stored_answer_is_returned_byte_for_byte(self) -> None:
        """A different address returns nothing."""

        async def act(tier: Tier) -> None:
            stored = value("stored")
            assert await tier.get(place(1)) is None
            await tier.put(place(1), stored, 60)
            assert await tier.get(place(1)) == stored
            assert await tier.get(place(2)) is None

        self.run(act)

    def test_the_last_answer_counts(self) -> None:
        """A new answer replaces the previous one."""

        async def act(tier: Tier) -> None:
            await tier.put(place(1), value("first"), 60)
            last = value("last")
            await tier.put(place(1), last, 60)
            assert await tier.get(place(1)) == last

        self.run(act)

    def test_expired_answers_are_removed(self) -> None:
        """Shortly after their lifetime ends."""

        async def act(tier: Tier) -> None:
            await tier.put(place(1), value("short"), 0.05)
            until = time.monotonic() + _PATIENCE_S
            while await tier.get(place(1)) is not None:
                assert time.monotonic() < until
                await asyncio.sleep(0.02)

        self.run(act)

    def test_a_purge_removes_only_matching_answers(self) -> None:
        """All of an owner, those of a model, those created before a time, or a single one."""

        async def act(tier: Tier) -> None:
            now = time.time()
            stored = {
                place(1): value("old", now - 100),
                place(2): value("new", now),
                place(3, model="n"): value("of another model", now),
                place(4, owner="other"): value("of another owner", now),
            }
            for address, answer in stored.items():
                await tier.put(address, answer, 60)
            assert await tier.purge(Purge("app", before=now - 50)) == 1
            assert await tier.get(place(1)) is None
            assert await tier.purge(Purge("app", model="n")) == 1
            assert await tier.get(place(3, model="n")) is None
            assert await tier.purge(Purge("app", key=place(9).key)) == 0
            assert await tier.purge(Purge("app", key=place(2).key)) == 1
            assert await tier.get(place(4, owner="other")) == stored[place(4, owner="other")]
            assert await tier.purge(Purge("other")) == 1
            assert await tier.get(place(4, owner="other")) is None

        self.run(act)

    def test_names_with_special_characters_do_not_collide(self) -> None:
        """The names of apps and models may contain any characters."""

        async def act(tier: Tier) -> None:
            special = [place(1, owner="a:b*?[", model="m/ü 中"), place(1, owner="a", model="x'; --")]
            for each in special:
                await tier.put(each, value(each.owner), 60)
            assert await tier.purge(Purge("a:b*?[")) == 1
            assert await tier.get(special[0]) is None
            assert await tier.get(special[1]) is not None
            assert await tier.purge(Purge("a")) == 1

        self.run(act)

    def test_it_has_a_name(self) -> None:
        """/health and the cache headers show it."""

        async def act(tier: Tier) -> str:
            return tier.name

        assert self.run(act)
