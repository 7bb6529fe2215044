"""`gatehouse eval retrieval`: measures how well a source's search finds the documents that answer your questions.

A file of questions has one JSON object a line: `{"question": "...", "relevant": ["manual.md", ...]}`; `relevant`
contains ids of documents, or passages as `id place`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gateway.commands.ingest import opened
from gateway.engine.resources import Resources
from observability.chart import bars, curves
from observability.screen import table
from rag.collection import Search
from rag.rerank import SentenceReranker
from router.health import HealthBook

if TYPE_CHECKING:
    from rich.table import Table

    from config import Config
    from contract.messages import ChatRequest
    from contract.passages import Passage
    from rag.rerank import Reranker
    from rag.source import Source

WAYS: dict[str, Search] = {
    "words": Search("words"),
    "meaning": Search("meaning", feedback=0),
    "ranks": Search("ranks"),
    "weighted": Search("weighted"),
}
DEPTH = 10
WEIGHTS = tuple(round(0.1 * step, 1) for step in range(11))
_BAR = 30


class Question(msgspec.Struct, frozen=True):
    """A question, and the documents or passages that answer it."""

    question: str
    relevant: tuple[str, ...]


class Score(msgspec.Struct, frozen=True):
    """The scores of one search method over all questions. Times in milliseconds."""

    way: str
    recall: float
    ndcg: float
    mrr: float
    p50_ms: float
    p95_ms: float


class Weights(msgspec.Struct, frozen=True):
    """The best `words_weight`, its nDCG on questions held out from the choice, and the nDCG of every weight."""

    best: float
    unseen: float
    curve: list[tuple[float, float]]

    def lines(self) -> list[str]:
        """Returns lines of text, with the setting to write into the config."""
        shown = "  ".join(f"{weight:.1f}: {gain:.3f}" for weight, gain in self.curve)
        return [
            f"nDCG@{DEPTH} by words_weight  {shown}",
            f"chosen on one half of the questions and measured on the other: {self.unseen:.3f}",
            f"set in the source   search: {{words_weight: {self.best:.1f}}}",
        ]


def scores_table(scores: Sequence[Score]) -> Table:
    """Returns a table with a row for each search method and a bar of its nDCG."""
    from rich.progress_bar import ProgressBar

    head = ("search", f"recall@{DEPTH}", f"nDCG@{DEPTH}", "MRR", "p50 ms", "p95 ms", "")
    rows = []
    for each in scores:
        shares = (f"{each.recall:.3f}", f"{each.ndcg:.3f}", f"{each.mrr:.3f}")
        times = (f"{each.p50_ms:.1f}", f"{each.p95_ms:.1f}")
        rows.append((each.way, *shares, *times, ProgressBar(1.0, each.ndcg, _BAR)))
    return table(head, rows, 1)


def charts(source: str, scores: Sequence[Score], weights: Weights | None) -> dict[str, str]:
    """Returns SVG charts by the suffix of their file names."""
    groups = {
        each.way: {f"recall@{DEPTH}": each.recall, f"nDCG@{DEPTH}": each.ndcg, "MRR": each.mrr} for each in scores
    }
    pictures = {"": bars(f"Search of {source}", groups)}
    if weights is not None:
        name = f"nDCG@{DEPTH}"
        best = {f"{weights.best:.1f}": (weights.best, dict(weights.curve)[weights.best])}
        pictures["-weights"] = curves(
            f"Words and meaning in {source}", "words_weight", name, {name: weights.curve}, best
        )
    return pictures


def read_questions(path: Path) -> list[Question]:
    """Reads the file. Raises `ValueError` that names the line that can't be read."""
    questions = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
            questions.append(Question(str(item["question"]), tuple(str(each) for each in item["relevant"])))
        except (json.JSONDecodeError, KeyError, TypeError):
            raise ValueError(f'{path}:{number}: write {{"question": "...", "relevant": ["document", ...]}}') from None
    if not questions:
        raise ValueError(f"{path} contains no questions")
    return questions


async def measure(
    config: Config, source_name: str, path: Path, *, learn: bool = False
) -> tuple[list[Score], Weights | None]:
    """Scores every search method; with `learn`, finds the best `words_weight` too. Raises `ValueError`."""
    questions = read_questions(path)
    resources = Resources(HealthBook())
    try:
        async with opened(config, source_name, resources) as source:
            await source.ingest()
            await source.collection.catch_up()
            configured = source.collection.search_options
            ways = {**WAYS, "as set": configured} if configured not in WAYS.values() else WAYS
            scores = [await _score(way, options, source, questions) for way, options in ways.items()]
            reranker = SentenceReranker(resources.embedder())
            await resources.embedder().wait()
            scores.append(await _score("reranked", Search("weighted"), source, questions, reranker))
            return scores, await _learn_weights(configured, source, questions) if learn else None
    finally:
        await resources.close()


async def _score(
    way: str, options: Search, source: Source, questions: Sequence[Question], reranker: Reranker | None = None
) -> Score:
    source.collection.search_options = options
    recalls, ndcgs, ranks, times = [], [], [], []
    for each in questions:
        started = time.perf_counter()
        found = await source.search(each.question, 3 * DEPTH)
        if reranker is not None:
            found = await reranker.rerank(each.question, found, _ask_no_model)
        times.append(time.perf_counter() - started)
        hits = [name in each.relevant for name in _names(found, each.relevant)][:DEPTH]
        recalls.append(sum(hits) / min(DEPTH, len(each.relevant)) if each.relevant else 0.0)
        ndcgs.append(_ndcg(hits, each))
        ranks.append(1 / (hits.index(True) + 1) if any(hits) else 0.0)
    times.sort()
    count = len(questions)
    return Score(
        way,
        sum(recalls) / count,
        sum(ndcgs) / count,
        sum(ranks) / count,
        1000 * times[count // 2],
        1000 * times[min(count - 1, int(0.95 * count))],
    )


def _ndcg(hits: Sequence[bool], question: Question) -> float:
    ideal = sum(1 / math.log2(rank + 2) for rank in range(min(DEPTH, len(question.relevant))))
    return sum(1 / math.log2(rank + 2) for rank, hit in enumerate(hits) if hit) / ideal if ideal else 0.0


async def _ask_no_model(request: ChatRequest, model: str) -> str:
    raise RuntimeError("this reranker compares sentences and calls no model")


async def _learn_weights(options: Search, source: Source, questions: Sequence[Question]) -> Weights:
    """Finds the `words_weight` with the best nDCG, and measures such a choice on held-out questions."""
    gains: dict[float, list[float]] = {}
    for weight in WEIGHTS:
        source.collection.search_options = msgspec.structs.replace(options, fusion="weighted", words_weight=weight)
        gains[weight] = []
        for each in questions:
            found = await source.search(each.question, 3 * DEPTH)
            gains[weight].append(_ndcg([name in each.relevant for name in _names(found, each.relevant)][:DEPTH], each))

    def best(half: slice) -> float:
        return max(WEIGHTS, key=lambda weight: sum(gains[weight][half]))

    even, odd = slice(0, None, 2), slice(1, None, 2)
    unseen = sum(gains[best(even)][odd]) + sum(gains[best(odd)][even])
    curve = [(weight, sum(gained) / len(questions)) for weight, gained in gains.items()]
    return Weights(best(slice(None)), unseen / len(questions), curve)


def _names(found: Sequence[Passage], relevant: Sequence[str]) -> list[str]:
    """Returns the unique names of the results, best first: passages if `relevant` names passages, else documents."""
    by_passage = any(" " in name for name in relevant)
    names = (f"{each.source} {each.place}" if by_passage else each.source for each in found)
    return list(dict.fromkeys(names))
