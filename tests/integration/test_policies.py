"""Policies of failure over real HTTP: keys in rotation, hedges, breakers, load over targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.simulator.server import running
from tests.live import running_gateway
from tests.processes import until

CONFIG = """
version: 1
providers:
  two-keys: {{kind: openai, base_url: "{url}/v1", api_keys: [first-key-AAAA, second-key-BBBB]}}
  up: {{kind: openai, base_url: "{url}/v1"}}
models:
  keyed: {{targets: [two-keys/limited], retry: {{attempts: 1}}}}
  retired: {{targets: [two-keys/refused], retry: {{attempts: 1}}}}
  hedged: {{targets: [up/sim-latency60000, up/sim-ok], hedge: {{after: 100ms}}}}
  broken: {{targets: [up/sim-500, up/sim-ok], retry: {{attempts: 1}}, breaker: {{failures: 2, cooldown: 60s}}}}
  retried: {{targets: [up/flaky], retry: {{attempts: 3, backoff: 10ms}}}}
  refused: {{targets: [up/sim-safety, up/sim-ok]}}
  small: {{targets: [{{target: up/sim-500, context_window: 10 tokens}}, up/sim-ok]}}
  spread: {{targets: [{{target: up/a, weight: 3}}, up/b], strategy: weighted}}
observe: {{log: "off"}}
"""
SCRIPT = {"limited": ["429-after5", "ok"], "refused": ["401", "ok"], "flaky": ["500", "503", "ok"]}


def chat(model: str, **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}


def test_policies(tmp_path: Path) -> None:
    with running(SCRIPT) as upstream, running_gateway(CONFIG.format(url=upstream.url), tmp_path) as gateway:

        def ask(model: str, **fields: Any) -> tuple[int, str, str]:
            answer = gateway.request("POST", "/v1/chat/completions", chat(model, **fields))
            headers = answer.headers
            return answer.status, headers.get("x-gatehouse-target", ""), headers["x-gatehouse-attempts"]

        def keys(count: int) -> list[str]:
            return [each["headers"]["authorization"][-4:] for each in list(upstream.requests)[-count:]]

        # A 429 rotates: the other key at once, although there is but one attempt.
        assert ask("keyed") == (200, "two-keys/limited", "2")
        assert sorted(keys(2)) == ["AAAA", "BBBB"]
        rested = keys(2)[0]
        for _ in range(3):
            assert ask("keyed")[0] == 200
        assert rested not in keys(3), "a key that was told to wait was used"

        # A slow first call is hedged, and let go as soon as the second has answered.
        assert ask("hedged") == (200, "up/sim-ok", "2")
        until(lambda: any(e["client_left"] for e in upstream.requests if e["body"]["model"] == "sim-latency60000"))

        # Two failures open the breaker: the third request does not call the target any more.
        assert [ask("broken")[2] for _ in range(3)] == ["2", "2", "1"]
        targets = {each["target"]: each["state"] for each in gateway.request("GET", "/health").json()["targets"]}
        assert targets["up/sim-500"] == "open"

        assert ask("retried") == (200, "up/flaky", "3")
        assert ask("refused")[:2] == (200, "up/sim-safety")
        assert ask("small", messages=[{"role": "user", "content": "word " * 100}]) == (200, "up/sim-ok", "1")
        answers = [ask("spread")[1] for _ in range(60)]
        assert 25 < answers.count("up/a") < 58


def test_a_refused_key_is_retired(tmp_path: Path) -> None:
    with running(SCRIPT) as upstream, running_gateway(CONFIG.format(url=upstream.url), tmp_path) as gateway:
        for _ in range(4):
            assert gateway.request("POST", "/v1/chat/completions", chat("retired")).status == 200
        used = [each["headers"]["authorization"][-4:] for each in upstream.requests]
        assert len(used) == 5
        assert used.count(used[0]) == 1


TOO_LONG = """
version: 1
providers:
  refusing: {{kind: simulated, script: [context, ok]}}
  plain: {{kind: simulated, script: echo}}
models:
  asked: {{targets: [refusing/m], on_context_overflow: {way}}}
  small: {{targets: [{{target: plain/m, context_window: 300 tokens}}], on_context_overflow: {way}}}
apps: {{one: {{keys: [test-key]}}}}
observe: {{log: "off"}}
"""


@pytest.mark.parametrize("way", ["refuse", "oldest", "middle"])
def test_a_conversation_that_is_too_long(tmp_path: Path, way: str) -> None:
    turns = [{"role": ("user", "assistant")[place % 2], "content": f"turn {place} " + "x" * 300} for place in range(9)]
    with running_gateway(TOO_LONG.format(way=way), tmp_path) as gateway:
        refused = gateway.request("POST", "/v1/chat/completions", {"model": "asked", "messages": turns})
        known = gateway.request("POST", "/v1/chat/completions", {"model": "small", "messages": turns})
    if way == "refuse":
        assert refused.status == 400
        return
    assert (refused.status, refused.headers["x-gatehouse-attempts"]) == (200, "2")
    assert known.status == 200
    # The last question is what is left for certain.
    assert known.json()["choices"][0]["message"]["content"].startswith("turn 8")
    assert known.json()["usage"]["prompt_tokens"] < 9 * 300 // 4
