"""Limits and budgets as the path sees them: rules of scopes, and the ticket of a request that was admitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import msgspec

if TYPE_CHECKING:
    from contract.attempt import Attempt

    from contract.exchange import Exchange
    from contract.messages import ChatRequest

Scope: TypeAlias = Literal["organisation", "team", "app", "key", "user", "model", "provider"]
What: TypeAlias = Literal["requests", "tokens", "input_tokens", "output_tokens", "parallel", "streams", "spend"]
NANO = 1_000_000_000


class Rule(msgspec.Struct, frozen=True, gc=False):
    """One limit or budget. `limit` counts, or is nano-dollars of a budget; `text` is how the YAML has it.

    A budget's period is a calendar's (`calendar` in `zone`) or rolling (`window_s`). `strict` rules refuse where
    nobody can count; `soft` ones (shadow, allow, downgrade) only say that they would have refused.
    """

    what: What
    limit: int
    text: str
    window_s: int = 0
    calendar: str = ""
    zone: str = "UTC"
    soft: bool = False
    strict: bool = False
    shadow: bool = False
    downgrade: str = ""
    answer: int = 0
    refuse_unpriced: bool = False
    warn: tuple[float, ...] = ()
    webhook: str = ""
    number: int = 0


class Bound(msgspec.Struct, frozen=True, gc=False):
    """A rule of somebody."""

    scope: Scope
    name: str
    rule: Rule


class Allowance(msgspec.Struct, frozen=True, gc=False):
    """What is left of a caller's tightest limit of one kind; `reset_s` until it is whole."""

    limit: int
    left: int
    reset_s: float


class AccountsState(msgspec.Struct, frozen=True):
    """How the ledger and the keys are doing: for whoever watches."""

    ledger_waiting_bytes: int = 0
    ledger_lost_rows: int = 0
    keys_unconfirmed_s: float = 0.0


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
