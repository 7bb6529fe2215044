"""What every kind of router keeps, as tests that its author inherits. This needs pytest.

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
    """What a process lends to routers."""

    egress: Egress = DIRECT
    pool: WorkPool = field(default_factory=lambda: WorkPool("conformance"))
    vectors: Vectors | None = None

    def embedder(self) -> Vectors:
        """See `config.routers.RouterParts`."""
        assert self.vectors is not None, "give the embedder that the router asks for: override `lent`"
        return self.vectors


def request(text: str) -> ChatRequest:
    """A request of one message; of none where there is no text."""
    messages = (Message("user", (Text(text),)),) if text else ()
    return ChatRequest(dialect="openai", model="asked", messages=messages)


async def nobody(request: ChatRequest, model: str, *, masked: bool = False) -> Reply:
    """A model that is away."""
    raise Unavailable(f"{model} is away")


class RouterConformance(ComponentConformance):
    """`decisions`: questions, with what the decision on each has."""

    config: type[RouterConfig]
    decisions: Sequence[tuple[str, Mapping[str, Any]]] = ()

    def lent(self) -> FakeServices:
        """Override it where the router needs an embedder."""
        return FakeServices()

    def run(self, act: Callable[[Routing], Awaitable[R]]) -> R:
        """What `act` gives for a router that is ready."""

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
        """As the pipeline does: the rules first."""
        exchange = Exchange("conformance")
        exchange.caller = Caller("app")
        return router.rule(request(text), exchange) or await router.decide(request(text), exchange, nobody)

    def test_it_decides_as_it_should(self) -> None:
        """Whatever goes wrong with models that it asks."""
        for text, expected in self.decisions:

            async def act(router: Routing, text: str = text) -> Decision:
                return await self.decide(router, text)

            decision = self.run(act)
            assert {name: getattr(decision, name) for name in expected} == dict(expected)

    def test_any_request_gets_one_decision(self) -> None:
        """At most one of a model, a pipeline and an answer; a request without words, and a very long one, too."""

        async def act(router: Routing) -> list[Decision]:
            texts = ("", "?", "word " * 5000, *(text for text, _ in self.decisions))
            return [await self.decide(router, text) for text in texts]

        for decision in self.run(act):
            assert sum(map(bool, (decision.model, decision.pipeline, decision.say))) <= 1
            assert decision.by

    def test_before_it_is_ready_requests_are_served(self) -> None:
        """It has been started, and may still be learning."""

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

    def test_people_read_how_it_is(self) -> None:
        """In /health, and in `gatehouse plan`."""

        async def act(router: Routing) -> tuple[str, frozenset[str]]:
            return router.status(), router.headers

        status, headers = self.run(act)
        assert status
        assert all(name == name.lower() for name in headers)
        config = self.read(self.options)
        assert self.config.draw(config.plan())
