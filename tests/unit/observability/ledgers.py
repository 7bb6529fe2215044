"""Ledgers of each outcome."""

from __future__ import annotations

from contract.attempt import Attempt
from contract.caller import Caller
from contract.deltas import Usage
from contract.exchange import Exchange, Outcome, Step
from contract.messages import DroppedParam
from contract.trace_context import new_span_id

SECRETS = ("sk-secret", "my phone number", "the caller's own words")


def ledger(outcome: Outcome = "ok", status: int = 200, traceparent: str = "", attempts: int = 1) -> Exchange:
    """A request of 100 ms with a dispatch and its attempts, the last of which answered unless it went wrong."""
    exchange = Exchange("POST /v1/chat/completions", traceparent, "vendor=1")
    start = exchange.started
    exchange.ended = start + 0.1
    exchange.status = status
    exchange.outcome = outcome
    exchange.stream = True
    if status == 401:
        exchange.error = "invalid_api_key"
        return exchange
    exchange.caller = Caller("bot")
    if status == 404:
        exchange.model = SECRETS[2]
        exchange.error = "model_not_found"
        return exchange
    exchange.model = exchange.route = "quick"
    exchange.steps = [
        Step("admit", start, start + 0.001),
        Step("retrieve", start + 0.002, start + 0.009, {"passages": 3, "sources": ["a", "b"]}),
        Step("context", start + 0.001, start + 0.01),
        Step("dispatch", start + 0.01, start + 0.05),
    ]
    for number in range(1, attempts + 1):
        last = number == attempts
        attempt = Attempt(
            target=f"up{number}/m",
            provider=f"up{number}",
            model="m",
            dialect="openai",
            number=number,
            reason="first" if number == 1 else "fallback",
            started=start + 0.01 * number,
            ended=start + (0.1 if last else 0.01 * number + 0.005),
            status=200 if last else 503,
            error="" if last and outcome == "ok" else "overloaded",
            message=SECRETS[0],
            span_id=new_span_id(),
            chosen=last and outcome == "ok",
            losses=(DroppedParam("top_k", "x"),),
        )
        exchange.attempts.append(attempt)
    if outcome == "ok":
        exchange.target = f"up{attempts}/m"
        exchange.first_byte = start + 0.06
        exchange.usage = Usage(10, 5, cache_read=3, reasoning=2)
        exchange.finish = "stop"
        exchange.reply_id = "chatcmpl-1"
        exchange.reply_model = "m-2026"
    else:
        exchange.error = "overloaded"
        exchange.error_message = SECRETS[1]
    return exchange
