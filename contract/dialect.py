"""The seam of the dialects: one wire format in four pure directions."""

from __future__ import annotations

from typing import Protocol

import msgspec

from contract.attempt import TraceNames
from contract.deltas import Delta
from contract.endpoint import Endpoint, Unsupported
from contract.errors import GatehouseError, UpstreamError
from contract.messages import ChatRequest, DroppedParam, EmbeddingRequest, Embeddings

EVENT_STREAM = "text/event-stream"


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
    losses: tuple[DroppedParam, ...] = ()
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
        """The end of the bytes: what is left. Raises `IncompleteReply` when the dialect's own end has not been seen."""
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
    def losses(self) -> list[DroppedParam]:
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


class EmbeddingDialect(Protocol):
    """The two pure directions of an embeddings call."""

    def write_embed_request(self, request: EmbeddingRequest, options: WireOptions) -> WireRequest:
        """Raises `UnsupportedFeature`."""
        ...

    def read_embed_reply(self, body: bytes) -> Embeddings:
        """Raises `MalformedReply`."""
        ...


class Dialect(Protocol):
    """One wire format in four pure directions, plus its errors and what is peculiar to it.

    A dialect derives from this class, so that it has whatever it does not say otherwise.
    """

    name: str
    """As rows, traces and the catalog have it."""
    traced_as: TraceNames = TraceNames()
    """What a call in this dialect is in OpenTelemetry's words."""
    id_prefix: str = ""
    """What the ids of answers begin with; ours are made so where a provider gave none."""
    sign_of_life: bytes = b""
    """What may stand in a stream without meaning anything to the vendor's SDKs; empty where nothing may."""
    stream_type: str = EVENT_STREAM
    """The content type of a provider's streams, asked for and recognised by."""
    turns: str = "messages"
    """The field of a request that holds the conversation."""
    embeddings: EmbeddingDialect | None = None
    """Its embeddings side, where the vendor has one."""

    def usual_endpoint(self, base_url: str) -> Endpoint:
        """How any server of this dialect at `base_url`, without a path, takes its key: for the simulator."""
        return Endpoint(base_url)

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
