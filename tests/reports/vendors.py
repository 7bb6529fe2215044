"""An upstream that speaks for all three vendors and keeps every request as it came, and a gateway before it."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tests.live import Answer, Gateway, running_gateway

# What is sent: bytes as they are, a number of seconds to wait, None to close the connection.
Piece = bytes | float | None
Script = Callable[["Request"], bytes | list[Piece]]

NAMED = {"openai": "o", "anthropic": "a", "gemini": "g"}


class Request(msgspec.Struct):
    """One request as the upstream saw it; names of headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def streams(self) -> bool:
        return ":streamGenerate" in self.path or b'"stream":true' in self.body.replace(b" ", b"")


class Listener:
    """Listens on a free port of this machine, and serves each connection in a thread of its own."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        # Closing alone would leave the thread in `accept`, and the port with it.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        raise NotImplementedError


class Upstream(Listener):
    """Answers by `script`, one thread a connection."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[Request] = []
        super().__init__()

    @property
    def last(self) -> Any:
        """The body of the last request."""
        return self.requests[-1].json

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, ValueError), connection.makefile("rb") as reader:
            while (line := reader.readline()).strip():
                method, path, _ = line.decode().split(" ", 2)
                headers = {}
                while each := reader.readline().decode("latin-1").strip():
                    name, _, value = each.partition(":")
                    headers[name.lower()] = value.strip()
                body = reader.read(int(headers.get("content-length", 0)))
                request = Request(method, path, headers, body)
                self.requests.append(request)
                answer = self.script(request)
                for piece in answer if isinstance(answer, list) else [answer]:
                    if piece is None:
                        return
                    if isinstance(piece, float):
                        time.sleep(piece)
                    else:
                        connection.sendall(piece)


def response(
    body: Any, kind: str = "application/json", status: str = "200 OK", headers: Mapping[str, str] | None = None
) -> bytes:
    """A whole HTTP response; `body` as JSON unless it is bytes."""
    data = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    head = [f"HTTP/1.1 {status}", f"content-type: {kind}", f"content-length: {len(data)}"]
    head += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join((*head, "", "")).encode() + data


def events(*payloads: Any, named: bool = False, done: bool = True) -> bytes:
    """A whole response of server-sent events. `named`: each with its `type`, as Anthropic does; else [DONE] ends it."""
    data = b""
    for each in payloads:
        name = f"event: {each['type']}\n" if named else ""
        data += f"{name}data: {json.dumps(each, ensure_ascii=False)}\n\n".encode()
    return response(data + (b"" if named or not done else b"data: [DONE]\n\n"), "text/event-stream")


def openai_reply(text: str | None = "hello", finish: str = "stop", **message: Any) -> dict[str, Any]:
    """A chat completion; `message` adds fields to the assistant's message."""
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-x",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    }


def openai_chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    """One chunk of a streamed chat completion."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-x", "choices": [choice], **more}


def anthropic_reply(*blocks: dict[str, Any], stop: str = "end_turn") -> dict[str, Any]:
    """A message of Anthropic."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": list(blocks) or [{"type": "text", "text": "hello"}],
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": 5, "output_tokens": 2},
    }


def anthropic_events(*blocks: tuple[dict[str, Any], list[dict[str, Any]]], stop: str = "end_turn") -> bytes:
    """A streamed message: each block with its first form and its deltas."""
    payloads: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**anthropic_reply(), "content": [], "stop_reason": None}}
    ]
    for index, (block, deltas) in enumerate(blocks):
        payloads.append({"type": "content_block_start", "index": index, "content_block": block})
        payloads += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        payloads.append({"type": "content_block_stop", "index": index})
    ended = {"stop_reason": stop, "stop_sequence": None}
    payloads += [{"type": "message_delta", "delta": ended, "usage": {"output_tokens": 2}}, {"type": "message_stop"}]
    return events(*payloads, named=True)


def gemini_reply(*parts: dict[str, Any], finish: str | None = "STOP", **candidate: Any) -> dict[str, Any]:
    """An answer of Gemini, or one frame of its stream."""
    content = {"role": "model", "parts": list(parts) or [{"text": "hello"}]}
    return {
        "candidates": [{"content": content, "finishReason": finish, "index": 0, **candidate}],
        "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7},
        "modelVersion": "gemini-x",
        "responseId": "r1",
    }


def plain(request: Request) -> bytes:
    """Says "hello" in the dialect and manner that was asked for."""
    if "generateContent" in request.path or "streamGenerateContent" in request.path:
        return events(gemini_reply(), done=False) if request.streams else response(gemini_reply())
    if request.path.endswith("/messages"):
        if not request.streams:
            return response(anthropic_reply())
        return anthropic_events(({"type": "text", "text": ""}, [{"type": "text_delta", "text": "hello"}]))
    if not request.streams:
        return response(openai_reply())
    return events(
        openai_chunk({"role": "assistant", "content": ""}),
        openai_chunk({"content": "hello"}),
        openai_chunk({}, "stop"),
        {**openai_chunk({}), "choices": [], "usage": openai_reply()["usage"]},
    )


class House:
    """A gateway whose models o, a and g are one upstream as OpenAI, Anthropic and Gemini."""

    def __init__(self, gateway: Gateway, upstream: Upstream) -> None:
        self.gateway = gateway
        self.upstream = upstream

    @property
    def last(self) -> Any:
        """The body that the upstream got last."""
        return self.upstream.last

    def chat(
        self, model: str, messages: list[Any] | None = None, headers: Mapping[str, str] | None = None, **fields: Any
    ) -> Answer:
        """Asks over OpenAI's surface."""
        body = {"model": model, "messages": messages or [user()], **fields}
        return self.gateway.request("POST", "/v1/chat/completions", body, headers)

    def messages(
        self, model: str, messages: list[Any] | None = None, headers: Mapping[str, str] | None = None, **fields: Any
    ) -> Answer:
        """Asks over Anthropic's surface."""
        body = {"model": model, "max_tokens": 100, "messages": messages or [user()], **fields}
        return self.gateway.request(
            "POST", "/v1/messages", body, {"anthropic-version": "2023-06-01", **(headers or {})}
        )

    def generate(
        self,
        model: str,
        contents: list[Any] | None = None,
        headers: Mapping[str, str] | None = None,
        stream: bool = False,
        **fields: Any,
    ) -> Answer:
        """Asks over Gemini's surface."""
        body = {"contents": contents or [{"role": "user", "parts": [{"text": "hi"}]}], **fields}
        verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return self.gateway.request("POST", f"/v1beta/models/{model}:{verb}", body, headers)


def user(content: Any = "hi") -> dict[str, Any]:
    """A user's message, of OpenAI or Anthropic."""
    return {"role": "user", "content": content}


@contextlib.contextmanager
def house(
    folder: Path,
    script: Script = plain,
    models: str = "",
    more: str = "",
    environ: Mapping[str, str] | None = None,
    key: str = "k",
    providers: str = "",
) -> Iterator[House]:
    """`models`: further lines below `models:`; `more`: further sections of the YAML; `key`: of all providers.

    `providers`: further lines below `providers:`, in which `URL` stands for the upstream.
    """
    upstream = Upstream(script)
    yaml = f"""version: 1
providers:
  o: {{kind: openai, base_url: "{upstream.url}/v1", api_key: {key}}}
  a: {{kind: anthropic, base_url: "{upstream.url}", api_key: {key}}}
  g: {{kind: gemini, base_url: "{upstream.url}", api_key: {key}}}
{providers.replace("URL", upstream.url)}
observe: {{log: "off"}}
models:
  o: {{targets: [o/gpt-x], retry: {{attempts: 1}}}}
  a: {{targets: [a/claude-x], retry: {{attempts: 1}}}}
  g: {{targets: [g/gemini-x], retry: {{attempts: 1}}}}
{models}{more}"""
    try:
        with running_gateway(yaml, folder, environ) as gateway:
            yield House(gateway, upstream)
    finally:
        upstream.close()
