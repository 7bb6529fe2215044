"""The cost and the savings of the cache: `python -m bench.cache [--json FILE]`. CPU of the gateway process per request.

Measures a hit end to end over HTTP (traced, logged, counted) against the same request sent upstream, and the overhead
of a miss in one process, with an upstream that responds at once. Starts a Redis if redis-server is installed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from bench.load import raw_request
from bench.parts import _Reply
from bench.peers import KEY, PORTS, ROOT, Peer, measure
from cache.answers import AnswerCache
from cache.memory import MemoryTier
from cache.phase import CachePhase, CachePolicy
from cache.semantic.nearest import Nearest
from cache.tier import Tiers
from contract.caller import Caller
from contract.deltas import ChoiceDelta, Delta, FinishReason, Usage
from contract.exchange import Exchange
from contract.messages import ChatRequest, Message, Text
from contract.phases import Answer
from contract.tiers import CacheAddress
from contract.unsettled import Unsettled
from rag.nearest import MemoryIndex

REDIS_PORT = 18206
CONFIG = """
version: 1
server: {{listen: "127.0.0.1:{gatehouse}", redis: "redis://127.0.0.1:{redis}/0"}}
providers: {{up: {{kind: openai, base_url: "http://127.0.0.1:{upstream}/v1", api_key: upstream-key}}}}
models:
  bench: {{targets: [up/bench]}}
  memory: {{pipeline: memory}}
  redis: {{pipeline: redis}}
pipelines:
  memory: {{cache: near, model: bench}}
  redis: {{cache: far, model: bench}}
caches:
  near: {{}}
  far: {{tiers: [{{kind: redis}}]}}
apps: {{bench: {{keys: [{key}]}}}}
observe: {{otlp: "http://127.0.0.1:{collector}", log: json, metrics: true}}
"""
LOAD = (32, 300, 60.0)
ROUNDS = 3


def hits() -> dict[str, float]:
    """CPU of the gateway per request over HTTP: upstream, hit from memory, hit from Redis."""
    folder = Path(tempfile.mkdtemp(prefix="gatehouse-bench-"))
    helpers = [
        subprocess.Popen([sys.executable, "-m", f"bench.{name}", str(PORTS[name])], cwd=ROOT)
        for name in ("upstream", "collector")
    ]
    models = ["bench", "memory"]
    if redis := shutil.which("redis-server"):
        models.append("redis")
        command = [redis, "--port", str(REDIS_PORT), "--save", "", "--appendonly", "no", "--dir", str(folder)]
        helpers.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
    time.sleep(1)
    (folder / "gatehouse.yaml").write_text(CONFIG.format(key=KEY, redis=REDIS_PORT, **PORTS))
    argv = [sys.executable, "-m", "gateway", "serve", "-c", str(folder / "gatehouse.yaml")]
    peer = Peer("gatehouse", argv, folder, {"PYTHONPATH": str(ROOT)})
    found: dict[str, list[float]] = {model: [] for model in models}
    try:
        for _ in range(ROUNDS):
            for model in models:
                given = raw_request(peer.port, KEY, _question(model))
                measure(peer, model, (8, 20, 30.0), stream=False, given=given)
                found[model].append(measure(peer, model, LOAD, stream=False, given=given)["us_per_request"])
    finally:
        peer.stop()
        for process in helpers:
            process.terminate()
            process.wait(5)
        shutil.rmtree(folder, ignore_errors=True)
    return {model: statistics.median(each) for model, each in found.items()}


def _question(model: str) -> bytes:
    message = {"role": "user", "content": "How many pages a minute does the A300 print, one-sided, on A4 paper?"}
    return json.dumps({"model": model, "messages": [message]}).encode()


def miss(finish: FinishReason) -> float:
    """What a miss adds to a request: key, look-up, whether it may be kept, the flight; the entry, if it is kept."""
    question = "How many pages a minute does the A300 print, and how long is the warranty on a drum unit? "
    texts = iter(range(10_000_000))
    caller = Caller("bench")

    def asked() -> tuple[ChatRequest, Exchange]:
        message = Message("user", (Text(f"{question} {next(texts)}"),))
        exchange = Exchange("bench")
        exchange.caller = caller
        return ChatRequest(dialect="openai", model="m", messages=(message,)), exchange

    answer = [Delta((ChoiceDelta(text="Thirty-eight pages. " * 10, finish=finish),), usage=Usage(10, 50))]

    async def made() -> Answer:
        return Answer(_Reply(list(answer)))

    recall = CachePhase(CachePolicy("c", "p"), AnswerCache(Tiers([MemoryTier(64_000_000)], 3600.0)))

    async def read(made: Answer) -> None:
        while await made.reply.next() is not None:
            pass
        await made.reply.close()

    async def without() -> None:
        asked()
        await read(await made())

    async def with_cache() -> None:
        request, exchange = asked()
        found = await recall.lookup(request, exchange)
        await read(found if isinstance(found, Answer) else await found.share(made, Unsettled()))
        # What is kept is kept after the answer has gone: it costs too.
        await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:

        async def many(one: Any) -> float:
            best = float("inf")
            for _ in range(7):
                started = time.process_time()
                for _ in range(2000):
                    await one()
                best = min(best, (time.process_time() - started) / 2000 * 1e6)
            return best

        async def yielding() -> None:
            await without()
            await asyncio.sleep(0)

        return runner.run(many(with_cache)) - runner.run(many(yielding))


def by_meaning(count: int) -> dict[str, float]:
    """A look-up among so many kept questions, gates included, the question's vector ready made. Milliseconds."""
    draw = np.random.default_rng(0)
    # Questions lie in heaps, as texts do.
    centres = draw.normal(size=(4000, 384)).astype(np.float32)
    nearest = Nearest(lambda: MemoryIndex(384), count)
    for start in range(0, count, 10_000):
        size = min(10_000, count - start)
        rows = centres[draw.integers(0, 4000, size)] + 0.5 * draw.normal(size=(size, 384)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        for number, row in enumerate(rows, start):
            place = CacheAddress("bench", "m", number.to_bytes(16))
            nearest.add(f"How many pages a minute does the printer A{number} print?", row, place, "p")
    for index in nearest.indexes.values():
        index.wait()
    times = []
    for number in range(200):
        near = draw.normal(0, 0.001, 384).astype(np.float32)
        row = near + nearest.indexes["p"].vector(number * (count // 200) + 1)
        row /= np.linalg.norm(row)
        started = time.perf_counter()
        nearest.find(f"How many pages per minute does the printer A{number * (count // 200)} print?", row, "p")
        times.append(1000 * (time.perf_counter() - started))
    times.sort()
    return {"by meaning, p50 ms": times[100], "by meaning, p99 ms": times[197]}


def main() -> None:
    """Prints, and writes JSON when asked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    parser.add_argument("--questions", type=int, default=0, help="look up among so many by meaning")
    arguments = parser.parse_args()
    if arguments.questions:
        for name, value in by_meaning(arguments.questions).items():
            print(f"{name:28} {value:8.2f}")
        return
    found = {f"{model}, us per request": value for model, value in hits().items()}
    found["a miss adds, us"] = round(miss("length"), 1)
    found["and after the answer, us"] = round(miss("stop") - found["a miss adds, us"], 1)
    for name, value in found.items():
        print(f"{name:28} {value:8.1f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
