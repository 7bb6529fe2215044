"""Budgets and limits of tokens through HTTP: what is refused, what passes, what is told, and what is given back."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from gateway.simulator.server import running
from tests.live import Answer, Gateway, running_gateway
from tests.processes import until

# An answer of ten words costs a cent, a prompt nothing; a cheap one's tenth of that.
YAML = """
version: 1
providers:
  up: {{kind: simulated, base_url: "{upstream}"}}
  narrow: {{kind: simulated, base_url: "{upstream}", limits: {{requests: 2 per hour}}}}
  inhouse: {{kind: openai, base_url: "{upstream}/v1"}}
models:
  quick: {{targets: [up/quick]}}
  cheap: {{targets: [up/cheap]}}
  long: {{targets: [up/long]}}
  nobody-knows: {{targets: [inhouse/nobody-knows]}}
  narrow: {{targets: [narrow/quick, up/cheap]}}
  desk: {{pipeline: desk}}
  vectors: {{targets: [up/vectors]}}
  failing: {{targets: [up/failing], retry: {{attempts: 2, backoff: 1ms}}}}
pipelines: {{desk: {{cache: everyones, router: front, model: cheap}}}}
routers: {{front: {{rules: [{{name: gold, when: {{header: {{x-tier: gold}}}}, then: {{model: quick}}}}]}}}}
caches: {{everyones: {{scope: labels}}}}
prices:
  up/quick: {{input: 0, output: 1000}}
  narrow/quick: {{input: 0, output: 1000}}
  up/cheap: {{input: 0, output: 100}}
  up/vectors: {{input: 20, output: 0}}
  up/long: {{input: 0, output: 1000}}
  up/failing: {{input: 0, output: 1000}}
organisations: {{all: {{budget: 0.05 USD per month}}}}
teams: {{both: {{organisation: all, budget: 0.03 USD per week}}, others: {{organisation: all}}}}
apps:
{spent}
  allow: {{keys: [allow-key], budget: {{spend: 0.02 USD per day, then: allow}}}}
  shadow: {{keys: [shadow-key], budget: {{spend: 0.02 USD per day, shadow: true}}}}
  downgrade: {{keys: [downgrade-key], budget: {{spend: 0.02 USD in 24 hours, downgrade: cheap}}}}
  embeds: {{keys: [embeds-key], budget: {{spend: 0.002 USD per day, downgrade: cheap}}}}
  desk-spent: {{keys: [desk-spent-key], budget: {{spend: 0.05 USD per day, downgrade: cheap}}}}
  desk-rich: {{keys: [desk-rich-key]}}
  per-user: {{keys: [per-user-key], per_user: {{budget: 0.02 USD per day}}}}
  per-key: {{keys: [first-key, second-key], per_key: {{budget: 0.02 USD per day}}}}
  team-one: {{keys: [team-one-key], team: both}}
  team-two: {{keys: [team-two-key], team: both}}
  other-team: {{keys: [other-team-key], team: others}}
  ended: {{keys: [ended-key], budget: {{spend: 0.025 USD per month, warn: [100%], webhook: "{webhook}"}}}}
  warned: {{keys: [warned-key], budget: {{spend: 0.08 USD per month, warn: [50%, 100%], webhook: "{webhook}"}}}}
  refuse: {{keys: [refuse-key], budget: 1 USD per month}}
  unpriced: {{keys: [unpriced-key], budget: {{spend: 0.01 USD per month, unknown_price: allow}}}}
  tokens: {{keys: [tokens-key], limits: {{output_tokens: 100 per hour}}}}
  leaves: {{keys: [leaves-key], budget: 0.50 USD per month}}
  leaves-slots: {{keys: [leaves-slots-key], limits: {{max_concurrent: 2, streams: 1}}}}
  narrow: {{keys: [narrow-key]}}
  waits: {{keys: [waits-key], limits: {{requests: 3 per second}}}}
  waits-tokens: {{keys: [waits-tokens-key], limits: {{output_tokens: 20 per second}}}}
  retried: {{keys: [retried-key], budget: 0.02 USD per month}}
  unbounded: {{keys: [unbounded-key], budget: {{spend: 0.30 USD per month, default_max_tokens: 20 tokens}}}}
observe: {{log: "off"}}
"""
SURFACES = ("openai", "anthropic", "gemini")
SHAPES = {"openai": b"budget_exceeded", "anthropic": b"rate_limit_error", "gemini": b"RESOURCE_EXHAUSTED"}
SCRIPT = {"quick": "n50", "cheap": "n50", "long": "n400-pace10", "failing": ["cut0", "n50"], "*": "n50"}


class Webhook:
    """What it was told."""

    def __init__(self) -> None:
        told: list[dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.told = told
        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def webhook() -> Iterator[Webhook]:
    webhook = Webhook()
    yield webhook
    webhook.server.shutdown()
    webhook.server.server_close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, webhook: Webhook) -> Iterator[Gateway]:
    spent = "\n".join(
        f"  {surface}-{stream}: {{keys: [{surface}-{stream}-key], budget: 0.02 USD per month}}"
        for surface in SURFACES
        for stream in ("whole", "streamed")
    )
    with running(SCRIPT) as upstream:
        yaml = YAML.format(upstream=upstream.url, webhook=webhook.url, spent=spent)
        with running_gateway(yaml, tmp_path_factory.mktemp("budgets")) as gateway:
            yield gateway


def ask(
    gateway: Gateway,
    key: str,
    model: str = "quick",
    surface: str = "openai",
    words: int | None = 10,
    **more: Any,
) -> Answer:
    """A question whose answer has so many words at most."""
    messages = [{"role": "user", "content": "Hello"}]
    stream = bool(more.get("stream"))
    bound = {"max_tokens": words} if words is not None else {}
    headers = {"authorization": f"Bearer {key}-key"}
    if surface == "openai":
        return gateway.request(
            "POST", "/v1/chat/completions", {"model": model, "messages": messages, **bound, **more}, headers
        )
    if surface == "anthropic":
        return gateway.request("POST", "/v1/messages", {"model": model, "messages": messages, **bound, **more}, headers)
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    body = {"contents": [{"parts": [{"text": "Hello"}]}], "generationConfig": {"maxOutputTokens": words}}
    return gateway.request("POST", f"/v1beta/models/{model}:{method}", body, headers)


def asked(gateway: Gateway, key: str, times: int, **more: Any) -> list[int]:
    return [ask(gateway, key, **more).status for _ in range(times)]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("surface", SURFACES)
def test_what_is_spent_is_refused_in_the_words_of_the_surface(gateway: Gateway, surface: str, stream: bool) -> None:
    key = f"{surface}-{'streamed' if stream else 'whole'}"
    for _ in range(2):
        answer = ask(gateway, key, surface=surface, stream=stream)
        assert (answer.status, b"word9" in answer.body) == (200, True)
    refused = ask(gateway, key, surface=surface, stream=stream)
    assert refused.status == 429
    assert SHAPES[surface] in refused.body
    assert b"0.02 USD per month" in refused.body
    assert refused.headers["content-type"] == "application/json"
    assert refused.headers["x-should-retry"] == "false"
    assert "retry-after" not in refused.headers
    # There is room for none of ten words, nor for one of one.
    assert ask(gateway, key, surface=surface, stream=stream, words=1).status == 429


def test_a_spent_budget_may_let_pass_or_give_a_cheaper_model(gateway: Gateway) -> None:
    assert asked(gateway, "allow", 5) == [200] * 5
    assert asked(gateway, "shadow", 5) == [200] * 5
    models = [ask(gateway, "downgrade").headers["x-gatehouse-target"] for _ in range(4)]
    assert models == ["up/quick", "up/quick", "up/cheap", "up/cheap"]


def test_a_router_does_not_undo_a_downgrade_and_nobody_else_gets_its_answer(gateway: Gateway) -> None:
    def of(key: str, question: str) -> tuple[str, str]:
        body = {"model": "desk", "messages": [{"role": "user", "content": question}], "max_tokens": 60}
        headers = {"authorization": f"Bearer {key}-key", "x-tier": "gold"}
        answer = gateway.request("POST", "/v1/chat/completions", body, headers)
        return answer.headers["x-gatehouse-target"], answer.headers["x-gatehouse-cache"]

    assert of("desk-spent", "How many pages?") == ("up/quick", "miss")
    assert of("desk-spent", "How many sheets?") == ("up/cheap", "miss")
    assert of("desk-spent", "How many sheets?") == ("up/cheap", "exact")
    assert of("desk-rich", "How many sheets?") == ("up/quick", "miss")
    assert of("desk-rich", "How many sheets?") == ("up/quick", "exact")


def test_a_budget_that_is_spent_does_not_make_embeddings(gateway: Gateway) -> None:
    headers = {"authorization": "Bearer embeds-key"}

    def embed() -> Answer:
        return gateway.request("POST", "/v1/embeddings", {"model": "vectors", "input": ["Hello"] * 5}, headers)

    statuses = [embed().status for _ in range(8)]
    assert statuses[0] == 200
    assert statuses[-1] == 429
    assert embed().json()["error"]["code"] == "budget_exceeded"


def test_each_user_and_each_key_has_its_own(gateway: Gateway) -> None:
    for user in ("ann", "ben"):
        assert asked(gateway, "per-user", 3, user=user) == [200, 200, 429]
    assert asked(gateway, "per-user", 3) == [200, 200, 429]
    assert asked(gateway, "first", 3) == [200, 200, 429]
    assert asked(gateway, "second", 3) == [200, 200, 429]


def test_apps_share_what_is_their_teams_and_their_organisations(gateway: Gateway) -> None:
    assert asked(gateway, "team-one", 2) == [200, 200]
    assert asked(gateway, "team-two", 2) == [200, 429]
    assert b"budget of team both" in ask(gateway, "team-one").body
    assert asked(gateway, "other-team", 3) == [200, 200, 429]
    assert b"budget of organisation all" in ask(gateway, "other-team").body


def test_a_webhook_hears_once_of_each_threshold(gateway: Gateway, webhook: Webhook) -> None:
    assert asked(gateway, "warned", 10) == [200] * 8 + [429] * 2
    until(lambda: len(webhook.told) >= 2)
    time.sleep(0.2)
    told = sorted((each["share"], each["spent_usd"], each["name"]) for each in webhook.told)
    assert told == [(0.5, "0.04", "warned"), (1.0, "0.08", "warned")]


def test_a_price_that_nobody_knows(gateway: Gateway) -> None:
    refused = ask(gateway, "refuse", "nobody-knows")
    assert refused.status == 403
    assert b"inhouse/nobody-knows" in refused.body
    assert ask(gateway, "refuse").status == 200
    for _ in range(3):
        passed = ask(gateway, "unpriced", "nobody-knows")
        assert (passed.status, passed.headers.get("x-gatehouse-cost-usd")) == (200, None)
    # Its budget is as it was.
    assert asked(gateway, "unpriced", 2) == [200, 429]


def test_limits_of_tokens_settle_on_what_was_used(gateway: Gateway) -> None:
    # Ninety are reserved, fifty used.
    first = ask(gateway, "tokens", words=90)
    assert (first.status, first.headers["x-ratelimit-remaining-tokens"]) == (200, "10")
    second = ask(gateway, "tokens", words=40)
    assert (second.status, second.headers["x-ratelimit-remaining-tokens"]) == (200, "10")
    assert ask(gateway, "tokens", words=40).status == 429


def test_an_answer_without_a_bound_gets_the_budgets_own(gateway: Gateway) -> None:
    answer = ask(gateway, "unbounded", words=None)
    assert answer.status == 200
    assert answer.json()["usage"]["completion_tokens"] == 20
    assert answer.headers["x-gatehouse-cost-usd"] == "0.02"


@contextlib.contextmanager
def begun(gateway: Gateway, key: str) -> Iterator[None]:
    """A stream of four hundred words, four seconds long, whose caller leaves at the end of the block."""
    body = json.dumps(
        {"model": "long", "stream": True, "max_tokens": 400, "messages": [{"role": "user", "content": "Hello"}]}
    ).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}-key\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as stream:
        stream.sendall(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
        got = b""
        while b"word20" not in got:
            got += stream.recv(65536)
        yield


def test_a_stream_whose_caller_leaves_settles_on_what_was_generated(gateway: Gateway) -> None:
    with begun(gateway, "leaves"):
        # Forty cents are reserved of fifty.
        assert ask(gateway, "leaves", words=101).status == 429
    until(lambda: ask(gateway, "leaves", words=400).status == 200, 2)
    # That took fifty words, and the stream between twenty and a hundred.
    assert ask(gateway, "leaves", words=431).status == 429
    assert ask(gateway, "leaves", words=350).status == 200


def test_its_slots_are_free_again(gateway: Gateway) -> None:
    with begun(gateway, "leaves-slots"):
        refused = ask(gateway, "leaves-slots", stream=True)
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        assert ask(gateway, "leaves-slots").status == 200
    until(lambda: ask(gateway, "leaves-slots", stream=True).status == 200, 2)


def test_a_providers_limit_leads_to_the_next_target(gateway: Gateway) -> None:
    models = [ask(gateway, "narrow", "narrow").headers["x-gatehouse-target"] for _ in range(4)]
    assert models == ["narrow/quick", "narrow/quick", "up/cheap", "up/cheap"]


@pytest.mark.parametrize(("key", "most"), [("waits", 3), ("waits-tokens", 2)])
def test_who_waits_as_long_as_told_is_admitted(gateway: Gateway, key: str, most: int) -> None:
    for _ in range(2):
        refused = ask(gateway, key)
        admitted = 0
        while refused.status == 200:
            kind = "requests" if key == "waits" else "tokens"
            left = int(refused.headers[f"x-ratelimit-remaining-{kind}"])
            admitted += 1
            refused = ask(gateway, key)
            # What is told to be left is admitted.
            assert refused.status == 200 or left < (1 if key == "waits" else 10)
        assert most <= admitted <= most + 2
        time.sleep(float(refused.headers["retry-after"]))


def test_an_attempt_that_failed_is_covered_and_given_back(gateway: Gateway) -> None:
    answer = ask(gateway, "retried", "failing")
    assert (answer.status, answer.headers["x-gatehouse-attempts"]) == (200, "2")
    assert asked(gateway, "retried", 2) == [200, 429]


def test_whoever_wants_to_hear_of_the_end_hears_of_the_first_refusal(gateway: Gateway, webhook: Webhook) -> None:
    """The last of the money can seldom be spent: what is left has no room for a request."""
    assert asked(gateway, "ended", 6) == [200, 200, 429, 429, 429, 429]
    until(lambda: any(each["name"] == "ended" for each in webhook.told))
    time.sleep(0.3)
    assert [each["share"] for each in webhook.told if each["name"] == "ended"] == [1.0]
    refused = ask(gateway, "ended").json()["error"]["message"]
    assert "it may cost 0.01 USD and 0.005 USD are left" in refused
