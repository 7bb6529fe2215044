"""The composition root: a config becomes an engine. The only place that knows both configs and concrete classes."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
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
from contract.caller import Caller
from contract.egress import read_proxy
from gateway.assembly import catalog
from gateway.engine.asides import Asides
from gateway.engine.pipeline import Pipeline, Route
from gateway.engine.runtime import Engine
from gateway.providers.credentials import Credentials
from gateway.providers.remote import Endpoint, RemoteProvider
from router.dispatch import Dispatcher
from router.policies import route_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cache.assembly import Caches
    from cache.semantic.nearest import Index
    from config.providers import ProviderConfig
    from config.root import Config
    from config.secret import Secret
    from config.sections import PipelineConfig
    from contract.egress import Egress, Proxy
    from contract.guards import Guards
    from contract.provider import Provider
    from gateway.engine.resources import Resources
    from rag.assembly import Retrieval
    from router.assembly import Routers

NATIVE_OPENAI_HOSTS = ("api.openai.com", ".openai.azure.com")


async def build(config: Config, resources: Resources) -> Engine:
    """An engine for `config`, whole; nothing is left behind when it fails."""
    egress = resources.egress = config.way_out
    async with AsyncExitStack() as stack:
        providers = {
            name: await _provider(name, each, resources, stack, egress) for name, each in config.providers.items()
        }
        retrieval = await _retrieval(config, resources, stack)
        routers = await _routers(config, resources, stack)
        caches = _caches(config, resources)
        pipelines = {name: _pipeline(name, config, retrieval, caches, routers, resources) for name in config.pipelines}
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
        pipeline = Pipeline(routes, keys, dispatcher, pipelines, quota, asides)
        owned = stack.pop_all()
    _bind(resources, routes, asides)
    answers = caches.all() if caches is not None else {}
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
            **(retrieval.status() if retrieval is not None else {}),
            **{name: cache.status for name, cache in answers.items()},
            **(routers.status() if routers is not None else {}),
        },
        sources=retrieval.sources if retrieval is not None else {},
        caches=answers,
        prices=prices,
    )


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


def _bind(resources: Resources, routes: Mapping[str, Route], asides: Asides) -> None:
    """Sources ask their embedding models through this engine from now on."""
    for name, embedder in resources.provider_embedders():
        if (route := routes.get(name)) is not None:
            embedder.bind(partial(asides.embed, route.policy))


def _pipeline(
    name: str,
    config: Config,
    retrieval: Retrieval | None,
    caches: Caches | None,
    routers: Routers | None,
    resources: Resources,
) -> Route:
    pipeline = config.pipelines[name]
    return Route(
        name,
        route_policy(pipeline.answer, config.models[pipeline.answer]),
        retrieval.context(name) if retrieval is not None else None,
        _guards(config, pipeline, resources),
        retrieval.tools(pipeline.tools, pipeline.tool_steps) if retrieval is not None else None,
        caches.recall(name, retrieval.sources if retrieval is not None else {}) if caches is not None else None,
        routers.routing(pipeline.route) if routers is not None else None,
    )


async def _retrieval(config: Config, resources: Resources, stack: AsyncExitStack) -> Retrieval | None:
    if not config.sources and not config.tools:
        return None
    from rag.assembly import Retrieval

    retrieval = Retrieval(config, resources)
    await retrieval.open(stack)
    return retrieval


def _caches(config: Config, resources: Resources) -> Caches | None:
    if not config.caches:
        return None
    from cache.assembly import Caches

    return Caches(config, resources, _memory_index)


def _memory_index() -> Callable[[int], Index]:
    from rag.nearest import MemoryIndex

    return MemoryIndex


async def _routers(config: Config, resources: Resources, stack: AsyncExitStack) -> Routers | None:
    if not config.routers:
        return None
    from router.assembly import Routers

    routers = Routers(config, resources)
    await routers.open(stack)
    return routers


def _guards(config: Config, pipeline: PipelineConfig, resources: Resources) -> Guards | None:
    if not pipeline.guard_input and not pipeline.guard_output:
        return None
    from guardrails.assembly import chain

    redis = config.server.redis
    return chain(
        config.guardrails,
        pipeline.guard_input,
        pipeline.guard_output,
        resources,
        redis.reveal() if redis is not None else None,
    )


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
