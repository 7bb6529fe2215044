"""Model calls that the gateway makes for itself: embeddings of documents and questions, and judges.

Each call has its own ledger row with its cost. It counts towards the budgets of the caller that caused it and the
limits of its model and provider, but not towards the caller's rate limits.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from access.ledger.prices import settle_request
from contract.answering import collect_text
from contract.caller import Caller
from contract.errors import GatehouseError
from contract.exchange import Exchange
from contract.messages import ChatRequest, EmbeddingRequest
from contract.unsettled import Unsettled

if TYPE_CHECKING:
    from access.ledger.prices import Prices
    from access.limits.quota import Quota
    from router.dispatch import Dispatcher
    from router.policy import RoutePolicy

# The caller in ledger rows that no request caused. No app can have this name.
GATEWAY_CALLER = Caller("_gatehouse")


class BackgroundCalls:
    """Makes the background calls of one engine. `finished` adds each to the ledger."""

    def __init__(
        self, dispatcher: Dispatcher, quota: Quota, prices: Prices, finished: Callable[[Exchange], None]
    ) -> None:
        self._dispatcher = dispatcher
        self._quota = quota
        self._prices = prices
        self._finished = finished

    async def embed(
        self, policy: RoutePolicy, texts: Sequence[str], purpose: str, payer: Caller | None
    ) -> list[list[float]]:
        """Returns one vector per text. `purpose` is recorded in the ledger row. Raises `GatehouseError`."""
        request = EmbeddingRequest(dialect="openai", model=policy.name, texts=tuple(texts))
        async with self._record_call(request, policy, purpose, payer) as (exchange, unsettled):
            return (await self._dispatcher.embed(request, policy, exchange, unsettled)).vectors

    async def ask(self, request: ChatRequest, policy: RoutePolicy, purpose: str, cause: Exchange) -> str:
        """Returns a model's response text, for a request that may have ended already. Raises `GatehouseError`."""
        async with self._record_call(request, policy, purpose, _payer(cause)) as (exchange, unsettled):
            exchange.trace_id, exchange.parent_span_id = cause.trace_id, cause.span_id
            if unsettled.ticket is not None:
                request = unsettled.ticket.bounded(request)
            return await collect_text(await self._dispatcher.dispatch(request, policy, exchange, unsettled))

    @contextlib.asynccontextmanager
    async def _record_call(
        self, request: ChatRequest | EmbeddingRequest, policy: RoutePolicy, purpose: str, payer: Caller | None
    ) -> AsyncIterator[tuple[Exchange, Unsettled]]:
        exchange, unsettled = Exchange(purpose), Unsettled()
        unsettled.due = True
        exchange.caller = payer or GATEWAY_CALLER
        exchange.model = exchange.route = policy.name
        try:
            unsettled.ticket = await self._quota.admit(exchange, request, policy.keys, aside=True)
            yield exchange, unsettled
            exchange.status, exchange.outcome = 200, "ok"
        except GatehouseError as error:
            exchange.status, exchange.error = error.http_status, getattr(error, "kind", "") or error.code
            exchange.outcome = "error"
            raise
        except (asyncio.CancelledError, TimeoutError):
            exchange.outcome, exchange.cancelled = "cancelled", True
            raise
        except BaseException as error:
            exchange.outcome, exchange.error = "error", type(error).__name__
            raise
        finally:
            exchange.ended = time.perf_counter()
            await settle_request(exchange, unsettled, self._prices, self._finished)


def _payer(exchange: Exchange) -> Caller | None:
    """The caller of the exchange, with the exchange's user."""
    caller = exchange.caller
    if caller is None or not exchange.user or exchange.user == caller.user:
        return caller
    return msgspec.structs.replace(caller, user=exchange.user)
