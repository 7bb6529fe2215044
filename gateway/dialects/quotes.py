"""Finds the position of cited text in a response, because filters may have moved it."""

from __future__ import annotations

from contract.deltas import Citation

# The number of citations per response whose text is searched; later ones keep their original positions.
MAX_QUOTES = 1000


def count_before(quote: str, text: str, start: int) -> int:
    """The number of occurrences of `quote` in `text` that start before `start`."""
    count, at = 0, text.find(quote) if quote else -1
    while 0 <= at < start:
        count += 1
        at = text.find(quote, at + 1)
    return count


def find_quote(citation: Citation, text: str, block: int) -> tuple[int, int]:
    """(start, end) of a citation's quote in `text`, whose last block starts at `block`."""
    quote = citation.quote
    if not quote:
        return (block, len(text)) if citation.start < 0 else (min(citation.start, len(text)),) * 2
    at = -1
    for _ in range(citation.nth + 1):
        match = text.find(quote, at + 1)
        if match < 0:
            break
        at = match
    if at >= 0:
        return at, at + len(quote)
    # A filter has changed the quoted text.
    start = min(max(0, citation.start), len(text))
    return start, min(len(text), start + len(quote))
