"""A server of HTTP/2 over TLS that does exactly what it is told, frame by frame."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Sequence

import h2.config
import h2.connection
import h2.events
import h2.settings
from h2.errors import ErrorCodes


class Asked:
    """One request, and the means to answer it."""

    def __init__(self, connection: Connection, stream: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.connection = connection
        self.stream = stream
        self.headers = {name.decode(): value.decode() for name, value in headers}
        self.body = b""
        self.complete = asyncio.Event()
        self.reset = asyncio.Event()
        self.window = asyncio.Event()

    def head(self, status: int = 200, **headers: str) -> None:
        fields = [(":status", str(status)), *((name.replace("_", "-"), value) for name, value in headers.items())]
        self.connection.h2.send_headers(self.stream, fields)
        self.connection.flush()

    def data(self, data: bytes, *, end: bool = False) -> None:
        """As much as fits a window: short pieces only."""
        self.connection.h2.send_data(self.stream, data, end_stream=end)
        self.connection.flush()

    async def all_of(self, data: bytes, sent: Callable[[int], None] = lambda _: None) -> None:
        """Sends as the windows open."""
        h2, left = self.connection.h2, memoryview(data)
        while left:
            size = min(len(left), h2.local_flow_control_window(self.stream), h2.max_outbound_frame_size)
            if size <= 0:
                self.window.clear()
                await self.window.wait()
                continue
            h2.send_data(self.stream, bytes(left[:size]))
            left = left[size:]
            self.connection.flush()
            await self.connection.writer.drain()
            sent(size)
        h2.end_stream(self.stream)
        self.connection.flush()

    def answer(self, body: bytes = b"hi", status: int = 200, **headers: str) -> None:
        self.head(status, **headers)
        self.data(body, end=True)

    def break_off(self, code: ErrorCodes = ErrorCodes.INTERNAL_ERROR) -> None:
        self.connection.h2.reset_stream(self.stream, code)
        self.connection.flush()


Play = Callable[[Asked], Awaitable[None]]


class Connection:
    """One connection of a client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, settings: dict[int, int]) -> None:
        self.reader = reader
        self.writer = writer
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
        self.h2.initiate_connection()
        if settings:
            self.h2.update_settings({h2.settings.SettingCodes(code): value for code, value in settings.items()})
        self.streams: dict[int, Asked] = {}
        self.gone = asyncio.Event()
        self.flush()

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    def goaway(self, last_stream: int, code: int = 0) -> None:
        """Written by hand: h2's own ends the connection for h2."""
        payload = last_stream.to_bytes(4) + code.to_bytes(4)
        self.writer.write(len(payload).to_bytes(3) + b"\x07\x00" + bytes(4) + payload)


class Http2Upstream:
    """Hands each request to `play`; with a `tls` that offers no h2 it speaks nothing."""

    def __init__(self, play: Play, tls: ssl.SSLContext, settings: dict[int, int] | None = None) -> None:
        self.play = play
        self.settings = settings or {}
        self.connections: list[Connection] = []
        self.asked: list[Asked] = []
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Http2Upstream:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self.server.sockets[0].getsockname()[1]
        self.url = f"https://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for each in self.connections:
            each.writer.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer, self.settings)
        self.connections.append(connection)
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while data := await reader.read(65_536):
                for event in connection.h2.receive_data(data):
                    self._take(connection, event)
                connection.flush()
        connection.gone.set()
        writer.close()

    def _take(self, connection: Connection, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            asked = Asked(connection, event.stream_id or 0, event.headers or [])
            connection.streams[asked.stream] = asked
            self.asked.append(asked)
        elif isinstance(event, h2.events.WindowUpdated):
            for each in connection.streams.values():
                each.window.set()
        found = connection.streams.get(getattr(event, "stream_id", 0) or 0)
        if found is None:
            return
        if isinstance(event, h2.events.DataReceived):
            found.body += event.data or b""
            connection.h2.acknowledge_received_data(event.flow_controlled_length or 0, found.stream)
        elif isinstance(event, h2.events.StreamReset):
            found.reset.set()
        elif isinstance(event, h2.events.StreamEnded):
            found.complete.set()
            task = asyncio.get_running_loop().create_task(self._played(found))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _played(self, asked: Asked) -> None:
        with contextlib.suppress(h2.exceptions.ProtocolError):
            await self.play(asked)


def offering(tls: ssl.SSLContext, *protocols: str) -> ssl.SSLContext:
    """A server's context that offers them by ALPN."""
    tls.set_alpn_protocols(list(protocols))
    return tls
