"""Anthropic Messages, versions 2023-06-01 and 2026-10-21."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contract.attempt import TraceNames
from contract.dialect import Dialect
from contract.endpoint import Endpoint
from gateway.dialects.anthropic import errors, requests
from gateway.dialects.anthropic.readers import BufferedReader, StreamReader
from gateway.dialects.anthropic.writers import BufferedWriter, StreamWriter

if TYPE_CHECKING:
    from contract.dialect import InboundCall, ReplyReader, ReplyWriter, WireOptions, WireRequest
    from contract.errors import GatehouseError, UpstreamError
    from contract.messages import ChatRequest


class AnthropicMessages(Dialect):
    """The dialect `anthropic`."""

    name = "anthropic"
    traced_as = TraceNames("anthropic")
    id_prefix = "msg_"
    sign_of_life = b'event: ping\ndata: {"type": "ping"}\n\n'

    def usual_endpoint(self, base_url: str) -> Endpoint:
        """See `Dialect.usual_endpoint`."""
        return Endpoint(base_url, auth="x-api-key", scheme="", version="2023-06-01")

    def read_request(self, body: bytes, call: InboundCall) -> ChatRequest:
        """See `Dialect.read_request`. The model is in the body, so `call` is not used."""
        return requests.read(body)

    def write_request(self, request: ChatRequest, options: WireOptions) -> WireRequest:
        """See `Dialect.write_request`."""
        return requests.write(request, options)

    def reply_reader(self, *, stream: bool) -> ReplyReader:
        """See `Dialect.reply_reader`."""
        return StreamReader() if stream else BufferedReader()

    def reply_writer(self, request: ChatRequest, *, reply_id: str, raw: bool, opened: bool = False) -> ReplyWriter:
        """See `Dialect.reply_writer`. The opening frame is a `ping`, which needs no special handling later."""
        if request.stream:
            return StreamWriter(request, reply_id, raw=raw)
        return BufferedWriter(request, reply_id, raw=raw)

    def read_error(self, status: int, headers: dict[str, str], body: bytes) -> UpstreamError:
        """See `Dialect.read_error`."""
        return errors.read(status, headers, body)

    def write_error(self, error: GatehouseError, request_id: str) -> bytes:
        """See `Dialect.write_error`."""
        return errors.write(error, request_id)
