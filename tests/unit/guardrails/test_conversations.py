"""Values of conversations at rest: sealed, bound to their place, bounded, forgotten; in memory and in a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import pytest
from cryptography.exceptions import InvalidTag
from redis.asyncio import Redis

from guardrails.masking.conversations import Conversations, MemoryRows, RedisRows, RowStore
from tests.services import RedisServer

SECRET = b"a secret of thirty-two bytes....."
VALUES = {"EMAIL_AAAAAA": "jane.doe@example.org", "PERSON_BBBBBB": "Zoë \udc80"}


Run = Callable[[Callable[[RowStore], Awaitable[None]]], None]


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.slow)])
def run(request: pytest.FixtureRequest) -> Run:
    def in_memory(body: Callable[[RowStore], Awaitable[None]]) -> None:
        async def main() -> None:
            await body(MemoryRows())

        asyncio.run(main())

    def in_redis(body: Callable[[RowStore], Awaitable[None]]) -> None:
        async def main() -> None:
            server: RedisServer = request.getfixturevalue("redis")
            client = Redis.from_url(server.url)
            await client.flushdb()
            try:
                await body(RedisRows(client))
            finally:
                await client.aclose()

        asyncio.run(main())

    return in_memory if request.param == "memory" else in_redis


def test_what_was_saved_is_loaded_and_nothing_of_another(run: Run) -> None:
    async def body(rows: RowStore) -> None:
        kept = Conversations(rows, SECRET, 60)
        await kept.save("bot\0one", VALUES)
        await kept.save("bot\0one", {"PHONE_CCCCCC": "+49 171 2345678"})
        assert await kept.load("bot\0one") == {**VALUES, "PHONE_CCCCCC": "+49 171 2345678"}
        assert await kept.load("bot\0two") == {}
        assert await kept.load("other\0one") == {}
        assert await Conversations(rows, b"another secret", 60).load("bot\0one") == {}

    run(body)


def test_it_is_forgotten(run: Run) -> None:
    async def body(rows: RowStore) -> None:
        kept = Conversations(rows, SECRET, 0.05)
        await kept.save("bot\0one", VALUES)
        await asyncio.sleep(0.1)
        assert await kept.load("bot\0one") == {}

    run(body)


class Spy:
    """Keeps the rows where a test sees them, and may move them."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, bytes]] = {}

    async def get(self, row: str) -> Mapping[str, bytes]:
        return self.rows.get(row, {})

    async def add(self, row: str, entries: Mapping[str, bytes], ttl_s: float) -> None:
        self.rows.setdefault(row, {}).update(entries)


def test_nothing_readable_is_at_rest_and_nothing_can_be_moved() -> None:
    async def body() -> None:
        spy = Spy()
        kept = Conversations(spy, SECRET, 60)
        await kept.save("bot\0one", VALUES)
        await kept.save("bot\0two", {"EMAIL_DDDDDD": "joe@example.org"})
        assert b"example" not in repr(spy.rows).encode()
        assert "bot" not in "".join(spy.rows)
        first, second = spy.rows
        spy.rows[second]["EMAIL_AAAAAA"] = spy.rows[first]["EMAIL_AAAAAA"]
        with pytest.raises(InvalidTag):
            await kept.load("bot\0two")

    asyncio.run(body())


def test_memory_is_bounded() -> None:
    async def body() -> None:
        rows = MemoryRows(max_rows=10, max_bytes=3000)
        for number in range(100):
            await rows.add(f"{number}", {"a": b"x" * 400}, 60)
        assert len(rows._rows) == 5
        assert await rows.get("99") == {"a": b"x" * 400}
        assert await rows.get("0") == {}
        assert rows._bytes == 5 * 501

    asyncio.run(body())
