"""Routers through HTTP: rules before intents, stock answers without a model, and what was kept apart by a rule."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.configs import assert_refused
from tests.integration.cache.cached import ask, kind, ready, words
from tests.live import Gateway
from tests.processes import until
from tests.recording import HEAD, Recording

YAML = (
    HEAD
    + """\
models:
  plain: {{targets: [up/plain]}}
  gold: {{targets: [up/gold]}}
  cheap: {{targets: [up/cheap]}}
  desk: {{pipeline: desk}}
  masked: {{pipeline: masked}}
pipelines:
  desk: {{cache: answers, router: front, model: plain, tools: [one, two]}}
  masked: {{guard_input: [pii], router: front, model: plain}}
  docs: {{context: {{from: [notes]}}, model: cheap}}
guardrails:
  pii: {{kind: personal_data, key: k, types: {{person: allow, address: allow}}}}
caches:
  answers: {{personal: true}}
routers:
  front:
    rules:
      - {{name: gold-tier, when: {{header: {{X-Tier: gold}}}}, then: gold}}
      - {{name: night, when: {{metadata: {{shift: night}}}}, then: {{human: "Somebody will call you."}}}}
    intents:
      refund:
        examples: [I want my money back, can I get a refund, please refund me, how do refunds work, my money back]
        then: {{say: "Refunds take a week."}}
      hours:
        examples: [when do you open, what are your opening hours, are you open on sunday, when do you close, hours]
        then: {{model: cheap, tools: [one]}}
      manual:
        examples: [how do i change the toner, how to replace a drum, where is the tray, the printer jams, clean rollers]
        then: {{pipeline: docs}}
    min_confidence: 40%
    out_of_scope: {{ask: "I only know about {{options}}."}}
sources:
  notes: {{kind: documents, search: {{fusion: words}}}}
tools:
  one: {{kind: source, source: notes, description: One.}}
  two: {{kind: source, source: notes, description: Two.}}
apps:
  one: {{keys: [test-key], ingest: [notes]}}
observe: {{log: "off"}}
"""
)


@pytest.fixture(scope="module")
def gateway(gateway: Gateway) -> Gateway:
    ready(gateway)
    until(lambda: "3 intents from 15 examples" in gateway.request("GET", "/health").body.decode())
    documents = [{"id": "toner.md", "text": "Turn the toner to the left and change it."}]
    assert gateway.request("POST", "/v1/sources/notes/documents", {"documents": documents}).status == 200
    return gateway


@pytest.mark.parametrize("stream", [False, True])
def test_a_stock_answer_calls_no_model(gateway: Gateway, upstream: Recording, stream: bool) -> None:
    answer = ask(gateway, f"could I please have my money back {stream}", model="desk", stream=stream)
    assert words(answer) == "Refunds take a week."
    assert not upstream.bodies
    assert answer.headers["x-gatehouse-attempts"] == "0"


def test_an_intent_leads_to_a_model_with_its_tools(gateway: Gateway, upstream: Recording) -> None:
    answer = ask(gateway, "when do you open tomorrow", model="desk")
    assert answer.headers["x-gatehouse-target"] == "up/cheap"
    assert [tool["function"]["name"] for tool in upstream.bodies[0]["tools"]] == ["one"]


def test_an_intent_leads_to_a_pipeline_with_its_context(gateway: Gateway, upstream: Recording) -> None:
    upstream.answers.append(lambda _: "To the left [1].")
    answer = ask(gateway, "how do i change the toner please", model="desk")
    assert "Turn the toner to the left" in json.dumps(upstream.bodies[0])
    assert upstream.bodies[0]["model"] == "cheap"
    message = answer.json()["choices"][0]["message"]
    assert message["gatehouse"]["sources"][0]["document"] == "toner.md"


def test_what_is_out_of_scope_is_asked_back(gateway: Gateway, upstream: Recording) -> None:
    said = words(ask(gateway, "who won the football world cup in 1954", model="desk"))
    assert said.startswith("I only know about ")
    assert "refund" in said
    assert not upstream.bodies


def test_rules_come_first_and_keep_answers_apart(gateway: Gateway, upstream: Recording) -> None:
    gold = {"headers": {"x-tier": "gold"}}
    upstream.answers += [lambda _: "gold answer", lambda _: "plain answer"]
    first = ask(gateway, "when do you open", model="desk", **json.loads(json.dumps(gold)))
    assert (words(first), first.headers["x-gatehouse-target"]) == ("gold answer", "up/gold")
    again = ask(gateway, "when do you open", model="desk", **json.loads(json.dumps(gold)))
    assert (kind(again), words(again)) == ("exact", "gold answer")
    other = ask(gateway, "when do you open", model="desk")
    assert (kind(other), words(other)) == ("miss", "plain answer")
    night = ask(gateway, "when do you open", model="desk", metadata={"shift": "night"})
    assert words(night) == "Somebody will call you."


def test_it_works_under_guardrails_too(gateway: Gateway, upstream: Recording) -> None:
    mail = "ann.lee@example.org"
    answer = ask(gateway, f"when do you open, {mail}", model="masked")
    assert answer.headers["x-gatehouse-target"] == "up/cheap"
    assert mail not in upstream.seen
    assert words(ask(gateway, f"please refund me, {mail}", model="masked")) == "Refunds take a week."


@pytest.mark.parametrize(
    ("router", "wanted"),
    [
        ("{}", "this router decides nothing"),
        ("{intents: {a: {examples: [a, b, c, d, e]}}}", "a single intent can't be distinguished from others"),
        ("{intents: {a: {examples: [a, b]}, b: {examples: [a, b, c, d, e]}}}", "examples"),
        ("{rules: [{name: x, when: {}, then: plain}]}", "this matches every request"),
        ("{rules: [{name: x, when: {app: [a]}, then: nothing}]}", "there is no model"),
        ("{rules: [{name: x, when: {app: [a]}, then: piped}]}", "is itself a pipeline"),
        ("{rules: [{name: x, when: {app: [a]}, then: {say: a, model: plain}}]}", "exclude each other"),
        ("{rules: [{name: x, when: {hours: 8-18}, then: plain}]}", "is not a time range"),
        ("{rules: [{name: x, when: {hours: '08:00-18:00', time_zone: Mars}, then: plain}]}", "is not a time zone"),
        ("{rules: [{name: x, when: {app: [a]}, then: {pipeline: guarded}}]}", "would be skipped"),
        ("{cost: {simple: plain}}", "either share or below"),
        ("{second_opinion: plain, cost: {simple: plain, share: 50%}}", "needs intents"),
    ],
)
def test_bad_routers_are_refused(tmp_path: Path, router: str, wanted: str) -> None:
    assert_refused(
        tmp_path,
        "version: 1\nproviders: {p: {kind: simulated}}\nguardrails: {w: {kind: secrets}}\n"
        "models: {plain: {targets: [p/m]}, piped: {pipeline: x}}\n"
        "pipelines: {x: {model: plain, router: r}, guarded: {model: plain, guard_input: [w]}}\n"
        f"routers: {{r: {router}}}\n",
        wanted,
    )
