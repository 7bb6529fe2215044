"""Sends a reply on a connection with the behaviour's delays, cuts and stalls."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gateway.simulator import oddities

if TYPE_CHECKING:
    from gateway.simulator.routes import ScriptedReply
    from gateway.simulator.wire import Wire

_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
    529: "Overloaded",
}
_HTML = b"<!doctype html><html><title>Sign in</title><body>Please sign in.</body></html>"
_MIN_FRAMES = 6
_LONG_STREAM = 1000
BROKEN_JSON = b'{"broken": '


class Playback:
    """Sends one reply. `run` is cancelled when the client disconnects; `writable` is clear while it reads slowly."""

    def __init__(
        self, transport: asyncio.Transport, reply: ScriptedReply, writable: asyncio.Event, keep_alive: bool
    ) -> None:
        self._transport = transport
        self._reply = reply
        self._behaviour = reply.behaviour
        self._writable = writable
        self._keep_alive = keep_alive
        self.frames: list[bytes] = []  # the frames to send
        self.frames_sent = 0
        self.body_sent = b""  # the part of a body that was sent, if not all of it
        self.complete = False  # whether the response was sent completely and without faults

    async def run(self) -> None:
        """Sends the reply."""
        behaviour, reply = self._behaviour, self._reply
        await self._pause(behaviour.number("latency") + (0 if reply.frames else behaviour.number("slow")))
        if behaviour.has("refuse"):
            self._transport.close()
            return
        if behaviour.has("hang"):
            await self._wait_forever()
        await self._send_interim()
        kind = oddities.flood(behaviour)
        if kind and reply.wire is not None:
            await self._play_endlessly(reply.wire, kind)
        elif behaviour.has("html"):
            await self._send_body(_HTML, "text/html; charset=utf-8")
        elif behaviour.has("emptybody"):
            await self._send_body(b"", reply.content_type)
        elif reply.frames is None:
            await self._play_body(reply.body)
        else:
            await self._play_frames(reply.frames)
        if not self._keep_alive:
            self._transport.close()

    @staticmethod
    async def _pause(milliseconds: int) -> None:
        if milliseconds > 0:
            await asyncio.sleep(milliseconds / 1000)

    @staticmethod
    async def _wait_forever() -> None:
        await asyncio.Event().wait()

    async def _send_interim(self) -> None:
        behaviour = self._behaviour
        if behaviour.has("interim"):
            for status in (behaviour.number("interim"),) if behaviour.number("interim") else oddities.INTERIM:
                await self._send(oddities.interim(status))
        while behaviour.has("floodinterim"):
            await self._send(oddities.interim(102) * 10)
            await asyncio.sleep(0)

    async def _play_endlessly(self, wire: Wire, kind: str) -> None:
        """Sends until the client disconnects."""
        reply = self._reply
        await self._send(self._head("transfer-encoding: chunked", reply.content_type))
        if reply.frames is None:
            pieces: Iterator[bytes] = oddities.endless_body(wire, kind)
        else:
            pieces = oddities.endless_events(wire, kind)
            self.frames = [] if kind == "comments" else reply.frames[: wire.prelude]
            await self._send_frames(self.frames)
        while True:
            await self._send(_chunk(next(pieces)))
            await asyncio.sleep(0)

    async def _play_body(self, body: bytes) -> None:
        behaviour, reply = self._behaviour, self._reply
        if reply.status != 200:
            await self._send_body(body, reply.content_type)
            return
        if behaviour.has("error200") or behaviour.has("erroreven"):
            body = reply.error_body
        if behaviour.has("malformed"):
            body = body[: len(body) // 2] + b"}" + BROKEN_JSON
        if behaviour.has("cutclean"):
            body = body[: len(body) // 2]
        if behaviour.has("cutargs") or behaviour.has("deepargs"):
            body = oddities.break_arguments(body, behaviour)
        if behaviour.has("deep"):
            body = oddities.nest_deeply(body)
        if await self._play_misframed(body):
            return
        part = len(body) // 2
        if behaviour.has("cutbyte"):
            part = next((place + 1 for place, byte in enumerate(body) if byte >= 0xC0), part)
        for word in ("stall", "cut", "cutbyte"):
            if behaviour.has(word):
                self._write(self._head(f"content-length: {len(body)}", reply.content_type))
                self.body_sent = body[: 0 if behaviour.words[word] == 0 else part]
                self._write(self.body_sent)
                if word == "stall":
                    await self._wait_forever()
                await self._drop()
                return
        sent = await self._send_body(body, reply.content_type)
        self.complete = sent and body == reply.body
        if not self.complete and sent and body != reply.error_body:
            self.body_sent = body

    async def _play_misframed(self, body: bytes) -> bool:
        """Sends the body with incorrect framing, if the behaviour says so. Returns whether it did."""
        behaviour, content_type = self._behaviour, self._reply.content_type
        if behaviour.has("cutchunk"):
            await self._send(self._head("transfer-encoding: chunked", content_type))
            await self._send(_chunk(body)[: len(body) // 2])
        elif behaviour.has("longer"):
            await self._send(self._head(f"content-length: {len(body) + 10}", content_type) + body)
        elif behaviour.has("shorter"):
            await self._send(self._head(f"content-length: {len(body) // 2}", content_type) + body)
            return True
        else:
            return False
        await self._drop()
        return True

    async def _send_body(self, body: bytes, content_type: str) -> bool:
        body = oddities.compress(body, self._behaviour)
        return await self._send(self._head(f"content-length: {len(body)}", content_type) + body)

    async def _play_frames(self, frames: list[bytes]) -> None:
        behaviour = self._behaviour
        frames = self.frames = self._with_faults(list(frames))
        if behaviour.has("longer") or behaviour.has("shorter"):
            await self._play_misframed(b"".join(frames))
            return
        if oddities.content_encoding(behaviour):
            await self._send_body(b"".join(frames), self._reply.content_type)
            return
        head = self._head("transfer-encoding: chunked", self._reply.content_type)
        if behaviour.has("cutchunk"):
            self._write(head)
            place = min(behaviour.number("cutchunk", 5), len(frames) - 1)
            await self._send_frames(frames[:place])
            await self._send(b"ffff\r\n" + frames[place])
            await self._drop()
            return
        drops = behaviour.has("cut") or behaviour.has("cutbyte")
        end = b"" if drops or behaviour.has("stall") else b"0\r\n\r\n"
        if behaviour.has("burst"):
            await self._pause(behaviour.number("slow"))
            if self._write(b"".join([head, *map(_chunk, frames), end])):
                self.frames_sent = len(frames)
        else:
            self._write(head)
            await self._pause(behaviour.number("slow"))
            await self._send_frames(frames)
            await self._send(end)
        if behaviour.has("stall"):
            await self._wait_forever()
        if drops:
            await self._drop()
        self.complete = frames == self._reply.frames and self.frames_sent == len(frames) and not drops

    def _with_faults(self, frames: list[bytes]) -> list[bytes]:
        """The frames to send, with the behaviour's faults."""
        behaviour, reply = self._behaviour, self._reply
        if behaviour.has("malformed"):
            place = min(behaviour.number("malformed", 1), len(frames)) - 1
            head, _, _ = frames[place].partition(b"data: ")
            frames[place] = head + b"data: " + BROKEN_JSON + b"\n\n"
        if behaviour.has("deep"):
            place = min(behaviour.number("deep", 1), len(frames)) - 1
            frames[place] = oddities.nest_deeply(frames[place])
        if behaviour.has("cutargs") or behaviour.has("deepargs"):
            frames = [oddities.break_arguments(frame, behaviour) for frame in frames]
        if behaviour.has("error200"):
            frames = [reply.error_event]
        if behaviour.has("erroreven"):
            frames = [*frames[: behaviour.number("erroreven", 5)], reply.error_event]
        for word in ("stall", "cut", "cutclean"):
            if behaviour.has(word):
                frames = frames[: min(behaviour.number(word, 5), len(frames) - reply.ends)]
        return _cut_in_character(frames) if behaviour.has("cutbyte") else frames

    async def _send_frames(self, frames: list[bytes]) -> None:
        pace_ms = self._behaviour.number("pace")
        for frame in frames:
            if await self._send(_chunk(frame)):
                self.frames_sent += 1
            if pace_ms:
                await self._pause(pace_ms)
            elif len(frames) < _LONG_STREAM or self.frames_sent % 16 == 0:
                # Yields to the event loop between events so that they arrive separately; less often in long streams.
                await asyncio.sleep(0)

    async def _send(self, data: bytes) -> bool:
        if not self._writable.is_set():
            await self._writable.wait()
        if not self._behaviour.has("bytes1"):
            return self._write(data)
        sent = True
        for place in range(len(data)):
            sent = self._write(data[place : place + 1])
            await asyncio.sleep(0)
        return sent

    def _write(self, data: bytes) -> bool:
        """Writes the data. Returns False after the client has disconnected."""
        if self._transport.is_closing():
            return False
        if data:
            self._transport.write(data)
        return True

    async def _drop(self) -> None:
        """Drops the connection after the written data has been sent: an abort would discard it."""
        for _ in range(1000):
            await asyncio.sleep(0.005)
            if self._transport.get_write_buffer_size() == 0:
                break
        connection = self._transport.get_extra_info("socket")
        if self._behaviour.has("reset") and connection is not None:
            # A linger time of zero turns the close into a reset.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def _head(self, framing: str, content_type: str) -> bytes:
        reply = self._reply
        lines = [f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, '')}", f"content-type: {content_type}", framing]
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        content_encoding = oddities.content_encoding(self._behaviour)
        if content_encoding:
            lines.append(f"content-encoding: {content_encoding}")
        if not self._keep_alive:
            lines.append("connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _cut_in_character(frames: list[bytes]) -> list[bytes]:
    """The frames up to the first multi-byte character after some words, cut within that character."""
    for number, frame in enumerate(frames):
        if number < _MIN_FRAMES:
            continue
        for place, byte in enumerate(frame):
            if byte >= 0xC0:
                return [*frames[:number], frame[: place + 1]]
    return frames[: len(frames) // 2]
