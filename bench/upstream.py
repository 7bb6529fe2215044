"""The cheapest upstream that still responds like OpenAI: constant bytes from one asyncio protocol.

The model name selects the response: `bench` (JSON, constant), `bench-nN` (a stream of N events), with `-burst` (one
write) or `-paceMS` (an event every MS milliseconds). `python -m bench.upstream PORT` serves on 127.0.0.1 until stopped.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import cast

import uvloop

_WHOLE = (
    b'{"id":"chatcmpl-bench","object":"chat.completion","created":1760000000,"model":"bench","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"' + b"An answer of about the length that answers have. " * 6 + b'",'
    b'"refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":180,"completion_tokens":42,'
    b'"total_tokens":222,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0}}}'
)
_OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(_WHOLE), _WHOLE)
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_CHUNK = b'{"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1760000000,"model":"bench","choices":%b}'


def _event(choices: bytes) -> bytes:
    data = b"data: " + _CHUNK % choices + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(data), data)


_FIRST = _event(b'[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]')
_WORDS = [_event(b'[{"index":0,"delta":{"content":" word%02d"},"finish_reason":null}]' % n) for n in range(20)]
_USAGE = b'[],"usage":{"prompt_tokens":180,"completion_tokens":200,"total_tokens":380}'
_LAST = (
    _event(b'[{"index":0,"delta":{},"finish_reason":"stop"}]') + _event(_USAGE) + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
)
_MODEL = re.compile(rb'"model"\s*:\s*"bench(?:-n(\d+))?(-burst)?(?:-pace(\d+))?"')
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Upstream(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._left = 0
        self._pace = 0.0
        self._next = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(self._buffer, 0, end)
        whole = end + 4 + (int(length[1]) if length else 0)
        if len(self._buffer) < whole:
            return
        body, self._buffer = self._buffer[end + 4 : whole], self._buffer[whole:]
        asked = _MODEL.search(body)
        if asked is None or asked[1] is None:
            self._transport.write(_OK)
            return
        self._left = int(asked[1])
        if asked[2]:
            words = b"".join([_WORDS[n % 20] for n in range(self._left)])
            self._transport.write(_HEAD + _FIRST + words + _LAST)
            return
        self._transport.write(_HEAD + _FIRST)
        self._pace = int(asked[3] or 0) / 1000
        self._next = self._loop.time() + self._pace
        self._loop.call_at(self._next, self._step)

    def _step(self) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(_WORDS[self._left % 20])
        self._left -= 1
        if not self._left:
            self._transport.write(_LAST)
        elif self._pace:
            self._next += self._pace
            self._loop.call_at(self._next, self._step)
        else:
            self._loop.call_soon(self._step)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[1])))
