"""One call to one target, as the request record has it."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

from contract.deltas import Usage
from contract.messages import DroppedParam


class TraceNames(msgspec.Struct, frozen=True):
    """OpenTelemetry's names for a call: `gen_ai.provider.name` and `gen_ai.operation.name`."""

    provider: str = ""
    operation: str = "chat"


class Attempt(msgspec.Struct):
    """One call to one target. `error` is the kind (`UpstreamError.kind`), empty on success.

    `key` is the number of the provider's key (from 1), never the key. `waited_s` is the pause before the call,
    `timeout_s` its time limit.
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
    """The requested service tier, or the served one once known, as `contract.service_tier` names it."""
    estimated: bool = False
    """Whether `usage` is the gateway's own estimate, because the provider reported none before the response ended."""
    cost: Decimal = Decimal(0)
    unpriced: bool = False
    """Whether a price is unknown, so that `cost` is too low."""
    sent: bool = False
    """Whether the provider has received the complete request, and may bill for it whatever the outcome."""
    uncounted: bool = False
    """Whether it has generated text that `usage` does not count yet."""
    losses: tuple[DroppedParam, ...] = ()
    traced_as: TraceNames | None = None
    """None if the call ended before its dialect was used."""
