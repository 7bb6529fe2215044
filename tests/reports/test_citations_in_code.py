"""Public reports about brackets in code that were taken for marks of sources."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.reports.vendors import Request, events, house, openai_chunk, openai_reply, response, user

MORE = """  docs: {pipeline: docs}
server: {data: data}
pipelines: {docs: {context: {from: [notes]}, model: o}}
sources: {notes: {kind: documents}}
apps: {one: {keys: [test-key], ingest: [notes]}}
"""
ANSWERS = [
    ("Use `items[1]` of the pump.", []),
    ("So:\n\n```python\nx = items[1]\n```\n\nThat is all.", []),
    ("So:\n~~~\nitems[1]\n~~~\nTwo years [1].", [1]),
    ("A block that is cut off:\n```\nitems[1]", []),
    ("Two years [1], as `a[1]` and ``b`[1]`` say [1].", [1, 1]),
    ("It`s two years [1].", [1]),
]


def _always(script: bytes, _: Request) -> bytes:
    return script


@pytest.mark.report("citations", "Brackets in code are not citations")
@pytest.mark.parametrize("stream", [True, False])
def test_brackets_in_code(tmp_path: Path, stream: bool) -> None:
    document = {"id": "pump.md", "text": "# Pump\n\nThe pump carries a warranty of two years."}
    with house(tmp_path, models=MORE) as it:
        added = it.gateway.request("POST", "/v1/sources/notes/documents", {"documents": [document]})
        assert added.json()["added"] == 1
        for text, cited in ANSWERS:
            pieces = [openai_chunk({"content": letter}) for letter in text]
            script = events(*pieces, openai_chunk({}, "stop")) if stream else response(openai_reply(text))
            it.upstream.script = partial(_always, script)
            content: dict[str, Any] = it.messages("docs", [user("How long is the warranty of the pump?")]).json()
            answer = it.chat("docs", [user("How long is the warranty of the pump?")]).json()
            message = answer["choices"][0]["message"]
            assert message["content"] == text
            places = [each["url_citation"]["start_index"] for each in message.get("annotations", [])]
            assert [int(text[place + 1]) for place in places] == cited
            assert all(text[place : place + 3] == "[1]" for place in places)
            assert any("citations" in block for block in content["content"]) is bool(cited)
