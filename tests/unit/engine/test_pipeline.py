"""The path with phases of the tests' own: whose context tells the citations, and what runs in which order."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from access.callers.keys import KeyRing
from contract.caller import Caller
from contract.deltas import ChoiceDelta, Delta
from contract.errors import UnknownModel
from contract.exchange import Exchange
from contract.messages import ChatRequest, Message, Text
from contract.passages import Passage
from contract.phases import Answer, AugmentedRequest, Context, Decision, MakesAnswer, ResponseCache, Routing
from contract.reply import OutputFilter
from contract.stock import StockReply
from contract.unsettled import Unsettled
from gateway.engine.background_calls import BackgroundCalls
from gateway.engine.noop_phases import NO_CACHE, NO_CONTEXT, NO_ROUTING, NoCache, NoRouting
from gateway.engine.pipeline import Pipeline, Route
from router.dispatch import Dispatcher
from router.policy import RoutePolicy, TargetPolicy

PASSAGE = Passage("d", "", "t", 1.0, "s:1")
REQUEST = ChatRequest(dialect="openai", model="front", messages=(Message("user", (Text("What does it print?"),)),))
POLICY = RoutePolicy("m", (TargetPolicy("p", "m"),))


class Says:
    """A filter that ends an answer with its name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def feed(self, deltas: list[Delta]) -> list[Delta]:
        return deltas

    def finish(self) -> list[Delta]:
        return [Delta((ChoiceDelta(text=f" cited by {self._name}"),))]


class Finds:
    """A context phase with one passage."""

    def __init__(self, name: str, ran: list[str]) -> None:
        self.name = name
        self._ran = ran

    async def construct(self, request: ChatRequest, exchange: Exchange, calls: object) -> AugmentedRequest:
        self._ran.append(f"context {self.name}")
        return AugmentedRequest(request, (PASSAGE,))

    async def standalone(self, request: ChatRequest, exchange: Exchange, calls: object) -> str:
        return ""

    def fit(self, request: ChatRequest, window: int) -> ChatRequest:
        return request

    def citations(self, passages: tuple[Passage, ...]) -> tuple[OutputFilter, ...]:
        return (Says(self.name),) if passages else ()


class SendsOn(NoRouting):
    """A router that decides for another pipeline."""

    def __init__(self, ran: list[str]) -> None:
        self._ran = ran

    async def decide(self, request: ChatRequest, exchange: Exchange, ask_model: object) -> Decision:
        self._ran.append("route")
        return Decision(pipeline="second")


class Shares(NoCache):
    """A cache that finds nothing."""

    def __init__(self, ran: list[str]) -> None:
        self._ran = ran

    async def lookup(self, request: ChatRequest, exchange: Exchange, variant: str = "") -> NoCache:
        self._ran.append("look up")
        return self

    async def share(self, make: MakesAnswer, unsettled: Unsettled) -> Answer:
        self._ran.append("share")
        return await make()


class Kept(NoCache):
    """A cache with the answer of a pipeline."""

    async def lookup(self, request: ChatRequest, exchange: Exchange, variant: str = "") -> Any:
        return Answer(StockReply("kept", request), (PASSAGE,), "second")


class Answers:
    """A dispatcher whose only target answers."""

    def __init__(self, ran: list[str]) -> None:
        self._ran = ran

    async def dispatch(self, request: ChatRequest, *_: object) -> StockReply:
        self._ran.append("dispatch")
        return StockReply("Pages.", request)


def asked(
    ran: list[str], cache: ResponseCache = NO_CACHE, routing: Routing = NO_ROUTING, record: Exchange | None = None
) -> str:
    """What is answered to the model `front`, whose request `record` tells of."""
    first, second = cast("Context", Finds("first", ran)), cast("Context", Finds("second", ran))
    pipelines = {
        "first": Route("first", POLICY, first),
        "second": Route("second", POLICY, second),
        "front": Route("front", POLICY, NO_CONTEXT, cache=cache, routing=routing),
    }
    routes = {"front": pipelines["front"], "plain": Route("plain", POLICY)}
    dispatcher = cast("Dispatcher", Answers(ran))
    pipeline = Pipeline(routes, KeyRing({}), dispatcher, pipelines, cast("BackgroundCalls", None))

    async def run() -> str:
        exchange = record or Exchange("test")
        exchange.caller = Caller("a")
        reply = await pipeline.handle(REQUEST, exchange, Unsettled())
        said = ""
        while (deltas := await reply.next()) is not None:
            said += "".join(choice.text for delta in deltas for choice in delta.choices)
        await reply.close()
        return said

    return asyncio.run(run())


def test_what_any_router_has_decided_is_in_the_trace() -> None:
    record = Exchange("test")
    asked([], routing=SendsOn([]), record=record)
    assert [step.attributes for step in record.steps if step.name == "route"] == [{"by": "default", "to": "second"}]
    without = Exchange("test")
    asked([], record=without)
    assert "route" not in [step.name for step in without.steps]


def test_the_route_that_answered_tells_the_citations() -> None:
    ran: list[str] = []
    assert asked(ran, Shares(ran), SendsOn(ran)) == "Pages. cited by second"
    assert ran == ["look up", "share", "route", "context second", "dispatch"]


def test_an_answer_that_is_stored_is_cited_by_the_pipeline_that_made_it() -> None:
    ran: list[str] = []
    assert asked(ran, Kept(), SendsOn(ran)) == "kept cited by second"
    assert ran == []


def test_without_a_phase_only_the_dispatch_runs() -> None:
    ran: list[str] = []
    assert asked(ran) == "Pages."
    assert ran == ["dispatch"]


def test_a_refused_model_leaves_its_cost_to_be_written_down() -> None:
    pipeline = Pipeline({}, KeyRing({}), cast("Dispatcher", None), {}, cast("BackgroundCalls", None))
    exchange, unsettled = Exchange("test"), Unsettled()
    exchange.caller = Caller("a")
    with pytest.raises(UnknownModel):
        asyncio.run(pipeline.handle(REQUEST, exchange, unsettled))
    assert unsettled.due
    assert unsettled.ticket is None
