"""Sends events to a webhook."""

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
    """Sends `event` as JSON, within `TIMEOUT_S` seconds. Raises `OSError` if it is not accepted, `TooManyRequests`.

    The operator configured the host, so it may have a private address. `turn`: see `Outbound.open`.
    """
    headers = {"content-type": "application/json"}
    call = Call(url, TIMEOUT_S, headers, json.dumps(event).encode(), private=True, egress=egress)
    async with outbound.open(call, turn) as answer:
        if answer.status >= 300:
            raise OSError(f"the webhook returned status {answer.status}")
        # The event is accepted: errors in the rest of the response do not matter.
        await answer.drain()
