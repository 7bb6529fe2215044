"""Passages into a prompt: as many as fit, in the order in which models read them best."""

from __future__ import annotations

from collections.abc import Sequence

from contract.context_block import read_blocks, write_block
from contract.passages import Passage
from contract.tokens import estimate_tokens


def choose(passages: Sequence[Passage], budget_tokens: int) -> list[Passage]:
    """Those of `passages` (best first) whose block holds at most `budget_tokens` estimated tokens, as they will stand.

    One that says what a better one says already is left out, and so is one that is too long; a shorter one of lower
    rank may take its place. The best stands first and the second best last, since models overlook most what is in the
    middle (Liu et al., "Lost in the Middle", 2023).
    """
    chosen: list[Passage] = []
    said: set[str] = set()
    for passage in passages:
        words = " ".join(passage.text.split()).casefold()
        if any(words in other for other in said):
            continue
        if estimate_tokens(write_block(_edges_first([*chosen, passage]))) <= budget_tokens:
            chosen.append(passage)
            said.add(words)
    return _edges_first(chosen)


def without_worst(text: str) -> str:
    """The text with its block of passages but for the one of the lowest rank; numbers stay as they are.

    Ranks are known by where a passage stands: the lowest is in the middle.
    """
    passages, rest = read_blocks(text)
    kept = [each for place, each in enumerate(passages) if place != len(passages) // 2]
    return (write_block(kept, [int(each.id) for each in kept]) if kept else "") + rest


def _edges_first(ranked: Sequence[Passage]) -> list[Passage]:
    """Ranks 1, 3, 5, ... from the front and 2, 4, 6, ... from the back."""
    return [*ranked[::2], *reversed(ranked[1::2])]
