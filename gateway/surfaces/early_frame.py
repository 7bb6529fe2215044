"""The first sign of a stream whose provider has begun but has not said anything yet.

Callers judge a stream by its first byte. A provider's first event often comes well before its first word, and until
that word another target may still take over: so what goes out early is a frame of our own that says nothing, and
only after a short wait, for most words follow at once.
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

PATIENCE_S = 0.02


class EarlyFrame:
    """Given to the dispatch, which calls it with the first delta that comes before the commit.

    Where nothing at all has come for as long as a silent stream is left without a sign of life, it sends the headers
    and such a sign by itself: proxies in between give up on a model that thinks for a minute.
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
        """`keepalive_s`: how often a stream that is open but silent shows a sign of life."""
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
            self._silence = asyncio.get_running_loop().call_later(keepalive_s, self._show_life)
        self.opened = False

    def __call__(self, delta: Delta) -> None:
        """A target has begun to answer."""
        if self._timer is None and not self.opened:
            self._timer = asyncio.get_running_loop().call_later(PATIENCE_S, self._open, delta)

    def _open(self, delta: Delta) -> None:
        writer = self._dialect.reply_writer(self._request, reply_id=self._reply_id, raw=False)
        frame = writer.opening(delta)
        if frame:
            self.opened = True
            self._begin(frame, writer.content_type)

    def _show_life(self) -> None:
        """Nothing has come so far. What goes out now binds to nothing either: another target may still answer."""
        self._silence = None
        if self._sending is None and not self._call.began:
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
        # A model may think for minutes before its first word, and whoever stands in between gives up sooner.
        self._keepalive = KeepAlive(self._call, self._dialect.sign_of_life, self._keepalive_s)

    async def settle(self) -> bool:
        """Once the answer is there or has failed: whether the stream has been opened."""
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
        """The caller has left, or we made a mistake: nothing more is to be sent."""
        self._stop_timers()
        if self._sending is not None:
            self._sending.cancel()
        if self._keepalive is not None:
            self._keepalive.stop()
