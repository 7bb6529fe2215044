"""Notifies a webhook that a conversation needs a person."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from contract.egress import DIRECT, Egress
from contract.outbound import Outbound

if TYPE_CHECKING:
    from contract.exchange import Exchange


class Handover:
    """Notifies a webhook that a person must take over. The event contains no text of the conversation."""

    def __init__(self, url: str, outbound: Outbound | None = None, egress: Egress = DIRECT) -> None:
        """`outbound` calls the webhook; `egress` has the proxies for it."""
        self._outbound = outbound or Outbound("webhooks")
        self._url = url
        self._egress = egress
        self._sending: set[asyncio.Task[None]] = set()

    def notify(self, exchange: Exchange, guardrail: str, reason: str) -> None:
        """Sends the event in the background."""
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
            # The caller now waits for a person, so the operator must learn that no person was notified.
            structlog.get_logger().error("the webhook for a handover failed", error=type(error).__name__)
