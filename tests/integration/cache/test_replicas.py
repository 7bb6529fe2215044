"""Replicas share a cache by Redis or PostgreSQL; a replica that leaves or dies delays nobody."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cache.cached import QUESTION, YAML, ask, kind, ready, words
from tests.live import Gateway, free_port, running_gateway
from tests.processes import until
from tests.recording import Recording
from tests.services import redis_server


@pytest.fixture(autouse=True)
def a_busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The 50 ms that a tier has are for operators: here a tier that works must be in time on any machine."""
    monkeypatch.setattr("cache.tier.DEADLINE_S", 2.0)
    monkeypatch.setattr("cache.lease.DEADLINE_S", 2.0)


@contextlib.contextmanager
def two_gateways(upstream: Recording, folder: Path, tiers: str, redis: str) -> Iterator[tuple[Gateway, Gateway]]:
    yaml = YAML.format(port=upstream.port, tiers=tiers, redis=redis).replace("{{", "{")
    one, two = folder / "one", folder / "two"
    one.mkdir()
    two.mkdir()
    with running_gateway(yaml, one) as first, running_gateway(yaml, two) as second:
        yield first, second


def test_replicas_share_by_redis(upstream: Recording, tmp_path: Path) -> None:
    tiers = "[{kind: memory, size: 10 MB}, {kind: redis}]"
    with redis_server(tmp_path) as redis, two_gateways(upstream, tmp_path, tiers, redis.url) as (first, second):
        upstream.answers += [lambda _: "one"] + [lambda _: "two"] * 9
        assert kind(ask(first, QUESTION)) == "miss"
        # At once it may still be under way.
        assert kind(ask(second, QUESTION)) in ("exact", "shared")
        assert (kind(ask(second, QUESTION)), words(ask(second, QUESTION))) == ("exact", "one")
        # Equal requests at both at once make one call.
        upstream.bodies.clear()

        def slow(_: dict[str, Any]) -> str:
            time.sleep(0.5)
            return "both"

        upstream.answers[:] = [slow] * 4
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(ask, (first, second)[n % 2], "Who invented the toner?") for n in range(8)]
            assert {words(each.result()) for each in asked} == {"both"}
        assert len(upstream.bodies) == 1
        # Gone: every replica for itself, at once and without an error. Back: shared again.
        redis.stop()
        upstream.answers[:] = [lambda _: "three"] * 9
        assert words(ask(first, "Which toner is the largest?")) == "three"
        assert kind(ask(second, "Which toner is the largest?")) == "miss"
        redis.start()
        upstream.answers[:] = [lambda _: "three"] * 999
        numbers = itertools.count()

        def is_shared() -> bool:
            question = f"Which toner is the smallest of {next(numbers)}?"
            ask(first, question)
            return kind(ask(second, question)) == "exact"

        until(is_shared)
        ask(first, "Which toner is the smallest?")
        assert kind(ask(second, "Which toner is the smallest?")) == "exact"
        # Stalled: a request waits for a moment and not for ever.
        redis.stall()
        assert kind(ask(first, "Is toner black?")) == "miss"
        redis.resume()
        until(is_shared)
        assert first.request("DELETE", "/v1/cache?model=kept").json()["removed"] > 0
        assert kind(ask(second, "Which toner is the smallest?")) == "exact", "its own memory is its own"


def test_replicas_find_by_meaning_what_others_keep(upstream: Recording, tmp_path: Path) -> None:
    tiers = "[{kind: redis}]"
    first_words, other_words = "What colour is the toner of the A700?", "What is the colour of the A700's toner?"
    with redis_server(tmp_path) as redis, two_gateways(upstream, tmp_path, tiers, redis.url) as (first, second):
        ready(first)
        ready(second)
        upstream.answers[:] = [lambda _: "Black."] * 9
        # The second begins to listen when it is first asked.
        assert kind(ask(second, "Is paper white in the A700?", model="meaning")) == "miss"
        assert kind(ask(first, first_words, model="meaning")) == "miss"
        time.sleep(0.5)
        assert kind(ask(second, other_words, model="meaning")) == "semantic"
        # One that starts later hears of it too.
        third_folder = tmp_path / "three"
        third_folder.mkdir()
        yaml = YAML.format(port=upstream.port, tiers=tiers, redis=redis.url)
        with running_gateway(yaml, third_folder) as third:
            ready(third)
            ask(third, "Is paper grey in the A700?", model="meaning")
            time.sleep(0.5)
            assert kind(ask(third, "Which colour has the toner of the A700?", model="meaning")) == "semantic"


def test_a_holder_that_dies_holds_nobody_up(upstream: Recording, tmp_path: Path) -> None:
    with redis_server(tmp_path) as redis, two_gateways(upstream, tmp_path, "[{kind: redis}]", redis.url) as (first, _):
        import redis as library

        client = library.Redis.from_url(redis.url)
        upstream.answers += [lambda _: "one"]
        # Somebody else's lease, which nobody renews.
        started = time.monotonic()
        with ThreadPoolExecutor(1) as pool:

            def lease_all() -> None:
                while not client.keys("gatehouse:lease:*") and time.monotonic() < started + 5:
                    time.sleep(0.001)
                for name in client.keys("gatehouse:lease:*"):
                    client.set(name, "another", px=1000)

            def slow(_: dict[str, Any]) -> str:
                time.sleep(0.3)
                return "mine"

            upstream.answers[:] = [slow]
            held = pool.submit(lease_all)
            assert words(ask(first, QUESTION)) == "mine"
            held.result()
        names = client.keys("gatehouse:lease:*")
        assert names, "the lease of another is not ours to release"


def test_a_replica_that_is_killed_holds_nobody_up(upstream: Recording, tmp_path: Path) -> None:
    tiers = "[{kind: redis}]"
    port = free_port()
    with redis_server(tmp_path) as redis:
        yaml = YAML.format(port=upstream.port, tiers=tiers, redis=redis.url)
        (tmp_path / "killed").mkdir()
        path = tmp_path / "killed" / "g.yaml"
        path.write_text(yaml)
        command = [sys.executable, "-m", "gateway", "serve", "-c", str(path), "--listen", f"127.0.0.1:{port}"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until = time.monotonic() + 30
            while time.monotonic() < until:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.2):
                    break
                time.sleep(0.05)
            begun = threading.Event()

            def never(_: dict[str, Any]) -> str:
                begun.set()
                time.sleep(8)
                return "too late"

            upstream.answers[:] = [never, lambda _: "mine"]
            leaver = http.client.HTTPConnection("127.0.0.1", port)
            body = json.dumps({"model": "kept", "messages": [{"role": "user", "content": QUESTION}]})
            leaver.request("POST", "/v1/chat/completions", body, {"authorization": "Bearer test-key"})
            assert begun.wait(10)
            (tmp_path / "other").mkdir()
            with running_gateway(yaml, tmp_path / "other") as other, ThreadPoolExecutor(1) as pool:
                waiting = pool.submit(ask, other, QUESTION)
                time.sleep(0.5)
                assert not waiting.done(), "it waits for the other's answer"
                process.kill()
                # The lease lasts three seconds, and nobody renews it.
                assert words(waiting.result(timeout=60)) == "mine"
        finally:
            process.kill()
            process.wait()


def test_replicas_share_by_postgres(upstream: Recording, postgres_url: str, tmp_path: Path) -> None:
    tiers = f'[{{kind: postgres, url: "{postgres_url}"}}]'
    with two_gateways(upstream, tmp_path, tiers, "") as (first, second):
        upstream.answers += [lambda _: "one"] * 9
        ask(first, "Warm it up please")
        time.sleep(1.5)
        assert kind(ask(first, QUESTION)) == "miss"
        assert kind(ask(second, QUESTION)) in ("exact", "miss")
        time.sleep(1.2)
        assert kind(ask(second, QUESTION)) == "exact"
        assert second.request("DELETE", "/v1/cache").json()["removed"] >= 1
        assert kind(ask(first, QUESTION)) == "miss"
