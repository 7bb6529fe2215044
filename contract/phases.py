"""The seams of the phases: context, routing, recall, and the gateway's own tools."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

import msgspec

from contract.exchange import Exchange
from contract.guards import AskAgain
from contract.messages import ChatRequest, Tool
from contract.passages import Passage
from contract.reply import OutputFilter, Reply
from contract.unsettled import Unsettled


class AugmentedRequest(msgspec.Struct, frozen=True):
    """A request with its context: the passages in it by their numbers from 1."""

    request: ChatRequest
    passages: tuple[Passage, ...] = ()


class GuardedCalls(Protocol):
    """What a phase may ask for a request on its way, under the request's guardrails."""

    async def ask_model(self, request: ChatRequest, model: str, *, masked: bool = False) -> Reply:
        """`model` by its name, empty for the request's own. `masked`: even a trusted target sees tags only."""
        ...

    async def ask_aside(self, request: ChatRequest, model: str) -> str:
        """Asks a masked question that the request does not wait for: it has a row of its own."""
        ...

    async def recheck(self, request: ChatRequest) -> ChatRequest:
        """The request with what was added to it, guarded too. Raises `ContentBlocked`."""
        ...

    def reveal_arguments(self, tool: str, arguments: str) -> str:
        """A call's arguments (JSON) with the caller's own values, if that tool may have them."""
        ...


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

    async def decide(self, request: ChatRequest, exchange: Exchange, ask_model: AskAgain) -> Decision:
        """What the request's words say. `ask_model` gives a second opinion."""
        ...


class Answer(msgspec.Struct, frozen=True):
    """An answer, the passages that it was made from, and the pipeline that found them."""

    reply: Reply
    passages: tuple[Passage, ...] = ()
    pipeline: str = ""


MakesAnswer: TypeAlias = Callable[[], Awaitable[Answer]]


class Miss(Protocol):
    """No answer is there yet for a request: the place where it will be."""

    lacks_question: bool
    """Whether `compare` may find the answer to a similar question, once the request's own stands alone."""

    async def compare(self, question: str) -> Answer | Miss:
        """What is there for `question`, the last one of a conversation as it would be asked by itself, or empty."""
        ...

    async def share(self, make: MakesAnswer, unsettled: Unsettled) -> Answer:
        """What `make` makes, once for all equal requests. Raises as `make`. The call may outlast this request."""
        ...


Found: TypeAlias = Answer | Miss


class ResponseCache(Protocol):
    """The cache of one pipeline: answers that were given before, to those who may have them."""

    async def lookup(self, request: ChatRequest, exchange: Exchange, variant: str = "") -> Answer | Miss:
        """An answer that is stored or being made, else the place for a new one. `request` as it was masked.

        `variant` names what else the answer depends on: answers of different variants are not shared.
        """
        ...


class Context(Protocol):
    """The context phase of one pipeline: finds what the request needs and puts it in."""

    async def construct(self, request: ChatRequest, exchange: Exchange, calls: GuardedCalls) -> AugmentedRequest:
        """The request with its context; the one given when there is nothing to add. Records the step."""
        ...

    async def standalone(self, request: ChatRequest, exchange: Exchange, calls: GuardedCalls) -> str:
        """The last question of a conversation as a model has made it stand alone; empty where none has."""
        ...

    def fit(self, request: ChatRequest, window: int) -> ChatRequest:
        """The request with as many of its passages as a window of so many tokens holds."""
        ...

    def citations(self, passages: tuple[Passage, ...]) -> tuple[OutputFilter, ...]:
        """What tells at an answer's end which of `passages` it cites; empty where there are none."""
        ...


class GatewayTools(Protocol):
    """Tools of the gateway's own, which only read, for one pipeline."""

    steps: int
    """How often a model may call before it has to answer."""
    definitions: tuple[Tool, ...]
    """What they are, for models."""

    def offer(self, request: ChatRequest) -> tuple[ChatRequest, frozenset[str]]:
        """The request with the tools, and their names; a tool of the caller's with the same name is the caller's."""
        ...

    def only(self, names: tuple[str, ...]) -> GatewayTools:
        """Those of these names in the config, and no others."""
        ...

    async def call(self, name: str, arguments: str, exchange: Exchange) -> str:
        """What a tool says to `arguments` (JSON); a failure is said in words. Never raises."""
        ...
