"""Gemini's generateContent and its embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contract.attempt import TraceNames
from contract.dialect import Dialect
from contract.endpoint import Endpoint
from gateway.dialects.gemini_generate import errors, requests
from gateway.dialects.gemini_generate.embeddings import GeminiBatchEmbeddings, GeminiEmbeddings, GeminiSingleEmbedding
from gateway.dialects.gemini_generate.readers import BufferedReader, StreamReader
from gateway.dialects.gemini_generate.writers import ArrayWriter, BufferedWriter, StreamWriter

if TYPE_CHECKING:
    from contract.dialect import InboundCall, ReplyReader, ReplyWriter, WireOptions, WireRequest
    from contract.errors import GatehouseError, UpstreamError
    from contract.messages import ChatRequest

__all__ = ["GeminiArray", "GeminiBatchEmbeddings", "GeminiEmbeddings", "GeminiGenerate", "GeminiSingleEmbedding"]


class GeminiGenerate(Dialect):
    """The dialect `gemini`. The path contains the model and whether to stream.

    google-genai parses every line of a stream as data, so streams can't contain keep-alives.
    """

    name = "gemini"
    traced_as = TraceNames("gcp.gemini", "generate_content")
    turns = "contents"
    embeddings = GeminiEmbeddings()

    def usual_endpoint(self, base_url: str) -> Endpoint:
        """See `Dialect.usual_endpoint`."""
        return Endpoint(base_url, auth="x-goog-api-key", scheme="", version="v1beta")

    def read_request(self, body: bytes, call: InboundCall) -> ChatRequest:
        """See `Dialect.read_request`."""
        return requests.read(body, call)

    def write_request(self, request: ChatRequest, options: WireOptions) -> WireRequest:
        """See `Dialect.write_request`."""
        return requests.write(request, options)

    def reply_reader(self, *, stream: bool) -> ReplyReader:
        """See `Dialect.reply_reader`."""
        return StreamReader() if stream else BufferedReader()

    def reply_writer(self, request: ChatRequest, *, reply_id: str, raw: bool, opened: bool = False) -> ReplyWriter:
        """See `Dialect.reply_writer`. Gemini's streams have no opening frame."""
        if request.stream:
            return StreamWriter(request, reply_id, raw=raw)
        return BufferedWriter(request, reply_id, raw=raw)

    def read_error(self, status: int, headers: dict[str, str], body: bytes) -> UpstreamError:
        """See `Dialect.read_error`."""
        return errors.read(status, headers, body)

    def write_error(self, error: GatehouseError, request_id: str) -> bytes:
        """See `Dialect.write_error`."""
        return errors.write(error)


class GeminiArray(GeminiGenerate):
    """The dialect for callers that do not request events: like Google's server, it streams a JSON array."""

    def reply_writer(self, request: ChatRequest, *, reply_id: str, raw: bool, opened: bool = False) -> ReplyWriter:
        """See `Dialect.reply_writer`."""
        return ArrayWriter(StreamWriter(request, reply_id, raw=raw))
