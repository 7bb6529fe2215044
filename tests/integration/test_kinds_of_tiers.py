"""Every kind of tier keeps what its seam asks for, against real servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cache.conformance import FakeServices, TierConformance
from cache.memory import MemoryTierConfig
from cache.postgres_tier import PostgresTierConfig
from cache.redis_tier import RedisTierConfig
from tests.services import RedisServer, redis_server


@pytest.mark.parametrize("evict", ["s3-fifo", "lru"])
class TestMemory(TierConformance):
    config = MemoryTierConfig

    @pytest.fixture(autouse=True)
    def order(self, evict: str) -> None:
        self.options = {"size": "1 MB", "evict": evict}


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


class TestRedis(TierConformance):
    config = RedisTierConfig

    @pytest.fixture(autouse=True)
    def server(self, redis: RedisServer) -> None:
        self.url = redis.url

    def services(self) -> FakeServices:
        from redis.asyncio import Redis

        return FakeServices(Redis.from_url(self.url))


class TestPostgres(TierConformance):
    config = PostgresTierConfig

    @pytest.fixture(autouse=True)
    def address(self, postgres_url: str) -> None:
        self.options = {"url": postgres_url}
