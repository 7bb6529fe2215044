"""A gateway with a database and three administrators, and what they and an app ask of it."""

from __future__ import annotations

from typing import Any

from tests.live import Answer, Gateway

OWNER, ADMIN, VIEWER = "owner-" + "o" * 30, "admin-" + "a" * 30, "viewer-" + "v" * 30
# The beginning of a config, to be formatted with `folder`.
HEAD = """
version: 1
server: {{database: "sqlite:///{folder}/gatehouse.db", data: "{folder}"}}
providers: {{pretend: {{kind: simulated}}}}
prices: {{pretend/m: {{input: 1, output: 2}}, pretend/n: {{input: 10, output: 20}}}}
observe: {{log: "off"}}
"""


def call(gateway: Gateway, method: str, path: str, body: Any = None, key: str = ADMIN) -> Answer:
    """One request of an administrator."""
    headers = {"authorization": f"Bearer {key}"} | ({"content-type": "application/json"} if body is not None else {})
    return gateway.request(method, f"/admin{path}", body, headers)


def chat(gateway: Gateway, key: str = "test-key", model: str = "quick", **headers: str) -> Answer:
    """One request of an app."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 50}
    sent = {"authorization": f"Bearer {key}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return gateway.request("POST", "/v1/chat/completions", body, sent)
