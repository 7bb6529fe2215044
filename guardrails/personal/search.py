"""Finds personal data: forms, lists and patterns of the company's own, and the tagger for what has no form."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from guardrails.canonical import disguises
from guardrails.keywords import KeywordFinder
from guardrails.personal.patterns import PATTERNS, Pattern, Span, find, resolve

_INLINE_CHARACTERS = 8000
_REMEMBERED = 4096


class Finder(Protocol):
    """Finds what has a form."""

    def find(self, text: str) -> list[Span]:
        """Blocking."""
        ...


class Tags(Protocol):
    """What finds names and addresses in free text."""

    def tag(self, text: str) -> list[Span]:
        """Blocking."""
        ...


class TaggerThread:
    """A tagger with a thread of its own: the model uses one core at a time, and texts of many requests queue fairly.

    It outlives a reload, for the model takes memory and a moment to load.
    """

    def __init__(self, tagger: Tags) -> None:
        self.tagger = tagger
        self.pool = ThreadPoolExecutor(1, "tagger")

    def close(self) -> None:
        """Lets go of the thread."""
        self.pool.shutdown(wait=False, cancel_futures=True)


class PersonalSearch:
    """Texts in, spans out; what was searched once is remembered by the text's hash, never the text itself."""

    def __init__(
        self,
        kinds: frozenset[str],
        patterns: Mapping[str, str] | None = None,
        lists: Mapping[str, Sequence[str]] | None = None,
        thread: TaggerThread | None = None,
        more: Finder | None = None,
    ) -> None:
        """`kinds` to look for; `patterns` and `lists` of the company's own, by the kind that they stand for.

        `more` finds what else has a form.
        """
        self._more = more
        own = tuple(Pattern(kind, re.compile(form)) for kind, form in (patterns or {}).items())
        self._patterns = tuple(pattern for pattern in PATTERNS if pattern.kind in kinds) + own
        self._lists = KeywordFinder(lists, exact=True) if lists else None
        self.kinds = kinds
        self._tagger = thread.tagger if thread is not None else None
        self._pool = thread.pool if thread is not None else None
        self._seen: OrderedDict[bytes, tuple[Span, ...]] = OrderedDict()

    async def find(self, texts: Sequence[str]) -> dict[str, tuple[Span, ...]]:
        """The spans of each text, by place and without overlaps; texts without any are left out."""
        found: dict[str, tuple[Span, ...]] = {}
        fresh: list[tuple[str, bytes]] = []
        for text in texts:
            key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
            known = self._seen.get(key)
            if known is None:
                fresh.append((text, key))
            else:
                self._seen.move_to_end(key)
                found[text] = known
        if fresh:
            size = sum(len(text) for text, _ in fresh)
            asked = [text for text, _ in fresh]
            if self._pool is not None:
                spans = await asyncio.get_running_loop().run_in_executor(self._pool, self._search, asked)
            elif size > _INLINE_CHARACTERS:
                spans = await asyncio.to_thread(self._search, asked)
            else:
                spans = self._search(asked)
            for (text, key), each in zip(fresh, spans, strict=True):
                found[text] = self._seen[key] = each
            while len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
        return {text: spans for text, spans in found.items() if spans}

    def _search(self, texts: list[str]) -> list[tuple[Span, ...]]:
        return [tuple(self.search(text)) for text in texts]

    def _formal(self, text: str) -> list[Span]:
        spans = find(text, self._patterns)
        for finder in (self._lists, self._more):
            if finder is not None:
                spans += finder.find(text)
        return spans

    def search(self, text: str) -> list[Span]:
        """One text, at once; without a tagger fit for the event loop."""
        spans = self._formal(text)
        for view in disguises(text):
            spans += [
                Span(*view.origin(each.start, each.end), each.kind, each.score) for each in self._formal(view.text)
            ]
        formal = resolve(spans)
        if self._tagger is None:
            return formal
        # What has a form and a checksum is surer than what a model takes a text for.
        tagged = [
            rest for span in self._tagger.tag(text) if span.kind in self.kinds for rest in _outside(span, formal, text)
        ]
        return sorted(formal + tagged)


def _outside(span: Span, formal: Sequence[Span], text: str) -> list[Span]:
    """What of a span lies outside others, without the signs at its ends."""
    pieces = [(span.start, span.end)]
    for other in formal:
        pieces = (
            [
                piece
                for start, end in pieces
                for piece in ((start, min(end, other.start)), (max(start, other.end), end))
                if piece[0] < piece[1]
            ]
            if other.start < span.end and other.end > span.start
            else pieces
        )
    kept = []
    for start, end in pieces:
        if (start, end) == (span.start, span.end):
            return [span]
        words = _WORDS.search(text, start, end)
        if words is not None:
            kept.append(Span(*words.span(), span.kind, span.score))
    return kept


# From the first letter to the last, with at least three of them together.
_WORDS = re.compile(r"(?=[^\d_]*[^\W\d_]{3})[^\W_](?:.*[^\W_])?", re.DOTALL)
