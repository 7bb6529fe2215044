"""The output of a response: runs the output filters over the stream, and records usage and timing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contract.deltas import Delta
    from contract.exchange import Exchange
    from contract.reply import OutputFilter, Reply


class Pump:
    """A reply after the output filters. Implements `contract.reply.Reply`.

    `raw` says that there are no filters, so that the provider's bytes may be forwarded unchanged.
    """

    __slots__ = ("_ended", "_exchange", "_filters", "_reply", "dialect", "raw", "streamed")

    def __init__(self, reply: Reply, filters: Sequence[OutputFilter], exchange: Exchange) -> None:
        self.dialect = reply.dialect
        self.streamed = reply.streamed
        self.raw = not filters
        self._reply = reply
        self._filters = filters
        self._exchange = exchange
        self._ended = False

    async def next(self) -> list[Delta] | None:
        """See `Reply.next`."""
        while not self._ended:
            deltas = await self._reply.next()
            if deltas is None:
                self._ended = True
                return self._finish() or None
            self._observe(deltas)
            for step in self._filters:
                deltas = step.feed(deltas)
            if deltas:
                return deltas
        return None

    def _finish(self) -> list[Delta]:
        """Flushes each filter through the filters after it."""
        left: list[Delta] = []
        for step in self._filters:
            left = (step.feed(left) if left else []) + step.finish()
        return left

    def _observe(self, deltas: list[Delta]) -> None:
        exchange = self._exchange
        if not exchange.first_byte:
            exchange.first_byte = time.perf_counter()
        for delta in deltas:
            if delta.usage is not None:
                exchange.usage = delta.usage.sane
            if delta.id and not exchange.reply_id:
                exchange.reply_id = delta.id
                exchange.reply_model = delta.model
            for choice in delta.choices:
                if choice.finish:
                    exchange.finish = choice.finish
                if choice.index >= exchange.choices:
                    exchange.choices = choice.index + 1

    async def close(self) -> None:
        """See `Reply.close`."""
        self._ended = True
        await self._reply.close()
