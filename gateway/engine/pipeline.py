"""The path of a request, top to bottom: `Pipeline.handle`. The code fixes the order; YAML configures each step.

    identify      authenticate the caller                                access
    admit         check access to the model; reserve from limits and
                  budgets until the request ends                         access
    guard input   mask, block, or respond instead of the model           guardrails
    look up       a stored response, or an identical call in flight      cache
    route         rules, intents, difficulty: a model, a pipeline, or a
                  fixed response                                         router/intents
    context       retrieve passages, check them, add them to the prompt  rag, guardrails
    dispatch      try targets: retry, hedge, fall back; commit at the
                  first delta; call the gateway's own tools              router, rag, gateway/engine/tool_loop.py
    guard output  check the complete response, with possible retries;
                  then the pump's filters; unmasking is last             guardrails, gateway/engine/pump.py

A phase that the config omits is a no-op from `gateway/engine/noop_phases.py`. The cache stores a response as the model
sent it, and the output filters run for each caller. Trace, metrics and log read the exchange after the response has
been sent; `Unsettled` holds what must be settled then.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Protocol

import msgspec

from access.callers.keys import KeyRing, PresentedCredentials, allowed_models, unknown_model
from contract.errors import BudgetSpent, ContentBlocked, GatehouseError
from contract.guards import Guards
from contract.held import check_history
from contract.messages import ChatRequest
from contract.phases import Answer, Context, Decision, GatewayTools, ResponseCache, Routing
from contract.prompt_tokens import prompt_tokens
from contract.stock import StockReply
from gateway.engine.noop_phases import NO_CACHE, NO_CONTEXT, NO_GUARDS, NO_ROUTING, NO_TOOLS
from gateway.engine.pump import Pump
from gateway.engine.tool_loop import ToolReply
from router.dispatch import NO_CHANGES, Changes
from router.fitting import fit_to_targets, shorten_after_refusal
from router.policy import RoutePolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from contract.caller import Caller
    from contract.deltas import Delta
    from contract.exchange import Attributes, Exchange
    from contract.guards import RequestGuard
    from contract.messages import ChatRequest, EmbeddingRequest, Embeddings
    from contract.phases import GuardedCalls
    from contract.reply import Reply
    from contract.ticket import Ticket
    from contract.unsettled import Unsettled
    from gateway.engine.background_calls import BackgroundCalls
    from router.dispatch import CommittedReply, Dispatcher

    Opening = Callable[[Delta], None]
    Reveal = Callable[[ChatRequest], ChatRequest]


class Admission(Protocol):
    """See `access.limits.quota.Quota`."""

    async def admit(
        self, exchange: Exchange, request: ChatRequest | EmbeddingRequest, targets: Sequence[str]
    ) -> Ticket | None:
        """The request's ticket; None if no limit applies."""
        ...


class NoQuota:
    """A quota without limits."""

    async def admit(self, exchange: Exchange, request: ChatRequest | EmbeddingRequest, targets: Sequence[str]) -> None:
        """Returns no ticket."""


NO_QUOTA = NoQuota()


class Route(msgspec.Struct, frozen=True):
    """What a model's name resolves to: the targets and the phases of its pipeline."""

    name: str
    policy: RoutePolicy
    context: Context = NO_CONTEXT
    guards: Guards = NO_GUARDS
    tools: GatewayTools = NO_TOOLS
    cache: ResponseCache = NO_CACHE
    routing: Routing = NO_ROUTING

    @property
    def is_plain(self) -> bool:
        """Whether the route has only targets, and no other phase."""
        phases = (self.context, self.guards, self.tools, self.cache, self.routing)
        return phases == (NO_CONTEXT, NO_GUARDS, NO_TOOLS, NO_CACHE, NO_ROUTING)


class Pipeline:
    """Serves requests with one config. Built by `gateway.assembly`; immutable."""

    def __init__(
        self,
        routes: Mapping[str, Route],
        keys: KeyRing,
        dispatcher: Dispatcher,
        pipelines: Mapping[str, Route],
        background_calls: BackgroundCalls,
        quota: Admission = NO_QUOTA,
    ) -> None:
        """`routes` is keyed by requested model; `pipelines` by pipeline name, for routers."""
        self.routes = routes
        self._plain = frozenset(name for name, route in routes.items() if route.is_plain)
        self._pipelines = pipelines
        self._keys = keys
        self._dispatcher = dispatcher
        self._background_calls = background_calls
        self._quota = quota
        # The headers that rules read: surfaces pass on no others.
        self.headers = frozenset(header for each in pipelines.values() for header in each.routing.headers)

    async def identify(self, credentials: PresentedCredentials, exchange: Exchange) -> Caller:
        """Identifies the caller, before the body is read. Raises `Unauthenticated`, `NotAllowed`, `Unavailable`."""
        caller = exchange.caller = await self._keys.identify(credentials)
        exchange.user = caller.user
        return caller

    async def handle(
        self, request: ChatRequest, exchange: Exchange, unsettled: Unsettled, opening: Opening | None = None
    ) -> Pump:
        """Serves one chat request. Raises `GatehouseError`. The caller of this method closes the reply.

        `unsettled` must be settled at the end, also after an error. `opening` is called when a target has started to
        respond but has sent no content.
        """
        route = await self._admit(request, exchange, unsettled)
        exchange.stream = request.stream
        if request.model in self._plain:
            return Pump(await self.dispatch(route, request, exchange, unsettled, opening), (), exchange)
        if request.extra:
            check_history(request)
        calls = RequestCalls(self, route, exchange, unsettled)
        guarded = calls.guarded = await route.guards.open(request, exchange, calls.ask_model)
        if guarded.answer is not None:
            return Pump(guarded.answer, guarded.filters(), exchange)
        # Rules take microseconds. Their decision is part of the cache key: different rules share no responses.
        rule_decision = _decide_by_rule(route, guarded.request, exchange)
        lookup = await route.cache.lookup(guarded.request, exchange, _variant(rule_decision, unsettled))
        if not isinstance(lookup, Answer) and lookup.lacks_question:
            lookup = await lookup.compare(await route.context.standalone(guarded.request, exchange, calls))

        async def make_answer() -> Answer:
            chosen = await self._resolve_route(route, rule_decision, guarded.request, exchange, unsettled, calls)
            if isinstance(chosen, StockReply):
                return Answer(chosen)
            augmented = await chosen.context.construct(guarded.request, exchange, calls)
            final = await guarded.add(augmented.request)
            if guarded.answer is not None:
                return Answer(guarded.answer)
            reply = await self._answer(chosen, final, exchange, unsettled, opening, calls)
            return Answer(await _check_output(reply, calls), augmented.passages, chosen.name)

        answer = lookup if isinstance(lookup, Answer) else await lookup.share(make_answer, unsettled)
        # Citations refer to positions in the final text, so they come after all filters that change it.
        citations = self._pipelines.get(answer.pipeline, route).context.citations(answer.passages)
        return Pump(answer.reply, (*guarded.filters(), *citations), exchange)

    async def _resolve_route(
        self,
        route: Route,
        rule_decision: Decision | None,
        request: ChatRequest,
        exchange: Exchange,
        unsettled: Unsettled,
        calls: GuardedCalls,
    ) -> Route | StockReply:
        """The route that the router decides on: another model's, another pipeline's, or a fixed response."""
        decision = rule_decision
        if decision is None:
            started = time.perf_counter()
            decision = await route.routing.decide(request, exchange, calls.ask_model)
            if route.routing is not NO_ROUTING:
                exchange.record("route", started, about(decision))
        if decision.say:
            return StockReply(decision.say, request)
        replace = msgspec.structs.replace
        if decision.pipeline:
            other = self._pipelines[decision.pipeline]
            route = replace(route, name=other.name, policy=other.policy, context=other.context, tools=other.tools)
        if decision.model:
            route = replace(route, policy=self.routes[decision.model].policy)
        if model := _downgrade_model(unsettled):
            route = replace(route, policy=self.routes[model].policy)
        if decision.tools is not None:
            route = replace(route, tools=route.tools.only(decision.tools))
        return route

    async def _answer(
        self,
        route: Route,
        request: ChatRequest,
        exchange: Exchange,
        unsettled: Unsettled,
        opening: Opening | None,
        calls: RequestCalls,
    ) -> Reply:
        """A target's response. With gateway tools, several model calls are combined into one response."""
        reveal = calls.guarded.reveal
        if route.tools is NO_TOOLS:
            return await self.dispatch(route, request, exchange, unsettled, opening, reveal)
        request, names = route.tools.offer(request)
        reply: Reply = await self.dispatch(route, request, exchange, unsettled, opening, reveal)
        if not names:
            return reply
        ask = partial(self.dispatch, route, exchange=exchange, unsettled=unsettled, reveal=reveal)
        return ToolReply(reply, request, names, route.tools, exchange, ask, calls)

    async def embed(self, request: EmbeddingRequest, exchange: Exchange, unsettled: Unsettled) -> Embeddings:
        """Serves one embeddings request. Raises `GatehouseError`. `unsettled`: see `handle`."""
        route = await self._admit(request, exchange, unsettled)
        if _downgrade_model(unsettled):
            raise BudgetSpent("The budget is spent, and embeddings can't fall back to another model")
        request = await route.guards.embed(request, exchange)
        started = time.perf_counter()
        try:
            return await self._dispatcher.embed(request, route.policy, exchange, unsettled)
        finally:
            exchange.record("dispatch", started)

    async def ask_aside(self, request: ChatRequest, model: str, cause: Exchange) -> str:
        """Returns the response text of `model` to a background request; `cause` does not wait for it."""
        return await self._background_calls.ask(request, self.routes[model].policy, "judge of context", cause)

    def models(self, caller: Caller) -> list[str]:
        """The models that `caller` may use."""
        return allowed_models(caller, [name for name, route in self.routes.items() if _may_use(caller, route)])

    def route_of(self, model: str, exchange: Exchange) -> Route:
        """The route of `model`. Raises `UnknownModel`, also if the caller may not use it. Reserves nothing."""
        started = time.perf_counter()
        caller = exchange.caller
        if caller is None:
            raise RuntimeError("the caller must be identified first")
        exchange.model = model
        route = self.routes.get(model)
        if route is None or (caller.models is not None and model not in caller.models) or not _may_use(caller, route):
            raise unknown_model(model, self.models(caller))
        exchange.route = route.name
        exchange.record("admit", started)
        return route

    async def _admit(self, request: ChatRequest | EmbeddingRequest, exchange: Exchange, unsettled: Unsettled) -> Route:
        """The route; with the targets of the downgrade model if the budget is spent. Raises `GatehouseError`."""
        unsettled.due = True
        route = self.route_of(request.model, exchange)
        exchange.user = exchange.user or request.user
        ticket = unsettled.ticket = await self._quota.admit(exchange, request, route.policy.keys)
        if ticket is not None and ticket.model and isinstance(request, ChatRequest):
            route = msgspec.structs.replace(route, policy=self.routes[ticket.model].policy)
        return route

    async def dispatch(
        self,
        route: Route,
        request: ChatRequest,
        exchange: Exchange,
        unsettled: Unsettled,
        opening: Opening | None = None,
        reveal: Reveal | None = None,
    ) -> CommittedReply:
        """The response of one of the route's targets. `reveal` unmasks the request for trusted targets."""
        started = time.perf_counter()
        policy, size, fit = route.policy, None, None
        if unsettled.ticket is not None:
            request = unsettled.ticket.bounded(request)
        # Counting tokens costs time, so it is done only if a target declares its context window.
        if policy.windows:
            fit = route.context.fit
            # Counts the request without passages, because they may be dropped.
            size = prompt_tokens(fit(request, 0))
            request, size = fit_to_targets(request, size, policy, exchange)
        changes = NO_CHANGES if reveal is None and fit is None else Changes(reveal, fit)
        try:
            return await self._dispatcher.dispatch(request, policy, exchange, unsettled, changes, size, opening)
        except GatehouseError:
            # The provider's own token count may be higher: after such a refusal, retry once with a shorter prompt.
            shorter = shorten_after_refusal(request, policy, exchange)
            if shorter is None:
                raise
            return await self._dispatcher.dispatch(shorter, policy, exchange, unsettled, changes, None, opening)
        finally:
            exchange.record("dispatch", started)


class RequestCalls:
    """The model calls of one request's phases. Implements `contract.phases.GuardedCalls`."""

    __slots__ = ("_exchange", "_pipeline", "_route", "_settlement", "guarded")

    def __init__(self, pipeline: Pipeline, route: Route, exchange: Exchange, unsettled: Unsettled) -> None:
        self._pipeline = pipeline
        self._route = route
        self._exchange = exchange
        self._settlement = unsettled
        # Set after the guardrails have run on the input. Before that they only call judges, with masked text.
        self.guarded: RequestGuard

    async def ask_model(self, request: ChatRequest, model: str, *, masked: bool = False) -> Reply:
        """See `GuardedCalls.ask_model`."""
        route = self._pipeline.routes[model] if model else self._route
        reveal = None if masked else self.guarded.reveal
        return await self._pipeline.dispatch(route, request, self._exchange, self._settlement, reveal=reveal)

    async def ask_aside(self, request: ChatRequest, model: str) -> str:
        """See `GuardedCalls.ask_aside`."""
        return await self._pipeline.ask_aside(request, model, self._exchange)

    async def recheck(self, request: ChatRequest) -> ChatRequest:
        """See `GuardedCalls.recheck`."""
        request = await self.guarded.add(request)
        if self.guarded.answer is not None:
            # The caller may have read a part of the response already, so it can't be replaced.
            raise ContentBlocked("A guardrail blocked the output of a tool")
        return request

    def reveal_arguments(self, tool: str, arguments: str) -> str:
        """See `GuardedCalls.reveal_arguments`."""
        return self.guarded.reveal_arguments(tool, arguments)


def _decide_by_rule(route: Route, request: ChatRequest, exchange: Exchange) -> Decision | None:
    """The decision of the router's rules; None if no rule applies."""
    started = time.perf_counter()
    decision = route.routing.rule(request, exchange)
    if decision is not None:
        exchange.record("route", started, {"by": decision.by, "name": decision.name})
    return decision


def about(decision: Decision) -> Attributes:
    """Trace attributes of a decision: the component that decided, and the candidates with their probabilities."""
    attributes: Attributes = {"by": decision.by}
    if decision.name:
        attributes["name"] = decision.name
    if decision.model or decision.pipeline:
        attributes["to"] = decision.model or decision.pipeline
    if decision.candidates:
        attributes["candidates"] = [f"{name} {probability:.3f}" for name, probability in decision.candidates]
    return attributes


def _variant(rule_decision: Decision | None, unsettled: Unsettled) -> str:
    """What a response depends on besides the request, for the cache key.

    A response of the cheaper downgrade model is not shared with callers that may use the requested model.
    """
    variant = rule_decision.name if rule_decision is not None else ""
    model = _downgrade_model(unsettled)
    return f"{variant} downgraded to {model}" if model else variant


async def _check_output(reply: Reply, calls: RequestCalls) -> Reply:
    """Runs the guardrails that need the complete response."""
    try:
        return await calls.guarded.check(reply, calls.ask_model)
    except BaseException:
        await reply.close()
        raise


def _downgrade_model(unsettled: Unsettled) -> str:
    """The model that is used because a budget is spent; empty for none."""
    return unsettled.ticket.model if unsettled.ticket is not None else ""


def _may_use(caller: Caller, route: Route) -> bool:
    return caller.pipelines is None or route.name in caller.pipelines
