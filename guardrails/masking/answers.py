"""Finds names and addresses in answers that the caller did not send."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from contract.context_block import read_blocks
from guardrails.text_fields import Author, map_text

if TYPE_CHECKING:
    from contract.messages import ChatRequest
    from guardrails.personal.search import PersonalSearch
    from guardrails.span import Span

_TAG = re.compile(r"[A-Z]+_[A-Z2-7]{6}")


class NamesInAnswers:
    """Implements `guardrails.sentences.SentenceJudge`."""

    def __init__(self, search: PersonalSearch) -> None:
        """`search` finds the kinds that need the tagger."""
        self._search = search

    async def find(self, text: str, request: ChatRequest, caller: str = "") -> Sequence[Span]:
        """See `SentenceJudge.find`. Skips tags and values that the caller's own texts contain."""
        spans = (await self._search.find([text], caller)).get(text, ())
        if not spans:
            return ()
        sent = caller_text(request)
        return [
            span for span in spans if (value := text[span.start : span.end]) not in sent and _TAG.search(value) is None
        ]


def caller_text(request: ChatRequest) -> str:
    """All texts of the caller, without retrieved passages."""
    texts: list[str] = []

    def note(text: str, author: Author) -> str:
        texts.append(read_blocks(text)[1])
        return text

    map_text(request, note)
    return "\n".join(texts)
