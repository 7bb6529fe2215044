"""The composition root: builds an engine from a config. Only this module imports both configs and concrete classes."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from access.callers.directory import CallerDirectory, key_sets
from access.callers.keys import TokenCallers
from access.ledger.pricing import preload_prices, prices_of
from contract.caller import Caller
from gateway.assembly.providers import build_providers
from gateway.engine.background_calls import BackgroundCalls
from gateway.engine.noop_phases import NO_CACHE, NO_CONTEXT, NO_GUARDS, NO_ROUTING, NO_TOOLS
from gateway.engine.pipeline import NO_QUOTA, Pipeline, Route
from gateway.engine.runtime import Engine
from router.dispatch import Dispatcher
from router.policies import route_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cache.assembly import Caches
    from cache.semantic.nearest import Index
    from config.root import Config
    from config.sections import PipelineConfig
    from contract.guards import Guards
    from gateway.engine.resources import Resources
    from rag.assembly import Retrieval
    from router.assembly import Routers


async def build(config: Config, resources: Resources) -> Engine:
    """A complete engine for `config`; a failure leaves nothing open."""
    egress = resources.egress = config.outbound
    async with AsyncExitStack() as stack:
        providers = await build_providers(config, resources, stack)
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
        directory = CallerDirectory(config, resources.accounts.keys)
        quota = resources.accounts.quota(config, prices)
        keys = directory.key_ring(_tokens(config, directory, resources))
        background_calls = BackgroundCalls(dispatcher, quota, prices, resources.accounts.finished)
        limits = NO_QUOTA if quota.has_no_limits and keys.has_no_limits else quota
        pipeline = Pipeline(routes, keys, dispatcher, pipelines, background_calls, limits)
        owned = stack.pop_all()
    _bind(resources, routes, background_calls)
    answers = caches.all() if caches is not None else {}
    learning = asyncio.create_task(asyncio.to_thread(preload_prices, config, prices))
    resources.hold_task(learning)
    # Nothing can fail after this point, so a rejected config has no effect.
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


def _bind(resources: Resources, routes: Mapping[str, Route], background_calls: BackgroundCalls) -> None:
    """Makes sources call their embedding models through this engine."""
    for name, embedder in resources.provider_embedders():
        if (route := routes.get(name)) is not None:
            embedder.bind(partial(background_calls.embed, route.policy))


def _pipeline(
    name: str,
    config: Config,
    retrieval: Retrieval | None,
    caches: Caches | None,
    routers: Routers | None,
    resources: Resources,
) -> Route:
    pipeline = config.pipelines[name]
    context, tools, sources = None, None, {}
    if retrieval is not None:
        sources = retrieval.sources
        context, tools = retrieval.context(name), retrieval.tools(pipeline.tools, pipeline.tool_steps)
    cache = caches.phase(name, sources) if caches is not None else None
    routing = routers.routing(pipeline.router) if routers is not None else None
    return Route(
        name,
        route_policy(pipeline.model, config.models[pipeline.model]),
        context or NO_CONTEXT,
        _guards(config, pipeline, resources),
        tools or NO_TOOLS,
        cache or NO_CACHE,
        routing or NO_ROUTING,
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


def _tokens(config: Config, directory: CallerDirectory, resources: Resources) -> TokenCallers | None:
    """The identity providers; their keys are fetched only when a token arrives."""
    if not config.identity:
        return None
    from access.callers.jwt import Issuer, TokenVerifier, looks_like_token
    from contract.outbound import Call

    outbound, egress = resources.pools.identity_calls, resources.egress

    async def get(url: str) -> bytes:
        # The operator has configured the issuer, so it may be in the private network.
        async with outbound.open(Call(url, 5.0, private=True, egress=egress), url) as answer:
            if answer.status != 200:
                raise OSError(f"it answered {answer.status}")
            return await answer.read(1_000_000)

    pairs = key_sets(config, get)
    issuers = [(Issuer(each.issuer, each.audience, tuple(each.algorithms), each.leeway), keys) for each, keys in pairs]
    by_issuer = {each.issuer: each for each, _ in pairs}

    def caller(claims: Mapping[str, Any]) -> Caller:
        return directory.of_claims(by_issuer[claims["iss"]], claims)

    return TokenCallers(TokenVerifier(issuers), looks_like_token, caller)
