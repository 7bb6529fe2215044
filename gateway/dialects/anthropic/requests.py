"""Reads and writes Messages requests."""

from __future__ import annotations

from typing import Any

import msgspec

from contract.dialect import WireOptions, WireRequest
from contract.errors import InvalidRequest
from contract.messages import ChatRequest, Opaque, ResponseFormat, Tool, ToolCall, ToolChoice
from gateway.dialects import fields
from gateway.dialects.anthropic import cache_breakpoints, schemas, thinking, turns
from gateway.dialects.anthropic.prompt_cache import add_breakpoints
from gateway.dialects.call_ids import fit_ids
from gateway.dialects.choices import check_unforced
from gateway.dialects.dropped_params import DroppedParams
from gateway.dialects.fitting import JSON_BY_SCHEMA, JSON_ONLY, fit
from gateway.dialects.names import NameRule, digest
from gateway.dialects.schemas import Budget, Inexpressible

DEFAULT_MAX_TOKENS = 4096  # the vendor requires a number; this one fits every model
WITHOUT_SAMPLING = "2026-10-21"
_encode = msgspec.json.Encoder().encode
_KNOWN = frozenset(
    {
        "model",
        "messages",
        "system",
        "max_tokens",
        "stream",
        "temperature",
        "top_p",
        "top_k",
        "stop_sequences",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
        "output_format",
        "metadata",
    }
)
# "String should match pattern '^[a-zA-Z0-9_-]{1,128}$'"; ids use the same characters, and Bedrock accepts 64 of them.
NAMES = NameRule(r"[^a-zA-Z0-9_-]", 128)
IDS = NameRule(r"[^a-zA-Z0-9_-]", 64)
MAX_USER_ID_CHARS = 256
_MODES = {"auto": "auto", "any": "required", "none": "none"}
_CHOICES = {"auto": "auto", "required": "any", "none": "none"}


def read(body: bytes, *, counting: bool = False) -> ChatRequest:
    """Reads a request. Raises `InvalidRequest` that names the field. `counting`: `max_tokens` is not required."""
    source = fields.read_json_object(body)
    model = fields.required_text(source, "model")
    max_tokens = fields.integer(source, "max_tokens")
    if max_tokens is None and not counting:
        raise fields.missing("max_tokens")
    items = fields.array(source, "messages")
    if items is None:
        raise fields.missing("messages")
    if not items:
        raise InvalidRequest("'messages' must not be empty", param="messages")
    extra = fields.rest(source, _KNOWN) or {}
    tool_choice, parallel = _read_tool_choice(source, extra)
    effort, response_format = _read_output_config(source, extra)
    user, metadata = _read_metadata(source)
    return ChatRequest(
        dialect="anthropic",
        model=model,
        messages=(
            *turns.read_system(source.get("system")),
            *[turns.read(item, f"messages[{index}]") for index, item in enumerate(items)],
        ),
        tools=_read_tools(source),
        tool_choice=tool_choice,
        parallel_tool_calls=parallel,
        response_format=response_format,
        reasoning=thinking.read(source, effort, extra),
        stream=fields.boolean(source, "stream") or False,
        include_usage=True,
        temperature=fields.number(source, "temperature"),
        top_p=fields.number(source, "top_p"),
        top_k=fields.integer(source, "top_k"),
        max_tokens=max_tokens,
        stop=_read_stop(source),
        user=user,
        metadata=metadata,
        extra=extra or None,
    )


def _read_stop(source: dict[str, Any]) -> tuple[str, ...]:
    stop = fields.array(source, "stop_sequences") or []
    for index, item in enumerate(stop):
        if type(item) is not str:
            raise fields.wrong_type(f"stop_sequences[{index}]", "a string", item)
    return tuple(stop)


def _read_metadata(source: dict[str, Any]) -> tuple[str, dict[str, Any] | None]:
    metadata = fields.obj(source, "metadata") or {}
    others = {key: value for key, value in metadata.items() if key != "user_id"}
    return fields.text(metadata, "user_id", "metadata.") or "", others or None


def _read_tools(source: dict[str, Any]) -> tuple[Tool | Opaque, ...]:
    tools: list[Tool | Opaque] = []
    for index, item in enumerate(fields.each_object(fields.array(source, "tools") or [], "tools")):
        where = f"tools[{index}]."
        if item.get("type") not in (None, "custom"):
            tools.append(Opaque("anthropic", item))
            continue
        tools.append(
            Tool(
                name=fields.required_text(item, "name", where),
                description=fields.text(item, "description", where) or "",
                parameters=fields.obj(item, "input_schema", where),
                strict=fields.boolean(item, "strict", where),
                extra=fields.rest(item, _TOOL_FIELDS),
            )
        )
    return tuple(tools)


_TOOL_FIELDS = frozenset({"type", "name", "description", "input_schema", "strict"})


def _read_tool_choice(source: dict[str, Any], extra: dict[str, Any]) -> tuple[ToolChoice | None, bool | None]:
    choice = fields.obj(source, "tool_choice")
    if choice is None:
        return None, None
    others = fields.rest(choice, frozenset({"type", "name", "disable_parallel_tool_use"}))
    if others:
        extra["tool_choice"] = others
    disabled = fields.boolean(choice, "disable_parallel_tool_use", "tool_choice.")
    parallel = None if disabled is None else not disabled
    kind = fields.required_text(choice, "type", "tool_choice.")
    if kind == "tool":
        return ToolChoice("named", fields.required_text(choice, "name", "tool_choice.")), parallel
    if kind not in _MODES:
        raise InvalidRequest("'tool_choice.type' must be 'auto', 'any', 'tool' or 'none'", param="tool_choice.type")
    return ToolChoice(_MODES[kind]), parallel  # type: ignore[arg-type]


def _read_output_config(source: dict[str, Any], extra: dict[str, Any]) -> tuple[str, ResponseFormat | None]:
    """Effort and format; other fields go to `extra`. `output_format` is the format's former field."""
    config = fields.obj(source, "output_config") or {}
    others = fields.rest(config, frozenset({"effort", "format"}))
    if others:
        extra["output_config"] = others
    effort = fields.text(config, "effort", "output_config.") or ""
    where = "output_config.format"
    output_format = fields.obj(config, "format", "output_config.")
    if output_format is None:
        where = "output_format"
        output_format = fields.obj(source, where)
    if output_format is None:
        return effort, None
    if fields.required_text(output_format, "type", where + ".") != "json_schema":
        raise InvalidRequest(f"'{where}.type' must be 'json_schema'", param=where + ".type")
    schema = fields.obj(output_format, "schema", where + ".")
    if schema is None:
        raise fields.missing(where + ".schema")
    return effort, ResponseFormat("json_schema", schema=schema)


def write(request: ChatRequest, options: WireOptions) -> WireRequest:
    """Writes the provider's request. Raises `UnsupportedFeature` if the policy refuses an inexpressible field."""
    losses = DroppedParams(options.unsupported)
    same = request.dialect == "anthropic"
    names: dict[str, str] = {}
    if same:
        # Another vendor may have assigned the ids of earlier turns.
        request = msgspec.structs.replace(request, messages=fit_ids(request.messages, IDS))
    else:
        request, names = fit(request, NAMES, IDS, losses)
    system, messages = turns.write_all(request.messages, losses, same=same)
    body: dict[str, Any] = {"model": options.model, "messages": messages}
    if system:
        body["system"] = system[0]["text"] if len(system) == 1 and system[0].keys() == {"type", "text"} else system
    body["max_tokens"] = DEFAULT_MAX_TOKENS if request.max_tokens is None else request.max_tokens
    if options.stream:
        body["stream"] = True
    _write_output(request, options, body, losses)
    _write_sampling(request, options, body, losses)
    _write_stop(request, body, losses, same=same)
    if tools := _write_tools(request, losses, same=same):
        body["tools"] = tools
    _write_tool_choice(request, body, same=same)
    if not same and not tools:
        _declare_used_tools(request, body)
    _write_metadata(request, body, losses, same=same)
    _record_unsupported(request, losses)
    if request.extra:
        if same:
            _write_extra(request.extra, body)
        else:
            # A breakpoint for the request: the vendor then places it at the end.
            extra = dict(request.extra)
            if isinstance(extra.get(cache_breakpoints.CACHE_CONTROL), dict):
                body[cache_breakpoints.CACHE_CONTROL] = extra.pop(cache_breakpoints.CACHE_CONTROL)
            losses.add_extras(extra)
    if not same:
        cache_breakpoints.limit_breakpoints(body, losses)
    if options.prompt_cache:
        add_breakpoints(body)
    headers = {"anthropic-version": options.version or "2023-06-01"}
    lists = {"anthropic-beta": request.betas} if request.betas else {}
    return WireRequest("/v1/messages", _encode(body), headers, losses.all(), lists, names)


def _write_extra(extra: dict[str, Any], body: dict[str, Any]) -> None:
    for key, value in extra.items():
        known = body.get(key)
        # Unknown fields of an object with known fields.
        body[key] = {**known, **value} if isinstance(known, dict) and isinstance(value, dict) else value


def _write_sampling(request: ChatRequest, options: WireOptions, body: dict[str, Any], losses: DroppedParams) -> None:
    temperature, top_p = request.temperature, request.top_p
    if request.dialect != "anthropic" and temperature is not None and top_p is not None:
        # "`temperature` and `top_p` cannot both be specified for this model"; both default to 1.
        if temperature == 1 and top_p != 1:
            request = msgspec.structs.replace(request, temperature=None)
            losses.add_soft("temperature", "Anthropic accepts temperature or top_p, not both; 1 is the default")
        elif top_p == 1:
            request = msgspec.structs.replace(request, top_p=None)
            losses.add_soft("top_p", "Anthropic accepts temperature or top_p, not both; 1 is the default")
    thinks = request.dialect != "anthropic" and body.get("thinking", {}).get("type") in ("enabled", "adaptive")
    for name in ("temperature", "top_p", "top_k"):
        value = getattr(request, name)
        if value is None:
            continue
        if options.version == WITHOUT_SAMPLING:
            losses.add(name, f"the API of {WITHOUT_SAMPLING} has no sampling parameters")
        elif thinks and not (name == "temperature" and value == 1):
            losses.add(name, "Anthropic does not accept sampling parameters together with thinking")
        elif name == "temperature" and value > 1 and request.dialect != "anthropic":
            body[name] = 1.0
            losses.add_soft(name, "Anthropic's maximum is 1")
        elif name == "top_p" and "temperature" in body and request.dialect != "anthropic":
            losses.add(name, "Anthropic accepts temperature or top_p, not both")
        else:
            body[name] = value


def _write_stop(request: ChatRequest, body: dict[str, Any], losses: DroppedParams, *, same: bool) -> None:
    stop = [each for each in request.stop if same or each.strip()]
    if len(stop) < len(request.stop):
        losses.add("stop", "Anthropic does not accept blank stop sequences")
    if stop:
        body["stop_sequences"] = stop


def _write_tools(request: ChatRequest, losses: DroppedParams, *, same: bool) -> list[dict[str, Any]]:
    tools: list[dict[str, Any]] = []
    budget = Budget()
    for index, tool in enumerate(request.tools):
        if isinstance(tool, Opaque):
            if tool.dialect == "anthropic":
                tools.append(tool.value)
            else:
                losses.add(f"tools[{index}]", f"only {tool.dialect} has this type of tool")
            continue
        wire: dict[str, Any] = {"name": tool.name}
        if same:
            wire["input_schema"] = tool.parameters or {"type": "object"}
            if tool.strict is not None:
                wire["strict"] = tool.strict
        else:
            _write_schema(tool, wire, f"tools[{index}]", losses, budget)
        if tool.description:
            wire["description"] = tool.description
        if tool.extra:
            if same:
                wire.update(tool.extra)
            else:
                losses.add_extras(cache_breakpoints.move_breakpoint(tool.extra, [wire]), f"tools[{index}].")
        if tool.beside:
            losses.add_extras(cache_breakpoints.move_breakpoint(tool.beside, [wire]), f"tools[{index}].")
        tools.append(wire)
    return tools


def _write_schema(tool: Tool, wire: dict[str, Any], where: str, losses: DroppedParams, budget: Budget) -> None:
    """Writes the schema of another dialect's tool, and `strict`."""
    schema, moved = schemas.tool_schema(tool.parameters or {}, budget)
    if tool.strict:
        try:
            schema, more = schemas.strict_schema(schema, budget)
            moved, wire["strict"] = moved or more, True
        except Inexpressible as reason:
            losses.add(f"{where}.strict", f"Anthropic can't enforce this schema: {reason}")
    if moved:
        losses.add_soft(f"{where}.parameters", "a part of the schema was moved to its description")
    wire["input_schema"] = schema


def _write_tool_choice(request: ChatRequest, body: dict[str, Any], *, same: bool) -> None:
    choice, parallel = request.tool_choice, request.parallel_tool_calls
    if not same and "tools" not in body:
        check_unforced(request)
        return
    if same and not ("tools" in body or "mcp_servers" in (request.extra or {})) and choice in (None, _AUTO, _NONE):
        # An empty tool list is omitted, and with it a tool choice that would be rejected without tools.
        return
    if choice is None and parallel is None:
        return
    if choice is not None and choice.mode == "named":
        wire: dict[str, Any] = {"type": "tool", "name": choice.name}
    else:
        wire = {"type": _CHOICES[choice.mode] if choice is not None else "auto"}
    if parallel is not None and wire["type"] != "none":
        wire["disable_parallel_tool_use"] = not parallel
    body["tool_choice"] = wire


_AUTO, _NONE = ToolChoice("auto"), ToolChoice("none")


def _declare_used_tools(request: ChatRequest, body: dict[str, Any]) -> None:
    """Declares the tools of earlier turns if the request has no tools: other vendors don't require declarations.

    "Requests which include `tool_use` or `tool_result` blocks must define tools": Bedrock and LiteLLM require this.
    """
    used = {part.name: None for message in request.messages for part in message.parts if isinstance(part, ToolCall)}
    if used:
        body["tools"] = [{"name": name, "input_schema": {"type": "object"}} for name in used]
        body["tool_choice"] = {"type": "none"}


def _write_output(request: ChatRequest, options: WireOptions, body: dict[str, Any], losses: DroppedParams) -> None:
    """Writes the response format and the thinking options."""
    config: dict[str, Any] = {}
    response_format = request.response_format
    if response_format is not None and response_format.kind == "json_schema" and response_format.schema is not None:
        if request.dialect == "anthropic":
            config["format"] = {"type": "json_schema", "schema": response_format.schema}
        else:
            _write_format(response_format, response_format.schema, body, config, losses)
    elif response_format is not None and response_format.kind != "text":
        losses.add("response_format", "Anthropic has no JSON mode without a schema: the system prompt requests JSON")
        _instruct(body, JSON_ONLY)
    thoughts, effort = thinking.write(request, losses, adaptive=options.version == WITHOUT_SAMPLING)
    if thoughts is not None:
        body["thinking"] = thoughts
        if request.dialect != "anthropic" and thoughts["type"] == "enabled":
            # `max_tokens` must exceed the budget; the limit for the response itself stays the same.
            body["max_tokens"] += thoughts["budget_tokens"]
    if effort:
        config["effort"] = effort
    if config:
        body["output_config"] = config


def _write_format(
    response_format: ResponseFormat,
    schema: dict[str, Any],
    body: dict[str, Any],
    config: dict[str, Any],
    losses: DroppedParams,
) -> None:
    """Writes the response schema of another dialect's request."""
    if response_format.description and not schema.get("description"):
        schema = {**schema, "description": response_format.description}
    try:
        schema, moved = schemas.strict_schema(schema)
    except Inexpressible as reason:
        losses.add(
            "response_format.schema", f"Anthropic can't enforce it ({reason}): the system prompt contains it instead"
        )
        _instruct(body, JSON_BY_SCHEMA + _encode(schema).decode())
        return
    if moved:
        losses.add_soft("response_format.schema", "a part of the schema was moved to its description")
    config["format"] = {"type": "json_schema", "schema": schema}


def _instruct(body: dict[str, Any], text: str) -> None:
    """Adds a paragraph to the system prompt."""
    system = body.get("system") or []
    blocks = [{"type": "text", "text": system}] if isinstance(system, str) else system
    body["system"] = [*blocks, {"type": "text", "text": text}] if blocks else text


def _write_metadata(request: ChatRequest, body: dict[str, Any], losses: DroppedParams, *, same: bool) -> None:
    metadata: dict[str, Any] = dict(request.metadata or {}) if same else {}
    if request.metadata and not same:
        losses.add("metadata", "Anthropic's metadata can only contain a user id")
    if request.user and (same or len(request.user) <= MAX_USER_ID_CHARS):
        metadata["user_id"] = request.user
    elif request.user:
        losses.add_soft(
            "user", f"Anthropic accepts user ids of up to {MAX_USER_ID_CHARS} characters: a digest was sent"
        )
        metadata["user_id"] = digest(request.user)
    if metadata:
        body["metadata"] = metadata


def _record_unsupported(request: ChatRequest, losses: DroppedParams) -> None:
    if request.n is not None and request.n > 1:
        losses.add("n", "Anthropic returns a single choice")
    if request.logprobs or request.top_logprobs:
        losses.add("logprobs", "Anthropic has no log probabilities")
    if request.seed is not None:
        losses.add("seed", "Anthropic has no seed")
    for name in ("presence_penalty", "frequency_penalty"):
        # 0 is every vendor's default, and many clients always send it.
        if getattr(request, name):
            losses.add(name, f"Anthropic has no {name}")
