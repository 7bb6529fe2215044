"""Tests that every kind of router must pass; the author of a router inherits them. Needs pytest.

class TestOfficeHours(RouterConformance):
    config = OfficeHoursConfig
    options = {"model": "quick"}
    decisions = [("Hello", {"model": "quick"})]
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from config.conformance import ComponentConformance
from config.routers import RouterConfig
from contract.caller import Caller
from contract.egress import DIRECT, Egress
from contract.errors import Unavailable
from contract.exchange import Exchange
from contract.messages import ChatRequest, Message, Text
from contract.phases import Decision, Routing
from contract.reply import Reply
from contract.work import WorkPool

if TYPE_CHECKING:
    from contract.embedding import Vectors

R = TypeVar("R")


@dataclass(frozen=True)
class FakeServices:
    """What a process provides to routers."""

    egress: Egress = DIRECT
    pool: WorkPool = field(default_factory=lambda: WorkPool("conformance"))
    vectors: Vectors | None = None

    def embedder(self) -> Vectors:
        """See `config.routers.RouterParts`."""
        assert self.vectors is not None, "the router needs an embedder: override `lent` and pass one"
        return self.vectors


def request(text: str) -> ChatRequest:
    """A request with one message; without messages if the text is empty."""
    messages = (Message("user", (Text(text),)),) if text else ()
    return ChatRequest(dialect="openai", model="asked", messages=messages)


async def unavailable_model(request: ChatRequest, model: str, *, masked: bool = False) -> Reply:
    """A model that is unavailable."""
    raise Unavailable(f"{model} is unavailable")


class RouterConformance(ComponentConformance):
    """`decisions` has questions, each with the expected fields of the decision."""

    config: type[RouterConfig]
    decisions: Sequence[tuple[str, Mapping[str, Any]]] = ()

    def lent(self) -> FakeServices:
        """Returns the services for the router. Override it if the router needs an embedder."""
        return FakeServices()

    def run(self, act: Callable[[Routing], Awaitable[R]]) -> R:
        """Runs `act` with a router that is ready; returns its result."""

        async def opened() -> R:
            lent = self.lent()
            router = self.read(self.options).open("entry", lent)
            try:
                await router.start()
                assert await router.ready(), router.status()
                return await act(router)
            finally:
                await router.close()
                lent.pool.close()

        return asyncio.run(opened())

    @staticmethod
    async def decide(router: Routing, text: str) -> Decision:
        """Decides as the pipeline does: rules first."""
        exchange = Exchange("conformance")
        exchange.caller = Caller("app")
        return router.rule(request(text), exchange) or await router.decide(request(text), exchange, unavailable_model)

    def test_decisions_are_as_expected(self) -> None:
        """Also when the models that it calls are unavailable."""
        for text, expected in self.decisions:

            async def act(router: Routing, text: str = text) -> Decision:
                return await self.decide(router, text)

            decision = self.run(act)
            assert {name: getattr(decision, name) for name in expected} == dict(expected)

    def test_any_request_gets_one_decision(self) -> None:
        """A decision has at most one of model, pipeline and answer; also for an empty and a very long request."""

        async def act(router: Routing) -> list[Decision]:
            texts = ("", "?", "word " * 5000, *(text for text, _ in self.decisions))
            return [await self.decide(router, text) for text in texts]

        for decision in self.run(act):
            assert sum(map(bool, (decision.model, decision.pipeline, decision.say))) <= 1
            assert decision.by

    def test_requests_are_served_before_it_is_ready(self) -> None:
        """It has been started, and may still be training."""

        async def opened() -> Decision:
            lent = self.lent()
            router = self.read(self.options).open("entry", lent)
            try:
                await router.start()
                return await self.decide(router, "Hello")
            finally:
                await router.close()
                lent.pool.close()

        assert asyncio.run(opened()).by

    def test_status_and_plan_are_readable(self) -> None:
        """`/health` shows the status, `gatehouse plan` the plan."""

        async def act(router: Routing) -> tuple[str, frozenset[str]]:
            return router.status(), router.headers

        status, headers = self.run(act)
        assert status
        assert all(name == name.lower() for name in headers)
        config = self.read(self.options)
        assert self.config.draw(config.plan())
