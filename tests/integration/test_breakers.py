"""Breakers over real HTTP: one app can't open another's, and a target that is back is used again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from gateway.simulator.behaviours import Script
from gateway.simulator.server import running
from tests.live import Gateway, running_gateway

CONFIG = """
version: 1
providers: {{up: {{kind: openai, base_url: "{url}/v1", api_key: x}}}}
models:
  quick: {{targets: [up/first, up/second], retry: {{attempts: 1}}}}
  hasty: {{targets: [up/first, up/second], retry: {{attempts: 1}}, timeout: 50ms}}
apps: {{one: {{keys: [key-of-one-0123456789]}}, other: {{keys: [key-of-other-0123456789]}}}}
observe: {{log: "off"}}
"""
BACK_S = 60.0


def ask(gateway: Gateway, app: str, model: str = "quick", **fields: Any) -> str:
    """The target that answered."""
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}
    answer = gateway.request("POST", "/v1/chat/completions", body, {"authorization": f"Bearer key-of-{app}-0123456789"})
    return answer.headers.get("x-gatehouse-target", "")


@pytest.mark.guarantee("breakers", "One app's failing requests do not open a breaker for other apps")
@pytest.mark.parametrize(
    ("behaviour", "model", "fields"),
    [("empty", "quick", {"stop": ["\n"]}), ("500", "quick", {}), ("latency3000", "hasty", {})],
)
def test_one_app_opens_no_breaker_of_another(
    tmp_path: Path, behaviour: str, model: str, fields: dict[str, Any]
) -> None:
    with (
        running({"first": behaviour}) as upstream,
        running_gateway(CONFIG.format(url=upstream.url), tmp_path) as gateway,
    ):
        for _ in range(12):
            ask(gateway, "one", model, **fields)
        upstream.script = Script({"first": "ok"})
        assert ask(gateway, "other") == "up/first"
        if model == "quick":
            return
        # The same app's patient model goes on too.
        assert ask(gateway, "one") == "up/first"


@pytest.mark.guarantee("breakers", "Traffic returns to a target within seconds of its recovery")
def test_traffic_is_back_soon_after_a_target_s_recovery(tmp_path: Path) -> None:
    with running({"first": "500"}) as upstream, running_gateway(CONFIG.format(url=upstream.url), tmp_path) as gateway:
        deadline = time.monotonic() + 60
        opened = 0
        while opened < 3:
            assert {ask(gateway, "one"), ask(gateway, "other")} == {"up/second"}
            opened = gateway.request("GET", "/health").json()["targets"][0]["times_opened"]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        upstream.script = Script({"first": "ok"})
        recovered = time.monotonic()
        for app in ("one", "other"):
            while ask(gateway, app) != "up/first":
                assert time.monotonic() - recovered < BACK_S
                time.sleep(0.1)
