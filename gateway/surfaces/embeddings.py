"""The embeddings endpoints of all surfaces."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

from contract.deltas import Usage
from gateway.surfaces.request import BufferedResponse, ErrorWriter, run_request

if TYPE_CHECKING:
    from contract.exchange import Exchange
    from contract.messages import EmbeddingRequest, Embeddings
    from contract.unsettled import Unsettled
    from gateway.engine.runtime import Engine
    from gateway.surfaces.http import HttpCall
    from gateway.surfaces.surface import SurfaceParts, Vendor


class EmbeddingWire(ErrorWriter, Protocol):
    """The inbound half of an embeddings dialect."""

    def read_request(self, body: bytes) -> EmbeddingRequest:
        """Reads the body. Raises `InvalidRequest`."""
        ...

    def write_reply(self, request: EmbeddingRequest, answer: Embeddings) -> bytes:
        """Writes the response body."""
        ...


class EmbeddingSurface:
    """One embeddings endpoint."""

    def __init__(self, parts: SurfaceParts, vendor: Vendor, surface: str) -> None:
        """`surface` is the name in traces and metrics."""
        self._runtime = parts.runtime
        self._bodies = parts.bodies
        self._vendor = vendor.name
        self._surface = surface

    async def serve(self, call: HttpCall, wire: EmbeddingWire) -> None:
        """Answers one HTTP request."""
        call.vendor = self._vendor

        await run_request(self._runtime, call, self._surface, wire, partial(self._answer, wire))

    async def _answer(
        self, wire: EmbeddingWire, call: HttpCall, exchange: Exchange, engine: Engine, unsettled: Unsettled
    ) -> BufferedResponse:
        exchange.config = engine.digest
        await engine.pipeline.identify(call.credentials(), exchange)
        exchange.user = exchange.user or call.user
        data = await self._bodies.receive(call, exchange, engine.max_body)
        request = await self._bodies.read(exchange, data, wire.read_request)
        call.watch()
        answer = await engine.pipeline.embed(request, exchange, unsettled)
        body = wire.write_reply(request, answer)
        exchange.status = 200
        exchange.outcome = "ok"
        exchange.usage = Usage(input=answer.input_tokens).sane
        exchange.output_bytes = len(body)
        return BufferedResponse("application/json", body)
