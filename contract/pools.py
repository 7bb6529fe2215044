"""The thread pools of one process, one per kind of work, so that slow work of one kind does not block another."""

from __future__ import annotations

from contract.work import WorkPool


class Pools:
    """One pool for each kind of slow work. Threads start with the first work."""

    def __init__(self) -> None:
        self.searches = WorkPool("searches", 2)
        self.tagger = WorkPool("names and addresses")
        self.formats = WorkPool("formats", 2)
        self.judging = WorkPool("judging", 2)
        # These mostly wait for external servers.
        self.tools = WorkPool("tools", 32)
        self.reranking = WorkPool("reranking", 8)
        self.webhooks = WorkPool("webhooks", 8)
        self.identity = WorkPool("identity providers", 4)
        self.quotes = WorkPool("quotes", 2)
        self.learning = WorkPool("learning")

    def close(self) -> None:
        """Stops all threads."""
        for pool in vars(self).values():
            pool.close()
