"""Builds the router's policies from the config of models."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from config.models import ModelConfig
from config.patience import deadline_of, timeouts_of
from contract.errors import ErrorKind
from contract.patience import Timeouts
from router.blame import longest
from router.policy import BreakerPolicy, RetryPolicy, RoutePolicy, TargetPolicy

if TYPE_CHECKING:
    from config import Config


def route_policy(name: str, model: ModelConfig) -> RoutePolicy:
    """The policy for requests of the model `name`."""
    return RoutePolicy(
        name=name,
        targets=tuple(
            TargetPolicy(target.provider, target.model, float(target.weight), target.priority, target.context_window)
            for target in model.targets
        ),
        strategy=model.strategy,
        retry=RetryPolicy(model.retry.attempts, _kinds(model.retry.on), model.retry.backoff, model.retry.max_backoff),
        fallback_on=_kinds(model.fallback.on),
        hedge_after_s=model.hedge.after if model.hedge else None,
        breaker=BreakerPolicy(
            model.breaker.failures, model.breaker.window, model.breaker.cooldown, model.breaker.share
        ),
        timeouts=timeouts_of(model),
        deadline_s=deadline_of(model),
        fallback_on_refusal=model.on_refusal == "fallback",
        unsupported=model.unsupported_params,
        shorten=None if model.on_context_overflow == "refuse" else model.on_context_overflow,
    )


def longest_timeouts(config: Config) -> dict[str, Timeouts]:
    """The longest timeouts that any model sets for each target, by `provider/model`."""
    found: dict[str, Timeouts] = {}
    for name, model in config.models.items():
        policy = route_policy(name, model)
        for target in policy.targets:
            known = found.get(target.key)
            found[target.key] = policy.timeouts if known is None else longest(known, policy.timeouts)
    return found


def _kinds(names: tuple[str, ...]) -> frozenset[ErrorKind]:
    return frozenset(cast("tuple[ErrorKind, ...]", names))
