"""Chat Completions requests, read and written."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.contract.errors import InvalidRequest
from gateway.contract.messages import (
    ChatRequest,
    Opaque,
    ReasoningOptions,
    ResponseFormat,
    Tool,
    ToolChoice,
)
from gateway.contract.protocols import WireOptions, WireRequest
from gateway.dialects import fields
from gateway.dialects.attribution import without_attribution
from gateway.dialects.losses import Losses
from gateway.dialects.openai_chat import turns

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
_TOOL_CHOICES = frozenset({"auto", "none", "required"})


def read(body: bytes) -> ChatRequest:
    """Raises `InvalidRequest` naming the field."""
    source = fields.read_json_object(body)
    model = fields.required_text(source, "model")
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
        raise fields.wrong("stop", "a string or an array of strings", stop)
    for index, item in enumerate(fields.few(stop, "stop")):
        if type(item) is not str:
            raise fields.wrong(f"stop[{index}]", "a string", item)
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
    if choice in _TOOL_CHOICES if type(choice) is str else False:
        return ToolChoice(choice), extra
    if type(choice) is dict:
        if choice.get("type") == "function":
            function = fields.obj(choice, "function", "tool_choice.") or choice
            return ToolChoice("named", fields.required_text(function, "name", "tool_choice.function.")), extra
        return None, {**(extra or {}), "tool_choice": choice}
    raise InvalidRequest("'tool_choice' must be 'auto', 'none', 'required' or name a function", param="tool_choice")


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
    """Raises `UnsupportedFeature` when the policy is to refuse what can't be said."""
    losses = Losses(options.unsupported)
    same = request.dialect == "openai"
    body: dict[str, Any] = {"model": options.model}
    messages = without_attribution(request, losses)
    body["messages"] = [wire for message in messages for wire in turns.write(message, losses, same=same)]
    if options.stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    _write_sampling(request, body)
    if request.max_tokens is not None:
        # The vendor retired `max_tokens`; many compatible servers know nothing else.
        body["max_completion_tokens" if options.native else "max_tokens"] = request.max_tokens
    if request.top_k is not None:
        if options.native:
            losses.add("top_k", "OpenAI has no top_k")
        else:
            body["top_k"] = request.top_k
    if request.tools:
        body["tools"] = _write_tools(request, losses)
    if request.tool_choice is not None:
        body["tool_choice"] = _write_tool_choice(request.tool_choice)
    if request.response_format is not None:
        body["response_format"] = _write_response_format(request.response_format)
    if request.reasoning is not None:
        _write_reasoning(request.reasoning, body, losses)
    if request.extra:
        if same:
            _write_extra(request.extra, body)
        else:
            losses.add_extras(request.extra)
    return WireRequest("/chat/completions", _encode(body), losses=losses.all())


def _write_extra(extra: dict[str, Any], body: dict[str, Any]) -> None:
    for key, value in extra.items():
        if key == "stream_options":
            if "stream_options" in body:
                body["stream_options"] = {**value, "include_usage": True}
        else:
            body.setdefault(key, value)


def _write_sampling(request: ChatRequest, body: dict[str, Any]) -> None:
    for name in _PLAIN:
        value = getattr(request, name)
        if value is not None:
            body[name] = value
    if request.stop:
        body["stop"] = list(request.stop)
    if request.user:
        body["user"] = request.user


_PLAIN = (
    "temperature", "top_p", "seed", "n", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs",
    "parallel_tool_calls", "metadata",
)  # fmt: skip


def _write_tools(request: ChatRequest, losses: Losses) -> list[dict[str, Any]]:
    tools: list[dict[str, Any]] = []
    for index, tool in enumerate(request.tools):
        if isinstance(tool, Opaque):
            if tool.dialect == "openai":
                tools.append(tool.value)
            else:
                losses.add(f"tools[{index}]", f"a tool of {tool.dialect}'s own")
            continue
        function: dict[str, Any] = {"name": tool.name}
        if tool.description:
            function["description"] = tool.description
        if tool.parameters is not None:
            function["parameters"] = tool.parameters
        if tool.strict is not None:
            function["strict"] = tool.strict
        if tool.extra and request.dialect == "openai":
            function.update(tool.extra)
        tools.append({"type": "function", "function": function})
    return tools


def _write_tool_choice(choice: ToolChoice) -> str | dict[str, Any]:
    if choice.mode == "named":
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode


def _write_response_format(wanted: ResponseFormat) -> dict[str, Any]:
    if wanted.kind == "text":
        return {"type": "text"}
    if wanted.kind == "json":
        return {"type": "json_object"}
    schema: dict[str, Any] = {"name": wanted.name or "answer"}
    if wanted.description:
        schema["description"] = wanted.description
    if wanted.schema is not None:
        schema["schema"] = wanted.schema
    if wanted.strict is not None:
        schema["strict"] = wanted.strict
    return {"type": "json_schema", "json_schema": schema}


def _write_reasoning(reasoning: ReasoningOptions, body: dict[str, Any], losses: Losses) -> None:
    if reasoning.effort:
        body["reasoning_effort"] = reasoning.effort
    elif reasoning.enabled is False or reasoning.budget_tokens == 0:
        body["reasoning_effort"] = "none"
    elif reasoning.budget_tokens is not None and reasoning.budget_tokens > 0:
        # Less than nothing is Gemini's word for "as you see fit", which is what OpenAI does unasked.
        # The budgets at which Anthropic's and Google's own guides set low, medium and high.
        budget = reasoning.budget_tokens
        body["reasoning_effort"] = "low" if budget <= 2048 else "medium" if budget <= 8192 else "high"
        losses.add_soft("reasoning.budget_tokens", "written as an effort")
