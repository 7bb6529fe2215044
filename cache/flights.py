"""One call for many equal requests at once: whoever comes while an answer is under way reads it too.

The call runs in a task of its own, so that nobody's leaving ends it but the last one's. An answer that breaks off
breaks off for all of them; nobody gets a part for the whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from contract.errors import Unavailable
from contract.phases import Made

if TYPE_CHECKING:
    from contract.deltas import Delta
    from contract.exchange import Exchange

Make: TypeAlias = "Callable[[], Awaitable[Made]]"
End: TypeAlias = "Callable[[], Awaitable[None]]"
Keep: TypeAlias = "Callable[[Made, list[list[Delta]], Exchange], Awaitable[None]]"


# How long an answer that is complete waits for a caller to have read it, before it is given up as an entry.
READ_OUT_S = 5.0


class Flight:
    """One call under way, or just ended."""

    __slots__ = (
        "_flights", "_key", "_read_out", "_waiting", "batches", "done", "error", "exchange", "made", "over", "readers",
        "task",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, flights: Flights, key: bytes) -> None:
        """`exchange` is the first caller's: the call is written into its ledger."""
        self.exchange = exchange
        self._flights = flights
        self._key = key
        self.made: Made | None = None
        self.batches: list[list[Delta]] = []
        self.done = False
        self.error: BaseException | None = None
        self.readers = 0
        # Who has read all of it, and the future of whoever waits for that.
        self._read_out: asyncio.Future[Exchange | None] | None = None
        self.task: asyncio.Task[None] | None = None
        self._waiting: list[asyncio.Future[None]] = []
        # Its first caller's ledger is closed when the call is over, not when that caller leaves.
        self.over = exchange.under_way = asyncio.get_running_loop().create_future()

    async def fly(self, make: Make, keep: Keep, end: End | None = None) -> None:
        """Makes the answer, reads it to its end, keeps it if that was clean; `end` comes last in any case."""
        try:
            made = self.made = await make()
            self._wake()
            try:
                while (batch := await made.reply.next()) is not None:
                    self.batches.append(batch)
                    self._wake()
            finally:
                await made.reply.close()
            self.end()
            self.done = True
            self._wake()
            if (reader := await self._reader()) is not None:
                await keep(made, self.batches, reader)
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
            if end is not None:
                await end()

    def end(self) -> None:
        """Nothing more is asked of a target."""
        if not self.over.done():
            self.over.set_result(None)

    def leave(self) -> None:
        """Nobody finds it any more."""
        self._flights.forget(self._key, self)

    async def _reader(self) -> Exchange | None:
        """The ledger of a caller who has read all of it, with what the filters of the way out have found in it."""
        if not self.readers:
            return None
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Exchange | None] = loop.create_future()
        self._read_out = future
        # Who reads slowly does not hold it up for ever.
        timer = loop.call_later(READ_OUT_S, self.was_read, None)
        try:
            return await future
        finally:
            timer.cancel()

    def was_read(self, reader: Exchange | None) -> None:
        """By this caller to its end; None: by nobody."""
        if self._read_out is not None and not self._read_out.done():
            self._read_out.set_result(reader)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.done():
                each.set_result(None)

    async def ready(self) -> Made:
        """Once the answer has begun. Raises why it has not."""
        while self.made is None:
            if self.error is not None:
                raise self.error
            await self._wait()
        return self.made

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


class Flights:
    """Those of one cache, by key."""

    def __init__(self) -> None:
        self._flights: dict[bytes, Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def join(self, key: bytes, exchange: Exchange) -> FlightReply | None:
        """The answer under way for that key, if there is one."""
        flight = self._flights.get(key)
        return FlightReply(flight, exchange) if flight is not None else None

    def start(self, key: bytes, exchange: Exchange, make: Make, keep: Keep, end: End | None = None) -> FlightReply:
        """A new one, which equal requests find from now on; with an empty key nobody finds it."""
        flight = Flight(exchange, self, key)
        if key:
            self._flights[key] = flight
        reply = FlightReply(flight, exchange)
        flight.task = asyncio.get_running_loop().create_task(flight.fly(make, keep, end))
        # Also where it is cancelled before it has begun.
        flight.task.add_done_callback(lambda _: flight.end())
        return reply

    def forget(self, key: bytes, flight: Flight) -> None:
        """Nobody finds it any more."""
        if self._flights.get(key) is flight:
            del self._flights[key]


class FlightReply:
    """One reader's view of a flight. Implements `contract.reply.Reply`."""

    __slots__ = ("_closed", "_exchange", "_number", "_whole", "dialect", "flight", "streamed")

    def __init__(self, flight: Flight, exchange: Exchange) -> None:
        self.flight = flight
        self._number = 0
        self._closed = False
        self._whole = False
        self._exchange = exchange
        # Known once the flight is ready.
        self.dialect = ""
        self.streamed = False
        flight.readers += 1

    async def ready(self) -> Made:
        """The answer with this view of it. Closes the view where there is none."""
        try:
            made = await self.flight.ready()
        except BaseException:
            await self.close()
            raise
        self.dialect, self.streamed = made.reply.dialect, made.reply.streamed
        return Made(self, made.passages)

    async def next(self) -> list[Delta] | None:
        """See `Reply.next`."""
        batch = await self.flight.batch(self._number)
        self._number += 1
        self._whole = batch is None
        return batch

    async def close(self) -> None:
        """See `Reply.close`. The last reader's leaving ends the call, and nobody may join it any more."""
        if self._closed:
            return
        self._closed = True
        flight = self.flight
        flight.readers -= 1
        if self._whole:
            flight.was_read(self._exchange)
        elif flight.readers == 0 and flight.done:
            flight.was_read(None)
        elif flight.readers == 0 and flight.task is not None:
            flight.leave()
            flight.task.cancel()
