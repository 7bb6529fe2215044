"""A client that shows every byte: what came, in which HTTP framing, and how the connection ended."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

QUESTION = [{"role": "user", "content": "Hello"}]
PATHS = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/{model}:generateContent",
}


@dataclass
class Raw:
    """`framing` is `length`, `chunked` or nothing; `whole` says that the HTTP body came to its proper end."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    framing: str = ""
    whole: bool = False
    ended: str = "open"  # or "closed", or "reset"
    reads: int = 0

    def json(self) -> Any:
        return json.loads(self.body)

    def frames(self) -> list[bytes]:
        """The complete server-sent events."""
        return self.body.replace(b"\r\n", b"\n").split(b"\n\n")[:-1]


def call(
    url: str,
    dialect: str,
    behaviour: str = "",
    stream: bool = False,
    wait_s: float = 2.0,
    more: dict[str, Any] | None = None,
) -> Raw:
    """Asks in a vendor's words, with `behaviour` in the header."""
    path = PATHS[dialect].format(model="m")
    if dialect == "gemini":
        body: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}
        path = path.replace("generate", "streamGenerate") + "?alt=sse" if stream else path
    else:
        body = {"model": "m", "messages": QUESTION, "stream": stream}
        if dialect == "anthropic":
            body["max_tokens"] = 5000
    headers = {"x-simulate": behaviour, "anthropic-version": "2023-06-01"} if dialect == "anthropic" else {}
    return send(url, path, {**body, **(more or {})}, {**headers, "x-simulate": behaviour}, wait_s=wait_s)


def send(
    url: str, path: str, body: Any = None, headers: dict[str, str] | None = None, wait_s: float = 2.0, method: str = ""
) -> Raw:
    """One request on a connection of its own, read until its end or for `wait_s`."""
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method or ('POST' if data else 'GET')} {path} HTTP/1.1", "host: sim", f"content-length: {len(data)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items() if value]
    with connect(url) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode() + data)
        return receive(connection, wait_s)


def connect(url: str) -> socket.socket:
    address = urlsplit(url)
    connection = socket.create_connection((address.hostname, address.port), timeout=5)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def receive(connection: socket.socket, wait_s: float = 2.0) -> Raw:
    """Reads one response; a few bytes at a time would be as good."""
    raw, got, deadline = Raw(), b"", time.monotonic() + wait_s
    while not raw.whole:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            data = connection.recv(65536)
        except TimeoutError:
            break
        except ConnectionResetError:
            raw.ended = "reset"
            break
        if not data:
            raw.ended = "closed"
            break
        got += data
        raw.reads += 1
        parse(got, raw)
    return raw


def parse(got: bytes, raw: Raw) -> None:
    head, found, rest = got.partition(b"\r\n\r\n")
    if not found:
        return
    first, *lines = head.decode("latin-1").split("\r\n")
    raw.status = int(first.split()[1])
    raw.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "content-length" in raw.headers:
        raw.framing = "length"
        length = int(raw.headers["content-length"])
        raw.body, raw.whole = rest[:length], len(rest) >= length
    elif raw.headers.get("transfer-encoding") == "chunked":
        raw.framing = "chunked"
        raw.body, raw.whole = unchunk(rest)


def unchunk(data: bytes) -> tuple[bytes, bool]:
    """The chunks so far, and whether the last one was there."""
    out: list[bytes] = []
    while True:
        size, found, rest = data.partition(b"\r\n")
        if not found:
            return b"".join(out), False
        length = int(size, 16)
        out.append(rest[:length])
        if length == 0:
            return b"".join(out), rest[:2] == b"\r\n"
        if len(rest) < length + 2:
            return b"".join(out), False
        data = rest[length + 2 :]


def said(dialect: str, raw: Raw) -> str:
    """The text of a streamed answer."""
    text = ""
    for frame in raw.frames():
        data = next(line[6:] for line in frame.split(b"\n") if line.startswith(b"data: "))
        if data == b"[DONE]":
            continue
        event = json.loads(data)
        if dialect == "openai":
            text += "".join(choice["delta"].get("content") or "" for choice in event["choices"])
        elif dialect == "anthropic":
            text += event.get("delta", {}).get("text", "")
        else:
            text += "".join(part.get("text", "") for each in event["candidates"] for part in each["content"]["parts"])
    return text


def ended_cleanly(dialect: str, raw: Raw) -> bool:
    """Whether the vendor's own end of a stream is there."""
    if dialect == "openai":
        return raw.body.endswith(b"data: [DONE]\n\n")
    if dialect == "anthropic":
        return b"event: message_stop" in raw.body
    return b'"finishReason"' in raw.body
