"""Admits a request against all its limits and budgets in one step, and settles it at its end.

A budget reserves the most that the request may cost. Whatever it asks beyond that (a retry, a fallback, a hedge, a
tool's next step, a judge) is covered before it is asked. So what was spent and what is reserved never exceed a budget
together, however many ask at once.
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
MOST_TOLD = 10_000
# Slots are held on to so often.
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
        """`models` by the name that is asked for; `warned` hears once of every threshold that a budget passes.

        `begin` keeps what requests have reserved, in case that this process dies with them under way.
        """
        self._counters = counters
        self._prices = prices
        self._models = models or {}
        self.providers = providers or {}
        self._warned = warned
        self._clock = clock
        self.begin = begin
        # Whether what the counters hold is still there when this process is not.
        self.outlives = not isinstance(counters, MemoryCounters)
        self._calendar = Calendar()
        self._local: _Local | None = None
        self._settling: set[asyncio.Task[None]] = set()
        self._holding: set[SlotHolder] = set()
        self._renewing: asyncio.Task[None] | None = None
        # The counters of budgets whose end this process has told of.
        self._told: set[str] = set()

    @property
    def limits_nothing(self) -> bool:
        """Whether no model and no provider is limited, and nothing has to be kept of a request under way."""
        return not self._models and not self.providers and self.begin is None

    async def admit(
        self,
        exchange: Exchange,
        request: ChatRequest | EmbeddingRequest,
        targets: Sequence[str],
        *,
        aside: bool = False,
    ) -> QuotaTicket | None:
        """The request's ticket; None where nothing limits it. `aside` is for a call of ours on its caller's behalf.

        Raises `TooManyRequests`, `BudgetSpent`, `PriceUnknown` where no target has a price, `Unavailable`.
        """
        bounds = self._bounds(exchange)
        if aside:
            bounds = tuple(each for each in bounds if each.rule.what == "spend" or each.scope == "model")
        if not bounds and not self.providers and self.begin is None:
            return None
        sized = any(each.rule.what in _SIZED for each in bounds)
        ticket = QuotaTicket(self, exchange, request, size_of(request) if sized else None)
        if bounds:
            await ticket.open(bounds, targets)
        try:
            ticket.keep(targets)
        except BaseException:
            await ticket.settle(exchange)
            raise
        return ticket

    def _bounds(self, exchange: Exchange) -> tuple[ScopedRule, ...]:
        caller = exchange.caller
        if caller is None:
            return ()
        bounds = caller.rules
        if caller.user_rules:
            # People's names stay out of counters. Who names no user is one too.
            name = f"{caller.app}/{user_digest(user_of(exchange))}"
            bounds += tuple(ScopedRule("user", name, rule) for rule in caller.user_rules)
        if self._models:
            bounds += self._models.get(exchange.model, ())
        return bounds

    def demand(self, bound: ScopedRule, amount: int) -> Charge:
        """What `amount` asks of a rule's counter."""
        rule = bound.rule
        key = f"{rule.what}:{bound.scope}:{bound.name}:"
        if rule.what in SLOTTED:
            return Charge(f"{key}{rule.limit}", SLOTS, rule.limit, 1, hard=not rule.soft)
        if rule.what != "spend":
            # A single request that is larger than the window's all may pass when nothing else has.
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

    async def standings(self, bounds: Sequence[ScopedRule]) -> list[LimitStatus]:
        """How budgets stand now. Raises `Unreachable`."""
        asked = secrets.token_hex(8)
        demands = [msgspec.structs.replace(self.demand(bound, 0), hard=False) for bound in bounds]
        if not demands:
            return []
        _, standings = await self._counters.reserve(asked, demands)
        await self._counters.settle(asked, [Settlement(demand, 0) for demand in demands])
        return standings

    def period_start(self, bound: ScopedRule) -> float:
        """Since when a budget counts now, in seconds since 1970."""
        rule, now = bound.rule, self._clock()
        return self._calendar.period(rule.calendar, rule.zone, now).start if rule.calendar else now - rule.window_s

    def cost_bound(self, size: Size, answer: int, targets: Sequence[str], *, refuse: bool) -> int:
        """The most nano-dollars that one call to any of `targets` may cost.

        With `refuse` those without a price are left out: they are never asked. Raises `PriceUnknown` if all are.
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
        """The service tier in which a target would have no price (empty: the usual one); None where it has one."""
        return next((each for each in _tiers(tier) if self._prices.rates(target, each) is None), None)

    def knows(self, targets: Sequence[str]) -> bool:
        """Whether the price of each is known."""
        return all(self._prices.rates(target) is not None for target in targets)

    def cost_of(self, attempt: Attempt) -> int | None:
        """The nano-dollars of an attempt that has ended; None while it may still grow, or is yet to be counted."""
        if not attempt.ended or ((attempt.usage is None or attempt.error) and attempt.uncounted):
            return None
        # A tier that nobody asked for, without a price: its row is unpriced, and a budget counts the usual price.
        rates = self._prices.rates(attempt.target, attempt.tier) or self._prices.rates(attempt.target)
        if rates is None or attempt.usage is None:
            return 0
        return min(max(0, nanos(rates.cost(attempt.usage))), MOST_COST)

    async def reserve(self, request: str, charged: Sequence[Charged]) -> tuple[bool, list[LimitStatus], bool]:
        """Whether there was room, what is left, and whether only this process was asked. Raises `Unavailable`."""
        demands = [demand for _, demand in charged]
        try:
            admitted, standings = await self._counters.reserve(request, demands)
            self._local = None
        except Unreachable:
            strict = next((bound for bound, demand in charged if bound.rule.strict and demand.hard), None)
            if strict is not None:
                raise Unavailable(f"The {noun_of(strict)} can't be checked for now", retry_after_s=1.0) from None
            return (*await self._local_share().reserve(request, demands), True)
        return admitted, standings, False

    def _local_share(self) -> _Local:
        if self._local is None:
            self._local = _Local(self._counters)
        return self._local

    async def settle(
        self, request: str, charged: Sequence[Charged], settled: list[Settlement], *, alone: bool, wait: bool = False
    ) -> None:
        """Tells the counters what became of what was reserved. `wait` until they know it."""
        if alone:
            await self._local_share().settle(request, settled)
            # When they can be asked again they hear of what they did not reserve.
            told = [each for each in settled if each.demand.kind != SLOTS]
            replace = msgspec.structs.replace
            self._counters.note(request, [Settlement(replace(s.demand, amount=0), s.actual) for s in told])
            return
        if wait or isinstance(self._counters, MemoryCounters | SqliteCounters):
            await self._settle_now(request, charged, settled)
            return
        # A round trip that the caller need not wait for.
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
        by_key = {demand.key: bound for bound, demand in charged if bound.rule.warn}
        for each in spent:
            bound = by_key.get(each.key)
            for share in bound.rule.warn if bound is not None else ():
                if share < 1 and each.before < share * bound.rule.limit <= each.after:  # type: ignore[union-attr]
                    self._warned(bound, share, each)  # type: ignore[arg-type]
                elif share >= 1 and share * bound.rule.limit <= each.after:  # type: ignore[union-attr]
                    self.budget_exhausted(bound, self.demand(bound, 0), each.after)  # type: ignore[arg-type]

    def budget_exhausted(self, bound: ScopedRule, demand: Charge, spent: int) -> None:
        """A budget has had no room for a request, or nothing is left: whoever wants to hear of its end does, once.

        `spent` is in nano-dollars, reservations included.
        """
        if self._warned is None or demand.key in self._told or not any(share >= 1 for share in bound.rule.warn):
            return
        if len(self._told) >= MOST_TOLD:
            self._told.clear()
        self._told.add(demand.key)
        self._in_background(self._tell_end(bound, demand, spent))

    async def _tell_end(self, bound: ScopedRule, demand: Charge, spent: int) -> None:
        # A budget of one: of all who see the end, in however many processes, one tells of it.
        one = Charge(f"told:{demand.key}", SPEND, 1, 1, demand.window_us, demand.ends_us)
        request = secrets.token_hex(8)
        try:
            first, _ = await self._counters.reserve(request, [one])
            if first:
                await self._counters.settle(request, [Settlement(one, 1)])
        except Unreachable:
            self._told.discard(demand.key)
            return
        if first and self._warned is not None:
            self._warned(
                bound, min(share for share in bound.rule.warn if share >= 1), BudgetChange(demand.key, spent, spent)
            )

    def hold(self, ticket: SlotHolder) -> None:
        """Keeps a ticket's slots as long as it lives: an answer may take longer than a lease."""
        self._holding.add(ticket)
        if self._renewing is None:
            self._renewing = asyncio.get_running_loop().create_task(self._renew())

    def let_go(self, ticket: SlotHolder) -> None:
        """It is over."""
        self._holding.discard(ticket)

    async def _renew(self) -> None:
        while self._holding:
            await asyncio.sleep(RENEW_S)
            for ticket in list(self._holding):
                for request, demands in ticket.slots():
                    # Who can't be asked now gives the slot away no sooner than its lease ends.
                    with contextlib.suppress(Unreachable):
                        await self._counters.reserve(request, demands)
        self._renewing = None

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def close(self) -> None:
        """Waits for what is being settled."""
        if self._renewing is not None:
            self._renewing.cancel()
        if self._settling:
            await asyncio.wait(self._settling, timeout=2.0)


class _Local:
    """What one replica counts by itself while nobody can be asked: its share of what was left."""

    def __init__(self, shared: Counters) -> None:
        self._shared = shared
        self._counters = MemoryCounters()
        self._shares: dict[str, int] = {}

    async def reserve(self, request: str, demands: Sequence[Charge]) -> tuple[bool, list[LimitStatus]]:
        """See `Counters.reserve`."""
        return await self._counters.reserve(request, [self._share(each) for each in demands])

    async def settle(self, request: str, settled: Sequence[Settlement]) -> None:
        """See `Counters.settle`."""
        await self._counters.settle(request, [Settlement(self._share(each.demand), each.actual) for each in settled])

    def _share(self, demand: Charge) -> Charge:
        share = self._shares.get(demand.key)
        if share is None:
            left = demand.limit - self._shared.taken(demand.key) if demand.kind == SPEND else demand.limit
            share = max(0 if demand.kind == SPEND else 1, left // self._shared.replicas)
            self._shares[demand.key] = share
        amount = min(demand.amount, share) if demand.kind == RATE else demand.amount
        return msgspec.structs.replace(demand, limit=share, amount=amount)


def user_digest(user: str) -> str:
    """What a user is called where they are counted."""
    return hashlib.sha256(user.encode()).hexdigest()[:24]


def describe(bound: ScopedRule) -> dict[str, str]:
    """For people and webhooks."""
    return {"scope": bound.scope, "name": bound.name, "budget": bound.rule.text}


def _tiers(asked: str) -> tuple[str, ...]:
    """In which a request may be served: a provider may serve an asked tier as the usual one."""
    return ("",) if asked in ("", STANDARD) else ("", asked)
