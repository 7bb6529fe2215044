"""The headers that every answer carries."""

from __future__ import annotations

import math
import re
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal

    from contract.errors import GatehouseError
    from contract.exchange import CacheNote, Exchange
    from contract.messages import Loss
    from contract.rules import Allowance
    from gateway.surfaces.http import Headers

LONGEST_RETRY_AFTER_S = 120
# Names of fields are the caller's own: as many as a header can hold.
MOST_LOSSES = 20
LONGEST_LOSS = 80
_IN_NAMES = re.compile(r"[^a-zA-Z0-9_.\[\]-]")


def reply_headers(exchange: Exchange, content_type: str) -> Headers:
    """Ids, what answered and how; for an answer whole or streamed, a success or an error."""
    request_id = exchange.id.encode("latin-1")
    headers = [
        (b"content-type", content_type.encode("latin-1")),
        (b"x-request-id", request_id),
        (b"request-id", request_id),
        (b"x-gatehouse-attempts", b"%d" % len(exchange.attempts)),
        (b"x-gatehouse-cache", b"off" if exchange.cache is None else exchange.cache.kind.encode("latin-1")),
        (b"x-gatehouse-overhead-ms", b"%.2f" % (exchange.overhead_s(time.perf_counter()) * 1000)),
    ]
    if exchange.target:
        headers.append((b"x-gatehouse-model", exchange.target.encode("utf-8")))
    if exchange.route:
        headers.append((b"x-gatehouse-route", exchange.route.encode("utf-8")))
    if exchange.cache is not None:
        headers += _cache_headers(exchange.cache)
    for attempt in exchange.attempts:
        if attempt.losses and attempt.chosen:
            headers.append((b"x-gatehouse-losses", _written_losses(attempt.losses)))
    for kind, allowance in exchange.allowances.items():
        headers += _limit_headers(kind.encode("latin-1"), allowance)
    if exchange.cost is not None:
        headers.append((b"x-gatehouse-cost-usd", written_dollars(exchange.cost).encode("latin-1")))
    return headers


def _written_losses(losses: tuple[Loss, ...]) -> bytes:
    names = [_IN_NAMES.sub("?", loss.field[:LONGEST_LOSS]) for loss in losses[:MOST_LOSSES]]
    more = ["..."] if len(losses) > MOST_LOSSES else []
    return ", ".join(dict.fromkeys(names + more)).encode("latin-1")


def _limit_headers(kind: bytes, allowance: Allowance) -> Headers:
    return [
        (b"x-ratelimit-limit-" + kind, b"%d" % allowance.limit),
        (b"x-ratelimit-remaining-" + kind, b"%d" % max(0, allowance.left)),
        (b"x-ratelimit-reset-" + kind, b"%ds" % math.ceil(allowance.reset_s)),
    ]


def written_dollars(cost: Decimal) -> str:
    """Plain digits, without an exponent and without needless zeros."""
    return f"{cost.normalize():f}"


def _cache_headers(note: CacheNote) -> Headers:
    headers: Headers = []
    if note.entry:
        headers.append((b"x-gatehouse-cache-entry", note.entry.encode("latin-1")))
        headers.append((b"age", b"%d" % note.age_s))
    if note.similarity:
        headers.append((b"x-gatehouse-cache-similarity", b"%.4f" % note.similarity))
    if note.why:
        headers.append((b"x-gatehouse-cache-why", note.why.encode("latin-1")))
    return headers


def stream_headers(exchange: Exchange, content_type: str) -> Headers:
    """The same for a stream, which no proxy may hold back."""
    headers = reply_headers(exchange, content_type)
    headers += ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))
    return headers


def error_headers(exchange: Exchange, error: GatehouseError, status: int) -> Headers:
    """The same for an error, with what the SDKs need to know about trying again."""
    headers = reply_headers(exchange, "application/json")
    wait = error.retry_after_s
    if wait is None and status == 503:
        wait = 1.0
    if wait is not None and status in (429, 503):
        headers.append((b"retry-after", b"%d" % min(LONGEST_RETRY_AFTER_S, max(1, math.ceil(wait)))))
    headers += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in error.told]
    if error.should_retry is not None:
        headers.append((b"x-should-retry", b"true" if error.should_retry else b"false"))
    return headers
