"""Sources of an answer's words as OpenAI has them: `annotations` of a message, with places in its text."""

from __future__ import annotations

from typing import Any

import msgspec

from contract.deltas import Citation, Delta
from gateway.dialects.quotes import nth_of, place_of


def read_annotation(annotation: dict[str, Any]) -> Citation:
    """One annotation; its words are not known yet. Raises `TypeError` for a place that is none."""
    inner = annotation.get("url_citation")
    if annotation.get("type") != "url_citation":
        return Citation("openai", annotation)
    # Some servers leave out the object within.
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
        # Until the words are known: as many as there are of them.
        " " * max(0, end - start),
        start=start,
    )


def quote_words(delta: Delta, said: dict[int, list[str]]) -> Delta:
    """The delta with the words that its annotations point at. `said`: the words so far, by choice; they are joined."""
    if not any(choice.citations for choice in delta.choices):
        return delta
    choices = []
    for choice in delta.choices:
        if choice.citations:
            text = "".join(said.get(choice.index, ()))
            said[choice.index] = [text]
            choice = msgspec.structs.replace(
                choice, citations=tuple([_quoted(each, text) for each in choice.citations])
            )
        choices.append(choice)
    return msgspec.structs.replace(delta, choices=tuple(choices))


def _quoted(citation: Citation, text: str) -> Citation:
    start = citation.start
    quote = text[start : start + len(citation.quote)] if start >= 0 else ""
    return msgspec.structs.replace(citation, quote=quote, nth=nth_of(quote, text, start))


def write_annotation(citation: Citation, said: str, block: int) -> dict[str, Any]:
    """One annotation of the words `said` so far, whose last block begins at the letter `block`."""
    start, end = place_of(citation, said, block)
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
    told: dict[str, Any] = {**place, "title": citation.title, "url": citation.url}
    if citation.cited:
        # OpenRouter's name for it.
        told["content"] = citation.cited
    return {"type": "url_citation", "url_citation": told}
