"""The seams: what a dialect, a reply and a provider are. No class here does anything."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, Protocol, TypeAlias

import msgspec
from contract.attempt import Attempt

from contract.deltas import Delta
from contract.errors import GatehouseError, UpstreamError
from contract.exchange import Exchange
from contract.guards import Again
from contract.messages import ChatRequest, EmbeddingRequest, Embeddings, Loss, Tool
from contract.passages import Passage
from contract.patience import Timeouts
from contract.unsettled import Transcript, Unsettled

Unsupported = Literal["drop", "refuse"]


class WireOptions(msgspec.Struct, frozen=True):
    """How a request is to be written: the upstream's model id, streamed or not, and what to do with what can't be said.

    `version` is the provider's API version; `native` says that it is the vendor's own server and not a compatible one;
    `prompt_cache` that marks are to be placed where the vendor keeps prefixes up to a mark. `max_tokens` is the name of
    the bound of an OpenAI answer; empty: as `native` says. `nine_letter_ids`: ids of tool calls are to be of nine.
    """

    model: str
    stream: bool
    version: str = ""
    unsupported: Unsupported = "drop"
    native: bool = True
    prompt_cache: bool = False
    max_tokens: str = ""
    nine_letter_ids: bool = False


class WireRequest(msgspec.Struct, frozen=True):
    """A request as bytes: the path below the provider's base URL, further headers, and what was lost in writing it.

    `lists` are headers of this request alone, to be joined with the provider's own; `names` the caller's names of tools
    by those that were sent in their place.
    """

    path: str
    body: bytes
    headers: dict[str, str] = {}
    losses: tuple[Loss, ...] = ()
    lists: dict[str, tuple[str, ...]] = {}
    names: dict[str, str] = {}


class InboundCall(msgspec.Struct, frozen=True):
    """What an HTTP request says beside its body: a model and streaming in the path (Gemini), an API version."""

    model: str = ""
    stream: bool = False
    version: str = ""


class ReplyReader(Protocol):
    """Bytes of a provider in, deltas out. Pure and incremental: any split of the bytes gives the same deltas.

    Terminal markers (`[DONE]`, `message_stop`) are not deltas.
    """

    def feed(self, data: bytes) -> list[Delta]:
        """The deltas completed by `data`. Raises `UpstreamError` for an error event or for what can't be read."""
        ...

    def finish(self) -> list[Delta]:
        """The end of the bytes: what is left. Raises `CutShort` when the dialect's own end has not been seen."""
        ...

    def unread(self) -> str | None:
        """The words in what came and was not given as deltas, for an answer that broke off; None where nothing came."""
        ...

    @property
    def done(self) -> bool:
        """Whether the dialect's own end has been seen, so that nothing further need be waited for."""
        ...


class ReplyWriter(Protocol):
    """Deltas in, bytes for the caller out. For a whole answer `feed` collects and `finish` gives the body."""

    content_type: str

    @property
    def losses(self) -> list[Loss]:
        """What of the answer the dialect could not say, known at its end."""
        ...

    def opening(self, delta: Delta) -> bytes:
        """A frame for a stream that has begun without a word: says nothing, binds to nothing. Empty: there is none."""
        ...

    def feed(self, deltas: list[Delta]) -> bytes:
        """What can be sent now; may be empty."""
        ...

    def finish(self) -> bytes:
        """The clean end."""
        ...

    def fail(self, error: GatehouseError, request_id: str) -> bytes:
        """The dialect's error event in a stream that has begun. Never a clean end."""
        ...


class Dialect(Protocol):
    """One wire format in four pure directions, plus its errors."""

    name: str

    def read_request(self, body: bytes, call: InboundCall) -> ChatRequest:
        """Raises `InvalidRequest` naming the field."""
        ...

    def write_request(self, request: ChatRequest, options: WireOptions) -> WireRequest:
        """Raises `UnsupportedFeature` when the policy is to refuse what can't be said."""
        ...

    def reply_reader(self, *, stream: bool) -> ReplyReader:
        """A reader for one reply."""
        ...

    def reply_writer(self, request: ChatRequest, *, reply_id: str, raw: bool, opened: bool = False) -> ReplyWriter:
        """A writer for one reply, streamed as the request says. `raw` allows forwarding the deltas' raw bytes;
        `opened` says that another writer's `opening` has gone out.
        """
        ...

    def read_error(self, status: int, headers: dict[str, str], body: bytes) -> UpstreamError:
        """A provider's answer of status >= 400 as an error. Header names are in lower case."""
        ...

    def write_error(self, error: GatehouseError, request_id: str) -> bytes:
        """The body of an error answer."""
        ...


class UpstreamCall(msgspec.Struct, frozen=True):
    """How to make one attempt. The provider records status, key and losses on `attempt`.

    `transcript` takes the words of an answer that is not read as deltas. `thinks`: the first word may take minutes.
    """

    model: str
    stream: bool
    timeouts: Timeouts
    attempt: Attempt
    transcript: Transcript
    traceparent: str = ""
    tracestate: str = ""
    unsupported: Unsupported | None = None
    thinks: bool = False


class Reply(Protocol):
    """An answer under way: an async stream of batches of deltas, with an owner that closes it.

    `streamed` says whether its deltas are a stream's events or one whole body.
    """

    dialect: str
    streamed: bool

    async def next(self) -> list[Delta] | None:
        """The next deltas, or None at the clean end. Raises `UpstreamError` when the answer breaks off or stalls."""
        ...

    async def close(self) -> None:
        """Lets go of the upstream call at once. Idempotent."""
        ...


class Provider(Protocol):
    """A dialect with credentials."""

    name: str
    dialect: str
    trusted: bool

    async def open(self, request: ChatRequest, call: UpstreamCall) -> Reply:
        """Sends the request and returns once the provider has answered with success. Raises `UpstreamError`."""
        ...

    async def embed(self, request: EmbeddingRequest, call: UpstreamCall) -> Embeddings:
        """Raises `UpstreamError`, or `UnsupportedFeature` when this provider has no embeddings."""
        ...

    async def close(self) -> None:
        """Closes every connection."""
        ...


class OutputFilter(Protocol):
    """One step of the output, stateful, for one reply. A delta that it changes is a new one, without `raw`."""

    def feed(self, deltas: list[Delta]) -> list[Delta]:
        """What may go on now; the rest is held back."""
        ...

    def finish(self) -> list[Delta]:
        """What was held back, at the clean end. Raises `GatehouseError` to end the reply otherwise."""
        ...


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
    """The routing phase of one pipeline."""

    headers: frozenset[str]
    """The request's headers that rules look at, in small letters."""

    def rule(self, request: ChatRequest, exchange: Exchange) -> Decision | None:
        """What the rules say, which look at the request's outside, in microseconds. None where none applies."""
        ...

    async def decide(self, request: ChatRequest, exchange: Exchange, ask_model: Again) -> Decision:
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


class Recall(Protocol):
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
