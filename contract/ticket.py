"""What a request was admitted with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contract.attempt import Attempt
    from contract.exchange import Exchange
    from contract.messages import ChatRequest


class Ticket(Protocol):
    """What a request was admitted with. Settled once, at its end, whatever way it ends."""

    model: str
    """The model that answers in place of the one that was asked for; empty for none."""

    def bounded(self, request: ChatRequest) -> ChatRequest:
        """The request with a bound on its answer, where a budget needs one."""
        ...

    def excludes(self, target: str, request: object) -> str:
        """Why a target may not be asked this: a budget needs its price, and it is not known. Empty where it may."""
        ...

    async def cover(self, attempt: Attempt, request: object) -> None:
        """Reserves what an attempt needs beyond what is reserved already, and a place with its provider.

        Raises `BudgetSpent`, `OwnLimitReached`.
        """
        ...

    async def settle(self, exchange: Exchange) -> None:
        """Gives back what was not used. Never raises."""
        ...
