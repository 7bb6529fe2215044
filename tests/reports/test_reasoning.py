"""Public reports about how much to think, told to a vendor or a model that counts it otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.reports.vendors import house

MODELS = """  flash: {targets: [g/gemini-2.5-flash]}
  pro: {targets: [g/gemini-2.5-pro]}
  three: {targets: [g/gemini-3.1-pro-preview]}
  two: {targets: [g/gemini-2.0-flash]}
"""


@pytest.mark.report("reasoning", "A reasoning effort becomes a budget for Gemini 2.5 and a level for Gemini 3")
@pytest.mark.parametrize(
    ("model", "effort", "thinking"),
    [
        ("flash", "low", {"thinkingBudget": 2048}),
        ("flash", "medium", {"thinkingBudget": 8192}),
        ("flash", "xhigh", {"thinkingBudget": 24576}),
        ("flash", "none", {"thinkingBudget": 0}),
        ("pro", "xhigh", {"thinkingBudget": 32768}),
        ("pro", "none", {"thinkingBudget": 128}),
        ("three", "minimal", {"thinkingLevel": "LOW"}),
        ("three", "high", {"thinkingLevel": "HIGH"}),
        ("three", "none", {"thinkingLevel": "LOW"}),
        ("two", "high", None),
        ("g", "high", {"thinkingLevel": "HIGH"}),
        ("g", "none", {"thinkingBudget": 0}),
    ],
)
def test_efforts_for_gemini(tmp_path: Path, model: str, effort: str, thinking: dict[str, Any] | None) -> None:
    with house(tmp_path, models=MODELS) as it:
        answer = it.chat(model, reasoning_effort=effort)
        assert answer.status == 200
        assert it.last.get("generationConfig", {}).get("thinkingConfig") == thinking
    assert ("reasoning" in answer.headers.get("x-gatehouse-dropped-params", "")) is (
        model == "two" or (model in ("pro", "three") and effort == "none")
    )


@pytest.mark.report(
    "reasoning", "Anthropic's thinking settings become a budget for Gemini 2.5 and a level for Gemini 3"
)
def test_anthropic_s_thinking_for_gemini(tmp_path: Path) -> None:
    with house(tmp_path, models=MODELS) as it:
        it.messages("pro", thinking={"type": "disabled"})
        assert it.last["generationConfig"]["thinkingConfig"] == {"thinkingBudget": 128}
        it.messages("flash", max_tokens=9000, thinking={"type": "enabled", "budget_tokens": 30000})
        assert it.last["generationConfig"]["thinkingConfig"] == {"thinkingBudget": 24576, "includeThoughts": True}
        it.messages("flash", thinking={"type": "adaptive"}, output_config={"effort": "max"})
        assert it.last["generationConfig"]["thinkingConfig"]["thinkingBudget"] == 24576
        # A request of Gemini's own dialect says itself what its model takes.
        own = {"thinkingLevel": "MINIMAL"}
        it.generate("flash", generationConfig={"thinkingConfig": own})
        assert it.last["generationConfig"]["thinkingConfig"] == own


@pytest.mark.report(
    "reasoning", "Gemini's thinking budget of -1 sets no effort at OpenAI and a default budget at Anthropic"
)
def test_a_budget_as_the_model_sees_fit(tmp_path: Path) -> None:
    asked = {"thinkingConfig": {"thinkingBudget": -1}}
    with house(tmp_path, models=MODELS) as it:
        it.generate("o", generationConfig=asked)
        assert "reasoning_effort" not in it.last
        it.generate("a", generationConfig=asked)
        assert it.last["thinking"] == {"type": "enabled", "budget_tokens": 8192}
        it.generate("flash", generationConfig=asked)
        assert it.last["generationConfig"] == asked
        it.generate("o", generationConfig={"thinkingConfig": {"thinkingBudget": 4000}})
        assert it.last["reasoning_effort"] == "medium"
