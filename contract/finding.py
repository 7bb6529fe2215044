"""One result of a guardrail."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Stage: TypeAlias = Literal["input", "context", "output"]


class Finding(msgspec.Struct, frozen=True):
    """One result of a guardrail: what it found how often, and what was done. Never holds any of the text.

    `guardrail` is its name in the config, `rule` what of it was found (a kind of personal data, a rule's id).
    `action` is what was done: `flag`, `mask`, `block`, `repair`, `retry`, `say`, ..., or `failed` for a guardrail that
    broke and `unread` for what none could read. A limit or budget that let a request pass is `exceeded`, or
    `downgrade`. With `shadow` nothing was done: this is what would have been.
    """

    guardrail: str
    rule: str
    action: str
    stage: Stage
    count: int = 1
    score: float = 1.0
    shadow: bool = False
