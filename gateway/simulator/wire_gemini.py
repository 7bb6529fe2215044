"""Gemini's generateContent as Google's servers implement it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import unquote

from gateway.simulator.answers import SimulatedAnswer, SimulatedRequest, Tokens
from gateway.simulator.behaviours import Behaviour
from gateway.simulator.embeddings import count_tokens, embed_content
from gateway.simulator.wire import BadRequest, ParsedEvent, Wire, dump, find_wrong_type

_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    529: "UNAVAILABLE",
}
_ENDS = {"stop": "STOP", "length": "MAX_TOKENS", "tools": "STOP", "safety": "SAFETY"}
_ENDS |= {"enderror": "FINISH_REASON_UNSPECIFIED", "endmalformed": "MALFORMED_FUNCTION_CALL", "endother": "OTHER"}
_ENDS |= {"endcall": "UNEXPECTED_TOOL_CALL", "endunknown": "BRAND_NEW_REASON"}
_KINDS: dict[str, tuple[type, ...]] = {
    "temperature": (float, int),
    "topP": (float, int),
    "topK": (int, float),
    "candidateCount": (int,),
    "maxOutputTokens": (int,),
    "seed": (int,),
    "stopSequences": (list,),
    "responseMimeType": (str,),
    "responseLogprobs": (bool,),
    "logprobs": (int,),
}
SIGNATURE = "c2lnbmVkIGJ5IHRoZSBzaW11bGF0b3I="


_CALL = re.compile(r"/v1(?:beta|alpha)?/models/(?P<model>.+):(?P<verb>[A-Za-z]+)\Z")
_LIST = re.compile(r"/v1(?:beta|alpha)/models")
_BODY = b'{"candidates":['
_PARTS = _BODY + b'{"index":0,"finishReason":"STOP","content":{"role":"model","parts":['


def _flood(candidate: bytes) -> bytes:
    return b'data: {"candidates":[' + candidate + b"]}\r\n\r\n"


class GeminiWire(Wire):
    """Implements `Wire`."""

    missing_key = (403, "Method doesn't allow unregistered callers. Please use API Key to call this API.")
    key_headers: tuple[str, ...] = ("x-goog-api-key", "authorization")
    name = "gemini"
    ends = 1
    generates = frozenset({"generateContent", "streamGenerateContent"})
    key_in_query = True
    floods: ClassVar[Mapping[str, bytes]] = {
        "words": _flood(b'{"content":{"parts":[{"text":" word@"}],"role":"model"},"index":0}'),
        "calls": _flood(
            b'{"content":{"parts":[{"functionCall":{"id":"c@","name":"f","args":{}}}],"role":"model"},"index":0}'
        ),
        "choices": _flood(b'{"content":{"parts":[{"text":"x"}],"role":"model"},"index":@}'),
        "parts": _flood(b'{"content":{"parts":[{"text":""}],"role":"model"},"index":0}'),
    }
    endless: ClassVar[Mapping[str, tuple[bytes, bytes]]] = {
        "words": (_PARTS + b'{"text":"', b" word@"),
        "calls": (_PARTS, b'{"functionCall":{"id":"c@","name":"f","args":{}}},'),
        "choices": (
            _BODY,
            b'{"index":@,"finishReason":"STOP","content":{"role":"model","parts":[{"text":"x"}]}},',
        ),
        "parts": (_PARTS, b'{"text":""},'),
    }

    @classmethod
    def of(cls, path: str, headers: Mapping[str, str]) -> GeminiWire | None:
        """See `Wire.of`."""
        return cls() if _CALL.match(path) or _LIST.match(path) or "x-goog-api-key" in headers else None

    def split_path(self, path: str, query: str) -> tuple[str, str, str]:
        """See `Wire.split_path`."""
        match = _CALL.match(path)
        return (path, unquote(match["model"]), match["verb"]) if match is not None else (path, "", "")

    @classmethod
    def non_chat_reply(cls, path: str, verb: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """See `Wire.non_chat_reply`."""
        if verb == "countTokens":
            return {"totalTokens": count_tokens(body)}
        if verb == "embedContent":
            return {"embedding": embed_content(body)}
        if verb == "batchEmbedContents":
            return {"embeddings": [embed_content(each) for each in body["requests"]]}
        return None

    def join_frames(self, frames: list[bytes], query: str) -> bytes | None:
        """See `Wire.join_frames`. Without `alt=sse` Gemini streams the elements of one JSON array."""
        if "alt=sse" in query:
            return None
        return b"[" + b",\r\n".join([frame[6:].strip() for frame in frames]) + b"]"

    def read(self, body: dict[str, Any], model: str, stream: bool) -> SimulatedRequest:
        """See `Wire.read`."""
        contents = body.get("contents")
        if not isinstance(contents, list) or not contents:
            raise BadRequest("* GenerateContentRequest.contents: contents is not specified", "contents")
        config = body.get("generationConfig") or {}
        wrong = find_wrong_type(config, _KINDS)
        if wrong is not None:
            value = dump(config[wrong[0]]).decode()
            raise BadRequest(f"Invalid value at 'generation_config.{wrong[0]}' ({wrong[1]}), {value}", wrong[0])
        parts = [part for content in contents for part in content.get("parts") or ()]
        if not parts:
            raise BadRequest("* GenerateContentRequest.contents[0].parts: contents.parts must not be empty", "contents")
        calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
        names = calling.get("allowedFunctionNames") or ["*"]
        schema = config.get("responseJsonSchema") or config.get("responseSchema")
        declared = [each for tool in body.get("tools") or () for each in tool.get("functionDeclarations") or ()]
        system = (body.get("systemInstruction") or {}).get("parts") or ()
        user = [content for content in contents if content.get("role", "user") == "user"]
        return SimulatedRequest(
            model=model,
            stream=stream,
            last_text="".join(part.get("text", "") for part in user[-1]["parts"]) if user else "",
            messages=[
                "".join(p.get("text", "") for p in each)
                for each in [system, *(c.get("parts") or () for c in contents)]
                if each
            ],
            prompt_chars=sum(len(part.get("text", "")) for part in [*parts, *system]),
            images=sum("inlineData" in part or "fileData" in part for part in parts),
            tool_results=sum("functionResponse" in part for part in parts),
            tools={each["name"]: each.get("parametersJsonSchema") or each.get("parameters") for each in declared},
            must_call=names[0] if calling.get("mode") == "ANY" else "",
            schema=schema,
            json_wanted=config.get("responseMimeType") == "application/json",
            count=config.get("candidateCount") or 1,
            max_tokens=config.get("maxOutputTokens"),
            stop=config.get("stopSequences") or [],
            logprobs=bool(config.get("responseLogprobs")),
            top_logprobs=config.get("logprobs") or 0,
        )

    def body(
        self, request: SimulatedRequest, choice: SimulatedAnswer, count: Tokens, behaviour: Behaviour
    ) -> dict[str, Any]:
        """See `Wire.body`."""
        parts: list[dict[str, Any]] = []
        if choice.thoughts:
            parts.append({"text": "".join(choice.thoughts), "thought": True})
        if choice.words:
            parts.append({"text": "".join(choice.words)})
        parts += self._calls(choice)
        candidates = [self._candidate(index, parts, choice, choice.words, request) for index in range(request.count)]
        return self._response(request, candidates, None if behaviour.has("nousage") else count)

    def events(
        self, request: SimulatedRequest, choice: SimulatedAnswer, count: Tokens, behaviour: Behaviour
    ) -> list[bytes]:
        """See `Wire.events`. The last response has the finish reason."""
        pieces: list[dict[str, Any]] = [{"text": thought, "thought": True} for thought in choice.thoughts]
        pieces += [{"text": word} for word in choice.words] + self._calls(choice)
        silent = behaviour.has("nousage")
        running = None if silent else Tokens(count.prompt, 0, count.cached)
        frames = []
        for piece in pieces:
            for index in range(request.count):
                words = [piece["text"]] if "text" in piece and "thought" not in piece else []
                candidate = self._candidate(index, [piece], None, words, request)
                frames.append(self._frame(self._response(request, [candidate], running)))
        last = [self._candidate(index, [], choice, [], request) for index in range(request.count)]
        return [*frames, self._frame(self._response(request, last, None if silent else count))]

    @staticmethod
    def _calls(choice: SimulatedAnswer) -> list[dict[str, Any]]:
        """The calls. After reasoning, the first call has its signature."""
        calls: list[dict[str, Any]] = []
        for call_id, name, arguments in choice.calls:
            calls.append({"functionCall": {"id": call_id, "name": name, "args": arguments}})
        if calls and choice.thoughts:
            calls[0]["thoughtSignature"] = SIGNATURE
        return calls

    @staticmethod
    def _candidate(
        index: int, parts: list[Any], choice: SimulatedAnswer | None, words: list[str], request: SimulatedRequest
    ) -> dict[str, Any]:
        candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": index}
        if choice is not None and choice.end in _ENDS:
            candidate["finishReason"] = _ENDS[choice.end]
            if choice.end == "safety":
                rating = {"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": "HIGH", "blocked": True}
                candidate["safetyRatings"] = [rating]
        if request.logprobs and words:
            chosen = [{"token": word, "logProbability": -0.25} for word in words]
            candidate["logprobsResult"] = {"chosenCandidates": chosen}
            if request.top_logprobs:
                others = [{"token": f"other{n}", "logProbability": -2.5 - n} for n in range(request.top_logprobs - 1)]
                candidate["logprobsResult"]["topCandidates"] = [{"candidates": [each, *others]} for each in chosen]
        return candidate

    @staticmethod
    def _response(request: SimulatedRequest, candidates: list[Any], count: Tokens | None) -> dict[str, Any]:
        response: dict[str, Any] = {"candidates": candidates, "modelVersion": request.model}
        response["responseId"] = f"sim{request.serial}"
        if count is not None:
            usage = {"promptTokenCount": count.prompt, "totalTokenCount": count.prompt + count.completion}
            # The vendor omits zero counts.
            optional = {
                "candidatesTokenCount": count.completion - count.thoughts,
                "thoughtsTokenCount": count.thoughts,
                "cachedContentTokenCount": count.cached,
            }
            response["usageMetadata"] = usage | {name: number for name, number in optional.items() if number}
        return response

    @staticmethod
    def _frame(response: dict[str, Any]) -> bytes:
        return b"data: " + dump(response) + b"\r\n\r\n"

    def parse_event(self, event: dict[str, Any]) -> ParsedEvent:
        """See `Wire.parse_event`."""
        texts = []
        for candidate in event.get("candidates") or ():
            for part in (candidate.get("content") or {}).get("parts") or ():
                call = part.get("functionCall")
                texts.append(part.get("text", "") if call is None else call["name"] + dump(call["args"]).decode())
        usage = event.get("usageMetadata")
        if usage is None:
            return ParsedEvent("".join(texts), None)
        thoughts = usage.get("thoughtsTokenCount", 0)
        completion = usage.get("candidatesTokenCount", 0) + thoughts
        cached = usage.get("cachedContentTokenCount", 0)
        return ParsedEvent("".join(texts), Tokens(usage["promptTokenCount"], completion, cached, thoughts))

    def headers(self, serial: str) -> dict[str, str]:
        """See `Wire.headers`."""
        return {"vary": "Origin, X-Origin, Referer", "server-timing": "gfet4t7; dur=1"}

    def error(self, status: int, message: str, kind: str = "", after_s: int = 0) -> dict[str, Any]:
        """See `Wire.error`. A retry delay is a detail in the body."""
        if kind == "context":
            message = "The input token count (1100000) exceeds the maximum number of tokens allowed (1048576)."
        error: dict[str, Any] = {"code": status, "message": message, "status": _NAMES.get(status, "UNKNOWN")}
        if after_s:
            pause = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{after_s}s"}
            error["details"] = [pause]
        return {"error": error}

    def error_event(self, status: int = 0) -> bytes:
        """See `Wire.error_event`."""
        if status:
            return self._frame(self.error(status, "Something went wrong"))
        return self._frame(self.error(503, "The model is overloaded. Please try again later."))

    def models(self, model: str) -> dict[str, Any]:
        """See `Wire.models`."""
        item = {
            "name": f"models/{model or 'sim-ok'}",
            "version": "1",
            "displayName": model or "sim-ok",
            "inputTokenLimit": 1048576,
            "outputTokenLimit": 65536,
            "supportedGenerationMethods": ["generateContent", "countTokens"],
        }
        return item if model else {"models": [item]}


WIRE = GeminiWire
