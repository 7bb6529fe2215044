"""One connection of HTTP/2 and its streams.

Frames are read and written by h2. httpx's own HTTP/2 (httpcore 1.0) does not do here: it resets no stream that is given
up, so a model would go on writing, and it breaks off every stream when a server closes a connection in good order.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import httpcore
from h2.errors import ErrorCodes

from contract.errors import ConnectFailed, IncompleteReply, MalformedReply, UpstreamError
from gateway.providers.goaway import GoAway, GoAwayReader
from gateway.providers.response import HIGH_WATER, Response
from gateway.providers.transport import IDLE_S, LINGER_S, MAX_HEADER_BYTES, add_header

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator


MAX_STREAMS = 100
# A connection by which nothing has come for so long may be dead, without anybody having said so.
QUIET_S = 5.0
_PIECE = 1 << 16
_SETTINGS = h2.settings.SettingCodes


class Unprocessed(ConnectFailed):
    """The server has not begun to answer, and another connection may do better."""


class _Stream:
    """Implements `gateway.providers.response.Connection`: one request and its answer."""

    def __init__(self, connection: Http2Connection, number: int, body: bytes) -> None:
        self.number = number
        self.left = memoryview(body)
        self.response: Response | None = None
        self.unread = 0
        self._connection = connection
        self._held = False

    def hold(self, *, held: bool) -> None:
        """Its window is not opened again while it is held: the server waits."""
        self._held = held
        if not held:
            self._connection.acknowledge(self)
            self._connection.flush()

    def received(self, size: int) -> None:
        """So many bytes of a window are used up."""
        self.unread += size
        if not self._held:
            self._connection.acknowledge(self)

    def abort(self) -> None:
        self.response = None
        self._connection.reset(self)

    def discard(self) -> None:
        self.response = None
        self.hold(held=False)
        asyncio.get_running_loop().call_later(LINGER_S, self._connection.reset, self)


class Http2Connection:
    """One connection and its streams. Two tasks of it read and write."""

    def __init__(self, network: httpcore.AsyncNetworkStream, loop: asyncio.AbstractEventLoop) -> None:
        self._network = network
        self._loop = loop
        self._streams: dict[int, _Stream] = {}
        self._goaway = GoAwayReader()
        self._writing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self.leaving = self.closed = False
        self.idle_since = time.monotonic()
        self._heard = loop.time()
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self._h2.local_settings = h2.settings.Settings(
            client=True,
            initial_values={
                _SETTINGS.ENABLE_PUSH: 0,
                _SETTINGS.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
                _SETTINGS.INITIAL_WINDOW_SIZE: HIGH_WATER,
                _SETTINGS.MAX_HEADER_LIST_SIZE: MAX_HEADER_BYTES,
            },
        )
        self._h2.initiate_connection()
        # The connection's window holds all of its streams: one that is held does not hold the others.
        self._h2.increment_flow_control_window(MAX_STREAMS * HIGH_WATER)
        self._flushing = False
        self._reading = self._run(self._read())
        self.flush()

    def _run(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @property
    def calls(self) -> int:
        """How many are open."""
        return len(self._streams)

    def takes_calls(self) -> bool:
        """Whether one more may begin. Closes the connection where none is open and none will be."""
        most = min(MAX_STREAMS, self._h2.remote_settings.max_concurrent_streams)
        stale = most == 0 or self.idle_since < time.monotonic() - IDLE_S
        if stale and not self._streams:
            self.close()
        return not self.closed and not self.leaving and self._h2.open_outbound_streams < most

    def send(self, headers: list[tuple[bytes, bytes]], body: bytes, limit: int) -> Response:
        """Begins a call. Raises `Unprocessed` where no stream is to be had."""
        try:
            number = self._h2.get_next_available_stream_id()
            self._h2.send_headers(number, headers, end_stream=not body)
        except h2.exceptions.ProtocolError:
            self.leaving = True
            raise Unprocessed("The provider's connection takes no more calls") from None
        stream = self._streams[number] = _Stream(self, number, body)
        stream.response = Response(stream, self._loop, limit)
        self._send_body(stream)
        self.flush()
        return stream.response

    def _send_body(self, stream: _Stream) -> None:
        """As much as the server's windows take."""
        while stream.left:
            window = self._h2.local_flow_control_window(stream.number)
            size = min(window, self._h2.max_outbound_frame_size, len(stream.left))
            if size <= 0:
                return
            piece, stream.left = stream.left[:size], stream.left[size:]
            self._h2.send_data(stream.number, bytes(piece), end_stream=not stream.left)
            self._goaway.empty = 0

    def acknowledge(self, stream: _Stream) -> None:
        """Opens the windows again by what was read, with the next `flush`."""
        if stream.unread and not self.closed:
            size, stream.unread = stream.unread, 0
            with contextlib.suppress(h2.exceptions.ProtocolError):
                self._h2.acknowledge_received_data(size, stream.number)

    def reset(self, stream: _Stream) -> None:
        """Tells the server that nobody reads the rest."""
        if self._streams.get(stream.number) is stream:
            self.acknowledge(stream)
            with contextlib.suppress(h2.exceptions.ProtocolError):
                self._h2.reset_stream(stream.number, ErrorCodes.CANCEL)
            # Of a dead connection each call would be given up at its deadline.
            self.leaving = self.leaving or self._loop.time() - self._heard >= QUIET_S
            self._forget(stream)
            self.flush()

    def _forget(self, stream: _Stream) -> None:
        del self._streams[stream.number]
        if not self._streams:
            self.idle_since = time.monotonic()
            if self.leaving:
                self.close()

    def _end(self, stream: _Stream, problem: UpstreamError | None = None) -> None:
        # What a held stream has not acknowledged is still of the connection's window.
        self.acknowledge(stream)
        self._forget(stream)
        response, stream.response = stream.response, None
        if response is None:
            return
        if problem is None:
            response.end()
        else:
            response.fail(problem)
        # A wakeup is made from a callback of the loop, never from a task.
        self._loop.call_soon(response.wake)

    # The tasks

    def flush(self) -> None:
        """Writes what there is to say."""
        # Who writes already takes what has come meanwhile.
        if not self._flushing and not self._writing.locked() and not self.closed:
            self._flushing = True
            self._run(self._write())

    async def _write(self) -> None:
        async with self._writing:
            self._flushing = False
            try:
                while data := self._h2.data_to_send():
                    await self._network.write(data)
            except httpcore.NetworkError:
                self._lost(Unprocessed("The provider closed the connection before answering"))

    async def _read(self) -> None:
        problem: UpstreamError = Unprocessed("The provider closed the connection before answering")
        try:
            while data := await self._network.read(_PIECE):
                self._heard = self._loop.time()
                data, goaways = self._goaway.feed(data)
                for event in self._h2.receive_data(data) if data else ():
                    self._take(event)
                for each in goaways:
                    self._leave(each)
                # What is to be said comes before more is read: who floods us with questions waits for itself.
                await self._write()
                if self.closed:
                    return
        except httpcore.NetworkError:
            pass
        except (h2.exceptions.ProtocolError, ValueError):
            problem = MalformedReply("The provider's answer is not HTTP/2")
            with contextlib.suppress(httpcore.NetworkError):
                await self._network.write(self._h2.data_to_send())
        finally:
            self._lost(problem)
            await self._network.aclose()

    def _take(self, event: h2.events.Event) -> None:
        stream = self._streams.get(getattr(event, "stream_id", 0) or 0)
        if isinstance(event, h2.events.WindowUpdated | h2.events.RemoteSettingsChanged):
            for each in list(self._streams.values()):
                with contextlib.suppress(h2.exceptions.ProtocolError):
                    self._send_body(each)
        elif stream is None:
            return
        elif isinstance(event, h2.events.ResponseReceived):
            self._begin(stream, event.headers or [])
        elif isinstance(event, h2.events.DataReceived):
            self._feed(stream, event.data or b"", event.flow_controlled_length or 0)
        elif isinstance(event, h2.events.StreamEnded):
            if stream.left:
                with contextlib.suppress(h2.exceptions.ProtocolError):
                    self._h2.reset_stream(stream.number, ErrorCodes.NO_ERROR)
            self._end(stream)
        elif isinstance(event, h2.events.StreamReset):
            self._end(stream, _reset_by_server(event, stream.response))

    def _begin(self, stream: _Stream, headers: list[tuple[bytes, bytes]]) -> None:
        response, status = stream.response, 0
        if response is None:
            return
        for name, value in headers:
            if name == b":status":
                status = int(value)
            elif not name.startswith(b":"):
                add_header(response.raw_headers, bytes(name), bytes(value))
        with self._failed_resets(stream):
            if not 200 <= status <= 999:
                response.fail(MalformedReply("The provider's answer has no valid status"))
                raise ValueError
            response.begin(status)
        self._loop.call_soon(response.wake)

    def _feed(self, stream: _Stream, data: bytes, size: int) -> None:
        stream.received(size)
        if (response := stream.response) is not None and data:
            with self._failed_resets(stream):
                response.take(data)
            self._loop.call_soon(response.wake)

    @contextlib.contextmanager
    def _failed_resets(self, stream: _Stream) -> Iterator[None]:
        try:
            yield
        except ValueError:
            # The response has failed, and says why.
            self.reset(stream)

    def _leave(self, goaway: GoAway) -> None:
        """The server closes in good order: what it has begun goes on, what it has not begun goes elsewhere."""
        self.leaving = True
        for stream in list(self._streams.values()):
            if stream.number > goaway.last_stream:
                self._end(stream, Unprocessed("The provider is closing the connection"))
        if not self._streams:
            self.close()

    def _lost(self, problem: UpstreamError) -> None:
        self.closed = True
        for stream in list(self._streams.values()):
            begun = stream.response is not None and stream.response.status
            cut = IncompleteReply("The provider closed the connection before the end of its answer")
            self._end(stream, cut if begun and isinstance(problem, ConnectFailed) else problem)
        if self._reading is not asyncio.current_task():
            self._reading.cancel()

    def close(self) -> None:
        """At once."""
        self._lost(ConnectFailed("The connection to the provider was closed"))

    async def ended(self) -> None:
        """Waits for its tasks."""
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _reset_by_server(event: h2.events.StreamReset, response: Response | None) -> UpstreamError:
    if response is not None and response.status:
        return IncompleteReply("The provider reset the stream before the end of its answer")
    code = event.error_code or 0
    if code == ErrorCodes.REFUSED_STREAM:
        return Unprocessed("The provider refused the stream")
    return ConnectFailed(f"The provider reset the stream before answering (error {int(code)})")
