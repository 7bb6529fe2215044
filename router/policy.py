"""What an operator decides about a model: its targets, and what happens when one of them fails."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from contract.endpoint import Unsupported
from contract.errors import ErrorKind
from contract.patience import Timeouts, is_known_to_think
from router.shorten import Way

Strategy: TypeAlias = Literal["priority", "weighted", "least_busy", "fastest"]

RETRIED: frozenset[ErrorKind] = frozenset(
    {"connect", "timeout", "rate_limited", "overloaded", "server_error", "interrupted", "malformed", "empty"}
)
FALLEN_BACK_ON: frozenset[ErrorKind] = RETRIED | {"auth", "context_window", "not_found"}


class TargetPolicy(msgspec.Struct, frozen=True):
    """A provider and its model. Lower `priority` comes first; `weight` >= 0 counts among equals (0: only as fallback).

    `context_window` is in tokens; None where it is not known.
    """

    provider: str
    model: str
    weight: float = 1.0
    priority: int = 0
    context_window: int | None = None
    key: str = ""
    """`provider/model`: the unit of health."""
    thinks: bool = False
    """Whether its model thinks before its first word, unless it is told not to."""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "key", f"{self.provider}/{self.model}")
        msgspec.structs.force_setattr(self, "thinks", is_known_to_think(self.model))


class RetryPolicy(msgspec.Struct, frozen=True):
    """The same target again: at most `attempts` (>= 1) calls per target, for the kinds in `on`.

    The pause is drawn from [0, backoff_s * 2**n), n counting from 0, and no draw exceeds `max_backoff_s`.
    """

    attempts: int = 2
    on: frozenset[ErrorKind] = RETRIED
    backoff_s: float = 0.25
    max_backoff_s: float = 8.0


class BreakerPolicy(msgspec.Struct, frozen=True):
    """Opens after `failures` (>= 1) failures in `window_s` that are `share` of its calls too.

    It is probed at pauses that grow up to `cooldown_s`.
    """

    failures: int = 5
    window_s: float = 30.0
    cooldown_s: float = 5.0
    share: float = 0.1


class RoutePolicy(msgspec.Struct, frozen=True):
    """Everything that dispatching a request for the model `name` needs to know.

    `hedge_after_s` starts the next target when no content has come by then; None never does.
    `deadline_s` bounds all attempts together, up to the first word; None leaves it to their number and their timeouts.
    `fallback_on_refusal` also sends what a provider's content policy declined to the next target.
    `shorten` is the way in which a conversation that is too long for all targets is made shorter; None never does.
    """

    name: str
    targets: tuple[TargetPolicy, ...]
    strategy: Strategy = "priority"
    retry: RetryPolicy = RetryPolicy()
    fallback_on: frozenset[ErrorKind] = FALLEN_BACK_ON
    hedge_after_s: float | None = None
    breaker: BreakerPolicy = BreakerPolicy()
    timeouts: Timeouts = Timeouts()
    deadline_s: float | None = None
    fallback_on_refusal: bool = False
    unsupported: Unsupported | None = None
    shorten: Way | None = None
    keys: tuple[str, ...] = ()
    """Of the targets."""
    windows: dict[str, int] = {}
    """Of those targets whose context window is known, by their keys."""
    refusal_falls_back: bool = False
    """Whether a declined request goes to the next target."""
    fitted: dict[tuple[bool, bool], Timeouts] = {}
    """`timeouts` as a call has them: by whether it streams, and whether its model thinks first."""

    def __post_init__(self) -> None:
        """What follows from the rest is found out once, and not with each request."""
        found = msgspec.structs.force_setattr
        found(self, "keys", tuple(target.key for target in self.targets))
        found(self, "windows", {target.key: target.context_window for target in self.targets if target.context_window})
        ways = [(stream, thinks) for stream in (False, True) for thinks in (False, True)]
        found(self, "fitted", {way: self.timeouts.of(stream=way[0], thinks=way[1]) for way in ways})
        found(self, "refusal_falls_back", self.fallback_on_refusal or "refusal" in self.fallback_on)

    def room(self, answer_tokens: int) -> int | None:
        """How many tokens of a prompt the largest window holds beside such an answer; None where one is not known."""
        windows = [target.context_window for target in self.targets]
        known = [window for window in windows if window is not None]
        return max(known) - answer_tokens if len(known) == len(windows) and known else None

    def retries(self, kind: ErrorKind) -> bool:
        """Whether the same target is asked again. A request that a provider calls wrong stays wrong."""
        return kind != "bad_request" and kind in self.retry.on

    def falls_back(self, kind: ErrorKind) -> bool:
        """Whether the next target is asked. A refusal goes to another, perhaps laxer, model only when asked for."""
        if kind == "refusal":
            return self.refusal_falls_back
        return kind != "bad_request" and kind in self.fallback_on
