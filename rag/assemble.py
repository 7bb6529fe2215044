"""Selects the passages for a prompt: as many as fit, in the order that models read best."""

from __future__ import annotations

from collections.abc import Sequence

from contract.context_block import read_blocks, write_block
from contract.passages import Passage
from contract.tokens import estimate_tokens


def choose(passages: Sequence[Passage], budget_tokens: int) -> list[Passage]:
    """Returns those of `passages` (best first) whose block fits `budget_tokens` estimated tokens, in prompt order.

    A passage whose text a better passage already contains is left out. A passage that does not fit is skipped, and a
    shorter one of lower rank may replace it. The best passage comes first and the second best last, because models
    overlook the middle of a prompt (Liu et al., "Lost in the Middle", 2023).
    """
    chosen: list[Passage] = []
    chosen_texts: set[str] = set()
    for passage in passages:
        text = " ".join(passage.text.split()).casefold()
        if any(text in chosen_text for chosen_text in chosen_texts):
            continue
        if estimate_tokens(write_block(_edges_first([*chosen, passage]))) <= budget_tokens:
            chosen.append(passage)
            chosen_texts.add(text)
    return _edges_first(chosen)


def drop_worst(text: str) -> str:
    """Removes the passage of the lowest rank from the text's block of passages; the others keep their numbers.

    The order of the passages implies their ranks: the lowest is in the middle.
    """
    passages, rest = read_blocks(text)
    remaining = [passage for place, passage in enumerate(passages) if place != len(passages) // 2]
    return (write_block(remaining, [int(passage.id) for passage in remaining]) if remaining else "") + rest


def _edges_first(ranked: Sequence[Passage]) -> list[Passage]:
    """Puts ranks 1, 3, 5, ... at the front and ranks ..., 6, 4, 2 at the back."""
    return [*ranked[::2], *reversed(ranked[1::2])]
