"""Tells somebody else's server of an event. Whoever calls this is a thread that may wait."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping

TIMEOUT_S = 5.0


def post_event(url: str, event: Mapping[str, object]) -> None:
    """Sends `event` as JSON. Raises `OSError` when it is not taken."""
    request = urllib.request.Request(  # noqa: S310 -- the operator's own URL, http or https by its type
        url, data=json.dumps(event).encode(), headers={"content-type": "application/json", "user-agent": "gatehouse"}
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_S):  # noqa: S310
        pass
