"""Citations in OpenAI's format: `annotations` of a message, with positions in its text."""

from __future__ import annotations

from typing import Any

import msgspec

from contract.deltas import Citation, Delta
from gateway.dialects.quotes import count_before, find_quote


def read_annotation(annotation: dict[str, Any]) -> Citation:
    """Reads one annotation; its quote is not known yet. Raises `TypeError` for an invalid position."""
    inner = annotation.get("url_citation")
    if annotation.get("type") != "url_citation":
        return Citation("openai", annotation)
    # Some servers omit the nested object.
    source: dict[str, Any] = inner if isinstance(inner, dict) else annotation
    start, end = source.get("start_index"), source.get("end_index")
    if not isinstance(start, int) or not isinstance(end, int):
        start, end = -1, -1
    return Citation(
        "openai",
        annotation,
        str(source.get("url") or ""),
        str(source.get("title") or ""),
        str(source.get("content") or ""),
        # A placeholder of the quote's length, until the text is known.
        " " * max(0, end - start),
        start=start,
    )


def add_quotes(delta: Delta, texts: dict[int, list[str]]) -> Delta:
    """The delta with the quotes of its annotations. `texts`: the text so far, by choice; each list is joined."""
    if not any(choice.citations for choice in delta.choices):
        return delta
    choices = []
    for choice in delta.choices:
        if choice.citations:
            text = "".join(texts.get(choice.index, ()))
            texts[choice.index] = [text]
            choice = msgspec.structs.replace(
                choice, citations=tuple([_with_quote(each, text) for each in choice.citations])
            )
        choices.append(choice)
    return msgspec.structs.replace(delta, choices=tuple(choices))


def _with_quote(citation: Citation, text: str) -> Citation:
    start = citation.start
    quote = text[start : start + len(citation.quote)] if start >= 0 else ""
    return msgspec.structs.replace(citation, quote=quote, nth=count_before(quote, text, start))


def write_annotation(citation: Citation, text: str, block: int) -> dict[str, Any]:
    """Writes one annotation of the `text` so far, whose last block starts at character `block`."""
    start, end = find_quote(citation, text, block)
    if citation.dialect == "openai" and citation.value.get("type") != "url_citation":
        return citation.value
    place = {"start_index": start, "end_index": end}
    if citation.dialect == "openai":
        if citation.start < 0:
            return citation.value
        inner = citation.value.get("url_citation")
        if not isinstance(inner, dict):
            return {**citation.value, **place}
        return {**citation.value, "url_citation": {**inner, **place}}
    url_citation: dict[str, Any] = {**place, "title": citation.title, "url": citation.url}
    if citation.cited:
        # OpenRouter's name for it.
        url_citation["content"] = citation.cited
    return {"type": "url_citation", "url_citation": url_citation}
