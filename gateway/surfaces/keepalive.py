"""Signs of life in a stream while the provider thinks, so that no proxy in between gives up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.surfaces.http import HttpCall


class KeepAlive:
    """Writes a sign whenever nothing has been written for `interval_s`. Frames are whole, so it never splits one."""

    __slots__ = ("_call", "_interval_s", "_loop", "_sign", "_timer", "_touched", "_writing")

    def __init__(self, call: HttpCall, sign: bytes, interval_s: float) -> None:
        """`sign`: see `Dialect.sign_of_life`."""
        self._call = call
        self._sign = sign
        self._interval_s = interval_s
        self._loop = asyncio.get_running_loop()
        self._touched = self._loop.time()
        self._writing: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(interval_s, self._look) if self._sign and interval_s > 0 else None

    def touch(self) -> None:
        """Something is being written."""
        self._touched = self._loop.time()

    def _look(self) -> None:
        now = self._loop.time()
        due = self._touched + self._interval_s
        if now >= due:
            self._touched = now
            due = now + self._interval_s
            if self._writing is None or self._writing.done():
                self._writing = self._loop.create_task(self._write())
        self._timer = self._loop.call_at(due, self._look)

    async def _write(self) -> None:
        await self._call.write(self._sign)

    def stop(self) -> None:
        """The stream is at its end."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None
