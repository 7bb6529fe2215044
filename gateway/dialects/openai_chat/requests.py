"""Reads and writes Chat Completions requests."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from contract.dialect import WireOptions, WireRequest
from contract.errors import InvalidRequest
from contract.messages import ChatRequest, Opaque, ReasoningOptions, ResponseFormat, Tool, ToolChoice
from gateway.dialects import fields
from gateway.dialects.attribution import without_attribution
from gateway.dialects.call_ids import call_ids, fit_ids
from gateway.dialects.choices import check_unforced
from gateway.dialects.dropped_params import DroppedParams
from gateway.dialects.fitting import JSON_BY_SCHEMA, JSON_ONLY, fit, fit_stop
from gateway.dialects.names import NOTHING, NameRule, digest
from gateway.dialects.openai_chat import schemas, turns
from gateway.dialects.schemas import Budget

_encode = msgspec.json.Encoder().encode
_KNOWN = frozenset(
    {
        "model",
        "messages",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "reasoning_effort",
        "stream",
        "stream_options",
        "temperature",
        "top_p",
        "top_k",
        "max_tokens",
        "max_completion_tokens",
        "stop",
        "seed",
        "n",
        "presence_penalty",
        "frequency_penalty",
        "logprobs",
        "top_logprobs",
        "user",
        "metadata",
    }
)
# "Must be a-z, A-Z, 0-9, or contain underscores and dashes, with a maximum length of 64"
NAMES = NameRule(r"[^a-zA-Z0-9_-]", 64)
# Only the length of ids is limited: "Expected a string with maximum length 40".
IDS = NameRule(NOTHING, 40)
# "Tool call id was ... but must be a-z, A-Z, 0-9, with a length of 9": Mistral's API, and the templates of its models.
NINE_CHARS = NameRule(r"[^a-zA-Z0-9]", 9, exact=True)
# OpenAI's models that reject `max_tokens`, on any host: "use 'max_completion_tokens' instead".
_WITHOUT_MAX_TOKENS = re.compile(r"(?:^|[/:@.])(?:o[134](?:-|$)|gpt-[5-9])")
MAX_STOP_SEQUENCES = 4
MAX_USER_CHARS = 64
MAX_TEMPERATURE = 2
_TOOL_CHOICES = frozenset({"auto", "none", "required"})


def read(body: bytes, model: str = "") -> ChatRequest:
    """Reads a request. `model`: the one in the path (Azure). Raises `InvalidRequest` that names the field."""
    source = fields.read_json_object(body)
    model = model or fields.required_text(source, "model")
    messages = fields.array(source, "messages")
    if messages is None:
        raise fields.missing("messages")
    if not messages:
        raise InvalidRequest("'messages' must not be empty", param="messages")
    extra = fields.rest(source, _KNOWN)
    tool_choice, extra = _read_tool_choice(source, extra)
    include_usage, extra = _read_stream_options(source, extra)
    max_tokens = fields.integer(source, "max_completion_tokens")
    return ChatRequest(
        dialect="openai",
        model=model,
        messages=tuple([turns.read(item, f"messages[{index}]") for index, item in enumerate(messages)]),
        tools=_read_tools(source),
        tool_choice=tool_choice,
        parallel_tool_calls=fields.boolean(source, "parallel_tool_calls"),
        response_format=_read_response_format(source),
        reasoning=_read_reasoning(source),
        stream=fields.boolean(source, "stream") or False,
        include_usage=include_usage,
        temperature=fields.number(source, "temperature"),
        top_p=fields.number(source, "top_p"),
        top_k=fields.integer(source, "top_k"),
        max_tokens=fields.integer(source, "max_tokens") if max_tokens is None else max_tokens,
        stop=_read_stop(source),
        seed=fields.integer(source, "seed"),
        n=fields.count(source, "n"),
        presence_penalty=fields.number(source, "presence_penalty"),
        frequency_penalty=fields.number(source, "frequency_penalty"),
        logprobs=fields.boolean(source, "logprobs"),
        top_logprobs=fields.integer(source, "top_logprobs"),
        user=fields.text(source, "user") or "",
        metadata=fields.obj(source, "metadata"),
        extra=extra,
    )


def _read_stop(source: dict[str, Any]) -> tuple[str, ...]:
    stop = source.get("stop")
    if stop is None:
        return ()
    if type(stop) is str:
        return (stop,)
    if type(stop) is not list:
        raise fields.wrong_type("stop", "a string or an array of strings", stop)
    for index, item in enumerate(fields.check_count(stop, "stop")):
        if type(item) is not str:
            raise fields.wrong_type(f"stop[{index}]", "a string", item)
    return tuple(stop)


def _read_tools(source: dict[str, Any]) -> tuple[Tool | Opaque, ...]:
    items = fields.array(source, "tools")
    if not items:
        return ()
    tools: list[Tool | Opaque] = []
    for index, item in enumerate(fields.each_object(items, "tools")):
        where = f"tools[{index}]."
        if item.get("type", "function") != "function":
            tools.append(Opaque("openai", item))
            continue
        function = fields.obj(item, "function", where)
        if function is None:
            raise fields.missing(where + "function")
        where += "function."
        tools.append(
            Tool(
                name=fields.required_text(function, "name", where),
                description=fields.text(function, "description", where) or "",
                parameters=fields.obj(function, "parameters", where),
                strict=fields.boolean(function, "strict", where),
                extra=fields.rest(function, _FUNCTION_FIELDS),
                beside=fields.rest(item, frozenset({"type", "function"})),
            )
        )
    return tuple(tools)


_FUNCTION_FIELDS = frozenset({"name", "description", "parameters", "strict"})


def _read_tool_choice(
    source: dict[str, Any], extra: dict[str, Any] | None
) -> tuple[ToolChoice | None, dict[str, Any] | None]:
    choice = source.get("tool_choice")
    if choice is None:
        return None, extra
    if choice == "any":
        # Mistral's name for `required`; Mistral accepts both.
        return ToolChoice("required"), extra
    if choice in _TOOL_CHOICES if type(choice) is str else False:
        return ToolChoice(choice), extra
    if type(choice) is dict:
        if choice.get("type") == "function":
            function = fields.obj(choice, "function", "tool_choice.") or choice
            return ToolChoice("named", fields.required_text(function, "name", "tool_choice.function.")), extra
        if (allowed := _read_allowed(choice)) is not None:
            return allowed, extra
        return None, {**(extra or {}), "tool_choice": choice}
    raise InvalidRequest("'tool_choice' must be 'auto', 'none', 'required' or name a function", param="tool_choice")


def _read_allowed(choice: dict[str, Any]) -> ToolChoice | None:
    """`allowed_tools` if all are functions; None for anything else, which only OpenAI supports."""
    allowed = choice.get("allowed_tools")
    if choice.keys() != {"type", "allowed_tools"} or not isinstance(allowed, dict):
        return None
    tools, mode = allowed.get("tools"), allowed.get("mode")
    if allowed.keys() != {"mode", "tools"} or mode not in ("auto", "required") or not isinstance(tools, list):
        return None
    names = [each["function"].get("name") for each in tools if _is_named(each)]
    if not tools or len(names) < len(tools) or not all(isinstance(name, str) for name in names):
        return None
    return ToolChoice(mode, allowed=tuple(names))


def _is_named(tool: object) -> bool:
    if not isinstance(tool, dict) or tool.keys() != {"type", "function"} or tool["type"] != "function":
        return False
    return isinstance(tool["function"], dict) and tool["function"].keys() == {"name"}


def _read_stream_options(source: dict[str, Any], extra: dict[str, Any] | None) -> tuple[bool, dict[str, Any] | None]:
    options = fields.obj(source, "stream_options")
    if options is None:
        return False, extra
    others = fields.rest(options, frozenset({"include_usage"}))
    if others:
        extra = {**(extra or {}), "stream_options": others}
    return fields.boolean(options, "include_usage", "stream_options.") or False, extra


def _read_reasoning(source: dict[str, Any]) -> ReasoningOptions | None:
    effort = fields.text(source, "reasoning_effort")
    return ReasoningOptions(effort=effort) if effort else None


def _read_response_format(source: dict[str, Any]) -> ResponseFormat | None:
    value = fields.obj(source, "response_format")
    if value is None:
        return None
    kind = fields.required_text(value, "type", "response_format.")
    if kind == "text":
        return ResponseFormat("text")
    if kind == "json_object":
        return ResponseFormat("json")
    if kind != "json_schema":
        raise InvalidRequest(
            "'response_format.type' must be 'text', 'json_object' or 'json_schema'", param="response_format.type"
        )
    schema = fields.obj(value, "json_schema", "response_format.")
    if schema is None:
        raise fields.missing("response_format.json_schema")
    where = "response_format.json_schema."
    return ResponseFormat(
        "json_schema",
        schema=fields.obj(schema, "schema", where),
        name=fields.text(schema, "name", where) or "",
        description=fields.text(schema, "description", where) or "",
        strict=fields.boolean(schema, "strict", where),
    )


def write(request: ChatRequest, options: WireOptions) -> WireRequest:
    """Writes the provider's request. Raises `UnsupportedFeature` if the policy refuses an inexpressible field."""
    losses = DroppedParams(options.unsupported)
    same = request.dialect == "openai"
    names: dict[str, str] = {}
    ids = NINE_CHARS if options.nine_letter_ids else IDS
    if not same:
        request, names = fit(request, NAMES, ids, losses)
    elif (options.native or options.nine_letter_ids) and not all(map(ids.accepts, call_ids(request.messages))):
        # Another vendor assigned the ids of earlier turns.
        request = msgspec.structs.replace(request, messages=fit_ids(request.messages, ids))
    body: dict[str, Any] = {"model": options.model}
    messages = request.messages if same else without_attribution(request, losses)
    body["messages"] = turns.write_all(messages, losses, same=same, native=options.native)
    if options.stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    _write_sampling(request, body, losses, same=same)
    if request.max_tokens is not None:
        # The vendor deprecated `max_tokens`; many compatible servers support nothing else.
        deprecated = options.native or _WITHOUT_MAX_TOKENS.search(options.model)
        body[options.max_tokens or ("max_completion_tokens" if deprecated else "max_tokens")] = request.max_tokens
    if request.top_k is not None:
        if options.native:
            losses.add("top_k", "OpenAI has no top_k")
        else:
            body["top_k"] = request.top_k
    if request.tools or request.tool_choice is not None:
        _write_tool_use(request, body, losses)
    if request.response_format is not None:
        _write_response_format(request, body, options, losses)
    if request.reasoning is not None:
        _write_reasoning(request.reasoning, body, losses)
    if request.extra:
        if same:
            _write_extra(request.extra, body)
        else:
            losses.add_extras(request.extra)
    if request.betas:
        losses.add_soft("anthropic-beta", "only Anthropic has betas: not sent to other vendors")
    return WireRequest("/chat/completions", _encode(body), losses=losses.all(), names=names)


def _write_extra(extra: dict[str, Any], body: dict[str, Any]) -> None:
    for key, value in extra.items():
        if key == "stream_options":
            if "stream_options" in body:
                body["stream_options"] = {**value, "include_usage": True}
        else:
            body.setdefault(key, value)


def _write_sampling(request: ChatRequest, body: dict[str, Any], losses: DroppedParams, *, same: bool) -> None:
    for name in _PLAIN:
        value = getattr(request, name)
        if value is not None:
            body[name] = value
    if same:
        if request.stop:
            body["stop"] = list(request.stop)
        if request.user:
            body["user"] = request.user
        if request.metadata is not None:
            body["metadata"] = request.metadata
        return
    if stop := fit_stop(request.stop, MAX_STOP_SEQUENCES, losses, "OpenAI"):
        body["stop"] = stop
    if request.user:
        body["user"] = request.user
        if len(request.user) > MAX_USER_CHARS:
            losses.add_soft("user", f"OpenAI accepts up to {MAX_USER_CHARS} characters: a digest was sent")
            body["user"] = digest(request.user)
    if request.metadata:
        losses.add("metadata", "OpenAI accepts metadata only for stored responses")
    if body.get("temperature", 0) > MAX_TEMPERATURE:
        losses.add_soft("temperature", f"OpenAI's maximum is {MAX_TEMPERATURE}")
        body["temperature"] = MAX_TEMPERATURE
    if "top_logprobs" in body and not request.logprobs:
        # Rejected without `logprobs`.
        del body["top_logprobs"]


_PLAIN = (
    "temperature", "top_p", "seed", "n", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs",
)  # fmt: skip


def _write_tool_use(request: ChatRequest, body: dict[str, Any], losses: DroppedParams) -> None:
    if tools := _write_tools(request, losses):
        body["tools"] = tools
        if request.tool_choice is not None:
            body["tool_choice"] = _write_tool_choice(request.tool_choice)
        if request.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = request.parallel_tool_calls
    else:
        # "'tool_choice' is only allowed when 'tools' are specified", and so is 'parallel_tool_calls'.
        check_unforced(request)


def _write_tools(request: ChatRequest, losses: DroppedParams) -> list[dict[str, Any]]:
    tools: list[dict[str, Any]] = []
    budget = Budget()
    for index, tool in enumerate(request.tools):
        if isinstance(tool, Opaque):
            if tool.dialect == "openai":
                tools.append(tool.value)
            else:
                losses.add(f"tools[{index}]", f"only {tool.dialect} has this type of tool")
            continue
        function: dict[str, Any] = {"name": tool.name}
        if tool.description:
            function["description"] = tool.description
        unknown: dict[str, Any] = {}
        if request.dialect == "openai":
            if tool.parameters is not None:
                function["parameters"] = tool.parameters
            if tool.strict is not None:
                function["strict"] = tool.strict
            function.update(tool.extra or {})
            unknown = tool.beside or {}
        else:
            _write_parameters(tool, function, f"tools[{index}]", losses, budget)
        tools.append({"type": "function", "function": function, **unknown})
    return tools


def _write_parameters(tool: Tool, function: dict[str, Any], where: str, losses: DroppedParams, budget: Budget) -> None:
    """Writes the parameters of another dialect's tool, and `strict`."""
    if tool.parameters is not None:
        function["parameters"], moved = schemas.tool_schema(tool.parameters, budget)
        if moved:
            losses.add_soft(f"{where}.parameters", "a part of the schema was moved to its description")
    if tool.strict:
        strict = schemas.strict(function.get("parameters") or {}, budget)
        if strict is None:
            losses.add(f"{where}.strict", "OpenAI can't enforce this schema: strict schemas allow less")
        else:
            function["parameters"], function["strict"] = strict, True
    if tool.extra:
        losses.add_extras(tool.extra, f"{where}.")


def _write_tool_choice(choice: ToolChoice) -> str | dict[str, Any]:
    if choice.allowed:
        tools = [{"type": "function", "function": {"name": name}} for name in choice.allowed]
        return {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": tools}}
    if choice.mode == "named":
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode


def _write_response_format(
    request: ChatRequest, body: dict[str, Any], options: WireOptions, losses: DroppedParams
) -> None:
    response_format = request.response_format
    if response_format is None or response_format.kind == "text":
        body["response_format"] = {"type": "text"}
        return
    if response_format.kind == "json":
        body["response_format"] = {"type": "json_object"}
        if request.dialect != "openai" and not any("json" in message.text.lower() for message in request.messages):
            # "'messages' must contain the word 'json' in some form"
            losses.add_soft(
                "response_format", "OpenAI requires the word JSON in the prompt: a system message was added"
            )
            body["messages"] = [{"role": "system", "content": JSON_ONLY}, *body["messages"]]
        return
    schema: dict[str, Any] = {"name": response_format.name or "answer"}
    if response_format.description:
        schema["description"] = response_format.description
    if response_format.schema is not None:
        schema["schema"] = response_format.schema
    if response_format.strict is not None:
        schema["strict"] = response_format.strict
    if request.dialect != "openai" and response_format.schema is not None and options.native:
        if response_format.schema.get("type", "object") != "object":
            # "schema must be a JSON Schema of 'type: "object"'"
            losses.add("response_format.schema", "OpenAI enforces only objects: a system message contains it instead")
            instruction = JSON_BY_SCHEMA + _encode(response_format.schema).decode()
            body["messages"] = [{"role": "system", "content": instruction}, *body["messages"]]
            return
        # The other vendors always enforce the schema.
        if (strict := schemas.strict(response_format.schema)) is not None:
            schema["schema"], schema["strict"] = strict, True
    body["response_format"] = {"type": "json_schema", "json_schema": schema}


def _write_reasoning(reasoning: ReasoningOptions, body: dict[str, Any], losses: DroppedParams) -> None:
    if reasoning.effort:
        body["reasoning_effort"] = reasoning.effort
    elif reasoning.enabled is False or reasoning.budget_tokens == 0:
        body["reasoning_effort"] = "none"
    elif reasoning.budget_tokens is not None and reasoning.budget_tokens > 0:
        # A negative budget means a dynamic one at Gemini, which is OpenAI's default.
        # The thresholds of Anthropic's and Google's guides for low, medium and high.
        budget = reasoning.budget_tokens
        body["reasoning_effort"] = "low" if budget <= 2048 else "medium" if budget <= 8192 else "high"
        losses.add_soft("reasoning.budget_tokens", "converted to an effort")
