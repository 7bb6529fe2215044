"""Tells a webhook that a conversation needs a person."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from contract.egress import DIRECT, Egress
from contract.outbound import Outbound

if TYPE_CHECKING:
    from contract.exchange import Exchange


class Handover:
    """Tells a webhook that a person is asked for. What it sends holds no word of the conversation."""

    def __init__(self, url: str, outbound: Outbound | None = None, egress: Egress = DIRECT) -> None:
        """`outbound` calls the webhook, `egress` is the way to it."""
        self._outbound = outbound or Outbound("webhooks")
        self._url = url
        self._egress = egress
        self._sending: set[asyncio.Task[None]] = set()

    def tell(self, exchange: Exchange, guardrail: str, reason: str) -> None:
        """Sends without being waited for."""
        event = {
            "event": "human_requested",
            "id": exchange.id,
            "trace_id": exchange.trace_id,
            "app": exchange.caller.app if exchange.caller is not None else "",
            "model": exchange.model,
            "guardrail": guardrail,
            "reason": reason,
        }
        task = asyncio.get_running_loop().create_task(self._send(event))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, event: dict[str, str]) -> None:
        import structlog

        from observability.webhook import post_event

        try:
            await post_event(self._outbound, self._url, event, self._egress, event["app"])
        except Exception as error:
            # The caller has been told to wait for a person: whoever runs this must hear that nobody was.
            structlog.get_logger().error("a hand-over could not be told", error=type(error).__name__)
