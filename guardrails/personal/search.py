"""Finds personal data: with patterns and word lists, built-in and configured, and with the tagger for names."""

from __future__ import annotations

import bisect
import hashlib
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from contract.work import WorkPool
from guardrails.canonical import disguises
from guardrails.keywords import KeywordFinder
from guardrails.matching import Matcher
from guardrails.personal.patterns import ORDER, PATTERNS, PersonalPattern, find, resolve
from guardrails.personal.tagger_thread import TaggerThread
from guardrails.slices import Slicer
from guardrails.span import Span

if TYPE_CHECKING:
    from guardrails.checks import Finder

# A search of more characters would block the event loop noticeably.
_INLINE_CHARACTERS = 8000
_REMEMBERED = 4096


class PersonalSearch:
    """Searches texts for personal data. Caches results by the text's hash, never the text itself."""

    def __init__(
        self,
        kinds: frozenset[str],
        patterns: Mapping[str, str] | None = None,
        lists: Mapping[str, Sequence[str]] | None = None,
        thread: TaggerThread | None = None,
        more: Finder | None = None,
        slicer: Slicer | None = None,
    ) -> None:
        """`kinds` to find; `patterns` and `lists` are configured ones, by kind.

        `more` is an additional finder; `slicer` searches texts that are too long for the event loop.
        """
        self.slicer = slicer or Slicer(WorkPool("searches"))
        self._more = more
        own = [(kind, Matcher(pattern)) for kind, pattern in (patterns or {}).items()]
        # Patterns that may be slow never run on the event loop.
        self._slow_patterns = tuple((kind, matcher) for kind, matcher in own if not matcher.is_quick)
        self._patterns = tuple(pattern for pattern in PATTERNS if pattern.kind in kinds) + tuple(
            PersonalPattern(kind, re.compile(matcher.pattern)) for kind, matcher in own if matcher.is_quick
        )
        self._lists = KeywordFinder(lists, exact=True, order=ORDER) if lists else None
        self.kinds = kinds
        self._thread = thread
        self._cache: OrderedDict[bytes, tuple[Span, ...]] = OrderedDict()

    async def find(self, texts: Sequence[str], caller: str = "") -> dict[str, tuple[Span, ...]]:
        """Returns the spans of each text, ordered and without overlaps; omits texts without any.

        The search of long texts is queued as `caller`. Raises `TooManyRequests`.
        """
        results: dict[str, tuple[Span, ...]] = {}
        uncached: list[tuple[str, bytes]] = []
        for text in texts:
            key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
            cached = self._cache.get(key)
            if cached is None:
                uncached.append((text, key))
            else:
                self._cache.move_to_end(key)
                results[text] = cached
        if uncached:
            spans = await self._search([text for text, _ in uncached], caller)
            for text, key in uncached:
                results[text] = self._cache[key] = tuple(spans.get(text, ()))
            while len(self._cache) > _REMEMBERED:
                self._cache.popitem(last=False)
        return {text: spans for text, spans in results.items() if spans}

    async def _search(self, texts: list[str], caller: str) -> dict[str, list[Span]]:
        if self._slow_patterns or sum(map(len, texts)) > _INLINE_CHARACTERS:
            matched = await self.slicer.find(caller, self._find_patterns, texts)
        else:
            matched = {text: self._find_patterns(text) for text in texts}
        if self._thread is None:
            return matched
        tagged = await self._thread.slicer.find(caller, self._thread.tagger.tag, texts)
        return {text: self._merge(text, matched.get(text, []), tagged.get(text, [])) for text in texts}

    def _find_plain(self, text: str) -> list[Span]:
        spans = find(text, self._patterns)
        for finder in (self._lists, self._more):
            if finder is not None:
                spans += finder.find(text)
        for kind, matcher in self._slow_patterns:
            spans += [Span(start, end, kind) for start, end in matcher.find(text) if start < end]
        return spans

    def search(self, text: str) -> list[Span]:
        """Searches one text synchronously; fast enough for the event loop without a tagger."""
        matched = self._find_patterns(text)
        return matched if self._thread is None else self._merge(text, matched, self._thread.tagger.tag(text))

    def _find_patterns(self, text: str) -> list[Span]:
        """Finds types with a pattern, also in obfuscated text."""
        spans = self._find_plain(text)
        for view in disguises(text):
            spans += [
                Span(*view.origin(each.start, each.end), each.kind, each.score) for each in self._find_plain(view.text)
            ]
        return resolve(spans)

    def _merge(self, text: str, matched: list[Span], tagged: Sequence[Span]) -> list[Span]:
        """Merges pattern matches with tagged spans; pattern matches win, because they are more certain."""
        ends = [span.end for span in matched]
        rest: list[Span] = []
        for span in tagged:
            if span.kind in self.kinds:
                first = bisect.bisect_right(ends, span.start)
                last = bisect.bisect_left(matched, span.end, lo=first, key=_start)
                rest += _outside(span, matched[first:last], text)
        return sorted(matched + rest)


def _start(span: Span) -> int:
    return span.start


def _outside(span: Span, matched: Sequence[Span], text: str) -> list[Span]:
    """The parts of a span outside of `matched`, without punctuation at their ends."""
    pieces = [(span.start, span.end)]
    for other in matched:
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
    outside = []
    for start, end in pieces:
        if (start, end) == (span.start, span.end):
            return [span]
        words = _WORDS.search(text, start, end)
        if words is not None:
            outside.append(Span(*words.span(), span.kind, span.score))
    return outside


# From the first letter to the last, with at least three of them together.
_WORDS = re.compile(r"(?=[^\d_]*[^\W\d_]{3})[^\W_](?:.*[^\W_])?", re.DOTALL)
