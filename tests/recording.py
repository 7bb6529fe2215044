"""An upstream that keeps what it is asked and answers as a test says: what a provider would have seen."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# The beginning of a config whose provider `up` is the recording upstream at `port`, to be formatted.
PROVIDER = """
version: 1
providers:
  up: {{kind: openai, base_url: "http://127.0.0.1:{port}/v1", api_key: upstream-key}}
"""
HEAD = PROVIDER + "server: {{data: data}}\n"

Answer = Callable[[dict[str, Any]], str | dict[str, Any]]


def last_words(body: dict[str, Any]) -> str:
    """The words of an OpenAI request's last message."""
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or ())


class Recording:
    """What was asked, oldest first, and how to answer: words, or an OpenAI message."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.answers: list[Answer] = []
        self.port = 0
        self.finish = "stop"

    @property
    def seen(self) -> str:
        """All that was asked, as JSON with its letters as they are."""
        return json.dumps(self.bodies, ensure_ascii=False)

    def forget(self) -> None:
        """What it was asked, and what it was to answer."""
        self.bodies.clear()
        self.answers.clear()
        self.finish = "stop"

    def message(self, body: dict[str, Any]) -> dict[str, Any]:
        answer = self.answers.pop(0) if self.answers else last_words
        made = answer(body)
        return {"role": "assistant", "content": made} if isinstance(made, str) else {"role": "assistant", **made}


@contextlib.contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """The free port on which it answers, a thread a request, until the end of the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def recording_upstream() -> Iterator[Recording]:
    """Speaks Chat Completions on a free port, streamed a few letters at a time."""
    recording = Recording()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: Any) -> None:
            """Says nothing."""

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            recording.bodies.append(body)
            if "input" in body:
                data = [{"index": i, "embedding": [0.1, 0.2]} for i, _ in enumerate(body["input"])]
                self._send(
                    json.dumps(
                        {"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}}
                    ),
                    "application/json",
                )
                return
            message = recording.message(body)
            if body.get("stream"):
                self._send(_events(message, recording.finish), "text/event-stream")
            else:
                choice = {"index": 0, "message": message, "finish_reason": recording.finish}
                reply = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
                self._send(json.dumps(reply), "application/json")

        def _send(self, text: str, kind: str) -> None:
            data = text.encode()
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    with listening(Handler) as port:
        recording.port = port
        yield recording


def _events(message: dict[str, Any], finish: str) -> str:
    deltas: list[dict[str, Any]] = []
    for key in ("reasoning_content", "content", "refusal"):
        text = message.get(key) or ""
        deltas += [{key: text[place : place + 3]} for place in range(0, len(text), 3)]
    for index, call in enumerate(message.get("tool_calls") or ()):
        arguments = call["function"]["arguments"]
        head = {
            "index": index,
            "id": call["id"],
            "type": "function",
            "function": {"name": call["function"]["name"], "arguments": ""},
        }
        deltas.append({"tool_calls": [head]})
        deltas += [
            {"tool_calls": [{"index": index, "function": {"arguments": arguments[place : place + 3]}}]}
            for place in range(0, len(arguments), 3)
        ]
    chunks = [
        {"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas
    ]
    chunks.append({"id": "c", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
