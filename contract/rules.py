"""Limits and budgets: rules, their scope, and what is left of them."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Scope: TypeAlias = Literal["organisation", "team", "app", "key", "user", "model", "provider"]
LimitMetric: TypeAlias = Literal["requests", "tokens", "input_tokens", "output_tokens", "parallel", "streams", "spend"]
NANO = 1_000_000_000


class LimitRule(msgspec.Struct, frozen=True, gc=False):
    """One limit or budget. `limit` is a count, or nano-dollars of a budget; `text` is how the YAML writes it.

    A budget's period is a calendar period (`calendar` in `zone`) or rolling (`window_s`). `strict` rules refuse while
    counters are unreachable; `soft` ones (shadow, allow, downgrade) only report that they would have refused.
    """

    what: LimitMetric
    limit: int
    text: str
    window_s: int = 0
    calendar: str = ""
    zone: str = "UTC"
    soft: bool = False
    strict: bool = False
    shadow: bool = False
    downgrade: str = ""
    answer: int = 0
    refuse_unpriced: bool = False
    warn: tuple[float, ...] = ()
    webhook: str = ""
    number: int = 0


class ScopedRule(msgspec.Struct, frozen=True, gc=False):
    """A rule that applies to the scope with this name."""

    scope: Scope
    name: str
    rule: LimitRule


class Allowance(msgspec.Struct, frozen=True, gc=False):
    """What is left of a caller's tightest limit of one kind; `reset_s` is the time until it is full."""

    limit: int
    left: int
    reset_s: float
