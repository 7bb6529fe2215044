"""One call to one target, as the request's record has it."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

from contract.deltas import Usage
from contract.messages import DroppedParam


class TraceNames(msgspec.Struct, frozen=True):
    """What a call is in a trace, in OpenTelemetry's words: `gen_ai.provider.name` and `gen_ai.operation.name`."""

    provider: str = ""
    operation: str = "chat"


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
    losses: tuple[DroppedParam, ...] = ()
    traced_as: TraceNames | None = None
    """None where the call did not come as far as its dialect."""
