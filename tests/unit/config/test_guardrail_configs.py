"""What is wrong with a guardrail is said where it stands, with a cure."""

from __future__ import annotations

from pathlib import Path

import pytest

from config import ConfigError
from gateway.assembly.configuration import load

FRAME = """
version: 1
providers: {{builtin: {{kind: extractive}}}}
models: {{quote: {{targets: [builtin/extractive]}}, m: {{pipeline: p}}}}
guardrails:
  g: {guardrail}
pipelines:
  p: {{{side}: [g], model: quote}}
"""


@pytest.mark.parametrize(
    ("guardrail", "side", "message"),
    [
        ("{kind: personal_dat}", "guard_input", "personal_data"),
        (
            "{kind: personal_data, types: {emial: mask}}",
            "guard_input",
            'guardrails.g.types.emial: there is no type "emial"',
        ),
        ("{kind: personal_data, types: {email: hide}}", "guard_input", "guardrails.g.types.email"),
        ('{kind: personal_data, patterns: {ticket: "TCK-["}}', "guard_input", "is not a valid regular expression"),
        ("{kind: secrets, then: repair}", "guard_input", "can't repair"),
        ("{kind: secrets, then: explode}", "guard_input", "is not a guardrail step"),
        ("{kind: keywords, lists: {}}", "guard_input", "guardrails.g.lists"),
        ("{kind: topic, allowed: [one, two]}", "guard_input", "too few to learn from"),
        ("{kind: injection}", "guard_output", "move it to guard_input"),
        ("{kind: format, format: json}", "guard_input", "move it to guard_output"),
        ("{kind: format, format: choice}", "guard_output", "choices is missing"),
        ("{kind: format, format: json, then: [model ghost]}", "guard_output", "there is no model"),
        ("{kind: format, format: json, then: [mask]}", "guard_output", "can't mask"),
        ("{kind: secrets, timeout: 5}", "guard_input", "guardrails.g.timeout"),
    ],
)
def test_problems(tmp_path: Path, guardrail: str, side: str, message: str) -> None:
    path = tmp_path / "gatehouse.yaml"
    path.write_text(FRAME.format(guardrail=guardrail, side=side))
    with pytest.raises(ConfigError) as caught:
        load(path, environ={})
    assert message in caught.value.render()
    assert "gatehouse.yaml:" in caught.value.render()


def test_a_guardrail_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "gatehouse.yaml"
    path.write_text(FRAME.format(guardrail="{kind: secrets}", side="guard_input").replace("[g]", "[h]"))
    with pytest.raises(ConfigError, match='there is no guardrail "h"'):
        load(path, environ={})
