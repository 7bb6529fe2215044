"""The targets of one dispatch in their order, and why some of them are passed over."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from contract.errors import NO_PRICE
from contract.exchange import Exchange
from contract.provider import Provider
from router.clockwork import Clockwork
from router.health import HealthBook, Permit
from router.policy import RoutePolicy, TargetPolicy
from router.strategy import order_targets

BREAKER_OPEN = "breaker open"
WINDOW_TOO_SMALL = "context window smaller than the prompt"
WINDOW_NOT_LARGER = "context window not larger than one that was too small"
UNKNOWN_PROVIDER = "unknown provider"


class Plan:
    """Gives out each target at most once, with its provider and a permit that the taker must end."""

    __slots__ = (
        "_book",
        "_exchange",
        "_excludes",
        "_policy",
        "_position",
        "_prompt_tokens",
        "_providers",
        "_scope",
        "_taken",
        "_targets",
        "_too_small",
        "_works",
        "skipped",
    )  # fmt: skip

    def __init__(
        self,
        policy: RoutePolicy,
        providers: Mapping[str, Provider],
        book: HealthBook,
        exchange: Exchange,
        works: Clockwork,
        prompt_tokens: int | None,
        excludes: Callable[[str], str] | None = None,
    ) -> None:
        """`excludes` says why a target may not be asked at all, not even as a last resort; empty where it may."""
        self._excludes = excludes
        self._policy = policy
        self._scope = book.scope(exchange.caller.app if exchange.caller is not None else "", policy.name)
        self._targets = order_targets(
            policy.targets, policy.strategy, book, works.clock(), works.random, self._scope.app
        )
        self._providers = providers
        self._book = book
        self._exchange = exchange
        self._works = works
        self._prompt_tokens = prompt_tokens
        self._position = 0
        self._too_small = 0
        self._taken = False
        self.skipped: list[tuple[TargetPolicy, str]] = []

    def take(self) -> tuple[TargetPolicy, Provider, Permit] | None:
        """The next target that may be called; records those that are passed over. None: none is left.

        When every target was passed over, gives one as a last resort.
        """
        while self._position < len(self._targets):
            target = self._targets[self._position]
            self._position += 1
            provider = self._providers.get(target.provider)
            reason = self._reason_to_skip(target) if provider is not None else UNKNOWN_PROVIDER
            if provider is not None and not reason:
                permit = self.enter(target)
                if permit is not None:
                    self._taken = True
                    return target, provider, permit
                reason = BREAKER_OPEN
            self.skipped.append((target, reason))
            self.note("dispatch.skip", target, reason)
        return None if self._taken else self._last_resort()

    def enter(self, target: TargetPolicy, *, last_resort: bool = False) -> Permit | None:
        """A permit for one call to `target`; None when its breaker doesn't admit it."""
        health = self._book.target(target.key)
        return health.enter(self._works.clock(), self._policy.breaker, self._scope, last_resort=last_resort)

    def outgrown(self, target: TargetPolicy) -> None:
        """The prompt was too long for `target`: only larger windows, and unknown ones, may follow."""
        self._too_small = max(self._too_small, target.context_window or 0)

    def cooldown_s(self) -> float | None:
        """Seconds until the first of the targets that were passed over may be called again."""
        now = self._works.clock()
        ends = [self._held_until(target) for target, reason in self.skipped if reason == BREAKER_OPEN]
        return min((end - now for end in ends if end > now), default=None)

    def excluded(self) -> list[tuple[str, str]]:
        """The targets that were not asked for want of a price, with the reason."""
        return [(target.key, reason) for target, reason in self.skipped if reason.startswith(NO_PRICE)]

    def note(self, step: str, target: TargetPolicy, reason: str) -> None:
        """Records a decision on the ledger."""
        self._exchange.record(step, self._works.clock(), {"target": target.key, "reason": reason})

    def _held_until(self, target: TargetPolicy) -> float:
        return self._book.target(target.key).held_until(self._scope)

    def _reason_to_skip(self, target: TargetPolicy) -> str:
        if self._excludes is not None and (reason := self._excludes(target.key)):
            return reason
        window = target.context_window
        if window is None:
            return ""
        if self._prompt_tokens is not None and self._prompt_tokens > window:
            return WINDOW_TOO_SMALL
        return WINDOW_NOT_LARGER if window <= self._too_small else ""

    def _last_resort(self) -> tuple[TargetPolicy, Provider, Permit] | None:
        """The target whose cooldown ends first, else the one with the largest window.

        A breaker saves time on the way to a better target, and an estimate of tokens may err: where there is no
        better target, asking is right.
        """
        cooling = [target for target, reason in self.skipped if reason == BREAKER_OPEN]
        small = [target for target, reason in self.skipped if reason == WINDOW_TOO_SMALL]
        if cooling:
            target = min(cooling, key=self._held_until)
        elif small:
            target = max(small, key=lambda target: target.context_window or 0)
        else:
            return None
        permit = self.enter(target, last_resort=True)
        if permit is None:
            return None
        self._taken = True
        reason = next(reason for skipped, reason in self.skipped if skipped is target)
        self.skipped.remove((target, reason))
        self.note("dispatch.last_resort", target, reason)
        return target, self._providers[target.provider], permit
