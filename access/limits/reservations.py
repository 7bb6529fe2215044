"""The interface to counters and prices that a ticket uses."""

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
    """A holder of slots (concurrency limits)."""

    def slots(self) -> list[tuple[str, list[Charge]]]:
        """The held slots, with the request id that they are reserved under."""
        ...


class Reservations(Protocol):
    """Implemented by `access.limits.quota.Quota`, which documents the methods."""

    providers: Mapping[str, tuple[ScopedRule, ...]]
    begin: Callable[[Reservation], None] | None
    outlives: bool

    def charge(self, scoped: ScopedRule, amount: int) -> Charge:
        """The charge of `amount` to a rule's counter."""
        ...

    def cost_bound(self, size: Size, answer: int, targets: Sequence[str], *, refuse: bool) -> int:
        """The most nano-dollars that one call to any of `targets` may cost."""
        ...

    def unpriced(self, target: str, tier: str) -> str | None:
        """The service tier in which a target has no price; None if it has one."""
        ...

    def has_prices(self, targets: Sequence[str]) -> bool:
        """Whether all prices are known."""
        ...

    def cost_of(self, attempt: Attempt) -> int | None:
        """The cost of a finished attempt in nano-dollars; None while it may grow."""
        ...

    async def reserve(self, request: str, charged: Sequence[Charged]) -> tuple[bool, list[LimitStatus], bool]:
        """Returns (admitted, statuses, whether only local counters were used). Raises `Unavailable`."""
        ...

    async def settle(
        self, request: str, charged: Sequence[Charged], settled: list[Settlement], *, alone: bool, wait: bool = False
    ) -> None:
        """Settles reservations with the counters."""
        ...

    def budget_exhausted(self, scoped: ScopedRule, charge: Charge, spent: int) -> None:
        """Reports that a budget had no room for a request, or has nothing left."""
        ...

    def hold(self, ticket: SlotHolder) -> None:
        """Renews a ticket's slots until `release`."""
        ...

    def release(self, ticket: SlotHolder) -> None:
        """Stops renewing a ticket's slots."""
        ...
