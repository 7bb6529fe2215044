"""What one caller sends keeps nobody else from being served: long texts, tools that drip, forms that take long."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.asking import calling
from tests.live import Answer, Gateway, running_gateway
from tests.recording import PROVIDER, Recording

NEIGHBOUR = "Guardrails answer other callers while one caller sends long texts or calls slow tools"
YAML = (
    PROVIDER
    + """\
models:
  plain: {{targets: [up/m], retry: {{attempts: 1}}}}
  names: {{pipeline: names}}
  secrets: {{pipeline: secrets}}
  attacks: {{pipeline: attacks}}
  tooled: {{pipeline: tooled}}
  formal: {{pipeline: formal}}
guardrails:
  names: {{kind: personal_data, key: k, timeout: 3s}}
  secrets: {{kind: secrets}}
  attacks: {{kind: injection}}
  json: {{kind: format, format: json, then: [repair, block]}}
tools:
  slow: {{kind: http, description: x, url: "http://127.0.0.1:{tool}/", timeout: 20s, private: true}}
pipelines:
  names: {{guard_input: [names], model: plain}}
  secrets: {{guard_input: [secrets], model: plain}}
  attacks: {{guard_input: [attacks], model: plain}}
  tooled: {{tools: [slow], model: plain}}
  formal: {{model: plain, guard_output: [json]}}
apps:
  attacker: {{keys: [key-of-the-attacker]}}
  neighbour: {{keys: [test-key]}}
observe: {{log: "off"}}
"""
)
DRIPPING = 12


class Dripping:
    """A server whose headers do not end until it is `over`. `taken` is released for each connection."""

    def __init__(self) -> None:
        self.taken = threading.Semaphore(0)
        self.over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._drip, args=(connection,), daemon=True).start()

    def _drip(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                self.taken.release()
                while not self.over.wait(0.2):
                    connection.sendall(b"x-more: a\r\n")
                connection.sendall(b"content-length: 4\r\n\r\npaid")
            except OSError:
                pass

    def close(self) -> None:
        self.over.set()
        self._listener.close()


@contextmanager
def _attack(gateway: Gateway, model: str, text: str, count: int = 1) -> Iterator[list[Answer]]:
    """So many requests of the attacker under way; their answers once the block has ended."""
    answers: list[Answer] = []

    def one(number: int) -> None:
        answers.append(_ask(gateway, model, f"{number} {text}", "key-of-the-attacker"))

    threads = [threading.Thread(target=one, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    yield answers
    for thread in threads:
        thread.join(60)


def _ask(gateway: Gateway, model: str, text: str, key: str = "test-key") -> Answer:
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    return gateway.request("POST", "/v1/chat/completions", body, {"authorization": f"Bearer {key}"}, timeout=60)


@pytest.fixture
def dripping() -> Iterator[Dripping]:
    server = Dripping()
    yield server
    server.close()


@pytest.fixture
def gateway(tmp_path: Path, upstream: Recording, dripping: Dripping) -> Iterator[Gateway]:
    with running_gateway(YAML.format(port=upstream.port, tool=dripping.port), tmp_path) as running:
        yield running


@pytest.mark.guarantee("fairness", NEIGHBOUR)
def test_long_texts_of_one_caller(gateway: Gateway) -> None:
    prose = "".join(f"{each} Jane Smith of Acme met the customer in Berlin about it. " for each in range(16_000))
    # The first ask loads the models.
    assert _ask(gateway, "names", "My name is John Miller").status == 200
    asked = 0
    with _attack(gateway, "names", prose, 2) as answers:
        while len(answers) < 2:
            for model in ("names", "secrets"):
                assert _ask(gateway, model, f"My name is John Miller {asked}").status == 200
            asked += 1
    assert asked > 2
    assert {answer.status for answer in answers} == {413}
    assert "names" in answers[0].json()["error"]["message"]


@pytest.mark.guarantee("fairness", NEIGHBOUR)
def test_tools_that_drip(gateway: Gateway, upstream: Recording, dripping: Dripping) -> None:
    upstream.answers = [calling(("slow", {})) for _ in range(DRIPPING)]
    with _attack(gateway, "tooled", "pay", DRIPPING) as answers:
        for _ in range(DRIPPING):
            assert dripping.taken.acquire(timeout=30)
        # All of them wait: what needs a thread of another kind is served.
        assert _ask(gateway, "secrets", "word " * 6_000).status == 200
        assert _ask(gateway, "attacks", "word " * 6_000).status == 200
        assert _ask(gateway, "names", "My name is John Miller").status == 200
        upstream.answers = [lambda _: json.dumps({"a": 1})]
        assert _ask(gateway, "formal", "as JSON").status == 200
        assert not answers
        dripping.over.set()
    assert {answer.status for answer in answers} == {200}
