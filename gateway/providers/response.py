"""A provider's HTTP response as it arrives: status and headers, then the body, with limits on time and size."""

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
# "": neither of them.
BodyKind: TypeAlias = Literal["events", "json", ""]

_BOM = b"\xef\xbb\xbf"
_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")
_LONGEST_FIELD = max(map(len, _FIELDS))


class Connection(Protocol):
    """The connection of a response."""

    def hold(self, *, held: bool) -> None:
        """Pauses or resumes reading."""
        ...

    def abort(self) -> None:
        """Closes immediately."""
        ...

    def discard(self) -> None:
        """Reads and drops the rest of the response for a short time, so that the connection can be reused."""
        ...


class Response:
    """A response in progress: status and headers, then the body as it arrives. Its holder must close it."""

    __slots__ = (
        "_chunks",
        "_connection",
        "_deadline",
        "_error",
        "_left",
        "_limit",
        "_loop",
        "_phase",
        "_size",
        "_timeout_s",
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
        """`limit` is the maximum size of the body in bytes."""
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
        self._timeout_s = 0.0
        self._phase: TimeoutPhase = "total"
        self._unpacker: Unpacker | None = None
        self._unpacked = 0

    @property
    def headers(self) -> dict[str, str]:
        """The headers by lower-case name."""
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in self.raw_headers.items()}

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters; empty if missing."""
        return self.raw_headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")

    def expect_by(self, deadline: float, phase: TimeoutPhase) -> None:
        """The next byte must arrive before `deadline` (loop time), else the response fails with `TimedOut`."""
        self._deadline = deadline
        if phase != self._phase:
            self._phase = phase
            self._timeout_s = deadline - self._loop.time()
        timer = self._timer
        if timer is None:
            self._timer = self._loop.call_at(deadline, self._on_timer)
        elif deadline < timer.when():
            timer.cancel()
            self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        # A later deadline does not get a new timer: this one is rescheduled.
        self._timer = None
        if self.ended or self._error is not None:
            return
        now = self._loop.time()
        if self._phase == "idle" and self._waiter is None:
            # The caller is slow to read, so the time does not count against the provider.
            self._deadline = max(self._deadline, now + self._timeout_s)
        if now < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._on_timer)
            return
        self.fail(TimedOut(f"The provider timed out ({self._phase.replace('_', ' ')})", phase=self._phase))
        self.close()
        self.wake()

    async def head(self) -> None:
        """Waits for status and headers. Raises `UpstreamError`."""
        while not self.status:
            if self._error is not None:
                raise self._error
            await self._wait()

    def unpack(self) -> None:
        """Makes `read` decompress the body. Raises `MalformedReply` for an unknown `content-encoding`.

        The gateway does not request compression, but some servers and proxies compress anyway.
        """
        encoding = self.raw_headers.get(b"content-encoding")
        if encoding is None:
            return
        try:
            codings = read_codings(encoding.decode("latin-1"))
        except UnknownCoding as error:
            raise MalformedReply(f"The provider sent a compressed response without being asked: {error}") from None
        if codings:
            self._unpacker = Unpacker(codings)

    def read(self) -> Awaitable[bytes | None]:
        """Returns the bytes received since the last call, at least one; None at the end. Raises `UpstreamError`."""
        return self._read() if self._unpacker is None else self._read_packed(self._unpacker)

    async def _read_packed(self, unpacker: Unpacker) -> bytes | None:
        has_new_data = False
        while True:
            try:
                piece = unpacker.take()
                if not piece:
                    data = await self._read()
                    if data is None:
                        unpacker.finish()
                        return None
                    unpacker.give(data)
                    has_new_data = True
                    continue
            except CorruptBody as error:
                raise MalformedReply(f"The provider's response can't be decompressed: {error}") from None
            self._unpacked += len(piece)
            if self._unpacked > self._limit:
                raise self._too_large()
            if not has_new_data:
                # A small input may decompress to much data: yield to other tasks between the pieces.
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
        """The complete body, up to `limit` bytes. A truncated body or a timeout counts as the end."""
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
        """Resumes the waiting task synchronously: never call it from within the parser."""
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
        """Adds a part of the body. Raises `ValueError` above the size limit."""
        self._left -= len(data)
        if self._left < 0:
            self.fail_as_too_large()
        self._chunks.append(data)
        self._size += len(data)
        if self._size > HIGH_WATER and not self.held:
            self._hold(held=True)

    def fail_as_too_large(self) -> None:
        """Fails the response, and raises `ValueError` to stop the parser."""
        self.fail(self._too_large())
        raise ValueError("response too large")

    def _too_large(self) -> MalformedReply:
        return MalformedReply(f"The provider's response is larger than {self._limit} bytes (max_response)")

    def begin(self, status: int) -> None:
        """Status and headers are complete. Raises `ValueError` if `content-length` is above the size limit."""
        length = self.raw_headers.get(b"content-length")
        if length is not None and length.isdigit() and int(length[:20]) > self._limit:
            self.fail_as_too_large()
        self.status = status

    def end(self) -> None:
        """The body is complete. Releases the connection."""
        self.ended = True
        self._release()

    def fail(self, error: UpstreamError) -> None:
        """Fails the response with `error`, unless it has ended or failed before."""
        if self._error is None and not self.ended:
            self._error = error

    def _release(self) -> None:
        self._connection = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self, *, linger: bool = False) -> None:
        """Ends the call. `linger`: the content is complete, so read the last bytes to keep the connection reusable."""
        connection = self._connection
        self._release()
        if connection is None:
            return
        if linger and self._error is None:
            connection.discard()
        else:
            connection.abort()


def body_kind(head: bytes, *, ended: bool = False) -> BodyKind | None:
    """Whether a body that starts with `head` is an event stream or JSON; None if more bytes are needed to decide.

    Some servers send JSON as text/plain or text/html, and events without a content type. So the bytes decide first, and
    the content type only if they are inconclusive.
    """
    prefix = (head if head.startswith(_BOM) else head.lstrip()).removeprefix(_BOM).lstrip()[:_LONGEST_FIELD]
    if prefix[:1] in (b"{", b"["):
        return "json"
    if prefix.startswith(_FIELDS):
        return "events"
    if ended:
        return ""
    if not prefix or (len(prefix) < 3 and _BOM.startswith(prefix)):
        return None
    return None if any(len(prefix) < len(field) and field.startswith(prefix) for field in _FIELDS) else ""


class Wakeup:
    """An awaitable that resumes its task synchronously, without another iteration of the event loop.

    `wake` resumes the task immediately; with a future, the loop would resume it in its next iteration. An iteration
    polls the kernel once more, which is a tenth of the cost of a paced event. To a task this object is a future: it has
    all that `asyncio.Task` uses. It is awaited once, by one task. Call `wake` from a callback of the loop, never from a
    task.

    `_asyncio_future_blocking` is private to asyncio: a task uses it to tell futures from other awaitables. Python 3.11
    to 3.13 have it, for the futures of other libraries (`asyncio.isfuture`); a test fails when it is gone.
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
        """Runs the waiting task until it waits again. Does nothing if the task was cancelled."""
        callback, self._callback = self._callback, None
        if callback is not None and self._context is not None:
            self._context.run(callback, self)

    # The part of the future interface that a task uses

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The task's event loop."""
        return self._loop

    def add_done_callback(self, callback: Callable[[Wakeup], object], *, context: Context) -> None:
        """Stores the callback that resumes the task."""
        self._callback = callback
        self._context = context

    def cancel(self, msg: object = None) -> bool:
        """Cancels the wait. The task is notified in the loop's next iteration, as with any future."""
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
