"""The record of a request as plain data, for the log line and the waterfall."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from contract.units import write_amount

if TYPE_CHECKING:
    from contract.exchange import Exchange
    from contract.finding import Finding


def summary(exchange: Exchange) -> dict[str, Any]:
    """The log line as JSON-compatible data, without content and keys. Times are milliseconds from the start."""
    first = exchange.first_byte
    line: dict[str, Any] = {
        "time": _rfc3339(exchange.started_ns),
        "level": "error" if exchange.status >= 500 or exchange.outcome == "interrupted" else "info",
        "event": "request",
        "request_id": exchange.id,
        "trace_id": exchange.trace_id,
        "surface": exchange.surface,
        "app": exchange.caller.app if exchange.caller else None,
        # An unknown model is arbitrary text from the caller.
        "model": exchange.model if exchange.route else None,
        "route": exchange.route or None,
        "target": exchange.target or None,
        "stream": exchange.stream,
        "status": exchange.status,
        "outcome": exchange.outcome,
        "error": exchange.error or None,
        "finish": exchange.finish or None,
        "duration_ms": _ms(exchange.ended - exchange.started),
        "first_token_ms": _ms(first - exchange.started) if first else None,
        "overhead_ms": _ms(exchange.overhead_s(exchange.ended)) if exchange.attempts else None,
        "attempts": [
            {
                "target": attempt.target,
                "reason": attempt.reason,
                "result": attempt.error or "ok",
                "status": attempt.status,
                "ms": _ms((attempt.ended or exchange.ended) - attempt.started),
            }
            for attempt in exchange.attempts
        ],
        "config": exchange.config,
    }
    if exchange.usage is not None:
        line["tokens"] = {"input": exchange.usage.input, "output": exchange.usage.output}
    if exchange.cost is not None:
        line["cost_usd"] = write_amount(exchange.cost)
    if exchange.unpriced:
        line["unpriced"] = True
    if exchange.cache is not None:
        line["cache"] = exchange.cache.kind
    dropped = [param.field for attempt in exchange.attempts for param in attempt.losses]
    if dropped:
        line["dropped_params"] = dropped
    if exchange.findings:
        line["findings"] = [written_finding(finding) for finding in exchange.findings]
    return line


def written_finding(finding: Finding) -> str:
    """A finding as text, such as `pii: EMAIL mask input x2`, with `(shadow)` for a dry run."""
    count = f" x{finding.count}" if finding.count > 1 else ""
    shadow = " (shadow)" if finding.shadow else ""
    return f"{finding.guardrail}: {finding.rule} {finding.action} {finding.stage}{count}{shadow}"


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _rfc3339(moment_ns: int) -> str:
    moment = datetime.datetime.fromtimestamp(moment_ns // 1_000_000_000, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment_ns // 1_000_000 % 1000:03d}Z"
