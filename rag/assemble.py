"""Passages into a prompt: as many as fit, in the order in which models read them best."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.contract.context_block import write_block
from gateway.contract.passages import Passage
from gateway.contract.tokens import estimate_tokens


def assemble(passages: Sequence[Passage], budget_tokens: int) -> str:
    """The passages (best first) as a block of at most `budget_tokens` estimated tokens; empty when none fits.

    One that is too long is left out, and a shorter one of lower rank may take its place. The best stands first and the
    second best last, since models overlook most what is in the middle (Liu et al., "Lost in the Middle", 2023).
    """
    chosen: list[Passage] = []
    for passage in passages:
        candidate = [*chosen, passage]
        if estimate_tokens(write_block(_edges_first(candidate))) <= budget_tokens:
            chosen = candidate
    return write_block(_edges_first(chosen)) if chosen else ""


def _edges_first(ranked: Sequence[Passage]) -> list[Passage]:
    """Ranks 1, 3, 5, ... from the front and 2, 4, 6, ... from the back."""
    return [*ranked[::2], *reversed(ranked[1::2])]
