"""Answers given again through HTTP: to those who may have them, whole and streamed, and never a wrong one."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from config import ConfigError, load
from tests.integration.test_guardrails import ask as ask_surface
from tests.live import Answer, Gateway, free_port, running_gateway
from tests.processes import until
from tests.recording import Recording
from tests.services import postgres_server, redis_server

YAML = """
version: 1
server: {{data: data, redis: "{redis}"}}
providers:
  up: {{kind: openai, base_url: "http://127.0.0.1:{port}/v1", api_key: upstream-key}}
  cut: {{kind: simulated, script: cut3}}
models:
  plain: {{targets: [up/m]}}
  broken: {{targets: [cut/m], retry: {{attempts: 1}}}}
  kept: {{pipeline: kept}}
  other: {{pipeline: other}}
  shared: {{pipeline: shared}}
  users: {{pipeline: users}}
  docs: {{pipeline: docs}}
  masked: {{pipeline: masked}}
  strict: {{pipeline: strict}}
  cutting: {{pipeline: cutting}}
  meaning: {{pipeline: meaning}}
  shadow: {{pipeline: shadow}}
  library: {{pipeline: library}}
  talk: {{pipeline: talk}}
pipelines:
  meaning: {{recall: likes, answer: plain}}
  shadow: {{recall: watched, answer: plain}}
  talk: {{recall: talks, context: {{from: [notes], rewrite: plain}}, answer: plain}}
  library: {{recall: likes, context: {{from: [notes], top: 1}}, answer: plain}}
  kept: {{recall: answers, answer: plain}}
  other: {{recall: answers, answer: plain}}
  shared: {{recall: everyones, answer: plain}}
  users: {{recall: each, answer: plain}}
  docs: {{recall: answers, context: {{from: [notes]}}, answer: plain}}
  masked: {{recall: answers, guard_input: [pii], context: {{from: [notes]}}, answer: plain}}
  strict: {{recall: answers, answer: plain, guard_output: [words]}}
  cutting: {{recall: answers, answer: broken}}
guardrails:
  pii: {{kind: personal_data, key: k, types: {{person: allow, address: allow}}}}
  words: {{kind: keywords, lists: {{bad: [forbidden]}}, then: flag}}
caches:
  answers: {{ttl: 1h, tiers: {tiers}}}
  everyones: {{per: labels}}
  each: {{per: user}}
  likes: {{tiers: {tiers}, semantic: {{sample: 0%}}}}
  talks: {{semantic: {{sample: 0%, conversations: true}}}}
  watched: {{semantic: {{shadow: true}}}}
sources:
  notes: {{kind: documents, search: {{fusion: words}}}}
apps:
  one: {{keys: [test-key], ingest: [notes], labels: [staff]}}
  two: {{keys: [other-key], labels: [staff]}}
  three: {{keys: [third-key]}}
observe: {{log: "off"}}
"""
MEMORY = "[{kind: memory, size: 10 MB}]"
QUESTION = "How far does a toner cartridge go?"


@pytest.fixture(scope="module")
def gateway(recorder: Recording, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    yaml = YAML.format(port=recorder.port, tiers=MEMORY, redis="")
    with running_gateway(yaml, tmp_path_factory.mktemp("cache")) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(request: pytest.FixtureRequest) -> None:
    if "gateway" in request.fixturenames:
        running = request.getfixturevalue("gateway")
        for key in ("test-key", "other-key", "third-key"):
            assert running.request("DELETE", "/v1/cache", headers={"authorization": f"Bearer {key}"}).status == 200


def ask(gateway: Gateway, text: str, model: str = "kept", key: str = "test-key", **more: Any) -> Answer:
    headers = {"authorization": f"Bearer {key}", **more.pop("headers", {})}
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    return gateway.request("POST", "/v1/chat/completions", body, headers)


def kind(answer: Answer) -> str:
    assert answer.status == 200, answer.body
    return answer.headers["x-gatehouse-cache"]


def words(answer: Answer) -> str:
    """Of a whole answer or of a stream."""
    if not answer.headers["content-type"].startswith("text/event-stream"):
        return str(answer.json()["choices"][0]["message"]["content"])
    events = [line[6:] for line in answer.body.decode().splitlines() if line.startswith("data: {")]
    choices = [choice for event in events for choice in json.loads(event)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def test_the_same_question_is_answered_once(gateway: Gateway, upstream: Recording) -> None:
    upstream.answers += [lambda _: "Nine thousand pages.", lambda _: "Something else."]
    first, second = ask(gateway, QUESTION), ask(gateway, QUESTION)
    assert (kind(first), kind(second)) == ("miss", "exact")
    assert words(first) == words(second) == "Nine thousand pages."
    assert len(upstream.bodies) == 1
    assert second.headers["x-gatehouse-model"] == "up/m"
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
        assert answer.headers["x-gatehouse-cache-why"] == why
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
        while not (told := gateway.request("GET", "/health").json()["parts"]["notes"]).endswith("and meaning"):
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


def ready(gateway: Gateway) -> None:
    """Waits for the embedding model."""
    until = time.monotonic() + 60
    while "int8" not in gateway.request("GET", "/health").body.decode() and time.monotonic() < until:
        time.sleep(0.05)


def test_other_words_for_the_same_question_find_its_answer(gateway: Gateway, upstream: Recording) -> None:
    ready(gateway)
    upstream.answers += [lambda _: "Thirty-eight."] + [lambda body: f"new: {json.dumps(body)[-60:]}"] * 30
    asked = "How many pages a minute does the A300 print?"
    same = "How many pages per minute does the A300 printer print?", "How many pages does the A300 print a minute?"
    assert kind(ask(gateway, asked, model="meaning")) == "miss"
    time.sleep(0.1)
    found = [ask(gateway, each, model="meaning") for each in same]
    assert "semantic" in [kind(each) for each in found]
    hit = next(each for each in found if kind(each) == "semantic")
    assert words(hit) == "Thirty-eight."
    assert float(hit.headers["x-gatehouse-cache-similarity"]) >= 0.9
    # What is another question gets another answer.
    for other in (
        "How many pages a minute does the A301 print?",
        "How many pages an hour does the A300 print?",
        "How many pages a minute does the A300 not print?",
        "How many pages a minute does the B500 print?",
        "How many photos a minute does the A300 print?",
        "Why does the A300 print many pages a minute?",
    ):
        assert kind(ask(gateway, other, model="meaning")) == "miss", other
    # Nor is another app's, another system prompt's, or a later turn's question the same.
    assert kind(ask(gateway, asked, model="meaning", key="other-key")) == "miss"
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": same[0]}]
    assert kind(ask(gateway, "", model="meaning", messages=turns)) == "miss"
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}, turns[1]]
    assert kind(ask(gateway, "", model="meaning", messages=turns)) == "miss"


def test_a_wrong_answer_is_removed_and_teaches(gateway: Gateway, upstream: Recording) -> None:
    ready(gateway)
    upstream.answers += [lambda _: "Black."] + [lambda _: "Grey."] * 9
    ask(gateway, "What colour is the toner of the A700?", model="meaning")
    time.sleep(0.1)
    hit = ask(gateway, "What is the colour of the A700's toner?", model="meaning")
    assert kind(hit) == "semantic"
    entry = hit.headers["x-gatehouse-cache-entry"]
    assert gateway.request("DELETE", f"/v1/cache/{entry}").json() == {"removed": 1}
    assert words(ask(gateway, "What is the colour of the A700's toner?", model="meaning")) == "Grey."
    status = gateway.request("GET", "/health").json()
    assert "1 observations" in json.dumps(status) or "observations" in json.dumps(status)


def test_a_later_turn_is_compared_by_what_it_means(gateway: Gateway, upstream: Recording) -> None:
    ready(gateway)

    def turns(*texts: str) -> list[dict[str, str]]:
        return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]

    upstream.answers += [lambda _: "Grey."]
    ask(gateway, "What colour is the toner of the B900?", model="talk")
    time.sleep(0.1)
    upstream.answers += [
        lambda _: '{"question": "What is the colour of the B900\'s toner?", "unknown": ""}',
        lambda _: "No.",
    ]
    talk = turns("What colour is the toner of the A700?", "Black.", "And that of the B900?")
    answer = ask(gateway, "", model="talk", messages=talk)
    assert (kind(answer), words(answer)) == ("semantic", "Grey.")
    # Nobody asks a model twice for the same, and what refers to nothing known is not compared.
    upstream.bodies.clear()
    upstream.answers[:] = [lambda _: '{"question": "And its weight?", "unknown": "what it is"}', lambda _: "Of what?"]
    answer = ask(gateway, "", model="talk", messages=turns("Hello", "Hi!", "And what is its weight then?"))
    assert (kind(answer), words(answer)) == ("miss", "Of what?")
    assert len(upstream.bodies) == 2


def test_in_the_shadow_nothing_is_given(gateway: Gateway, upstream: Recording) -> None:
    ready(gateway)
    upstream.answers += [lambda _: "Black."] * 9
    ask(gateway, "What colour is the toner of the A700?", model="shadow")
    time.sleep(0.1)
    assert kind(ask(gateway, "What is the colour of the A700's toner?", model="shadow")) == "miss"
    time.sleep(0.1)
    assert "in the shadow; given from 0.90 on; of 1 observations" in gateway.request("GET", "/health").body.decode()


def test_an_answer_by_meaning_dies_with_its_passages(gateway: Gateway, upstream: Recording) -> None:
    ready(gateway)

    def put(name: str, text: str) -> None:
        documents = [{"id": name, "text": text}]
        assert gateway.request("POST", "/v1/sources/notes/documents", {"documents": documents}).status == 200

    put("tray.md", "The tray of the A700 holds 250 sheets.")
    upstream.answers += [lambda _: "250 [1]."] + [lambda _: "300 [1]."] * 9
    ask(gateway, "How many sheets does the tray of the A700 hold?", model="library")
    time.sleep(0.1)
    again = "How many sheets does the A700's tray hold?"
    # Another document changes nothing for this one.
    put("other.md", "Bicycles have two wheels.")
    assert kind(ask(gateway, again, model="library")) == "semantic"
    put("tray.md", "The tray of the A700 holds 300 sheets.")
    answer = ask(gateway, again, model="library")
    assert (kind(answer), words(answer)) == ("miss", "300 [1].")
    for name in ("tray.md", "other.md"):
        gateway.request("DELETE", f"/v1/sources/notes/documents/{name}")


def at_once(count: int, gateway: Gateway, **more: Any) -> list[Answer]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: ask(gateway, QUESTION, **more), range(count)))


@pytest.mark.parametrize("model", ["kept", "meaning"])
@pytest.mark.parametrize("stream", [False, True])
def test_equal_requests_at_once_make_one_call(gateway: Gateway, upstream: Recording, stream: bool, model: str) -> None:
    ready(gateway)

    def slow(_: dict[str, Any]) -> str:
        time.sleep(0.5)
        return "Nine thousand pages, and a few more words."

    upstream.answers += [slow] * 200
    answers = at_once(100, gateway, stream=stream, model=model)
    assert len(upstream.bodies) == 1
    assert {words(each) for each in answers} == {"Nine thousand pages, and a few more words."}
    assert sum(kind(each) == "miss" for each in answers) == 1
    assert {kind(each) for each in answers} <= {"miss", "shared", "exact"}


def test_the_others_go_on_when_the_first_leaves(gateway: Gateway, upstream: Recording) -> None:
    begun = threading.Event()

    def slow(_: dict[str, Any]) -> str:
        begun.set()
        time.sleep(0.6)
        return "Nine thousand."

    upstream.answers += [slow] * 3
    leaver = http.client.HTTPConnection("127.0.0.1", gateway.port)
    body = json.dumps({"model": "kept", "messages": [{"role": "user", "content": QUESTION}]})
    leaver.request("POST", "/v1/chat/completions", body, {"authorization": "Bearer test-key"})
    assert begun.wait(5)
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(ask, gateway, QUESTION) for _ in range(3)]
        time.sleep(0.2)
        leaver.close()
        answers = [each.result() for each in waiting]
    assert [words(each) for each in answers] == ["Nine thousand."] * 3
    assert {kind(each) for each in answers} == {"shared"}
    assert len(upstream.bodies) == 1


def test_a_call_that_fails_fails_for_all_and_the_next_tries_again(gateway: Gateway, upstream: Recording) -> None:
    answers = at_once(20, gateway, model="cutting")
    assert {each.status for each in answers} == {502}
    streams = at_once(20, gateway, model="cutting", stream=True)
    assert all(b"error" in each.body and b"[DONE]" not in each.body for each in streams)


@contextlib.contextmanager
def two_gateways(upstream: Recording, folder: Path, tiers: str, redis: str) -> Iterator[tuple[Gateway, Gateway]]:
    yaml = YAML.format(port=upstream.port, tiers=tiers, redis=redis).replace("{{", "{")
    one, two = folder / "one", folder / "two"
    one.mkdir()
    two.mkdir()
    with running_gateway(yaml, one) as first, running_gateway(yaml, two) as second:
        yield first, second


def test_replicas_share_by_redis(upstream: Recording, tmp_path: Path) -> None:
    tiers = "[{kind: memory, size: 10 MB}, {kind: redis}]"
    with redis_server(tmp_path) as redis, two_gateways(upstream, tmp_path, tiers, redis.url) as (first, second):
        upstream.answers += [lambda _: "one"] + [lambda _: "two"] * 9
        assert kind(ask(first, QUESTION)) == "miss"
        # At once it may still be under way.
        assert kind(ask(second, QUESTION)) in ("exact", "shared")
        assert (kind(ask(second, QUESTION)), words(ask(second, QUESTION))) == ("exact", "one")
        # Equal requests at both at once make one call.
        upstream.bodies.clear()

        def slow(_: dict[str, Any]) -> str:
            time.sleep(0.5)
            return "both"

        upstream.answers[:] = [slow] * 4
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(ask, (first, second)[n % 2], "Who invented the toner?") for n in range(8)]
            assert {words(each.result()) for each in asked} == {"both"}
        assert len(upstream.bodies) == 1
        # Gone: every replica for itself, at once and without an error. Back: shared again.
        redis.stop()
        upstream.answers[:] = [lambda _: "three"] * 9
        assert words(ask(first, "Which toner is the largest?")) == "three"
        assert kind(ask(second, "Which toner is the largest?")) == "miss"
        redis.start()
        upstream.answers[:] = [lambda _: "three"] * 999
        numbers = itertools.count()

        def is_shared() -> bool:
            question = f"Which toner is the smallest of {next(numbers)}?"
            ask(first, question)
            return kind(ask(second, question)) == "exact"

        until(is_shared)
        ask(first, "Which toner is the smallest?")
        assert kind(ask(second, "Which toner is the smallest?")) == "exact"
        # Stalled: a request waits for a moment and not for ever.
        redis.stall()
        assert kind(ask(first, "Is toner black?")) == "miss"
        redis.resume()
        until(is_shared)
        assert first.request("DELETE", "/v1/cache?model=kept").json()["removed"] > 0
        assert kind(ask(second, "Which toner is the smallest?")) == "exact", "its own memory is its own"


def test_replicas_find_by_meaning_what_others_keep(upstream: Recording, tmp_path: Path) -> None:
    tiers = "[{kind: redis}]"
    first_words, other_words = "What colour is the toner of the A700?", "What is the colour of the A700's toner?"
    with redis_server(tmp_path) as redis, two_gateways(upstream, tmp_path, tiers, redis.url) as (first, second):
        ready(first)
        ready(second)
        upstream.answers[:] = [lambda _: "Black."] * 9
        # The second begins to listen when it is first asked.
        assert kind(ask(second, "Is paper white in the A700?", model="meaning")) == "miss"
        assert kind(ask(first, first_words, model="meaning")) == "miss"
        time.sleep(0.5)
        assert kind(ask(second, other_words, model="meaning")) == "semantic"
        # One that starts later hears of it too.
        third_folder = tmp_path / "three"
        third_folder.mkdir()
        yaml = YAML.format(port=upstream.port, tiers=tiers, redis=redis.url)
        with running_gateway(yaml, third_folder) as third:
            ready(third)
            ask(third, "Is paper grey in the A700?", model="meaning")
            time.sleep(0.5)
            assert kind(ask(third, "Which colour has the toner of the A700?", model="meaning")) == "semantic"


def test_a_holder_that_dies_holds_nobody_up(upstream: Recording, tmp_path: Path) -> None:
    with redis_server(tmp_path) as redis, two_gateways(upstream, tmp_path, "[{kind: redis}]", redis.url) as (first, _):
        import redis as library

        client = library.Redis.from_url(redis.url)
        upstream.answers += [lambda _: "one"]
        # Somebody else's lease, which nobody renews.
        started = time.monotonic()
        with ThreadPoolExecutor(1) as pool:

            def lease_all() -> None:
                while not client.keys("gatehouse:lease:*") and time.monotonic() < started + 5:
                    time.sleep(0.001)
                for name in client.keys("gatehouse:lease:*"):
                    client.set(name, "another", px=1000)

            def slow(_: dict[str, Any]) -> str:
                time.sleep(0.3)
                return "mine"

            upstream.answers[:] = [slow]
            held = pool.submit(lease_all)
            assert words(ask(first, QUESTION)) == "mine"
            held.result()
        names = client.keys("gatehouse:lease:*")
        assert names, "the lease of another is not ours to release"


def test_a_replica_that_is_killed_holds_nobody_up(upstream: Recording, tmp_path: Path) -> None:
    tiers = "[{kind: redis}]"
    port = free_port()
    with redis_server(tmp_path) as redis:
        yaml = YAML.format(port=upstream.port, tiers=tiers, redis=redis.url)
        (tmp_path / "killed").mkdir()
        path = tmp_path / "killed" / "g.yaml"
        path.write_text(yaml)
        command = [sys.executable, "-m", "gateway", "serve", "-c", str(path), "--listen", f"127.0.0.1:{port}"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until = time.monotonic() + 30
            while time.monotonic() < until:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.2):
                    break
                time.sleep(0.05)
            begun = threading.Event()

            def never(_: dict[str, Any]) -> str:
                begun.set()
                time.sleep(8)
                return "too late"

            upstream.answers[:] = [never, lambda _: "mine"]
            leaver = http.client.HTTPConnection("127.0.0.1", port)
            body = json.dumps({"model": "kept", "messages": [{"role": "user", "content": QUESTION}]})
            leaver.request("POST", "/v1/chat/completions", body, {"authorization": "Bearer test-key"})
            assert begun.wait(10)
            (tmp_path / "other").mkdir()
            with running_gateway(yaml, tmp_path / "other") as other, ThreadPoolExecutor(1) as pool:
                waiting = pool.submit(ask, other, QUESTION)
                time.sleep(0.5)
                assert not waiting.done(), "it waits for the other's answer"
                process.kill()
                # The lease lasts three seconds, and nobody renews it.
                assert words(waiting.result(timeout=60)) == "mine"
        finally:
            process.kill()
            process.wait()


def test_replicas_share_by_postgres(upstream: Recording, tmp_path: Path) -> None:
    with postgres_server(tmp_path / "pg") as url:
        tiers = f'[{{kind: postgres, url: "{url}"}}]'
        with two_gateways(upstream, tmp_path, tiers, "") as (first, second):
            upstream.answers += [lambda _: "one"] * 9
            ask(first, "Warm it up please")
            time.sleep(1.5)
            assert kind(ask(first, QUESTION)) == "miss"
            assert kind(ask(second, QUESTION)) in ("exact", "miss")
            time.sleep(1.2)
            assert kind(ask(second, QUESTION)) == "exact"
            assert second.request("DELETE", "/v1/cache").json()["removed"] >= 1
            assert kind(ask(first, QUESTION)) == "miss"


@pytest.mark.parametrize(
    ("cache", "wanted"),
    [
        ("{tiers: [{kind: redis}]}", "there is no Redis"),
        ("{tiers: []}", "tiers"),
        ("{tiers: [{kind: disk}]}", "kind"),
        ("{tiers: [{kind: postgres, url: mysql://x}]}", "no address of a PostgreSQL"),
        ("{per: team}", "per"),
    ],
)
def test_bad_caches_are_refused(tmp_path: Path, cache: str, wanted: str) -> None:
    path = tmp_path / "g.yaml"
    path.write_text(f"version: 1\nproviders: {{p: {{kind: simulated}}}}\ncaches: {{a: {cache}}}\n")
    with pytest.raises(ConfigError, match=wanted):
        load(path, environ={})
