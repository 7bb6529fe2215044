"""One answer of a provider as it comes: status and headers, then the body, within its time and its size."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from contract.errors import IncompleteReply, MalformedReply, TimedOut
from contract.packing import CorruptBody, UnknownCoding, Unpacker, read_codings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator
    from contextvars import Context

    from contract.errors import TimeoutPhase, UpstreamError

HIGH_WATER = 256 * 1024
# "": neither.
BodyKind: TypeAlias = Literal["events", "json", ""]

_BOM = b"\xef\xbb\xbf"
_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")
_LONGEST = max(map(len, _FIELDS))


class Connection(Protocol):
    """What carries an answer."""

    def hold(self, *, held: bool) -> None:
        """Reads no more of it, or goes on."""
        ...

    def abort(self) -> None:
        """Closes at once."""
        ...

    def discard(self) -> None:
        """Reads what is left for nobody, so that the connection can be used again; not for long."""
        ...


class Response:
    """One answer under way: status and headers, then the body as it comes. Whoever holds it closes it."""

    __slots__ = (
        "_chunks",
        "_connection",
        "_deadline",
        "_error",
        "_left",
        "_limit",
        "_loop",
        "_patience_s",
        "_phase",
        "_size",
        "_timer",
        "_unpacked",
        "_unpacker",
        "_waiter",
        "ended",
        "held",
        "raw_headers",
        "status",
    )

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop, limit: int) -> None:
        """`limit` is the most bytes that its body may have."""
        self.status = 0
        self.raw_headers: dict[bytes, bytes] = {}
        self.ended = False
        self.held = False
        self._connection: Connection | None = connection
        self._loop = loop
        self._chunks: list[bytes] = []
        self._size = 0
        self._limit = self._left = limit
        self._waiter: Wakeup | None = None
        self._error: UpstreamError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._patience_s = 0.0
        self._phase: TimeoutPhase = "total"
        self._unpacker: Unpacker | None = None
        self._unpacked = 0

    @property
    def headers(self) -> dict[str, str]:
        """By lower-case name."""
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in self.raw_headers.items()}

    @property
    def content_type(self) -> str:
        """Lower case, without parameters; empty when unsaid."""
        return self.raw_headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")

    def expect_by(self, deadline: float, phase: TimeoutPhase) -> None:
        """The next byte must come before `deadline` (loop time), else the answer fails with `TimedOut`."""
        self._deadline = deadline
        if phase != self._phase:
            self._phase = phase
            self._patience_s = deadline - self._loop.time()
        timer = self._timer
        if timer is None:
            self._timer = self._loop.call_at(deadline, self._on_timer)
        elif deadline < timer.when():
            timer.cancel()
            self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        # A deadline that moved on is not worth a timer of its own: this one looks again.
        self._timer = None
        if self.ended or self._error is not None:
            return
        now = self._loop.time()
        if self._phase == "idle" and self._waiter is None:
            # Nobody waits for the provider: it is the caller who is slow to read.
            self._deadline = max(self._deadline, now + self._patience_s)
        if now < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._on_timer)
            return
        self.fail(TimedOut(f"The provider did not answer in time ({self._phase.replace('_', ' ')})", phase=self._phase))
        self.close()
        self.wake()

    async def head(self) -> None:
        """Waits for status and headers. Raises `UpstreamError`."""
        while not self.status:
            if self._error is not None:
                raise self._error
            await self._wait()

    def unpack(self) -> None:
        """From now on `read` gives the body without its `content-encoding`. Raises `MalformedReply` for an unknown one.

        Nobody asks for packed answers; some servers, and what stands before them, pack all the same.
        """
        packed = self.raw_headers.get(b"content-encoding")
        if packed is None:
            return
        try:
            codings = read_codings(packed.decode("latin-1"))
        except UnknownCoding as error:
            raise MalformedReply(f"The provider packed its answer, which it was not asked to: {error}") from None
        if codings:
            self._unpacker = Unpacker(codings)

    def read(self) -> Awaitable[bytes | None]:
        """What has come of the body since the last call, at least a byte; None at its end. Raises `UpstreamError`."""
        return self._read() if self._unpacker is None else self._read_packed(self._unpacker)

    async def _read_packed(self, unpacker: Unpacker) -> bytes | None:
        fresh = False
        while True:
            try:
                piece = unpacker.take()
                if not piece:
                    data = await self._read()
                    if data is None:
                        unpacker.finish()
                        return None
                    unpacker.give(data)
                    fresh = True
                    continue
            except CorruptBody as error:
                raise MalformedReply(f"The provider's answer can't be unpacked: {error}") from None
            self._unpacked += len(piece)
            if self._unpacked > self._limit:
                raise self._too_large()
            if not fresh:
                # A little may hold a lot: others come between its pieces.
                await asyncio.sleep(0)
            return piece

    async def _read(self) -> bytes | None:
        while True:
            chunks = self._chunks
            if chunks:
                data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
                chunks.clear()
                self._size = 0
                if self.held:
                    self._hold(held=False)
                return data
            if self.ended:
                return None
            if self._error is not None:
                raise self._error
            await self._wait()

    async def read_all(self, limit: int) -> bytes:
        """The whole body, at most `limit` bytes of it; an early end, or none in time, counts as the end."""
        parts: list[bytes] = []
        size = 0
        try:
            while size < limit and (data := await self.read()) is not None:
                parts.append(data)
                size += len(data)
        except (IncompleteReply, MalformedReply, TimedOut):
            pass
        return b"".join(parts)[:limit]

    def _wait(self) -> Wakeup:
        wakeup = self._waiter = Wakeup(self._loop)
        return wakeup

    def wake(self) -> None:
        """Lets whoever waits go on, in this call: not to be made from within the parser."""
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            waiter.wake()

    def _hold(self, *, held: bool) -> None:
        connection = self._connection
        self.held = held
        if connection is not None:
            connection.hold(held=held)

    def take(self, data: bytes) -> None:
        """A piece of the body has come. Raises `ValueError` for more than there may be."""
        self._left -= len(data)
        if self._left < 0:
            self.fail_as_too_large()
        self._chunks.append(data)
        self._size += len(data)
        if self._size > HIGH_WATER and not self.held:
            self._hold(held=True)

    def fail_as_too_large(self) -> None:
        """Fails, and raises `ValueError` so that the parser stops."""
        self.fail(self._too_large())
        raise ValueError("answer too large")

    def _too_large(self) -> MalformedReply:
        return MalformedReply(f"The provider's answer has more than {self._limit} bytes (max_response)")

    def begin(self, status: int) -> None:
        """Status and headers are complete. Raises `ValueError` if they announce more than there may be."""
        length = self.raw_headers.get(b"content-length")
        if length is not None and length.isdigit() and int(length[:20]) > self._limit:
            self.fail_as_too_large()
        self.status = status

    def end(self) -> None:
        """The body is complete; the connection is no longer ours."""
        self.ended = True
        self._let_go()

    def fail(self, error: UpstreamError) -> None:
        """Nothing more will come."""
        if self._error is None and not self.ended:
            self._error = error

    def _let_go(self) -> None:
        self._connection = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self, *, linger: bool = False) -> None:
        """Ends the call at once. `linger`: all that matters has come, but the last bytes may save the connection."""
        connection = self._connection
        self._let_go()
        if connection is None:
            return
        if linger and self._error is None:
            connection.discard()
        else:
            connection.abort()


def body_kind(head: bytes, *, ended: bool = False) -> BodyKind | None:
    """Whether a body that begins with `head` is a stream of events or one JSON; None where more must come to tell.

    Servers send JSON as text/plain or text/html, and events without any content type; so the bytes decide, and the
    content type only where they say nothing.
    """
    begin = (head if head.startswith(_BOM) else head.lstrip()).removeprefix(_BOM).lstrip()[:_LONGEST]
    if begin[:1] in (b"{", b"["):
        return "json"
    if begin.startswith(_FIELDS):
        return "events"
    if ended:
        return ""
    if not begin or (len(begin) < 3 and _BOM.startswith(begin)):
        return None
    return None if any(len(begin) < len(field) and field.startswith(begin) for field in _FIELDS) else ""


class Wakeup:
    """Waits for the network without a round of the event loop in between: what a task awaits.

    `wake` runs the task on at once, where a future would have the loop run it next time round.
    A round of the loop asks the kernel for news once more, which is a tenth of what a paced event costs. To a task this
    is a future (`asyncio.Task` asks for no more than is here), awaited once and by one task. `wake` is to be called
    from a callback of the loop, never from a task.

    `_asyncio_future_blocking` is private to asyncio: by it a task tells a future from other things that are awaited. It
    is there in Python 3.11 to 3.13, for other libraries' futures (`asyncio.isfuture`); tests say when it has gone.
    """

    __slots__ = ("_asyncio_future_blocking", "_callback", "_cancelled", "_context", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._asyncio_future_blocking = False
        self._loop = loop
        self._callback: Callable[[Wakeup], object] | None = None
        self._context: Context | None = None
        self._cancelled = False

    def __await__(self) -> Generator[Wakeup, None, None]:
        self._asyncio_future_blocking = True
        yield self

    def wake(self) -> None:
        """Runs the waiting task until it waits again. Nothing happens if it was cancelled."""
        callback, self._callback = self._callback, None
        if callback is not None and self._context is not None:
            self._context.run(callback, self)

    # What a task asks of a future

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop that the task must run in."""
        return self._loop

    def add_done_callback(self, callback: Callable[[Wakeup], object], *, context: Context) -> None:
        """The task's own way on."""
        self._callback = callback
        self._context = context

    def cancel(self, msg: object = None) -> bool:
        """The task is cancelled; it hears of it in the loop's next round, as from any future."""
        callback, self._callback = self._callback, None
        if callback is None:
            return False
        self._cancelled = True
        self._loop.call_soon(callback, self, context=self._context)
        return True

    def result(self) -> None:
        """Raises `CancelledError` if the task was cancelled."""
        if self._cancelled:
            raise asyncio.CancelledError
