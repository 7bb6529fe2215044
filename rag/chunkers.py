"""Chunking strategies: along the document's structure, by sentences, or by tokens, with an overlap."""

from __future__ import annotations

import bisect
import itertools
import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from contract.tokens import estimate_tokens
from rag.chunk import MAX_CHARS, SENTENCE_END, Block, Chunk, between_characters, chunk

By: TypeAlias = Literal["structure", "sentences", "tokens"]
_SENTENCE_END = re.compile(rf"{SENTENCE_END}|\n\s*")
_WORD_END = re.compile(r"\s+")


class Chunking(msgspec.Struct, frozen=True):
    """`size` is in characters for structure and sentences, in tokens for tokens; `overlap` has the same unit."""

    by: By = "structure"
    size: int = MAX_CHARS
    overlap: int = 0


def cut(text: str, blocks: Sequence[Block], how: Chunking) -> list[Chunk]:
    """Returns the chunks in order, each with its position."""
    if how.by == "structure":
        return chunk(text, blocks, how.size)
    units = _bounded(text, _units(text, _SENTENCE_END if how.by == "sentences" else _WORD_END), how)
    sizes = [_size(text[start:end], how.by) for start, end in units]
    return _windows(text, units, sizes, how, _Places(blocks))


def _units(text: str, end: re.Pattern[str]) -> list[tuple[int, int]]:
    """Splits the text after each match of `end`; the pieces cover the complete text."""
    ends = [match.end() for match in end.finditer(text)]
    return [(start, stop) for start, stop in itertools.pairwise([0, *ends, len(text)]) if start < stop]


def _bounded(text: str, units: Sequence[tuple[int, int]], how: Chunking) -> list[tuple[int, int]]:
    """Splits units that are longer than a chunk: a sentence between words, a word between characters.

    Chinese, Japanese and Thai have no spaces between words.
    """
    bounded: list[tuple[int, int]] = []
    for start, stop in units:
        size = _size(text[start:stop], how.by)
        if size <= how.size:
            bounded.append((start, stop))
            continue
        # The chunk size in characters, if the tokens are spread evenly.
        characters = max(1, (stop - start) * how.size // size)
        while start < stop:
            end = min(stop, start + characters)
            while end - start > 1 and _size(text[start:end], how.by) > how.size:
                end = start + (end - start) * 3 // 4
            end = stop if end == stop else _word_end(text, start, end)
            bounded.append((start, end))
            start = end
    return bounded


def _word_end(text: str, start: int, limit: int) -> int:
    space = max(text.rfind(" ", (start + limit) // 2, limit), text.rfind("\n", (start + limit) // 2, limit))
    return space + 1 if space > start else between_characters(text, start, limit)


def _size(unit: str, by: By) -> int:
    return len(unit) if by == "sentences" else estimate_tokens(unit)


def _windows(
    text: str, units: Sequence[tuple[int, int]], sizes: Sequence[int], how: Chunking, places: _Places
) -> list[Chunk]:
    """Joins units into chunks of up to `size`; each chunk starts `overlap` before the end of the previous one."""
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
        # Step back over the units that fit the overlap, but always advance by at least one.
        next_first, overlap = last, 0
        while next_first - 1 > first and overlap + sizes[next_first - 1] <= how.overlap:
            next_first -= 1
            overlap += sizes[next_first]
        first = next_first
    return chunks


class _Places:
    """Looks up the line and headings of a position in a text."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._starts = [block.start for block in blocks]
        self._blocks: list[tuple[int, tuple[str, ...]]] = []
        path: list[tuple[int, str]] = []
        for block in blocks:
            if block.level:
                path = [step for step in path if step[0] < block.level] + [(block.level, block.title)]
            self._blocks.append((block.line, tuple(title for _, title in path if title)))

    def of(self, place: int) -> tuple[int, tuple[str, ...]]:
        """The line and headings of the block at `place`, or of the block before it."""
        index = bisect.bisect_right(self._starts, place) - 1
        return self._blocks[max(0, index)] if self._blocks else (1, ())
