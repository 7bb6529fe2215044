"""The time limits of a model: those that its YAML sets, and the defaults."""

from __future__ import annotations

import math

from config.models import ModelConfig
from contract.patience import FIRST_TOKEN_S, IDLE_S, LONG_S, Timeouts
from contract.units import write_duration


def timeouts_of(model: ModelConfig) -> Timeouts:
    """The time limits of one attempt. Limits from the YAML apply exactly; only defaults adapt to them."""
    total_s = _or(model.timeout, math.inf)
    long_s = _or(model.thinking, LONG_S)
    first_token_s = min(_or(model.first_token, FIRST_TOKEN_S), total_s)
    idle_s = _or(model.idle, IDLE_S)
    own_first = model.first_token is not None
    return Timeouts(
        model.connect,
        first_token_s=first_token_s,
        idle_s=idle_s,
        total_s=total_s,
        whole_s=_or(model.timeout, LONG_S),
        thinking_s=first_token_s if own_first and model.thinking is None else min(long_s, total_s),
        thinking_idle_s=max(IDLE_S, long_s) if model.idle is None else idle_s,
        alive_first_token_s=first_token_s if own_first else min(max(first_token_s, long_s), total_s),
        alive_idle_s=max(idle_s, long_s),
    )


def deadline_of(model: ModelConfig) -> float:
    """The deadline of all attempts, in seconds. The default is as long as the vendors' SDKs wait."""
    if model.deadline is not None:
        return model.deadline
    return max(LONG_S, *[_or(each, 0.0) for each in (model.first_token, model.thinking, model.timeout)])


def _or(limit: float | None, default: float) -> float:
    return default if limit is None else limit


def limits_of(model: ModelConfig) -> dict[str, str]:
    """All effective time limits as text for people, by what they limit."""
    limits = timeouts_of(model)
    return {
        "first_token": write_duration(limits.first_token_s),
        "first_token_thinking": write_duration(limits.thinking_s),
        "idle": write_duration(limits.idle_s),
        "idle_thinking": write_duration(limits.thinking_idle_s),
        "whole_answer": write_duration(limits.whole_s),
        "stream": "no limit" if math.isinf(limits.total_s) else write_duration(limits.total_s),
        "all_attempts": write_duration(deadline_of(model)),
    }
