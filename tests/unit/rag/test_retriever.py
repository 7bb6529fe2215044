from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gateway.contract.passages import Passage
from gateway.contract.terms import terms
from rag.async_embedder import AsyncEmbedder
from rag.embedder import Embedder, EmbedderAbsent
from rag.folder import read_folder
from rag.lexical import LexicalIndex
from rag.retriever import FolderRetriever
from rag.vector_file import digest, read_vectors, write_vectors

QUESTIONS = [
    ("How fast does the A300 print?", "printer-a300.md"),
    ("Does the printer support A3 paper?", "printer-a300.md"),
    ("How many pages does a toner cartridge last?", "toner.md"),
    ("How do I change the cartridge?", "toner.md"),
    ("How long is the warranty?", "warranty.md"),
    ("Is damage by liquids covered?", "warranty.md"),
    ("When will I get my money back?", "returns.md"),
    ("How much is delivery to Switzerland?", "shipping.md"),
    ("When are you open on Saturday?", "support.md"),
    ("There are stripes on my printouts", "faq.md"),
]


class CountingVectors:
    """Real vectors, counted, made of the letters of a text: no model needed."""

    name = "letters"
    dimensions = 26
    ready = True

    def __init__(self) -> None:
        self.texts: list[str] = []

    def status(self) -> str:
        return "letters"

    async def wait(self) -> bool:
        return True

    async def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.texts.extend(texts)
        counts = np.array([[text.lower().count(chr(97 + i)) + 0.01 for i in range(26)] for text in texts], np.float32)
        lengths: NDArray[np.float32] = np.linalg.norm(counts, axis=1, keepdims=True)
        return counts / lengths


def ask(retriever: FolderRetriever, questions: Sequence[str], *, embedded: bool) -> list[list[Passage]]:
    async def run() -> list[list[Passage]]:
        await retriever.start()
        assert await retriever.embedded() is embedded
        found = [await retriever.search(question, 6) for question in questions]
        await retriever.close()
        return found

    return asyncio.run(run())


def test_the_right_file_first_by_words(demo_documents: Path) -> None:
    found = ask(FolderRetriever(demo_documents), [question for question, _ in QUESTIONS], embedded=False)
    assert [passages[0].source for passages in found] == [source for _, source in QUESTIONS]
    assert ask(FolderRetriever(demo_documents), ["Mongolia?", "", "the"], embedded=False) == [[], [], []]


def test_the_right_file_first_by_words_and_meaning(demo_documents: Path, embedder: Embedder, tmp_path: Path) -> None:
    async def run() -> None:
        worker = AsyncEmbedder(lambda: embedder)
        retriever = FolderRetriever(demo_documents, worker, tmp_path)
        await retriever.start()
        assert await retriever.embedded()
        for question, source in QUESTIONS:
            found = await retriever.search(question, 6)
            assert found[0].source == source, question
            assert len(found) == 6
            assert all(1 >= one.score >= other.score > 0 for one, other in pairwise(found))
        # No word in common.
        loud = await retriever.search("decibels", 1)
        assert loud[0].place.startswith("A300 laser printer > Size, power and noise")
        assert await retriever.search(" ", 3) == []
        await retriever.close()
        await worker.close()

    asyncio.run(run())


def test_start_does_not_wait_for_the_model(demo_documents: Path) -> None:
    def slow() -> Embedder:
        time.sleep(0.3)
        raise EmbedderAbsent("too slow")

    async def run() -> None:
        worker = AsyncEmbedder(slow)
        retriever = FolderRetriever(demo_documents, worker)
        started = time.perf_counter()
        await retriever.start()
        assert (await retriever.search("How long is the warranty?", 1))[0].source == "warranty.md"
        assert time.perf_counter() - started < 0.25
        assert not await retriever.embedded()
        assert "words" in retriever.status()
        assert "too slow" in retriever.status()
        await retriever.close()
        await worker.close()

    asyncio.run(run())


def test_close_stops_the_embedding(demo_documents: Path, tmp_path: Path) -> None:
    class Never(CountingVectors):
        async def wait(self) -> bool:
            await asyncio.Event().wait()
            return True

    async def run() -> None:
        retriever = FolderRetriever(demo_documents, Never(), tmp_path)
        await retriever.start()
        await asyncio.wait_for(retriever.close(), 1)

    asyncio.run(run())


def test_documents_are_embedded_once(tmp_path: Path) -> None:
    folder, cache = tmp_path / "documents", tmp_path / "cache"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.md").write_text(f"# {name}\n\nWords of {name}.\n")
    first, second, third = CountingVectors(), CountingVectors(), CountingVectors()
    once = ask(FolderRetriever(folder, first, cache), ["words of a"], embedded=True)
    assert ask(FolderRetriever(folder, second, cache), ["words of a"], embedded=True) == once
    (folder / "c.txt").write_text("Something new.")
    ask(FolderRetriever(folder, third, cache), [], embedded=True)
    assert [len(each.texts) for each in (first, second, third)] == [3, 1, 1]


def test_a_cache_that_can_not_be_written_is_only_said(demo_documents: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder belongs")
    retriever = FolderRetriever(demo_documents, CountingVectors(), tmp_path / "cache")
    ask(retriever, ["warranty"], embedded=True)
    assert "words and meaning" in retriever.status()


def test_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "sub" / "a.txt").write_bytes(b"\xef\xbb\xbfOne.\r\n\r\nTw\xffo.")
    (tmp_path / "b.html").write_text("<h2>Title</h2><p>Three.")
    for ignored in (".hidden/c.md", ".d.md", "e.png", "f"):
        (tmp_path / ignored).write_text("never")
    found = [(each.source, each.place, each.text) for each in read_folder(tmp_path)]
    assert found == [("b.html", "Title, line 1", "Three."), ("sub/a.txt", "line 1", "One.\n\nTw\ufffdo.")]
    with pytest.raises(NotADirectoryError):
        read_folder(tmp_path / "nowhere")


def test_every_passage_has_an_id_of_its_own(demo_documents: Path) -> None:
    passages = read_folder(demo_documents)
    assert len({each.id for each in passages}) == len(passages)
    assert read_folder(demo_documents) == passages


@given(st.lists(st.text(alphabet="abc ", max_size=20), max_size=8), st.text(alphabet="abcd ", max_size=10))
def test_bm25_finds_exactly_the_texts_with_a_word(texts: list[str], query: str) -> None:
    asked = set(terms(query))
    scores = LexicalIndex(texts).scores(query)
    assert set(scores) == {row for row, text in enumerate(texts) if asked & set(terms(text))}
    assert all(score > 0 for score in scores.values())


def test_bm25_prefers_rare_words_and_short_texts() -> None:
    scores = LexicalIndex(["printer toner", "printer paper", "printer paper paper tray feeder"]).scores("printer toner")
    assert scores[0] > scores[1] > scores[2]


def test_vector_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "vectors.npz"
    vectors = np.arange(8, dtype=np.float32).reshape(2, 4)
    assert read_vectors(path) == {}
    write_vectors(path, ["a", "b"], vectors)
    read = read_vectors(path)
    assert read[digest("b")].tolist() == [4, 5, 6, 7]
    assert len(read) == 2
    content = path.read_bytes()
    for damaged in (b"", content[:50], b"PK" + content[20:]):
        path.write_bytes(damaged)
        assert read_vectors(path) == {}
