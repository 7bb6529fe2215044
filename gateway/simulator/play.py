"""Plays a reply onto a connection as its behaviour wants: with its pauses, its cuts, and its silences."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.simulator.routes import Reply

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
_FIRST_WORDS = 6
BROKEN = b'{"broken": '


class Play:
    """One reply. Cancelling `run` is what happens when the client leaves."""

    def __init__(self, transport: asyncio.Transport, reply: Reply) -> None:
        self._transport = transport
        self._reply = reply
        self._behaviour = reply.behaviour

    async def run(self) -> None:
        """Writes it."""
        behaviour = self._behaviour
        await self._pause(max(behaviour.number("slow"), behaviour.number("latency")))
        if behaviour.has("refuse"):
            self._transport.close()
            return
        if behaviour.has("hang"):
            await self._silence()
        if behaviour.has("html"):
            await self._whole(_HTML, "text/html; charset=utf-8")
        elif behaviour.has("emptybody"):
            await self._whole(b"", self._reply.content_type)
        elif self._reply.frames is None:
            await self._play_body(self._reply.body)
        else:
            await self._play_frames(self._reply.frames)

    @staticmethod
    async def _pause(milliseconds: int) -> None:
        if milliseconds > 0:
            await asyncio.sleep(milliseconds / 1000)

    @staticmethod
    async def _silence() -> None:
        await asyncio.Event().wait()

    async def _play_body(self, body: bytes) -> None:
        behaviour, reply = self._behaviour, self._reply
        if reply.status != 200:
            await self._whole(body, reply.content_type)
            return
        if behaviour.has("error200") or behaviour.has("erroreven"):
            body = reply.error_body
        if behaviour.has("malformed"):
            body = body[: len(body) // 2] + b"}" + BROKEN
        if behaviour.has("cutclean"):
            body = body[: len(body) // 2]
        part = len(body) // 2
        if behaviour.has("cutbyte"):
            part = next(place for place, byte in enumerate(body) if byte >= 0xC0) + 1
        for word in ("stall", "cut", "cutbyte"):
            if behaviour.has(word):
                self._write(self._head(f"content-length: {len(body)}", reply.content_type))
                self._write(body[: 0 if behaviour.words[word] == 0 else part])
                if word == "stall":
                    await self._silence()
                await self._drop()
                return
        await self._whole(body, reply.content_type)

    async def _whole(self, body: bytes, content_type: str) -> None:
        await self._send(self._head(f"content-length: {len(body)}", content_type) + body)

    async def _play_frames(self, frames: list[bytes]) -> None:
        behaviour, reply = self._behaviour, self._reply
        frames = list(frames)
        if behaviour.has("malformed"):
            place = min(behaviour.number("malformed", 1), len(frames)) - 1
            head, _, _ = frames[place].partition(b"data: ")
            frames[place] = head + b"data: " + BROKEN + b"\n\n"
        if behaviour.has("error200"):
            frames = [reply.error_event]
        if behaviour.has("erroreven"):
            frames = [*frames[: behaviour.number("erroreven", 5)], reply.error_event]
        for word in ("stall", "cut", "cutclean"):
            if behaviour.has(word):
                frames = frames[: min(behaviour.number(word, 5), len(frames) - reply.ends)]
        if behaviour.has("cutbyte"):
            frames = _cut_in_character(frames)
        self._write(self._head("transfer-encoding: chunked", reply.content_type))
        await self._send_frames(frames)
        if behaviour.has("stall"):
            await self._silence()
        if behaviour.has("cut") or behaviour.has("cutbyte"):
            await self._drop()
            return
        await self._send(b"0\r\n\r\n")

    async def _send_frames(self, frames: list[bytes]) -> None:
        pace = self._behaviour.number("pace")
        if self._behaviour.has("burst"):
            self._write(b"".join([_chunk(frame) for frame in frames]))
            return
        for frame in frames:
            await self._send(_chunk(frame))
            if pace:
                await self._pause(pace)
            elif len(frames) < 1000:
                # A turn of the loop between events, so that they come apart; very long streams come faster.
                await asyncio.sleep(0)

    async def _send(self, data: bytes) -> None:
        if not self._behaviour.has("bytes1"):
            self._write(data)
            return
        for place in range(len(data)):
            self._write(data[place : place + 1])
            await asyncio.sleep(0)

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    async def _drop(self) -> None:
        """What was written must go out first: an abort would take it back."""
        for _ in range(1000):
            await asyncio.sleep(0.005)
            if self._transport.get_write_buffer_size() == 0:
                break
        self._transport.abort()

    def _head(self, framing: str, content_type: str) -> bytes:
        reply = self._reply
        lines = [f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, '')}", f"content-type: {content_type}", framing]
        if reply.retry_after:
            lines.append(f"retry-after: {reply.retry_after}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _cut_in_character(frames: list[bytes]) -> list[bytes]:
    """The frames up to one with a character of several bytes in it, some words in, cut within that character."""
    for number, frame in enumerate(frames):
        if number < _FIRST_WORDS:
            continue
        for place, byte in enumerate(frame):
            if byte >= 0xC0:
                return [*frames[:number], frame[: place + 1]]
    return frames[: len(frames) // 2]
