"""Answers given again through HTTP: to those who may have them, whole and streamed, and never a wrong one."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.asking import ask as ask_surface
from tests.configs import assert_refused
from tests.integration.cache.cached import QUESTION, ask, kind, words
from tests.live import Gateway
from tests.recording import Recording


def test_the_same_question_is_answered_once(gateway: Gateway, upstream: Recording) -> None:
    upstream.answers += [lambda _: "Nine thousand pages.", lambda _: "Something else."]
    first, second = ask(gateway, QUESTION), ask(gateway, QUESTION)
    assert (kind(first), kind(second)) == ("miss", "exact")
    assert words(first) == words(second) == "Nine thousand pages."
    assert len(upstream.bodies) == 1
    assert second.headers["x-gatehouse-target"] == "up/m"
    assert second.headers["x-gatehouse-attempts"] == "0"
    assert second.headers["age"] == "0"
    # Another answer, with an id of its own.
    assert first.json()["id"] != second.json()["id"]
    assert second.json()["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("second", [False, True])
def test_whole_and_streamed_give_each_other(gateway: Gateway, upstream: Recording, first: bool, second: bool) -> None:
    text = "Many words are said here, more than one piece of a stream holds, and all of them come back. " * 3
    upstream.answers.append(lambda _: text)
    one = ask(gateway, QUESTION, stream=first)
    two = ask(gateway, QUESTION, stream=second)
    assert kind(two) == "exact"
    assert words(one) == words(two) == text
    if second:
        assert two.body.count(b"data: {") > 2
        assert two.body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [False, True])
def test_one_surface_gives_to_another(gateway: Gateway, upstream: Recording, stream: bool) -> None:
    upstream.answers.append(lambda _: "Nine thousand.")
    more: Any = {"max_tokens": 100}
    assert kind(ask_surface(gateway, "openai", "kept", QUESTION, **more)) == "miss"
    found = ask_surface(gateway, "anthropic", "kept", QUESTION, stream=stream)
    assert kind(found) == "exact"
    assert b"Nine thousand" in found.body.replace(b'"}}', b"")
    assert len(upstream.bodies) == 1


def test_who_does_not_share_gets_nothing_of_another(gateway: Gateway, upstream: Recording) -> None:
    answers = iter(range(1000))
    upstream.answers += [lambda _: f"answer {next(answers)}"] * 20
    ask(gateway, QUESTION)
    assert kind(ask(gateway, QUESTION, key="other-key")) == "miss"
    assert kind(ask(gateway, QUESTION, model="other")) == "miss"
    assert kind(ask(gateway, QUESTION + " ")) == "miss"
    assert kind(ask(gateway, QUESTION, max_tokens=10)) == "miss"
    assert kind(ask(gateway, QUESTION, seed=1)) == "miss"
    assert kind(ask(gateway, QUESTION, response_format={"type": "json_object"})) == "miss"
    assert kind(ask(gateway, QUESTION, a_field_of_its_own=1)) == "miss"
    assert kind(ask(gateway, QUESTION, a_field_of_its_own=2)) == "miss"
    # What says nothing about the answer makes no difference.
    assert kind(ask(gateway, QUESTION, user="somebody", metadata={"a": "b"})) == "exact"
    # A conversation that has a name is its own.
    for name in ("a", "b"):
        assert kind(ask(gateway, QUESTION, headers={"x-gatehouse-conversation": name})) == "miss"
    # By config others share: apps with the same labels, and callers of one user.
    assert kind(ask(gateway, QUESTION, model="shared")) == "miss"
    assert kind(ask(gateway, QUESTION, model="shared", key="other-key")) == "exact"
    assert kind(ask(gateway, QUESTION, model="shared", key="third-key")) == "miss"
    assert kind(ask(gateway, QUESTION, model="users", user="ann")) == "miss"
    assert kind(ask(gateway, QUESTION, model="users", user="bob")) == "miss"
    assert kind(ask(gateway, QUESTION, model="users", user="ann")) == "exact"
    assert kind(ask(gateway, QUESTION, model="users", user="ann", key="other-key")) == "miss"


@pytest.mark.parametrize(
    ("text", "more", "why"),
    [
        ("Where is my order?", {}, "user-specific"),
        ("What is the weather in Oslo?", {}, "time-sensitive"),
        (QUESTION, {"temperature": 0.9}, "temperature"),
        (QUESTION, {"headers": {"cache-control": "no-store"}}, "no-store"),
        (QUESTION, {"gatehouse": {"cache": "no-store"}}, "no-store"),
    ],
)
def test_what_is_not_kept(gateway: Gateway, upstream: Recording, text: str, more: dict[str, Any], why: str) -> None:
    for _ in range(2):
        answer = ask(gateway, text, **json.loads(json.dumps(more)))
        assert kind(answer) == "off"
        assert answer.headers["x-gatehouse-cache-reason"] == why
    assert len(upstream.bodies) == 2
    assert "gatehouse" not in upstream.seen


def test_what_a_caller_asks_of_the_cache(gateway: Gateway, upstream: Recording) -> None:
    upstream.answers += [lambda _: "old", lambda _: "new", lambda _: "newest"]
    ask(gateway, QUESTION)
    assert words(ask(gateway, QUESTION, headers={"cache-control": "max-age=60"})) == "old"
    assert words(ask(gateway, QUESTION, headers={"cache-control": "no-cache"})) == "new"
    assert words(ask(gateway, QUESTION)) == "new"
    time.sleep(0.02)
    assert words(ask(gateway, QUESTION, gatehouse={"cache": "max-age=0"})) == "newest"
    bad = ask(gateway, QUESTION, gatehouse={"cash": "no-cache"})
    assert bad.status == 400
    assert bad.json()["error"]["param"] == "gatehouse"


def test_failures_cuts_calls_and_findings_are_not_kept(gateway: Gateway, upstream: Recording) -> None:
    call = {"content": None, "tool_calls": [{"id": "1", "type": "function",
            "function": {"name": "f", "arguments": "{}"}}]}  # fmt: skip
    upstream.answers += [lambda _: call] * 2
    for _ in range(2):
        assert kind(ask(gateway, QUESTION, tools=[{"type": "function", "function": {"name": "f"}}])) == "miss"
    upstream.answers += [lambda _: "It is forbidden."] * 2
    for _ in range(2):
        assert kind(ask(gateway, QUESTION, model="strict")) == "miss"
    for _ in range(2):
        assert kind(ask(gateway, QUESTION, model="cutting", stream=True)) == "miss"
        assert ask(gateway, QUESTION, model="cutting").status == 502
    upstream.finish = "length"
    try:
        for _ in range(2):
            assert kind(ask(gateway, "Tell me of pumps")) == "miss"
    finally:
        upstream.finish = "stop"


def test_an_answer_dies_with_its_documents(gateway: Gateway, upstream: Recording) -> None:
    def put(text: str) -> None:
        documents = [{"id": "toner.md", "text": text}]
        assert gateway.request("POST", "/v1/sources/notes/documents", {"documents": documents}).status == 200
        # Its words are found at once, its meaning a little later: that is another state of the source.
        deadline = time.monotonic() + 60
        while not (told := gateway.request("GET", "/health").json()["parts"]["notes"]).endswith("vector search"):
            assert time.monotonic() < deadline, told
            time.sleep(0.02)

    put("A toner cartridge goes for nine thousand pages.")
    upstream.answers += [lambda _: "Nine [1].", lambda _: "Eight [1].", lambda _: "?"]
    first, second = ask(gateway, QUESTION, model="docs"), ask(gateway, QUESTION, model="docs")
    assert (kind(first), kind(second)) == ("miss", "exact")
    # What was cited is cited again.
    for answer in (first, second):
        message = answer.json()["choices"][0]["message"]
        assert message["gatehouse"]["sources"][0]["document"] == "toner.md"
        assert message["annotations"]
    put("A toner cartridge goes for eight thousand pages.")
    assert words(ask(gateway, QUESTION, model="docs")) == "Eight [1]."
    assert gateway.request("DELETE", "/v1/sources/notes/documents/toner.md").status == 200
    assert words(ask(gateway, QUESTION, model="docs")) == "?"


def test_masked_values_come_back_and_those_of_passages_are_not_kept(gateway: Gateway, upstream: Recording) -> None:
    def echo(body: dict[str, Any]) -> str:
        tags = [word for word in json.dumps(body).replace('"', " ").replace("\\n", " ").split() if "EMAIL_" in word]
        return f"Write to {tags[-1]}"

    upstream.answers += [echo] * 4
    for expected in ("miss", "exact"):
        answer = ask(gateway, "Whom does ann.lee@example.org write to?", model="masked")
        assert kind(answer) == expected
        assert words(answer) == "Write to ann.lee@example.org"
    other = ask(gateway, "Whom does bob.lee@example.org write to?", model="masked")
    assert (kind(other), words(other)) == ("miss", "Write to bob.lee@example.org")
    documents = [{"id": "desk.md", "text": "The toner desk is reached at desk.toner@example.org for cartridges."}]
    assert gateway.request("POST", "/v1/sources/notes/documents", {"documents": documents}).status == 200

    def from_passage(body: dict[str, Any]) -> str:
        text = json.dumps(body)
        place = text.index("EMAIL_")
        return f"Write to <{text[place : place + 12]}>"

    upstream.answers[:] = [from_passage] * 2
    for _ in range(2):
        answer = ask(gateway, "Which toner desk is for cartridges?", model="masked")
        assert kind(answer) == "miss"
        assert words(answer) == "Write to desk.toner@example.org"
    gateway.request("DELETE", "/v1/sources/notes/documents/desk.md")


def test_an_app_removes_its_own(gateway: Gateway, upstream: Recording) -> None:
    ask(gateway, QUESTION)
    ask(gateway, QUESTION, model="other")
    ask(gateway, QUESTION, key="other-key")
    found = ask(gateway, QUESTION)
    entry = found.headers["x-gatehouse-cache-entry"]
    other = {"authorization": "Bearer other-key"}
    assert gateway.request("DELETE", f"/v1/cache/{entry}", headers=other).status == 404
    assert gateway.request("DELETE", f"/v1/cache/{entry}").json() == {"removed": 1}
    assert kind(ask(gateway, QUESTION)) == "miss"
    assert gateway.request("DELETE", "/v1/cache?older_than=1h").json() == {"removed": 0}
    assert gateway.request("DELETE", "/v1/cache?model=other").json() == {"removed": 1}
    assert gateway.request("DELETE", "/v1/cache").json() == {"removed": 1}
    assert kind(ask(gateway, QUESTION, key="other-key")) == "exact"
    assert gateway.request("DELETE", "/v1/cache?older=1h").status == 400
    assert gateway.request("DELETE", "/v1/cache?older_than=soon").status == 400
    assert gateway.request("GET", "/v1/cache").status == 405
    assert gateway.request("DELETE", "/v1/cache/xyz").status == 404


@pytest.mark.parametrize(
    ("cache", "wanted"),
    [
        ("{tiers: [{kind: redis}]}", "there is no Redis"),
        ("{tiers: []}", "tiers"),
        ("{tiers: [{kind: disk}]}", "kind"),
        ("{tiers: [{kind: postgres, url: mysql://x}]}", "not a PostgreSQL URL"),
        ("{scope: team}", "scope"),
    ],
)
def test_bad_caches_are_refused(tmp_path: Path, cache: str, wanted: str) -> None:
    assert_refused(tmp_path, f"version: 1\nproviders: {{p: {{kind: simulated}}}}\ncaches: {{a: {cache}}}\n", wanted)
