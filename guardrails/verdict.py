"""What a guardrail may decide, and what it raises to say so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from contract.errors import BodyTooLarge, ContentBlocked, GatehouseError, TooManyRequests
from contract.finding import Finding, Stage
from contract.units import write_duration

if TYPE_CHECKING:
    from contract.exchange import Exchange
    from guardrails.webhook import Handover

# A text beyond this that can't be checked in time is too long; a shorter one means that the guardrail is too slow.
LONG_TEXT = 20_000
Action: TypeAlias = Literal["allow", "flag", "mask", "block", "say", "human"]


class StockAnswer(Exception):
    """A guardrail answers in the model's place. `action` is `say` or `human`."""

    def __init__(self, text: str) -> None:
        super().__init__("a guardrail answers")
        self.text = text


class GuardrailBroken(GatehouseError):
    """A guardrail that must not be passed over did not run."""

    status = 503
    code = "guardrail_unavailable"


class Policy(msgspec.Struct, frozen=True):
    """What one guardrail does with what it finds.

    `actions` by what was found, `*` for all else; `say` is the text of `say` and of `human`. With `shadow` it only says
    what it would have done. `fail_open` lets texts pass that it could not check within `timeout_s`.
    """

    name: str
    actions: Mapping[str, Action]
    say: str = ""
    shadow: bool = False
    fail_open: bool = False
    timeout_s: float = 5.0
    handover: Handover | None = None

    def action(self, rule: str) -> Action:
        """What to do with a finding of `rule`."""
        return self.actions.get(rule) or self.actions.get("*") or "flag"

    def blocked(self, rule: str, stage: Stage) -> ContentBlocked:
        """The error that a caller gets. It names what was found, never the text."""
        what = {"input": "The request", "context": "What was retrieved for the request", "output": "The answer"}[stage]
        return ContentBlocked(f"{what} was blocked by the guardrail '{self.name}' ({rule})")

    def decide(self, counts: Mapping[str, int], stage: Stage, exchange: Exchange) -> None:
        """Writes the findings down; raises the gravest decision there is: `ContentBlocked`, then `StockAnswer`."""
        worst: tuple[int, str, Action] | None = None
        for rule, count in counts.items():
            action = self.action(rule)
            if action == "allow":
                continue
            exchange.findings.append(Finding(self.name, rule, action, stage, count, shadow=self.shadow))
            gravity = _GRAVITY[action]
            if worst is None or gravity > worst[0]:
                worst = (gravity, rule, action)
        if worst is None or self.shadow:
            return
        if worst[2] == "block":
            raise self.blocked(worst[1], stage)
        if worst[2] == "human":
            raise StockAnswer(self.hand_over(exchange, worst[1]))
        if worst[2] == "say":
            raise StockAnswer(self.say)

    def hand_over(self, exchange: Exchange, reason: str) -> str:
        """Tells whoever answers in a model's place; what the caller reads, with the id that both have."""
        if self.handover is not None:
            self.handover.tell(exchange, self.name, reason)
        return f"{self.say} (reference: {exchange.id})"

    def failed(self, error: BaseException, stage: Stage, exchange: Exchange, characters: int = 0) -> None:
        """It broke or was too slow: a finding of its own, and an error unless it may fail open.

        Only the error's class is told: its text may hold what was being checked. What the caller itself did too much of
        is the caller's error, not the guardrail's.
        """
        too_long = isinstance(error, TimeoutError) and characters > LONG_TEXT
        kind = "too long" if too_long else "timeout" if isinstance(error, TimeoutError) else type(error).__name__
        exchange.findings.append(Finding(self.name, kind, "failed", stage, shadow=self.shadow))
        if self.fail_open or self.shadow:
            return
        if isinstance(error, TooManyRequests):
            raise error
        if too_long:
            time = write_duration(self.timeout_s)
            raise BodyTooLarge(f"The guardrail '{self.name}' can't check {characters} characters in {time}: send less")
        raise GuardrailBroken(f"The guardrail '{self.name}' could not check this ({kind})", retry_after_s=1.0)


_GRAVITY: dict[Action, int] = {"allow": 0, "flag": 1, "mask": 2, "say": 3, "human": 4, "block": 5}
