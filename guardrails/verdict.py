"""A guardrail's policy: its actions, and the errors that enforce them."""

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

# A timeout on a text of more characters means that the text is too long; on a shorter one, that the check is slow.
LONG_TEXT = 20_000
Action: TypeAlias = Literal["allow", "flag", "mask", "block", "say", "human"]


class StockAnswer(Exception):
    """A guardrail answers instead of the model, for the actions `say` and `human`."""

    def __init__(self, text: str) -> None:
        super().__init__("a guardrail answers")
        self.text = text


class GuardrailBroken(GatehouseError):
    """A guardrail that fails closed could not run."""

    status = 503
    code = "guardrail_unavailable"


class Policy(msgspec.Struct, frozen=True):
    """The actions of one guardrail.

    `actions` by rule, `*` for all others; `say` is the answer for `say` and `human`. With `shadow` findings are only
    recorded. `fail_open` lets texts pass that could not be checked within `timeout_s`.
    """

    name: str
    actions: Mapping[str, Action]
    say: str = ""
    shadow: bool = False
    fail_open: bool = False
    timeout_s: float = 5.0
    handover: Handover | None = None

    def action(self, rule: str) -> Action:
        """The action for a finding of `rule`."""
        return self.actions.get(rule) or self.actions.get("*") or "flag"

    def blocked(self, rule: str, stage: Stage) -> ContentBlocked:
        """The error for the caller. It names the rule, never the text."""
        what = {"input": "The request", "context": "The retrieved context", "output": "The answer"}[stage]
        return ContentBlocked(f"{what} was blocked by the guardrail '{self.name}' ({rule})")

    def decide(self, counts: Mapping[str, int], stage: Stage, exchange: Exchange) -> None:
        """Records the findings and enforces the most severe action: raises `ContentBlocked` or `StockAnswer`."""
        worst: tuple[int, str, Action] | None = None
        for rule, count in counts.items():
            action = self.action(rule)
            if action == "allow":
                continue
            exchange.findings.append(Finding(self.name, rule, action, stage, count, shadow=self.shadow))
            severity = _SEVERITY[action]
            if worst is None or severity > worst[0]:
                worst = (severity, rule, action)
        if worst is None or self.shadow:
            return
        if worst[2] == "block":
            raise self.blocked(worst[1], stage)
        if worst[2] == "human":
            raise StockAnswer(self.hand_over(exchange, worst[1]))
        if worst[2] == "say":
            raise StockAnswer(self.say)

    def hand_over(self, exchange: Exchange, reason: str) -> str:
        """Notifies the hand-over webhook; returns the answer for the caller, with the request id as reference."""
        if self.handover is not None:
            self.handover.notify(exchange, self.name, reason)
        return f"{self.say} (reference: {exchange.id})"

    def failed(self, error: BaseException, stage: Stage, exchange: Exchange, characters: int = 0) -> None:
        """Records a failed check as a finding, and raises an error unless the guardrail fails open.

        Reports only the error's class, because its message may contain the checked text. `TooManyRequests` is passed
        on as the caller's error.
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


_SEVERITY: dict[Action, int] = {"allow": 0, "flag": 1, "mask": 2, "say": 3, "human": 4, "block": 5}
