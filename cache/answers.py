"""One process-wide answer cache: its tiers, and its semantic side if it has one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cache.semantic.gate import SemanticGate
    from cache.tier import Tiers
    from contract.tiers import Purge


class AnswerCache:
    """An answer cache; it survives a reload that does not change its config."""

    def __init__(self, tiers: Tiers, semantic: SemanticGate | None = None) -> None:
        self.tiers = tiers
        self.semantic = semantic

    async def purge(self, what: Purge) -> int:
        """See `Tiers.purge`."""
        if self.semantic is not None:
            self.semantic.purge(what)
        return await self.tiers.purge(what)

    def status(self) -> str:
        """A status line."""
        tiers = self.tiers.status()
        return f"{tiers}; semantic: {self.semantic.status()}" if self.semantic is not None else tiers

    async def close(self) -> None:
        """Closes the stores."""
        if self.semantic is not None:
            await self.semantic.close()
        await self.tiers.close()
