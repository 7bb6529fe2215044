"""The path of a request, top to bottom: `Pipeline.handle`. The order is code; what happens at each step is YAML.

    identify      who is calling                                         access
    admit         may they have this model, and is there room in their
                  limits and budgets (reserved until the end)            access
    guard input   mask, block, answer in the model's place               guardrails
    look up       the same question's answer, stored or being made       cache
    route         rules, intents, difficulty: a model, a pipeline, or an
                  answer that is there                                   router/intents
    context       passages found and put before the question, guarded    rag, guardrails
    dispatch      targets tried: retry, hedge, fall back; commit at the
                  first delta; the gateway's own tools called            router, rag, gateway/engine/tool_loop.py
    guard output  checks of the whole answer, which may ask again; then
                  the pump's filters: masked values put back last        guardrails, gateway/engine/pump.py

A phase that the config leaves out is one of `gateway/engine/absent.py`, which does nothing. The cache stores an answer
as the model gave it: the output filters run over it for each caller anew. Trace, metrics and log read the exchange
after the reply has gone; `Unsettled` holds what has to be settled then.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Protocol

import msgspec

from access.callers.keys import KeyRing, PresentedCredentials, allowed_models, unknown_model
from contract.errors import BudgetSpent, ContentBlocked, GatehouseError
from contract.guards import Guards
from contract.held import check_whole
from contract.messages import ChatRequest
from contract.phases import Answer, Context, Decision, GatewayTools, ResponseCache, Routing
from contract.prompt_tokens import prompt_tokens
from contract.stock import StockReply
from gateway.engine.absent import NO_CACHE, NO_CONTEXT, NO_GUARDS, NO_ROUTING, NO_TOOLS
from gateway.engine.pump import Pump
from gateway.engine.tool_loop import ToolReply
from router.dispatch import AS_IT_IS, Changes
from router.fitting import after_refusal, made_to_fit
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
        """The request's ticket; None where nothing limits it."""
        ...


class NoQuota:
    """Nobody is limited: stands in place of the quota."""

    async def admit(self, exchange: Exchange, request: ChatRequest | EmbeddingRequest, targets: Sequence[str]) -> None:
        """No ticket."""


NO_QUOTA = NoQuota()


class Route(msgspec.Struct, frozen=True):
    """What stands behind a model's name: the targets, and what each phase of its pipeline does."""

    name: str
    policy: RoutePolicy
    context: Context = NO_CONTEXT
    guards: Guards = NO_GUARDS
    tools: GatewayTools = NO_TOOLS
    cache: ResponseCache = NO_CACHE
    routing: Routing = NO_ROUTING

    @property
    def is_plain(self) -> bool:
        """Whether it has targets and nothing else."""
        phases = (self.context, self.guards, self.tools, self.cache, self.routing)
        return phases == (NO_CONTEXT, NO_GUARDS, NO_TOOLS, NO_CACHE, NO_ROUTING)


class Pipeline:
    """Built whole from one config by `gateway.assembly`, never changed."""

    def __init__(
        self,
        routes: Mapping[str, Route],
        keys: KeyRing,
        dispatcher: Dispatcher,
        pipelines: Mapping[str, Route],
        asides: BackgroundCalls,
        quota: Admission = NO_QUOTA,
    ) -> None:
        """`routes` by the models that are asked for; `pipelines` by their own names, for routers."""
        self.routes = routes
        self._plain = frozenset(name for name, route in routes.items() if route.is_plain)
        self._pipelines = pipelines
        self._keys = keys
        self._dispatcher = dispatcher
        self._asides = asides
        self._quota = quota
        # What rules look at: surfaces hand on no other header.
        self.headers = frozenset(header for each in pipelines.values() for header in each.routing.headers)

    async def identify(self, shown: PresentedCredentials, exchange: Exchange) -> Caller:
        """Before the body is read: raises `Unauthenticated`, `NotAllowed`, `Unavailable`."""
        caller = exchange.caller = await self._keys.identify(shown)
        exchange.user = caller.user
        return caller

    async def handle(
        self, request: ChatRequest, exchange: Exchange, unsettled: Unsettled, opening: Opening | None = None
    ) -> Pump:
        """Answers one chat request. Raises `GatehouseError`; whoever gets the reply closes it.

        `unsettled` is to be settled when all is over, also after an error. `opening` hears of a target that has begun
        before its first word.
        """
        route = await self._admit(request, exchange, unsettled)
        exchange.stream = request.stream
        if request.model in self._plain:
            return Pump(await self.dispatch(route, request, exchange, unsettled, opening), (), exchange)
        if request.extra:
            check_whole(request)
        calls = RequestCalls(self, route, exchange, unsettled)
        guarded = calls.guarded = await route.guards.open(request, exchange, calls.ask_model)
        if guarded.answer is not None:
            return Pump(guarded.answer, guarded.filters(), exchange)
        # Rules look at the request from outside, in microseconds: answers of different rules are not shared.
        rule_decision = _decide_by_rule(route, guarded.request, exchange)
        found = await route.cache.lookup(guarded.request, exchange, _variant(rule_decision, unsettled))
        if not isinstance(found, Answer) and found.lacks_question:
            found = await found.compare(await route.context.standalone(guarded.request, exchange, calls))

        async def make() -> Answer:
            chosen = await self._resolve_route(route, rule_decision, guarded.request, exchange, unsettled, calls)
            if isinstance(chosen, StockReply):
                return Answer(chosen)
            augmented = await chosen.context.construct(guarded.request, exchange, calls)
            final = await guarded.add(augmented.request)
            if guarded.answer is not None:
                return Answer(guarded.answer)
            reply = await self._answer(chosen, final, exchange, unsettled, opening, calls)
            return Answer(await _checked(reply, calls), augmented.passages, chosen.name)

        answer = found if isinstance(found, Answer) else await found.share(make, unsettled)
        # Places in the answer are those of the text that the caller reads: after all that changes it.
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
        """The route that the router has decided on: another model's, another pipeline's, or an answer that is there."""
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
        """A target's answer; with tools of the pipeline's own, as many answers as it takes, read as one."""
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
        """Answers one request for embeddings. Raises `GatehouseError`. `unsettled`: see `handle`."""
        route = await self._admit(request, exchange, unsettled)
        if _downgrade_model(unsettled):
            raise BudgetSpent("The budget is spent, and no other model can make these embeddings")
        request = await route.guards.embed(request, exchange)
        started = time.perf_counter()
        try:
            return await self._dispatcher.embed(request, route.policy, exchange, unsettled)
        finally:
            exchange.record("dispatch", started)

    async def ask_aside(self, request: ChatRequest, model: str, cause: Exchange) -> str:
        """What `model` says to a question that `cause` does not wait for."""
        return await self._asides.ask(request, self.routes[model].policy, "judge of context", cause)

    def models(self, caller: Caller) -> list[str]:
        """The models that `caller` may ask for."""
        return allowed_models(caller, [name for name, route in self.routes.items() if _open_to(caller, route)])

    def route_of(self, model: str, exchange: Exchange) -> Route:
        """Where `model` leads, if the caller may have it: raises `UnknownModel`. Nothing is reserved."""
        started = time.perf_counter()
        caller = exchange.caller
        if caller is None:
            raise RuntimeError("identify comes before handle")
        exchange.model = model
        route = self.routes.get(model)
        if route is None or (caller.models is not None and model not in caller.models) or not _open_to(caller, route):
            raise unknown_model(model, self.models(caller))
        exchange.route = route.name
        exchange.record("admit", started)
        return route

    async def _admit(self, request: ChatRequest | EmbeddingRequest, exchange: Exchange, unsettled: Unsettled) -> Route:
        """The route, with another model's targets where a spent budget leads to it. Raises `GatehouseError`."""
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
        """The answer of one of the route's targets. `reveal` makes the request as a trusted one gets it."""
        started = time.perf_counter()
        policy, size, fit = route.policy, None, None
        if unsettled.ticket is not None:
            request = unsettled.ticket.bounded(request)
        # Counting costs time: only where a target says how much it takes.
        if policy.windows:
            fit = route.context.fit
            # What counts is what must go: passages may be left out.
            size = prompt_tokens(fit(request, 0))
            request, size = made_to_fit(request, size, policy, exchange)
        changes = AS_IT_IS if reveal is None and fit is None else Changes(reveal, fit)
        try:
            return await self._dispatcher.dispatch(request, policy, exchange, unsettled, changes, size, opening)
        except GatehouseError:
            # A provider counts for itself: once more with less, if that was all.
            shorter = after_refusal(request, policy, exchange)
            if shorter is None:
                raise
            return await self._dispatcher.dispatch(shorter, policy, exchange, unsettled, changes, None, opening)
        finally:
            exchange.record("dispatch", started)


class RequestCalls:
    """Of one request. Implements `contract.phases.GuardedCalls`."""

    __slots__ = ("_exchange", "_pipeline", "_route", "_settlement", "guarded")

    def __init__(self, pipeline: Pipeline, route: Route, exchange: Exchange, unsettled: Unsettled) -> None:
        self._pipeline = pipeline
        self._route = route
        self._exchange = exchange
        self._settlement = unsettled
        # Set once the guardrails are open. Until then they ask judges, which see masked text only.
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
            # The caller may have read words already: no other answer can take their place.
            raise ContentBlocked("What a tool said was blocked by a guardrail")
        return request

    def reveal_arguments(self, tool: str, arguments: str) -> str:
        """See `GuardedCalls.reveal_arguments`."""
        return self.guarded.reveal_arguments(tool, arguments)


def _decide_by_rule(route: Route, request: ChatRequest, exchange: Exchange) -> Decision | None:
    """What the router's rules say of the request; None where none applies."""
    started = time.perf_counter()
    decision = route.routing.rule(request, exchange)
    if decision is not None:
        exchange.record("route", started, {"by": decision.by, "name": decision.name})
    return decision


def about(decision: Decision) -> Attributes:
    """For the trace: what decided, and how likely what was."""
    told: Attributes = {"by": decision.by}
    if decision.name:
        told["name"] = decision.name
    if decision.model or decision.pipeline:
        told["to"] = decision.model or decision.pipeline
    if decision.candidates:
        told["candidates"] = [f"{name} {likely:.3f}" for name, likely in decision.candidates]
    return told


def _variant(rule_decision: Decision | None, unsettled: Unsettled) -> str:
    """What an answer depends on beside its request: what a cheaper model says is not given to those who may ask
    the other one.
    """
    variant = rule_decision.name if rule_decision is not None else ""
    model = _downgrade_model(unsettled)
    return f"{variant} downgraded to {model}" if model else variant


async def _checked(reply: Reply, calls: RequestCalls) -> Reply:
    """The reply under the guardrails that need the whole of it."""
    try:
        return await calls.guarded.check(reply, calls.ask_model)
    except BaseException:
        await reply.close()
        raise


def _downgrade_model(unsettled: Unsettled) -> str:
    """The model that answers because a budget is spent; empty for none."""
    return unsettled.ticket.model if unsettled.ticket is not None else ""


def _open_to(caller: Caller, route: Route) -> bool:
    return caller.pipelines is None or route.name in caller.pipelines
