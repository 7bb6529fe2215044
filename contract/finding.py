"""One result of a guardrail."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Stage: TypeAlias = Literal["input", "context", "output"]


class Finding(msgspec.Struct, frozen=True):
    """One result of a guardrail: what it found, how often, and the action taken. Never contains the text itself.

    `guardrail` is its name in the config, `rule` what was found (a type of personal data, a rule's id).
    `action` is the action taken: `flag`, `mask`, `block`, `repair`, `retry`, `say`, ..., or `failed` if the guardrail
    failed, and `unread` for content that no guardrail can read. A limit or budget that let a request pass has
    `exceeded` or `downgrade`. With `shadow` nothing was done: `action` is what would have been done.
    """

    guardrail: str
    rule: str
    action: str
    stage: Stage
    count: int = 1
    score: float = 1.0
    shadow: bool = False
