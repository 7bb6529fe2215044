"""The interfaces of the phases: context, routing, cache, and the gateway's own tools."""

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
    """A request with its context; passages are numbered from 1."""

    request: ChatRequest
    passages: tuple[Passage, ...] = ()


class GuardedCalls(Protocol):
    """Calls that a phase may make for a request, under the request's guardrails."""

    async def ask_model(self, request: ChatRequest, model: str, *, masked: bool = False) -> Reply:
        """`model` is a name; empty for the request's model. `masked`: even a trusted target gets only tags."""
        ...

    async def ask_aside(self, request: ChatRequest, model: str) -> str:
        """Makes a masked call in the background, which has its own row in the ledger; returns the text."""
        ...

    async def recheck(self, request: ChatRequest) -> ChatRequest:
        """Checks what was added to the request; returns the guarded one. Raises `ContentBlocked`."""
        ...

    def reveal_arguments(self, tool: str, arguments: str) -> str:
        """The arguments of a tool call (JSON) with the caller's original values, if the tool may receive them."""
        ...


class Decision(msgspec.Struct, frozen=True):
    """A routing decision with its reason. At most one of `model`, `pipeline` and `say` is not empty.

    `by` is the reason: `rule`, `intent`, `unsure`, `out of scope`, `ambiguous`, `difficulty` or `default`; `name` is
    the name of the rule or intent. `human` means that a person takes over. `tools` are the tools to offer; None: all.
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
    """The request headers that rules read, in lower case."""

    async def start(self) -> None:
        """Starts background work. Requests arrive at once: before training ends, the router can't decide by intent."""
        ...

    async def close(self) -> None:
        """Stops background work."""
        ...

    def status(self) -> str:
        """One line for people."""
        ...

    async def ready(self) -> bool:
        """Waits until it is fully working; returns False if it never will be: its status has the reason."""
        ...

    def rule(self, request: ChatRequest, exchange: Exchange) -> Decision | None:
        """The decision of the first matching rule, in microseconds; None if no rule matches."""
        ...

    async def decide(self, request: ChatRequest, exchange: Exchange, ask_model: AskAgain) -> Decision:
        """The decision by the request's content. `ask_model` gives a second opinion."""
        ...


class Answer(msgspec.Struct, frozen=True):
    """A response, the passages in its context, and the pipeline that retrieved them."""

    reply: Reply
    passages: tuple[Passage, ...] = ()
    pipeline: str = ""


MakesAnswer: TypeAlias = Callable[[], Awaitable[Answer]]


class Miss(Protocol):
    """A cache miss: the place where the response will be stored."""

    lacks_question: bool
    """Whether `compare` may find the response to a similar question, once the question is rewritten as standalone."""

    async def compare(self, question: str) -> Answer | Miss:
        """Looks up `question`, the last question of a conversation rewritten as standalone; may be empty."""
        ...

    async def share(self, make: MakesAnswer, unsettled: Unsettled) -> Answer:
        """Returns the result of `make`, called once for all equal requests. Raises as `make`. The call may outlast
        this request.
        """
        ...


Found: TypeAlias = Answer | Miss


class ResponseCache(Protocol):
    """The response cache of one pipeline, isolated by the cache's scope."""

    async def lookup(self, request: ChatRequest, exchange: Exchange, variant: str = "") -> Answer | Miss:
        """Returns a stored or pending response, else the place for a new one. `request` is the masked request.

        `variant` identifies what else the response depends on: responses of different variants are not shared.
        """
        ...


class Context(Protocol):
    """The context phase of one pipeline: retrieves context and adds it to the request."""

    async def construct(self, request: ChatRequest, exchange: Exchange, calls: GuardedCalls) -> AugmentedRequest:
        """The request with its context; unchanged if there is nothing to add. Records the step."""
        ...

    async def standalone(self, request: ChatRequest, exchange: Exchange, calls: GuardedCalls) -> str:
        """The last question of a conversation, rewritten as standalone by a model; empty if no model does that."""
        ...

    def fit(self, request: ChatRequest, window: int) -> ChatRequest:
        """The request with as many of its passages as fit a window of `window` tokens."""
        ...

    def citations(self, passages: tuple[Passage, ...]) -> tuple[OutputFilter, ...]:
        """Filters that add the cited `passages` at the end of a response; empty if there are none."""
        ...


class GatewayTools(Protocol):
    """The gateway's read-only tools of one pipeline."""

    steps: int
    """How many rounds of calls a model may make before it has to answer."""
    definitions: tuple[Tool, ...]
    """The definitions of the tools, for models."""

    def offer(self, request: ChatRequest) -> tuple[ChatRequest, frozenset[str]]:
        """The request with the tools, and their names. A caller's tool with the same name takes precedence."""
        ...

    def only(self, names: tuple[str, ...]) -> GatewayTools:
        """The tools with these names in the config only."""
        ...

    async def call(self, name: str, arguments: str, exchange: Exchange) -> str:
        """Calls a tool with `arguments` (JSON); returns its result or an error message as text. Never raises."""
        ...
