"""Builds caches from their configs; imported only if the config has a cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pydantic import BaseModel

from cache.answers import AnswerCache
from cache.key import scope_digest
from cache.lease import Lease
from cache.phase import CachePhase, CachePolicy
from cache.tier import GuardedTier, Tiers
from config.kinds import opening

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from cache.phase import Versioned
    from cache.semantic.nearest import Index
    from config.caches import CacheConfig, TierConfig
    from config.root import Config
    from contract.embedding import Vectors
    from contract.phases import ResponseCache
    from contract.tiers import Tier


class CacheServices(Protocol):
    """The process-wide services that caches use."""

    def redis(self, url: str) -> Redis:
        """A client of the Redis at `url`."""
        ...

    def embedder(self) -> Vectors:
        """The built-in embedding model."""
        ...

    def cache(self, key: object, make: Callable[[], AnswerCache]) -> AnswerCache:
        """Returns the answer cache with that key; `make` builds it on first use."""
        ...


class Caches:
    """The caches of one config. A cache survives a reload that does not change its config."""

    def __init__(self, config: Config, lends: CacheServices, index: Callable[[], Callable[[int], Index]]) -> None:
        """`index` returns a factory of empty vector indexes by number of dimensions, for semantic caches."""
        self._config = config
        self._lends = lends
        self._index = index

    def answers(self, name: str) -> AnswerCache:
        """The answer cache with that name."""
        cache, redis = self._config.caches[name], self._redis()
        key = (name, cache.tiers, cache.ttl, cache.semantic)
        if cache.semantic is None:
            return self._lends.cache(key, lambda: open_cache(name, cache, redis))
        embedder, index = self._lends.embedder(), self._index()
        return self._lends.cache(key, lambda: open_cache(name, cache, redis, embedder, index))

    def all(self) -> dict[str, AnswerCache]:
        """All answer caches by name."""
        return {name: self.answers(name) for name in self._config.caches}

    def phase(self, pipeline: str, sources: Mapping[str, Versioned]) -> ResponseCache | None:
        """The cache phase of one pipeline; None if it names no cache."""
        name = self._config.pipelines[pipeline].cache
        if name is None:
            return None
        return open_cache_phase(self._config, pipeline, sources, self.answers(name), self._redis())

    def _redis(self) -> Redis | None:
        url = self._config.server.redis
        return self._lends.redis(url.reveal()) if url is not None else None


def open_cache(
    name: str,
    config: CacheConfig,
    redis: Redis | None,
    embedder: Vectors | None = None,
    index: Callable[[int], Index] | None = None,
) -> AnswerCache:
    """Opens one cache. `embedder` and `index`, a factory of vector indexes by dimensions, are for its semantic side."""
    tiers = Tiers([_tier(name, each, _Parts(redis)) for each in config.tiers], config.ttl)
    semantic = config.semantic
    if semantic is None or embedder is None or index is None:
        return AnswerCache(tiers)
    from cache.semantic.gate import SemanticGate
    from cache.semantic.learner import Learner
    from cache.semantic.nearest import Nearest

    nearest = Nearest(partial(index, embedder.dimensions), semantic.max_questions)
    shared = None
    if redis is not None and any(each.in_redis for each in config.tiers):
        from cache.semantic.shared import SharedQuestions

        shared = SharedQuestions(redis, name, nearest, semantic.max_questions)
    gate = SemanticGate(
        nearest,
        Learner(semantic.max_false_hit_rate),
        embedder,
        shadow=semantic.shadow,
        sample=semantic.sample,
        shared=shared,
    )
    return AnswerCache(tiers, gate)


@dataclass(frozen=True)
class _Parts:
    """Implements `config.caches.TierParts`."""

    redis: Redis | None


def _tier(name: str, config: TierConfig, parts: _Parts) -> Tier:
    with opening("caches", name):
        tier = config.open(name, parts)
    return GuardedTier(tier) if config.is_remote else tier


def open_cache_phase(
    config: Config, pipeline_name: str, sources: Mapping[str, Versioned], answers: AnswerCache, redis: Redis | None
) -> ResponseCache:
    """Builds the cache phase of a pipeline that names a cache."""
    pipeline = config.pipelines[pipeline_name]
    name = pipeline.cache or ""
    cache = config.caches[name]
    shared = any(each.in_redis for each in cache.tiers)
    policy = CachePolicy(
        name,
        _digest(config, pipeline_name),
        cache.scope,
        cache.temperature,
        conversations=cache.semantic is not None and cache.semantic.conversations,
        personal=cache.personal,
    )
    used = pipeline.context.sources if pipeline.context is not None else ()
    return CachePhase(
        policy,
        answers,
        [sources[each] for each in used if each in sources],
        Lease(redis, name) if shared and redis is not None else None,
    )


def _digest(config: Config, name: str) -> str:
    """A digest of all config that a pipeline's answers depend on, so that different policies never share an answer."""
    pipeline = config.pipelines[name]
    guards = sorted({*pipeline.guard_input, *pipeline.guard_output})
    sources = sorted(pipeline.context.sources) if pipeline.context is not None else []
    look_up_tools = pipeline.context.lookup_tools if pipeline.context is not None else ()
    tools = sorted({*pipeline.tools, *look_up_tools})
    # The parts only name the models that judge, rewrite or write SQL, so include all model configs too.
    parts: list[BaseModel] = [
        pipeline,
        *(config.guardrails[each] for each in guards),
        *(config.sources[each] for each in sources),
        *(config.tools[each] for each in tools),
        *([config.routers[pipeline.router]] if pipeline.router is not None else []),
        *(each for each in config.models.values() if each.pipeline is None),
    ]
    names = [name, *guards, *sources, *tools]
    return scope_digest([*names, *(each.model_dump_json() for each in parts), *_files(parts)])


def _files(parts: Iterable[BaseModel]) -> Iterator[str]:
    """A text per file that the parts refer to, such as a schema; it changes when the file changes."""
    for part in parts:
        for value in part.__dict__.values():
            if isinstance(value, BaseModel):
                yield from _files([value])
            elif isinstance(value, Path) and value.is_file():
                status = value.stat()
                yield f"{value} {status.st_mtime_ns} {status.st_size}"
