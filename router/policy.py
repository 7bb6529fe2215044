"""The policy of a model: its targets, and what happens when one of them fails."""

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
    """A provider and its model. Lower `priority` comes first; `weight` >= 0 applies among equals (0: only as fallback).

    `context_window` is in tokens; None if unknown.
    """

    provider: str
    model: str
    weight: float = 1.0
    priority: int = 0
    context_window: int | None = None
    key: str = ""
    """`provider/model`: the unit of health."""
    thinks: bool = False
    """Whether its model reasons before its first token, unless the request disables it."""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "key", f"{self.provider}/{self.model}")
        msgspec.structs.force_setattr(self, "thinks", is_known_to_think(self.model))


class RetryPolicy(msgspec.Struct, frozen=True):
    """Retries on the same target: at most `attempts` (>= 1) calls per target, for the kinds in `on`.

    The pause is random in [0, backoff_s * 2**n), with n from 0, and never exceeds `max_backoff_s`.
    """

    attempts: int = 2
    on: frozenset[ErrorKind] = RETRIED
    backoff_s: float = 0.25
    max_backoff_s: float = 8.0


class BreakerPolicy(msgspec.Struct, frozen=True):
    """A breaker opens after `failures` (>= 1) failures in `window_s`, if they are also `share` of its calls.

    Pauses between probes grow up to `cooldown_s`.
    """

    failures: int = 5
    window_s: float = 30.0
    cooldown_s: float = 5.0
    share: float = 0.1


class RoutePolicy(msgspec.Struct, frozen=True):
    """Everything that is needed to dispatch a request for the model `name`.

    `hedge_after_s` starts the next target if there is no content by then; None disables hedging.
    `deadline_s` limits all attempts together, up to the first token; None means no limit.
    `fallback_on_refusal` sends requests that a provider's content policy declined to the next target.
    `shorten` is how to shorten a conversation that is too long for all targets; None disables it.
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
    """The keys of the targets."""
    windows: dict[str, int] = {}
    """The known context windows, by the target's key."""
    refusal_falls_back: bool = False
    """Whether a declined request goes to the next target."""
    fitted: dict[tuple[bool, bool], Timeouts] = {}
    """The timeouts of a call, by whether it streams, and whether its model reasons first."""

    def __post_init__(self) -> None:
        """Computes derived fields once, instead of for each request."""
        set_field = msgspec.structs.force_setattr
        set_field(self, "keys", tuple(target.key for target in self.targets))
        set_field(
            self, "windows", {target.key: target.context_window for target in self.targets if target.context_window}
        )
        ways = [(stream, thinks) for stream in (False, True) for thinks in (False, True)]
        set_field(self, "fitted", {way: self.timeouts.of(stream=way[0], thinks=way[1]) for way in ways})
        set_field(self, "refusal_falls_back", self.fallback_on_refusal or "refusal" in self.fallback_on)

    def room(self, answer_tokens: int) -> int | None:
        """The most prompt tokens that fit the largest window with such a response; None if a window is unknown."""
        windows = [target.context_window for target in self.targets]
        known = [window for window in windows if window is not None]
        return max(known) - answer_tokens if len(known) == len(windows) and known else None

    def retries(self, kind: ErrorKind) -> bool:
        """Whether to retry the same target. A request that a provider rejects as invalid is never retried."""
        return kind != "bad_request" and kind in self.retry.on

    def falls_back(self, kind: ErrorKind) -> bool:
        """Whether to try the next target. A refusal goes to another, perhaps laxer, model only if configured."""
        if kind == "refusal":
            return self.refusal_falls_back
        return kind != "bad_request" and kind in self.fallback_on
