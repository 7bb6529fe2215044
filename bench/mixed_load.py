"""Clients that send mixed questions, abandon some answers, and retry on another process when the gateway dies.

Each try has its own request id and trace id, so that its ledger row and the provider's bills can be found.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Callable
from typing import Literal

import msgspec

from bench.traffic import KEY, Kind, Question, Traffic
from contract.tokens import estimate_tokens

READ_BYTES = 65_536
PATIENCE_S = 60.0
PAUSE_S = 0.05
_WORD = re.compile(rb"word\d+")


class Try(msgspec.Struct):
    """One request as its caller saw it. `life` counts the gateway's processes; `ended` is of the monotonic clock."""

    request_id: str
    trace: str
    kind: Kind
    life: int
    how: Literal["answered", "left", "broken"] = "broken"
    status: int = 0
    ended: float = 0.0
    heard: int = 0
    """Tokens of the words that had come when it left."""


class Connection:
    """One connection to the gateway; a new one is opened when it is gone."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    def drop(self) -> None:
        """Hangs up at once."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def ask(self, question: Question, tried: Try) -> None:
        """Asks, and writes down how it went. Raises `OSError` or `EOFError` when the gateway is gone."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        span = tried.trace[:16]
        head = (
            f"POST {question.path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {KEY}\r\n"
            f"content-type: application/json\r\nx-request-id: {tried.request_id}\r\n"
            f"traceparent: 00-{tried.trace}-{span}-01\r\ncontent-length: {len(question.body)}\r\n\r\n"
        )
        writer.write(head.encode() + question.body)
        if question.leave_s is not None:
            await asyncio.sleep(question.leave_s)
            self._leave(tried, b"")
            return
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        tried.status = int(answer[9:12])
        if b"transfer-encoding: chunked" in answer:
            if not await self._read_chunks(reader, question.leave_at, tried):
                return
        else:
            length = int(answer.partition(b"content-length: ")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
        tried.how, tried.ended = "answered", time.monotonic()

    async def _read_chunks(self, reader: asyncio.StreamReader, leave_at: bytes, tried: Try) -> bool:
        """Whether it was read to its end."""
        got = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            data = await reader.readexactly(size + 2)
            if leave_at:
                got += data[:-2]
                if leave_at in got:
                    self._leave(tried, got)
                    return False
        await reader.readuntil(b"\r\n")
        return True

    def _leave(self, tried: Try, got: bytes) -> None:
        self.drop()
        words = [word.decode() for word in _WORD.findall(got)]
        # The last may have come in part.
        tried.heard = estimate_tokens(" ".join(words[:-1]))
        tried.how, tried.ended = "left", time.monotonic()


class MixedLoad:
    """`concurrency` callers until `count` questions are answered or left."""

    def __init__(self, port: int, count: int, concurrency: int, seed: int) -> None:
        self.tries: list[Try] = []
        self.done = 0
        self.life = 0
        self._port = port
        self._count = count
        self._drawn = 0
        self._concurrency = concurrency
        self._traffic = Traffic(seed)
        self._ids = random.Random(seed + 1)
        self._wanted = 0
        self._reached = asyncio.Event()

    async def run(self, progress: Callable[[], None] = lambda: None) -> None:
        """Returns when all is done; `progress` is called after each. Raises `TimeoutError` when no gateway comes."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._concurrency):
                group.create_task(self._call(progress))

    async def reach(self, count: int) -> None:
        """Returns once so many are done."""
        self._wanted = count
        self._reached.clear()
        if self.done < count:
            await self._reached.wait()

    async def _call(self, progress: Callable[[], None]) -> None:
        connection, second = Connection(self._port), Connection(self._port)
        while self._drawn < self._count:
            self._drawn += 1
            question = self._traffic.draw()
            if question.kind.paired:
                await self._ask_in_pair(question, connection, second)
            else:
                await self._ask(question, connection)
            self.done += 1
            if self.done >= self._wanted:
                self._reached.set()
            progress()
        connection.drop()
        second.drop()

    async def _ask_in_pair(self, question: Question, first: Connection, second: Connection) -> None:
        """The second joins the first's answer, which the first leaves while the second reads on."""
        patient = msgspec.structs.replace(question, leave_at=b"")

        async def join() -> None:
            await asyncio.sleep(0.03)
            await self._ask(patient, second)

        async with asyncio.TaskGroup() as group:
            group.create_task(self._ask(question, first))
            group.create_task(join())

    async def _ask(self, question: Question, connection: Connection) -> None:
        """Until the gateway lives long enough to answer."""
        until = time.monotonic() + PATIENCE_S
        while True:
            trace = f"{self._ids.getrandbits(128) | 1 << 120 | 1 << 70:032x}"
            tried = Try(f"{trace[:12]}.{len(self.tries)}", trace, question.kind, self.life)
            self.tries.append(tried)
            try:
                async with asyncio.timeout_at(asyncio.get_running_loop().time() + PATIENCE_S):
                    await connection.ask(question, tried)
                return
            except (OSError, EOFError):
                connection.drop()
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(PAUSE_S)
