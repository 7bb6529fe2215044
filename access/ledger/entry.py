"""A finished request as the ledger has it: one row for the request, one for each attempt."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import msgspec
from contract.rules import NANO

from contract.deltas import Usage

if TYPE_CHECKING:
    from contract.attempt import Attempt

    from contract.exchange import Exchange

# Whose a request is, and what of it is counted: columns of the ledger, and groups and sums of its reports.
WHOSE = ("organisation", "team", "app", "key", "user", "model", "target")
COUNTS = ("requests", "failures", "unpriced", "input", "output", "cache_read", "cache_write", "reasoning")
REQUEST_FILTERS = (*WHOSE, "status", "outcome", "request_id")
PICO = 1_000_000_000_000
UNKNOWN = "unknown"
# What a provider says may be absurd; a number that the database can't hold would keep every other row from it.
MOST_TOKENS = 10**12
MOST_PICOS = 100_000 * PICO
_MOST_MS = 2**31 - 1
_LONGEST = {"request_id": 160, "key": 128, "user": 128, "surface": 64, "model": 256, "target": 256, "error": 64}


# How a request ended that nobody saw the end of: its process died. Its cost is the most that it may have been.
NOBODY_KNOWS = "unknown"

# What a line of a journal may hold: one that is damaged must neither keep the others from the database nor give back
# what was spent.
Id: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
Small: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Moment: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**44)]


class AttemptEntry(msgspec.Struct, frozen=True, gc=False):
    """One call to one target."""

    number: Small
    target: str
    reason: str
    status: Small
    error: str
    input: Count
    output: Count
    cache_read: Count
    cache_write: Count
    reasoning: Count
    cost: Count | None
    estimated: bool
    duration_ms: Small


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One request. `cost` is in trillionths of a dollar, None where a price is not known."""

    id: Id
    request_id: str
    trace_id: str
    at_ms: Moment
    organisation: str
    team: str
    app: str
    key: str
    user: str
    surface: str
    model: str
    target: str
    status: Small
    outcome: str
    error: str
    cache: str
    stream: bool
    input: Count
    output: Count
    cache_read: Count
    cache_write: Count
    reasoning: Count
    cost: Count | None
    estimated: bool
    duration_ms: Small
    attempts: tuple[AttemptEntry, ...] = ()

    def row(self) -> dict[str, Any]:
        """Without its attempts, for the table."""
        row = msgspec.structs.asdict(self)
        row["attempts"] = len(self.attempts)
        return row


class Reservation(msgspec.Struct, frozen=True, gc=False, tag_field="line", tag="reserved"):
    """A request that is under way, with what it may cost at most: what is known of it if its process dies.

    `cost` is in billionths of a dollar, None where nothing was reserved and so nobody knows; `target` is empty before
    one of several has been chosen. `budgets` are the counters that hold it and outlive the process: key, window and
    end of each.
    """

    id: Id
    request_id: str
    trace_id: str
    at_ms: Moment
    organisation: str
    team: str
    app: str
    key: str
    user: str
    surface: str
    model: str
    target: str
    stream: bool
    cost: Count | None = None
    budgets: tuple[tuple[str, Count, Count], ...] = ()

    def as_entry(self) -> Entry:
        """Its row, where nobody saw its end."""
        cost = None if self.cost is None else min(self.cost * (PICO // NANO), MOST_PICOS)
        counts = (0, 0, 0, 0, 0, cost, True, 0)
        attempt = AttemptEntry(1, self.target, "first", 0, NOBODY_KNOWS, *counts)
        return Entry(
            self.id, self.request_id, self.trace_id, self.at_ms, self.organisation, self.team, self.app, self.key,
            self.user, self.surface, self.model, self.target, 0, NOBODY_KNOWS, "process_died", "off", self.stream,
            *counts, (attempt,),
        )  # fmt: skip


def reservation_of(
    exchange: Exchange,
    target: str,
    cost: int | None,
    *,
    stream: bool,
    budgets: tuple[tuple[str, int, int], ...] = (),
) -> Reservation:
    """What is kept of a request before its end, in the words of its row."""
    caller = exchange.caller
    return Reservation(
        exchange.ledger_id,
        _short("request_id", exchange.id),
        exchange.trace_id,
        exchange.started_ns // 1_000_000,
        caller.organisation if caller else "",
        caller.team if caller else "",
        caller.app if caller else "",
        _short("key", caller.key) if caller else "",
        user_of(exchange),
        exchange.surface[:64],
        _short("model", exchange.model) if exchange.route else UNKNOWN,
        _short("target", target),
        stream,
        cost,
        budgets,
    )


def entry_of(exchange: Exchange) -> Entry:
    """What is kept of a request. Its usage is that of all attempts together, as is its cost."""
    attempts = tuple(_attempt(each) for each in exchange.attempts)
    caller = exchange.caller
    return Entry(
        exchange.ledger_id,
        _short("request_id", exchange.id),
        exchange.trace_id,
        exchange.started_ns // 1_000_000,
        caller.organisation if caller else "",
        caller.team if caller else "",
        caller.app if caller else "",
        _short("key", caller.key) if caller else "",
        user_of(exchange),
        exchange.surface[:64],
        # A model that is none is its caller's own text, which would also add a row to the sums for each.
        _short("model", exchange.model) if exchange.route else UNKNOWN,
        _short("target", exchange.target),
        exchange.status,
        exchange.outcome,
        _short("error", exchange.error),
        exchange.cache.kind if exchange.cache is not None else "off",
        exchange.stream,
        sum(each.input for each in attempts),
        sum(each.output for each in attempts),
        sum(each.cache_read for each in attempts),
        sum(each.cache_write for each in attempts),
        sum(each.reasoning for each in attempts),
        None if any(each.cost is None for each in attempts) else sum(each.cost or 0 for each in attempts),
        any(each.estimated for each in attempts),
        _milliseconds(exchange.started, exchange.ended),
        attempts,
    )


def _attempt(attempt: Attempt) -> AttemptEntry:
    usage = attempt.usage or Usage()
    return AttemptEntry(
        attempt.number,
        _short("target", attempt.target),
        attempt.reason,
        attempt.status,
        _short("error", attempt.error),
        _tokens(usage.input),
        _tokens(usage.output),
        _tokens(usage.cache_read),
        _tokens(usage.cache_write),
        _tokens(usage.reasoning),
        None if attempt.unpriced else min(max(0, picos(attempt.cost)), MOST_PICOS),
        attempt.estimated,
        _milliseconds(attempt.started, attempt.ended),
    )


def _tokens(count: int) -> int:
    return min(max(0, count), MOST_TOKENS)


def _milliseconds(started: float, ended: float) -> int:
    return min(max(0, round((ended - started) * 1000)), _MOST_MS)


def picos(dollars: Decimal) -> int:
    """Trillionths of a dollar."""
    return int((dollars * PICO).to_integral_value(ROUND_HALF_EVEN))


def user_of(exchange: Exchange) -> str:
    """The user as the ledger has them, and budgets count them: else a restart would not know theirs again."""
    return _short("user", exchange.user or (exchange.caller.user if exchange.caller is not None else ""))


def _short(column: str, text: str) -> str:
    """As much as the column holds; PostgreSQL takes no NUL."""
    return text.replace("\0", "")[: _LONGEST[column]].encode("utf-8", "replace").decode()
