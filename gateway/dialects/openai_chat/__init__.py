"""OpenAI Chat Completions, and compatible servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contract.attempt import TraceNames
from contract.dialect import Dialect
from contract.endpoint import Endpoint
from gateway.dialects.openai_chat import errors, requests
from gateway.dialects.openai_chat.embeddings import OpenAIEmbeddings
from gateway.dialects.openai_chat.readers import BufferedReader, StreamReader
from gateway.dialects.openai_chat.writers import BufferedWriter, StreamWriter

if TYPE_CHECKING:
    from contract.dialect import InboundCall, ReplyReader, ReplyWriter, WireOptions, WireRequest
    from contract.errors import GatehouseError, UpstreamError
    from contract.messages import ChatRequest


class OpenAIChat(Dialect):
    """The dialect `openai`."""

    name = "openai"
    traced_as = TraceNames("openai")
    id_prefix = "chatcmpl-"
    sign_of_life = b": keep-alive\n\n"
    embeddings = OpenAIEmbeddings()

    def usual_endpoint(self, base_url: str) -> Endpoint:
        """See `Dialect.usual_endpoint`."""
        return Endpoint(base_url + "/v1")

    def read_request(self, body: bytes, call: InboundCall) -> ChatRequest:
        """See `Dialect.read_request`."""
        return requests.read(body, call.model)

    def write_request(self, request: ChatRequest, options: WireOptions) -> WireRequest:
        """See `Dialect.write_request`."""
        return requests.write(request, options)

    def reply_reader(self, *, stream: bool) -> ReplyReader:
        """See `Dialect.reply_reader`."""
        return StreamReader() if stream else BufferedReader()

    def reply_writer(self, request: ChatRequest, *, reply_id: str, raw: bool, opened: bool = False) -> ReplyWriter:
        """See `Dialect.reply_writer`."""
        if request.stream:
            return StreamWriter(request, reply_id, raw=raw, opened=opened)
        return BufferedWriter(request, reply_id, raw=raw)

    def read_error(self, status: int, headers: dict[str, str], body: bytes) -> UpstreamError:
        """See `Dialect.read_error`."""
        return errors.read(status, headers, body)

    def write_error(self, error: GatehouseError, request_id: str) -> bytes:
        """See `Dialect.write_error`."""
        return errors.write(error)
