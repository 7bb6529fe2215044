"""The ticket of an admitted request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contract.attempt import Attempt
    from contract.exchange import Exchange
    from contract.messages import ChatRequest


class Ticket(Protocol):
    """The reservations of an admitted request. Settled once, at its end, however it ends."""

    model: str
    """The model that answers instead of the requested one; empty for no change."""

    def bounded(self, request: ChatRequest) -> ChatRequest:
        """The request, with a limit of output tokens if a budget needs one."""
        ...

    def excludes(self, target: str, request: object) -> str:
        """Why a target must not be called: a budget needs its price, which is unknown. Empty if it may be called."""
        ...

    async def cover(self, attempt: Attempt, request: object) -> None:
        """Reserves the additional cost of an attempt, and a slot of its provider.

        Raises `BudgetSpent`, `OwnLimitReached`.
        """
        ...

    async def settle(self, exchange: Exchange) -> None:
        """Replaces reservations by the actual usage. Never raises."""
        ...
