"""A source's labels over HTTP: prompts, searches, lists, tools, cached answers, and a reload that changes them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live import Answer, Gateway, running_gateway
from tests.recording import Recording

YAML = """
version: 1
server: {{data: {folder}/data}}
providers:
  up: {{kind: openai, base_url: "http://127.0.0.1:{port}/v1", api_key: upstream-key}}
models:
  plain: {{targets: [up/m]}}
  docs: {{pipeline: docs}}
  tooled: {{pipeline: tooled}}
caches: {{answers: {{scope: labels, semantic: {{}}}}}}
tools:
  board: {{kind: source, source: minutes, description: The minutes.}}
pipelines:
  docs: {{context: {{from: [minutes, files]}}, cache: answers, model: plain}}
  tooled: {{tools: [board], model: plain}}
sources:
  minutes: {{kind: documents, labels: [{labels}]}}
  files: {{kind: folder, path: {folder}/files, labels: [{labels}]}}
apps:
  bot: {{keys: [bot-key], ingest: [minutes]}}
  chair: {{keys: [chair-key], ingest: [minutes], labels: [board]}}
  cfo: {{keys: [cfo-key], ingest: [minutes], labels: [finance]}}
observe: {{log: "off"}}
"""
PATH = "/v1/sources/minutes"
SECRET = "The merger costs nine millions."


@pytest.fixture
def gateway(upstream: Recording, tmp_path: Path) -> Iterator[Gateway]:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "f.md").write_text("# File\n\nThe merger FOLDER is near.")
    upstream.bodies.clear()
    upstream.answers.clear()
    yaml = YAML.format(port=upstream.port, folder=tmp_path, labels="board")
    with running_gateway(yaml, tmp_path) as running:
        hidden = {"id": "hr.md", "text": "Merger of pay.", "labels": ["hr"]}
        handed = {"documents": [{"id": "m.md", "text": SECRET}, hidden]}
        assert call(running, "chair-key", "POST", f"{PATH}/documents", handed).json()["added"] == 2
        yield running


def call(gateway: Gateway, key: str, method: str, path: str, body: Any = None) -> Answer:
    return gateway.request(method, path, body, {"authorization": f"Bearer {key}"})


def prompt(gateway: Gateway, upstream: Recording, key: str, model: str = "docs") -> str:
    """What the upstream is sent for a question of that caller; empty where a cache answers."""
    upstream.bodies.clear()
    body = {"model": model, "messages": [{"role": "user", "content": "What does the merger cost in all?"}]}
    answer = call(gateway, key, "POST", "/v1/chat/completions", body)
    assert answer.status == 200, answer.body
    return json.dumps([each for each in upstream.bodies if "messages" in each]) + answer.body.decode()


@pytest.mark.guarantee("access", "A source's labels apply to uploaded documents in prompts, search and tools")
def test_only_who_has_the_label_gets_what_was_handed_in(gateway: Gateway, upstream: Recording) -> None:
    assert "nine millions" in prompt(gateway, upstream, "chair-key")
    for key in ("bot-key", "cfo-key"):
        said = prompt(gateway, upstream, key)
        assert "millions" not in said
        assert "FOLDER" not in said
        assert call(gateway, key, "POST", f"{PATH}/search", {"query": "merger"}).json()["data"] == []

    def ask_tool(body: dict[str, Any]) -> Any:
        call_ = {"id": "c", "type": "function", "function": {"name": "board", "arguments": '{"query": "merger"}'}}
        return {"role": "assistant", "content": None, "tool_calls": [call_]}

    for key, seen in (("chair-key", True), ("bot-key", False)):
        upstream.answers[:] = [ask_tool, lambda body: "Fine."]
        assert ("nine millions" in prompt(gateway, upstream, key, "tooled")) is seen


@pytest.mark.guarantee(
    "access", "The documents API does not let a caller without a document's labels list, replace or delete it"
)
def test_who_may_not_see_a_document_changes_nothing_of_it(gateway: Gateway) -> None:
    for key, ids in (("bot-key", []), ("cfo-key", []), ("chair-key", ["m.md"])):
        listed = call(gateway, key, "GET", f"{PATH}/documents").json()
        assert [each["id"] for each in listed["data"]] == ids
    for key, name in (("bot-key", "m.md"), ("bot-key", "hr.md"), ("chair-key", "hr.md")):
        assert call(gateway, key, "DELETE", f"{PATH}/documents/{name}").status == 404
        handed = {"documents": [{"id": f"{key}.md", "text": "New."}, {"id": name, "text": "Nothing."}]}
        answer = call(gateway, key, "POST", f"{PATH}/documents", handed)
        assert answer.status == 404
        assert answer.json()["error"]["param"] == "documents[1].id"
        # Nothing of the request was kept.
        listed = call(gateway, "chair-key", "GET", f"{PATH}/documents").json()
        assert [each["id"] for each in listed["data"]] == ["m.md"]
    handed = {"documents": [{"id": "b", "text": "Box."}]}
    assert call(gateway, "bot-key", "POST", f"{PATH}/documents", handed).status == 200
    assert call(gateway, "bot-key", "DELETE", f"{PATH}/documents/b").status == 404
    assert call(gateway, "chair-key", "DELETE", f"{PATH}/documents/b").status == 200
    found = call(gateway, "chair-key", "POST", f"{PATH}/search", {"query": "merger costs"}).json()["data"]
    assert found[0]["text"] == SECRET


@pytest.mark.guarantee(
    "access", "An upload or request with an invalid id or too many labels is refused, and the error names the field"
)
def test_names_and_labels_that_no_store_keeps_are_refused(gateway: Gateway) -> None:
    for handed, param in (
        ({"id": "a", "text": "x", "labels": [f"l{at}" for at in range(33)]}, "documents[0].labels"),
        ({"id": "\u4e00" * 900, "text": "x"}, "documents[0].id"),
    ):
        answer = call(gateway, "chair-key", "POST", f"{PATH}/documents", {"documents": [handed]})
        assert (answer.status, answer.json()["error"]["param"]) == (400, param)
    for method, path in (("GET", f"{PATH}/documents?after=%00"), ("GET", f"{PATH}/documents?after=a%0a")):
        assert call(gateway, "chair-key", method, path).status == 400
    for name in ("m.md%00", "%00", "m.md%0a"):
        assert call(gateway, "chair-key", "DELETE", f"{PATH}/documents/{name}").status == 404
    most = {"id": "\u4e00" * 800, "text": "x", "labels": [f"{at:064}" for at in range(32)]}
    assert call(gateway, "chair-key", "POST", f"{PATH}/documents", {"documents": [most]}).json()["added"] == 1


@pytest.mark.guarantee("access", "After a reload, a source's changed labels apply at once, also to cached answers")
def test_a_reload_with_other_labels_holds_at_once(gateway: Gateway, upstream: Recording, tmp_path: Path) -> None:
    assert "nine millions" in prompt(gateway, upstream, "chair-key")
    path = next(tmp_path.glob("*.yaml"))
    path.write_text(YAML.format(port=upstream.port, folder=tmp_path, labels="finance"))
    deadline = time.monotonic() + 60
    while "nine millions" not in prompt(gateway, upstream, "cfo-key"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    for key in ("chair-key", "bot-key"):
        said = prompt(gateway, upstream, key)
        assert "millions" not in said
        assert "FOLDER" not in said
    for name in ("m.md", "f.md"):
        assert name in prompt(gateway, upstream, "cfo-key")
