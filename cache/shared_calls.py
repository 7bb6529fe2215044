"""Single flight: concurrent equal requests share one call and read the same answer.

The call runs in its own task and is cancelled only when its last reader disconnects. If an answer is interrupted, it is
interrupted for all readers: none takes a partial answer for a complete one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from contract.errors import Unavailable
from contract.phases import Answer

if TYPE_CHECKING:
    from contract.deltas import Delta
    from contract.exchange import Exchange


# How long a complete answer waits for a reader to finish, before it is discarded as a cache entry.
READER_WAIT_S = 5.0


class NewAnswer(Protocol):
    """A new answer: how to make and how to store it."""

    async def make(self) -> Answer:
        """Returns the answer once it has started. Raises the call's errors."""
        ...

    async def keep(self, answer: Answer, batches: list[list[Delta]], reader: Exchange) -> None:
        """Stores the answer, which ended normally and was read completely, also by `reader`."""
        ...

    async def release(self) -> None:
        """Called last, whatever the outcome. Never raises."""
        ...


class SharedCall:
    """One call that is in flight or has just ended."""

    __slots__ = (
        "_calls", "_key", "_reader_done", "_waiting", "answer", "batches", "done", "error", "exchange", "over",
        "readers", "task",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, calls: SharedCalls, key: bytes) -> None:
        """`exchange` belongs to the first caller; the call is recorded there."""
        self.exchange = exchange
        self._calls = calls
        self._key = key
        self.answer: Answer | None = None
        self.batches: list[list[Delta]] = []
        self.done = False
        self.error: BaseException | None = None
        self.readers = 0
        # Resolves to the record of a reader that has read the complete answer.
        self._reader_done: asyncio.Future[Exchange | None] | None = None
        self.task: asyncio.Task[None] | None = None
        self._waiting: list[asyncio.Future[None]] = []
        # The first caller's record is closed when the call is over, not when that caller disconnects.
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, new: NewAnswer) -> None:
        """Makes the answer, reads it completely, and stores it if it ended normally."""
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
                self.error = Unavailable("The shared call was cancelled") if cancelled else error
                self._wake()
            if not isinstance(error, Exception):
                raise
        finally:
            self.end()
            self.leave()
            await new.release()

    def end(self) -> None:
        """Marks the call as over: no target is called any more."""
        if not self.over.done():
            self.over.set_result(None)

    def ended(self, _: asyncio.Task[None]) -> None:
        """A task callback; see `end`."""
        self.end()

    def leave(self) -> None:
        """Removes the call, so that no further request joins it."""
        self._calls.forget(self._key, self)

    async def _reader(self) -> Exchange | None:
        """Waits for a reader to finish; returns its record, which contains the findings of the output filters."""
        if not self.readers:
            return None
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Exchange | None] = loop.create_future()
        self._reader_done = future
        # Do not wait forever for a slow reader.
        timer = loop.call_later(READER_WAIT_S, self.was_read, None)
        try:
            return await future
        finally:
            timer.cancel()

    def was_read(self, reader: Exchange | None) -> None:
        """Reports a reader that has read the complete answer; None if no reader will."""
        if self._reader_done is not None and not self._reader_done.done():
            self._reader_done.set_result(reader)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.done():
                each.set_result(None)

    async def ready(self) -> Answer:
        """Waits until the answer has started. Raises the call's error."""
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
        """Waits for a batch of the answer; None after its normal end. Raises the call's error."""
        while number >= len(self.batches):
            if self.error is not None:
                raise self.error
            if self.done:
                return None
            await self._wait()
        # Copy the list for each reader, because filters may change it.
        return list(self.batches[number])


class SharedCalls:
    """The calls in flight of one cache, by key."""

    def __init__(self) -> None:
        self._calls: dict[bytes, SharedCall] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def join(self, key: bytes, exchange: Exchange) -> SharedReply | None:
        """Joins the call in flight for that key; None if there is none."""
        call = self._calls.get(key)
        return SharedReply(call, exchange) if call is not None else None

    def start(self, key: bytes, exchange: Exchange, new: NewAnswer) -> SharedReply:
        """Starts a call that equal requests can join; with an empty key none can."""
        call = SharedCall(exchange, self, key)
        if key:
            self._calls[key] = call
        reply = SharedReply(call, exchange)
        call.task = asyncio.get_running_loop().create_task(call.run(new))
        # Also runs if the task is cancelled before it starts.
        call.task.add_done_callback(call.ended)
        return reply

    def forget(self, key: bytes, call: SharedCall) -> None:
        """Removes the call, so that no further request joins it."""
        if self._calls.get(key) is call:
            del self._calls[key]


class SharedReply:
    """One reader's view of a shared call. Implements `contract.reply.Reply`."""

    __slots__ = ("_closed", "_complete", "_exchange", "_number", "call", "dialect", "streamed")

    def __init__(self, call: SharedCall, exchange: Exchange) -> None:
        self.call = call
        self._number = 0
        self._closed = False
        self._complete = False
        self._exchange = exchange
        # Known once the answer has started.
        self.dialect = ""
        self.streamed = False
        call.readers += 1

    async def ready(self) -> Answer:
        """Waits for the answer and returns it with this view; closes the view if the call fails."""
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
        self._complete = batch is None
        return batch

    async def close(self) -> None:
        """See `Reply.close`. When the last reader disconnects, the call is cancelled and can't be joined any more."""
        if self._closed:
            return
        self._closed = True
        call = self.call
        call.readers -= 1
        if self._complete:
            call.was_read(self._exchange)
        elif call.readers == 0 and call.done:
            call.was_read(None)
        elif call.readers == 0 and call.task is not None:
            call.leave()
            call.task.cancel()
