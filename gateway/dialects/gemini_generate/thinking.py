"""How much to think, as `thinkingConfig`: Gemini 2.5 takes a budget in tokens, Gemini 3 a level in words.

Each refuses the other's. Source: ai.google.dev/gemini-api/docs/thinking.
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
# What every model that thinks takes; 2.5 Pro takes more, and can't be kept from thinking.
MOST_BUDGET = 24_576
_MOST_OF_PRO, _LEAST_OF_PRO = 32_768, 128


def thinking_of_own(reasoning: ReasoningOptions) -> dict[str, Any]:
    """Of a request of this dialect, unchanged."""
    thinking: dict[str, Any] = {}
    if reasoning.effort and reasoning.effort != "none":
        thinking["thinkingLevel"] = reasoning.effort.upper()
    if reasoning.enabled is False or reasoning.effort == "none":
        thinking["thinkingBudget"] = 0
    elif reasoning.budget_tokens is not None:
        thinking["thinkingBudget"] = reasoning.budget_tokens
    return _with_include(thinking, reasoning)


def thinking_for(model: str, reasoning: ReasoningOptions, losses: DroppedParams) -> dict[str, Any]:
    """Of another dialect's request, as `model` takes it; a model whose name says no version is one of Gemini 3."""
    found = _VERSION.search(model)
    version = (int(found[1]), int(found[2] or 0)) if found else (3, 0)
    off = reasoning.enabled is False or reasoning.effort == "none" or reasoning.budget_tokens == 0
    if version < (2, 5):
        if not off:
            losses.add("reasoning", f"{model} does not think")
        return {}
    if version < (3, 0):
        return _with_include(_budget(model, reasoning, losses, off=off), reasoning)
    thinking: dict[str, Any] = {}
    if off and found:
        thinking["thinkingLevel"] = "LOW"
        losses.add_soft("reasoning", f"{model} can't be kept from thinking")
    elif off:
        thinking["thinkingBudget"] = 0
    elif reasoning.budget_tokens is not None:
        thinking["thinkingBudget"] = _within(reasoning.budget_tokens, MOST_BUDGET, losses)
    elif reasoning.effort:
        thinking["thinkingLevel"] = _LEVELS.get(reasoning.effort, "HIGH")
    return _with_include(thinking, reasoning)


def _budget(model: str, reasoning: ReasoningOptions, losses: DroppedParams, *, off: bool) -> dict[str, Any]:
    pro = "flash" not in model
    if off:
        if pro:
            losses.add_soft("reasoning", f"{model} can't be kept from thinking")
        return {"thinkingBudget": _LEAST_OF_PRO if pro else 0}
    budget = reasoning.budget_tokens
    if budget is None and not reasoning.effort:
        return {}
    most = _MOST_OF_PRO if pro else MOST_BUDGET
    if budget is None:
        return {"thinkingBudget": min(thinking_budget(reasoning), most)}
    return {"thinkingBudget": _within(budget, most, losses)}


def _within(budget: int, most: int, losses: DroppedParams) -> int:
    if budget > most:
        losses.add_soft("reasoning.budget_tokens", f"its budgets end at {most}")
    return min(budget, most)


def _with_include(thinking: dict[str, Any], reasoning: ReasoningOptions) -> dict[str, Any]:
    if reasoning.include is not None:
        thinking["includeThoughts"] = reasoning.include
    return thinking
