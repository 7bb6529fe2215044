"""The way of a request, top to bottom. The order is code; what happens at each step is YAML.

    identify      who is calling                                         gateway/access
    admit         may they have this model                               gateway/access
    guard input   mask, block, answer in the model's place               guardrails
    context       passages found and put before the question, guarded    rag, guardrails
    dispatch      targets tried: retry, hedge, fall back; commit at the
                  first delta; the gateway's own tools called            router, rag, gateway/tool_loop.py
    guard output  checks of the whole answer, which may ask again; then
                  the pump's filters: masked values put back last        guardrails, gateway/pump.py

What is recalled is kept as the model gave it: the filters of the way out run over it for each caller anew.
What remembers (trace, metrics, log) reads the exchange after the reply has gone.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from gateway.access.keys import KeyRing, allowed_models, unknown_model
from gateway.contract.errors import ContentBlocked
from gateway.contract.guards import Guards
from gateway.contract.prompt_tokens import prompt_tokens
from gateway.contract.protocols import Constructed, Context, Made, OwnTools, Recall, UnderGuard
from gateway.pump import Pump
from gateway.tool_loop import ToolReply
from router.policy import RoutePolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.contract.deltas import Delta
    from gateway.contract.exchange import Caller, Exchange
    from gateway.contract.messages import ChatRequest, EmbeddingRequest, Embeddings
    from gateway.contract.protocols import OutputFilter, Reply
    from router.dispatch import Dispatcher
    from router.reply import CommittedReply

    Opening = Callable[[Delta], None]
    Reveal = Callable[[ChatRequest], ChatRequest]


class Route(msgspec.Struct, frozen=True):
    """What stands behind a model's name: the context phase of its pipeline, if any, and the targets."""

    name: str
    policy: RoutePolicy
    context: Context | None = None
    guards: Guards | None = None
    tools: OwnTools | None = None
    recall: Recall | None = None


class Pipeline:
    """Built whole from one config by `gateway.assembly`, never changed."""

    def __init__(self, routes: Mapping[str, Route], keys: KeyRing, dispatcher: Dispatcher) -> None:
        self._routes = routes
        self._keys = keys
        self._dispatcher = dispatcher

    def identify(self, key: str, exchange: Exchange) -> Caller:
        """Before the body is read: raises `Unauthenticated`."""
        caller = exchange.caller = self._keys.identify(key)
        return caller

    async def handle(self, request: ChatRequest, exchange: Exchange, opening: Opening | None = None) -> Pump:
        """Answers one chat request. Raises `GatehouseError`; whoever gets the reply closes it.

        `opening` hears of a target that has begun before its first word.
        """
        route = self._admit(request.model, exchange)
        exchange.stream = request.stream
        if route.guards is not None:
            return await self._handle_guarded(route, route.guards, request, exchange, opening)
        if route.context is None and route.tools is None and route.recall is None:
            return Pump(await self._dispatch(route, request, exchange, opening), (), exchange)

        async def again(request: ChatRequest, model: str, *, masked: bool = False) -> Reply:
            return await self._dispatch(self._routes[model] if model else route, request, exchange, None)

        under = UnderGuard(again, _as_it_is, _same)

        async def make() -> Made:
            constructed = await self._construct_context(route.context, request, exchange, under)
            reply = await self._answer(route, constructed.request, exchange, opening, None, under)
            return Made(reply, constructed.passages)

        made = await self._recall(route, request, exchange, make)
        return Pump(made.reply, _citations(route, made), exchange)

    async def _handle_guarded(
        self, route: Route, guards: Guards, request: ChatRequest, exchange: Exchange, opening: Opening | None
    ) -> Pump:
        async def again(request: ChatRequest, model: str, *, masked: bool = False) -> Reply:
            asked = self._routes[model] if model else route
            return await self._dispatch(asked, request, exchange, None, None if masked else guarded.reveal)

        async def guard(request: ChatRequest) -> ChatRequest:
            request = await guarded.add(request)
            if guarded.answer is not None:
                # The caller may have read words already: no other answer can take their place.
                raise ContentBlocked("What a tool said was blocked by a guardrail")
            return request

        async def make() -> Made:
            constructed = await self._construct_context(route.context, guarded.request, exchange, under)
            request = await guarded.add(constructed.request)
            if guarded.answer is not None:
                return Made(guarded.answer)
            reply = await self._answer(route, request, exchange, opening, guarded.reveal, under)
            try:
                reply = await guarded.check(reply, again)
            except BaseException:
                await reply.close()
                raise
            return Made(reply, constructed.passages)

        guarded = await guards.open(request, exchange, again)
        if guarded.answer is not None:
            return Pump(guarded.answer, guarded.filters(), exchange)
        under = UnderGuard(again, guard, guarded.reveal_arguments)
        made = await self._recall(route, guarded.request, exchange, make)
        # Places in the answer are those of the text that the caller reads: after all that changes it.
        return Pump(made.reply, (*guarded.filters(), *_citations(route, made)), exchange)

    @staticmethod
    async def _recall(
        route: Route, request: ChatRequest, exchange: Exchange, make: Callable[[], Awaitable[Made]]
    ) -> Made:
        """An answer that is there already; else a new one."""
        return await (route.recall.recall(request, exchange, make) if route.recall is not None else make())

    async def _answer(
        self,
        route: Route,
        request: ChatRequest,
        exchange: Exchange,
        opening: Opening | None,
        reveal: Reveal | None,
        under: UnderGuard,
    ) -> Reply:
        """A target's answer; with tools of the pipeline's own, as many answers as it takes, read as one."""
        if route.tools is None:
            return await self._dispatch(route, request, exchange, opening, reveal)
        request, names = route.tools.offer(request)
        reply: Reply = await self._dispatch(route, request, exchange, opening, reveal)
        if not names:
            return reply

        async def ask(request: ChatRequest) -> Reply:
            return await self._dispatch(route, request, exchange, None, reveal)

        return ToolReply(reply, request, names, route.tools).answer_with(exchange, ask, under)

    async def embed(self, request: EmbeddingRequest, exchange: Exchange) -> Embeddings:
        """Answers one request for embeddings. Raises `GatehouseError`."""
        route = self._admit(request.model, exchange)
        if route.guards is not None:
            request = await route.guards.embed(request, exchange)
        started = time.perf_counter()
        try:
            return await self._dispatcher.embed(request, route.policy, exchange)
        finally:
            exchange.record("dispatch", started)

    def models(self, caller: Caller) -> list[str]:
        """The models that `caller` may ask for."""
        return allowed_models(caller, self._routes)

    def admit(self, model: str, exchange: Exchange) -> None:
        """Whether the caller may have `model`: raises `UnknownModel`. For surfaces that answer without a target."""
        self._admit(model, exchange)

    def _admit(self, model: str, exchange: Exchange) -> Route:
        started = time.perf_counter()
        caller = exchange.caller
        if caller is None:
            raise RuntimeError("identify comes before handle")
        exchange.model = model
        route = self._routes.get(model)
        if route is None or (caller.models is not None and model not in caller.models):
            raise unknown_model(model, caller, self._routes)
        exchange.route = route.name
        exchange.record("admit", started)
        return route

    @staticmethod
    async def _construct_context(
        context: Context | None, request: ChatRequest, exchange: Exchange, under: UnderGuard
    ) -> Constructed:
        if context is None:
            return Constructed(request)
        started = time.perf_counter()
        try:
            return await context.construct(request, exchange, under)
        finally:
            exchange.record("context", started)

    async def _dispatch(
        self,
        route: Route,
        request: ChatRequest,
        exchange: Exchange,
        opening: Opening | None,
        reveal: Reveal | None = None,
    ) -> CommittedReply:
        started = time.perf_counter()
        policy, size, fit = route.policy, None, None
        # Counting costs time: only where a target says how much it takes.
        if any(target.context_window for target in policy.targets):
            fit = route.context.fit if route.context is not None else None
            # What counts is what must go: passages may be left out.
            size = prompt_tokens(fit(request, 0) if fit is not None else request)
        try:
            return await self._dispatcher.dispatch(
                request, policy, exchange, prompt_tokens=size, opening=opening, reveal=reveal, fit=fit
            )
        finally:
            exchange.record("dispatch", started)


def _citations(route: Route, made: Made) -> tuple[OutputFilter, ...]:
    return (route.context.citations(made.passages),) if route.context is not None and made.passages else ()


async def _as_it_is(request: ChatRequest) -> ChatRequest:
    return request


def _same(tool: str, arguments: str) -> str:
    return arguments
