"""The threads and outbound calls of one process, by kind of work: slow work of one kind does not block another."""

from __future__ import annotations

from contract.outbound import Outbound
from contract.work import WorkPool

WEBHOOK_GRACE_S = 2.0


class Pools:
    """One pool for each kind of slow work. Threads start with the first work."""

    def __init__(self) -> None:
        self.searches = WorkPool("searches", 2)
        self.tagger = WorkPool("names and addresses")
        self.formats = WorkPool("formats", 2)
        self.judging = WorkPool("judging", 2)
        # For tools that can only block a thread.
        self.tools = WorkPool("tools", 32)
        self.quotes = WorkPool("quotes", 2)
        self.learning = WorkPool("learning")
        self.tool_calls = Outbound("tools", 32)
        self.rerank_calls = Outbound("reranking", 8)
        self.webhook_calls = Outbound("webhooks", 8)
        self.identity_calls = Outbound("identity providers", 4)

    async def close(self) -> None:
        """Stops all threads and closes all connections."""
        for pool in vars(self).values():
            if pool is self.webhook_calls:
                # No request waits for webhooks, so they get some time to finish.
                await pool.close(WEBHOOK_GRACE_S)
            elif isinstance(pool, Outbound):
                await pool.close()
            else:
                pool.close()
