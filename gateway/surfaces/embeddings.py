"""Embeddings on every surface that has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from contract.deltas import Usage
from gateway.surfaces.conduct import WritesErrors, conduct
from gateway.surfaces.headers import reply_headers

if TYPE_CHECKING:
    from contract.exchange import Exchange
    from contract.messages import EmbeddingRequest, Embeddings
    from gateway.surfaces.http import HttpCall
    from gateway.surfaces.surface import SurfaceParts, Vendor


class EmbeddingWire(WritesErrors, Protocol):
    """The inbound half of an embeddings dialect."""

    def read_request(self, body: bytes) -> EmbeddingRequest:
        """Raises `InvalidRequest`."""
        ...

    def write_reply(self, request: EmbeddingRequest, answer: Embeddings) -> bytes:
        """The body for the caller."""
        ...


class EmbeddingSurface:
    """One endpoint."""

    def __init__(self, parts: SurfaceParts, vendor: Vendor, surface: str) -> None:
        """`surface` is the name in traces and metrics."""
        self._runtime = parts.runtime
        self._bodies = parts.bodies
        self._vendor = vendor.name
        self._surface = surface

    async def serve(self, call: HttpCall, wire: EmbeddingWire) -> None:
        """Answers one HTTP request."""
        call.vendor = self._vendor

        async def answer(call: HttpCall, exchange: Exchange) -> None:
            await self._answer(call, exchange, wire)

        await conduct(self._runtime, call, self._surface, wire, answer)

    async def _answer(self, call: HttpCall, exchange: Exchange, wire: EmbeddingWire) -> None:
        with self._runtime.borrow() as engine:
            exchange.config = engine.digest
            await engine.pipeline.identify(call.shown(), exchange)
            exchange.user = exchange.user or call.user
            data = await self._bodies.receive(call, exchange, engine.max_body)
            request = await self._bodies.read(exchange, data, wire.read_request)
            call.watch()
            try:
                answer = await engine.pipeline.embed(request, exchange)
            finally:
                engine.prices.settle(exchange)
            body = wire.write_reply(request, answer)
            exchange.status = 200
            exchange.outcome = "ok"
            exchange.usage = Usage(input=answer.input_tokens).sane
            exchange.output_bytes = len(body)
            await call.respond(200, reply_headers(exchange, "application/json"), body)
