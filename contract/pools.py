"""The threads and the outgoing calls of one process by kind of work: slow work of one kind keeps no other waiting."""

from __future__ import annotations

from contract.outbound import Outbound
from contract.work import WorkPool

WEBHOOK_GRACE_S = 2.0


class Pools:
    """One pool for each kind of work that may take long. Threads start with the first work."""

    def __init__(self) -> None:
        self.searches = WorkPool("searches", 2)
        self.tagger = WorkPool("names and addresses")
        self.formats = WorkPool("formats", 2)
        self.judging = WorkPool("judging", 2)
        # Of tools that can only wait in a thread.
        self.tools = WorkPool("tools", 32)
        self.quotes = WorkPool("quotes", 2)
        self.learning = WorkPool("learning")
        self.tool_calls = Outbound("tools", 32)
        self.rerank_calls = Outbound("reranking", 8)
        self.webhook_calls = Outbound("webhooks", 8)
        self.identity_calls = Outbound("identity providers", 4)

    async def close(self) -> None:
        """Lets go of all threads and connections."""
        for pool in vars(self).values():
            if pool is self.webhook_calls:
                # Nobody waits for them but those whom they tell.
                await pool.close(WEBHOOK_GRACE_S)
            elif isinstance(pool, Outbound):
                await pool.close()
            else:
                pool.close()
