"""The time limits that hold for a model, with and without what its YAML says."""

from __future__ import annotations

import math
from typing import Any

import pytest

from config.models import ModelConfig
from config.patience import deadline_of, limits_of, timeouts_of
from contract.patience import Timeouts


def model(**said: Any) -> ModelConfig:
    return ModelConfig.model_validate({"targets": ("a/m",), **said})


def test_the_defaults_are_what_the_vendors_sdks_wait() -> None:
    assert timeouts_of(model()) == Timeouts()
    assert (Timeouts().first_token_s, Timeouts().idle_s, Timeouts().total_s) == (60, 120, math.inf)
    assert (Timeouts().whole_s, Timeouts().thinking_s, Timeouts().alive_first_token_s) == (600, 600, 600)
    assert deadline_of(model()) == 600
    assert limits_of(model()) == {
        "first_token": "1m",
        "first_token_thinking": "10m",
        "idle": "2m",
        "idle_thinking": "10m",
        "whole_answer": "10m",
        "stream": "no limit",
        "all_attempts": "10m",
    }


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("thinks", [True, False])
def test_what_is_set_holds_to_the_letter(stream: bool, thinks: bool) -> None:
    said = model(first_token="5s", idle="3s", timeout="20s")
    limits = timeouts_of(said).of(stream=stream, thinks=thinks)
    assert (limits.first_token_s, limits.idle_s, limits.total_s) == (5, 3, 20)
    # Comments of the provider don't make it longer.
    assert limits.alive_first_token_s == 5


@pytest.mark.parametrize(
    ("said", "first_token", "thinking", "alive"),
    [
        ({}, 60, 600, 600),
        ({"first_token": "90s"}, 90, 90, 90),
        ({"thinking": "5m"}, 60, 300, 300),
        ({"first_token": "5s", "thinking": "5m"}, 5, 300, 5),
        ({"timeout": "20s"}, 20, 20, 20),
        ({"timeout": "2m"}, 60, 120, 120),
    ],
)
def test_first_tokens(said: dict[str, str], first_token: float, thinking: float, alive: float) -> None:
    limits = timeouts_of(model(**said))
    assert (limits.first_token_s, limits.thinking_s, limits.alive_first_token_s) == (first_token, thinking, alive)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ({}, 600),
        ({"timeout": "20s"}, 600),
        ({"timeout": "20m"}, 1200),
        ({"thinking": "15m"}, 900),
        ({"timeout": "20m", "deadline": "1m"}, 60),
    ],
)
def test_all_attempts_together(said: dict[str, str], seconds: float) -> None:
    assert deadline_of(model(**said)) == seconds


@pytest.mark.parametrize("key", ["first_token", "thinking"])
def test_limits_that_can_never_act_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match=f"{key} is longer than timeout"):
        model(timeout="5s", **{key: "6s"})
