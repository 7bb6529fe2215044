"""What a ticket needs of the quota that it is from: counters and prices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

from access.limits.counters import Charge, LimitStatus, Settlement
from contract.rules import ScopedRule

if TYPE_CHECKING:
    from access.ledger.entry import Reservation
    from access.limits.estimate import Size
    from contract.attempt import Attempt

Charged: TypeAlias = tuple[ScopedRule, Charge]


class SlotHolder(Protocol):
    """What holds places of what is counted at a time."""

    def slots(self) -> list[tuple[str, list[Charge]]]:
        """What it holds, by the name that it is held under."""
        ...


class Reservations(Protocol):
    """Implemented by `access.limits.quota.Quota`, which says what each of these does."""

    providers: Mapping[str, tuple[ScopedRule, ...]]
    begin: Callable[[Reservation], None] | None
    outlives: bool

    def demand(self, bound: ScopedRule, amount: int) -> Charge:
        """What `amount` asks of a rule's counter."""
        ...

    def cost_bound(self, size: Size, answer: int, targets: Sequence[str], *, refuse: bool) -> int:
        """The most nano-dollars that one call to any of `targets` may cost."""
        ...

    def unpriced(self, target: str, tier: str) -> str | None:
        """The service tier in which a target would have no price; None where it has one."""
        ...

    def knows(self, targets: Sequence[str]) -> bool:
        """Whether the price of each is known."""
        ...

    def cost_of(self, attempt: Attempt) -> int | None:
        """The nano-dollars of an attempt that has ended; None while it may still grow."""
        ...

    async def reserve(self, request: str, charged: Sequence[Charged]) -> tuple[bool, list[LimitStatus], bool]:
        """Whether there was room, what is left, and whether only this process was asked. Raises `Unavailable`."""
        ...

    async def settle(
        self, request: str, charged: Sequence[Charged], settled: list[Settlement], *, alone: bool, wait: bool = False
    ) -> None:
        """Tells the counters what became of what was reserved."""
        ...

    def budget_exhausted(self, bound: ScopedRule, demand: Charge, spent: int) -> None:
        """A budget has had no room for a request, or nothing is left."""
        ...

    def hold(self, ticket: SlotHolder) -> None:
        """Keeps a ticket's slots as long as it lives."""
        ...

    def let_go(self, ticket: SlotHolder) -> None:
        """It is over."""
        ...
