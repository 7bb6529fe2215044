"""Work that an outsider can make slow runs in a pool of its kind, never in the loop's default threads."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = (
    "guardrails",
    "router",
    "rag/tools",
    "rag/rerank.py",
    "rag/async_embedder.py",
    "gateway/providers/extractive.py",
)


@pytest.mark.guarantee("fairness", "Work that a caller can slow down never runs in the shared default thread pool")
@pytest.mark.parametrize("room", ROOMS)
def test_no_room_uses_the_threads_that_all_share(room: str) -> None:
    place = ROOT / room
    files = [place] if place.is_file() else sorted(place.rglob("*.py"))
    assert files
    assert [
        str(file.relative_to(ROOT))
        for file in files
        if "asyncio.to_thread" in (text := file.read_text("utf-8")) or "run_in_executor" in text
    ] == []
