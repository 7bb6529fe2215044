"""What outlives a reload."""

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
    """The targets' health, the passages' quality by pipeline, and what is opened once something has asked for it."""

    def __init__(self, health: HealthBook) -> None:
        self.health = health
        self.pools = Pools()
        # How others are reached, as the engine that was built last has it.
        self.egress = DIRECT
        # Replaced before the first engine is built where a process serves others.
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
        self._kept: dict[tuple[str, type], object] = {}

    def embedder(self) -> AsyncEmbedder:
        """Loaded in the background from the first call on."""
        if self._embedder is None:
            from rag.async_embedder import AsyncEmbedder

            self._embedder = AsyncEmbedder()
            self._embedder.start()
        return self._embedder

    def readers(self) -> Readers:
        """The processes that read documents, started when there is something to read."""
        if self._readers is None:
            from rag.documents.process import Readers

            self._readers = Readers()
        return self._readers

    def tagger(self) -> TaggerThread:
        """The model of names and addresses, loaded at the first call. Raises `ValueError` where it can't be had."""
        if self._tagger is None:
            from guardrails.personal.tagger import open_tagger
            from guardrails.personal.tagger_thread import TaggerThread

            self._tagger = TaggerThread(open_tagger(), self.pools.tagger)
        return self._tagger

    def redis(self, url: str) -> Redis:
        """A client of the Redis at `url`, which connects when it is first used. Raises `ValueError`."""
        if url not in self._redis:
            try:
                from redis.asyncio import Redis
            except ImportError:
                raise ValueError("server.redis needs the package redis: install gatehouse-platform[redis]") from None

            # Waiting for a server that is gone is the business of whoever asks, with a deadline of its own.
            self._redis[url] = Redis.from_url(url, socket_connect_timeout=1.0, health_check_interval=30)
        return self._redis[url]

    def rows(self, redis_url: str | None) -> RowStore:
        """Where what conversations leave behind is kept: in the Redis at `redis_url`, or here."""
        return RedisRows(self.redis(redis_url)) if redis_url is not None else self._rows

    async def source(self, key: SourceKey, make: Callable[[], Source]) -> Source:
        """The source of that name, place and config, started; the one that is open already if there is one.

        See `leave_source`.
        """
        known = next((source for source, (kept, _) in self._sources.items() if kept == key), None)
        if known is not None:
            self._sources[known] = (key, self._sources[known][1] + 1)
            return known
        made = make()
        # The same source with another config serves on until this one has read everything.
        before = next((source for source, (kept, _) in self._sources.items() if kept[:2] == key[:2]), None)
        try:
            await made.start(await self._lent(before) if before is not None else None)
        except BaseException:
            await made.close()
            raise
        self._sources[made] = (key, 1)
        return made

    async def _lent(self, source: Source) -> PreviousIndex:
        from rag.source import PreviousIndex

        key, users = self._sources[source]
        self._sources[source] = (key, users + 1)
        return PreviousIndex(source.serving, partial(self.leave_source, source))

    async def leave_source(self, source: Source) -> None:
        """Says that one engine less uses it; the last one closes it."""
        key, users = self._sources.pop(source)
        if users > 1:
            self._sources[source] = (key, users - 1)
        else:
            await source.close()

    def local_embedder(self, folder: Path, dimensions: int) -> AsyncEmbedder:
        """A model of sentence-transformers, the same for every engine, loaded in the background from now on."""
        key = (folder, dimensions)
        if key not in self._local_embedders:
            from rag.async_embedder import AsyncEmbedder
            from rag.sentence_transformers import open_sentence_transformer

            opener = partial(open_sentence_transformer, folder, dimensions)
            self._local_embedders[key] = AsyncEmbedder(opener, f"st:{folder}-{dimensions}", dimensions)
            self._local_embedders[key].start()
        return self._local_embedders[key]

    def provider_embedder(self, model: str, dimensions: int) -> ProviderEmbedder:
        """The embedding model of that name, the same for every engine; see its `bind`."""
        from rag.provider_embedder import ProviderEmbedder

        return self._embedders.setdefault((model, dimensions), ProviderEmbedder(model, dimensions))

    def provider_embedders(self) -> list[tuple[str, ProviderEmbedder]]:
        """All of them by their models' names."""
        return [(model, embedder) for (model, _), embedder in self._embedders.items()]

    def cache(self, key: object, make: Callable[[], AnswerCache]) -> AnswerCache:
        """The answers of the cache that `key` describes: they outlive a reload that leaves it as it is."""
        if key not in self._caches:
            self._caches[key] = make()
        return self._caches[key]

    def state(self, owner: str, what: type[T]) -> T:
        """What outlives a reload under a guardrail's name; made without arguments at the first call."""
        found = self._kept.get((owner, what))
        if not isinstance(found, what):
            found = self._kept[owner, what] = what()
        return found

    def keep(self, task: asyncio.Task[None]) -> None:
        """Holds a task of the background until it has ended."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def status(self) -> dict[str, str]:
        """One line for each part that is in use."""
        parts = {"embedder": self._embedder.status()} if self._embedder is not None else {}
        return parts | {each.name: each.status() for each in self._local_embedders.values()} | self.accounts.status()

    async def close(self) -> None:
        """The end of the process."""
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
