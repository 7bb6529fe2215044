"""Unusual prompts are noted, usual ones are not, and apps learn from nobody else's."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Sequence

import numpy as np

from contract.caller import Caller
from contract.exchange import Exchange
from contract.messages import ChatRequest, Message, Text
from guardrails.anomaly import REMEMBERED, AnomalyGuard, Traffic
from guardrails.embedding_memo import EmbeddingMemo
from guardrails.verdict import Policy


class WordVectors:
    """Texts with the same words are near each other."""

    name = "words"
    dimensions = 64
    ready = True

    def status(self) -> str:
        return ""

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        return [self._one(text) for text in texts]

    def _one(self, text: str) -> list[float]:
        total = np.zeros(64)
        for word in text.lower().split():
            seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest(), "big")
            total += np.random.default_rng(seed).normal(size=64)
        made: list[float] = (total / max(1e-9, float(np.linalg.norm(total)))).tolist()
        return made


def findings(guard: AnomalyGuard, texts: Sequence[str], app: str = "bot") -> list[list[str]]:
    async def main() -> list[list[str]]:
        found = []
        for text in texts:
            exchange = Exchange("s")
            exchange.caller = Caller(app)
            request = ChatRequest(dialect="openai", model="m", messages=(Message("user", (Text(text),)),))
            assert await guard.check(request, exchange) is request
            assert all(each.action == "flag" for each in exchange.findings)
            found.append([each.rule for each in exchange.findings])
        return found

    return asyncio.run(main())


USUAL = [
    f"please {verb} my {thing} {when}"
    for verb in ("show", "change", "cancel", "explain", "renew")
    for thing in ("order", "invoice", "address", "contract", "delivery")
    for when in ("today", "now", "tomorrow", "again")
]


def test_the_unusual_is_noted() -> None:
    traffic: dict[str, Traffic] = {}
    guard = AnomalyGuard(Policy("odd", {"*": "flag"}), EmbeddingMemo(WordVectors()), traffic, 50, 0.01)
    learning = findings(guard, random.Random(1).sample(USUAL, len(USUAL)))
    assert not any(learning[:50])
    assert sum(map(bool, learning)) <= 3
    assert findings(guard, ["please show my delivery now"]) == [[]]
    assert findings(guard, ["quantum chromodynamics lecture notes"]) == [["unlike the app's traffic"]]
    assert "unusually long" in findings(guard, ["please show my order today " * 40])[0]
    assert "unusual signs" in findings(guard, ["please ### $$$ %%% order {{{ }}} ;;; ===="])[0]
    assert findings(guard, ["quantum chromodynamics lecture notes"], "other") == [[]]
    assert len(traffic["other"]) == 1


def test_memory_is_bounded() -> None:
    traffic = Traffic()
    for _ in range(3 * REMEMBERED):
        traffic.add(np.zeros(4, dtype=np.float32), 1.0, 0.0)
    assert len(traffic) == REMEMBERED
