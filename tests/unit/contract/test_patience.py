"""Which requests take long before their first word, and how limits are cut."""

from __future__ import annotations

from typing import Any

import pytest

from contract.messages import ChatRequest, ReasoningOptions
from contract.patience import Timeouts, asks_to_think, is_known_to_think, thinks
from router.run import cut_to_deadline

THINKERS = """
o1 o3-mini openai/o4-mini gpt-5.5 gpt-5-mini openai/gpt-oss-120b deepseek-reasoner deepseek-ai/DeepSeek-R1
deepseek-r1:70b grok-4-0709 x-ai/grok-3-mini QwQ-32B qwen3-235b-a22b Qwen/Qwen3-8B gemini-2.5-pro gemini-3-flash
magistral-medium kimi-k2-thinking glm-4.6 MiniMax-M2 phi-4-reasoning some-model-thinking grok-4-fast-reasoning
"""
OTHERS = """
gpt-4o gpt-4.1-mini gpt-5-chat-latest claude-haiku-4-5 mistral-large llama-3.3-70b gemini-2.0-flash deepseek-chat
qwen3-30b-a3b-instruct-2507 grok-4-fast-non-reasoning foo1-bar command-r phi-4 sim-ok m gpt-x turbo3 mo3
"""


def asked(**fields: Any) -> ChatRequest:
    return ChatRequest(dialect="openai", model="m", messages=(), **fields)


@pytest.mark.parametrize(
    ("fields", "asks"),
    [
        ({}, None),
        ({"reasoning": ReasoningOptions(effort="high")}, True),
        ({"reasoning": ReasoningOptions(budget_tokens=4096)}, True),
        ({"reasoning": ReasoningOptions(effort="none")}, False),
        ({"reasoning": ReasoningOptions(enabled=False)}, False),
        ({"extra": {"enable_thinking": True}}, True),
        ({"extra": {"enable_thinking": False}}, False),
        ({"extra": {"chat_template_kwargs": {"enable_thinking": False}}}, False),
        ({"extra": {"chat_template_kwargs": {"thinking": True}}}, True),
        ({"extra": {"thinking": {"type": "enabled"}}}, True),
        ({"extra": {"thinking": {"type": "disabled"}}}, False),
        ({"extra": {"reasoning": {"effort": "low"}}}, True),
        ({"extra": {"reasoning": {"effort": "none"}}}, False),
        ({"extra": {"reasoning": {"max_tokens": 2000}}}, True),
        ({"extra": {"service_tier": "flex"}}, True),
        ({"extra": {"service_tier": "auto"}}, None),
    ],
)
def test_what_requests_ask_for(fields: dict[str, Any], asks: bool | None) -> None:
    assert asks_to_think(asked(**fields)) is asks
    assert thinks(asked(**fields), "o3") is (asks is not False)
    assert thinks(asked(**fields), "gpt-4.1") is bool(asks)


@pytest.mark.parametrize(
    "name",
    THINKERS.split(),
)
def test_models_that_think(name: str) -> None:
    assert is_known_to_think(name)


@pytest.mark.parametrize(
    "name",
    OTHERS.split(),
)
def test_models_that_do_not(name: str) -> None:
    assert not is_known_to_think(name)


def test_a_deadline_cuts_a_stream_up_to_its_first_token_and_a_whole_answer_to_its_end() -> None:
    stream, whole = Timeouts(), Timeouts().of(stream=False, thinks=False)
    assert cut_to_deadline(stream, 1000, stream=True) is stream
    assert cut_to_deadline(whole, 600, stream=False) is whole
    cut = cut_to_deadline(stream, 30, stream=True)
    assert (cut.first_token_s, cut.alive_first_token_s, cut.idle_s, cut.total_s) == (30, 30, 120, float("inf"))
    assert cut_to_deadline(whole, 30, stream=False).total_s == 30
    assert cut_to_deadline(whole, -1, stream=False).total_s == 0
