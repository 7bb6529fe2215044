"""The composition root: a config becomes an engine. The only place that knows both configs and concrete classes."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from access.callers.directory import Directory, key_sets
from access.callers.keys import TokenCallers
from access.ledger.pricing import learn_prices, prices_of
from config.egress import NONE
from config.providers import (
    AnthropicConfig,
    AzureConfig,
    ExtractiveConfig,
    GeminiConfig,
    NetworkConfig,
    OpenAIConfig,
    SimulatedConfig,
)
from config.sources import SqlConfig, WebConfig
from contract.caller import Caller
from contract.egress import read_proxy
from contract.work import WorkPool
from gateway.assembly import catalog
from gateway.engine.absent import NO_CONTEXT, NO_GUARDS, NO_RECALL, NO_ROUTING, NO_TOOLS
from gateway.engine.asides import Asides
from gateway.engine.pipeline import NO_QUOTA, Pipeline, Route
from gateway.engine.runtime import Engine
from gateway.providers.credentials import Credentials
from gateway.providers.endpoint import Endpoint
from gateway.providers.remote import RemoteProvider
from router.dispatch import Dispatcher
from router.policies import route_policy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redis.asyncio import Redis

    from cache.answers import AnswerCache
    from config.providers import ProviderConfig
    from config.root import Config
    from config.secret import Secret
    from config.sections import ContextConfig, PipelineConfig, RerankConfig
    from config.sources import DocumentSource
    from contract.egress import Egress, Proxy
    from contract.embedding import Vectors
    from contract.guards import Guards
    from contract.phases import Context, OwnTools, Recall, Routing
    from contract.provider import Provider
    from contract.work import WorkPool
    from gateway.engine.resources import Resources
    from rag.quality import QualityJudge
    from rag.rerank import Reranker
    from rag.source import Source
    from rag.tables.source import TableSource
    from rag.tools.kinds import ReadingTool
    from router.intents.decide import Router

# Queries of one engine's sources that run at once; each waits for a process or a server of its own.
_SQL_THREADS = 6
NATIVE_OPENAI_HOSTS = ("api.openai.com", ".openai.azure.com")


async def build(config: Config, resources: Resources) -> Engine:
    """An engine for `config`, whole; nothing is left behind when it fails."""
    egress = resources.egress = config.way_out
    async with AsyncExitStack() as stack:
        providers = {
            name: await _provider(name, each, resources, stack, egress) for name, each in config.providers.items()
        }
        sources = await _sources(config, resources, stack)
        tables = await _tables(config, stack)
        reading = await _reading_tools(config, sources, resources)
        routers = await _routers(config, resources, stack)
        pipelines = {
            name: _pipeline(name, config, sources, tables, reading, routers, resources) for name in config.pipelines
        }
        routes = {
            name: pipelines[model.pipeline] if model.pipeline is not None else Route(name, route_policy(name, model))
            for name, model in config.models.items()
        }
        dispatcher = Dispatcher(providers, resources.health)
        prices = prices_of(config)
        directory = Directory(config, resources.accounts.keys)
        quota = resources.accounts.quota(config, prices)
        keys = directory.key_ring(_tokens(config, directory, resources))
        asides = Asides(dispatcher, quota, prices, resources.accounts.finished)
        limits = NO_QUOTA if quota.limits_nothing and keys.limits_nobody else quota
        pipeline = Pipeline(routes, keys, dispatcher, pipelines, asides, limits)
        owned = stack.pop_all()
    _bind(resources, routes, asides)
    caches = _caches(config, resources)
    learning = asyncio.create_task(asyncio.to_thread(learn_prices, config, prices))
    resources.keep(learning)
    # Nothing fails from here on: a config that is refused leaves no trace.
    resources.accounts.follow(directory, quota)
    resources.accounts.egress = egress
    return Engine(
        pipeline,
        owned.aclose,
        digest=config.digest,
        max_body=config.server.max_body,
        keepalive_s=config.server.keepalive,
        parts={
            **{name: source.status for name, source in sources.items()},
            **{name: table.status for name, table in tables.items()},
            **{name: cache.status for name, cache in caches.items()},
            **{name: router.status for name, router in routers.items()},
        },
        sources=sources,
        caches=caches,
        prices=prices,
    )


def _caches(config: Config, resources: Resources) -> dict[str, AnswerCache]:
    return {name: _answers(config, name, resources) for name in config.caches}


def _answers(config: Config, name: str, resources: Resources) -> AnswerCache:
    from cache.assembly import open_cache

    cache, redis = config.caches[name], _redis(config, resources)
    key = (name, cache.tiers, cache.ttl, cache.semantic)
    if cache.semantic is None:
        return resources.cache(key, lambda: open_cache(name, cache, redis))
    from rag.nearest import MemoryIndex

    embedder = resources.embedder()
    return resources.cache(key, lambda: open_cache(name, cache, redis, embedder, MemoryIndex))


def _redis(config: Config, resources: Resources) -> Redis | None:
    url = config.server.redis
    return resources.redis(url.reveal()) if url is not None else None


async def _provider(
    name: str, config: ProviderConfig, resources: Resources, stack: AsyncExitStack, egress: Egress
) -> Provider:
    provider: Provider
    if isinstance(config, ExtractiveConfig):
        from gateway.providers.extractive import ExtractiveProvider

        provider = ExtractiveProvider(name, resources.embedder(), resources.pools.quotes)
    elif isinstance(config, SimulatedConfig):
        provider = await _simulated(name, config, stack, egress)
    else:
        provider = _remote(name, config, egress)
    stack.push_async_callback(provider.close)
    return provider


def _remote(
    name: str, config: OpenAIConfig | AzureConfig | AnthropicConfig | GeminiConfig, egress: Egress
) -> RemoteProvider:
    kind = "openai" if isinstance(config, AzureConfig) else config.kind
    endpoint = msgspec.structs.replace(
        _endpoint(config),
        headers=_reveal(config.headers),
        unsupported=config.unsupported_params,
        max_answer=config.max_answer,
    )
    keys = tuple(key.reveal() for key in config.keys)
    return RemoteProvider(
        name,
        catalog.dialect(kind),
        endpoint,
        Credentials(keys),
        embeddings=catalog.embedding_dialect(kind),
        trusted=config.trusted,
        connect_s=config.connect,
        max_connections=config.max_connections,
        proxy=_proxy(config, endpoint.base_url, egress),
    )


def _proxy(config: NetworkConfig, url: str, egress: Egress) -> Proxy | None:
    """A provider's own proxy holds for any address."""
    if config.proxy is None:
        return egress.proxy_for(url)
    return None if config.proxy.reveal() == NONE else read_proxy(config.proxy.reveal())


def _endpoint(config: NetworkConfig) -> Endpoint:
    if isinstance(config, OpenAIConfig):
        native = any(host in config.base_url for host in NATIVE_OPENAI_HOSTS)
        mistral = urlsplit(config.base_url).hostname == "api.mistral.ai"
        nine = config.tool_ids == "nine_letters" or (config.tool_ids == "auto" and mistral)
        return Endpoint(
            config.base_url, native=native, max_tokens=_max_tokens(config.max_tokens_field), nine_letter_ids=nine
        )
    if isinstance(config, AzureConfig):
        return Endpoint(
            config.endpoint,
            auth="api-key",
            scheme="",
            path="/openai/deployments/{model}{path}?api-version=" + config.api_version,
            models=config.deployments,
            max_tokens=_max_tokens(config.max_tokens_field),
        )
    if isinstance(config, AnthropicConfig):
        bearer = config.auth == "bearer"
        return Endpoint(
            config.base_url,
            auth="authorization" if bearer else "x-api-key",
            scheme="Bearer " if bearer else "",
            version=config.version,
            prompt_cache=config.prompt_cache == "auto",
        )
    if isinstance(config, GeminiConfig):
        return Endpoint(config.base_url, auth="x-goog-api-key", scheme="", version=config.version)
    raise TypeError(f"no endpoint for {type(config).__name__}")


def _max_tokens(name: str) -> str:
    return "" if name == "auto" else name


async def _simulated(name: str, config: SimulatedConfig, stack: AsyncExitStack, egress: Egress) -> RemoteProvider:
    base_url = config.base_url
    if base_url is None:
        from gateway.simulator.server import Simulator

        simulator = Simulator({model: list(words) for model, words in config.script.items()}, says=config.says)
        base_url = f"http://127.0.0.1:{await simulator.start()}"
        stack.push_async_callback(simulator.close)
    endpoint = {
        "openai": Endpoint(base_url + "/v1"),
        "anthropic": Endpoint(base_url, auth="x-api-key", scheme="", version="2023-06-01"),
        "gemini": Endpoint(base_url, auth="x-goog-api-key", scheme="", version="v1beta"),
    }[config.dialect]
    return RemoteProvider(
        name,
        catalog.dialect(config.dialect),
        msgspec.structs.replace(endpoint, max_answer=config.max_answer),
        Credentials(("simulated",)),
        embeddings=catalog.embedding_dialect(config.dialect),
        proxy=egress.proxy_for(base_url),
    )


def _reveal(headers: Mapping[str, Secret]) -> dict[str, str]:
    return {name.lower(): value.reveal() for name, value in headers.items()}


async def _sources(config: Config, resources: Resources, stack: AsyncExitStack) -> dict[str, Source]:
    """Sources outlive a reload that leaves them as they are: their indexes are not made again."""
    if not config.sources:
        return {}
    from rag.assembly import open_source, place_of

    made: dict[str, Source] = {}
    for name, each in config.sources.items():
        if isinstance(each, SqlConfig):
            continue
        place = place_of(config, name)
        made[name] = await resources.source(
            (name, place, (each, resources.egress) if isinstance(each, WebConfig) else each),
            partial(
                open_source,
                name,
                each,
                place,
                embedder_of(name, each, resources),
                partial(_known_embedder, config, resources, name),
                resources.readers(),
                resources.egress,
            ),
        )
        stack.push_async_callback(resources.leave_source, made[name])
    return made


def embedder_of(source: str, config: DocumentSource, resources: Resources) -> Vectors:
    """What embeds a source's documents; a provider's model is asked once an engine has been built."""
    from rag.provider_embedder import SourceEmbedder

    embedder = config.embedder
    if embedder is None:
        return resources.embedder()
    if embedder.sentence_transformers is not None:
        return resources.local_embedder(embedder.sentence_transformers, embedder.dimensions)
    return SourceEmbedder(resources.provider_embedder(embedder.model or "", embedder.dimensions), source)


def _known_embedder(config: Config, resources: Resources, source: str, name: str) -> Vectors | None:
    """The embedder whose vectors are kept under `name`, if it can still be asked."""
    from rag.embedder import NAME
    from rag.provider_embedder import SourceEmbedder

    model, _, dimensions = name.rpartition("-")
    if name == NAME:
        return resources.embedder()
    folder = Path(model.removeprefix("st:"))
    if model.startswith("st:") and dimensions.isdigit() and folder.is_dir():
        return resources.local_embedder(folder, int(dimensions))
    if model in config.models and dimensions.isdigit():
        return SourceEmbedder(resources.provider_embedder(model, int(dimensions)), source)
    return None


def _bind(resources: Resources, routes: Mapping[str, Route], asides: Asides) -> None:
    """Sources ask their embedding models through this engine from now on."""
    for name, embedder in resources.provider_embedders():
        if (route := routes.get(name)) is not None:
            embedder.bind(partial(asides.embed, route.policy))


async def _tables(config: Config, stack: AsyncExitStack) -> dict[str, TableSource]:
    """Sources of rows, connected. Raises `EngineRefused` for a database that must not be used like that."""
    made: dict[str, TableSource] = {}
    pool = WorkPool("sql", _SQL_THREADS)
    stack.callback(pool.close)
    for name, each in config.sources.items():
        if isinstance(each, SqlConfig):
            from rag.assembly import open_tables

            made[name] = open_tables(name, each, Path(config.origin).parent, pool)
            stack.push_async_callback(made[name].close)
            await made[name].start()
    return made


def _pipeline(
    name: str,
    config: Config,
    sources: Mapping[str, Source],
    tables: Mapping[str, TableSource],
    reading: Mapping[str, Sequence[ReadingTool]],
    routers: Mapping[str, Routing],
    resources: Resources,
) -> Route:
    pipeline = config.pipelines[name]
    return Route(
        name,
        route_policy(pipeline.answer, config.models[pipeline.answer]),
        _context(name, pipeline.context, sources, tables, reading, resources),
        _guards(config, pipeline, resources),
        _tools(pipeline.tools, reading, pipeline.tool_steps) or NO_TOOLS,
        _recall(config, name, sources, resources),
        routers[pipeline.route] if pipeline.route is not None else NO_ROUTING,
    )


async def _routers(config: Config, resources: Resources, stack: AsyncExitStack) -> dict[str, Router]:
    """Routers, learned where the embedding model is there already, else learning."""
    made: dict[str, Router] = {}
    for name, each in config.routers.items():
        from router.assembly import open_router

        made[name] = open_router(name, each, resources.embedder() if each.intents else None, resources.pools.learning)
        stack.push_async_callback(made[name].close)
        await made[name].start()
    return made


def _recall(config: Config, pipeline: str, sources: Mapping[str, Source], resources: Resources) -> Recall:
    name = config.pipelines[pipeline].recall
    if name is None:
        return NO_RECALL
    from cache.assembly import open_recall

    return open_recall(config, pipeline, sources, _answers(config, name, resources), _redis(config, resources))


async def _reading_tools(
    config: Config, sources: Mapping[str, Source], resources: Resources
) -> dict[str, Sequence[ReadingTool]]:
    if not config.tools:
        return {}
    from rag.assembly import open_tools

    pool, egress = resources.pools.tools, resources.egress
    return {name: await open_tools(name, each, sources, pool, egress) for name, each in config.tools.items()}


def _tools(names: Sequence[str], reading: Mapping[str, Sequence[ReadingTool]], steps: int = 1) -> OwnTools | None:
    if not names:
        return None
    from rag.tools.box import ToolBox

    return ToolBox([tool for name in names for tool in reading[name]], steps)


def _guards(config: Config, pipeline: PipelineConfig, resources: Resources) -> Guards:
    if not pipeline.guard_input and not pipeline.guard_output:
        return NO_GUARDS
    from guardrails.assembly import chain

    redis = config.server.redis
    return chain(
        config.guardrails,
        pipeline.guard_input,
        pipeline.guard_output,
        resources,
        redis.reveal() if redis is not None else None,
    )


def _context(
    pipeline: str,
    config: ContextConfig | None,
    sources: Mapping[str, Source],
    tables: Mapping[str, TableSource],
    reading: Mapping[str, Sequence[ReadingTool]],
    resources: Resources,
) -> Context:
    if config is None:
        return NO_CONTEXT
    from rag.phase import RetrievedContext
    from rag.rewrite import Rewriter

    rewriter = None
    look_up = _tools(config.look_up, reading)
    if config.rewrite is not None:
        model = None if config.rewrite == "rules" else config.rewrite
        known = look_up.definitions if look_up is not None else ()
        rewriter = Rewriter(model, queries=config.queries, tools=known)
    return RetrievedContext(
        {name: sources[name] for name in config.sources if name in sources},
        config.top,
        config.budget,
        [tables[name] for name in config.sources if name in tables],
        rewriter,
        _reranker(config.rerank, resources),
        look_up,
        _judge(pipeline, config, resources),
    )


def _judge(pipeline: str, config: ContextConfig, resources: Resources) -> QualityJudge | None:
    if config.quality is None:
        return None
    from contract.passages import ContextQuality
    from rag.quality import QualityJudge

    quality = resources.quality.setdefault(pipeline, ContextQuality())
    return QualityJudge(config.quality.model, config.quality.share, quality)


def _reranker(config: RerankConfig | None, resources: Resources) -> Reranker | None:
    if config is None:
        return None
    from rag.rerank import EndpointReranker, ModelReranker, SentenceReranker

    if config.url is not None:
        key = config.key.reveal() if config.key is not None else ""
        pool = resources.pools.reranking
        return EndpointReranker(
            config.url,
            key,
            config.model,
            timeout_s=config.timeout,
            pool=pool,
            private=config.private,
            egress=resources.egress,
        )
    return SentenceReranker(resources.embedder()) if config.by == "sentences" else ModelReranker(config.by or "")


def _tokens(config: Config, directory: Directory, resources: Resources) -> TokenCallers | None:
    """Identity providers, asked over the network only when a token comes."""
    if not config.identity:
        return None
    from access.callers.jwt import Issuer, TokenVerifier, looks_like_token
    from rag.tools.fetch import fetch

    pool, egress = resources.pools.identity, resources.egress

    async def get(url: str) -> bytes:
        # The operator has named the issuer: it may well be in one's own network.
        _, text = await pool.run(url, partial(fetch, url, {}, 5.0, 1_000_000, private=True, egress=egress))
        return text.encode()

    pairs = key_sets(config, get)
    issuers = [(Issuer(each.issuer, each.audience, tuple(each.algorithms), each.leeway), keys) for each, keys in pairs]
    by_issuer = {each.issuer: each for each, _ in pairs}

    def caller(claims: Mapping[str, Any]) -> Caller:
        return directory.of_claims(by_issuer[claims["iss"]], claims)

    return TokenCallers(TokenVerifier(issuers), looks_like_token, caller)
