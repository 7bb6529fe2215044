"""What becomes of the journal of a process that died, beside its rows."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import structlog
from contract.rules import NANO

from access.ledger.entry import PICO, Entry, Reservation
from access.limits.counters import SPEND, Demand, Settlement, Unreachable

Settle: TypeAlias = Callable[[str, Sequence[Settlement]], Awaitable[object]]


async def settle_ended(settle: Settle | None, ended: Sequence[tuple[Reservation, Entry]]) -> None:
    """Tells counters that outlive a process what it may not have told them; who has settled changes nothing."""
    for reservation, row in ended:
        if settle is None or row.cost is None or not reservation.cost:
            continue
        spent = -(-row.cost // (PICO // NANO))
        told = [
            Settlement(Demand(key, SPEND, 0, reservation.cost, window_us, ends_us), spent)
            for key, window_us, ends_us in reservation.budgets
        ]
        if told:
            with contextlib.suppress(Unreachable):
                await settle(row.id, told)


def put_away(path: Path, unread: int) -> None:
    """All that can be read of a journal is in the database."""
    if not unread:
        path.unlink(missing_ok=True)
        return
    structlog.get_logger().error("a journal has lines that are no entries", file=str(path), lines=unread)
    path.rename(path.with_suffix(".unread"))
