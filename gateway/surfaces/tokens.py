"""Token counts without a model call: Anthropic's `count_tokens`, Gemini's `:countTokens`.

The count is an estimate, within about 20 % of the vendors' own. The header `x-gatehouse-estimated` marks it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contract.prompt_tokens import prompt_tokens
from gateway.surfaces.bodies import check_part_count
from gateway.surfaces.request import BufferedResponse, run_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from contract.dialect import Dialect
    from contract.exchange import Exchange
    from contract.messages import ChatRequest
    from contract.unsettled import Unsettled
    from gateway.engine.runtime import Engine
    from gateway.surfaces.http import HttpCall
    from gateway.surfaces.surface import SurfaceParts, Vendor


class TokenSurface:
    """One endpoint that counts tokens."""

    def __init__(
        self, parts: SurfaceParts, vendor: Vendor, dialect: Dialect, surface: str, write: Callable[[int], bytes]
    ) -> None:
        """`surface` is the name in traces and metrics."""
        self._runtime = parts.runtime
        self._bodies = parts.bodies
        self._vendor = vendor.name
        self._surface = surface
        self._dialect = dialect
        self._write = write

    async def serve(self, call: HttpCall, read: Callable[[bytes], ChatRequest]) -> None:
        """Answers one HTTP request."""
        call.vendor = self._vendor

        def count(body: bytes) -> tuple[str, int]:
            request = check_part_count(read(body), self._dialect.turns)
            return request.model, prompt_tokens(request)

        async def answer(call: HttpCall, exchange: Exchange, engine: Engine, _: Unsettled) -> BufferedResponse:
            exchange.config = engine.digest
            await engine.pipeline.identify(call.credentials(), exchange)
            # Validates the header only: no beta changes the estimate.
            call.betas()
            data = await self._bodies.receive(call, exchange, engine.max_body)
            model, tokens = await self._bodies.read(exchange, data, count)
            engine.pipeline.route_of(model, exchange)
            body = self._write(tokens)
            exchange.status = 200
            exchange.outcome = "ok"
            return BufferedResponse("application/json", body, ((b"x-gatehouse-estimated", b"true"),))

        await run_request(self._runtime, call, self._surface, self._dialect, answer)
