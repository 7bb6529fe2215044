"""Splits a document into chunks along its headings and paragraphs. Each chunk records its position.

A document is first parsed into blocks: headings and paragraphs with their offsets. Paragraphs under one heading are
packed together up to a maximum length; a longer paragraph is split between sentences, or words, or anywhere.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

import msgspec

MAX_CHARS = 800

_HEADING = re.compile(r"(#{1,6})(?=[ \t]|$)")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
# Punctuation that ends a sentence without a space after it: Chinese, Indic, Arabic, Khmer, Burmese, Tibetan, Amharic.
ENDS = "\u3002\uff01\uff1f\uff61\u0964\u0965\u061f\u06d4\u17d4\u17d5\u104b\u0f0d\u1362"
_CLOSING = "\"')\\]\u201d\u2019\u00bb\u300d\u300f\uff09"
SENTENCE_END = rf"[.!?\u2026]+[{_CLOSING}]*\s+|[{ENDS}]+[{_CLOSING}]*\s*"
_SENTENCE_END = re.compile(rf"{SENTENCE_END}|\n")
# Scripts without spaces between words, from Thai to Khmer and from Kana to Hangul.
_UNSPACED = re.compile("[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7af\U00020000-\U0003ffff]")
_JOINS_NEXT = frozenset("\u200d\u200c\u0e40\u0e41\u0e42\u0e43\u0e44\u0ec0\u0ec1\u0ec2\u0ec3\u0ec4")
_JOINS_LAST = frozenset("\u200d\u200c\u0e33\u0eb3")
_MAX_CHARACTER = 16


class Block(msgspec.Struct, frozen=True):
    """A heading (`level` 1 to 6, `title`) or a paragraph (`level` 0): `text[start:end]`, starting at line `line`."""

    start: int
    end: int
    line: int
    level: int = 0
    title: str = ""


class Chunk(msgspec.Struct, frozen=True):
    """`text` starts at offset `start` of the document; `headings` is its path of headings; `line` counts from 1."""

    text: str
    start: int
    line: int
    headings: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """The position to display: `Warranty > Duration, line 12`."""
        line = f"line {self.line}"
        return f"{' > '.join(self.headings)}, {line}" if self.headings else line


def plain_blocks(text: str) -> list[Block]:
    """Returns the paragraphs: runs of lines that are not blank."""
    return _blocks(text, markdown=False)


def markdown_blocks(text: str) -> list[Block]:
    """Returns paragraphs and `#` headings; a fenced code block is one paragraph, whatever it contains."""
    return _blocks(text, markdown=True)


def chunk(text: str, blocks: Sequence[Block], max_chars: int = MAX_CHARS) -> list[Chunk]:
    """Returns the chunks in order. Every word is in exactly one chunk, except headings, which are in `headings`.

    A heading with nothing below it becomes a chunk, so that searches find it.
    """
    chunks: list[Chunk] = []
    path: list[tuple[int, str]] = []
    pending: list[Block] = []
    for index, block in enumerate(blocks):
        if block.level:
            chunks.extend(_pack(text, pending, path, max_chars))
            pending = []
            path = [step for step in path if step[0] < block.level] + [(block.level, block.title)]
            after = blocks[index + 1] if index + 1 < len(blocks) else None
            if after is None or 0 < after.level <= block.level:
                chunks.extend(_pack(text, [block], path, max_chars))
        else:
            pending.append(block)
    chunks.extend(_pack(text, pending, path, max_chars))
    return chunks


def _blocks(text: str, *, markdown: bool) -> list[Block]:
    blocks: list[Block] = []
    offset, opened, opened_line, end, fence = 0, -1, 0, 0, ""

    def close() -> None:
        nonlocal opened
        if opened >= 0:
            blocks.append(Block(opened, end, opened_line))
            opened = -1

    for number, line in enumerate(text.split("\n"), 1):
        heading = _HEADING.match(line) if markdown and not fence and line.startswith("#") else None
        if heading:
            close()
            title = _title(line[heading.end() :])
            blocks.append(Block(offset, offset + len(line), number, len(heading[1]), title))
        elif line.strip() or fence:
            if opened < 0:
                opened, opened_line = offset, number
            end = offset + len(line)
            fence = _fence_after(line, fence) if markdown else ""
        else:
            close()
        offset += len(line) + 1
    close()
    return blocks


def _title(rest: str) -> str:
    """A heading's text without its closing `#` characters."""
    title = rest.strip()
    unclosed = title.rstrip("#")
    return unclosed.rstrip() if not unclosed or unclosed[-1].isspace() else title


def _fence_after(line: str, fence: str) -> str:
    """The code fence that is open after `line`, given the one open before it."""
    match = _FENCE.match(line)
    if match is None:
        return fence
    if not fence:
        return match[1]
    return "" if match[1].startswith(fence) and not line[match.end() :].strip() else fence


def _pack(text: str, blocks: Sequence[Block], path: Sequence[tuple[int, str]], max_chars: int) -> Iterator[Chunk]:
    """Packs blocks into chunks; a block that is too long is split."""
    headings = tuple(title for _, title in path if title)
    open_: Block | None = None
    for block in blocks:
        if open_ and block.end - open_.start <= max_chars:
            open_ = Block(open_.start, block.end, open_.line)
            continue
        if open_:
            yield from _cut(text, open_, headings, max_chars)
        open_ = block
    if open_:
        yield from _cut(text, open_, headings, max_chars)


def _cut(text: str, block: Block, headings: tuple[str, ...], max_chars: int) -> Iterator[Chunk]:
    start, line = block.start, block.line
    while start < block.end:
        end = block.end if block.end - start <= max_chars else _cut_at(text, start, start + max_chars)
        piece = text[start:end]
        if piece.strip():
            yield Chunk(piece, start, line, headings)
        line += piece.count("\n")
        start = end


def _cut_at(text: str, start: int, limit: int) -> int:
    """Where to split: after the last sentence in the second half, else the last word, else at `limit`."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text, (start + limit) // 2, limit)]
    if ends:
        return ends[-1]
    # In scripts without spaces between words, a space far before the limit is no good place to split.
    unspaced = limit < len(text) and _UNSPACED.match(text, limit) is not None
    first = (start + limit) // 2 if unspaced else start + 1
    space = max(text.rfind(sign, first, limit) for sign in (" ", "\n", "\t", "\u200b", "\u3000"))
    return space + 1 if space > start else between_characters(text, start, limit)


def between_characters(text: str, start: int, limit: int) -> int:
    """A position at or shortly before `limit` that does not separate a letter from its combining marks."""
    for place in range(limit, max(start, limit - _MAX_CHARACTER), -1):
        if place >= len(text) or not (
            text[place] in _JOINS_LAST or text[place - 1] in _JOINS_NEXT or unicodedata.category(text[place])[0] == "M"
        ):
            return place
    return limit
