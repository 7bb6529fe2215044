"""What the gateway asks of models beside the answers to requests: to embed documents and questions, to judge.

Each such call is a row of the ledger of its own, with its price. It counts to the budgets of the caller who has caused
it, to the limits of its model and its provider always, and takes nothing of what its caller may ask for in a minute.
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

# Whose rows those are that no request has caused. No app can be called so.
OURSELVES = Caller("_gatehouse")


class BackgroundCalls:
    """The calls of one config's engine. `finished` takes each into the ledger."""

    def __init__(
        self, dispatcher: Dispatcher, quota: Quota, prices: Prices, finished: Callable[[Exchange], None]
    ) -> None:
        self._dispatcher = dispatcher
        self._quota = quota
        self._prices = prices
        self._finished = finished

    async def embed(
        self, policy: RoutePolicy, texts: Sequence[str], what: str, payer: Caller | None
    ) -> list[list[float]]:
        """One vector per text; `what` is where the row says that it was asked for. Raises `GatehouseError`."""
        request = EmbeddingRequest(dialect="openai", model=policy.name, texts=tuple(texts))
        async with self._row(request, policy, what, payer) as (exchange, unsettled):
            return (await self._dispatcher.embed(request, policy, exchange, unsettled)).vectors

    async def ask(self, request: ChatRequest, policy: RoutePolicy, what: str, cause: Exchange) -> str:
        """A model's words, on behalf of a request that may be over by now. Raises `GatehouseError`."""
        async with self._row(request, policy, what, _payer(cause)) as (exchange, unsettled):
            exchange.trace_id, exchange.parent_span_id = cause.trace_id, cause.span_id
            if unsettled.ticket is not None:
                request = unsettled.ticket.bounded(request)
            return await collect_text(await self._dispatcher.dispatch(request, policy, exchange, unsettled))

    @contextlib.asynccontextmanager
    async def _row(
        self, request: ChatRequest | EmbeddingRequest, policy: RoutePolicy, what: str, payer: Caller | None
    ) -> AsyncIterator[tuple[Exchange, Unsettled]]:
        exchange, unsettled = Exchange(what), Unsettled()
        unsettled.due = True
        exchange.caller = payer or OURSELVES
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
    """Its caller, with the user that it was made for."""
    caller = exchange.caller
    if caller is None or not exchange.user or exchange.user == caller.user:
        return caller
    return msgspec.structs.replace(caller, user=exchange.user)
