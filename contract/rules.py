"""Limits and budgets: rules, whose they are, and what is left of them."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Scope: TypeAlias = Literal["organisation", "team", "app", "key", "user", "model", "provider"]
LimitMetric: TypeAlias = Literal["requests", "tokens", "input_tokens", "output_tokens", "parallel", "streams", "spend"]
NANO = 1_000_000_000


class LimitRule(msgspec.Struct, frozen=True, gc=False):
    """One limit or budget. `limit` counts, or is nano-dollars of a budget; `text` is how the YAML has it.

    A budget's period is a calendar's (`calendar` in `zone`) or rolling (`window_s`). `strict` rules refuse where
    nobody can count; `soft` ones (shadow, allow, downgrade) only say that they would have refused.
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
    """A rule of somebody."""

    scope: Scope
    name: str
    rule: LimitRule


class Allowance(msgspec.Struct, frozen=True, gc=False):
    """What is left of a caller's tightest limit of one kind; `reset_s` until it is whole."""

    limit: int
    left: int
    reset_s: float
