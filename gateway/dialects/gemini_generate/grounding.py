"""Citations in Gemini's format: `groundingMetadata` of a candidate, with positions in bytes."""

from __future__ import annotations

from typing import Any

from contract.deltas import Citation
from gateway.dialects.gemini_generate.names import camel
from gateway.dialects.quotes import MAX_QUOTES, find_quote


def read_grounding(metadata: dict[str, Any]) -> tuple[Citation, ...]:
    """A citation for each source of each segment; or for each source, if there are no segments."""
    chunks = [_source(camel(each)) for each in metadata.get("groundingChunks") or ()]
    citations: list[Citation] = []
    positions_by_text: dict[str, list[int]] = {}
    supports = [camel(each) for each in metadata.get("groundingSupports") or ()]
    for support in supports:
        segment = camel(support.get("segment") or {})
        text, start = str(segment.get("text") or ""), int(segment.get("startIndex") or 0)
        # The same text may occur twice: at two positions, or with two sources.
        positions = positions_by_text.setdefault(text, [])
        if start not in positions:
            positions.append(start)
        for number in support.get("groundingChunkIndices") or ():
            if isinstance(number, int) and 0 <= number < len(chunks):
                url, title, cited = chunks[number]
                citations.append(Citation("gemini", {}, url, title, cited, text, positions.index(start), start))
    if not supports:
        citations = [Citation("gemini", {}, url, title, cited) for url, title, cited in chunks]
    return tuple([each for each in citations if each.url or each.title])


def _source(chunk: dict[str, Any]) -> tuple[str, str, str]:
    """(URL, title, text) of a web page, a place on a map or a document."""
    source = chunk.get("web") or chunk.get("retrievedContext") or chunk.get("maps") or {}
    return str(source.get("uri") or ""), str(source.get("title") or ""), str(source.get("text") or "")


def write_grounding(citations: list[tuple[Citation, int]], text: str) -> dict[str, Any]:
    """The metadata for other vendors' citations, each with the start of its text block in characters."""
    chunks: list[dict[str, Any]] = []
    numbers: dict[tuple[str, str], int] = {}
    supports: list[dict[str, Any]] = []
    for citation, block in citations[:MAX_QUOTES]:
        source = (citation.url, citation.title)
        if source not in numbers:
            numbers[source] = len(chunks)
            chunks.append({"web": {"uri": citation.url, "title": citation.title}})
        start, end = find_quote(citation, text, block)
        supports.append({"segment": _segment(text, start, end), "groundingChunkIndices": [numbers[source]]})
    return {"groundingChunks": chunks, "groundingSupports": supports}


def _segment(text: str, start: int, end: int) -> dict[str, Any]:
    before = len(text[:start].encode("utf-8", "surrogatepass"))
    segment = text[start:end]
    return {"startIndex": before, "endIndex": before + len(segment.encode("utf-8", "surrogatepass")), "text": segment}


def update_positions(metadata: dict[str, Any], written: str) -> dict[str, Any]:
    """Google's own metadata with the positions of its segments in the written text."""
    supports = metadata.get("groundingSupports")
    if not isinstance(supports, list):
        return metadata
    updated = []
    data = written.encode("utf-8", "surrogatepass")
    for support in supports[:MAX_QUOTES]:
        segment = support.get("segment") if isinstance(support, dict) else None
        text = segment.get("text") if isinstance(segment, dict) else None
        if isinstance(segment, dict) and isinstance(text, str) and text:
            start = segment.get("startIndex") or 0
            quote = text.encode("utf-8", "surrogatepass")
            if (
                isinstance(start, int)
                and data[start : start + len(quote)] != quote
                and (at := _nearest(data, quote, start)) >= 0
            ):
                support = {**support, "segment": {**segment, "startIndex": at, "endIndex": at + len(quote)}}
        updated.append(support)
    return {**metadata, "groundingSupports": updated + supports[MAX_QUOTES:]}


def _nearest(data: bytes, quote: bytes, start: int) -> int:
    """The position of `quote` nearest to `start`; -1 if it does not occur."""
    start = max(0, start)
    after, before = data.find(quote, start), data.rfind(quote, 0, start + len(quote))
    if after < 0 or before < 0:
        return max(after, before)
    return before if start - before <= after - start else after
