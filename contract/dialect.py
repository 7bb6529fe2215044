"""The interface of dialects: read and write requests and responses of one wire format, without I/O."""

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
    """How to write a request: the upstream's model id, whether to stream, and what to do with unsupported fields.

    `version` is the provider's API version; `native` means the vendor's own server, not a compatible one;
    `prompt_cache` sets cache marks for vendors that cache prefixes up to a mark. `max_tokens` is the name of the output
    limit in OpenAI's format; empty: as `native` implies. `nine_letter_ids`: tool call ids must have nine characters.
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
    """A request as bytes: the path below the provider's base URL, extra headers, and dropped fields.

    `lists` are list headers of this request, to be joined with the provider's own; `names` maps the sent names of tools
    to the caller's names.
    """

    path: str
    body: bytes
    headers: dict[str, str] = {}
    losses: tuple[DroppedParam, ...] = ()
    lists: dict[str, tuple[str, ...]] = {}
    names: dict[str, str] = {}


class InboundCall(msgspec.Struct, frozen=True):
    """What an HTTP request specifies outside its body: model and streaming in the path (Gemini), the API version."""

    model: str = ""
    stream: bool = False
    version: str = ""


class ReplyReader(Protocol):
    """Converts bytes of a provider to deltas. Incremental: any split of the bytes gives the same deltas.

    Terminal markers (`[DONE]`, `message_stop`) are not deltas.
    """

    def feed(self, data: bytes) -> list[Delta]:
        """The deltas completed by `data`. Raises `UpstreamError` for an error event or malformed data."""
        ...

    def finish(self) -> list[Delta]:
        """The remaining deltas at the end of the bytes. Raises `IncompleteReply` without the dialect's end marker."""
        ...

    def unread(self) -> str | None:
        """Text of an interrupted response that was received but not returned as deltas; None if there is none."""
        ...

    @property
    def done(self) -> bool:
        """Whether the dialect's end marker was read, so that no more data is expected."""
        ...


class ReplyWriter(Protocol):
    """Converts deltas to bytes for the caller. Without streaming `feed` collects, and `finish` returns the body."""

    content_type: str

    @property
    def losses(self) -> list[DroppedParam]:
        """Parts of the response that the dialect does not support, known at its end."""
        ...

    def opening(self, delta: Delta) -> bytes:
        """A first frame without content, for a stream without content so far; empty if the dialect has none."""
        ...

    def feed(self, deltas: list[Delta]) -> bytes:
        """The bytes that can be sent now; may be empty."""
        ...

    def finish(self) -> bytes:
        """The bytes of the clean end."""
        ...

    def fail(self, error: GatehouseError, request_id: str) -> bytes:
        """The dialect's error event in a started stream. Never a clean end."""
        ...


class EmbeddingDialect(Protocol):
    """Writes requests and reads responses of an embeddings API."""

    def write_embed_request(self, request: EmbeddingRequest, options: WireOptions) -> WireRequest:
        """Raises `UnsupportedFeature`."""
        ...

    def read_embed_reply(self, body: bytes) -> Embeddings:
        """Raises `MalformedReply`."""
        ...


class Dialect(Protocol):
    """One wire format: read and write requests and responses, plus its errors and special properties.

    A dialect derives from this class, and so inherits the defaults.
    """

    name: str
    """The name in the ledger, in traces and in the catalog."""
    traced_as: TraceNames = TraceNames()
    """OpenTelemetry's names for a call in this dialect."""
    id_prefix: str = ""
    """The prefix of response ids; used for generated ids if a provider sends none."""
    sign_of_life: bytes = b""
    """A keep-alive frame that the vendor's SDKs ignore; empty if there is none."""
    stream_type: str = EVENT_STREAM
    """The content type of a provider's streams, for the request and to recognise a stream."""
    turns: str = "messages"
    """The field of a request that has the conversation."""
    embeddings: EmbeddingDialect | None = None
    """The dialect of its embeddings API, if the vendor has one."""

    def usual_endpoint(self, base_url: str) -> Endpoint:
        """The endpoint of a server of this dialect at `base_url` (without a path): for the simulator."""
        return Endpoint(base_url)

    def read_request(self, body: bytes, call: InboundCall) -> ChatRequest:
        """Raises `InvalidRequest` naming the field."""
        ...

    def write_request(self, request: ChatRequest, options: WireOptions) -> WireRequest:
        """Raises `UnsupportedFeature` if the policy is to refuse unsupported fields."""
        ...

    def reply_reader(self, *, stream: bool) -> ReplyReader:
        """A reader for one reply."""
        ...

    def reply_writer(self, request: ChatRequest, *, reply_id: str, raw: bool, opened: bool = False) -> ReplyWriter:
        """A writer for one reply, streamed if the request asks for it. `raw` allows forwarding the deltas' raw bytes;
        `opened` means that another writer's `opening` was already sent.
        """
        ...

    def read_error(self, status: int, headers: dict[str, str], body: bytes) -> UpstreamError:
        """Converts a provider's response with status >= 400 to an error. Header names are in lower case."""
        ...

    def write_error(self, error: GatehouseError, request_id: str) -> bytes:
        """The body of an error response."""
        ...
