"""Tells somebody else's server of an event. Whoever calls this is a thread that may wait."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping

from contract.bounded_http import opened
from contract.egress import DIRECT, Egress

TIMEOUT_S = 5.0


def post_event(url: str, event: Mapping[str, object], egress: Egress = DIRECT) -> None:
    """Sends `event` as JSON, within `TIMEOUT_S` in all. Raises `OSError` when it is not taken."""
    headers = {"content-type": "application/json", "user-agent": "gatehouse"}
    try:
        with opened(url, TIMEOUT_S, headers=headers, body=json.dumps(event).encode(), egress=egress) as response:
            if response.status >= 300:
                raise OSError(f"it answered {response.status}")
    except http.client.HTTPException as error:
        raise OSError(f"its answer is not HTTP ({type(error).__name__})") from None
