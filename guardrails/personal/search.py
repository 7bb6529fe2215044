"""Finds personal data: forms, lists and patterns of the company's own, and the tagger for what has no form."""

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

# Beyond this a search is long enough to be felt by others on the event loop.
_INLINE_CHARACTERS = 8000
_REMEMBERED = 4096


class PersonalSearch:
    """Texts in, spans out; what was searched once is remembered by the text's hash, never the text itself."""

    def __init__(
        self,
        kinds: frozenset[str],
        patterns: Mapping[str, str] | None = None,
        lists: Mapping[str, Sequence[str]] | None = None,
        thread: TaggerThread | None = None,
        more: Finder | None = None,
        slicer: Slicer | None = None,
    ) -> None:
        """`kinds` to look for; `patterns` and `lists` of the company's own, by the kind that they stand for.

        `more` finds what else has a form; `slicer` searches what is too long for the event loop.
        """
        self.slicer = slicer or Slicer(WorkPool("searches"))
        self._more = more
        own = [(kind, Matcher(form)) for kind, form in (patterns or {}).items()]
        # What may be slow is matched apart, and never waited for on the event loop.
        self._apart = tuple((kind, matcher) for kind, matcher in own if not matcher.is_quick)
        self._patterns = tuple(pattern for pattern in PATTERNS if pattern.kind in kinds) + tuple(
            PersonalPattern(kind, re.compile(matcher.form)) for kind, matcher in own if matcher.is_quick
        )
        self._lists = KeywordFinder(lists, exact=True, order=ORDER) if lists else None
        self.kinds = kinds
        self._thread = thread
        self._seen: OrderedDict[bytes, tuple[Span, ...]] = OrderedDict()

    async def find(self, texts: Sequence[str], caller: str = "") -> dict[str, tuple[Span, ...]]:
        """The spans of each text, by place and without overlaps; texts without any are left out.

        Long texts are searched in the turn of `caller`. Raises `TooManyRequests`.
        """
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
            spans = await self._search([text for text, _ in fresh], caller)
            for text, key in fresh:
                found[text] = self._seen[key] = tuple(spans.get(text, ()))
            while len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
        return {text: spans for text, spans in found.items() if spans}

    async def _search(self, texts: list[str], caller: str) -> dict[str, list[Span]]:
        if self._apart or sum(map(len, texts)) > _INLINE_CHARACTERS:
            formal = await self.slicer.find(caller, self._with_form, texts)
        else:
            formal = {text: self._with_form(text) for text in texts}
        if self._thread is None:
            return formal
        tagged = await self._thread.slicer.find(caller, self._thread.tagger.tag, texts)
        return {text: self._joined(text, formal.get(text, []), tagged.get(text, [])) for text in texts}

    def _formal(self, text: str) -> list[Span]:
        spans = find(text, self._patterns)
        for finder in (self._lists, self._more):
            if finder is not None:
                spans += finder.find(text)
        for kind, matcher in self._apart:
            spans += [Span(start, end, kind) for start, end in matcher.find(text) if start < end]
        return spans

    def search(self, text: str) -> list[Span]:
        """One text, at once; without a tagger fit for the event loop."""
        formal = self._with_form(text)
        return formal if self._thread is None else self._joined(text, formal, self._thread.tagger.tag(text))

    def _with_form(self, text: str) -> list[Span]:
        """What has a form, disguised or not."""
        spans = self._formal(text)
        for view in disguises(text):
            spans += [
                Span(*view.origin(each.start, each.end), each.kind, each.score) for each in self._formal(view.text)
            ]
        return resolve(spans)

    def _joined(self, text: str, formal: list[Span], tagged: Sequence[Span]) -> list[Span]:
        """What has a form and a checksum is surer than what a model takes a text for."""
        ends = [span.end for span in formal]
        rest: list[Span] = []
        for span in tagged:
            if span.kind in self.kinds:
                first = bisect.bisect_right(ends, span.start)
                last = bisect.bisect_left(formal, span.end, lo=first, key=_start)
                rest += _outside(span, formal[first:last], text)
        return sorted(formal + rest)


def _start(span: Span) -> int:
    return span.start


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
