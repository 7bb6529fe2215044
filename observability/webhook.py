"""Tells somebody else's server of an event."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from contract.egress import DIRECT, Egress
from contract.outbound import Call

if TYPE_CHECKING:
    from contract.outbound import Outbound

TIMEOUT_S = 5.0


async def post_event(
    outbound: Outbound, url: str, event: Mapping[str, object], egress: Egress = DIRECT, turn: str = ""
) -> None:
    """Sends `event` as JSON, within `TIMEOUT_S` in all. Raises `OSError` when it is not taken, `TooManyRequests`.

    The operator has named the host: it may well be in one's own network. `turn`: see `Outbound.open`.
    """
    headers = {"content-type": "application/json"}
    call = Call(url, TIMEOUT_S, headers, json.dumps(event).encode(), private=True, egress=egress)
    async with outbound.open(call, turn) as answer:
        if answer.status >= 300:
            raise OSError(f"it answered {answer.status}")
        # It is taken: what comes of the rest does not matter.
        await answer.drain()
