"""Resources that survive a config reload."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from access.opening import AccessServices
from contract.egress import DIRECT
from contract.pools import Pools
from guardrails.masking.conversations import MemoryRows, RedisRows, RowStore

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from redis.asyncio import Redis

    from cache.answers import AnswerCache
    from contract.passages import ContextQuality
    from guardrails.personal.tagger_thread import TaggerThread
    from rag.async_embedder import AsyncEmbedder
    from rag.documents.process import Readers
    from rag.provider_embedder import ProviderEmbedder
    from rag.source import PreviousIndex, Source
    from router.health import HealthBook


T = TypeVar("T")
SourceKey = tuple[str, Path, object]


class Resources:
    """The targets' health, the context quality by pipeline, and resources that are opened at first use."""

    def __init__(self, health: HealthBook) -> None:
        self.health = health
        self.pools = Pools()
        # The egress settings of the engine that was built last.
        self.egress = DIRECT
        # A serving process replaces it before it builds the first engine.
        self.accounts = AccessServices()
        self.quality: dict[str, ContextQuality] = {}
        self._embedder: AsyncEmbedder | None = None
        self._tagger: TaggerThread | None = None
        self._redis: dict[str, Redis] = {}
        self._rows = MemoryRows()
        self._sources: dict[Source, tuple[SourceKey, int]] = {}
        self._embedders: dict[tuple[str, int], ProviderEmbedder] = {}
        self._local_embedders: dict[tuple[Path, int], AsyncEmbedder] = {}
        self._caches: dict[object, AnswerCache] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._readers: Readers | None = None
        self._persistent: dict[tuple[str, type], object] = {}

    def embedder(self) -> AsyncEmbedder:
        """The built-in embedder. The first call starts to load it in the background."""
        if self._embedder is None:
            from rag.async_embedder import AsyncEmbedder

            self._embedder = AsyncEmbedder()
            self._embedder.start()
        return self._embedder

    def readers(self) -> Readers:
        """The document reader processes, started at the first document."""
        if self._readers is None:
            from rag.documents.process import Readers

            self._readers = Readers()
        return self._readers

    def tagger(self) -> TaggerThread:
        """The model that tags names and addresses, loaded at the first call. Raises `ValueError` if it is missing."""
        if self._tagger is None:
            from guardrails.personal.tagger import open_tagger
            from guardrails.personal.tagger_thread import TaggerThread

            self._tagger = TaggerThread(open_tagger(), self.pools.tagger)
        return self._tagger

    def redis(self, url: str) -> Redis:
        """A client of the Redis at `url`, which connects at first use. Raises `ValueError` without the package."""
        if url not in self._redis:
            try:
                from redis.asyncio import Redis
            except ImportError:
                raise ValueError("server.redis needs the package redis: install gatehouse-platform[redis]") from None

            # No read timeout here: each caller applies its own deadline.
            self._redis[url] = Redis.from_url(url, socket_connect_timeout=1.0, health_check_interval=30)
        return self._redis[url]

    def rows(self, redis_url: str | None) -> RowStore:
        """The store of masked conversations: in the Redis at `redis_url`, or in memory."""
        return RedisRows(self.redis(redis_url)) if redis_url is not None else self._rows

    async def source(self, key: SourceKey, make: Callable[[], Source]) -> Source:
        """The started source with this name, location and config; an open one is shared.

        Call `leave_source` when done.
        """
        known = next((source for source, (source_key, _) in self._sources.items() if source_key == key), None)
        if known is not None:
            self._sources[known] = (key, self._sources[known][1] + 1)
            return known
        source = make()
        # The same source with another config keeps serving until this one is completely ingested.
        before = next((each for each, (source_key, _) in self._sources.items() if source_key[:2] == key[:2]), None)
        try:
            await source.start(await self._lease(before) if before is not None else None)
        except BaseException:
            await source.close()
            raise
        self._sources[source] = (key, 1)
        return source

    async def _lease(self, source: Source) -> PreviousIndex:
        from rag.source import PreviousIndex

        key, users = self._sources[source]
        self._sources[source] = (key, users + 1)
        return PreviousIndex(source.serving, partial(self.leave_source, source))

    async def leave_source(self, source: Source) -> None:
        """Releases an engine's use of the source; the last release closes it."""
        key, users = self._sources.pop(source)
        if users > 1:
            self._sources[source] = (key, users - 1)
        else:
            await source.close()

    def local_embedder(self, folder: Path, dimensions: int) -> AsyncEmbedder:
        """A sentence-transformers model, shared by all engines. The first call starts to load it in the background."""
        key = (folder, dimensions)
        if key not in self._local_embedders:
            from rag.async_embedder import AsyncEmbedder
            from rag.sentence_transformers import open_sentence_transformer

            opener = partial(open_sentence_transformer, folder, dimensions)
            self._local_embedders[key] = AsyncEmbedder(opener, f"st:{folder}-{dimensions}", dimensions)
            self._local_embedders[key].start()
        return self._local_embedders[key]

    def provider_embedder(self, model: str, dimensions: int) -> ProviderEmbedder:
        """The provider's embedding model with this name, shared by all engines; see its `bind`."""
        from rag.provider_embedder import ProviderEmbedder

        return self._embedders.setdefault((model, dimensions), ProviderEmbedder(model, dimensions))

    def provider_embedders(self) -> list[tuple[str, ProviderEmbedder]]:
        """All provider embedders, each with its model's name."""
        return [(model, embedder) for (model, _), embedder in self._embedders.items()]

    def cache(self, key: object, make: Callable[[], AnswerCache]) -> AnswerCache:
        """The cache with this `key`: its entries survive a reload that does not change its config."""
        if key not in self._caches:
            self._caches[key] = make()
        return self._caches[key]

    def state(self, owner: str, what: type[T]) -> T:
        """An object of type `what` that survives reloads, per guardrail. The first call creates it."""
        stored = self._persistent.get((owner, what))
        if not isinstance(stored, what):
            stored = self._persistent[owner, what] = what()
        return stored

    def hold_task(self, task: asyncio.Task[None]) -> None:
        """Holds a reference to a background task until it ends."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def status(self) -> dict[str, str]:
        """The status of each part in use, one line of text each."""
        parts = {"embedder": self._embedder.status()} if self._embedder is not None else {}
        return parts | {each.name: each.status() for each in self._local_embedders.values()} | self.accounts.status()

    async def close(self) -> None:
        """Closes everything, at the end of the process."""
        if self._readers is not None:
            self._readers.close()
        if self._embedder is not None:
            await self._embedder.close()
        for embedder in self._local_embedders.values():
            await embedder.close()
        for cache in self._caches.values():
            await cache.close()
        await self.accounts.close()
        for client in self._redis.values():
            await client.aclose()
        await self.pools.close()
