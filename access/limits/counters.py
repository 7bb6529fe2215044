"""What counts requests, tokens, slots and money: one step admits a request against all its limits, or against none.

Three kinds of counters:

- a *rate* leaks evenly (GCRA): after `limit` at once, one more when a `limit`-th of the window has passed. What was
  reserved by estimate is put right when the request settles, so a rate may be in debt.
- *slots* are what runs at once. A slot whose holder died is free when its lease has run out.
- *spend* is money: what was spent and what is reserved never exceed the limit together. A reservation whose holder
  died counts as spent, for nobody knows what its provider has billed.

This module holds the rules in Python, over any mapping: a dict for one process, rows of SQLite for the processes of
one machine. `redis_counters` says the same in Lua. Times are microseconds since 1970, money is in billionths of a
dollar (nano-dollars), both as integers below 2**53, which is what Lua can count.
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
# A rolling budget moves on in so many steps.
ROLLING_PARTS = 32
_SWEEP_EVERY = 10_000
# How many holders whose lease ran out are remembered, in case that they settle after all.
_MOST_EXPIRED = 1_000


class Charge(msgspec.Struct, frozen=True, gc=False):
    """What a request asks of one counter.

    `window_us` is a rate's window, or a part of a rolling budget (0: the key itself stands for the period). `ends_us`
    is when a calendar's period ends. `hard` counters refuse; others only tell that they would.
    """

    key: str
    kind: int
    limit: int
    amount: int
    window_us: int = 0
    ends_us: int = 0
    hard: bool = True


class LimitStatus(msgspec.Struct, frozen=True, gc=False):
    """What is `left` of a counter after the request, when it is whole again, and how long the request had to wait."""

    left: int
    reset_us: int
    wait_us: int


class Settlement(msgspec.Struct, frozen=True, gc=False):
    """What has become of a demand that was admitted."""

    demand: Charge
    actual: int


class BudgetChange(msgspec.Struct, frozen=True, gc=False):
    """What a budget had before a settlement, and has now, in nano-dollars without reservations."""

    key: str
    before: int
    after: int


class OpeningBalance(msgspec.Struct, frozen=True, gc=False):
    """What a budget had spent before anybody counted. `ends_us` is its calendar's."""

    key: str
    amount: int
    window_us: int = 0
    ends_us: int = 0


class Money(msgspec.Struct):
    """A budget's state: spent by part (one part 0 for a calendar's), and reserved: (amount, lease's end) by request.

    `expired` is what those had reserved whose lease ran out: it is in `spent`, in full. `born` is when it was first
    asked for, 0 where it holds what was spent before that too; after `until` nobody asks for it.
    """

    spent: dict[int, int] = {}
    reserved: dict[str, tuple[int, int]] = {}
    expired: dict[str, int] = {}
    born: int = 0
    until: int = 0

    def total(self) -> int:
        """Spent and reserved."""
        return sum(self.spent.values()) + sum(amount for amount, _ in self.reserved.values())


class CountersCondition(msgspec.Struct, frozen=True):
    """`problem` is why not all can be counted now, for people; with `only_money` that concerns budgets alone.

    `damaged` says that single counters can't be read: only who needs one of them is concerned.
    """

    problem: str = ""
    only_money: bool = True
    damaged: str = ""


class Counters(Protocol):
    """Where counters are. `reserve` gives one standing per demand and whether all hard ones had room.

    `replicas` is how many processes share them, when last heard.
    """

    replicas: int

    @property
    def condition(self) -> CountersCondition:
        """How they are doing."""
        ...

    async def reserve(self, request: str, demands: Sequence[Charge]) -> tuple[bool, list[LimitStatus]]:
        """All of it or nothing. Raises `Unreachable`."""
        ...

    async def settle(self, request: str, settlements: Sequence[Settlement]) -> list[BudgetChange]:
        """Gives back what was not used; a second time it changes nothing. Raises `Unreachable`.

        What was never reserved counts where its demand has an amount of 0: it was admitted without these counters.
        """
        ...

    def note(self, request: str, settlements: Sequence[Settlement]) -> None:
        """Takes note of what was admitted while they could not be asked, to count it when they can."""
        ...

    def taken(self, key: str) -> int:
        """What a budget had spent and reserved when last heard."""
        ...


class Unreachable(Exception):
    """The counters can't be asked now."""


WAITS = "budgets wait for what the ledger says was spent"


def refuse_to_spend(demands: Sequence[Charge]) -> None:
    """Raises `Unreachable` where money is asked for before it is known how much was spent."""
    if any(each.kind == SPEND for each in demands):
        raise Unreachable("what was spent is not known yet")


def now_us() -> int:
    """The time."""
    return time.time_ns() // 1000


def reserve(
    state: MutableMapping[str, Any], request: str, demands: Sequence[Charge], now: int
) -> tuple[bool, list[LimitStatus]]:
    """See `Counters.reserve`."""
    moneys: dict[str, Money] = {}
    standings = [
        _spend(state, moneys, each, now) if each.kind == SPEND else _STANDING[each.kind](state, request, each, now)
        for each in demands
    ]
    for each, standing in zip(demands, standings, strict=True):
        if each.hard and standing.wait_us:
            return False, standings
    for each, standing in zip(demands, standings, strict=True):
        if each.kind == RATE:
            if not standing.wait_us:
                state[each.key] = max(now, state.get(each.key, 0)) + _cost(each)
        elif each.kind == SPEND:
            money = moneys[each.key]
            # Whoever goes on goes to the end: they stand in the order in which their leases end.
            before = money.reserved.pop(request, (0, 0))[0] + _revived(money, request, each, now)
            money.reserved[request] = (before + each.amount, now + LEASE_US)
            state[each.key] = money
        elif not standing.wait_us:
            held = state.get(each.key) or {}
            held[request] = now + LEASE_US
            state[each.key] = held
    return True, standings


def _cost(demand: Charge) -> int:
    """The time that a demand takes of its window."""
    return -(-demand.window_us * demand.amount // demand.limit)


def _rate(state: MutableMapping[str, Any], _: str, demand: Charge, now: int) -> LimitStatus:
    until = max(now, state.get(demand.key, 0))
    after = until + _cost(demand)
    wait = after - demand.window_us - now
    if wait > 0:
        left = (demand.window_us - (until - now)) * demand.limit // demand.window_us
        return LimitStatus(max(0, left), until - now, wait)
    return LimitStatus((demand.window_us - (after - now)) * demand.limit // demand.window_us, after - now, 0)


def _slots(state: MutableMapping[str, Any], request: str, demand: Charge, now: int) -> LimitStatus:
    held = state.get(demand.key)
    if held is None:
        return LimitStatus(demand.limit - 1, 0, 0)
    if len(held) >= demand.limit:
        for each in [each for each, until in held.items() if until <= now]:
            del held[each]
    left = demand.limit - len(held) - (request not in held)
    # Nobody knows when a slot is free again.
    return LimitStatus(left, 0, 0) if left >= 0 else LimitStatus(0, 0, 1_000_000)


def _spend(state: MutableMapping[str, Any], moneys: dict[str, Money], demand: Charge, now: int) -> LimitStatus:
    """Leaves the budget's state in `moneys`."""
    reset = _reset_us(demand, now)
    money = moneys[demand.key] = _money(state, demand, now)
    left = demand.limit - money.total() - demand.amount
    return LimitStatus(left, reset, 0) if left >= 0 else LimitStatus(max(0, left + demand.amount), reset, max(1, reset))


def _reset_us(demand: Charge, now: int) -> int:
    """Until a budget has more: a calendar's end, or a part of a rolling one."""
    return demand.window_us or max(1, demand.ends_us - now)


def part_of(window_us: int, now: int) -> int:
    """The number of the part of a rolling budget that holds now; a calendar's has one."""
    return now // window_us if window_us else 0


def _money(state: MutableMapping[str, Any], demand: Charge, now: int) -> Money:
    """A budget's state as of now."""
    money: Money | None = state.get(demand.key)
    if money is None:
        money = Money(born=now, until=_until(demand.window_us, demand.ends_us, now))
    part = part_of(demand.window_us, now)
    if demand.window_us or not money.until:
        money.until = _until(demand.window_us, demand.ends_us, now)
    if demand.window_us:
        for each in [each for each in money.spent if each < part - ROLLING_PARTS]:
            del money.spent[each]
    gone = list(takewhile(lambda request: money.reserved[request][1] <= now, money.reserved))
    for request in gone:
        amount = money.expired[request] = money.reserved.pop(request)[0]
        money.spent[part] = money.spent.get(part, 0) + amount
    while len(money.expired) > _MOST_EXPIRED:
        del money.expired[next(iter(money.expired))]
    if gone:
        # Also where nobody is admitted: the part in which it was counted is the one that it leaves with.
        state[demand.key] = money
    return money


def _until(window_us: int, ends_us: int, now: int) -> int:
    """When a budget's state may be forgotten: its period is over, and so is whoever was admitted in it."""
    return now + (ROLLING_PARTS + 2) * window_us if window_us else max(now, ends_us) + DAY_US


def seeded(money: Money | None, seed: OpeningBalance, now: int, before: int | None) -> Money | None:
    """The state of a budget with what was spent before; None where that is in it already.

    What ended `before` a time is not in the state of one that was first asked for after it.
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


def _revived(money: Money, request: str, demand: Charge, now: int) -> int:
    """What the request had reserved before its lease ran out, which is reserved again."""
    amount = money.expired.pop(request, 0)
    if amount:
        part = part_of(demand.window_us, now)
        money.spent[part] = money.spent.get(part, 0) - amount
    return amount


_STANDING = {RATE: _rate, SLOTS: _slots}


def settle(
    state: MutableMapping[str, Any], request: str, settlements: Sequence[Settlement], now: int
) -> list[BudgetChange]:
    """See `Counters.settle`."""
    spent: list[BudgetChange] = []
    for each in settlements:
        demand = each.demand
        if demand.kind == RATE:
            shift = demand.window_us * (each.actual - demand.amount) // demand.limit
            if shift and demand.key in state:
                state[demand.key] = state[demand.key] + shift
        elif demand.kind == SLOTS:
            held = state.get(demand.key)
            if held and held.pop(request, None) is not None:
                state[demand.key] = held
        else:
            spent.append(_settle_spend(state, request, each, now))
    return spent


def _settle_spend(state: MutableMapping[str, Any], request: str, each: Settlement, now: int) -> BudgetChange:
    demand = each.demand
    money = _money(state, demand, now)
    before = sum(money.spent.values())
    more = each.actual
    if money.reserved.pop(request, None) is None:
        if request in money.expired:
            # It was counted in full: what was too much comes back. Not of a rolling budget: the part in which it was
            # counted may have left the window already, and then so has all of it.
            counted = money.expired.pop(request)
            more = max(0, more - counted) if demand.window_us else more - counted
        elif demand.amount:
            more = 0
            if not before and demand.key not in state:
                # It is of other counters than these: nobody has asked these for the budget yet.
                return BudgetChange(demand.key, 0, 0)
    part = part_of(demand.window_us, now)
    money.spent[part] = money.spent.get(part, 0) + more
    state[demand.key] = money
    return BudgetChange(demand.key, before, before + more)


class MemoryCounters:
    """In this process, for one thread."""

    def __init__(self, clock: Callable[[], int] = now_us, *, waits: bool = False) -> None:
        """With `waits` nobody spends before `seed` has been called."""
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
        """Sets what budgets had spent (`before` a time), where this process has not counted it itself."""
        now = self._clock()
        for each in seeds:
            money = seeded(self._state.get(each.key), each, now, before)
            if money is not None:
                self._state[each.key] = money
        self._waits = False
        late, self._late = self._late, []
        for request, settlements in late:
            settle(self._state, request, settlements, now)

    async def reserve(self, request: str, demands: Sequence[Charge]) -> tuple[bool, list[LimitStatus]]:
        """See `Counters.reserve`."""
        if self._waits:
            refuse_to_spend(demands)
        now = self._clock()
        self._sweep(now)
        return reserve(self._state, request, demands, now)

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
        """Rates that have recovered, slots that are free and budgets of days gone by are forgotten now and then."""
        self._asked += 1
        if self._asked % _SWEEP_EVERY == 0:
            for key in [key for key, each in self._state.items() if _is_over(each, now)]:
                del self._state[key]


def _is_over(state: Any, now: int) -> bool:
    if isinstance(state, Money):
        return 0 < state.until <= now and not state.reserved
    return (isinstance(state, int) and state <= now) or state == {}
