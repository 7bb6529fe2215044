"""Public reports about the sources that a vendor's own search names, over another vendor's API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.reports.test_signatures import CHECKS, GUARDED, chunks
from tests.reports.vendors import (
    Request,
    anthropic_events,
    anthropic_reply,
    events,
    gemini_reply,
    house,
    openai_chunk,
    openai_reply,
    response,
    user,
)

URL = "https://a.example/page"
WEB = {
    "type": "web_search_result_location", "url": URL, "title": "Page", "encrypted_index": "E", "cited_text": "because",
}  # fmt: skip


def tag_in(request: Request) -> str:
    """What stands for the caller's address, which the model repeats."""
    found = json.dumps(request.json, ensure_ascii=False).partition("<EMAIL_")[2].partition(">")[0]
    return f"<EMAIL_{found}>" if found else "you"


def anthropic_cites(request: Request) -> bytes:
    before, cited = f"For {tag_in(request)}: ", "it is so."
    if not request.streams:
        return response(
            anthropic_reply({"type": "text", "text": before}, {"type": "text", "text": cited, "citations": [WEB]})
        )
    # The vendor may send a block's sources before its words.
    pieces: list[dict[str, Any]] = [
        {"type": "citations_delta", "citation": WEB},
        {"type": "text_delta", "text": cited},
    ]
    empty: dict[str, Any] = {"type": "text", "text": ""}
    return anthropic_events((empty, [{"type": "text_delta", "text": before}]), ({**empty, "citations": []}, pieces))


def gemini_cites(request: Request) -> bytes:
    before, cited = f"F\u00fcr {tag_in(request)}: ", "it is so."
    start = len(before.encode())
    segment = {"startIndex": start, "endIndex": start + len(cited), "text": cited}
    metadata = {
        "groundingChunks": [{"web": {"uri": URL, "title": "Page"}}],
        "groundingSupports": [{"segment": segment, "groundingChunkIndices": [0]}],
        "webSearchQueries": ["why"],
    }
    last = gemini_reply({"text": cited}, groundingMetadata=metadata)
    if request.streams:
        return events(gemini_reply({"text": before}, finish=""), last, done=False)
    return response(gemini_reply({"text": before + cited}, groundingMetadata=metadata))


def openai_cites(request: Request) -> bytes:
    before, cited = f"For {tag_in(request)}: ", "it is so."
    inner = {"url": URL, "title": "Page", "start_index": len(before), "end_index": len(before + cited)}
    annotation = {"type": "url_citation", "url_citation": inner}
    if request.streams:
        said = [openai_chunk({"content": before}), openai_chunk({"content": cited})]
        return events(*said, openai_chunk({"annotations": [annotation]}), openai_chunk({}, "stop"))
    return response(openai_reply(before + cited, annotations=[annotation]))


SCRIPTS = {"a": anthropic_cites, "g": gemini_cites, "o": openai_cites}
ASKED = "I am jane@doe.example"


@pytest.mark.report(
    "contents", "OpenAI's API returns the sources of a provider's web search as annotations at the right characters"
)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("vendor", ["a", "g", "o"])
def test_sources_as_annotations(tmp_path: Path, vendor: str, stream: bool) -> None:
    with house(tmp_path, SCRIPTS[vendor], models=GUARDED.format(vendor), more=CHECKS.format(vendor)) as it:
        for model in (vendor, f"guarded_{vendor}"):
            answer = it.chat(model, [user(ASKED)], stream=stream)
            if stream:
                deltas = [each["delta"] for chunk in chunks(answer.body) for each in chunk["choices"]]
                text = "".join(delta.get("content") or "" for delta in deltas)
                found = [each for delta in deltas for each in delta.get("annotations", ())]
            else:
                message = answer.json()["choices"][0]["message"]
                text, found = message["content"], message["annotations"]
            assert ("jane@doe.example" in text) == (model != vendor)
            ((told),) = [each["url_citation"] for each in found]
            assert (told["url"], told["title"]) == (URL, "Page")
            assert text[told["start_index"] : told["end_index"]] == "it is so."


@pytest.mark.report("contents", "Anthropic's API returns the sources of a provider's web search as citations")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("vendor", ["a", "g", "o"])
def test_sources_as_citations(tmp_path: Path, vendor: str, stream: bool) -> None:
    with house(tmp_path, SCRIPTS[vendor], models=GUARDED.format(vendor), more=CHECKS.format(vendor)) as it:
        for model in (vendor, f"guarded_{vendor}"):
            answer = it.messages(model, [user(ASKED)], stream=stream)
            if stream:
                deltas = [each["delta"] for each in chunks(answer.body) if each["type"] == "content_block_delta"]
                found = [each["citation"] for each in deltas if each["type"] == "citations_delta"]
            else:
                found = [each for block in answer.json()["content"] for each in block.get("citations") or ()]
            assert [each.get("url") or each["source"] for each in found] == [URL]
            if vendor == "a":
                assert found == [WEB]


@pytest.mark.report("contents", "A provider's text blocks stay separate behind guardrails, each with its own sources")
def test_blocks_keep_their_borders(tmp_path: Path) -> None:
    with house(tmp_path, anthropic_cites, models=GUARDED.format("a"), more=CHECKS.format("a")) as it:
        plain, guarded = (it.messages(model).json()["content"] for model in ("a", "guarded_a"))
        assert guarded == plain
        body = it.messages("guarded_a", stream=True).body
        indexes: dict[int, list[str]] = {}
        for each in chunks(body):
            if each["type"] == "content_block_delta":
                delta = each["delta"]
                indexes.setdefault(each["index"], []).append(delta.get("text") or delta["citation"]["url"])
    assert ["".join(pieces) for pieces in indexes.values()] == ["For you: ", f"it is so.{URL}"]


@pytest.mark.report(
    "contents", "Gemini's API returns the sources of a provider's web search as grounding metadata with byte offsets"
)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("vendor", ["a", "g", "o"])
def test_sources_as_grounding(tmp_path: Path, vendor: str, stream: bool) -> None:
    with house(tmp_path, SCRIPTS[vendor], models=GUARDED.format(vendor), more=CHECKS.format(vendor)) as it:
        for model in (vendor, f"guarded_{vendor}"):
            answer = it.generate(model, [{"role": "user", "parts": [{"text": ASKED}]}], stream=stream)
            replies: list[Any] = list(chunks(answer.body)) if stream else [answer.json()]
            candidates = [reply["candidates"][0] for reply in replies]
            text = "".join(part.get("text", "") for each in candidates for part in each["content"]["parts"])
            (metadata,) = [each["groundingMetadata"] for each in candidates if "groundingMetadata" in each]
            assert metadata["groundingChunks"] == [{"web": {"uri": URL, "title": "Page"}}]
            (support,) = metadata["groundingSupports"]
            segment = support["segment"]
            assert text.encode()[segment["startIndex"] : segment["endIndex"]] == b"it is so."
            assert support["groundingChunkIndices"] == [0]


@pytest.mark.report("contents", "Citations of documents in the request use the documents' titles")
def test_sources_in_documents(tmp_path: Path) -> None:
    place = {
        "type": "page_location", "cited_text": "because", "document_index": 0, "document_title": "Manual",
        "start_page_number": 1, "end_page_number": 2, "file_id": None,
    }  # fmt: skip
    script = anthropic_reply({"type": "text", "text": "so", "citations": [place]})
    with house(tmp_path, lambda _: response(script)) as it:
        (found,) = it.chat("a").json()["choices"][0]["message"]["annotations"]
    assert found["url_citation"]["title"] == "Manual"
    assert found["url_citation"]["content"] == "because"
