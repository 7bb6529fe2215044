"""The record of one request: its caller, what happened, when, and the cost.

Steps record on it and never pass data to each other through it. Times are `time.perf_counter()` seconds;
`started_ns` relates them to the wall clock. After the reply is sent, `observability` turns it into a trace,
metrics and a log line.
"""

from __future__ import annotations

import os
import time
from decimal import Decimal
from typing import Literal, TypeAlias

import msgspec

from contract.attempt import Attempt
from contract.caller import Caller
from contract.deltas import FinishReason, Usage
from contract.finding import Finding
from contract.rules import Allowance
from contract.trace_context import read_traceparent

Outcome: TypeAlias = Literal["", "ok", "error", "refused", "interrupted", "cancelled"]
AttributeValue: TypeAlias = str | int | float | bool | list[str]
Attributes: TypeAlias = dict[str, AttributeValue]


# The trace context of a request that has none.
_NEW = ("", "", 1)


class CacheNote(msgspec.Struct, frozen=True):
    """What the cache did. `shared` means that the request joined another's call in flight; `why` is why the response
    was not stored.

    `entry` is the id of the served entry, so that it can be removed; `similarity` is a semantic hit's.
    """

    kind: Literal["exact", "semantic", "shared", "miss", "off"]
    age_s: float = 0.0
    similarity: float = 0.0
    why: str = ""
    entry: str = ""


class Step(msgspec.Struct, gc=False):
    """One step of the request. `attributes` explain its decision."""

    name: str
    started: float
    ended: float = 0.0
    attributes: Attributes | None = None


class Exchange:
    """The record of a request. The steps write it in order; it is read once, after the end."""

    __slots__ = (
        "allowances",
        "attempts",
        "cache",
        "caller",
        "cancelled",
        "choices",
        "config",
        "cost",
        "ended",
        "error",
        "error_message",
        "findings",
        "finish",
        "first_byte",
        "id",
        "model",
        "outcome",
        "output_bytes",
        "parent_span_id",
        "reply_id",
        "reply_model",
        "route",
        "span_id",
        "started",
        "started_ns",
        "status",
        "steps",
        "stream",
        "surface",
        "target",
        "trace_flags",
        "trace_id",
        "trace_state",
        "unpriced",
        "usage",
        "user",
    )

    def __init__(self, surface: str, traceparent: str = "", tracestate: str = "", request_id: str = "") -> None:
        """`request_id` is the caller's `x-request-id`, already validated; if empty, a new one is generated."""
        noise = os.urandom(32)
        self.started = time.perf_counter()
        self.started_ns = time.time_ns()
        self.surface = surface
        self.trace_id, self.parent_span_id, self.trace_flags = read_traceparent(traceparent) if traceparent else _NEW
        self.trace_state = tracestate if self.parent_span_id else ""
        if not self.trace_id:
            self.trace_id = noise[:16].hex()
        self.span_id = noise[16:24].hex()
        self.id = request_id or f"req_{noise[20:32].hex()}"
        self.caller: Caller | None = None
        self.cache: CacheNote | None = None
        # The rest of the caller's limits, for `requests` and `tokens`.
        self.allowances: dict[str, Allowance] = {}
        self.user = ""
        self.model = ""
        self.route = ""
        self.stream = False
        self.config = ""
        self.steps: list[Step] = []
        self.attempts: list[Attempt] = []
        self.findings: list[Finding] = []
        self.target = ""
        self.reply_id = ""
        self.reply_model = ""
        self.finish: FinishReason = ""
        self.choices = 0
        self.usage: Usage | None = None
        # US dollars; None while unknown, and for good if a price is unknown (`unpriced`).
        self.cost: Decimal | None = None
        self.unpriced = False
        self.status = 0
        self.outcome: Outcome = ""
        self.error = ""
        self.error_message = ""
        self.first_byte = 0.0
        self.ended = 0.0
        self.output_bytes = 0
        self.cancelled = False

    @property
    def ledger_id(self) -> str:
        """The unique id in the ledger, sorted by time: `id` comes from the caller, who may send the same one twice."""
        return f"{self.started_ns:016x}{self.span_id}"

    def record(self, name: str, started: float, attributes: Attributes | None = None) -> None:
        """Adds a step that began at `started` and ended now."""
        self.steps.append(Step(name, started, time.perf_counter(), attributes))

    def overhead_s(self, until: float) -> float:
        """Seconds up to `until` not spent waiting for a target; overlapping hedged attempts count once."""
        waited = 0.0
        reached = self.started
        for attempt in self.attempts:
            ended = attempt.ended or until
            if ended > reached:
                waited += ended - max(attempt.started, reached)
                reached = ended
        return max(0.0, until - self.started - waited)

    def traceparent(self, span_id: str) -> str:
        """The W3C header for a call made under `span_id`."""
        return f"00-{self.trace_id}-{span_id}-{self.trace_flags:02x}"
