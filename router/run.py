"""One dispatch: the ordered targets, and the loop over targets and attempts up to the commit."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from secrets import token_hex
from typing import Generic, Literal, NamedTuple, TypeAlias, TypeVar

import msgspec

from contract.attempt import Attempt
from contract.errors import (
    NO_PRICE,
    BudgetSpent,
    ContextWindowExceeded,
    GatehouseError,
    InternalFault,
    NotAllowed,
    PriceUnknown,
    RequestTooLarge,
    TimedOut,
    UnsupportedFeature,
    UpstreamError,
)
from contract.exchange import Exchange
from contract.patience import Timeouts
from contract.provider import Provider, UpstreamCall
from contract.unsettled import Transcript
from router.blame import blame
from router.clock import ClockAndRandom
from router.failure import Failure, combine, explain_timeout, record_cancelled, record_failure
from router.health import HealthBook, Permit
from router.policy import RoutePolicy, TargetPolicy
from router.strategy import order_targets

MAX_KEY_CHANGES = 8

R = TypeVar("R")
Reason: TypeAlias = Literal["first", "retry", "fallback", "hedge"]
# The call of an attempt. It commits its permit when the response begins; if it raises, it leaves nothing open.
Act: TypeAlias = Callable[[Provider, UpstreamCall, Permit], Awaitable[R]]


BREAKER_OPEN = "breaker open"
WINDOW_TOO_SMALL = "context window smaller than the prompt"
WINDOW_NOT_LARGER = "context window not larger than one that was too small"
UNKNOWN_PROVIDER = "unknown provider"


class TargetPlan:
    """Hands out each target at most once, with its provider and a permit that the caller must end."""

    __slots__ = (
        "_book",
        "_clock",
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
        "skipped",
    )  # fmt: skip

    def __init__(
        self,
        policy: RoutePolicy,
        providers: Mapping[str, Provider],
        book: HealthBook,
        exchange: Exchange,
        clock: ClockAndRandom,
        prompt_tokens: int | None,
        excludes: Callable[[str], str] | None = None,
    ) -> None:
        """`excludes` returns why a target must not be called, not even as a last resort; empty if it may be called."""
        self._excludes = excludes
        self._policy = policy
        self._scope = book.scope(exchange.caller.app if exchange.caller is not None else "", policy.name)
        self._targets: Sequence[TargetPolicy] = policy.targets
        if len(self._targets) > 1:
            now, app = clock.clock(), self._scope.app
            self._targets = order_targets(policy.targets, policy.strategy, book, now, clock.random, app)
        self._providers = providers
        self._book = book
        self._exchange = exchange
        self._clock = clock
        self._prompt_tokens = prompt_tokens
        self._position = 0
        self._too_small = 0
        self._taken = False
        self.skipped: list[tuple[TargetPolicy, str]] = []

    def take(self) -> tuple[TargetPolicy, Provider, Permit] | None:
        """Returns the next target that may be called, and records skipped ones; None if none is left.

        If every target was skipped, returns one as a last resort.
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
        """Returns a permit for one call to `target`; None if its breaker does not admit it."""
        health = self._book.target(target.key)
        return health.enter(self._clock.clock(), self._policy.breaker, self._scope, last_resort=last_resort)

    def require_larger_window(self, target: TargetPolicy) -> None:
        """Skips further targets whose window is not larger than that of `target`; unknown windows may follow."""
        self._too_small = max(self._too_small, target.context_window or 0)

    def cooldown_s(self) -> float | None:
        """Seconds until the first of the skipped targets may be called again; None if no breaker is open."""
        now = self._clock.clock()
        ends = [self._held_until(target) for target, reason in self.skipped if reason == BREAKER_OPEN]
        return min((end - now for end in ends if end > now), default=None)

    def excluded(self) -> list[tuple[str, str]]:
        """The targets that were skipped because they have no price, with the reason."""
        return [(target.key, reason) for target, reason in self.skipped if reason.startswith(NO_PRICE)]

    def note(self, step: str, target: TargetPolicy, reason: str) -> None:
        """Records a decision in the request record."""
        self._exchange.record(step, self._clock.clock(), {"target": target.key, "reason": reason})

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
        """The skipped target whose cooldown ends first, else the one with the largest window.

        Breakers and token estimates only save time when there is a better target; without one, a call is worth a try.
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


def cut_to_deadline(full: Timeouts, left_s: float, *, stream: bool) -> Timeouts:
    """Shortens `full` to the time left for all attempts: up to a stream's first token, else for the full response."""
    if not stream:
        return full if left_s >= full.total_s else msgspec.structs.replace(full, total_s=max(0.0, left_s))
    if left_s >= max(full.first_token_s, full.alive_first_token_s):
        return full
    left_s = max(0.0, left_s)
    return msgspec.structs.replace(
        full,
        first_token_s=min(full.first_token_s, left_s),
        alive_first_token_s=min(full.alive_first_token_s, left_s),
    )


class AttemptOptions(NamedTuple):
    """Options of attempts: whether to stream, the list for their transcripts, a call that reserves the cost of each
    attempt before it is sent, and whether the request asks for reasoning (None: the model's default).
    """

    stream: bool
    transcripts: list[Transcript]
    cover: Callable[[Attempt], Awaitable[None]] | None = None
    thinks: bool | None = None


class Run(Generic[R]):
    """The state of one dispatch. Its lanes (one, or two with a hedge) take targets from the same plan."""

    __slots__ = (
        "_act",
        "_clock",
        "_deadline",
        "_exchange",
        "_failures",
        "_halted",
        "_options",
        "_plan",
        "_policy",
        "_started",
        "won",
    )  # fmt: skip

    def __init__(
        self,
        policy: RoutePolicy,
        plan: TargetPlan,
        exchange: Exchange,
        clock: ClockAndRandom,
        act: Act[R],
        options: AttemptOptions,
    ) -> None:
        self._policy = policy
        self._plan = plan
        self._exchange = exchange
        self._clock = clock
        self._act = act
        self._options = options
        self._deadline = math.inf if policy.deadline_s is None else clock.clock() + policy.deadline_s
        self._started = False
        self._halted = False
        self._failures: list[Failure] = []
        self.won = False

    async def lane(self, reason: Reason = "first") -> tuple[Attempt, R] | None:
        """Tries targets until one answers; returns None if none is left or no other may follow.

        Raises errors that are not an attempt's failure (a bug, a cancellation).
        """
        while not self._halted and not self._deadline_passed() and (choice := self._plan.take()) is not None:
            target, provider, permit = choice
            result = await self._try_target(target, provider, permit, reason)
            if result is not None:
                return result
            reason = "fallback"
        return None

    def error(self) -> GatehouseError:
        """Why no target answered."""
        excluded = self._plan.excluded()
        if not self._failures:
            if excluded:
                return PriceUnknown([target for target, _ in excluded])
            return InternalFault(f"no target of model {self._policy.name!r} can be called")
        skipped = [(target.key, reason) for target, reason in self._plan.skipped]
        # If another target would have followed, the error explains why none did.
        alone = self._halted or not excluded
        return combine(self._failures, skipped, self._plan.cooldown_s(), self._policy.name, alone=alone)

    async def _try_target(
        self, target: TargetPolicy, provider: Provider, permit: Permit, reason: Reason
    ) -> tuple[Attempt, R] | None:
        """Makes the attempts at one target; returns None if all failed."""
        allowed = 1 if permit.last_resort else self._policy.retry.attempts
        attempts, key_changes, pause_s = 1, 0, 0.0
        while True:
            attempt = self._begin(target, provider, reason, pause_s)
            try:
                return attempt, await self._attempt(target, provider, permit, attempt)
            except UnsupportedFeature as unsupported:
                self._failures.append((attempt, unsupported))
                return None
            except (BudgetSpent, NotAllowed) as refused:
                # The budget covers no other target either.
                self._failures.append((attempt, refused))
                self._halted = True
                return None
            except UpstreamError as failure:
                error = failure
            self._failures.append((attempt, error))
            if error.another_key and key_changes < MAX_KEY_CHANGES:
                key_changes, pause_s = key_changes + 1, 0.0
            elif attempts < allowed and (pause := self._pause_s(target, error, attempts)) is not None:
                attempts, pause_s = attempts + 1, pause
                await self._clock.sleep(pause)
            else:
                break
            again = (
                None
                if self._halted or self._deadline_passed()
                else self._plan.enter(target, last_resort=permit.last_resort)
            )
            if again is None:
                break
            permit, reason = again, "retry"
        self._decide_fallback(target, error)
        return None

    async def _attempt(self, target: TargetPolicy, provider: Provider, permit: Permit, attempt: Attempt) -> R:
        options = self._options
        stream, thinks = options.stream, target.thinks if options.thinks is None else options.thinks
        full = self._policy.fitted[stream, thinks]
        timeouts = cut_to_deadline(full, self._deadline - attempt.started, stream=stream)
        self._started = True
        permit.bound(timeouts, full, stream=stream, thinks=thinks)
        attempt.timeout_s = timeouts.total_s
        exchange = self._exchange
        transcript = Transcript(attempt)
        options.transcripts.append(transcript)
        call = UpstreamCall(
            attempt.model, stream, timeouts, attempt, transcript, exchange.traceparent(attempt.span_id),
            exchange.trace_state, self._policy.unsupported, thinks,
        )  # fmt: skip
        try:
            if options.cover is not None:
                await options.cover(attempt)
            return await self._act(provider, call, permit)
        except BaseException as error:
            self._end(attempt, permit, error, call, cut=timeouts is not full)
            raise

    def _end(self, attempt: Attempt, permit: Permit, error: BaseException, call: UpstreamCall, *, cut: bool) -> None:
        """Records an attempt that failed, and ends its permit. `cut`: the deadline shortened its timeouts."""
        now = self._clock.clock()
        if isinstance(error, TimedOut):
            explain_timeout(self._policy, call, error)
        if isinstance(error, TimedOut) and cut and self._failures:
            # Earlier attempts used up the time, so this timeout does not count against the target.
            permit.release()
        elif isinstance(error, UpstreamError):
            permit.fail(error, now, blame(error, call.transcript, permit.timeouts, stream=self._options.stream))
        elif self.won:
            permit.lose(now)
        else:
            permit.release()
        if isinstance(error, Exception):
            record_failure(attempt, error, now)
        else:
            record_cancelled(attempt, now, lost=self.won)

    def _begin(self, target: TargetPolicy, provider: Provider, reason: Reason, waited_s: float) -> Attempt:
        attempts = self._exchange.attempts
        attempt = Attempt(
            target=target.key,
            provider=target.provider,
            model=target.model,
            dialect=provider.dialect,
            number=len(attempts) + 1,
            reason=reason,
            started=self._clock.clock(),
            waited_s=waited_s,
            span_id=token_hex(8),
        )
        attempts.append(attempt)
        return attempt

    def _deadline_passed(self) -> bool:
        """Whether the deadline has passed; always false before the first attempt."""
        return self._started and self._clock.clock() >= self._deadline

    def _pause_s(self, target: TargetPolicy, error: UpstreamError, attempts: int) -> float | None:
        """Seconds to wait before attempt number `attempts` + 1 at the same target; None: no further attempt."""
        retry = self._policy.retry
        if not self._policy.retries(error.kind) or not error.may_be_repeated:
            return None
        ceiling_s = min(retry.max_backoff_s, retry.backoff_s * 2.0 ** min(attempts - 1, 32))
        retry_after_s = error.retry_after_s or 0.0
        pause_s = retry_after_s + self._clock.random.random() * ceiling_s
        if retry_after_s > retry.max_backoff_s or pause_s >= self._deadline - self._clock.clock():
            self._plan.note("dispatch.no_retry", target, "the wait would be too long")
            return None
        return pause_s

    def _decide_fallback(self, target: TargetPolicy, error: UpstreamError) -> None:
        """Decides after a target's last attempt whether another target may follow."""
        if not self._policy.falls_back(error.kind):
            self._halted = True
        elif isinstance(error, ContextWindowExceeded) and not isinstance(error, RequestTooLarge):
            self._plan.require_larger_window(target)
