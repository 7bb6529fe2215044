"""How many of our files a request enters, from the connection's protocol class to the end of its settlement.

A reader has to open them to follow it. They are counted by `sys.setprofile` in the event loop's thread. What runs
beside requests (timers, the indexing of documents) is in no count: of several equal requests the one with the fewest
files counts.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import observability.recorder
from gateway.simulator.server import running
from tests.architecture.floors import PACKAGES, ROOT
from tests.live import KEY, Gateway, running_gateway
from tests.processes import until

# A whole answer of one target, without anything else in the config; and with two guardrails, a cache that misses, a
# router and passages.
MOST_PLAIN, MOST_OF_ALL = 30, 70
YAML = """
version: 1
server: {{watch: false}}
providers: {{up: {{kind: openai, base_url: "{url}/v1", api_key: upstream-key}}}}
models:
  plain: {{targets: [up/sim-ok]}}
  all: {{pipeline: all}}
guardrails:
  pii: {{kind: personal_data, key: "a key of tests"}}
  secrets: {{kind: secrets}}
routers:
  front: {{rules: [{{name: gold, when: {{header: {{X-Tier: gold}}}}, then: plain}}]}}
sources:
  notes: {{kind: documents, search: {{fusion: words}}}}
caches: {{answers: {{}}}}
pipelines:
  all: {{guard_input: [pii, secrets], cache: answers, router: front, context: {{from: [notes]}}, model: plain}}
apps: {{one: {{keys: [{key}], ingest: [notes]}}}}
observe: {{log: "off"}}
"""
JSON = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with pytest.MonkeyPatch.context() as patch, running() as upstream:
        # Traces and metrics are made after the reply has gone, a tenth of a second later.
        patch.setattr(observability.recorder, "DRAIN_EVERY_S", 3600.0)
        with running_gateway(YAML.format(url=upstream.url, key=KEY), tmp_path_factory.mktemp("path")) as gateway:
            documents = [{"id": "a300", "text": "The printer A300 prints thirty-eight pages a minute."}]
            given = gateway.request("POST", "/v1/sources/notes/documents", {"documents": documents}, JSON)
            assert given.status == 200, given.body
            search = {"query": "How many pages does the A300 print?"}
            until(lambda: gateway.request("POST", "/v1/sources/notes/search", search, JSON).json()["data"])
            yield gateway


def entered(gateway: Gateway, request: Callable[[], object]) -> set[str]:
    """Our files whose functions the event loop's thread enters during a request."""
    found: set[str] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            found.add(frame.f_code.co_filename)

    in_loop(gateway, lambda: sys.setprofile(note))
    try:
        request()
        # After the reply: its settlement, and the entry of the cache.
        in_loop(gateway, lambda: None)
    finally:
        in_loop(gateway, lambda: sys.setprofile(None))
    rooms = tuple(f"{ROOT}/{package}/" for package in PACKAGES)
    ours = {path for path in found if path.startswith(rooms) and "/gateway/simulator/" not in path}
    return {str(Path(path).relative_to(ROOT)) for path in ours}


def in_loop(gateway: Gateway, act: Callable[[], object]) -> None:
    done = threading.Event()

    def run() -> None:
        act()
        done.set()

    loop = gateway.server._loop
    assert loop is not None
    loop.call_soon_threadsafe(run)
    assert done.wait(10)


@pytest.mark.parametrize(("model", "most"), [("plain", MOST_PLAIN), ("all", MOST_OF_ALL)])
def test_a_request_enters_few_files(gateway: Gateway, model: str, most: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)

    def ask(number: int) -> None:
        question = f"How many pages does the printer A300 print in {number} minutes?"
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": question}]})
        connection.request("POST", "/v1/chat/completions", body, JSON)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        assert answer.headers["x-gatehouse-cache"] == ("off" if model == "plain" else "miss")
        said = json.loads(answer.read())["choices"][0]["message"]["content"]
        assert said

    # What happens once in a process happens before.
    for number in range(3):
        ask(number)
    counts = [entered(gateway, lambda number=number: ask(number)) for number in range(3, 9)]  # type: ignore[misc]
    connection.close()
    fewest = min(counts, key=len)
    assert len(fewest) <= most, "\n".join(sorted(fewest))
    assert {"gateway/surfaces/protocol.py", "gateway/engine/pipeline.py", "access/ledger/prices.py"} <= fewest
    assert ("rag/phase.py" in fewest) is (model == "all")
