"""How the ledger and the keys are doing."""

from __future__ import annotations

import msgspec


class AccessState(msgspec.Struct, frozen=True):
    """How the ledger and the keys are doing: for whoever watches."""

    ledger_waiting_bytes: int = 0
    ledger_lost_rows: int = 0
    ledger_undecodable_lines: int = 0
    keys_unconfirmed_s: float = 0.0
