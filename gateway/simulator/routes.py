"""A request to a model as the reply that is to be played."""

from __future__ import annotations

import base64
import json
import re
import struct
from typing import Any
from urllib.parse import unquote

import msgspec

from gateway.simulator.answers import answer, tokens
from gateway.simulator.behaviours import Behaviour, Script
from gateway.simulator.wire import BadRequest, Wire, dump, vector
from gateway.simulator.wire_anthropic import AnthropicWire
from gateway.simulator.wire_gemini import GeminiWire
from gateway.simulator.wire_openai import OpenAIWire

_GEMINI = re.compile(r"/v1(?:beta|alpha)?/models/(?P<model>.+):(?P<verb>[A-Za-z]+)\Z")
_AZURE = re.compile(r"/openai/deployments/(?P<model>[^/]+)/(?P<rest>chat/completions|embeddings)\Z")
_MESSAGES = {
    400: "Something in the request is wrong",
    401: "Incorrect API key provided",
    403: "You do not have access to this",
    404: "The model does not exist",
    429: "Rate limit reached",
    500: "The server had an error",
    503: "The service is unavailable",
    529: "Overloaded",
}
_OK = Behaviour({"ok": -1})


class Request(msgspec.Struct):
    """One HTTP request; header names are in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


class Reply(msgspec.Struct):
    """What to play: a body, or the frames of a stream of which the last `ends` are the vendor's end."""

    status: int
    body: bytes = b""
    frames: list[bytes] | None = None
    ends: int = 0
    behaviour: Behaviour = _OK
    content_type: str = "application/json"
    retry_after: int = 0
    error_event: bytes = b""
    error_body: bytes = b""


def answer_request(request: Request, script: Script, require_key: bool) -> Reply:
    """The reply to a request to a model."""
    wire = _wire_of(request)
    if require_key and not any(
        request.headers.get(name) for name in ("authorization", "x-api-key", "x-goog-api-key", "api-key")
    ):
        return Reply(401, dump(wire.error(401, _MESSAGES[401])))
    if request.method == "GET":
        return Reply(200, dump(_models(request)))
    try:
        body = json.loads(request.body)
        if not isinstance(body, dict):
            raise BadRequest("The body must be a JSON object")
        return _answer(request, wire, body, script)
    except BadRequest as error:
        return Reply(400, dump(wire.error(400, error.message, error.field)))
    except ValueError as error:
        return Reply(400, dump(wire.error(400, f"We could not parse the body: {error}")))
    except (KeyError, TypeError, AttributeError) as error:
        return Reply(400, dump(wire.error(400, f"Something in the body has the wrong shape: {error!r}")))


def _wire_of(request: Request) -> Wire:
    if request.path.startswith("/v1/messages") or "anthropic-version" in request.headers:
        return AnthropicWire(request.headers.get("anthropic-version", ""))
    if _GEMINI.match(request.path) or "x-goog-api-key" in request.headers:
        return GeminiWire()
    return OpenAIWire()


def _answer(request: Request, wire: Wire, body: dict[str, Any], script: Script) -> Reply:
    path, model, stream = request.path, "", False
    gemini, azure = _GEMINI.match(path), _AZURE.match(path)
    if azure is not None:
        model, path = azure["model"], "/v1/" + azure["rest"]
    verb = ""
    if gemini is not None:
        model, verb = unquote(gemini["model"]), gemini["verb"]
        stream = verb == "streamGenerateContent"
    behaviour = script.next(model or str(body.get("model") or ""), request.headers.get("x-simulate", ""))
    failed = _fail(wire, behaviour)
    if failed is not None:
        return failed
    plain = _answer_plainly(path, verb, body)
    if plain is not None:
        return msgspec.structs.replace(plain, behaviour=behaviour)
    if path not in ("/v1/chat/completions", "/v1/messages") and verb not in (
        "generateContent",
        "streamGenerateContent",
    ):
        return Reply(404, dump(wire.error(404, f"Unknown path {request.path}")))
    return _generate(wire, wire.read(body, model, stream), behaviour, "alt=sse" in request.query)


def _fail(wire: Wire, behaviour: Behaviour) -> Reply | None:
    if behaviour.has("context"):
        return Reply(400, dump(wire.error(400, "", "context")), behaviour=behaviour)
    if not behaviour.status:
        return None
    body = dump(wire.error(behaviour.status, _MESSAGES[behaviour.status]))
    return Reply(behaviour.status, body, behaviour=behaviour, retry_after=behaviour.number("after"))


def _generate(wire: Wire, asked: Any, behaviour: Behaviour, events: bool) -> Reply:
    given = answer(asked, behaviour)
    count = tokens(asked, given, behaviour)
    error = dump(wire.error(529 if isinstance(wire, AnthropicWire) else 503, "Overloaded"))
    if not asked.stream:
        body = dump(wire.whole(asked, given, count, behaviour))
        return Reply(200, body, behaviour=behaviour, error_body=error)
    frames = wire.events(asked, given, count, behaviour)
    if isinstance(wire, GeminiWire) and not events:
        elements = [frame[6:].strip() for frame in frames]
        return Reply(200, b"[" + b",\r\n".join(elements) + b"]", behaviour=behaviour, error_body=error)
    return Reply(
        200,
        frames=frames,
        ends=wire.ends(),
        behaviour=behaviour,
        content_type="text/event-stream",
        error_event=wire.error_event(),
        error_body=error,
    )


def _answer_plainly(path: str, verb: str, body: dict[str, Any]) -> Reply | None:
    """Embeddings and counts."""
    if path == "/v1/embeddings":
        return Reply(200, dump(_embeddings(body)))
    if path == "/v1/messages/count_tokens":
        return Reply(200, dump({"input_tokens": len(json.dumps(body)) // 4}))
    if verb == "countTokens":
        return Reply(200, dump({"totalTokens": len(json.dumps(body)) // 4}))
    if verb == "embedContent":
        return Reply(200, dump({"embedding": {"values": vector(_text(body))}}))
    if verb == "batchEmbedContents":
        return Reply(200, dump({"embeddings": [{"values": vector(_text(each))} for each in body["requests"]]}))
    return None


def _text(request: dict[str, Any]) -> str:
    return "".join(part.get("text", "") for part in request["content"]["parts"])


def _embeddings(body: dict[str, Any]) -> dict[str, Any]:
    given = body.get("input")
    if given is None or "model" not in body:
        raise BadRequest("Missing required parameter: 'input'.", "input")
    texts = [given] if isinstance(given, str) else given
    data: list[dict[str, Any]] = []
    for index, text in enumerate(texts):
        numbers: Any = vector(str(text))
        if body.get("encoding_format") == "base64":
            numbers = base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
        data.append({"object": "embedding", "index": index, "embedding": numbers})
    usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
    return {"object": "list", "data": data, "model": body["model"], "usage": usage}


def _models(request: Request) -> dict[str, Any]:
    if "x-goog-api-key" in request.headers:
        return {"models": [{"name": "models/sim-ok"}]}
    item = {"id": "sim-ok", "object": "model", "type": "model", "created": 0, "owned_by": "simulator"}
    return {"object": "list", "data": [item], "has_more": False}
