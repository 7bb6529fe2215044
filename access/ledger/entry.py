"""A finished request as the ledger has it: one row for the request, one for each attempt.

These structs are the source of the journal's lines and of the tables' columns (`access.database.tables`). A new column:

1. a field with a default at the end of `LedgerEntry` (of `RequestStart` where it is known when a request begins, or of
   `AttemptEntry`), and its value in the function that makes it, below;
2. `VERSION` one higher, and a migration of that number that adds the column with the same default;
3. its test, and its row in docs/concepts/access.md.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import msgspec
from msgspec.inspect import Metadata, StructType, type_info

from contract.deltas import Usage
from contract.rules import NANO

if TYPE_CHECKING:
    from contract.attempt import Attempt
    from contract.exchange import Exchange

# Of the tables, which is the number of their last migration, and so of the lines and rows that are written now. A line
# or row without a version is of version 1, which Gatehouse 0.1.0 wrote.
VERSION = 2

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

# How a request ended that nobody saw the end of: its process died. Its cost is the most that it may have been.
NOBODY_KNOWS = "unknown"

# What a line of a journal may hold: one that is damaged must neither keep the others from the database nor give back
# what was spent.
Id: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
Small: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Moment: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**44)]
# The length is the column's. A line may hold more, as SQLite does: that is no reason to keep a row out of the ledger.
Text16: TypeAlias = Annotated[str, msgspec.Meta(extra={"length": 16})]
Text32: TypeAlias = Annotated[str, msgspec.Meta(extra={"length": 32})]
Text64: TypeAlias = Annotated[str, msgspec.Meta(extra={"length": 64})]
Text128: TypeAlias = Annotated[str, msgspec.Meta(extra={"length": 128})]
Text160: TypeAlias = Annotated[str, msgspec.Meta(extra={"length": 160})]
Text256: TypeAlias = Annotated[str, msgspec.Meta(extra={"length": 256})]


class AttemptEntry(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One call to one target. Its version is that of its request."""

    number: Small
    target: Text256
    reason: Text16
    status: Small
    error: Text64
    input: Count
    output: Count
    cache_read: Count
    cache_write: Count
    reasoning: Count
    cost: Count | None
    estimated: bool
    duration_ms: Small


class RequestStart(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What is known of a request when it begins: the fields that its reservation and its row share."""

    id: Id
    request_id: Text160
    trace_id: Text32
    at_ms: Moment
    organisation: Text128
    team: Text128
    app: Text128
    key: Text128
    user: Text128
    surface: Text64
    model: Text256
    target: Text256
    # One of a later version is not decoded: what its fields mean nobody knows here.
    version: Annotated[int, msgspec.Meta(ge=1, le=VERSION)] = 1


class LedgerEntry(RequestStart, frozen=True, gc=False, kw_only=True, tag_field="line", tag="row"):
    """One request. `cost` is in trillionths of a dollar, None where a price is not known."""

    status: Small
    outcome: Text16
    error: Text64
    cache: Text16
    stream: bool
    attempts: tuple[AttemptEntry, ...] = ()
    input: Count
    output: Count
    cache_read: Count
    cache_write: Count
    reasoning: Count
    cost: Count | None
    estimated: bool
    duration_ms: Small

    def row(self) -> dict[str, Any]:
        """Without its attempts, for the table."""
        row = msgspec.structs.asdict(self)
        row["attempts"] = len(self.attempts)
        return row


class Reservation(RequestStart, frozen=True, gc=False, kw_only=True, tag_field="line", tag="reserved"):
    """A request that is under way, with what it may cost at most: what is known of it if its process dies.

    `cost` is in billionths of a dollar, None where nothing was reserved and so nobody knows; `target` is empty before
    one of several has been chosen. `budgets` are the counters that hold it and outlive the process: key, window and
    end of each.
    """

    stream: bool
    cost: Count | None = None
    budgets: tuple[tuple[str, Count, Count], ...] = ()

    def as_entry(self) -> LedgerEntry:
        """Its row, where nobody saw its end."""
        cost = None if self.cost is None else min(self.cost * (PICO // NANO), MOST_PICOS)
        counts: dict[str, Any] = {
            **dict.fromkeys(("status", "input", "output", "cache_read", "cache_write", "reasoning", "duration_ms"), 0),
            "cost": cost,
            "estimated": True,
        }
        attempt = AttemptEntry(number=1, target=self.target, reason="first", error=NOBODY_KNOWS, **counts)
        known = {name: getattr(self, name) for name in RequestStart.__struct_fields__}
        ended: dict[str, Any] = {
            "outcome": NOBODY_KNOWS,
            "error": "process_died",
            "cache": "off",
            "attempts": (attempt,),
        }
        return LedgerEntry(**known, **counts, **ended, stream=self.stream)


def reservation_of(
    exchange: Exchange,
    target: str,
    cost: int | None,
    *,
    stream: bool,
    budgets: tuple[tuple[str, int, int], ...] = (),
) -> Reservation:
    """What is kept of a request before its end, in the words of its row."""
    return Reservation(**_begun(exchange, target), stream=stream, cost=cost, budgets=budgets)


def entry_of(exchange: Exchange) -> LedgerEntry:
    """What is kept of a request. Its usage is that of all attempts together, as is its cost."""
    attempts = tuple(_attempt(each) for each in exchange.attempts)
    return LedgerEntry(
        **_begun(exchange, exchange.target),
        status=exchange.status,
        outcome=exchange.outcome,
        error=_short("error", exchange.error),
        cache=exchange.cache.kind if exchange.cache is not None else "off",
        stream=exchange.stream,
        attempts=attempts,
        input=sum(each.input for each in attempts),
        output=sum(each.output for each in attempts),
        cache_read=sum(each.cache_read for each in attempts),
        cache_write=sum(each.cache_write for each in attempts),
        reasoning=sum(each.reasoning for each in attempts),
        cost=None if any(each.cost is None for each in attempts) else sum(each.cost or 0 for each in attempts),
        estimated=any(each.estimated for each in attempts),
        duration_ms=_milliseconds(exchange.started, exchange.ended),
    )


def _begun(exchange: Exchange, target: str) -> dict[str, Any]:
    """The fields of `RequestStart`."""
    caller = exchange.caller
    return {
        "id": exchange.ledger_id,
        "request_id": _short("request_id", exchange.id),
        "trace_id": exchange.trace_id,
        "at_ms": exchange.started_ns // 1_000_000,
        "organisation": caller.organisation if caller else "",
        "team": caller.team if caller else "",
        "app": caller.app if caller else "",
        "key": _short("key", caller.key) if caller else "",
        "user": user_of(exchange),
        "surface": exchange.surface[:64],
        # A model that is none is its caller's own text, which would also add a row to the sums for each.
        "model": _short("model", exchange.model) if exchange.route else UNKNOWN,
        "target": _short("target", target),
        "version": VERSION,
    }


def _attempt(attempt: Attempt) -> AttemptEntry:
    usage = attempt.usage or Usage()
    return AttemptEntry(
        number=attempt.number,
        target=_short("target", attempt.target),
        reason=attempt.reason,
        status=attempt.status,
        error=_short("error", attempt.error),
        input=_tokens(usage.input),
        output=_tokens(usage.output),
        cache_read=_tokens(usage.cache_read),
        cache_write=_tokens(usage.cache_write),
        reasoning=_tokens(usage.reasoning),
        cost=None if attempt.unpriced else min(max(0, picos(attempt.cost)), MOST_PICOS),
        estimated=attempt.estimated,
        duration_ms=_milliseconds(attempt.started, attempt.ended),
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
    return text.replace("\0", "")[: _LENGTHS[column]].encode("utf-8", "replace").decode()


def lengths(row: type[msgspec.Struct]) -> dict[str, int]:
    """How many characters the columns of a row hold that are texts with a length of their own."""
    info = type_info(row)
    assert isinstance(info, StructType)
    typed = ((field.name, field.type) for field in info.fields)
    return {name: kind.extra["length"] for name, kind in typed if isinstance(kind, Metadata) and kind.extra}


_LENGTHS = lengths(LedgerEntry)
