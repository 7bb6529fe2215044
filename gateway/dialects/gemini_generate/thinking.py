"""Writes reasoning options as `thinkingConfig`: Gemini 2.5 accepts a budget in tokens, Gemini 3 a level.

Each rejects the other option. Source: ai.google.dev/gemini-api/docs/thinking.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from contract.messages import ReasoningOptions
from contract.thinking_budget import thinking_budget

if TYPE_CHECKING:
    from gateway.dialects.dropped_params import DroppedParams

_LEVELS = {"minimal": "LOW", "low": "LOW", "medium": "MEDIUM"}
_VERSION = re.compile(r"gemini-(\d+)(?:\.(\d+))?")
# The maximum of every thinking model. 2.5 Pro accepts more, and its thinking can't be disabled.
MAX_BUDGET = 24_576
_MAX_BUDGET_PRO, _MIN_BUDGET_PRO = 32_768, 128


def own_thinking(reasoning: ReasoningOptions) -> dict[str, Any]:
    """The config for a request of this dialect, unchanged."""
    thinking: dict[str, Any] = {}
    if reasoning.effort and reasoning.effort != "none":
        thinking["thinkingLevel"] = reasoning.effort.upper()
    if reasoning.enabled is False or reasoning.effort == "none":
        thinking["thinkingBudget"] = 0
    elif reasoning.budget_tokens is not None:
        thinking["thinkingBudget"] = reasoning.budget_tokens
    return _with_include(thinking, reasoning)


def foreign_thinking(model: str, reasoning: ReasoningOptions, losses: DroppedParams) -> dict[str, Any]:
    """The config for another dialect's request to `model`. A model name without a version counts as Gemini 3."""
    match = _VERSION.search(model)
    version = (int(match[1]), int(match[2] or 0)) if match else (3, 0)
    off = reasoning.enabled is False or reasoning.effort == "none" or reasoning.budget_tokens == 0
    if version < (2, 5):
        if not off:
            losses.add("reasoning", f"{model} does not support thinking")
        return {}
    if version < (3, 0):
        return _with_include(_budget(model, reasoning, losses, off=off), reasoning)
    thinking: dict[str, Any] = {}
    if off and match:
        thinking["thinkingLevel"] = "LOW"
        losses.add_soft("reasoning", f"thinking can't be disabled for {model}")
    elif off:
        thinking["thinkingBudget"] = 0
    elif reasoning.budget_tokens is not None:
        thinking["thinkingBudget"] = _limit_budget(reasoning.budget_tokens, MAX_BUDGET, losses)
    elif reasoning.effort:
        thinking["thinkingLevel"] = _LEVELS.get(reasoning.effort, "HIGH")
    return _with_include(thinking, reasoning)


def _budget(model: str, reasoning: ReasoningOptions, losses: DroppedParams, *, off: bool) -> dict[str, Any]:
    pro = "flash" not in model
    if off:
        if pro:
            losses.add_soft("reasoning", f"thinking can't be disabled for {model}")
        return {"thinkingBudget": _MIN_BUDGET_PRO if pro else 0}
    budget = reasoning.budget_tokens
    if budget is None and not reasoning.effort:
        return {}
    limit = _MAX_BUDGET_PRO if pro else MAX_BUDGET
    if budget is None:
        return {"thinkingBudget": min(thinking_budget(reasoning), limit)}
    return {"thinkingBudget": _limit_budget(budget, limit, losses)}


def _limit_budget(budget: int, limit: int, losses: DroppedParams) -> int:
    if budget > limit:
        losses.add_soft("reasoning.budget_tokens", f"the maximum budget of the model is {limit}")
    return min(budget, limit)


def _with_include(thinking: dict[str, Any], reasoning: ReasoningOptions) -> dict[str, Any]:
    if reasoning.include is not None:
        thinking["includeThoughts"] = reasoning.include
    return thinking
