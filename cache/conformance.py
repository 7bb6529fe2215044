"""What every kind of tier keeps, as tests that its author inherits. This needs pytest.

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
    """What a process lends to tiers."""

    redis: Redis | None = None


def place(number: int, owner: str = "app", model: str = "m") -> CacheAddress:
    """Where an answer is kept."""
    return CacheAddress(owner, model, f"{owner} {model} {number}".encode().ljust(32, b"\0"))


def value(text: str, made: float | None = None) -> bytes:
    """An answer: when it was made, and any bytes."""
    packed = struct.pack("<d", time.time() if made is None else made) + text.encode() + bytes(range(256))
    assert abs(made_of(packed) - (time.time() if made is None else made)) < 1
    return packed


class TierConformance(ComponentConformance):
    """Each test opens a tier of its own; what one has kept is removed before."""

    config: type[TierConfig]

    def lent(self) -> FakeServices:
        """Override it where the tier needs the Redis of `server.redis`. Called within the loop of the test."""
        return FakeServices()

    def run(self, act: Callable[[Tier], Awaitable[R]]) -> R:
        """What `act` gives for an open tier without answers."""

        async def opened() -> R:
            lent = self.lent()
            tier = self.read(self.options).open("conformance", lent)
            try:
                for owner in ("app", "other", ""):
                    await tier.purge(Purge(owner))
                return await act(tier)
            finally:
                await tier.close()
                if lent.redis is not None:
                    await lent.redis.aclose()

        return asyncio.run(opened())

    def test_what_is_kept_is_given_again_byte_for_byte(self) -> None:
        """And nothing else."""

        async def act(tier: Tier) -> None:
            kept = value("kept")
            assert await tier.get(place(1)) is None
            await tier.put(place(1), kept, 60)
            assert await tier.get(place(1)) == kept
            assert await tier.get(place(2)) is None

        self.run(act)

    def test_the_last_answer_counts(self) -> None:
        """One that is kept again takes the place of the one before."""

        async def act(tier: Tier) -> None:
            await tier.put(place(1), value("first"), 60)
            last = value("last")
            await tier.put(place(1), last, 60)
            assert await tier.get(place(1)) == last

        self.run(act)

    def test_what_has_expired_is_gone(self) -> None:
        """Soon after its time."""

        async def act(tier: Tier) -> None:
            await tier.put(place(1), value("short"), 0.05)
            until = time.monotonic() + _PATIENCE_S
            while await tier.get(place(1)) is not None:
                assert time.monotonic() < until
                await asyncio.sleep(0.02)

        self.run(act)

    def test_a_purge_takes_what_it_names_and_nothing_else(self) -> None:
        """Of an owner: all, those of a model, those made before a moment, or one."""

        async def act(tier: Tier) -> None:
            now = time.time()
            kept = {
                place(1): value("old", now - 100),
                place(2): value("new", now),
                place(3, model="n"): value("of another model", now),
                place(4, owner="other"): value("of another owner", now),
            }
            for where, what in kept.items():
                await tier.put(where, what, 60)
            assert await tier.purge(Purge("app", before=now - 50)) == 1
            assert await tier.get(place(1)) is None
            assert await tier.purge(Purge("app", model="n")) == 1
            assert await tier.get(place(3, model="n")) is None
            assert await tier.purge(Purge("app", key=place(9).key)) == 0
            assert await tier.purge(Purge("app", key=place(2).key)) == 1
            assert await tier.get(place(4, owner="other")) == kept[place(4, owner="other")]
            assert await tier.purge(Purge("other")) == 1
            assert await tier.get(place(4, owner="other")) is None

        self.run(act)

    def test_names_of_any_letters_are_kept_apart(self) -> None:
        """Apps and models are named by people."""

        async def act(tier: Tier) -> None:
            odd = [place(1, owner="a:b*?[", model="m/ü 中"), place(1, owner="a", model="x'; --")]
            for each in odd:
                await tier.put(each, value(each.owner), 60)
            assert await tier.purge(Purge("a:b*?[")) == 1
            assert await tier.get(odd[0]) is None
            assert await tier.get(odd[1]) is not None
            assert await tier.purge(Purge("a")) == 1

        self.run(act)

    def test_it_has_a_name_for_people(self) -> None:
        """/health and the header of an answer from the cache show it."""

        async def act(tier: Tier) -> str:
            return tier.name

        assert self.run(act)
