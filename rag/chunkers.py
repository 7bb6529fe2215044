"""How a document is cut: along its structure, at sentences, or every so many tokens with an overlap."""

from __future__ import annotations

import bisect
import itertools
import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from contract.tokens import estimate_tokens
from rag.chunk import MAX_CHARS, SENTENCE_END, Block, Chunk, between_letters, chunk

By: TypeAlias = Literal["structure", "sentences", "tokens"]
_SENTENCE_END = re.compile(rf"{SENTENCE_END}|\n\s*")
_WORD_END = re.compile(r"\s+")


class Chunking(msgspec.Struct, frozen=True):
    """`size` in characters for structure and sentences, in tokens for tokens; `overlap` in the same."""

    by: By = "structure"
    size: int = MAX_CHARS
    overlap: int = 0


def cut(text: str, blocks: Sequence[Block], how: Chunking) -> list[Chunk]:
    """The chunks in order, each with its place."""
    if how.by == "structure":
        return chunk(text, blocks, how.size)
    units = _bounded(text, _units(text, _SENTENCE_END if how.by == "sentences" else _WORD_END), how)
    sizes = [_size(text[start:end], how.by) for start, end in units]
    return _windows(text, units, sizes, how, _Places(blocks))


def _units(text: str, end: re.Pattern[str]) -> list[tuple[int, int]]:
    """The text's pieces, each up to where `end` ends; together they are the whole."""
    ends = [match.end() for match in end.finditer(text)]
    return [(start, stop) for start, stop in itertools.pairwise([0, *ends, len(text)]) if start < stop]


def _bounded(text: str, units: Sequence[tuple[int, int]], how: Chunking) -> list[tuple[int, int]]:
    """Those that are longer than a chunk in pieces: a sentence at words, a word anywhere between letters.

    Chinese, Japanese and Thai have no spaces that end a word.
    """
    found: list[tuple[int, int]] = []
    for start, stop in units:
        size = _size(text[start:stop], how.by)
        if size <= how.size:
            found.append((start, stop))
            continue
        # A bound of letters that holds for tokens too, as far as they are spread evenly.
        letters = max(1, (stop - start) * how.size // size)
        while start < stop:
            end = min(stop, start + letters)
            while end - start > 1 and _size(text[start:end], how.by) > how.size:
                end = start + (end - start) * 3 // 4
            end = stop if end == stop else _word_end(text, start, end)
            found.append((start, end))
            start = end
    return found


def _word_end(text: str, start: int, limit: int) -> int:
    space = max(text.rfind(" ", (start + limit) // 2, limit), text.rfind("\n", (start + limit) // 2, limit))
    return space + 1 if space > start else between_letters(text, start, limit)


def _size(unit: str, by: By) -> int:
    return len(unit) if by == "sentences" else estimate_tokens(unit)


def _windows(
    text: str, units: Sequence[tuple[int, int]], sizes: Sequence[int], how: Chunking, places: _Places
) -> list[Chunk]:
    """Runs of units of up to `size`; each begins `overlap` before the end of the one before."""
    chunks: list[Chunk] = []
    first = 0
    while first < len(units):
        last, size = first + 1, sizes[first]
        while last < len(units) and size + sizes[last] <= how.size:
            size += sizes[last]
            last += 1
        start, end = units[first][0], units[last - 1][1]
        if text[start:end].strip():
            line, headings = places.of(start)
            chunks.append(Chunk(text[start:end], start, line, headings))
        if last >= len(units):
            break
        # Back over as many units as the overlap holds, but always forward by one.
        again, kept = last, 0
        while again - 1 > first and kept + sizes[again - 1] <= how.overlap:
            again -= 1
            kept += sizes[again]
        first = again
    return chunks


class _Places:
    """Line and headings of any place of a text."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._starts = [block.start for block in blocks]
        self._found: list[tuple[int, tuple[str, ...]]] = []
        path: list[tuple[int, str]] = []
        for block in blocks:
            if block.level:
                path = [step for step in path if step[0] < block.level] + [(block.level, block.title)]
            self._found.append((block.line, tuple(title for _, title in path if title)))

    def of(self, place: int) -> tuple[int, tuple[str, ...]]:
        """Of the block at `place`, or the one before it."""
        index = bisect.bisect_right(self._starts, place) - 1
        return self._found[max(0, index)] if self._found else (1, ())
