"""Documents through HTTP: handed in, found by those who may, put before the model, cited on every surface."""

from __future__ import annotations

import base64
import json
import time
from typing import Any
from urllib.parse import quote

import pytest

from tests.asking import ask
from tests.live import Answer, Gateway
from tests.recording import HEAD, Recording

YAML = (
    HEAD
    + """\
models:
  plain: {{targets: [up/m]}}
  small: {{targets: [{{target: up/m, context_window: 100 tokens}}]}}
  docs: {{pipeline: docs}}
  tight: {{pipeline: tight}}
  embedder: {{targets: [up/e]}}
pipelines:
  docs: {{context: {{from: [notes]}}, model: plain}}
  tight: {{context: {{from: [notes]}}, model: small}}
sources:
  notes: {{kind: documents}}
  other: {{kind: documents}}
  hosted: {{kind: documents, embedder: {{model: embedder, dimensions: 2}}}}
apps:
  one: {{keys: [test-key], ingest: [notes, hosted]}}
  hr: {{keys: [hr-key], ingest: [notes], labels: [hr]}}
observe: {{log: "off"}}
"""
)
DOCUMENTS: list[dict[str, Any]] = [
    {"id": "pump.md", "text": "# Pump\n\nThe pump carries a warranty of two years."},
    {"id": "https://acme.example/fridge", "text": "The fridge cools to four degrees.", "media_type": "text/plain"},
    {"id": "pay.md", "text": "The pay of the board is one million.", "labels": ["hr"]},
]


@pytest.fixture(scope="module")
def gateway(gateway: Gateway) -> Gateway:
    answer = post(gateway, "/v1/sources/notes/documents", {"documents": DOCUMENTS})
    assert answer.json() == {"added": 3, "changed": 0, "unchanged": 0, "chunks": 3, "failed": [], "notes": []}
    return gateway


def post(gateway: Gateway, path: str, body: Any, key: str = "test-key") -> Answer:
    return gateway.request("POST", path, body, {"authorization": f"Bearer {key}"})


def found(gateway: Gateway, query: str, key: str = "test-key") -> list[str]:
    answer = post(gateway, "/v1/sources/notes/search", {"query": query, "top": 5}, key)
    assert answer.status == 200, answer.body
    return [each["document"] for each in answer.json()["data"]]


def test_documents_are_found_by_those_who_may(gateway: Gateway) -> None:
    assert found(gateway, "warranty of the pump")[0] == "pump.md"
    assert "pay.md" not in found(gateway, "pay of the board")
    assert found(gateway, "pay of the board", "hr-key")[0] == "pay.md"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("surface", ["openai", "anthropic", "gemini"])
def test_what_is_found_stands_before_the_model_and_is_cited(
    gateway: Gateway, upstream: Recording, surface: str, stream: bool
) -> None:
    def cite(body: dict[str, Any]) -> str:
        number = body["messages"][-1]["content"].partition("pump.md")[0].count("<passage number")
        return f"Two years [{number}]. Really."

    upstream.answers.append(cite)
    answer = ask(gateway, surface, "docs", "How long is the warranty of the pump?", stream=stream)
    assert answer.status == 200, answer.body
    sent = json.dumps(upstream.bodies[-1])
    assert "warranty of two years" in sent
    assert "board" not in sent
    text = answer.body.decode()
    marker = {"openai": "url_citation", "anthropic": "search_result_location", "gemini": "citationSources"}[surface]
    assert marker in text
    assert "gatehouse:notes/pump.md" in text
    if surface == "openai" and not stream:
        message = answer.json()["choices"][0]["message"]
        place = message["annotations"][0]["url_citation"]
        assert message["content"][place["start_index"] : place["end_index"]].startswith("[")
        assert place["title"] == "pump.md, Pump, line 3"
        cited = [each["document"] for each in message["gatehouse"]["sources"] if each["cited"]]
        assert cited == ["pump.md"]
    if surface == "anthropic" and not stream:
        block = answer.json()["content"][0]
        assert block["citations"][0]["cited_text"] == "The pump carries a warranty of two years."


def test_passages_are_left_out_where_the_window_is_small(gateway: Gateway, upstream: Recording) -> None:
    assert ask(gateway, "openai", "docs", "pump and fridge: how cold, how long?").status == 200
    assert json.dumps(upstream.bodies[-1]).count("<passage number") == 2
    assert ask(gateway, "openai", "tight", "pump and fridge: how cold, how long?").status == 200
    assert json.dumps(upstream.bodies[-1]).count("<passage number") == 1


def test_documents_are_listed_replaced_and_removed(gateway: Gateway) -> None:
    extra: dict[str, Any] = {"id": "x.txt", "data": base64.b64encode(b"Zebras run.").decode()}
    assert post(gateway, "/v1/sources/notes/documents", {"documents": [extra]}).json()["added"] == 1
    assert found(gateway, "zebras")[0] == "x.txt"
    page = gateway.request(
        "GET", "/v1/sources/notes/documents?limit=2", None, {"authorization": "Bearer hr-key"}
    ).json()
    assert page["has_more"]
    path = f"/v1/sources/notes/documents?after={page['last_id']}"
    rest = gateway.request("GET", path, None, {"authorization": "Bearer hr-key"}).json()
    assert {each["id"] for each in page["data"] + rest["data"]} == {each["id"] for each in DOCUMENTS} | {"x.txt"}
    changed = {"id": "x.txt", "text": "Lions sleep."}
    assert post(gateway, "/v1/sources/notes/documents", {"documents": [changed]}).json()["changed"] == 1
    assert found(gateway, "lions")[0] == "x.txt"
    assert gateway.request("DELETE", "/v1/sources/notes/documents/x.txt").json() == {"deleted": True, "id": "x.txt"}
    assert "x.txt" not in found(gateway, "lions")
    assert gateway.request("DELETE", "/v1/sources/notes/documents/x.txt").status == 404


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "is not valid"),
        ({"documents": [{"id": "a"}]}, "needs either 'text' or 'data'"),
        ({"documents": [{"id": "a", "text": "x", "data": "eA=="}]}, "needs either 'text' or 'data'"),
        ({"documents": [{"id": "", "text": "x"}]}, "documents[0].id"),
        ({"documents": [{"id": "a", "data": "%%%"}]}, "is not base64"),
        ({"documents": [{"id": "a\x00", "text": "x"}]}, "control character"),
        ({"documents": [{"id": "a", "text": "x", "label": "y"}]}, "label"),
        ({"documents": "no"}, "documents"),
        ({"documents": [{"id": "a", "text": "x", "labels": ["hr\x1fall"]}]}, "labels"),
    ],
)
def test_bad_bodies_say_what_is_wrong(gateway: Gateway, body: Any, words: str) -> None:
    answer = post(gateway, "/v1/sources/notes/documents", body)
    assert answer.status == 400
    assert words in answer.json()["error"]["message"]


def test_what_cant_be_read_is_told_and_the_rest_is_kept(gateway: Gateway) -> None:
    documents = [
        {"id": "broken.pdf", "data": base64.b64encode(b"%PDF-1.4 broken").decode()},
        {"id": "strange.exe", "data": "TVo="},
        {"id": "good.md", "text": "Giraffes eat leaves."},
    ]
    answer = post(gateway, "/v1/sources/notes/documents", {"documents": documents}).json()
    assert answer["added"] == 1
    assert [each["id"] for each in answer["failed"]] == ["broken.pdf", "strange.exe"]
    assert found(gateway, "giraffes")[0] == "good.md"
    assert gateway.request("DELETE", "/v1/sources/notes/documents/good.md").status == 200


@pytest.mark.parametrize(
    ("method", "path", "key", "status"),
    [
        ("POST", "/v1/sources/other/documents", "test-key", 404),
        ("POST", "/v1/sources/other/search", "test-key", 403),
        ("POST", "/v1/sources/nothing/documents", "test-key", 404),
        ("POST", "/v1/sources/notes/documents", "wrong", 401),
        ("PUT", "/v1/sources/notes/documents", "test-key", 405),
        ("POST", "/v1/sources/notes", "test-key", 404),
    ],
)
def test_only_those_who_may(gateway: Gateway, method: str, path: str, key: str, status: int) -> None:
    answer = gateway.request(method, path, {"documents": []}, {"authorization": f"Bearer {key}"})
    assert answer.status == status, answer.body


def test_a_providers_model_embeds_a_source(gateway: Gateway, upstream: Recording) -> None:
    documents = [{"id": "a.md", "text": "Zebras run."}]
    assert post(gateway, "/v1/sources/hosted/documents", {"documents": documents}).json()["added"] == 1
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        hits = post(gateway, "/v1/sources/hosted/search", {"query": "animals"}).json()["data"]
        if hits and hits[0]["cosine"] > 0.99:
            break
        time.sleep(0.05)
    assert hits[0]["document"] == "a.md"
    assert any(body.get("input") == ["Zebras run."] and body["model"] == "e" for body in upstream.bodies)


@pytest.mark.parametrize(
    "name", ["a/b c.md", "../../etc/passwd", "%2e%2e", "x y?z#", "\u00e9" * 100, "https://a.example/?b=c"]
)
def test_odd_ids_are_ids_like_others(gateway: Gateway, name: str) -> None:
    answer = post(gateway, "/v1/sources/notes/documents", {"documents": [{"id": name, "text": "Okapis."}]})
    assert answer.json()["added"] == 1, answer.body
    assert found(gateway, "okapis")[0] == name
    assert gateway.request("DELETE", f"/v1/sources/notes/documents/{quote(name, safe='')}").status == 200
    assert name not in found(gateway, "okapis")
