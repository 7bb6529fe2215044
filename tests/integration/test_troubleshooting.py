"""What start/troubleshooting.md says that a caller sees, a gateway says when it is brought about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.documentation import DOCS, blocks
from tests.live import Answer, Gateway, running_gateway
from tests.processes import until

CONFIG = """version: 1
providers:
  openai:
    kind: simulated
    script:
      {badkey: ["401"], gone: ["404"], limited: [429-after2], busy: ["429"], cutty: [cut5], long: [context],
       slow: [hang]}
  down: {kind: openai, base_url: "http://127.0.0.1:9/v1"}
models:
  quick:   {targets: [openai/m]}
  badkey:  {targets: [openai/badkey]}
  gone:    {targets: [openai/gone]}
  limited: {targets: [openai/limited], retry: {attempts: 1}}
  busy:    {targets: [openai/busy], retry: {backoff: 10ms}}
  cutty:   {targets: [openai/cutty], retry: {attempts: 1}}
  long:    {targets: [openai/long]}
  down:    {targets: [down/x], retry: {attempts: 1}}
  slow:    {targets: [openai/slow], timeout: 50ms, retry: {attempts: 1}}
  both:    {targets: [down/x, openai/gone], retry: {attempts: 1}}
  quiet:   {targets: [openai/slow], first_token: 50ms, retry: {attempts: 1}}
  guarded: {pipeline: guarded}
pipelines:
  guarded: {guard_input: [secrets], model: quick}
guardrails: {secrets: {kind: secrets}}
apps:
  bot: {keys: [test-key]}
  poor: {keys: [poor-key], models: [quick], budget: 0.0001 USD per day}
  once: {keys: [once-key], models: [quick], limits: {requests: 1 per minute}}
prices: {"openai/*": {input: 1, output: 1}, "down/*": free}
observe: {log: "off"}
"""
REVOKED = "The API key has been revoked"
PAGE = (DOCS / "start/troubleshooting.md").read_text()
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(CONFIG, tmp_path_factory.mktemp("troubles")) as gateway:
        yield gateway


def ask(
    gateway: Gateway, model: str, key: str = "test-key", path: str = CHAT, text: str = "Hello", **fields: Any
) -> Answer:
    body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
    return gateway.request("POST", path, body, {"authorization": f"Bearer {key}" if key else ""})


CASES: dict[str, dict[str, Any]] = {
    "The API key is unknown": {"model": "quick", "key": "wrong"},
    "Send a key in": {"model": "quick", "key": ""},
    "A key in the URL ends up in logs": {"model": "quick", "path": f"{CHAT}?key=test-key"},
    "The model 'qick' does not exist": {"model": "qick"},
    "The gateway does not serve the vendor endpoint /v1/responses": {"model": "quick", "path": "/v1/responses"},
    "There is no endpoint at /v1/chat/completion;": {"model": "quick", "path": "/v1/chat/completion"},
    "The limit of app once": {"model": "quick", "key": "once-key"},
    "openai/limited: The provider's rate limit": {"model": "limited"},
    "no target answered: openai/busy": {"model": "busy"},
    "The budget of app poor": {"model": "quick", "key": "poor-key"},
    "The request was blocked by the guardrail": {"model": "guarded", "text": "use AKIAIOSFODNN7EXAMPLQ"},
    "'stream' must be a boolean": {"model": "quick", "stream": "yes"},
    "openai/badkey: The provider rejected the gateway's key": {"model": "badkey"},
    "openai/gone: The provider does not know": {"model": "gone"},
    "down/x: The provider can't be reached": {"model": "down"},
    "(models.slow.timeout in the YAML": {"model": "slow"},
    "The provider closed the connection": {"model": "cutty"},
    "no target answered: down/x: connect": {"model": "both"},
}


@pytest.mark.parametrize("begins", CASES)
def test_the_message_and_its_code_are_those_of_the_page(gateway: Gateway, begins: str) -> None:
    row = next(line for line in PAGE.splitlines() if f"`{begins}" in line)
    message = next(each for each in re.findall(r"`([^`]+)`", row) if each.startswith(begins))
    answer = ask(gateway, **CASES[begins])
    if CASES[begins].get("key") == "once-key":
        answer = ask(gateway, **CASES[begins])
    error = answer.json()["error"]
    assert message in error["message"]
    assert f"`{error['code']}`" in row
    section = PAGE[: PAGE.index(row)].rpartition("\n## ")[2]
    assert str(answer.status) in row + section.partition("\n")[0]


def test_every_message_of_the_page_is_brought_about() -> None:
    part = PAGE.split("## 401")[1].split("## Streams")[0]
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in part.splitlines() if line.startswith("| ")]
    messages = [row[1] for row in rows if row[1].startswith("`")]
    assert len(messages) >= len(CASES)
    known = [*CASES, REVOKED]
    assert [each for each in messages if not any(each.startswith(f"`{begins}") for begins in known)] == []


def test_a_key_that_was_revoked(tmp_path: Path) -> None:
    owner = "owner-" + "o" * 30
    more = "server: {database: 'sqlite:///keys.db', data: data}\n"
    more += f"admin: {{keys: {{root: {{key: {owner}, role: owner}}}}}}\n"
    with running_gateway(CONFIG + more, tmp_path) as gateway:
        headers = {"authorization": f"Bearer {owner}", "content-type": "application/json"}
        key = gateway.request("POST", "/admin/v1/keys", {"app": "bot"}, headers).json()
        until(lambda: ask(gateway, "quick", key["key"]).status == 200)
        assert gateway.request("DELETE", f"/admin/v1/keys/{key['id']}", None, headers).status == 204
        until(lambda: ask(gateway, "quick", key["key"]).status == 401)
        answer = ask(gateway, "quick", key["key"])
    assert (answer.status, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert REVOKED in answer.json()["error"]["message"]


def test_the_example_of_a_prompt_too_long(gateway: Gateway) -> None:
    answer = ask(gateway, "long")
    assert (answer.status, answer.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert "`context_length_exceeded`" in PAGE


def quoted(begin: str) -> str:
    """A message that routing.md shows."""
    return next(each.text.strip() for each in blocks(DOCS / "concepts/routing.md") if each.text.startswith(begin))


def test_the_timeout_that_routing_shows(gateway: Gateway) -> None:
    error = ask(gateway, "quiet", stream=True).json()["error"]
    shown = quoted("openai/o3: ").replace("openai/o3", "openai/slow").replace("quick", "quiet").replace("5s", "50ms")
    assert error["message"] == shown


def test_the_failure_of_all_targets_that_routing_shows(gateway: Gateway) -> None:
    message = ask(gateway, "both").json()["error"]["message"]
    shown = quoted("no target answered: ")
    for phrase in (
        r"no target answered: ",
        r"\(attempt 1\)",
        r"What helps: ",
        r"connect: check base_url of providers\.\w+",
    ):
        assert re.search(phrase, shown)
        assert re.search(phrase, message)
