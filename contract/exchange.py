"""The ledger of one request: who asked, what happened, when, and what it cost.

Steps record on it and never pass data to each other through it. Times are `time.perf_counter()` seconds;
`started_ns` pins them to the wall clock. After the reply has gone, `observability` turns it into a trace,
metrics, a log line.
"""

from __future__ import annotations

import os
import time
from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network
from typing import Literal, TypeAlias

import msgspec
from contract.finding import Finding
from contract.rules import Allowance, Bound, Rule

from contract.deltas import FinishReason, Usage
from contract.messages import Loss

Outcome: TypeAlias = Literal["", "ok", "error", "refused", "cut", "cancelled"]
AttributeValue: TypeAlias = str | int | float | bool | list[str]
Attributes: TypeAlias = dict[str, AttributeValue]


class Caller(msgspec.Struct, frozen=True):
    """Who calls: the app, the models that it may ask for (None: all), what it may see, and the sources it may fill.

    `key` is the id of its key, never the key. `surfaces`, `networks` and `sources` are empty where all are allowed.
    """

    app: str
    models: frozenset[str] | None = None
    labels: frozenset[str] = frozenset()
    ingest: frozenset[str] = frozenset()
    rules: tuple[Bound, ...] = ()
    user_rules: tuple[Rule, ...] = ()
    team: str = ""
    organisation: str = ""
    key: str = ""
    user: str = ""
    surfaces: frozenset[str] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    pipelines: frozenset[str] | None = None
    sources: frozenset[str] | None = None


class CacheNote(msgspec.Struct, frozen=True):
    """What the cache did. `shared` is an answer that was under way for another; `why` says why nothing was kept.

    `entry` names what was given, so that it can be removed; `similarity` is a semantic hit's.
    """

    kind: Literal["exact", "semantic", "shared", "miss", "off"]
    age_s: float = 0.0
    similarity: float = 0.0
    why: str = ""
    entry: str = ""


class Step(msgspec.Struct, gc=False):
    """One step of the path. `attributes` say why it decided so."""

    name: str
    started: float
    ended: float = 0.0
    attributes: Attributes | None = None


class Attempt(msgspec.Struct):
    """One call to one target. `error` is the kind (`UpstreamError.kind`), empty when it answered.

    `key` is a number of the provider's keys (from 1), never a key. `waited_s` is the pause before it, `timeout_s` how
    long it may take.
    """

    target: str
    provider: str
    model: str
    dialect: str = ""
    number: int = 1
    reason: Literal["first", "retry", "fallback", "hedge"] = "first"
    started: float = 0.0
    timeout_s: float = 0.0
    first_token: float = 0.0
    ended: float = 0.0
    status: int = 0
    error: str = ""
    message: str = ""
    key: int = 0
    waited_s: float = 0.0
    chosen: bool = False
    span_id: str = ""
    usage: Usage | None = None
    tier: str = ""
    """The service tier that was asked for, or served, as `contract.service_tier` names it."""
    estimated: bool = False
    """Whether `usage` is our own count, because the provider gave none before the answer ended."""
    cost: Decimal = Decimal(0)
    unpriced: bool = False
    """Whether it has cost what nobody knows, so that `cost` is too little."""
    sent: bool = False
    """Whether the provider has been given the whole request, and may bill for it whatever becomes of the answer."""
    uncounted: bool = False
    """Whether it has said words that `usage` does not count yet."""
    losses: tuple[Loss, ...] = ()


class Exchange:
    """The ledger. Written by the steps in order, read once after the end."""

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
        """`request_id` is the caller's own `x-request-id`, already checked; empty makes a new one."""
        noise = os.urandom(32)
        self.started = time.perf_counter()
        self.started_ns = time.time_ns()
        self.surface = surface
        self.trace_id, self.parent_span_id, self.trace_flags = read_traceparent(traceparent)
        self.trace_state = tracestate if self.parent_span_id else ""
        if not self.trace_id:
            self.trace_id = noise[:16].hex()
        self.span_id = noise[16:24].hex()
        self.id = request_id or f"req_{noise[20:32].hex()}"
        self.caller: Caller | None = None
        self.cache: CacheNote | None = None
        # What is left of the caller's limits, by `requests` and `tokens`.
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
        # US dollars; None while it is not known, and for good when a price is not (`unpriced`).
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
        """Ours alone: `id` is the caller's, who may give the same twice. In the order of time."""
        return f"{self.started_ns:016x}{self.span_id}"

    def record(self, name: str, started: float, attributes: Attributes | None = None) -> None:
        """Adds a step that began at `started` and ends now."""
        self.steps.append(Step(name, started, time.perf_counter(), attributes))

    def overhead_s(self, until: float) -> float:
        """Seconds up to `until` that were not spent waiting for a target; hedged attempts overlap, and count once."""
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


def read_traceparent(header: str) -> tuple[str, str, int]:
    """(trace id, parent span id, flags) of a W3C `traceparent`; ("", "", 1) when it is absent or not well formed."""
    parts = header.split("-")
    if len(parts) < 4 or len(parts[0]) != 2 or len(parts[1]) != 32 or len(parts[2]) != 16 or len(parts[3]) != 2:
        return "", "", 1
    version, trace_id, span_id, flags = parts[:4]
    if version == "ff" or (version == "00" and len(parts) != 4) or not _LOWER_HEX.issuperset("".join(parts[:4])):
        return "", "", 1
    if not trace_id.strip("0") or not span_id.strip("0"):
        return "", "", 1
    return trace_id, span_id, int(flags, 16)


_LOWER_HEX = frozenset("0123456789abcdef")


def new_span_id() -> str:
    """16 hexadecimal digits."""
    return os.urandom(8).hex()
