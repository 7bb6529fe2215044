"""Gemini's generateContent as Google's servers speak it."""

from __future__ import annotations

from typing import Any

from gateway.simulator.answers import Answer, Asked, Tokens
from gateway.simulator.behaviours import Behaviour
from gateway.simulator.wire import BadRequest, dump

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


class GeminiWire:
    """Implements `Wire`."""

    def read(self, body: dict[str, Any], model: str, stream: bool) -> Asked:
        """See `Wire.read`."""
        contents = body.get("contents")
        if not isinstance(contents, list) or not contents:
            raise BadRequest("* GenerateContentRequest.contents: contents is not specified", "contents")
        config = body.get("generationConfig") or {}
        parts = [part for content in contents for part in content.get("parts") or ()]
        if not parts:
            raise BadRequest("* GenerateContentRequest.contents[0].parts: contents.parts must not be empty", "contents")
        calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
        names = calling.get("allowedFunctionNames") or ["*"]
        schema = config.get("responseJsonSchema") or config.get("responseSchema")
        declared = [each for tool in body.get("tools") or () for each in tool.get("functionDeclarations") or ()]
        user = [content for content in contents if content.get("role", "user") == "user"]
        return Asked(
            model=model,
            stream=stream,
            last_text="".join(part.get("text", "") for part in user[-1]["parts"]) if user else "",
            prompt_chars=sum(len(part.get("text", "")) for part in parts),
            images=sum("inlineData" in part for part in parts),
            tool_results=sum("functionResponse" in part for part in parts),
            tools=[each["name"] for each in declared],
            must_call=names[0] if calling.get("mode") == "ANY" else "",
            schema=schema,
            json_wanted=config.get("responseMimeType") == "application/json",
            count=config.get("candidateCount") or 1,
            max_tokens=config.get("maxOutputTokens"),
            stop=config.get("stopSequences") or [],
            logprobs=bool(config.get("responseLogprobs")),
        )

    def whole(self, asked: Asked, given: Answer, count: Tokens, behaviour: Behaviour) -> dict[str, Any]:
        """See `Wire.whole`."""
        parts: list[dict[str, Any]] = []
        if given.thoughts:
            parts.append({"text": "".join(given.thoughts), "thought": True})
        if given.words:
            parts.append({"text": "".join(given.words)})
        parts += self._calls(given)
        candidates = [self._candidate(index, parts, given, given.words, asked) for index in range(asked.count)]
        return self._response(asked, candidates, None if behaviour.has("nousage") else count)

    def events(self, asked: Asked, given: Answer, count: Tokens, behaviour: Behaviour) -> list[bytes]:
        """See `Wire.events`: the last response holds the finish reason."""
        pieces: list[dict[str, Any]] = [{"text": thought, "thought": True} for thought in given.thoughts]
        pieces += [{"text": word} for word in given.words] + self._calls(given)
        frames = []
        for piece in pieces:
            for index in range(asked.count):
                words = [piece["text"]] if "text" in piece and "thought" not in piece else []
                candidate = self._candidate(index, [piece], None, words, asked)
                frames.append(self._frame(self._response(asked, [candidate], None)))
        last = [self._candidate(index, [], given, [], asked) for index in range(asked.count)]
        return [*frames, self._frame(self._response(asked, last, None if behaviour.has("nousage") else count))]

    def ends(self) -> int:
        """See `Wire.ends`."""
        return 1

    @staticmethod
    def _calls(given: Answer) -> list[dict[str, Any]]:
        return [{"functionCall": {"id": i, "name": name, "args": args}} for i, name, args in given.calls]

    @staticmethod
    def _candidate(
        index: int, parts: list[Any], given: Answer | None, words: list[str], asked: Asked
    ) -> dict[str, Any]:
        candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": index}
        if given is not None:
            candidate["finishReason"] = _ENDS[given.end]
        if asked.logprobs and words:
            chosen = [{"token": word, "logProbability": -0.25} for word in words]
            tops = [{"candidates": [each, {"token": "x", "logProbability": -2.5}]} for each in chosen]
            candidate["logprobsResult"] = {"chosenCandidates": chosen, "topCandidates": tops}
        return candidate

    @staticmethod
    def _response(asked: Asked, candidates: list[Any], count: Tokens | None) -> dict[str, Any]:
        response: dict[str, Any] = {"candidates": candidates, "modelVersion": asked.model, "responseId": "sim"}
        if count is not None:
            response["usageMetadata"] = {
                "promptTokenCount": count.prompt,
                "cachedContentTokenCount": count.cached,
                "candidatesTokenCount": count.completion - count.thoughts,
                "thoughtsTokenCount": count.thoughts,
                "totalTokenCount": count.prompt + count.completion,
            }
        return response

    @staticmethod
    def _frame(response: dict[str, Any]) -> bytes:
        return b"data: " + dump(response) + b"\r\n\r\n"

    def error(self, status: int, message: str, kind: str = "") -> dict[str, Any]:
        """See `Wire.error`."""
        if kind == "context":
            message = "The input token count (1100000) exceeds the maximum number of tokens allowed (1048576)."
        return {"error": {"code": status, "message": message, "status": _NAMES.get(status, "UNKNOWN")}}

    def error_event(self) -> bytes:
        """See `Wire.error_event`."""
        return self._frame(self.error(503, "The model is overloaded. Please try again later."))
