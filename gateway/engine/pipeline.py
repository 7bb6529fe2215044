"""The way of a request, top to bottom. The order is code; what happens at each step is YAML.

    identify      who is calling                                         access
    admit         may they have this model, and is there room in their
                  limits and budgets (reserved until the end)            access
    guard input   mask, block, answer in the model's place               guardrails
    recall        the same question's answer, kept or under way          cache
    route         rules, intents, difficulty: a model, a pipeline, or an
                  answer that is there                                   router/intents
    context       passages found and put before the question, guarded    rag, guardrails
    dispatch      targets tried: retry, hedge, fall back; commit at the
                  first delta; the gateway's own tools called            router, rag, gateway/engine/tool_loop.py
    guard output  checks of the whole answer, which may ask again; then
                  the pump's filters: masked values put back last        guardrails, gateway/engine/pump.py

What is recalled is kept as the model gave it: the filters of the way out run over it for each caller anew.
What remembers (trace, metrics, log) reads the exchange after the reply has gone.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from access.callers.keys import KeyRing, Shown, allowed_models, unknown_model
from access.limits.quota import Quota
from contract.errors import BudgetSpent, ContentBlocked, GatehouseError
from contract.guards import Again, Guards
from contract.held import check_whole
from contract.phases import Constructed, Context, Decision, Made, OwnTools, Recall, Routing, UnderGuard
from contract.prompt_tokens import prompt_tokens
from contract.stock import StockReply
from gateway.engine.pump import Pump
from gateway.engine.tool_loop import ToolReply
from router.policy import RoutePolicy
from router.shorten import shorten

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from contract.caller import Caller
    from contract.deltas import Delta
    from contract.exchange import Exchange
    from contract.messages import ChatRequest, EmbeddingRequest, Embeddings
    from contract.reply import OutputFilter, Reply
    from gateway.engine.asides import Asides
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
    routing: Routing | None = None


class Pipeline:
    """Built whole from one config by `gateway.assembly`, never changed."""

    def __init__(
        self,
        routes: Mapping[str, Route],
        keys: KeyRing,
        dispatcher: Dispatcher,
        pipelines: Mapping[str, Route] | None = None,
        quota: Quota | None = None,
        asides: Asides | None = None,
    ) -> None:
        """`routes` by the models that are asked for; `pipelines` by their own names, for routers."""
        self._quota = quota
        self._asides = asides
        self._routes = routes
        self._pipelines = pipelines or {}
        self._keys = keys
        self._dispatcher = dispatcher
        routings = [each.routing for each in self._pipelines.values() if each.routing is not None]
        # What rules look at: surfaces hand on no other header.
        self.headers = frozenset(header for routing in routings for header in routing.headers)

    async def identify(self, shown: Shown, exchange: Exchange) -> Caller:
        """Before the body is read: raises `Unauthenticated`, `NotAllowed`, `Unavailable`."""
        caller = exchange.caller = await self._keys.identify(shown)
        exchange.user = caller.user
        return caller

    async def handle(self, request: ChatRequest, exchange: Exchange, opening: Opening | None = None) -> Pump:
        """Answers one chat request. Raises `GatehouseError`; whoever gets the reply closes it.

        `opening` hears of a target that has begun before its first word.
        """
        route = self._admit(request.model, exchange)
        exchange.user = exchange.user or request.user
        if self._quota is not None:
            await self._quota.admit(exchange, request, [target.key for target in route.policy.targets])
            if model := _in_its_place(exchange):
                route = msgspec.structs.replace(route, policy=self._routes[model].policy)
        exchange.stream = request.stream
        plain = route.context is None and route.tools is None and route.recall is None and route.routing is None
        if route.guards is not None or not plain:
            check_whole(request)
        if route.guards is not None:
            return await self._handle_guarded(route, route.guards, request, exchange, opening)
        if plain:
            return Pump(await self._dispatch(route, request, exchange, opening), (), exchange)

        async def again(request: ChatRequest, model: str, *, masked: bool = False) -> Reply:
            return await self._dispatch(self._routes[model] if model else route, request, exchange, None)

        under = UnderGuard(again, _as_it_is, _same, self._aside(exchange))

        async def make() -> Made:
            taken = await self._take(route, decided, request, exchange, again)
            if isinstance(taken, StockReply):
                return Made(taken)
            constructed = await self._construct_context(taken.context, request, exchange, under)
            reply = await self._answer(taken, constructed.request, exchange, opening, None, under)
            return Made(reply, constructed.passages)

        decided = _by_rules(route, request, exchange)
        made = await self._recall(route, decided, request, exchange, make, under)
        return Pump(made.reply, self._citations(made), exchange)

    def _aside(self, exchange: Exchange) -> Callable[[ChatRequest, str], Awaitable[str]] | None:
        asides = self._asides
        if asides is None:
            return None

        async def aside(request: ChatRequest, model: str) -> str:
            return await asides.ask(request, self._routes[model].policy, "judge of context", exchange)

        return aside

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
            taken = await self._take(route, decided, guarded.request, exchange, again)
            if isinstance(taken, StockReply):
                return Made(taken)
            constructed = await self._construct_context(taken.context, guarded.request, exchange, under)
            request = await guarded.add(constructed.request)
            if guarded.answer is not None:
                return Made(guarded.answer)
            reply = await self._answer(taken, request, exchange, opening, guarded.reveal, under)
            try:
                reply = await guarded.check(reply, again)
            except BaseException:
                await reply.close()
                raise
            return Made(reply, constructed.passages)

        guarded = await guards.open(request, exchange, again)
        if guarded.answer is not None:
            return Pump(guarded.answer, guarded.filters(), exchange)
        under = UnderGuard(again, guard, guarded.reveal_arguments, self._aside(exchange))
        decided = _by_rules(route, guarded.request, exchange)
        made = await self._recall(route, decided, guarded.request, exchange, make, under)
        # Places in the answer are those of the text that the caller reads: after all that changes it.
        return Pump(made.reply, (*guarded.filters(), *self._citations(made)), exchange)

    @staticmethod
    async def _recall(
        route: Route,
        decided: Decision | None,
        request: ChatRequest,
        exchange: Exchange,
        make: Callable[[], Awaitable[Made]],
        under: UnderGuard,
    ) -> Made:
        """An answer that is there already, for those for whom the same rule holds; else a new one."""
        if route.recall is None:
            return await make()
        context = route.context
        standalone = partial(context.standalone, request, exchange, under) if context is not None else None
        variant = decided.name if decided is not None else ""
        if model := _in_its_place(exchange):
            # What a cheaper model says is not kept for those who may ask the other one.
            variant += f" downgraded to {model}"
        return await route.recall.recall(request, exchange, make, variant, standalone)

    async def _take(
        self, route: Route, decided: Decision | None, request: ChatRequest, exchange: Exchange, again: Again
    ) -> Route | StockReply:
        """The way that the router has decided on: another model's, another pipeline's, or an answer that is there."""
        if route.routing is None:
            return route
        decision = decided or await route.routing.decide(request, exchange, again)
        if decision.say:
            return StockReply(decision.say, request)
        if decision.pipeline:
            other = self._pipelines[decision.pipeline]
            route = msgspec.structs.replace(route, policy=other.policy, context=other.context, tools=other.tools)
        if decision.model:
            route = msgspec.structs.replace(route, policy=self._routes[decision.model].policy)
        if model := _in_its_place(exchange):
            route = msgspec.structs.replace(route, policy=self._routes[model].policy)
        if decision.tools is not None and route.tools is not None:
            route = msgspec.structs.replace(route, tools=route.tools.only(decision.tools))
        return route

    def _citations(self, made: Made) -> tuple[OutputFilter, ...]:
        context = next((each.context for each in self._pipelines.values() if each.context is not None), None)
        return (context.citations(made.passages),) if context is not None and made.passages else ()

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
        exchange.user = exchange.user or request.user
        ticket = None
        if self._quota is not None:
            ticket = await self._quota.admit(exchange, request, [target.key for target in route.policy.targets])
        if _in_its_place(exchange):
            raise BudgetSpent("The budget is spent, and no other model can make these embeddings")
        if route.guards is not None:
            request = await route.guards.embed(request, exchange)
        started = time.perf_counter()
        try:
            return await self._dispatcher.embed(request, route.policy, exchange, ticket=ticket)
        finally:
            exchange.record("dispatch", started)

    def models(self, caller: Caller) -> list[str]:
        """The models that `caller` may ask for."""
        return allowed_models(caller, [name for name, route in self._routes.items() if _open_to(caller, route)])

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
        if route is None or (caller.models is not None and model not in caller.models) or not _open_to(caller, route):
            raise unknown_model(model, self.models(caller))
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
        ticket = exchange.ticket
        if ticket is not None:
            request = ticket.bounded(request)
        # Counting costs time: only where a target says how much it takes.
        if any(target.context_window for target in policy.targets):
            fit = route.context.fit if route.context is not None else None
            # What counts is what must go: passages may be left out.
            size = prompt_tokens(fit(request, 0) if fit is not None else request)
            request, size = _made_to_fit(request, size, policy, exchange)
        try:
            return await self._dispatcher.dispatch(
                request, policy, exchange,
                prompt_tokens=size, opening=opening, reveal=reveal, fit=fit, ticket=ticket,
            )  # fmt: skip
        except GatehouseError:
            # A provider counts for itself: once more with less, if that was all.
            shorter = _after_refusal(request, policy, exchange)
            if shorter is None:
                raise
            return await self._dispatcher.dispatch(
                shorter, policy, exchange, opening=opening, reveal=reveal, fit=fit, ticket=ticket
            )
        finally:
            exchange.record("dispatch", started)


def _in_its_place(exchange: Exchange) -> str:
    """The model that answers because a budget is spent; empty for none."""
    return exchange.ticket.model if exchange.ticket is not None else ""


def _open_to(caller: Caller, route: Route) -> bool:
    return caller.pipelines is None or route.name in caller.pipelines


def _made_to_fit(request: ChatRequest, size: int, policy: RoutePolicy, exchange: Exchange) -> tuple[ChatRequest, int]:
    """The request with fewer turns, where that is wanted and no target would hold it; and its size."""
    room = policy.room(request.max_tokens or 0)
    if policy.shorten is None or room is None or size <= room:
        return request, size
    started = time.perf_counter()
    request = shorten(request, room, policy.shorten)
    shorter = prompt_tokens(request)
    exchange.record("shorten", started, {"tokens": size, "left": shorter})
    return request, shorter


def _after_refusal(request: ChatRequest, policy: RoutePolicy, exchange: Exchange) -> ChatRequest | None:
    """What to ask after the last target has said that the prompt is too long; None where that is not wanted."""
    if policy.shorten is None or not exchange.attempts or exchange.attempts[-1].error != "context_window":
        return None
    started = time.perf_counter()
    size = prompt_tokens(request)
    request = shorten(request, int(_SHORTER * size), policy.shorten)
    shorter = prompt_tokens(request)
    exchange.record("shorten", started, {"tokens": size, "left": shorter})
    return request if shorter < size else None


# What is left of a prompt that a provider called too long.
_SHORTER = 0.6


def _by_rules(route: Route, request: ChatRequest, exchange: Exchange) -> Decision | None:
    """What the router's rules say of the request from outside: before anything is recalled."""
    if route.routing is None:
        return None
    started = time.perf_counter()
    decided = route.routing.rule(request, exchange)
    if decided is not None:
        exchange.record("route", started, {"by": decided.by, "name": decided.name})
    return decided


async def _as_it_is(request: ChatRequest) -> ChatRequest:
    return request


def _same(tool: str, arguments: str) -> str:
    return arguments
