"""Another embedder: what was found by meaning goes on to be, until everything is embedded anew."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from contract.sources import Item
from rag.chunkers import Chunking
from rag.collection import Collection, Search
from rag.source import PreviousIndex, Source
from rag.sqlite_store import SqliteStore
from tests.unit.rag.letters import LetterVectors

TEXTS = {"a": "aaaa aab", "b": "bbbb bba", "c": "cccc"}


class HeldVectors(LetterVectors):
    """Embeds documents once it is allowed to; a question at once."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.allowed = asyncio.Event()

    async def wait(self) -> bool:
        return await self.allowed.wait()


def opened(folder: Path, vectors: LetterVectors, others: tuple[LetterVectors, ...] = ()) -> Source:
    def with_vectors(which: LetterVectors) -> Collection:
        store = SqliteStore(folder / "store.sqlite")
        return Collection("test", store, folder / "index", which, Search("meaning", feedback=0))

    def earlier(name: str) -> Collection | None:
        return next((with_vectors(each) for each in others if each.name == name), None)

    return Source(with_vectors(vectors), Chunking(), folder / "lock", earlier=earlier)


async def filled(folder: Path, vectors: LetterVectors) -> Source:
    source = opened(folder, vectors)
    await source.start()
    await source.add([Item(name, partial(_load, text)) for name, text in TEXTS.items()])
    await source.ingest()
    await source.collection.catch_up()
    assert source.collection.complete
    return source


def _load(text: str) -> tuple[bytes, str]:
    return text.encode(), "text/plain"


async def best(source: Source, question: str) -> str:
    return (await source.search(question, 1))[0].source


async def until_complete(source: Source) -> None:
    async with asyncio.timeout(10):
        while not source.collection.complete:
            await asyncio.sleep(0.02)


def test_after_a_restart_the_vectors_before_serve(tmp_path: Path) -> None:
    async def run() -> None:
        old, new = LetterVectors("old"), HeldVectors("new")
        await (await filled(tmp_path, old)).close()
        source = opened(tmp_path, new, (old,))
        await source.start()
        assert "the previous index serves" in source.status()
        old.texts.clear()
        assert await best(source, "bb") == "b"
        assert old.texts == ["bb"]
        # What comes meanwhile is found too: by its words at least.
        new.allowed.set()
        await until_complete(source)
        new.texts.clear()
        old.texts.clear()
        assert await best(source, "bb") == "b"
        assert (new.texts, old.texts) == (["bb"], [])
        assert "previous" not in source.status()
        await source.close()
        # The next start finds its own indexes.
        again = opened(tmp_path, new, (old,))
        await again.start()
        assert again.collection.complete
        assert again.serving is again.collection
        assert await best(again, "cc") == "c"
        await again.close()

    asyncio.run(run())


def test_an_embedder_that_is_gone_can_not_serve(tmp_path: Path) -> None:
    async def run() -> None:
        await (await filled(tmp_path, LetterVectors("old"))).close()
        new = HeldVectors("new")
        source = opened(tmp_path, new)
        await source.start()
        assert source.serving is source.collection
        new.allowed.set()
        await until_complete(source)
        assert await best(source, "bb") == "b"
        await source.close()

    asyncio.run(run())


def test_a_source_that_is_reloaded_hands_over(tmp_path: Path) -> None:
    async def run() -> None:
        first = await filled(tmp_path, LetterVectors("old"))
        released = asyncio.Event()

        async def release() -> None:
            released.set()

        new = HeldVectors("new")
        second = opened(tmp_path, new)
        await second.start(PreviousIndex(first.collection, release))
        assert second.serving is first.collection
        assert await best(second, "aa") == "a"
        await second.add([Item("d", partial(_load, "dddd"))])
        await first.collection.catch_up()
        new.allowed.set()
        await until_complete(second)
        assert await best(second, "dd") == "d"
        assert second.serving is second.collection
        await second.close()
        assert released.is_set()
        await first.close()

    asyncio.run(run())
