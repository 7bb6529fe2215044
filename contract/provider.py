"""The interface of providers: a dialect with credentials."""

from __future__ import annotations

from typing import Protocol

import msgspec

from contract.attempt import Attempt
from contract.endpoint import Unsupported
from contract.messages import ChatRequest, EmbeddingRequest, Embeddings
from contract.patience import Timeouts
from contract.reply import Reply
from contract.unsettled import Transcript


class UpstreamCall(msgspec.Struct, frozen=True):
    """The options of one attempt. The provider records status, key and dropped fields on `attempt`.

    `transcript` receives the text of a response that is not read as deltas. `thinks`: the first token may take minutes.
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


class Provider(Protocol):
    """A dialect with credentials."""

    name: str
    dialect: str
    trusted: bool

    async def open(self, request: ChatRequest, call: UpstreamCall) -> Reply:
        """Sends the request; returns after a successful response status. Raises `UpstreamError`."""
        ...

    async def embed(self, request: EmbeddingRequest, call: UpstreamCall) -> Embeddings:
        """Raises `UpstreamError`, or `UnsupportedFeature` if this provider has no embeddings."""
        ...

    async def close(self) -> None:
        """Closes every connection."""
        ...
