"""Sources of an answer's words as Gemini has them: `groundingMetadata` of a candidate, with places in bytes."""

from __future__ import annotations

from typing import Any

from contract.deltas import Citation
from gateway.dialects.gemini_generate.names import camel
from gateway.dialects.quotes import MOST_QUOTES, place_of


def read_grounding(metadata: dict[str, Any]) -> tuple[Citation, ...]:
    """A citation for each source of each segment; for each source, where no segments are told."""
    chunks = [_source(camel(each)) for each in metadata.get("groundingChunks") or ()]
    found: list[Citation] = []
    seen: dict[str, list[int]] = {}
    supports = [camel(each) for each in metadata.get("groundingSupports") or ()]
    for support in supports:
        segment = camel(support.get("segment") or {})
        text, start = str(segment.get("text") or ""), int(segment.get("startIndex") or 0)
        # The same words may be told twice: in two places, or of two sources.
        places = seen.setdefault(text, [])
        if start not in places:
            places.append(start)
        for number in support.get("groundingChunkIndices") or ():
            if isinstance(number, int) and 0 <= number < len(chunks):
                url, title, cited = chunks[number]
                found.append(Citation("gemini", {}, url, title, cited, text, places.index(start), start))
    if not supports:
        found = [Citation("gemini", {}, url, title, cited) for url, title, cited in chunks]
    return tuple([each for each in found if each.url or each.title])


def _source(chunk: dict[str, Any]) -> tuple[str, str, str]:
    """(address, title, words) of a page, a place on a map or a document."""
    source = chunk.get("web") or chunk.get("retrievedContext") or chunk.get("maps") or {}
    return str(source.get("uri") or ""), str(source.get("title") or ""), str(source.get("text") or "")


def write_grounding(citations: list[tuple[Citation, int]], said: str) -> dict[str, Any]:
    """The metadata for other vendors' citations, each with the letter at which its block of text begins."""
    chunks: list[dict[str, Any]] = []
    numbers: dict[tuple[str, str], int] = {}
    supports: list[dict[str, Any]] = []
    for citation, block in citations[:MOST_QUOTES]:
        source = (citation.url, citation.title)
        if source not in numbers:
            numbers[source] = len(chunks)
            chunks.append({"web": {"uri": citation.url, "title": citation.title}})
        start, end = place_of(citation, said, block)
        supports.append({"segment": _segment(said, start, end), "groundingChunkIndices": [numbers[source]]})
    return {"groundingChunks": chunks, "groundingSupports": supports}


def _segment(said: str, start: int, end: int) -> dict[str, Any]:
    before = len(said[:start].encode("utf-8", "surrogatepass"))
    text = said[start:end]
    return {"startIndex": before, "endIndex": before + len(text.encode("utf-8", "surrogatepass")), "text": text}


def settle(metadata: dict[str, Any], said: str) -> dict[str, Any]:
    """Google's own metadata with the places that its segments' words have in what was written."""
    supports = metadata.get("groundingSupports")
    if not isinstance(supports, list):
        return metadata
    settled = []
    data = said.encode("utf-8", "surrogatepass")
    for support in supports[:MOST_QUOTES]:
        segment = support.get("segment") if isinstance(support, dict) else None
        text = segment.get("text") if isinstance(segment, dict) else None
        if isinstance(segment, dict) and isinstance(text, str) and text:
            start = segment.get("startIndex") or 0
            words = text.encode("utf-8", "surrogatepass")
            if (
                isinstance(start, int)
                and data[start : start + len(words)] != words
                and (at := _nearest(data, words, start)) >= 0
            ):
                support = {**support, "segment": {**segment, "startIndex": at, "endIndex": at + len(words)}}
        settled.append(support)
    return {**metadata, "groundingSupports": settled + supports[MOST_QUOTES:]}


def _nearest(data: bytes, words: bytes, start: int) -> int:
    """The place of `words` that is nearest to `start`; -1 where they are not."""
    start = max(0, start)
    after, before = data.find(words, start), data.rfind(words, 0, start + len(words))
    if after < 0 or before < 0:
        return max(after, before)
    return before if start - before <= after - start else after
