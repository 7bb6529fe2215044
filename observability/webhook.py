"""Sends events to a webhook. Blocking: call it in a thread."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping

from contract.bounded_http import opened
from contract.egress import DIRECT, Egress

TIMEOUT_S = 5.0


def post_event(url: str, event: Mapping[str, object], egress: Egress = DIRECT) -> None:
    """Sends `event` as JSON, within `TIMEOUT_S` seconds. Raises `OSError` if the server does not accept it."""
    headers = {"content-type": "application/json", "user-agent": "gatehouse"}
    try:
        with opened(url, TIMEOUT_S, headers=headers, body=json.dumps(event).encode(), egress=egress) as response:
            if response.status >= 300:
                raise OSError(f"the webhook returned status {response.status}")
    except http.client.HTTPException as error:
        raise OSError(f"the webhook's response is not valid HTTP ({type(error).__name__})") from None
