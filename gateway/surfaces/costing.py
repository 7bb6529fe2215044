"""Adds the cost to the usage of a streamed response, for callers that send `x-gatehouse-include: cost`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from contract.units import write_amount

if TYPE_CHECKING:
    from access.ledger.prices import Prices
    from contract.deltas import Delta
    from contract.exchange import Exchange
    from gateway.engine.pump import Pump


class CostedReply:
    """A reply whose usage includes the cost of the request so far; empty if a price is unknown."""

    __slots__ = ("_exchange", "_prices", "_reply", "dialect", "raw", "streamed")

    def __init__(self, reply: Pump, exchange: Exchange, prices: Prices) -> None:
        self.dialect = reply.dialect
        self.streamed = reply.streamed
        # The provider's own bytes don't contain the cost.
        self.raw = False
        self._reply = reply
        self._exchange = exchange
        self._prices = prices

    async def next(self) -> list[Delta] | None:
        """See `Reply.next`."""
        deltas = await self._reply.next()
        return [self._costed(delta) for delta in deltas] if deltas is not None else None

    async def close(self) -> None:
        """See `Reply.close`."""
        await self._reply.close()

    def _costed(self, delta: Delta) -> Delta:
        if delta.usage is None:
            return delta
        cost = self._prices.cost_so_far(self._exchange)
        cost_text = "" if cost is None else write_amount(cost)
        return msgspec.structs.replace(delta, usage=msgspec.structs.replace(delta.usage, cost=cost_text))
