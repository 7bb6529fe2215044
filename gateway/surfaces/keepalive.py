"""Keep-alive frames in a stream while the provider is silent, so that no proxy in between times out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.surfaces.http import HttpCall


class KeepAlive:
    """Writes a keep-alive frame after `interval_s` without a write. Writes are complete frames, so none is split."""

    __slots__ = ("_call", "_frame", "_interval_s", "_loop", "_timer", "_touched", "_writing")

    def __init__(self, call: HttpCall, frame: bytes, interval_s: float) -> None:
        """`frame`: see `Dialect.sign_of_life`."""
        self._call = call
        self._frame = frame
        self._interval_s = interval_s
        self._loop = asyncio.get_running_loop()
        self._touched = self._loop.time()
        self._writing: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(interval_s, self._check) if self._frame and interval_s > 0 else None

    def touch(self) -> None:
        """Restarts the interval: the caller of this method writes something."""
        self._touched = self._loop.time()

    def _check(self) -> None:
        now = self._loop.time()
        due = self._touched + self._interval_s
        if now >= due:
            self._touched = now
            due = now + self._interval_s
            if self._writing is None or self._writing.done():
                self._writing = self._loop.create_task(self._write())
        self._timer = self._loop.call_at(due, self._check)

    async def _write(self) -> None:
        await self._call.write(self._frame)

    def stop(self) -> None:
        """Stops the timer at the end of the stream."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None
