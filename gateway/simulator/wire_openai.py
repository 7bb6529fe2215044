"""OpenAI's Chat Completions as its servers implement it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote

from gateway.simulator.answers import SimulatedAnswer, SimulatedRequest, Tokens
from gateway.simulator.behaviours import Behaviour
from gateway.simulator.embeddings import embed
from gateway.simulator.wire import CREATED, BadRequest, ParsedEvent, Wire, dump, find_wrong_type, text_of

_TYPES = {400: "invalid_request_error", 401: "invalid_request_error", 429: "requests"}
_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}
_ENDS = {"stop": "stop", "length": "length", "tools": "tool_calls", "safety": "content_filter"}
_ENDS |= {"enderror": "error", "endmalformed": "malformed_function_call", "endother": "other", "endcall": "tool_calls"}
_ENDS |= {"endunknown": "brand_new_reason"}
TOO_LONG = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens."

_KINDS: dict[str, tuple[type, ...]] = {
    "messages": (list,),
    "stream": (bool,),
    "temperature": (float, int),
    "top_p": (float, int),
    "n": (int,),
    "max_tokens": (int,),
    "max_completion_tokens": (int,),
    "seed": (int,),
    "stop": (list, str),
    "tools": (list,),
    "logprobs": (bool,),
    "top_logprobs": (int,),
    "response_format": (dict,),
    "stream_options": (dict,),
}
_FILTERED = {"hate": {"filtered": False, "severity": "safe"}}


_AZURE = re.compile(r"/openai/deployments/(?P<model>[^/]+)/(?P<rest>chat/completions|embeddings)\Z")
_CALL = b'"id":"c@","type":"function","function":{"name":"f","arguments":"{}"}}'
_BODY = b'{"id":"f","object":"chat.completion","model":"m","choices":['
_MESSAGE = _BODY + b'{"index":0,"finish_reason":"stop","message":{"role":"assistant",'


def _flood(choice: bytes) -> bytes:
    return b'data: {"id":"f","object":"chat.completion.chunk","model":"m","choices":[' + choice + b"]}\n\n"


class OpenAIWire(Wire):
    """Implements `Wire`; `azure` adds the fields of Azure's servers."""

    missing_key = (401, "You didn't provide an API key in the Authorization header.")
    name = "openai"
    ends = 1
    generates = frozenset({"/v1/chat/completions"})
    prelude = 1
    floods: ClassVar[Mapping[str, bytes]] = {
        "words": _flood(b'{"index":0,"delta":{"content":" word@"},"finish_reason":null}'),
        "calls": _flood(b'{"index":0,"delta":{"tool_calls":[{"index":@,' + _CALL + b']},"finish_reason":null}'),
        "choices": _flood(b'{"index":@,"delta":{"content":"x"},"finish_reason":null}'),
        "parts": _flood(b'{"index":0,"delta":{},"finish_reason":null}'),
    }
    endless: ClassVar[Mapping[str, tuple[bytes, bytes]]] = {
        "words": (_MESSAGE + b'"content":"', b" word@"),
        "calls": (_MESSAGE + b'"tool_calls":[', b"{" + _CALL + b","),
        "choices": (_BODY, b'{"index":@,"finish_reason":"stop","message":{"role":"assistant","content":"x"}},'),
        "parts": (_MESSAGE + b'"content":[', b'{"type":"text","text":""},'),
    }

    def __init__(self, azure: bool = False) -> None:
        self._azure = azure
        self.key_headers: tuple[str, ...] = ("api-key", "authorization") if azure else ("authorization",)

    @classmethod
    def of(cls, path: str, headers: Mapping[str, str]) -> OpenAIWire | None:
        """See `Wire.of`. The default for requests that match no other vendor."""
        return cls(azure=_AZURE.match(path) is not None)

    def split_path(self, path: str, query: str) -> tuple[str, str, str]:
        """See `Wire.split_path`."""
        azure = _AZURE.match(path)
        if azure is None:
            return path, "", ""
        if "api-version" not in parse_qs(query):
            raise BadRequest("Resource not found", status=404)
        return "/v1/" + azure["rest"], unquote(azure["model"]), ""

    @classmethod
    def non_chat_reply(cls, path: str, verb: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """See `Wire.non_chat_reply`."""
        return embed(body) if path == "/v1/embeddings" else None

    def read(self, body: dict[str, Any], model: str, stream: bool) -> SimulatedRequest:
        """See `Wire.read`."""
        if not isinstance(body.get("model", model or None), str):
            raise BadRequest("you must provide a model parameter", "model")
        wrong = find_wrong_type(body, _KINDS)
        if wrong is not None:
            name, expected, actual = wrong
            raise BadRequest(f"Invalid type for '{name}': expected {expected}, but got {actual} instead.", name)
        messages = body.get("messages")
        if not messages:
            raise BadRequest("Missing required parameter: 'messages'.", "messages")
        functions = [tool["function"] for tool in body.get("tools") or () if "function" in tool]
        choice = body.get("tool_choice")
        parts = [part for each in messages if isinstance(each.get("content"), list) for part in each["content"]]
        response_format = body.get("response_format") or {}
        stop = body.get("stop") or []
        return SimulatedRequest(
            model=model or body["model"],
            stream=bool(body.get("stream")),
            last_text=next((text_of(m.get("content")) for m in reversed(messages) if m.get("role") == "user"), ""),
            messages=[text_of(each.get("content")) for each in messages],
            prompt_chars=sum(len(text_of(each.get("content"))) for each in messages),
            images=sum(part.get("type") == "image_url" for part in parts),
            tool_results=sum(each.get("role") == "tool" for each in messages),
            tools={each["name"]: each.get("parameters") for each in functions},
            must_call=choice["function"]["name"] if isinstance(choice, dict) else "*" if choice == "required" else "",
            schema=(response_format.get("json_schema") or {}).get("schema"),
            json_wanted=response_format.get("type") in ("json_object", "json_schema"),
            count=body.get("n") or 1,
            max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
            stop=[stop] if isinstance(stop, str) else stop,
            logprobs=bool(body.get("logprobs")),
            top_logprobs=body.get("top_logprobs") or 0,
            usage=bool((body.get("stream_options") or {}).get("include_usage")),
            seed=body.get("seed"),
        )

    def body(
        self, request: SimulatedRequest, answer: SimulatedAnswer, count: Tokens, behaviour: Behaviour
    ) -> dict[str, Any]:
        """See `Wire.body`."""
        text = "".join(answer.words)
        message: dict[str, Any] = {"role": "assistant", "content": text or (None if answer.calls else "")}
        message["refusal"] = None
        if answer.thoughts:
            message["reasoning_content"] = "".join(answer.thoughts)
        if answer.calls:
            message["tool_calls"] = [self._call(call) for call in answer.calls]
        body = self._head(request, "chat.completion")
        body["choices"] = [
            {
                "index": index,
                "message": message,
                "logprobs": self._logprobs(answer.words, request) if request.logprobs else None,
                "finish_reason": _ENDS.get(answer.end),
            }
            for index in range(request.count)
        ]
        if not behaviour.has("nousage"):
            body["usage"] = self._usage(count)
        return body

    def events(
        self, request: SimulatedRequest, answer: SimulatedAnswer, count: Tokens, behaviour: Behaviour
    ) -> list[bytes]:
        """See `Wire.events`."""
        deltas: list[tuple[dict[str, Any], str | None]] = []
        deltas.append(({"role": "assistant", "content": "", "refusal": None}, None))
        deltas += [({"reasoning_content": thought}, None) for thought in answer.thoughts]
        deltas += [({"content": word}, None) for word in answer.words]
        for index, call in enumerate(answer.calls):
            complete = self._call(call)
            arguments = complete["function"]["arguments"]
            start = {"index": index, **complete, "function": {"name": call[1], "arguments": ""}}
            deltas.append(({"tool_calls": [start]}, None))
            for piece in (arguments[:5], arguments[5:]):
                deltas.append(({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}, None))
        deltas.append(({}, _ENDS.get(answer.end)))
        frames = [self._azure_frame()] if self._azure else []
        for delta, end in deltas:
            for index in range(request.count):
                logprobs = (
                    self._logprobs([delta["content"]], request) if request.logprobs and delta.get("content") else None
                )
                choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": end}
                frames.append(self._frame(request, [choice]))
        if request.usage and not behaviour.has("nousage"):
            frames.append(self._frame(request, [], self._usage(count)))
        return [*frames, b"data: [DONE]\n\n"]

    @staticmethod
    def _azure_frame() -> bytes:
        """Azure's first frame: the prompt's content filter results, without a choice."""
        results = [{"prompt_index": 0, "content_filter_results": _FILTERED}]
        head = {"choices": [], "created": 0, "id": "", "model": "", "object": ""}
        return b"data: " + dump({**head, "prompt_filter_results": results}) + b"\n\n"

    def _frame(self, request: SimulatedRequest, choices: list[Any], usage: dict[str, Any] | None = None) -> bytes:
        chunk = self._head(request, "chat.completion.chunk")
        chunk["choices"] = choices
        if request.usage:
            chunk["usage"] = usage
        return b"data: " + dump(chunk) + b"\n\n"

    @staticmethod
    def _head(request: SimulatedRequest, kind: str) -> dict[str, Any]:
        fingerprint = f"fp_sim_{request.seed}" if request.seed is not None else "fp_sim"
        return {
            "id": f"chatcmpl-sim{request.serial}",
            "object": kind,
            "created": CREATED,
            "model": request.model,
            "system_fingerprint": fingerprint,
        }

    @staticmethod
    def _call(call: tuple[str, str, dict[str, Any]]) -> dict[str, Any]:
        call_id, name, arguments = call
        return {"id": call_id, "type": "function", "function": {"name": name, "arguments": dump(arguments).decode()}}

    @staticmethod
    def _logprobs(words: list[str], request: SimulatedRequest) -> dict[str, Any]:
        def token(text: str, logprob: float) -> dict[str, Any]:
            return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

        def tops(word: str) -> list[dict[str, Any]]:
            others = [token(f"other{number}", -2.5 - number) for number in range(request.top_logprobs - 1)]
            return [token(word, -0.25), *others] if request.top_logprobs else []

        return {"content": [{**token(word, -0.25), "top_logprobs": tops(word)} for word in words], "refusal": None}

    @staticmethod
    def _usage(count: Tokens) -> dict[str, Any]:
        return {
            "prompt_tokens": count.prompt,
            "completion_tokens": count.completion,
            "total_tokens": count.prompt + count.completion,
            "prompt_tokens_details": {"cached_tokens": count.cached, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": count.thoughts, "audio_tokens": 0},
        }

    def parse_event(self, event: dict[str, Any]) -> ParsedEvent:
        """See `Wire.parse_event`."""
        texts = []
        for choice in event.get("choices") or ():
            message = choice.get("delta") or choice.get("message") or {}
            texts += [message.get("reasoning_content") or "", message.get("content") or ""]
            for call in message.get("tool_calls") or ():
                texts.append(call["function"].get("name", "") + call["function"].get("arguments", ""))
        usage = event.get("usage")
        if usage is None:
            return ParsedEvent("".join(texts), None)
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
        thoughts = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens", 0)
        count = Tokens(usage["prompt_tokens"], usage.get("completion_tokens", 0), cached, thoughts)
        return ParsedEvent("".join(texts), count)

    def headers(self, serial: str) -> dict[str, str]:
        """See `Wire.headers`."""
        if self._azure:
            return {"x-request-id": f"req-sim{serial}", "apim-request-id": f"apim-sim{serial}"}
        return {
            "x-request-id": f"req_sim{serial}",
            "openai-version": "2020-10-01",
            "openai-processing-ms": "1",
            "x-ratelimit-limit-requests": "10000",
            "x-ratelimit-remaining-requests": "9999",
            "x-ratelimit-reset-requests": "6ms",
        }

    def error(self, status: int, message: str, kind: str = "", after_s: int = 0) -> dict[str, Any]:
        """See `Wire.error`."""
        if kind == "context":
            error = {"message": TOO_LONG, "type": "invalid_request_error", "param": "messages"}
            return {"error": {**error, "code": "context_length_exceeded"}}
        return {
            "error": {
                "message": message,
                "type": _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error"),
                "param": kind or None,
                "code": "invalid_type" if message.startswith("Invalid type") else _CODES.get(status),
            }
        }

    def error_event(self, status: int = 0) -> bytes:
        """See `Wire.error_event`."""
        if status:
            return b"data: " + dump(self.error(status, "Something went wrong")) + b"\n\n"
        error = {"message": "The server had an error", "type": "server_error", "param": None, "code": "server_error"}
        return b"data: " + dump({"error": error}) + b"\n\n"

    def models(self, model: str) -> dict[str, Any]:
        """See `Wire.models`."""
        item = {"id": model or "sim-ok", "object": "model", "created": CREATED, "owned_by": "simulator"}
        return item if model else {"object": "list", "data": [item]}


WIRE = OpenAIWire
