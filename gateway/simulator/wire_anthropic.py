"""Anthropic's Messages as its servers speak them."""

from __future__ import annotations

import itertools
from typing import Any

from gateway.simulator.answers import Answer, Asked, Tokens
from gateway.simulator.behaviours import Behaviour
from gateway.simulator.wire import BadRequest, dump, text_of

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    529: "overloaded_error",
}
_ENDS = {"stop": "end_turn", "length": "max_tokens", "tools": "tool_use", "safety": "refusal"}
SAMPLING = ("temperature", "top_p", "top_k")


class AnthropicWire:
    """Implements `Wire`. `version` is the request's `anthropic-version`."""

    def __init__(self, version: str) -> None:
        self._version = version

    def read(self, body: dict[str, Any], model: str, stream: bool) -> Asked:
        """See `Wire.read`."""
        for name, kind in (("model", str), ("max_tokens", int), ("messages", list)):
            if name not in body:
                raise BadRequest(f"{name}: Field required", name)
            if not isinstance(body[name], kind):
                raise BadRequest(f"{name}: Input should be a valid {kind.__name__}", name)
        if self._version == "2026-10-21":
            for name in SAMPLING:
                if name in body:
                    raise BadRequest(f"{name}: Extra inputs are not permitted", name)
        messages = body["messages"]
        roles = [message.get("role") for message in messages]
        if not roles or any(a == b for a, b in itertools.pairwise(roles)):
            raise BadRequest("messages: roles must alternate between user and assistant", "messages")
        blocks = [block for each in messages if isinstance(each["content"], list) for block in each["content"]]
        self._check_results(messages)
        choice = body.get("tool_choice") or {}
        return Asked(
            model=body["model"],
            stream=bool(body.get("stream")),
            last_text=next((text_of(m["content"]) for m in reversed(messages) if m["role"] == "user"), ""),
            prompt_chars=sum(len(text_of(m["content"])) for m in messages) + len(text_of(body.get("system"))),
            images=sum(block["type"] == "image" for block in blocks),
            tool_results=sum(block["type"] == "tool_result" for block in blocks),
            tools=[tool["name"] for tool in body.get("tools") or ()],
            must_call=choice["name"] if choice.get("type") == "tool" else "*" if choice.get("type") == "any" else "",
            schema=((body.get("output_config") or {}).get("format") or {}).get("schema"),
            max_tokens=body["max_tokens"],
            stop=body.get("stop_sequences") or [],
        )

    @staticmethod
    def _check_results(messages: list[dict[str, Any]]) -> None:
        """Every tool use must have its result in the next message, as the vendor insists."""
        for message, following in itertools.pairwise(messages):
            content = message["content"] if isinstance(message["content"], list) else []
            used = {block["id"] for block in content if block["type"] == "tool_use"}
            answered = following["content"] if isinstance(following["content"], list) else []
            given = {block["tool_use_id"] for block in answered if block["type"] == "tool_result"}
            if used - given:
                raise BadRequest("messages: tool_use ids without tool_result blocks immediately after", "messages")

    def whole(self, asked: Asked, given: Answer, count: Tokens, behaviour: Behaviour) -> dict[str, Any]:
        """See `Wire.whole`."""
        content: list[dict[str, Any]] = []
        if given.thoughts:
            content.append({"type": "thinking", "thinking": "".join(given.thoughts), "signature": "c2ln"})
        if given.words:
            content.append({"type": "text", "text": "".join(given.words)})
        content += [{"type": "tool_use", "id": i, "name": name, "input": value} for i, name, value in given.calls]
        return self._message(asked, content, _ENDS[given.end], self._usage(count))

    @staticmethod
    def _message(asked: Asked, content: list[Any], reason: str | None, usage: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": "msg_sim",
            "type": "message",
            "role": "assistant",
            "model": asked.model,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": None,
            "usage": usage,
        }

    @staticmethod
    def _usage(count: Tokens) -> dict[str, Any]:
        return {
            "input_tokens": count.prompt - count.cached,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": count.cached,
            "output_tokens": count.completion,
        }

    def events(self, asked: Asked, given: Answer, count: Tokens, behaviour: Behaviour) -> list[bytes]:
        """See `Wire.events`."""
        usage = {**self._usage(count), "output_tokens": 1}
        frames = [_frame({"type": "message_start", "message": self._message(asked, [], None, usage)})]
        blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
        if given.thoughts:
            pieces = [{"type": "thinking_delta", "thinking": thought} for thought in given.thoughts]
            pieces.append({"type": "signature_delta", "signature": "c2ln"})
            blocks.append(({"type": "thinking", "thinking": "", "signature": ""}, pieces))
        if given.words:
            blocks.append(({"type": "text", "text": ""}, [{"type": "text_delta", "text": w} for w in given.words]))
        for call_id, name, arguments in given.calls:
            text = dump(arguments).decode()
            pieces = [{"type": "input_json_delta", "partial_json": each} for each in ("", text[:5], text[5:])]
            blocks.append(({"type": "tool_use", "id": call_id, "name": name, "input": {}}, pieces))
        for index, (block, pieces) in enumerate(blocks):
            frames.append(_frame({"type": "content_block_start", "index": index, "content_block": block}))
            frames += [_frame({"type": "content_block_delta", "index": index, "delta": piece}) for piece in pieces]
            frames.append(_frame({"type": "content_block_stop", "index": index}))
        delta = {"stop_reason": _ENDS[given.end], "stop_sequence": None}
        frames.append(_frame({"type": "message_delta", "delta": delta, "usage": {"output_tokens": count.completion}}))
        return [*frames, _frame({"type": "message_stop"})]

    def ends(self) -> int:
        """See `Wire.ends`."""
        return 1

    def error(self, status: int, message: str, kind: str = "") -> dict[str, Any]:
        """See `Wire.error`."""
        if kind == "context":
            message = "prompt is too long: 250001 tokens > 200000 maximum"
        error = {"type": _TYPES.get(status, "api_error"), "message": message}
        return {"type": "error", "error": error, "request_id": "req_sim"}

    def error_event(self) -> bytes:
        """See `Wire.error_event`."""
        return _frame(self.error(529, "Overloaded"))


def _frame(event: dict[str, Any]) -> bytes:
    return b"event: " + str(event["type"]).encode() + b"\ndata: " + dump(event) + b"\n\n"
