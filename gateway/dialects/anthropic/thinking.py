"""Reads and writes reasoning options: `thinking`, and the effort in `output_config`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from contract.messages import ChatRequest, Reasoning, ReasoningOptions, ToolCall
from contract.thinking_budget import thinking_budget
from gateway.dialects import fields

if TYPE_CHECKING:
    from gateway.dialects.dropped_params import DroppedParams

_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_DISPLAYS = {"summarized": True, "omitted": False}


def read(source: dict[str, Any], effort: str, extra: dict[str, Any]) -> ReasoningOptions | None:
    """The options; other fields go to `extra["thinking"]`.

    Reasoning with a budget is returned unless `omitted`; whether adaptive reasoning is returned depends on the model.
    """
    thinking = fields.obj(source, "thinking")
    if thinking is None:
        return ReasoningOptions(effort=effort) if effort else None
    kind = fields.required_text(thinking, "type", "thinking.")
    if kind not in ("enabled", "adaptive", "disabled"):
        extra["thinking"] = thinking
        if kind == "between_tools":
            return ReasoningOptions(effort=effort, enabled=False)
        return ReasoningOptions(effort=effort) if effort else None
    others = fields.rest(thinking, frozenset({"type", "budget_tokens", "display"})) or {}
    display = fields.text(thinking, "display", "thinking.")
    if display is not None and (display not in _DISPLAYS or kind == "disabled"):
        others["display"] = display
    include = _DISPLAYS.get(display or "")
    budget = None
    if kind == "enabled":
        budget = fields.integer(thinking, "budget_tokens", "thinking.")
        if budget is None:
            raise fields.missing("thinking.budget_tokens")
        if include:
            others["display"] = display
        include = include is not False
    if others:
        extra["thinking"] = others
    if kind == "disabled":
        return ReasoningOptions(effort=effort, enabled=False)
    return ReasoningOptions(effort=effort, budget_tokens=budget, enabled=True, include=include)


def write(request: ChatRequest, losses: DroppedParams, *, adaptive: bool) -> tuple[dict[str, Any] | None, str]:
    """The `thinking` object, or None, and the effort, or "". `adaptive`: other dialects' efforts are sent as efforts.

    For requests of other dialects, thinking that the vendor would reject is dropped and recorded.
    """
    reasoning = request.reasoning
    if reasoning is None:
        return None, ""
    if request.dialect == "anthropic":
        return _write_own(reasoning), reasoning.effort
    thinking, effort = _translate(reasoning, losses, adaptive=adaptive)
    if thinking is None or thinking["type"] == "disabled":
        return thinking, effort
    if request.tool_choice is not None and request.tool_choice.mode in ("required", "named"):
        losses.add("reasoning", "Anthropic does not support thinking with a forced tool call")
        return None, effort
    if thinking["type"] == "enabled" and _has_calls_without_reasoning(request):
        losses.add("reasoning", "the tool calls of the last turn have no reasoning signed by Anthropic")
        return None, effort
    if reasoning.include is not None:
        thinking["display"] = "summarized" if reasoning.include else "omitted"
    return thinking, effort


def _write_own(reasoning: ReasoningOptions) -> dict[str, Any] | None:
    if reasoning.enabled is False:
        return {"type": "disabled"}
    if reasoning.budget_tokens is not None:
        thinking: dict[str, Any] = {"type": "enabled", "budget_tokens": reasoning.budget_tokens}
        return {**thinking, "display": "omitted"} if reasoning.include is False else thinking
    if reasoning.enabled is None:
        return None
    if reasoning.include is None:
        return {"type": "adaptive"}
    return {"type": "adaptive", "display": "summarized" if reasoning.include else "omitted"}


def _translate(
    reasoning: ReasoningOptions, losses: DroppedParams, *, adaptive: bool
) -> tuple[dict[str, Any] | None, str]:
    budget = reasoning.budget_tokens
    if reasoning.enabled is False or budget == 0 or reasoning.effort == "none":
        return {"type": "disabled"}, ""
    if budget is not None and budget > 0:
        return {"type": "enabled", "budget_tokens": thinking_budget(reasoning)}, ""
    if reasoning.effort and reasoning.effort not in _EFFORTS:
        losses.add("reasoning.effort", "Anthropic has no such effort")
        return None, ""
    # A negative budget is Gemini's value for a dynamic budget.
    if not (reasoning.effort or reasoning.enabled or reasoning.include or budget is not None):
        return None, ""
    if adaptive:
        return {"type": "adaptive"}, _EFFORTS.get(reasoning.effort, "")
    return {"type": "enabled", "budget_tokens": thinking_budget(reasoning)}, ""


def _has_calls_without_reasoning(request: ChatRequest) -> bool:
    """Whether the last assistant turn contains calls, but no reasoning that may be sent back with them."""
    for message in reversed(request.messages):
        if message.role == "assistant":
            has_reasoning = any(
                isinstance(part, Reasoning) and (part.redacted or (part.signature and part.signed_by != "gemini"))
                for part in message.parts
            )
            return not has_reasoning and any(isinstance(part, ToolCall) for part in message.parts)
        if message.role == "user" and message.text:
            return False
    return False
