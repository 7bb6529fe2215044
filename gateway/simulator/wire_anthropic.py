"""Anthropic's Messages as its servers implement it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, ClassVar

from gateway.simulator.answers import SimulatedAnswer, SimulatedRequest, Tokens
from gateway.simulator.behaviours import Behaviour
from gateway.simulator.embeddings import count_tokens
from gateway.simulator.wire import BadRequest, ParsedEvent, Wire, dump, find_wrong_type, text_of

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
_ENDS |= {"enderror": "error", "endmalformed": "malformed_tool_use", "endother": "other", "endcall": "tool_use"}
_ENDS |= {"endunknown": "brand_new_reason"}
SAMPLING = ("temperature", "top_p", "top_k")
_KINDS: dict[str, tuple[type, ...]] = {
    "model": (str,),
    "max_tokens": (int,),
    "messages": (list,),
    "stream": (bool,),
    "temperature": (float, int),
    "top_p": (float, int),
    "top_k": (int,),
    "stop_sequences": (list,),
    "tools": (list,),
    "tool_choice": (dict,),
    "thinking": (dict,),
    "metadata": (dict,),
}
ROLES = ("user", "assistant", "system")
SIGNATURE = "c2lnbmVkIGJ5IHRoZSBzaW11bGF0b3I="


_BODY = b'{"id":"f","type":"message","role":"assistant","model":"m","content":['


def _flood(*events: bytes) -> bytes:
    """Frames whose event name repeats the type in the data."""
    return b"".join(b"event: " + each.split(b'"', 4)[3] + b"\ndata: " + each + b"\n\n" for each in events)


class AnthropicWire(Wire):
    """Implements `Wire`. `version` is the request's `anthropic-version`."""

    missing_key = (401, "x-api-key header is required")
    key_headers: tuple[str, ...] = ("x-api-key", "authorization")
    name = "anthropic"
    ends = 1
    generates = frozenset({"/v1/messages"})
    prelude = 2
    overloaded = 529
    floods: ClassVar[Mapping[str, bytes]] = {
        "words": _flood(b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" word@"}}'),
        "calls": _flood(
            b'{"type":"content_block_start","index":1@,"content_block":{"type":"tool_use","id":"c@","name":"f",'
            b'"input":{}}}',
            b'{"type":"content_block_stop","index":1@}',
        ),
        "choices": _flood(
            b'{"type":"content_block_start","index":1@,"content_block":{"type":"text","text":"x"}}',
            b'{"type":"content_block_stop","index":1@}',
        ),
        "parts": _flood(b'{"type":"ping"}'),
    }
    endless: ClassVar[Mapping[str, tuple[bytes, bytes]]] = {
        "words": (_BODY + b'{"type":"text","text":"', b" word@"),
        "calls": (_BODY, b'{"type":"tool_use","id":"c@","name":"f","input":{}},'),
        "choices": (_BODY, b'{"type":"text","text":"x"},'),
        "parts": (_BODY, b'{"type":"text","text":""},'),
    }

    def __init__(self, version: str) -> None:
        self._version = version

    @classmethod
    def of(cls, path: str, headers: Mapping[str, str]) -> AnthropicWire | None:
        """See `Wire.of`."""
        version = headers.get("anthropic-version")
        return cls(version or "") if path.startswith("/v1/messages") or version is not None else None

    @classmethod
    def non_chat_reply(cls, path: str, verb: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """See `Wire.non_chat_reply`."""
        return {"input_tokens": count_tokens(body)} if path == "/v1/messages/count_tokens" else None

    def read(self, body: dict[str, Any], model: str, stream: bool) -> SimulatedRequest:
        """See `Wire.read`."""
        if not self._version:
            raise BadRequest("anthropic-version: header is required")
        for name in ("model", "max_tokens", "messages"):
            if body.get(name) is None:
                raise BadRequest(f"{name}: Field required", name)
        wrong = find_wrong_type(body, _KINDS)
        if wrong is not None:
            raise BadRequest(f"{wrong[0]}: Input should be a valid {wrong[1]}", wrong[0])
        if self._version == "2026-10-21":
            for name in SAMPLING:
                if name in body:
                    raise BadRequest(f"{name}: Extra inputs are not permitted", name)
        if body.get("thread") is not None:
            raise BadRequest("thread: the simulator keeps no conversations", "thread")
        messages = body["messages"]
        if not messages:
            raise BadRequest("messages: at least one message is required", "messages")
        for place, message in enumerate(messages):
            if message.get("role") not in ROLES:
                raise BadRequest(f"messages.{place}.role: Input should be 'user' or 'assistant'", "messages")
        blocks = [block for each in messages if isinstance(each["content"], list) for block in each["content"]]
        self._check_results(messages)
        choice = body.get("tool_choice") or {}
        return SimulatedRequest(
            model=body["model"],
            stream=bool(body.get("stream")),
            last_text=next((text_of(m["content"]) for m in reversed(messages) if m["role"] == "user"), ""),
            messages=[
                *([text_of(body["system"])] if body.get("system") else []),
                *(text_of(m["content"]) for m in messages),
            ],
            prompt_chars=sum(len(text_of(m["content"])) for m in messages) + len(text_of(body.get("system"))),
            images=sum(block["type"] == "image" for block in blocks),
            tool_results=sum(block["type"] == "tool_result" for block in blocks),
            tools={tool["name"]: tool.get("input_schema") for tool in body.get("tools") or ()},
            must_call=choice["name"] if choice.get("type") == "tool" else "*" if choice.get("type") == "any" else "",
            schema=((body.get("output_config") or {}).get("format") or {}).get("schema"),
            max_tokens=body["max_tokens"],
            stop=body.get("stop_sequences") or [],
        )

    @staticmethod
    def _check_results(messages: list[dict[str, Any]]) -> None:
        """Raises `BadRequest` unless every tool use has its result in the next message, as the vendor requires."""
        for message, following in itertools.pairwise(messages):
            content = message["content"] if isinstance(message["content"], list) else []
            used = {block["id"] for block in content if block["type"] == "tool_use"}
            results = following["content"] if isinstance(following["content"], list) else []
            result_ids = {block["tool_use_id"] for block in results if block["type"] == "tool_result"}
            if used - result_ids:
                raise BadRequest("messages: tool_use ids without tool_result blocks immediately after", "messages")

    def body(
        self, request: SimulatedRequest, choice: SimulatedAnswer, count: Tokens, behaviour: Behaviour
    ) -> dict[str, Any]:
        """See `Wire.body`."""
        content: list[dict[str, Any]] = []
        if choice.thoughts:
            content.append({"type": "thinking", "thinking": "".join(choice.thoughts), "signature": SIGNATURE})
        if choice.words:
            content.append({"type": "text", "text": "".join(choice.words)})
        content += [{"type": "tool_use", "id": i, "name": name, "input": value} for i, name, value in choice.calls]
        return self._message(request, content, choice, None if behaviour.has("nousage") else self._usage(count))

    def _message(
        self,
        request: SimulatedRequest,
        content: list[Any],
        choice: SimulatedAnswer | None,
        usage: dict[str, Any] | None,
    ) -> dict[str, Any]:
        message: dict[str, Any] = {
            "id": f"msg_sim{request.serial}",
            "type": "message",
            "role": "assistant",
            "model": request.model,
        }
        message |= {"content": content, **self._end(choice)}
        return message if usage is None else {**message, "usage": usage}

    def _end(self, choice: SimulatedAnswer | None) -> dict[str, Any]:
        """The stop reason; null before the end of a response."""
        if choice is None:
            return {"stop_reason": None, "stop_sequence": None}
        reason = "stop_sequence" if choice.stop else _ENDS.get(choice.end)
        end: dict[str, Any] = {"stop_reason": reason, "stop_sequence": choice.stop or None}
        if reason == "refusal" and self._version == "2026-10-21":
            end["stop_details"] = {"type": "refusal", "category": "general_harms", "explanation": None}
        return end

    @staticmethod
    def _usage(count: Tokens) -> dict[str, Any]:
        return {
            "input_tokens": count.prompt - count.cached,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": count.cached,
            "output_tokens": count.completion,
        }

    def events(
        self, request: SimulatedRequest, choice: SimulatedAnswer, count: Tokens, behaviour: Behaviour
    ) -> list[bytes]:
        """See `Wire.events`."""
        silent = behaviour.has("nousage")
        usage = None if silent else {**self._usage(count), "output_tokens": 1}
        frames = [_frame({"type": "message_start", "message": self._message(request, [], None, usage)})]
        blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
        if choice.thoughts:
            pieces = [{"type": "thinking_delta", "thinking": thought} for thought in choice.thoughts]
            pieces.append({"type": "signature_delta", "signature": SIGNATURE})
            blocks.append(({"type": "thinking", "thinking": "", "signature": ""}, pieces))
        if choice.words:
            blocks.append(({"type": "text", "text": ""}, [{"type": "text_delta", "text": w} for w in choice.words]))
        for call_id, name, arguments in choice.calls:
            text = dump(arguments).decode()
            pieces = [{"type": "input_json_delta", "partial_json": each} for each in ("", text[:5], text[5:])]
            blocks.append(({"type": "tool_use", "id": call_id, "name": name, "input": {}}, pieces))
        for index, (block, pieces) in enumerate(blocks):
            frames.append(_frame({"type": "content_block_start", "index": index, "content_block": block}))
            frames += [_frame({"type": "content_block_delta", "index": index, "delta": piece}) for piece in pieces]
            frames.append(_frame({"type": "content_block_stop", "index": index}))
        last: dict[str, Any] = {"type": "message_delta", "delta": self._end(choice)}
        if not silent:
            last["usage"] = self._usage(count)
        return [*frames, _frame(last), _frame({"type": "message_stop"})]

    def parse_event(self, event: dict[str, Any]) -> ParsedEvent:
        """See `Wire.parse_event`."""
        texts = []
        for block in [*(event.get("content") or ()), event.get("content_block") or {}, event.get("delta") or {}]:
            texts += [str(block.get(name) or "") for name in ("name", "text", "thinking", "partial_json")]
            if block.get("input"):
                texts.append(dump(block["input"]).decode())
        usage = event.get("usage") or (event.get("message") or {}).get("usage")
        if usage is None:
            return ParsedEvent("".join(texts), None)
        cached = usage["cache_read_input_tokens"]
        return ParsedEvent("".join(texts), Tokens(usage["input_tokens"] + cached, usage["output_tokens"], cached))

    def headers(self, serial: str) -> dict[str, str]:
        """See `Wire.headers`."""
        return {
            "request-id": f"req_sim{serial}",
            "anthropic-ratelimit-requests-limit": "4000",
            "anthropic-ratelimit-requests-remaining": "3999",
            "anthropic-ratelimit-requests-reset": "2026-01-01T00:00:00Z",
        }

    def error(self, status: int, message: str, kind: str = "", after_s: int = 0) -> dict[str, Any]:
        """See `Wire.error`."""
        if kind == "context":
            message = "prompt is too long: 250001 tokens > 200000 maximum"
        error: dict[str, Any] = {"type": _TYPES.get(status, "api_error"), "message": message}
        if kind == "thread":
            error["details"] = {"error_code": "thread_unsupported_request"}
        return {"type": "error", "error": error, "request_id": "req_sim"}

    def error_event(self, status: int = 0) -> bytes:
        """See `Wire.error_event`."""
        return _frame(self.error(status or 529, "Something went wrong" if status else "Overloaded"))

    def models(self, model: str) -> dict[str, Any]:
        """See `Wire.models`."""
        name = model or "sim-ok"
        item = {"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"}
        item["lifecycle"] = "active"
        return item if model else {"data": [item], "has_more": False, "first_id": name, "last_id": name}


def _frame(event: dict[str, Any]) -> bytes:
    return b"event: " + str(event["type"]).encode() + b"\ndata: " + dump(event) + b"\n\n"


WIRE = AnthropicWire
