"""The reasoning budget of a request in tokens, for vendors that add it to the output limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contract.messages import ReasoningOptions

# In the range that the vendors' guides recommend for low, medium and high.
BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768, "max": 32768}
LEAST_BUDGET = 1024  # Anthropic's minimum
USUAL_BUDGET = 8192


def thinking_budget(reasoning: ReasoningOptions | None) -> int:
    """The requested reasoning tokens; 0 if none."""
    if reasoning is None or reasoning.enabled is False or reasoning.effort == "none":
        return 0
    budget = reasoning.budget_tokens
    if budget is not None and budget >= 0:
        return max(LEAST_BUDGET, budget) if budget else 0
    return BUDGETS.get(reasoning.effort, USUAL_BUDGET)
