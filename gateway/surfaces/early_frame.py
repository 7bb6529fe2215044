"""The first frame of a stream whose provider has started but has sent no content.

Callers measure the time to the first byte. A provider's first event often arrives well before its first token, and
until that token the gateway may still fall back to another target. So the early frame is the gateway's own and carries
no content. It is sent after a short wait only, because the first token usually follows at once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.surfaces.keepalive import KeepAlive
from gateway.surfaces.request import stream_headers

if TYPE_CHECKING:
    from contract.deltas import Delta
    from contract.dialect import Dialect
    from contract.exchange import Exchange
    from contract.messages import ChatRequest
    from gateway.surfaces.http import HttpCall

EARLY_FRAME_DELAY_S = 0.02


class EarlyFrame:
    """The dispatch calls it with the first delta that arrives before the commit.

    If no delta arrives within the keep-alive interval, it sends the headers and a keep-alive frame: proxies in between
    time out on a model that thinks for a minute.
    """

    __slots__ = (
        "_call", "_dialect", "_exchange", "_keepalive", "_keepalive_s", "_reply_id", "_request", "_sending", "_silence",
        "_timer", "opened",
    )  # fmt: skip

    def __init__(
        self,
        call: HttpCall,
        exchange: Exchange,
        request: ChatRequest,
        dialect: Dialect,
        reply_id: str,
        keepalive_s: float,
    ) -> None:
        """`keepalive_s`: the interval between keep-alive frames of an open but silent stream."""
        self._call = call
        self._exchange = exchange
        self._request = request
        self._dialect = dialect
        self._reply_id = reply_id
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None
        self._keepalive: KeepAlive | None = None
        self._keepalive_s = keepalive_s
        self._silence: asyncio.TimerHandle | None = None
        if keepalive_s > 0 and dialect.sign_of_life:
            self._silence = asyncio.get_running_loop().call_later(keepalive_s, self._send_keepalive)
        self.opened = False

    def __call__(self, delta: Delta) -> None:
        """Schedules the early frame: a target has started to respond."""
        if self._timer is None and not self.opened:
            self._timer = asyncio.get_running_loop().call_later(EARLY_FRAME_DELAY_S, self._open, delta)

    def _open(self, delta: Delta) -> None:
        writer = self._dialect.reply_writer(self._request, reply_id=self._reply_id, raw=False)
        frame = writer.opening(delta)
        if frame:
            self.opened = True
            self._begin(frame, writer.content_type)

    def _send_keepalive(self) -> None:
        """Sends a keep-alive frame before any delta. It commits to no target: a fallback is still possible."""
        self._silence = None
        if self._sending is None and not self._call.response_started:
            writer = self._dialect.reply_writer(self._request, reply_id=self._reply_id, raw=False)
            self._begin(self._dialect.sign_of_life, writer.content_type)

    def _begin(self, frame: bytes, content_type: str) -> None:
        self._sending = asyncio.get_running_loop().create_task(self._send(frame, content_type, self._sending))

    async def _send(self, frame: bytes, content_type: str, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await before
            await self._call.write(frame)
            return
        exchange = self._exchange
        if not exchange.target and exchange.attempts:
            exchange.target = exchange.attempts[-1].target
        await self._call.begin(200, stream_headers(exchange, content_type))
        await self._call.write(frame)
        # A model may think for minutes before its first token; proxies in between time out sooner.
        self._keepalive = KeepAlive(self._call, self._dialect.sign_of_life, self._keepalive_s)

    async def settle(self) -> bool:
        """Waits for pending frames, after success or failure. Returns whether a dialect's opening frame was sent."""
        self._stop_timers()
        if self._sending is not None:
            await self._sending
        if self._keepalive is not None:
            self._keepalive.stop()
        return self.opened

    def _stop_timers(self) -> None:
        for timer in (self._timer, self._silence):
            if timer is not None:
                timer.cancel()

    def cancel(self) -> None:
        """Cancels all pending frames, after a disconnect or an internal error."""
        self._stop_timers()
        if self._sending is not None:
            self._sending.cancel()
        if self._keepalive is not None:
            self._keepalive.stop()
