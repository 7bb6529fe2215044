"""One dispatch under way: the loop over targets and attempts, up to the commit."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Generic, Literal, NamedTuple, TypeAlias, TypeVar

from contract.attempt import Attempt
from contract.errors import (
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
from contract.provider import Provider, UpstreamCall
from contract.trace_context import new_span_id
from contract.unsettled import Transcript
from router.blame import blame
from router.clockwork import Clockwork
from router.failure import Failure, combine, explain_timeout, record_cancelled, record_failure
from router.health import Permit
from router.plan import Plan
from router.policy import RoutePolicy, TargetPolicy

MAX_KEY_CHANGES = 8

R = TypeVar("R")
Reason: TypeAlias = Literal["first", "retry", "fallback", "hedge"]
# What an attempt does. It commits its permit when the answer begins; when it raises, it leaves nothing open.
Act: TypeAlias = Callable[[Provider, UpstreamCall, Permit], Awaitable[R]]


class AttemptOptions(NamedTuple):
    """How the attempts are made: streamed or not, where their transcripts go, what each must be covered by before it is
    made, and which models think before their first word.
    """

    stream: bool
    transcripts: list[Transcript]
    cover: Callable[[Attempt], Awaitable[None]] | None = None
    thinks: Callable[[str], bool] | None = None


class Run(Generic[R]):
    """The state of one dispatch. Its lanes (one, or two with a hedge) take targets from the same plan."""

    __slots__ = ("_act", "_deadline", "_exchange", "_failures", "_halted", "_options", "_plan", "_policy", "_started",
                 "_works", "won")  # fmt: skip

    def __init__(
        self,
        policy: RoutePolicy,
        plan: Plan,
        exchange: Exchange,
        works: Clockwork,
        act: Act[R],
        options: AttemptOptions,
    ) -> None:
        self._policy = policy
        self._plan = plan
        self._exchange = exchange
        self._works = works
        self._act = act
        self._options = options
        self._deadline = math.inf if policy.deadline_s is None else works.clock() + policy.deadline_s
        self._started = False
        self._halted = False
        self._failures: list[Failure] = []
        self.won = False

    async def lane(self, reason: Reason = "first") -> tuple[Attempt, R] | None:
        """Tries target after target until one answers. None: none is left, or none may follow.

        Raises what is no attempt's failure (a mistake of ours, a cancellation).
        """
        while not self._halted and not self._late() and (choice := self._plan.take()) is not None:
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
        # Where another target would have followed, its caller hears why none did.
        alone = self._halted or not excluded
        return combine(self._failures, skipped, self._plan.cooldown_s(), self._policy.name, alone=alone)

    async def _try_target(
        self, target: TargetPolicy, provider: Provider, permit: Permit, reason: Reason
    ) -> tuple[Attempt, R] | None:
        """The attempts at one target. None: they failed."""
        allowed = 1 if permit.last_resort else self._policy.retry.attempts
        attempts, key_changes, pause_s = 1, 0, 0.0
        while True:
            attempt = self._begin(target, provider, reason, pause_s)
            try:
                return attempt, await self._attempt(provider, permit, attempt)
            except UnsupportedFeature as unsupported:
                self._failures.append((attempt, unsupported))
                return None
            except (BudgetSpent, NotAllowed) as refused:
                # No other target would be covered either.
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
                await self._works.sleep(pause)
            else:
                break
            again = None if self._halted or self._late() else self._plan.enter(target, last_resort=permit.last_resort)
            if again is None:
                break
            permit, reason = again, "retry"
        self._give_up(target, error)
        return None

    async def _attempt(self, provider: Provider, permit: Permit, attempt: Attempt) -> R:
        options = self._options
        stream, thinks = options.stream, options.thinks is not None and options.thinks(attempt.model)
        full = self._policy.timeouts.of(stream=stream, thinks=thinks)
        timeouts = full.cut(self._deadline - attempt.started, stream=stream)
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
        """The attempt ended without an answer: writes it down and gives the permit back. `cut`: by the deadline."""
        now = self._works.clock()
        if isinstance(error, TimedOut):
            explain_timeout(self._policy, call, error)
        if isinstance(error, TimedOut) and cut and self._failures:
            # Attempts before it had used the time up: that says nothing about this target.
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
            started=self._works.clock(),
            waited_s=waited_s,
            span_id=new_span_id(),
        )
        attempts.append(attempt)
        return attempt

    def _late(self) -> bool:
        """Whether the deadline has passed; before the first attempt it is never too late."""
        return self._started and self._works.clock() >= self._deadline

    def _pause_s(self, target: TargetPolicy, error: UpstreamError, attempts: int) -> float | None:
        """Seconds to wait before attempt number `attempts` + 1 at the same target; None: there is to be none."""
        retry = self._policy.retry
        if not self._policy.retries(error.kind) or not error.may_be_repeated:
            return None
        ceiling_s = min(retry.max_backoff_s, retry.backoff_s * 2.0 ** min(attempts - 1, 32))
        asked_s = error.retry_after_s or 0.0
        pause_s = asked_s + self._works.random.random() * ceiling_s
        if asked_s > retry.max_backoff_s or pause_s >= self._deadline - self._works.clock():
            self._plan.note("dispatch.no_retry", target, "the wait would be too long")
            return None
        return pause_s

    def _give_up(self, target: TargetPolicy, error: UpstreamError) -> None:
        """After the target's last attempt: says whether another target may follow."""
        if not self._policy.falls_back(error.kind):
            self._halted = True
        elif isinstance(error, ContextWindowExceeded) and not isinstance(error, RequestTooLarge):
            self._plan.outgrown(target)
