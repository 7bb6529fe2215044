"""Turns a model request into the reply to send."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec

from gateway.simulator.answers import Tokens, answer, tokens
from gateway.simulator.behaviours import Behaviour, Script
from gateway.simulator.oddities import nest_error
from gateway.simulator.wire import BadRequest, Wire, dump
from gateway.simulator.wires import find_wire, generates, non_chat_reply

_MODELS = re.compile(r"/v1(?:beta|alpha)?/models(?:/(?P<model>[^:]+))?\Z")
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
    keep_alive: bool = True
    serial: str = "0"


class ScriptedReply(msgspec.Struct):
    """The reply to send: a body, or the frames of a stream, of which the last `ends` are the vendor's end markers."""

    status: int
    body: bytes = b""
    frames: list[bytes] | None = None
    ends: int = 0
    behaviour: Behaviour = _OK
    content_type: str = "application/json"
    headers: dict[str, str] = {}
    error_event: bytes = b""
    error_body: bytes = b""
    model: str = ""
    count: Tokens | None = None
    wire: Wire | None = None
    prompt: list[str] = []  # the texts of its messages


def answer_request(request: Request, script: Script, require_key: bool) -> ScriptedReply:
    """The reply to a model request."""
    wire = find_wire(request.path, request.headers)
    try:
        reply = _answer(request, wire, script, require_key)
    except BadRequest as error:
        reply = ScriptedReply(error.status, dump(wire.error(error.status, error.message, error.field)))
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        # The body has an unexpected shape.
        reply = ScriptedReply(400, dump(wire.error(400, f"The body has an unexpected shape: {error!r}")))
    reply.headers = {**wire.headers(request.serial), **reply.headers}
    reply.wire = wire
    return reply


def _answer(request: Request, wire: Wire, script: Script, require_key: bool) -> ScriptedReply:
    if require_key and not _has_key(request, wire):
        raise BadRequest(wire.missing_key[1], status=wire.missing_key[0])
    if request.method == "GET":
        listed = _MODELS.match(request.path)
        if listed is None:
            raise BadRequest(f"Unknown path {request.path}", status=404)
        return ScriptedReply(200, dump(wire.models(unquote(listed["model"] or ""))))
    if request.method != "POST":
        raise BadRequest(f"Unknown request {request.method} {request.path}", status=404)
    return _answer_post(request, wire, script)


def _has_key(request: Request, wire: Wire) -> bool:
    has_header = any(request.headers.get(name, "").removeprefix("Bearer").strip() for name in wire.key_headers)
    return has_header or (wire.key_in_query and "key" in parse_qs(request.query))


def _answer_post(request: Request, wire: Wire, script: Script) -> ScriptedReply:
    path, model, verb = wire.split_path(request.path, request.query)
    body = _read_body(request.body)
    model_name = model or str(body.get("model") or "")
    try:
        behaviour = script.next(model_name, request.headers.get("x-simulate", ""))
    except ValueError as error:
        raise BadRequest(str(error), "model") from None
    failed = _fail(wire, behaviour)
    if failed is not None:
        failed.model = model_name
        return failed
    value = non_chat_reply(path, verb, body)
    if value is not None:
        return ScriptedReply(
            200, dump(value), behaviour=behaviour, error_body=_error_body(wire, behaviour), model=model_name
        )
    if not generates(verb or path):
        raise BadRequest(f"Unknown path {request.path}", status=404)
    parsed = wire.read(body, model, verb == "streamGenerateContent")
    parsed.serial = request.serial
    parsed.says = script.says.get(model_name, script.says.get("*", ""))
    parsed.logprobs = parsed.logprobs or behaviour.has("logprobs")
    return _generate(wire, parsed, behaviour, request.query)


def _read_body(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise BadRequest("We could not parse the JSON body of your request.") from None
    if not isinstance(body, dict):
        raise BadRequest("The body must be a JSON object")
    return body


def _fail(wire: Wire, behaviour: Behaviour) -> ScriptedReply | None:
    if behaviour.has("context"):
        return ScriptedReply(400, dump(wire.error(400, "", "context")), behaviour=behaviour)
    if behaviour.has("deeperror"):
        return ScriptedReply(500, nest_error(dump(wire.error(500, _MESSAGES[500]))), behaviour=behaviour)
    if not behaviour.status:
        return None
    after_s = behaviour.number("after")
    body = dump(wire.error(behaviour.status, _MESSAGES[behaviour.status], after_s=after_s))
    headers = {"retry-after": str(after_s)} if after_s else {}
    return ScriptedReply(behaviour.status, body, behaviour=behaviour, headers=headers)


def _error_body(wire: Wire, behaviour: Behaviour) -> bytes:
    status = behaviour.number("as")
    if status:
        return dump(wire.error(status, "Something went wrong"))
    return dump(wire.error(wire.overloaded, "Overloaded"))


def _generate(wire: Wire, parsed: Any, behaviour: Behaviour, query: str) -> ScriptedReply:
    choice = answer(parsed, behaviour)
    count = tokens(parsed, choice, behaviour)
    reply = ScriptedReply(
        200, behaviour=behaviour, error_body=_error_body(wire, behaviour), model=parsed.model, count=count
    )
    reply.prompt = parsed.messages
    if not parsed.stream:
        reply.body = dump(wire.body(parsed, choice, count, behaviour))
        return reply
    frames = wire.events(parsed, choice, count, behaviour)
    array = wire.join_frames(frames, query)
    if array is not None:
        reply.body = array
        return reply
    reply.frames = frames
    reply.ends = wire.ends
    reply.content_type = "text/event-stream; charset=utf-8"
    reply.error_event = wire.error_event(behaviour.number("as"))
    return reply
