"""Counters of requests, tokens, slots and money. One step admits a request against all its limits, or against none.

Three kinds of counters:

- a *rate* uses GCRA (a leaky bucket): after a burst of `limit`, one more each time a `limit`-th of the window has
  passed. Settling a request corrects its estimated reservation, so a rate may be in debt.
- *slots* limit concurrency. The slot of a dead holder is free when its lease expires.
- *spend* is money: the sum of spent and reserved amounts never exceeds the limit. The reservation of a dead holder
  counts as spent, because it is unknown what the provider billed.

This module has the rules in Python, for any mapping: a dict for one process, SQLite rows for the processes of one
machine. `redis_counters` has the same rules in Lua. Times are microseconds since 1970, money is in billionths of a
dollar (nano-dollars), both integers below 2**53, the limit of exact integers in Lua.
"""

from __future__ import annotations

import time
from collections.abc import Callable, MutableMapping, Sequence
from itertools import takewhile
from typing import Any, Protocol

import msgspec

RATE, SLOTS, SPEND = 0, 1, 2
LEASE_US = 900_000_000
DAY_US = 86_400_000_000
# The number of parts of a rolling budget's window.
ROLLING_PARTS = 32
_SWEEP_EVERY = 10_000
# How many holders with an expired lease are remembered, in case they settle later.
_MOST_EXPIRED = 1_000


class Charge(msgspec.Struct, frozen=True, gc=False):
    """What a request charges to one counter.

    `window_us` is a rate's window, or a part of a rolling budget (0: the key contains the period). `ends_us` is the end
    of a calendar period. `hard` counters refuse; others only report that they would.
    """

    key: str
    kind: int
    limit: int
    amount: int
    window_us: int = 0
    ends_us: int = 0
    hard: bool = True


class LimitStatus(msgspec.Struct, frozen=True, gc=False):
    """The state of a counter after a request: what is `left`, the time until it is full, and the wait for admission."""

    left: int
    reset_us: int
    wait_us: int


class Settlement(msgspec.Struct, frozen=True, gc=False):
    """The actual amount of an admitted charge."""

    charge: Charge
    actual: int


class BudgetChange(msgspec.Struct, frozen=True, gc=False):
    """The spending of a budget before and after a settlement, in nano-dollars without reservations."""

    key: str
    before: int
    after: int


class OpeningBalance(msgspec.Struct, frozen=True, gc=False):
    """What a budget had spent before these counters began. `ends_us` is the end of its calendar period."""

    key: str
    amount: int
    window_us: int = 0
    ends_us: int = 0


class Money(msgspec.Struct):
    """A budget's state: amounts spent by part (a calendar budget has part 0), and (amount, lease end) by request.

    `expired` has the reservations whose lease expired; they are also in `spent`, in full. `born` is the first use, or 0
    once the state includes spending from before; it is not used after `until`.
    """

    spent: dict[int, int] = {}
    reserved: dict[str, tuple[int, int]] = {}
    expired: dict[str, int] = {}
    born: int = 0
    until: int = 0

    def total(self) -> int:
        """The sum of spent and reserved amounts."""
        return sum(self.spent.values()) + sum(amount for amount, _ in self.reserved.values())


class CountersCondition(msgspec.Struct, frozen=True):
    """`problem` is why counters are unavailable, for people; with `only_money` this affects only budgets.

    `damaged` reports single counters that can't be read: only requests that need one of them are affected.
    """

    problem: str = ""
    only_money: bool = True
    damaged: str = ""


class Counters(Protocol):
    """A store of counters. `reserve` returns one status per charge, and whether all hard counters had room.

    `replicas` is how many processes share them, as last known.
    """

    replicas: int

    @property
    def condition(self) -> CountersCondition:
        """The health of the counters."""
        ...

    async def reserve(self, request: str, charges: Sequence[Charge]) -> tuple[bool, list[LimitStatus]]:
        """Reserves all charges or none. Raises `Unreachable`."""
        ...

    async def settle(self, request: str, settlements: Sequence[Settlement]) -> list[BudgetChange]:
        """Replaces reservations by actual amounts; a second call changes nothing. Raises `Unreachable`.

        A settlement without a reservation counts if its charge has an amount of 0: it was admitted elsewhere.
        """
        ...

    def note(self, request: str, settlements: Sequence[Settlement]) -> None:
        """Queues settlements of requests admitted while the counters were unreachable, to count them later."""
        ...

    def taken(self, key: str) -> int:
        """What a budget has spent and reserved, as last known."""
        ...


class Unreachable(Exception):
    """The counters are unavailable now."""


WAITS = "budgets are unavailable until past spending is loaded from the ledger"


def refuse_to_spend(charges: Sequence[Charge]) -> None:
    """Raises `Unreachable` for charges of money before past spending is known."""
    if any(each.kind == SPEND for each in charges):
        raise Unreachable("past spending is not known yet")


def now_us() -> int:
    """The current time in microseconds since 1970."""
    return time.time_ns() // 1000


def reserve(
    state: MutableMapping[str, Any], request: str, charges: Sequence[Charge], now: int
) -> tuple[bool, list[LimitStatus]]:
    """See `Counters.reserve`."""
    moneys: dict[str, Money] = {}
    statuses = [
        _spend(state, moneys, each, now) if each.kind == SPEND else _STATUS[each.kind](state, request, each, now)
        for each in charges
    ]
    for each, status in zip(charges, statuses, strict=True):
        if each.hard and status.wait_us:
            return False, statuses
    for each, status in zip(charges, statuses, strict=True):
        if each.kind == RATE:
            if not status.wait_us:
                state[each.key] = max(now, state.get(each.key, 0)) + _cost(each)
        elif each.kind == SPEND:
            money = moneys[each.key]
            # Inserted at the end: reservations are sorted by the end of their leases.
            before = money.reserved.pop(request, (0, 0))[0] + _restore_reservation(money, request, each, now)
            money.reserved[request] = (before + each.amount, now + LEASE_US)
            state[each.key] = money
        elif not status.wait_us:
            held = state.get(each.key) or {}
            held[request] = now + LEASE_US
            state[each.key] = held
    return True, statuses


def _cost(charge: Charge) -> int:
    """The part of the window that a charge uses, in microseconds."""
    return -(-charge.window_us * charge.amount // charge.limit)


def _rate(state: MutableMapping[str, Any], _: str, charge: Charge, now: int) -> LimitStatus:
    until = max(now, state.get(charge.key, 0))
    after = until + _cost(charge)
    wait = after - charge.window_us - now
    if wait > 0:
        left = (charge.window_us - (until - now)) * charge.limit // charge.window_us
        return LimitStatus(max(0, left), until - now, wait)
    return LimitStatus((charge.window_us - (after - now)) * charge.limit // charge.window_us, after - now, 0)


def _slots(state: MutableMapping[str, Any], request: str, charge: Charge, now: int) -> LimitStatus:
    held = state.get(charge.key)
    if held is None:
        return LimitStatus(charge.limit - 1, 0, 0)
    if len(held) >= charge.limit:
        for each in [each for each, until in held.items() if until <= now]:
            del held[each]
    left = charge.limit - len(held) - (request not in held)
    # The time until a slot is free is unknown, so the wait is one second.
    return LimitStatus(left, 0, 0) if left >= 0 else LimitStatus(0, 0, 1_000_000)


def _spend(state: MutableMapping[str, Any], moneys: dict[str, Money], charge: Charge, now: int) -> LimitStatus:
    """The status of a budget; stores its state in `moneys`."""
    reset = _reset_us(charge, now)
    money = moneys[charge.key] = _money(state, charge, now)
    left = charge.limit - money.total() - charge.amount
    return LimitStatus(left, reset, 0) if left >= 0 else LimitStatus(max(0, left + charge.amount), reset, max(1, reset))


def _reset_us(charge: Charge, now: int) -> int:
    """The time until a budget has more money: the end of its calendar period, or one part of a rolling window."""
    return charge.window_us or max(1, charge.ends_us - now)


def part_of(window_us: int, now: int) -> int:
    """The number of the current part of a rolling budget; 0 for a calendar budget."""
    return now // window_us if window_us else 0


def _money(state: MutableMapping[str, Any], charge: Charge, now: int) -> Money:
    """The current state of a budget: expired reservations count as spent."""
    money: Money | None = state.get(charge.key)
    if money is None:
        money = Money(born=now, until=_until(charge.window_us, charge.ends_us, now))
    part = part_of(charge.window_us, now)
    if charge.window_us or not money.until:
        money.until = _until(charge.window_us, charge.ends_us, now)
    if charge.window_us:
        for each in [each for each in money.spent if each < part - ROLLING_PARTS]:
            del money.spent[each]
    gone = list(takewhile(lambda request: money.reserved[request][1] <= now, money.reserved))
    for request in gone:
        amount = money.expired[request] = money.reserved.pop(request)[0]
        money.spent[part] = money.spent.get(part, 0) + amount
    while len(money.expired) > _MOST_EXPIRED:
        del money.expired[next(iter(money.expired))]
    if gone:
        # Stored even if no request is admitted: an expired reservation must stay in the part where it was counted.
        state[charge.key] = money
    return money


def _until(window_us: int, ends_us: int, now: int) -> int:
    """When a budget's state may be deleted: its period is over, and so are all requests admitted in it."""
    return now + (ROLLING_PARTS + 2) * window_us if window_us else max(now, ends_us) + DAY_US


def seeded(money: Money | None, seed: OpeningBalance, now: int, before: int | None) -> Money | None:
    """The state of a budget with its opening balance; None if it is already included.

    The balance includes requests that ended `before` a time; a budget first used after that time lacks them.
    """
    if money is None:
        money = Money()
    elif before is None or money.born < before:
        return None
    money.born = 0
    if seed.window_us or seed.ends_us:
        money.until = _until(seed.window_us, seed.ends_us, now)
    part = part_of(seed.window_us, now)
    money.spent[part] = money.spent.get(part, 0) + seed.amount
    return money


def _restore_reservation(money: Money, request: str, charge: Charge, now: int) -> int:
    """Restores the reservation of a request whose lease expired; returns its amount."""
    amount = money.expired.pop(request, 0)
    if amount:
        part = part_of(charge.window_us, now)
        money.spent[part] = money.spent.get(part, 0) - amount
    return amount


_STATUS = {RATE: _rate, SLOTS: _slots}


def settle(
    state: MutableMapping[str, Any], request: str, settlements: Sequence[Settlement], now: int
) -> list[BudgetChange]:
    """See `Counters.settle`."""
    spent: list[BudgetChange] = []
    for each in settlements:
        charge = each.charge
        if charge.kind == RATE:
            shift = charge.window_us * (each.actual - charge.amount) // charge.limit
            if shift and charge.key in state:
                state[charge.key] = state[charge.key] + shift
        elif charge.kind == SLOTS:
            held = state.get(charge.key)
            if held and held.pop(request, None) is not None:
                state[charge.key] = held
        else:
            spent.append(_settle_spend(state, request, each, now))
    return spent


def _settle_spend(state: MutableMapping[str, Any], request: str, each: Settlement, now: int) -> BudgetChange:
    charge = each.charge
    money = _money(state, charge, now)
    before = sum(money.spent.values())
    more = each.actual
    if money.reserved.pop(request, None) is None:
        if request in money.expired:
            # The expired reservation was counted in full, so the excess is returned. Not for a rolling budget, whose
            # part with the full amount may already be outside the window.
            counted = money.expired.pop(request)
            more = max(0, more - counted) if charge.window_us else more - counted
        elif charge.amount:
            more = 0
            if not before and charge.key not in state:
                # The reservation is in other counters: these have no state of the budget.
                return BudgetChange(charge.key, 0, 0)
    part = part_of(charge.window_us, now)
    money.spent[part] = money.spent.get(part, 0) + more
    state[charge.key] = money
    return BudgetChange(charge.key, before, before + more)


class MemoryCounters:
    """Counters in this process, for one thread."""

    def __init__(self, clock: Callable[[], int] = now_us, *, waits: bool = False) -> None:
        """With `waits`, charges of money are refused until `seed` is called."""
        self._clock = clock
        self._state: dict[str, Any] = {}
        self._asked = 0
        self._waits = waits
        self._late: list[tuple[str, Sequence[Settlement]]] = []
        self.replicas = 1

    @property
    def condition(self) -> CountersCondition:
        """See `Counters.condition`."""
        return CountersCondition(WAITS) if self._waits else CountersCondition()

    def seed(self, seeds: Sequence[OpeningBalance], before: int | None = None) -> None:
        """Adds opening balances (spending `before` a time) of budgets that do not include them yet."""
        now = self._clock()
        for each in seeds:
            money = seeded(self._state.get(each.key), each, now, before)
            if money is not None:
                self._state[each.key] = money
        self._waits = False
        late, self._late = self._late, []
        for request, settlements in late:
            settle(self._state, request, settlements, now)

    async def reserve(self, request: str, charges: Sequence[Charge]) -> tuple[bool, list[LimitStatus]]:
        """See `Counters.reserve`."""
        if self._waits:
            refuse_to_spend(charges)
        now = self._clock()
        self._sweep(now)
        return reserve(self._state, request, charges, now)

    async def settle(self, request: str, settlements: Sequence[Settlement]) -> list[BudgetChange]:
        """See `Counters.settle`."""
        return settle(self._state, request, settlements, self._clock())

    def note(self, request: str, settlements: Sequence[Settlement]) -> None:
        """See `Counters.note`."""
        self._late.append((request, settlements))
        if not self._waits:
            self.seed(())

    def taken(self, key: str) -> int:
        """See `Counters.taken`."""
        money = self._state.get(key)
        return money.total() if money is not None else 0

    def _sweep(self, now: int) -> None:
        """Deletes recovered rates, free slots and past budgets, once in many calls."""
        self._asked += 1
        if self._asked % _SWEEP_EVERY == 0:
            for key in [key for key, each in self._state.items() if _is_expired(each, now)]:
                del self._state[key]


def _is_expired(state: Any, now: int) -> bool:
    if isinstance(state, Money):
        return 0 < state.until <= now and not state.reserved
    return (isinstance(state, int) and state <= now) or state == {}
