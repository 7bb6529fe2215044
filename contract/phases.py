"""The seams of the phases: context, routing, recall, and the gateway's own tools."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from contract.exchange import Exchange
from contract.guards import Again
from contract.messages import ChatRequest, Tool
from contract.passages import Passage
from contract.reply import OutputFilter, Reply


class Constructed(msgspec.Struct, frozen=True):
    """A request with its context: the passages in it by their numbers from 1."""

    request: ChatRequest
    passages: tuple[Passage, ...] = ()


class UnderGuard(msgspec.Struct, frozen=True):
    """What may be done for a request on its way, by its guardrails: another question, a call of a tool.

    `guard` takes a request with what was added to it, `reveal_arguments` a tool's name and its arguments (JSON).
    """

    again: Again
    guard: Callable[[ChatRequest], Awaitable[ChatRequest]]
    reveal_arguments: Callable[[str, str], str]
    aside: Callable[[ChatRequest, str], Awaitable[str]] | None = None
    """Asks a masked question that the request does not wait for: it may be over by then, and has a row of its own."""


class Decision(msgspec.Struct, frozen=True):
    """Where a request goes, and why. At most one of `model`, `pipeline` and `say` is not empty.

    `by` is what decided: `rule`, `intent`, `unsure`, `out of scope`, `ambiguous`, `difficulty` or `default`; `name` is
    the rule's or the intent's. `human` says that a person is to take over. `tools` are the only ones to be offered;
    None: all.
    """

    by: str = "default"
    name: str = ""
    model: str = ""
    pipeline: str = ""
    say: str = ""
    human: bool = False
    tools: tuple[str, ...] | None = None
    candidates: tuple[tuple[str, float], ...] = ()


class Routing(Protocol):
    """A router: the routing phase of the pipelines that name it. It is started once, and closed with its engine."""

    headers: frozenset[str]
    """The request's headers that rules look at, in small letters."""

    async def start(self) -> None:
        """Begins whatever goes on in the background. Requests come at once: until it has learned, it is unsure."""
        ...

    async def close(self) -> None:
        """Ends that."""
        ...

    def status(self) -> str:
        """One line for people."""
        ...

    async def ready(self) -> bool:
        """Waits until it decides as it is meant to; False where it never will: its status says why."""
        ...

    def rule(self, request: ChatRequest, exchange: Exchange) -> Decision | None:
        """What the rules say, which look at the request's outside, in microseconds. None where none applies."""
        ...

    async def decide(self, request: ChatRequest, exchange: Exchange, again: Again) -> Decision:
        """What the request's words say. `again` asks a model for a second opinion."""
        ...


class Made(msgspec.Struct, frozen=True):
    """An answer, and the passages that it was made from."""

    reply: Reply
    passages: tuple[Passage, ...] = ()


class Recall(Protocol):
    """The recall phase of one pipeline: answers that were given before, to those who may have them."""

    async def recall(
        self,
        request: ChatRequest,
        exchange: Exchange,
        make: Callable[[], Awaitable[Made]],
        variant: str = "",
        standalone: Callable[[], Awaitable[str]] | None = None,
    ) -> Made:
        """An answer that is kept or under way, else what `make` makes. `request` as it was masked; raises as `make`.

        `variant` names what else the answer depends on: answers of different variants are not shared. `standalone`
        gives the last question of a conversation as it would be asked by itself, or an empty text.
        """
        ...


class Context(Protocol):
    """The context phase of one pipeline: finds what the request needs and puts it in."""

    async def construct(self, request: ChatRequest, exchange: Exchange, under: UnderGuard) -> Constructed:
        """The request with its context; the one given when there is nothing to add."""
        ...

    async def standalone(self, request: ChatRequest, exchange: Exchange, under: UnderGuard) -> str:
        """The last question of a conversation as a model has made it stand alone; empty where none has."""
        ...

    def fit(self, request: ChatRequest, window: int) -> ChatRequest:
        """The request with as many of its passages as a window of so many tokens holds."""
        ...

    def citations(self, passages: tuple[Passage, ...]) -> OutputFilter:
        """Tells at an answer's end what of `passages` it cites."""
        ...


class OwnTools(Protocol):
    """Tools of the gateway's own, which only read, for one pipeline."""

    steps: int
    """How often a model may call before it has to answer."""
    definitions: tuple[Tool, ...]
    """What they are, for models."""

    def offer(self, request: ChatRequest) -> tuple[ChatRequest, frozenset[str]]:
        """The request with the tools, and their names; a tool of the caller's with the same name is the caller's."""
        ...

    def only(self, names: tuple[str, ...]) -> OwnTools:
        """Those of these names in the config, and no others."""
        ...

    async def call(self, name: str, arguments: str, exchange: Exchange) -> str:
        """What a tool says to `arguments` (JSON); a failure is said in words. Never raises."""
        ...
