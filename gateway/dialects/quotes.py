"""Where cited words stand in an answer, after filters may have moved them."""

from __future__ import annotations

from contract.deltas import Citation

# So many sources of an answer have their words looked for; those after them stay at the places that they came with.
MOST_QUOTES = 1000


def nth_of(quote: str, text: str, start: int) -> int:
    """How often `quote` begins in `text` before `start`."""
    count, at = 0, text.find(quote) if quote else -1
    while 0 <= at < start:
        count += 1
        at = text.find(quote, at + 1)
    return count


def place_of(citation: Citation, said: str, block: int) -> tuple[int, int]:
    """(first letter, letter behind the last) of a citation's words in `said`, whose last block begins at `block`."""
    quote = citation.quote
    if not quote:
        return (block, len(said)) if citation.start < 0 else (min(citation.start, len(said)),) * 2
    at = -1
    for _ in range(citation.nth + 1):
        found = said.find(quote, at + 1)
        if found < 0:
            break
        at = found
    if at >= 0:
        return at, at + len(quote)
    # A filter has changed the words themselves.
    start = min(max(0, citation.start), len(said))
    return start, min(len(said), start + len(quote))
