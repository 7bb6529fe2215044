"""`gatehouse eval cache`: measures right and false hits of the semantic cache.

A file of pairs is a JSON list of `{"origin": "...", "similar": "..."}`, or one JSON object a line: `{"one": "...",
"other": "...", "same": true}`. Near misses are built from the pairs: with another number,
negation, direction, name, opposite or word.
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

# The cache never returns a hit below the lowest of these, whatever threshold it has learned.
_FORM = '{"one": "...", "other": "...", "same": true}'
STEPS = tuple(step / 50 for step in range(round(50 * LOWEST), 51))


class Pair(msgspec.Struct, frozen=True):
    """Two questions, and whether they mean the same; `kind` is how a near miss was built."""

    one: str
    other: str
    same: bool
    kind: str = ""


class JudgedPair(msgspec.Struct, frozen=True):
    """The result of the gates for a pair: the reason of a rejection, or the likelihood of a match."""

    pair: Pair
    reason: str
    likelihood: float


class CacheReport(msgspec.Struct, frozen=True):
    """All pairs, and the lowest threshold within the allowed share of false hits."""

    judged: list[JudgedPair]
    max_false_hit_rate: float
    threshold: float
    microseconds: float

    def hits(self, threshold: float, *, same: bool, kind: str | None = None) -> tuple[int, int]:
        """Returns the hits, and the number of pairs."""
        pairs = [each for each in self.judged if each.pair.same == same and (kind is None or each.pair.kind == kind)]
        return sum(not each.reason and each.likelihood >= threshold for each in pairs), len(pairs)

    def show(self) -> None:
        """Prints tables: hits by threshold, false hits by kind of near miss, and rejections by gate."""
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
        rejections = ", ".join(
            f"{reason} {count}" for reason, count in sorted(reasons.items(), key=lambda each: -each[1])
        )
        typer.echo(f"\nparaphrases that a gate rejected: {rejections or 'none'}")
        typer.echo(f"gates: {self.microseconds:.0f} us per pair")

    def chart(self) -> str:
        """Returns an SVG of right and false hits by threshold."""
        right = [(step, _ratio(*self.hits(step, same=True))) for step in STEPS]
        wrong = [(step, _ratio(*self.hits(step, same=False))) for step in STEPS]
        mark = {f"{self.threshold:.2f}": (self.threshold, _ratio(*self.hits(self.threshold, same=True)))}
        series = {"right hits": right, "false hits": wrong}
        return curves("Semantic cache hits", "threshold", "share of pairs", series, mark)


def read_pairs(path: Path) -> list[Pair]:
    """Reads the file. Raises `ValueError` that names what can't be read."""
    text = path.read_text("utf-8")
    try:
        if text.lstrip().startswith("["):
            return [Pair(each["origin"], each["similar"], same=True) for each in json.loads(text)]
        lines = [json.loads(line) for line in text.splitlines() if line.strip()]
        pairs = [Pair(each["one"], each["other"], same=bool(each["same"])) for each in lines]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} contains no pairs ({error!r}): write one a line, {_FORM}") from None
    if not pairs:
        raise ValueError(f"{path} contains no pairs: write one a line, {_FORM}")
    return pairs


async def measure(path: Path, max_false_hit_rate: float) -> CacheReport:
    """Judges all pairs, and near misses of the pairs that mean the same. Raises `ValueError`."""
    pairs = read_pairs(path)
    misses = near_misses([each.one for each in pairs if each.same])
    pairs += [Pair(text, miss, same=False, kind=kind) for kind, text, miss in misses]
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
    """Returns the lowest threshold whose share of false hits, of all different pairs, is within the limit."""
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
