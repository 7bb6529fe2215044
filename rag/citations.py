"""Turns an answer's citation marks, `[2]`, into each dialect's own citation fields when the answer ends.

OpenAI clients read `annotations` of the message, Anthropic clients `citations` of the text, Gemini clients
`citationMetadata` of the candidate. The field `gatehouse` lists all passages of the prompt, cited or not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from contract.deltas import ChoiceDelta, Delta
from contract.passages import Passage

_MARK = re.compile(r"\[(?P<numbers>\d{1,3}(?:\s?[,;]\s?\d{1,3}){0,9})\]|\[(?P<place>[^\[\]\n]{3,300})\]")
# In code `items[1]` is no citation. A code block may be cut off before its end.
_CODE = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|``[^\n]*?``|`[^`\n]*`", re.DOTALL)
_CITED_CHARACTERS = 300


class CitationFilter:
    """Implements `contract.reply.OutputFilter`: passes all deltas through and adds the citations at the end."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        """`passages` in the order of their numbers in the prompt, from 1."""
        self._passages = tuple(passages)
        self._texts: dict[int, list[str]] = {}
        self._cited_choices: set[int] = set()

    def feed(self, deltas: list[Delta]) -> list[Delta]:
        """See `OutputFilter.feed`."""
        return [self._delta(delta) for delta in deltas]

    def finish(self) -> list[Delta]:
        """See `OutputFilter.finish`: for an answer without a finish reason."""
        left = [index for index in self._texts if index not in self._cited_choices]
        return [Delta(tuple(ChoiceDelta(index, extra=self._extra(index)) for index in left))] if left else []

    def _delta(self, delta: Delta) -> Delta:
        pieces: list[ChoiceDelta] = []
        ended = False
        for piece in delta.choices:
            if piece.text:
                self._texts.setdefault(piece.index, []).append(piece.text)
            if piece.finish and piece.index in self._texts and piece.index not in self._cited_choices:
                self._cited_choices.add(piece.index)
                ended = True
                # Send the text first: citations refer to the text before them.
                if piece.has_content:
                    pieces.append(msgspec.structs.replace(piece, finish="", stop_sequence="", own=None))
                pieces.append(ChoiceDelta(piece.index, extra=self._extra(piece.index)))
                pieces.append(
                    ChoiceDelta(piece.index, finish=piece.finish, stop_sequence=piece.stop_sequence, own=piece.own)
                )
            else:
                pieces.append(piece)
        return msgspec.structs.replace(delta, choices=tuple(pieces), raw=b"") if ended else delta

    def _extra(self, index: int) -> dict[str, Any]:
        text = _CODE.sub(lambda code: " " * len(code[0]), "".join(self._texts.get(index, ())))
        marks = [(place, number) for match in _MARK.finditer(text) for place, number in self._numbers(match)]
        cited = list(dict.fromkeys(number for _, number in marks))
        extra: dict[str, Any] = {
            "gatehouse": {"sources": [self._source(number, cited) for number in range(1, len(self._passages) + 1)]}
        }
        if marks:
            extra["annotations"] = [self._annotation(place, number) for place, number in marks]
            extra["citations"] = [self._citation(number) for number in cited]
            extra["citationMetadata"] = {"citationSources": [self._gemini(place, number) for place, number in marks]}
        return extra

    def _numbers(self, match: re.Match[str]) -> list[tuple[tuple[int, int], int]]:
        """The passages that a mark cites, with its position; none if the brackets are no citation."""
        if match["numbers"]:
            numbers = [int(number) for number in re.findall(r"\d+", match["numbers"])]
            return [(match.span(), number) for number in numbers if 1 <= number <= len(self._passages)]
        for number, passage in enumerate(self._passages, 1):
            if match["place"] in (f"{passage.source}, {passage.place}", passage.source):
                return [(match.span(), number)]
        return []

    def _source(self, number: int, cited: Sequence[int]) -> dict[str, Any]:
        passage = self._passages[number - 1]
        return {
            "number": number,
            "document": passage.source,
            "place": passage.place,
            "score": round(passage.score, 4),
            "id": passage.id,
            "cited": number in cited,
        }

    def _annotation(self, place: tuple[int, int], number: int) -> dict[str, Any]:
        passage = self._passages[number - 1]
        citation = {"start_index": place[0], "end_index": place[1], "title": _title(passage), "url": _url(passage)}
        return {"type": "url_citation", "url_citation": citation}

    def _citation(self, number: int) -> dict[str, Any]:
        passage = self._passages[number - 1]
        return {
            "type": "search_result_location",
            "cited_text": passage.text[:_CITED_CHARACTERS],
            "source": _url(passage),
            "title": _title(passage),
            "search_result_index": number - 1,
            "start_block_index": 0,
            "end_block_index": 1,
        }

    def _gemini(self, place: tuple[int, int], number: int) -> dict[str, Any]:
        return {"startIndex": place[0], "endIndex": place[1], "uri": _url(self._passages[number - 1])}


def _title(passage: Passage) -> str:
    return f"{passage.source}, {passage.place}" if passage.place else passage.source


def _url(passage: Passage) -> str:
    """The document's own URL, or a `gatehouse:` URI."""
    if passage.source.startswith(("http://", "https://")):
        return passage.source
    return f"gatehouse:{passage.id.partition(':')[0]}/{passage.source}"
