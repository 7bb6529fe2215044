"""Admits a request against all its limits and budgets in one step, and settles it at its end.

A budget reserves the most that the request may cost. Each further call (a retry, a fallback, a hedge, a tool step, a
judge) is covered before it is sent. So the sum of spent and reserved amounts never exceeds a budget, whatever the
concurrency.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import structlog

from access.ledger.entry import user_of
from access.limits.counters import (
    LEASE_US,
    RATE,
    ROLLING_PARTS,
    SLOTS,
    SPEND,
    BudgetChange,
    Charge,
    Counters,
    LimitStatus,
    MemoryCounters,
    Settlement,
    Unreachable,
)
from access.limits.estimate import Size, size_of
from access.limits.periods import Calendar
from access.limits.sqlite_counters import SqliteCounters
from access.limits.ticket import MOST_COST, SLOTTED, QuotaTicket, nanos, noun_of
from contract.deltas import Usage
from contract.errors import PriceUnknown, Unavailable
from contract.messages import ChatRequest, EmbeddingRequest
from contract.rules import ScopedRule
from contract.service_tier import STANDARD

if TYPE_CHECKING:
    from access.ledger.entry import Reservation
    from access.ledger.prices import Prices
    from access.limits.reservations import Charged, SlotHolder
    from contract.attempt import Attempt
    from contract.exchange import Exchange

_SIZED = frozenset({"tokens", "input_tokens", "output_tokens", "spend"})
MOST_REPORTED = 10_000
# How often the leases of slots are renewed.
RENEW_S = LEASE_US / 3_000_000
Warned: TypeAlias = Callable[[ScopedRule, float, BudgetChange], None]


class Quota:
    """The rules of one config over counters that outlive it."""

    def __init__(
        self,
        counters: Counters,
        prices: Prices,
        models: Mapping[str, tuple[ScopedRule, ...]] | None = None,
        providers: Mapping[str, tuple[ScopedRule, ...]] | None = None,
        warned: Warned | None = None,
        clock: Callable[[], float] = time.time,
        *,
        begin: Callable[[Reservation], None] | None = None,
    ) -> None:
        """`models` by requested name; `warned` is called once for each threshold that a budget passes.

        `begin` records reservations on disk, in case the process dies with requests in flight.
        """
        self._counters = counters
        self._prices = prices
        self._models = models or {}
        self.providers = providers or {}
        self._warned = warned
        self._clock = clock
        self.begin = begin
        # Whether the counters outlive this process.
        self.outlives = not isinstance(counters, MemoryCounters)
        self._calendar = Calendar()
        self._local: _LocalCounters | None = None
        self._settling: set[asyncio.Task[None]] = set()
        self._holding: set[SlotHolder] = set()
        self._renewing: asyncio.Task[None] | None = None
        # The keys of budgets that this process has reported as exhausted.
        self._reported: set[str] = set()

    @property
    def has_no_limits(self) -> bool:
        """Whether no model or provider has a limit, and requests in flight are not recorded."""
        return not self._models and not self.providers and self.begin is None

    async def admit(
        self,
        exchange: Exchange,
        request: ChatRequest | EmbeddingRequest,
        targets: Sequence[str],
        *,
        aside: bool = False,
    ) -> QuotaTicket | None:
        """Returns the request's ticket; None if nothing limits it. `aside`: a call of the gateway for its caller.

        Raises `TooManyRequests`, `BudgetSpent`, `PriceUnknown` if no target has a price, `Unavailable`.
        """
        scoped_rules = self._scoped_rules(exchange)
        if aside:
            scoped_rules = tuple(each for each in scoped_rules if each.rule.what == "spend" or each.scope == "model")
        if not scoped_rules and not self.providers and self.begin is None:
            return None
        sized = any(each.rule.what in _SIZED for each in scoped_rules)
        ticket = QuotaTicket(self, exchange, request, size_of(request) if sized else None)
        if scoped_rules:
            await ticket.open(scoped_rules, targets)
        try:
            ticket.record_start(targets)
        except BaseException:
            await ticket.settle(exchange)
            raise
        return ticket

    def _scoped_rules(self, exchange: Exchange) -> tuple[ScopedRule, ...]:
        caller = exchange.caller
        if caller is None:
            return ()
        scoped_rules = caller.rules
        if caller.user_rules:
            # Counters must not contain users' names. Requests without a user count as one user.
            name = f"{caller.app}/{user_digest(user_of(exchange))}"
            scoped_rules += tuple(ScopedRule("user", name, rule) for rule in caller.user_rules)
        if self._models:
            scoped_rules += self._models.get(exchange.model, ())
        return scoped_rules

    def charge(self, scoped: ScopedRule, amount: int) -> Charge:
        """The charge of `amount` to a rule's counter."""
        rule = scoped.rule
        key = f"{rule.what}:{scoped.scope}:{scoped.name}:"
        if rule.what in SLOTTED:
            return Charge(f"{key}{rule.limit}", SLOTS, rule.limit, 1, hard=not rule.soft)
        if rule.what != "spend":
            # A request larger than the limit is admitted when the window is empty.
            amount = min(amount, rule.limit)
            key = f"{key}{rule.limit}/{rule.window_s}"
            return Charge(key, RATE, rule.limit, amount, rule.window_s * 1_000_000, hard=not rule.soft)
        if rule.calendar:
            period = self._calendar.period(rule.calendar, rule.zone, self._clock())
            key = f"{key}{period.label}#{rule.number}"
            return Charge(key, SPEND, rule.limit, amount, 0, int(period.end * 1e6), not rule.soft)
        part_us = rule.window_s * 1_000_000 // ROLLING_PARTS
        return Charge(
            f"{key}rolling:{rule.window_s}#{rule.number}", SPEND, rule.limit, amount, part_us, 0, not rule.soft
        )

    async def statuses(self, scoped_rules: Sequence[ScopedRule]) -> list[LimitStatus]:
        """The current status of budgets. Raises `Unreachable`."""
        request = secrets.token_hex(8)
        charges = [msgspec.structs.replace(self.charge(scoped, 0), hard=False) for scoped in scoped_rules]
        if not charges:
            return []
        _, statuses = await self._counters.reserve(request, charges)
        await self._counters.settle(request, [Settlement(charge, 0) for charge in charges])
        return statuses

    def period_start(self, scoped: ScopedRule) -> float:
        """The start of a budget's current period, in seconds since 1970."""
        rule, now = scoped.rule, self._clock()
        return self._calendar.period(rule.calendar, rule.zone, now).start if rule.calendar else now - rule.window_s

    def cost_bound(self, size: Size, answer: int, targets: Sequence[str], *, refuse: bool) -> int:
        """The most nano-dollars that one call to any of `targets` may cost.

        `refuse` excludes targets without a price, which are never called. Raises `PriceUnknown` if none has a price.
        """
        usage = Usage(input=size.prompt_bound, output=size.answer_bound(answer))
        most = 0
        missing = {each: tier for each in targets if (tier := self.unpriced(each, size.tier)) is not None}
        if refuse and missing and len(missing) == len(set(targets)):
            raise PriceUnknown(list(missing), next(iter(missing.values())))
        for target in targets:
            if refuse and target in missing:
                continue
            for tier in _tiers(size.tier):
                rates = self._prices.rates(target, tier)
                if rates is not None:
                    dollars = rates.most(usage)
                    if size.searches and rates.searches is not None:
                        dollars += size.searches * rates.searches / 1000
                    most = max(most, min(nanos(dollars), MOST_COST))
        return most

    def unpriced(self, target: str, tier: str) -> str | None:
        """The service tier in which a target has no price (empty: the standard tier); None if it has a price."""
        return next((each for each in _tiers(tier) if self._prices.rates(target, each) is None), None)

    def has_prices(self, targets: Sequence[str]) -> bool:
        """Whether all prices are known."""
        return all(self._prices.rates(target) is not None for target in targets)

    def cost_of(self, attempt: Attempt) -> int | None:
        """The cost of a finished attempt in nano-dollars; None while it may grow or is not counted yet."""
        if not attempt.ended or ((attempt.usage is None or attempt.error) and attempt.uncounted):
            return None
        # The provider chose a tier without a price: the row is unpriced, and the budget counts the standard price.
        rates = self._prices.rates(attempt.target, attempt.tier) or self._prices.rates(attempt.target)
        if rates is None or attempt.usage is None:
            return 0
        return min(max(0, nanos(rates.cost(attempt.usage))), MOST_COST)

    async def reserve(self, request: str, charged: Sequence[Charged]) -> tuple[bool, list[LimitStatus], bool]:
        """Returns (admitted, statuses, whether only local counters were used). Raises `Unavailable`."""
        charges = [charge for _, charge in charged]
        try:
            admitted, statuses = await self._counters.reserve(request, charges)
            self._local = None
        except Unreachable:
            strict = next((scoped for scoped, charge in charged if scoped.rule.strict and charge.hard), None)
            if strict is not None:
                raise Unavailable(f"The {noun_of(strict)} can't be checked now", retry_after_s=1.0) from None
            return (*await self._local_share().reserve(request, charges), True)
        return admitted, statuses, False

    def _local_share(self) -> _LocalCounters:
        if self._local is None:
            self._local = _LocalCounters(self._counters)
        return self._local

    async def settle(
        self, request: str, charged: Sequence[Charged], settled: list[Settlement], *, alone: bool, wait: bool = False
    ) -> None:
        """Settles reservations with the counters; with `wait`, returns after they are settled."""
        if alone:
            await self._local_share().settle(request, settled)
            # The shared counters count these requests when they are reachable again.
            local = [each for each in settled if each.charge.kind != SLOTS]
            replace = msgspec.structs.replace
            self._counters.note(request, [Settlement(replace(s.charge, amount=0), s.actual) for s in local])
            return
        if wait or isinstance(self._counters, MemoryCounters | SqliteCounters):
            await self._settle_now(request, charged, settled)
            return
        # In the background, so that the caller does not wait for the round trip.
        self._in_background(self._settle_now(request, charged, settled))

    async def _settle_now(self, request: str, charged: Sequence[Charged], settled: Sequence[Settlement]) -> None:
        try:
            spent = await self._counters.settle(request, settled)
        except Unreachable:
            return
        except Exception as error:
            structlog.get_logger().error("a budget could not be settled", problem=type(error).__name__)
            return
        if self._warned is None:
            return
        by_key = {charge.key: scoped for scoped, charge in charged if scoped.rule.warn}
        for each in spent:
            scoped = by_key.get(each.key)
            for share in scoped.rule.warn if scoped is not None else ():
                if share < 1 and each.before < share * scoped.rule.limit <= each.after:  # type: ignore[union-attr]
                    self._warned(scoped, share, each)  # type: ignore[arg-type]
                elif share >= 1 and share * scoped.rule.limit <= each.after:  # type: ignore[union-attr]
                    self.budget_exhausted(scoped, self.charge(scoped, 0), each.after)  # type: ignore[arg-type]

    def budget_exhausted(self, scoped: ScopedRule, charge: Charge, spent: int) -> None:
        """Reports once that a budget had no room for a request, or has nothing left.

        `spent` is in nano-dollars, including reservations.
        """
        if self._warned is None or charge.key in self._reported or not any(share >= 1 for share in scoped.rule.warn):
            return
        if len(self._reported) >= MOST_REPORTED:
            self._reported.clear()
        self._reported.add(charge.key)
        self._in_background(self._report_exhausted(scoped, charge, spent))

    async def _report_exhausted(self, scoped: ScopedRule, charge: Charge, spent: int) -> None:
        # A shared budget of one unit: of all processes that see the end, only the first reports it.
        one = Charge(f"told:{charge.key}", SPEND, 1, 1, charge.window_us, charge.ends_us)
        request = secrets.token_hex(8)
        try:
            first, _ = await self._counters.reserve(request, [one])
            if first:
                await self._counters.settle(request, [Settlement(one, 1)])
        except Unreachable:
            self._reported.discard(charge.key)
            return
        if first and self._warned is not None:
            self._warned(
                scoped, min(share for share in scoped.rule.warn if share >= 1), BudgetChange(charge.key, spent, spent)
            )

    def hold(self, ticket: SlotHolder) -> None:
        """Renews a ticket's slots until `release`: a response may take longer than a lease."""
        self._holding.add(ticket)
        if self._renewing is None:
            self._renewing = asyncio.get_running_loop().create_task(self._renew())

    def release(self, ticket: SlotHolder) -> None:
        """Stops renewing a ticket's slots."""
        self._holding.discard(ticket)

    async def _renew(self) -> None:
        while self._holding:
            await asyncio.sleep(RENEW_S)
            for ticket in list(self._holding):
                for request, charges in ticket.slots():
                    # Unreachable counters keep the slot until its lease expires.
                    with contextlib.suppress(Unreachable):
                        await self._counters.reserve(request, charges)
        self._renewing = None

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def close(self) -> None:
        """Waits for running settlements."""
        if self._renewing is not None:
            self._renewing.cancel()
        if self._settling:
            await asyncio.wait(self._settling, timeout=2.0)


class _LocalCounters:
    """Counters of one replica while the shared ones are unreachable, limited to its share of the rest."""

    def __init__(self, shared: Counters) -> None:
        self._shared = shared
        self._counters = MemoryCounters()
        self._shares: dict[str, int] = {}

    async def reserve(self, request: str, charges: Sequence[Charge]) -> tuple[bool, list[LimitStatus]]:
        """See `Counters.reserve`."""
        return await self._counters.reserve(request, [self._share(each) for each in charges])

    async def settle(self, request: str, settled: Sequence[Settlement]) -> None:
        """See `Counters.settle`."""
        await self._counters.settle(request, [Settlement(self._share(each.charge), each.actual) for each in settled])

    def _share(self, charge: Charge) -> Charge:
        share = self._shares.get(charge.key)
        if share is None:
            left = charge.limit - self._shared.taken(charge.key) if charge.kind == SPEND else charge.limit
            share = max(0 if charge.kind == SPEND else 1, left // self._shared.replicas)
            self._shares[charge.key] = share
        amount = min(charge.amount, share) if charge.kind == RATE else charge.amount
        return msgspec.structs.replace(charge, limit=share, amount=amount)


def user_digest(user: str) -> str:
    """The digest that stands for a user's name in counters."""
    return hashlib.sha256(user.encode()).hexdigest()[:24]


def describe(scoped: ScopedRule) -> dict[str, str]:
    """A description of a budget, for people and webhooks."""
    return {"scope": scoped.scope, "name": scoped.name, "budget": scoped.rule.text}


def _tiers(requested: str) -> tuple[str, ...]:
    """The tiers in which a request may be served: a provider may use the standard tier instead of the requested one."""
    return ("",) if requested in ("", STANDARD) else ("", requested)
