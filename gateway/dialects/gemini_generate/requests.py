"""Reads and writes generateContent requests."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import quote

import msgspec

from contract.dialect import InboundCall, WireOptions, WireRequest
from contract.errors import InvalidRequest
from contract.messages import ChatRequest, Opaque, ReasoningOptions, ResponseFormat, Tool, ToolChoice
from gateway.dialects import fields
from gateway.dialects.attribution import without_attribution
from gateway.dialects.choices import check_unforced
from gateway.dialects.dropped_params import DroppedParams
from gateway.dialects.fitting import JSON_BY_SCHEMA, fit, fit_stop
from gateway.dialects.gemini_generate import schemas, turns
from gateway.dialects.gemini_generate.names import camel, inner
from gateway.dialects.gemini_generate.schemas import to_json_schema
from gateway.dialects.gemini_generate.thinking import foreign_thinking, own_thinking
from gateway.dialects.names import NOTHING, NameRule
from gateway.dialects.schemas import Budget, Inexpressible

_encode = msgspec.json.Encoder().encode
_KNOWN = frozenset({"contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "model"})
_CONFIG = frozenset(
    {
        "temperature",
        "topP",
        "topK",
        "maxOutputTokens",
        "stopSequences",
        "seed",
        "candidateCount",
        "presencePenalty",
        "frequencyPenalty",
        "responseLogprobs",
        "logprobs",
        "responseMimeType",
        "responseSchema",
        "responseJsonSchema",
        "thinkingConfig",
    }
)
# "Must start with a letter or an underscore. Must be a-z, A-Z, 0-9, or contain underscores (_), dots (.), colons (:),
# or dashes (-), with a maximum length of 64" is the API's error; Vertex accepts 128. Ids have no documented limits.
NAMES = NameRule(r"[^a-zA-Z0-9_.:-]", 64, r"[a-zA-Z_]")
IDS = NameRule(NOTHING, 256)
MAX_STOP_SEQUENCES, MAX_CANDIDATES, MAX_LOGPROBS = 5, 8, 20
# "up to, but not including, 2.0"
PENALTY_LIMIT, MAX_PENALTY = 2, 1.99
SEEDS = range(-(2**31), 2**31)
_MODES = {"AUTO": "auto", "ANY": "required", "NONE": "none", "VALIDATED": "auto", "MODE_UNSPECIFIED": "auto"}
_CHOICES = {"auto": "AUTO", "required": "ANY", "none": "NONE"}


def read(body: bytes, call: InboundCall) -> ChatRequest:
    """Reads a request. Raises `InvalidRequest` that names the field."""
    return read_object(fields.read_json_object(body), call)


def read_object(body: dict[str, Any], call: InboundCall) -> ChatRequest:
    """Reads a request from an object."""
    source = camel(body)
    contents = source.get("contents")
    if contents is None:
        raise fields.missing("contents")
    if type(contents) is dict:
        contents = [contents]
    items = fields.array({"contents": contents}, "contents") or []
    if not items:
        raise InvalidRequest("'contents' must not be empty", param="contents")
    config = inner(source, "generationConfig") or {}
    extra = fields.rest(source, _KNOWN) or {}
    others = fields.rest(config, _CONFIG) or {}
    response_format, reasoning = _read_response_format(config, others), _read_thinking(config, others)
    if others:
        extra["generationConfig"] = others
    where = "generationConfig."
    tools, tool_choice = _read_tools(source), _read_tool_choice(source, extra)
    return ChatRequest(
        dialect="gemini",
        model=call.model or (fields.text(source, "model") or "").removeprefix("models/"),
        messages=(*turns.read_system(source.get("systemInstruction")), *turns.read_contents(items)),
        tools=tools,
        tool_choice=tool_choice,
        response_format=response_format,
        reasoning=reasoning,
        stream=call.stream,
        include_usage=True,
        temperature=fields.number(config, "temperature", where),
        top_p=fields.number(config, "topP", where),
        top_k=fields.integer(config, "topK", where),
        max_tokens=fields.integer(config, "maxOutputTokens", where),
        stop=_read_stop(config),
        seed=fields.integer(config, "seed", where),
        n=fields.count(config, "candidateCount", where),
        presence_penalty=fields.number(config, "presencePenalty", where),
        frequency_penalty=fields.number(config, "frequencyPenalty", where),
        logprobs=fields.boolean(config, "responseLogprobs", where),
        top_logprobs=fields.integer(config, "logprobs", where),
        extra=extra or None,
    )


def _read_stop(config: dict[str, Any]) -> tuple[str, ...]:
    stop = fields.array(config, "stopSequences", "generationConfig.") or []
    for index, item in enumerate(stop):
        if type(item) is not str:
            raise fields.wrong_type(f"generationConfig.stopSequences[{index}]", "a string", item)
    return tuple(stop)


_MIME_TYPES = frozenset({None, "application/json", "text/plain"})
_FORMAT = ("responseMimeType", "responseSchema", "responseJsonSchema")


def _read_response_format(config: dict[str, Any], extra: dict[str, Any]) -> ResponseFormat | None:
    """Reads the response format. Google's own formats (`text/x.enum`) go to `extra` with their schema."""
    where = "generationConfig."
    kind = fields.text(config, "responseMimeType", where)
    if kind not in _MIME_TYPES:
        extra |= {name: config[name] for name in _FORMAT if name in config}
        return None
    schema = fields.obj(config, "responseJsonSchema", where)
    if schema is None:
        schema = to_json_schema(fields.obj(config, "responseSchema", where))
    if schema is not None:
        return ResponseFormat("json_schema", schema=schema)
    if kind is None:
        return None
    return ResponseFormat("json" if kind == "application/json" else "text")


_THINKING = frozenset({"thinkingLevel", "thinkingBudget", "includeThoughts"})


def _read_thinking(config: dict[str, Any], extra: dict[str, Any]) -> ReasoningOptions | None:
    thinking = inner(config, "thinkingConfig", "generationConfig.")
    if thinking is None:
        return None
    where = "generationConfig.thinkingConfig."
    others = fields.rest(thinking, _THINKING)
    if others:
        extra["thinkingConfig"] = others
    effort = (fields.text(thinking, "thinkingLevel", where) or "").lower()
    return ReasoningOptions(
        effort="" if effort == "thinking_level_unspecified" else effort,
        budget_tokens=fields.integer(thinking, "thinkingBudget", where),
        include=fields.boolean(thinking, "includeThoughts", where),
    )


def _read_tools(source: dict[str, Any]) -> tuple[Tool | Opaque, ...]:
    tools: list[Tool | Opaque] = []
    for index, item in enumerate(fields.each_object(fields.array(source, "tools") or [], "tools")):
        item = camel(item)
        where = f"tools[{index}].functionDeclarations"
        declarations = fields.array(item, "functionDeclarations", f"tools[{index}].")
        for number, each in enumerate(fields.each_object(declarations or [], where)):
            tools.append(_read_declaration(camel(each), f"{where}[{number}]."))
        others = fields.rest(item, frozenset({"functionDeclarations"}))
        if others:
            tools.append(Opaque("gemini", others))
    return tuple(tools)


def _read_declaration(item: dict[str, Any], where: str) -> Tool:
    parameters = fields.obj(item, "parametersJsonSchema", where)
    if parameters is None:
        parameters = to_json_schema(fields.obj(item, "parameters", where))
    return Tool(
        name=fields.required_text(item, "name", where),
        description=fields.text(item, "description", where) or "",
        parameters=parameters,
        extra=fields.rest(item, frozenset({"name", "description", "parameters", "parametersJsonSchema"})),
    )


def _read_tool_choice(source: dict[str, Any], extra: dict[str, Any]) -> ToolChoice | None:
    config = inner(source, "toolConfig")
    if config is None:
        return None
    others = fields.rest(config, frozenset({"functionCallingConfig"}))
    if others:
        extra["toolConfig"] = others
    calling = inner(config, "functionCallingConfig", "toolConfig.")
    if calling is None:
        return None
    where = "toolConfig.functionCallingConfig."
    mode = (fields.text(calling, "mode", where) or "AUTO").upper()
    if mode not in _MODES:
        raise InvalidRequest(f"'{where}mode' must be 'AUTO', 'ANY' or 'NONE'", param=where + "mode")
    names = fields.array(calling, "allowedFunctionNames", where) or []
    if calling.keys() == {"mode", "allowedFunctionNames"} and mode == "ANY" and _is_single_name(names):
        return ToolChoice("named", names[0])
    if calling.keys() == {"mode", "allowedFunctionNames"} and mode in _ALLOWING and _are_names(names):
        return ToolChoice(_ALLOWING[mode], allowed=tuple(names))
    if names or mode == "VALIDATED" or not calling.keys() <= {"mode", "allowedFunctionNames"}:
        extra["toolConfig"] = config
        return None
    return ToolChoice(_MODES[mode])  # type: ignore[arg-type]


def _is_single_name(names: list[Any]) -> bool:
    return len(names) == 1 and type(names[0]) is str


def _are_names(names: list[Any]) -> bool:
    return bool(names) and all(type(name) is str for name in names)


# The modes with a list of names: calls only, and calls or text.
_ALLOWING: dict[str, Literal["required", "auto"]] = {"ANY": "required", "VALIDATED": "auto"}


def write(request: ChatRequest, options: WireOptions) -> WireRequest:
    """Writes the provider's request. Raises `UnsupportedFeature` if the policy refuses an inexpressible field."""
    losses = DroppedParams(options.unsupported)
    same = request.dialect == "gemini"
    names: dict[str, str] = {}
    if not same:
        request, names = fit(request, NAMES, IDS, losses)
    messages = without_attribution(request, losses)
    system, contents = turns.write_all(messages, losses, same=same, model=options.model)
    body: dict[str, Any] = {"contents": contents}
    if system:
        body["systemInstruction"] = {"parts": system}
    if tools := _write_tools(request, losses, same=same):
        body["tools"] = tools
    elif not same:
        check_unforced(request)
    choice = request.tool_choice
    if choice is not None and (tools or same):
        calling: dict[str, Any] = {"mode": "ANY" if choice.mode == "named" else _CHOICES[choice.mode]}
        if choice.mode == "named":
            calling["allowedFunctionNames"] = [choice.name]
        elif choice.allowed:
            calling = {
                "mode": "ANY" if choice.mode == "required" else "VALIDATED",
                "allowedFunctionNames": list(choice.allowed),
            }
        body["toolConfig"] = {"functionCallingConfig": calling}
    config = _write_config(request) if same else _limited_config(request, losses)
    _write_response_format(request.response_format, body, config, losses, same=same)
    if request.reasoning is not None:
        thinking = (
            own_thinking(request.reasoning) if same else foreign_thinking(options.model, request.reasoning, losses)
        )
        if thinking:
            config["thinkingConfig"] = thinking
    _record_unsupported(request, losses)
    if request.extra:
        if same:
            _write_extra(request.extra, body, config)
        else:
            losses.add_extras(request.extra)
    if config:
        body["generationConfig"] = config
    verb = "streamGenerateContent?alt=sse" if options.stream else "generateContent"
    model = quote(options.model.removeprefix("models/"), safe="/@-._~")
    path = f"/{options.version or 'v1beta'}/models/{model}:{verb}"
    return WireRequest(path, _encode(body), losses=losses.all(), names=names)


def _write_extra(extra: dict[str, Any], body: dict[str, Any], config: dict[str, Any]) -> None:
    for key, value in extra.items():
        if key == "generationConfig":
            thinking = {**value.get("thinkingConfig", {}), **config.get("thinkingConfig", {})}
            config.update(value)
            if thinking:
                config["thinkingConfig"] = thinking
        elif key == "toolConfig":
            body["toolConfig"] = {**value, **body.get("toolConfig", {})}
        else:
            body[key] = value


def _write_config(request: ChatRequest) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for name, wire_name in _PLAIN:
        value = getattr(request, name)
        if value is not None:
            config[wire_name] = value
    if request.stop:
        config["stopSequences"] = list(request.stop)
    return config


def _limited_config(request: ChatRequest, losses: DroppedParams) -> dict[str, Any]:
    """The config for another dialect's request, with its numbers limited to Gemini's ranges."""
    config = _write_config(request)
    if request.stop:
        config["stopSequences"] = fit_stop(request.stop, MAX_STOP_SEQUENCES, losses, "Gemini")
        if not config["stopSequences"]:
            del config["stopSequences"]
    for name, key, most in (("n", "candidateCount", MAX_CANDIDATES), ("top_logprobs", "logprobs", MAX_LOGPROBS)):
        if config.get(key, 0) > most:
            losses.add(name, f"Gemini supports at most {most}")
            config[key] = most
    for name, key in (("presence_penalty", "presencePenalty"), ("frequency_penalty", "frequencyPenalty")):
        if config.get(key, 0) >= PENALTY_LIMIT:
            losses.add_soft(name, "Gemini's penalties must be less than 2")
            config[key] = MAX_PENALTY
    if "seed" in config and config["seed"] not in SEEDS:
        losses.add("seed", "Gemini accepts seeds of 32 bits")
        del config["seed"]
    return config


_PLAIN = (
    ("temperature", "temperature"),
    ("top_p", "topP"),
    ("top_k", "topK"),
    ("max_tokens", "maxOutputTokens"),
    ("seed", "seed"),
    ("n", "candidateCount"),
    ("presence_penalty", "presencePenalty"),
    ("frequency_penalty", "frequencyPenalty"),
    ("logprobs", "responseLogprobs"),
    ("top_logprobs", "logprobs"),
)


def _write_response_format(
    response_format: ResponseFormat | None,
    body: dict[str, Any],
    config: dict[str, Any],
    losses: DroppedParams,
    *,
    same: bool,
) -> None:
    if response_format is None:
        return
    config["responseMimeType"] = "text/plain" if response_format.kind == "text" else "application/json"
    if response_format.kind != "json_schema" or response_format.schema is None:
        return
    schema = response_format.schema
    if not same:
        try:
            schema, moved = schemas.response_schema(schema)
        except Inexpressible as reason:
            losses.add(
                "response_format.schema", f"Gemini can't enforce it ({reason}): the system prompt contains it instead"
            )
            parts = body.get("systemInstruction", {}).get("parts", [])
            body["systemInstruction"] = {"parts": [*parts, {"text": JSON_BY_SCHEMA + _encode(schema).decode()}]}
            return
        if moved:
            losses.add_soft("response_format.schema", "a part of the schema was moved to its description")
    config["responseJsonSchema"] = schema


def _write_tools(request: ChatRequest, losses: DroppedParams, *, same: bool) -> list[dict[str, Any]]:
    declarations: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    budget = Budget()
    for index, tool in enumerate(request.tools):
        if isinstance(tool, Opaque):
            if tool.dialect == "gemini":
                others.append(tool.value)
            else:
                losses.add(f"tools[{index}]", f"only {tool.dialect} has this type of tool")
            continue
        wire: dict[str, Any] = {"name": tool.name}
        if tool.description:
            wire["description"] = tool.description
        if tool.parameters is not None and same:
            wire["parametersJsonSchema"] = tool.parameters
        elif tool.parameters is not None:
            wire["parametersJsonSchema"], moved = schemas.tool_schema(tool.parameters, budget)
            if moved:
                losses.add_soft(f"tools[{index}].parameters", "a part of the schema was moved to its description")
        if tool.strict:
            losses.add_soft(f"tools[{index}].strict", "Gemini has no strict tools")
        if tool.extra:
            if same:
                wire.update(tool.extra)
            else:
                losses.add_extras(tool.extra, f"tools[{index}].")
        if tool.beside:
            losses.add_extras(tool.beside, f"tools[{index}].")
        declarations.append(wire)
    return ([{"functionDeclarations": declarations}] if declarations else []) + others


def _record_unsupported(request: ChatRequest, losses: DroppedParams) -> None:
    if request.betas:
        losses.add_soft("anthropic-beta", "only Anthropic has betas: not sent to Gemini")
    if request.parallel_tool_calls is False and request.tools:
        losses.add("parallel_tool_calls", "Gemini can't disable parallel tool calls")
    if request.metadata:
        losses.add("metadata", "Gemini has no metadata")
    if request.user:
        losses.add("user", "Gemini has no user id")
