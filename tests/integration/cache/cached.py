"""A gateway with caches of every kind, and what is asked of it."""

from __future__ import annotations

import json
from typing import Any

from tests.live import Answer, Gateway
from tests.processes import until

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
  meaning: {{cache: likes, model: plain}}
  shadow: {{cache: watched, model: plain}}
  talk: {{cache: talks, context: {{from: [notes], rewrite: plain}}, model: plain}}
  library: {{cache: likes, context: {{from: [notes], max_passages: 1}}, model: plain}}
  kept: {{cache: answers, model: plain}}
  other: {{cache: answers, model: plain}}
  shared: {{cache: everyones, model: plain}}
  users: {{cache: each, model: plain}}
  docs: {{cache: answers, context: {{from: [notes]}}, model: plain}}
  masked: {{cache: answers, guard_input: [pii], context: {{from: [notes]}}, model: plain}}
  strict: {{cache: answers, model: plain, guard_output: [words]}}
  cutting: {{cache: answers, model: broken}}
guardrails:
  pii: {{kind: personal_data, key: k, types: {{person: allow, address: allow}}}}
  words: {{kind: keywords, lists: {{bad: [forbidden]}}, then: flag}}
caches:
  answers: {{ttl: 1h, tiers: {tiers}}}
  everyones: {{scope: labels}}
  each: {{scope: user}}
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


def ready(gateway: Gateway) -> None:
    """Waits for the embedding model."""
    until(lambda: "int8" in gateway.request("GET", "/health").body.decode())
