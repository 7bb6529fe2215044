"""Tells somebody else's server of an event. Whoever calls this is a thread that may wait."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping

from gateway.contract.bounded_http import bounded_opener

TIMEOUT_S = 5.0


def post_event(url: str, event: Mapping[str, object]) -> None:
    """Sends `event` as JSON, within `TIMEOUT_S` in all. Raises `OSError` when it is not taken."""
    request = urllib.request.Request(  # noqa: S310 -- the operator's own URL, http or https by its type
        url, data=json.dumps(event).encode(), headers={"content-type": "application/json", "user-agent": "gatehouse"}
    )
    with bounded_opener().open(request, timeout=TIMEOUT_S):
        pass
