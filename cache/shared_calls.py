"""One call for many equal requests at once: a request that comes while the answer is being made reads it too.

The call runs in a task of its own and is cancelled only when its last reader leaves. An answer that breaks off breaks
off for all readers: none gets a part of it as the whole.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from contract.errors import Unavailable
from contract.phases import Answer

if TYPE_CHECKING:
    from contract.deltas import Delta
    from contract.exchange import Exchange


# How long an answer that is complete waits for a caller to have read it, before it is given up as an entry.
READ_OUT_S = 5.0


class NewAnswer(Protocol):
    """An answer that is not there yet: how it is made, and what becomes of it."""

    async def make(self) -> Answer:
        """The answer, once it has begun. Raises why there is none."""
        ...

    async def keep(self, answer: Answer, batches: list[list[Delta]], reader: Exchange) -> None:
        """Stores it. It was read to its clean end, by `reader` too."""
        ...

    async def release(self) -> None:
        """Comes last, however it ended. Never raises."""
        ...


class SharedCall:
    """One call that is being made, or has just ended."""

    __slots__ = (
        "_calls", "_key", "_read_out", "_waiting", "answer", "batches", "done", "error", "exchange", "over", "readers",
        "task",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, calls: SharedCalls, key: bytes) -> None:
        """`exchange` is the first caller's: the call is written into its record."""
        self.exchange = exchange
        self._calls = calls
        self._key = key
        self.answer: Answer | None = None
        self.batches: list[list[Delta]] = []
        self.done = False
        self.error: BaseException | None = None
        self.readers = 0
        # Who has read all of it, and the future of whoever waits for that.
        self._read_out: asyncio.Future[Exchange | None] | None = None
        self.task: asyncio.Task[None] | None = None
        self._waiting: list[asyncio.Future[None]] = []
        # Its first caller's record is closed when the call is over, not when that caller leaves.
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, new: NewAnswer) -> None:
        """Makes the answer, reads it to its end, and stores it if the end was clean."""
        try:
            answer = self.answer = await new.make()
            self._wake()
            try:
                while (batch := await answer.reply.next()) is not None:
                    self.batches.append(batch)
                    self._wake()
            finally:
                await answer.reply.close()
            self.end()
            self.done = True
            self._wake()
            if (reader := await self._reader()) is not None:
                await new.keep(answer, self.batches, reader)
        except BaseException as error:
            if not self.done:
                cancelled = isinstance(error, asyncio.CancelledError)
                self.error = Unavailable("The answer under way was stopped") if cancelled else error
                self._wake()
            if not isinstance(error, Exception):
                raise
        finally:
            self.end()
            self.leave()
            await new.release()

    def end(self) -> None:
        """No target is asked for anything more."""
        if not self.over.done():
            self.over.set_result(None)

    def ended(self, _: asyncio.Task[None]) -> None:
        """See `end`."""
        self.end()

    def leave(self) -> None:
        """No further request finds it."""
        self._calls.forget(self._key, self)

    async def _reader(self) -> Exchange | None:
        """The record of a caller who has read all of it, with what the output filters have found in it."""
        if not self.readers:
            return None
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Exchange | None] = loop.create_future()
        self._read_out = future
        # A slow reader does not hold it up for ever.
        timer = loop.call_later(READ_OUT_S, self.was_read, None)
        try:
            return await future
        finally:
            timer.cancel()

    def was_read(self, reader: Exchange | None) -> None:
        """This caller has read it to its end; None: no caller has."""
        if self._read_out is not None and not self._read_out.done():
            self._read_out.set_result(reader)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.done():
                each.set_result(None)

    async def ready(self) -> Answer:
        """Once the answer has begun. Raises why it has not."""
        while self.answer is None:
            if self.error is not None:
                raise self.error
            await self._wait()
        return self.answer

    async def _wait(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    async def batch(self, number: int) -> list[Delta] | None:
        """That batch of the answer, or None past its clean end. Raises why there is none."""
        while number >= len(self.batches):
            if self.error is not None:
                raise self.error
            if self.done:
                return None
            await self._wait()
        # Each reader has a list of its own: filters may change theirs.
        return list(self.batches[number])


class SharedCalls:
    """Those of one cache, by key."""

    def __init__(self) -> None:
        self._calls: dict[bytes, SharedCall] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def join(self, key: bytes, exchange: Exchange) -> SharedReply | None:
        """The answer that is being made for that key, if there is one."""
        call = self._calls.get(key)
        return SharedReply(call, exchange) if call is not None else None

    def start(self, key: bytes, exchange: Exchange, new: NewAnswer) -> SharedReply:
        """A new call, which equal requests find from now on; with an empty key none finds it."""
        call = SharedCall(exchange, self, key)
        if key:
            self._calls[key] = call
        reply = SharedReply(call, exchange)
        call.task = asyncio.get_running_loop().create_task(call.run(new))
        # Also where it is cancelled before it has begun.
        call.task.add_done_callback(call.ended)
        return reply

    def forget(self, key: bytes, call: SharedCall) -> None:
        """No further request finds it."""
        if self._calls.get(key) is call:
            del self._calls[key]


class SharedReply:
    """One reader's view of a shared call. Implements `contract.reply.Reply`."""

    __slots__ = ("_closed", "_exchange", "_number", "_whole", "call", "dialect", "streamed")

    def __init__(self, call: SharedCall, exchange: Exchange) -> None:
        self.call = call
        self._number = 0
        self._closed = False
        self._whole = False
        self._exchange = exchange
        # Known once the call's answer has begun.
        self.dialect = ""
        self.streamed = False
        call.readers += 1

    async def ready(self) -> Answer:
        """The answer with this view of it. Closes the view where there is none."""
        try:
            answer = await self.call.ready()
        except BaseException:
            await self.close()
            raise
        self.dialect, self.streamed = answer.reply.dialect, answer.reply.streamed
        return Answer(self, answer.passages, answer.pipeline)

    async def next(self) -> list[Delta] | None:
        """See `Reply.next`."""
        batch = await self.call.batch(self._number)
        self._number += 1
        self._whole = batch is None
        return batch

    async def close(self) -> None:
        """See `Reply.close`. When the last reader leaves, the call ends, and no request may join it any more."""
        if self._closed:
            return
        self._closed = True
        call = self.call
        call.readers -= 1
        if self._whole:
            call.was_read(self._exchange)
        elif call.readers == 0 and call.done:
            call.was_read(None)
        elif call.readers == 0 and call.task is not None:
            call.leave()
            call.task.cancel()
