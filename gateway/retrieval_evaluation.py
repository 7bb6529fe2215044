"""`gatehouse eval retrieval`: how well a source's search finds what a user's own questions ask for.

A file of questions has one JSON object a line: `{"question": "...", "relevant": ["manual.md", ...]}`; what is relevant
is named by the documents' ids, or by passages as `id place`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gateway.ingestion import opened
from gateway.resources import Resources
from rag.collection import Search
from router.health import HealthBook

if TYPE_CHECKING:
    from config import Config
    from rag.collection import Found
    from rag.source import Source

WAYS: dict[str, Search] = {
    "words": Search("words"),
    "meaning": Search("meaning", feedback=0),
    "ranks": Search("ranks"),
    "weighted": Search("weighted"),
}
DEPTH = 10
_BAR = 40


class Question(msgspec.Struct, frozen=True):
    """What is asked, and the documents or passages that answer it."""

    question: str
    relevant: tuple[str, ...]


class Score(msgspec.Struct, frozen=True):
    """One way of searching, over all questions. Times in milliseconds."""

    way: str
    recall: float
    ndcg: float
    mrr: float
    p50_ms: float
    p95_ms: float

    def line(self) -> str:
        """For people, with a bar of the nDCG."""
        full = round(_BAR * self.ndcg)
        figures = f"recall@{DEPTH} {self.recall:.3f}  nDCG@{DEPTH} {self.ndcg:.3f}  MRR {self.mrr:.3f}"
        return f"{self.way:10} {figures}  p50 {self.p50_ms:5.1f} ms  p95 {self.p95_ms:5.1f} ms  {'█' * full}"


def read_questions(path: Path) -> list[Question]:
    """Raises `ValueError` naming the line that can't be read."""
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
        raise ValueError(f"{path}: there are no questions")
    return questions


async def measure(config: Config, source_name: str, path: Path) -> Iterator[Score]:
    """Every way of searching. Raises `ValueError`."""
    questions = read_questions(path)
    resources = Resources(HealthBook())
    source = await opened(config, source_name, resources)
    try:
        configured = source.collection.search_options
        ways = {**WAYS, "as set": configured} if configured not in WAYS.values() else WAYS
        scores = [await _score(way, options, source, questions) for way, options in ways.items()]
        return iter(scores)
    finally:
        await source.close()
        await resources.close()


async def _score(way: str, options: Search, source: Source, questions: Sequence[Question]) -> Score:
    source.collection.search_options = options
    recalls, ndcgs, ranks, times = [], [], [], []
    for each in questions:
        started = time.perf_counter()
        found = await source.explain(each.question, DEPTH * 3)
        times.append(time.perf_counter() - started)
        hits = [name in each.relevant for name in _names(found, each.relevant)][:DEPTH]
        ideal = sum(1 / math.log2(rank + 2) for rank in range(min(DEPTH, len(each.relevant))))
        recalls.append(sum(hits) / min(DEPTH, len(each.relevant)) if each.relevant else 0.0)
        ndcgs.append(sum(1 / math.log2(rank + 2) for rank, hit in enumerate(hits) if hit) / ideal if ideal else 0.0)
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


def _names(found: Sequence[Found], relevant: Sequence[str]) -> list[str]:
    """What was found, best first, each once: passages where the questions name passages, else documents."""
    by_passage = any(" " in name for name in relevant)
    names = (f"{each.passage.source} {each.passage.place}" if by_passage else each.passage.source for each in found)
    return list(dict.fromkeys(names))
