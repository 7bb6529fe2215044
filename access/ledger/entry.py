"""The ledger's rows of a finished request: one for the request, one for each attempt.

These structs define the journal's lines and the tables' columns (`access.database.tables`). To add a column:

1. add a field with a default at the end of `LedgerEntry` (of `RequestStart` if it is known at the start of a request,
   or of `AttemptEntry`), and its value in the function below that builds the struct;
2. increment `VERSION`, and add a migration of that number that adds the column with the same default;
3. add its test, and its row in docs/concepts/access.md.
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

# The version of the tables (the number of their last migration), and of new lines and rows. A line or row without a
# version has version 1, from Gatehouse 0.1.0.
VERSION = 2

# Who made a request, and its counts: columns of the ledger, and groups and sums of its reports.
WHOSE = ("organisation", "team", "app", "key", "user", "model", "target")
COUNTS = ("requests", "failures", "unpriced", "input", "output", "cache_read", "cache_write", "reasoning")
REQUEST_FILTERS = (*WHOSE, "status", "outcome", "request_id")
PICO = 1_000_000_000_000
UNKNOWN = "unknown"
# Limits for counts from providers: a number too large for the database would block all other rows.
MOST_TOKENS = 10**12
MOST_PICOS = 100_000 * PICO
_MOST_MS = 2**31 - 1

# The outcome of a request whose process died before its end. Its cost is the most that it may have been.
UNKNOWN_OUTCOME = "unknown"
# A stream that ended in an error. Rows of version 0.1.0 have the older name `cut`.
INTERRUPTED = ("interrupted", "cut")

# Bounds of the values in a journal line: a damaged line must neither block the others nor return spent money.
Id: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
Small: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Moment: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**44)]
# The length of the column. A line may be longer, as in SQLite: that must not keep a row out of the ledger.
Text16: TypeAlias = Annotated[str, msgspec.Meta(extra={"length": 16})]
Text32: TypeAlias = Annotated[str, msgspec.Meta(extra={"length": 32})]
Text64: TypeAlias = Annotated[str, msgspec.Meta(extra={"length": 64})]
Text128: TypeAlias = Annotated[str, msgspec.Meta(extra={"length": 128})]
Text160: TypeAlias = Annotated[str, msgspec.Meta(extra={"length": 160})]
Text256: TypeAlias = Annotated[str, msgspec.Meta(extra={"length": 256})]


class AttemptEntry(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One call to one target. Its version is its request's."""

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
    """What is known at the start of a request: the fields that its reservation and its row share."""

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
    # A later version is not decoded, because the meaning of its fields is unknown.
    version: Annotated[int, msgspec.Meta(ge=1, le=VERSION)] = 1


class LedgerEntry(RequestStart, frozen=True, gc=False, kw_only=True, tag_field="line", tag="row"):
    """One request. `cost` is in trillionths of a dollar, None if a price is unknown."""

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
        """The values for the table, with the number of attempts instead of the attempts."""
        row = msgspec.structs.asdict(self)
        row["attempts"] = len(self.attempts)
        return row


class Reservation(RequestStart, frozen=True, gc=False, kw_only=True, tag_field="line", tag="reserved"):
    """A request in flight and the most that it may cost: all that is known of it if its process dies.

    `cost` is in billionths of a dollar, None (unknown) if nothing was reserved; `target` is empty until one of several
    is chosen. `budgets` are the counters that hold the reservation and outlive the process: key, window and end of
    each.
    """

    stream: bool
    cost: Count | None = None
    budgets: tuple[tuple[str, Count, Count], ...] = ()

    def as_entry(self) -> LedgerEntry:
        """The row of a request whose end is unknown."""
        cost = None if self.cost is None else min(self.cost * (PICO // NANO), MOST_PICOS)
        counts: dict[str, Any] = {
            **dict.fromkeys(("status", "input", "output", "cache_read", "cache_write", "reasoning", "duration_ms"), 0),
            "cost": cost,
            "estimated": True,
        }
        attempt = AttemptEntry(number=1, target=self.target, reason="first", error=UNKNOWN_OUTCOME, **counts)
        known = {name: getattr(self, name) for name in RequestStart.__struct_fields__}
        ended: dict[str, Any] = {
            "outcome": UNKNOWN_OUTCOME,
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
    """The reservation of a request in flight, with the fields of its row."""
    return Reservation(**_start_fields(exchange, target), stream=stream, cost=cost, budgets=budgets)


def entry_of(exchange: Exchange) -> LedgerEntry:
    """The row of a finished request. Usage and cost are the sums over all attempts."""
    attempts = tuple(_attempt(each) for each in exchange.attempts)
    return LedgerEntry(
        **_start_fields(exchange, exchange.target),
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


def _start_fields(exchange: Exchange, target: str) -> dict[str, Any]:
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
        # An unknown model is arbitrary text from the caller, and each one would add rows to the sums.
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
    """The user's name as ledger and budgets have it: both must agree, or a restart would lose the user's spending."""
    return _short("user", exchange.user or (exchange.caller.user if exchange.caller is not None else ""))


def _short(column: str, text: str) -> str:
    """The text, cut to the column's length and without NUL, which PostgreSQL refuses."""
    return text.replace("\0", "")[: _LENGTHS[column]].encode("utf-8", "replace").decode()


def lengths(row: type[msgspec.Struct]) -> dict[str, int]:
    """The lengths of a row's text columns, in characters."""
    info = type_info(row)
    assert isinstance(info, StructType)
    typed = ((field.name, field.type) for field in info.fields)
    return {name: kind.extra["length"] for name, kind in typed if isinstance(kind, Metadata) and kind.extra}


_LENGTHS = lengths(LedgerEntry)
