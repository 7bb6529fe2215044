"""Searches long texts in pieces, so that each step is short, without missing spans at the boundaries.

Each piece owns a part of the text and is searched with context on both sides; it reports the spans that start in its
own part. A boundary is never inside a word (up to `_MAX_WORD` characters) or a PEM block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

from guardrails.span import Span

if TYPE_CHECKING:
    from contract.work import WorkPool

T = TypeVar("T")
SIZE = 16_000
# The maximum length of a span across a boundary, including its context.
REACH = 1_500
_MAX_WORD = 250_000
_MAX_BLOCK = 20_000
_BLANKS = " \n\t\r"


class Piece(NamedTuple):
    """A part of a text, `[first, last)`, that is searched with its context, `[start, end)`."""

    start: int
    first: int
    last: int
    end: int


def pieces(text: str, size: int = SIZE, reach: int = REACH) -> Iterator[Piece]:
    """Yields the pieces of a text in order; their parts cover the complete text."""
    first = 0
    while first < len(text):
        last = _cut(text, first, first + size) if len(text) - first > size else len(text)
        yield Piece(max(0, first - reach), first, last, min(len(text), last + reach))
        first = last


def _cut(text: str, first: int, place: int) -> int:
    """The boundary near `place`: after whitespace, and outside of a PEM block."""
    begins = text.rfind("-----BEGIN", max(first, place - _MAX_BLOCK), place)
    if begins >= 0 and text.find("-----END", begins, place) < 0:
        if begins > first:
            return begins
        ends = text.find("-----END", place, begins + _MAX_BLOCK)
        closed = text.find("-----", ends + 8, ends + 130) if ends >= 0 else -1
        if closed >= 0:
            return closed + 5
    before = max(text.rfind(blank, first, place) for blank in _BLANKS) + 1
    if before > first:
        return before
    after = [at for blank in _BLANKS if (at := text.find(blank, place, place + _MAX_WORD)) >= 0]
    return min(after) + 1 if after else min(len(text), place + _MAX_WORD)


def owned(piece: Piece, spans: Sequence[Span]) -> list[Span]:
    """The spans that start in a piece's own part, with positions in the complete text."""
    return [
        Span(span.start + piece.start, span.end + piece.start, span.kind, span.score)
        for span in spans
        if piece.first <= span.start + piece.start < piece.last
    ]


def merge_overlaps(spans: Sequence[Span]) -> list[Span]:
    """Orders spans and merges overlapping ones: two pieces may have found parts of the same text."""
    merged: list[Span] = []
    for span in sorted(spans):
        if merged and span.start < merged[-1].end:
            if span.end > merged[-1].end:
                merged[-1] = Span(merged[-1].start, span.end, merged[-1].kind, merged[-1].score)
        else:
            merged.append(span)
    return merged


def find_in_slices(find: Find, text: str, size: int = SIZE, reach: int = REACH) -> list[Span]:
    """Runs `find` on the complete text, piece by piece, synchronously."""
    return merge_overlaps(
        [span for piece in pieces(text, size, reach) for span in owned(piece, find(text[piece.start : piece.end]))]
    )


class Slicer:
    """Searches in threads, one piece per turn of the caller; a cancelled search ends after its current piece."""

    def __init__(self, pool: WorkPool, size: int = SIZE, reach: int = REACH) -> None:
        """`size` in characters of one unit of work, from one long text or several short ones."""
        self._pool = pool
        self._size = size
        self._reach = reach

    async def find(self, caller: str, find: Find, texts: Iterable[str]) -> dict[str, list[Span]]:
        """Runs `find` on each text; see `find_in_slices`. Omits texts without spans.

        Raises `TooManyRequests` if the caller's queue is full.
        """
        results: dict[str, list[Span]] = {}
        for batch in self._batches(texts):
            for text, spans in await self._pool.run(caller, _search, find, batch):
                if spans:
                    results.setdefault(text, []).extend(spans)
        return {text: merge_overlaps(spans) for text, spans in results.items()}

    async def run(self, caller: str, size: int, work: Callable[[], T]) -> T:
        """Runs `work` on `size` characters: directly if that is short, else queued as `caller`."""
        return work() if size <= self._size else await self._pool.run(caller, work)

    def _batches(self, texts: Iterable[str]) -> Iterator[list[tuple[str, Piece]]]:
        batch: list[tuple[str, Piece]] = []
        size = 0
        for text in texts:
            for piece in pieces(text, self._size, self._reach):
                batch.append((text, piece))
                # Each text has a fixed cost.
                size += piece.end - piece.start + _COST_PER_TEXT
                if size >= self._size:
                    yield batch
                    batch, size = [], 0
        if batch:
            yield batch


Find: TypeAlias = Callable[[str], Sequence[Span]]
_COST_PER_TEXT = 50


def _search(find: Find, batch: list[tuple[str, Piece]]) -> list[tuple[str, list[Span]]]:
    return [(text, owned(piece, find(text[piece.start : piece.end]))) for text, piece in batch]
