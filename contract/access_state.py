"""The state of the ledger and the keys."""

from __future__ import annotations

import msgspec


class AccessState(msgspec.Struct, frozen=True):
    """The state of the ledger and the keys, for metrics."""

    ledger_waiting_bytes: int = 0
    ledger_lost_rows: int = 0
    ledger_undecodable_lines: int = 0
    keys_unconfirmed_s: float = 0.0
