"""Where and how a provider is reached, and the seams of a remote provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway.providers.http import MAX_ANSWER_BYTES

if TYPE_CHECKING:
    from contract.dialect import Unsupported, WireOptions, WireRequest
    from contract.errors import UpstreamError
    from contract.messages import EmbeddingRequest, Embeddings


class Settle(Protocol):
    """What a provider does with an error of its answer before anybody else sees it."""

    def __call__(self, error: UpstreamError, *, answered: bool) -> UpstreamError:
        """`answered`: the answer had begun."""
        ...


class EmbeddingDialect(Protocol):
    """The two pure directions of an embeddings call."""

    def write_embed_request(self, request: EmbeddingRequest, options: WireOptions) -> WireRequest:
        """Raises `UnsupportedFeature`."""
        ...

    def read_embed_reply(self, body: bytes) -> Embeddings:
        """Raises `MalformedReply`."""
        ...


class Endpoint(msgspec.Struct, frozen=True):
    """Where and how a provider is reached. `auth` is the header of the key, `scheme` what stands before it."""

    base_url: str
    auth: str = "authorization"
    scheme: str = "Bearer "
    headers: dict[str, str] = {}
    version: str = ""
    native: bool = True
    unsupported: Unsupported = "drop"
    path: str = ""  # replaces the dialect's path, `{model}` and `{path}` filled in (Azure's deployments)
    models: dict[str, str] = {}  # our model id -> the provider's
    prompt_cache: bool = False
    max_answer: int = MAX_ANSWER_BYTES
    max_tokens: str = ""  # the name of the bound of an answer, where it is not the usual one
    nine_letter_ids: bool = False
