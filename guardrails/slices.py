"""Long texts cut into pieces, so that no search takes long at a time, and joined so that nothing is lost at a cut.

Each piece owns a part of the text and is searched with some text before and after it: what begins in its own part is
found by it. A cut never lies within a word or a block of a key, up to `_LONGEST_WORD` characters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

from guardrails.span import Span

if TYPE_CHECKING:
    from contract.work import WorkPool

T = TypeVar("T")
SIZE = 16_000
# What is found across a cut is at most so long, the words before it that it needs included.
REACH = 1_500
_LONGEST_WORD = 250_000
_LONGEST_BLOCK = 20_000
_BLANKS = " \n\t\r"


class Piece(NamedTuple):
    """A part of a text, `[first, last)`, that is read as `[start, end)`."""

    start: int
    first: int
    last: int
    end: int


def pieces(text: str, size: int = SIZE, reach: int = REACH) -> Iterator[Piece]:
    """The parts of a text in order; together they are the whole of it."""
    first = 0
    while first < len(text):
        last = _cut(text, first, first + size) if len(text) - first > size else len(text)
        yield Piece(max(0, first - reach), first, last, min(len(text), last + reach))
        first = last


def _cut(text: str, first: int, place: int) -> int:
    """Where a part that should end at `place` ends: behind a blank, and before or behind a block."""
    begins = text.rfind("-----BEGIN", max(first, place - _LONGEST_BLOCK), place)
    if begins >= 0 and text.find("-----END", begins, place) < 0:
        if begins > first:
            return begins
        ends = text.find("-----END", place, begins + _LONGEST_BLOCK)
        closed = text.find("-----", ends + 8, ends + 130) if ends >= 0 else -1
        if closed >= 0:
            return closed + 5
    before = max(text.rfind(blank, first, place) for blank in _BLANKS) + 1
    if before > first:
        return before
    after = [found for blank in _BLANKS if (found := text.find(blank, place, place + _LONGEST_WORD)) >= 0]
    return min(after) + 1 if after else min(len(text), place + _LONGEST_WORD)


def owned(piece: Piece, found: Sequence[Span]) -> list[Span]:
    """What begins in a piece's own part, by its place in the whole text."""
    return [
        Span(span.start + piece.start, span.end + piece.start, span.kind, span.score)
        for span in found
        if piece.first <= span.start + piece.start < piece.last
    ]


def apart(spans: Sequence[Span]) -> list[Span]:
    """By place, each where the one before it ends at the earliest: two pieces may have seen the ends of one thing."""
    kept: list[Span] = []
    for span in sorted(spans):
        if kept and span.start < kept[-1].end:
            if span.end > kept[-1].end:
                kept[-1] = Span(kept[-1].start, span.end, kept[-1].kind, kept[-1].score)
        else:
            kept.append(span)
    return kept


def find_in_slices(find: Find, text: str, size: int = SIZE, reach: int = REACH) -> list[Span]:
    """What `find` finds in the whole text, piece by piece, at once."""
    return apart(
        [span for piece in pieces(text, size, reach) for span in owned(piece, find(text[piece.start : piece.end]))]
    )


class Slicer:
    """Searches in threads, each piece of a text in its caller's turn; a search that is given up ends with its piece."""

    def __init__(self, pool: WorkPool, size: int = SIZE, reach: int = REACH) -> None:
        """`size`: so many characters are one piece of work, of one long text or of several short ones."""
        self._pool = pool
        self._size = size
        self._reach = reach

    async def find(self, caller: str, find: Find, texts: Iterable[str]) -> dict[str, list[Span]]:
        """What `find` finds in each text; see `find_in_slices`. Texts without anything are left out.

        Raises `TooManyRequests` where the caller has too much waiting already.
        """
        found: dict[str, list[Span]] = {}
        for batch in self._batches(texts):
            for text, spans in await self._pool.run(caller, _search, find, batch):
                if spans:
                    found.setdefault(text, []).extend(spans)
        return {text: apart(spans) for text, spans in found.items()}

    async def run(self, caller: str, size: int, work: Callable[[], T]) -> T:
        """`work` over `size` characters: at once where that is short, else in the caller's turn."""
        return work() if size <= self._size else await self._pool.run(caller, work)

    def _batches(self, texts: Iterable[str]) -> Iterator[list[tuple[str, Piece]]]:
        batch: list[tuple[str, Piece]] = []
        held = 0
        for text in texts:
            for piece in pieces(text, self._size, self._reach):
                batch.append((text, piece))
                # A short text costs something too.
                held += piece.end - piece.start + _COST_OF_ONE
                if held >= self._size:
                    yield batch
                    batch, held = [], 0
        if batch:
            yield batch


Find: TypeAlias = Callable[[str], Sequence[Span]]
_COST_OF_ONE = 50


def _search(find: Find, batch: list[tuple[str, Piece]]) -> list[tuple[str, list[Span]]]:
    return [(text, owned(piece, find(text[piece.start : piece.end]))) for text, piece in batch]
