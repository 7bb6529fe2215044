"""Passages that a retriever returns, and measures of their quality."""

from __future__ import annotations

import msgspec


class Passage(msgspec.Struct, frozen=True):
    """A passage: its document, its place in it, and its text. `score` is the retriever's own; higher is better."""

    source: str
    place: str
    text: str
    score: float
    id: str


class ContextQuality(msgspec.Struct):
    """Judged quality of a pipeline's passages: sums over the judged questions, each value from 0 to 1."""

    judged: int = 0
    failed: int = 0
    relevance: float = 0.0
    precision: float = 0.0
