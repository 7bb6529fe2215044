"""`gatehouse eval cache`: how often a cache that goes by meaning would be right, and how often wrong.

A file of pairs is a JSON list of `{"origin": "...", "similar": "..."}`, or has one JSON object a line: `{"one": "...",
"other": "...", "same": true}`. Near misses are made of the pairs themselves: a number, a negation, a direction, a name,
an opposite, a word exchanged.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import typer

from cache.semantic.learner import LOWEST, START
from cache.semantic.near_misses import near_misses
from cache.semantic.nearest import MIN_COSINE
from cache.semantic.verifier import likelihood
from cache.semantic.verify import disagreement
from gateway.engine.resources import Resources
from observability.chart import curves
from observability.screen import show, table
from router.health import HealthBook

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The cache gives nothing below the lowest of these, whatever it has learned.
STEPS = tuple(step / 50 for step in range(round(50 * LOWEST), 51))


class Pair(msgspec.Struct, frozen=True):
    """Two questions, and whether they are the same; `kind` says how a different one was made."""

    one: str
    other: str
    same: bool
    kind: str = ""


class JudgedPair(msgspec.Struct, frozen=True):
    """What the gates say of a pair: why not, or how likely it is."""

    pair: Pair
    reason: str
    likelihood: float


class CacheReport(msgspec.Struct, frozen=True):
    """All pairs, with the threshold that a bound of false hits allows."""

    judged: list[JudgedPair]
    max_false_hit_rate: float
    threshold: float
    microseconds: float

    def hits(self, threshold: float, *, same: bool, kind: str | None = None) -> tuple[int, int]:
        """Hits, of how many pairs."""
        those = [each for each in self.judged if each.pair.same == same and (kind is None or each.pair.kind == kind)]
        return sum(not each.reason and each.likelihood >= threshold for each in those), len(those)

    def show(self) -> None:
        """Prints it for people: hits by threshold, false hits by kind of near miss, what the gates refused."""
        rows = []
        for name, threshold in (
            (f"at most {self.max_false_hit_rate:.1%} false hits", self.threshold),
            ("cold start", START),
        ):
            right, wrong = self.hits(threshold, same=True), self.hits(threshold, same=False)
            rows.append((name, f"{threshold:.2f}", *_counted(*right), *_counted(*wrong)))
        head = ("", "threshold", "right hits", "of", "share", "false hits", "of", "share")
        show(table(head, rows, 1))
        kinds = dict.fromkeys(each.pair.kind for each in self.judged if not each.pair.same)
        missed = [
            (kind or "given as different", *_counted(*self.hits(self.threshold, same=False, kind=kind)))
            for kind in kinds
        ]
        typer.echo()
        show(table(("near miss", "false hits", "of", "share"), missed, 1))
        reasons: dict[str, int] = {}
        for each in self.judged:
            if each.pair.same and each.reason:
                reasons[each.reason] = reasons.get(each.reason, 0) + 1
        refused = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items(), key=lambda each: -each[1]))
        typer.echo(f"\nparaphrases that a gate refused: {refused or 'none'}")
        typer.echo(f"gates: {self.microseconds:.0f} us a pair")

    def chart(self) -> str:
        """Right and false hits by the threshold, as SVG."""
        right = [(step, _ratio(*self.hits(step, same=True))) for step in STEPS]
        wrong = [(step, _ratio(*self.hits(step, same=False))) for step in STEPS]
        mark = {f"{self.threshold:.2f}": (self.threshold, _ratio(*self.hits(self.threshold, same=True)))}
        series = {"right hits": right, "false hits": wrong}
        return curves("Answers by meaning", "threshold", "share of pairs", series, mark)


def read_pairs(path: Path) -> list[Pair]:
    """Raises `ValueError` naming what can't be read."""
    text = path.read_text("utf-8")
    try:
        if text.lstrip().startswith("["):
            return [Pair(each["origin"], each["similar"], same=True) for each in json.loads(text)]
        lines = [json.loads(line) for line in text.splitlines() if line.strip()]
        pairs = [Pair(each["one"], each["other"], same=bool(each["same"])) for each in lines]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        form = '{"one": "...", "other": "...", "same": true}'
        raise ValueError(f"{path} holds no pairs ({error!r}): write one a line, {form}") from None
    if not pairs:
        raise ValueError(f"{path}: there are no pairs")
    return pairs


async def measure(path: Path, max_false_hit_rate: float) -> CacheReport:
    """Judges all pairs, and near misses of those that are the same. Raises `ValueError`."""
    pairs = read_pairs(path)
    made = near_misses([each.one for each in pairs if each.same])
    pairs += [Pair(text, miss, same=False, kind=kind) for kind, text, miss in made]
    texts = list(dict.fromkeys(text for each in pairs for text in (each.one, each.other)))
    resources = Resources(HealthBook())
    try:
        if not await resources.embedder().wait():
            raise ValueError(resources.embedder().status())
        vectors = dict(zip(texts, await resources.embedder().vectors(texts), strict=True))
    finally:
        await resources.close()
    started = time.process_time()
    judged = [_judge(each, vectors) for each in pairs]
    microseconds = (time.process_time() - started) / len(pairs) * 1e6
    return CacheReport(judged, max_false_hit_rate, _threshold(judged, max_false_hit_rate), microseconds)


def _judge(pair: Pair, vectors: dict[str, NDArray[np.float32]]) -> JudgedPair:
    cosine = float(vectors[pair.one] @ vectors[pair.other])
    if cosine < MIN_COSINE:
        return JudgedPair(pair, "too far apart", 0.0)
    reason = disagreement(pair.one, pair.other)
    return JudgedPair(pair, reason, 0.0 if reason else likelihood(cosine, pair.one, pair.other))


def _threshold(judged: Sequence[JudgedPair], max_false_hit_rate: float) -> float:
    """The lowest with no more false hits than that, of all different pairs."""
    different = [each for each in judged if not each.pair.same]
    allowed = max_false_hit_rate * len(different)
    for step in STEPS:
        if sum(not each.reason and each.likelihood >= step for each in different) <= allowed:
            return step
    return 1.0


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _counted(part: int, whole: int) -> tuple[str, str, str]:
    return f"{part}", f"{whole}", f"{_ratio(part, whole):.1%}"
