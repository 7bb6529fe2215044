"""A gateway with a pipeline for every kind of guardrail."""

from __future__ import annotations

import pytest

YAML = """
version: 1
providers:
  up: {{kind: openai, base_url: "http://127.0.0.1:{port}/v1", api_key: upstream-key}}
  own: {{kind: openai, base_url: "http://127.0.0.1:{port}/v1", api_key: upstream-key, trusted: true}}
models:
  plain: {{targets: [up/m]}}
  inside: {{targets: [own/m]}}
  masked: {{pipeline: masked}}
  home: {{pipeline: home}}
  strict: {{pipeline: strict}}
  careful: {{pipeline: careful}}
  formal: {{pipeline: formal}}
  watched: {{pipeline: watched}}
  polite: {{pipeline: polite}}
  discreet: {{pipeline: discreet}}
  judged: {{pipeline: judged}}
  kind: {{pipeline: kind}}
  people: {{pipeline: people}}
  grounded: {{pipeline: grounded}}
guardrails:
  pii:
    kind: personal_data
    key: "a key of tests"
    tools: [find]
    patterns: {{ticket: "TCK-[0-9]{{6}}"}}
    types: {{person: allow, address: allow}}
  names: {{kind: personal_data, key: k}}
  no-cards: {{kind: personal_data, types: {{card: block, person: allow, address: allow}}, key: k}}
  secrets: {{kind: secrets}}
  attacks: {{kind: injection}}
  leaks: {{kind: personal_data, types: {{person: allow, address: allow}}}}
  leaks-blocked: {{kind: secrets, then: block}}
  json: {{kind: format, format: json, schema: {{type: object, required: [a]}}, then: [repair, retry 1, block]}}
  watch: {{kind: keywords, lists: {{project: [Bluebird]}}, then: flag}}
  off-topic: {{kind: keywords, lists: {{weapons: [rifle]}}, then: "say I only talk about printers."}}
  leak: {{kind: prompt_leak}}
  tone: {{kind: toxicity, then: "say Let us stay friendly."}}
  tone-out: {{kind: toxicity, then: [retry 1, block]}}
  grounds: {{kind: grounded, then: [retry 1, "say That is not in our documents."]}}
  fair:
    kind: judge
    model: inside
    rubric: "No promises about prices."
    then: [retry 1, "say Please ask our staff."]
  words: {{kind: keywords, lists: {{project: [Bluebird]}}, then: mask}}
pipelines:
  masked: {{guard_input: [pii], model: plain}}
  home: {{guard_input: [pii], model: inside}}
  strict: {{guard_input: [no-cards, secrets, attacks], model: plain}}
  careful: {{model: plain, guard_output: [leaks, leaks-blocked]}}
  formal: {{model: plain, guard_output: [json]}}
  watched: {{guard_input: [watch], model: plain}}
  polite: {{guard_input: [off-topic, words], model: plain}}
  discreet: {{model: plain, guard_output: [leak]}}
  judged: {{guard_input: [pii], model: plain, guard_output: [fair]}}
  people: {{guard_input: [names], model: plain}}
  kind: {{guard_input: [tone], model: plain, guard_output: [tone-out]}}
  grounded: {{model: plain, guard_output: [grounds]}}
apps:
  all: {{keys: [test-key]}}
observe: {{log: "off"}}
"""
MAIL = "jane.doe@example.org"
SECRET = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"


SURFACES = pytest.mark.parametrize("surface", ["openai", "anthropic", "gemini"])
STREAMS = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
