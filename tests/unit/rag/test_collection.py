"""Documents kept, indexed and found: what is added is found, what is removed is not, by nobody who may not see it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.sources import Item, Origin
from rag import vector_index
from rag.chunkers import Chunking
from rag.collection import Collection, Search
from rag.fuse import by_ranks, ranked, weighted
from rag.ingest import IngestReport, embed, store_documents
from rag.postgres_store import PostgresStore
from rag.source import Source
from rag.sqlite_store import SqliteStore
from rag.store import Counts, Store, may_see, partition_of
from tests.unit.rag.letters import LetterVectors

pytestmark = pytest.mark.slow

Docs = dict[str, tuple[str, tuple[str, ...]]]


def items(docs: Docs) -> list[Item]:
    return [Item(name, partial(_load, text), labels) for name, (text, labels) in docs.items()]


def _load(text: str) -> tuple[bytes, str]:
    return text.encode(), "text/markdown"


STORES: list[Callable[[Path], Store]] = []


@pytest.fixture(autouse=True, params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def store_kind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test runs on both stores."""
    if request.param == "sqlite":
        STORES.append(lambda folder: SqliteStore(folder / "store.sqlite"))
    else:
        url = request.getfixturevalue("postgres_url")
        STORES.append(lambda folder: PostgresStore(url, hashlib.sha256(str(folder).encode()).hexdigest()[:16]))
    yield
    STORES.clear()


async def collection(folder: Path, vectors: LetterVectors | None = None, search: Search | None = None) -> Collection:
    made = Collection("test", STORES[-1](folder), folder / "index", vectors, search)
    await made.start()
    return made


async def kept(made: Collection, docs: Docs, *, whole: bool = False) -> IngestReport:
    report = await store_documents(made.store, items(docs), Chunking(), complete=whole)
    if made.embedder is not None:
        report.embedded = await embed(made.store, made.embedder)
    await made.catch_up()
    return report


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await asyncio.wait_for(body(), 30)

    asyncio.run(main())


async def sources(made: Collection, query: str, labels: frozenset[str] | None = None) -> list[str]:
    return [passage.source for passage in await made.search(query, 10, labels)]


def test_added_replaced_removed(tmp_path: Path) -> None:
    async def body() -> None:
        vectors = LetterVectors()
        made = await collection(tmp_path, vectors)
        docs: Docs = {"a.md": ("Zebras run.", ()), "b.md": ("Pumps drip.\n\nWater flows.", ())}
        report = await kept(made, docs)
        assert (report.added, report.chunks, report.embedded) == (2, 2, 2)
        assert (await sources(made, "zebra"))[0] == "a.md"
        # The same again costs nothing.
        report = await kept(made, docs)
        assert (report.unchanged, report.embedded) == (2, 0)
        assert len(vectors.texts) == 2 + 3 - 2
        docs["a.md"] = ("Lions sleep.", ())
        report = await kept(made, docs)
        assert (report.changed, report.unchanged) == (1, 1)
        assert (await sources(made, "lions"))[0] == "a.md"
        assert "Zebras" not in str(await made.search("zebra", 10))
        report = await kept(made, {"a.md": docs["a.md"]}, whole=True)
        assert report.removed == 1
        assert await sources(made, "pumps") == ["a.md"]
        await made.close()

    with pytest.MonkeyPatch.context():
        run(body)


@pytest.mark.parametrize("read", ["catch_up", "read_log"])
def test_the_status_is_never_ahead_of_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: str) -> None:
    async def body() -> None:
        vectors = LetterVectors()
        made = await collection(tmp_path, vectors)
        await kept(made, {"a.md": ("Zebras run.", ())})
        counts = made.store.counts

        async def counts_after_news(embedder: str) -> Counts:
            # Somebody else adds a document at that very moment.
            monkeypatch.setattr(made.store, "counts", counts)
            await store_documents(made.store, items({"b.md": ("Pumps drip.", ())}), Chunking())
            await embed(made.store, vectors)
            return await counts(embedder)

        monkeypatch.setattr(made.store, "counts", counts_after_news)
        await getattr(made, read)()
        assert made.status().startswith("2 passages from 2 documents")
        assert made.index.cursor == await made.store.last()
        await made.close()

    run(body)


def test_labels_decide_who_sees_what(tmp_path: Path) -> None:
    async def body() -> None:
        made = await collection(tmp_path, LetterVectors())
        docs: Docs = {
            "open.md": ("salary table for all", ()),
            "hr.md": ("salary table of the board", ("hr",)),
            "both.md": ("salary table of sales", ("hr", "sales")),
        }
        await kept(made, docs)
        for labels, want in (
            (frozenset[str](), {"open.md"}),
            (frozenset({"sales"}), {"open.md", "both.md"}),
            (frozenset({"hr"}), set(docs)),
            (frozenset({"other"}), {"open.md"}),
            (None, set(docs)),
        ):
            assert set(await sources(made, "salary table", labels)) == want
        # A document whose labels change is seen by others from then on.
        await kept(made, {"open.md": ("salary table for all", ("hr",))})
        assert await sources(made, "salary table", frozenset()) == []
        await made.close()

    run(body)


def test_what_one_process_ingests_another_finds(tmp_path: Path) -> None:
    async def body() -> None:
        first, second = await collection(tmp_path, LetterVectors()), await collection(tmp_path, LetterVectors())
        await kept(first, {"a.md": ("Zebras run.", ())})
        async with asyncio.timeout(5):
            while await sources(second, "zebra") != ["a.md"]:
                await asyncio.sleep(0.05)
        await first.store.delete(["a.md"])
        async with asyncio.timeout(5):
            while await sources(second, "zebra"):
                await asyncio.sleep(0.05)
        await first.close()
        await second.close()

    run(body)


def test_a_restart_finds_the_same_and_embeds_nothing_again(tmp_path: Path) -> None:
    async def body() -> None:
        docs: Docs = {f"{n}.md": (f"word{n} and letters {'xyzab'[n % 5] * n}", ()) for n in range(30)}
        made = await collection(tmp_path, LetterVectors())
        await kept(made, docs)
        before = await made.search("word7", 5)
        await made.close()
        vectors = LetterVectors()
        again = await collection(tmp_path, vectors)
        assert await again.search("word7", 5) == before
        assert len(vectors.texts) == 1
        await again.close()
        # A damaged index is made anew.
        for path in (tmp_path / "index" / "0").rglob("*"):
            if path.is_file():
                path.write_bytes(b"damaged")
        third = await collection(tmp_path, LetterVectors())
        assert await third.search("word7", 5) == before
        await third.close()

    run(body)


def test_another_embedder_embeds_all_again(tmp_path: Path) -> None:
    async def body() -> None:
        made = await collection(tmp_path, LetterVectors())
        await kept(made, {"a.md": ("Zebras run.", ())})
        await made.close()
        other = LetterVectors("other")
        again = await collection(tmp_path, other)
        assert "1 without embedding" in again.status()
        assert await embed(again.store, other) == 1
        await again.catch_up()
        assert again.status() == "1 passages from 1 documents, full-text and vector search"
        await again.close()

    run(body)


def test_a_broken_document_is_reported_and_the_rest_goes_on(tmp_path: Path) -> None:
    async def body() -> None:
        made = await collection(tmp_path)
        broken = Item("x.pdf", lambda: (b"no pdf at all", ""))
        strange = Item("y.exe", lambda: (b"MZ", "application/octet-stream"))
        report = await store_documents(made.store, [broken, strange, *items({"a.md": ("Zebras run.", ())})], Chunking())
        assert [name for name, _ in report.failed] == ["x.pdf", "y.exe"]
        assert report.added == 1
        await made.close()

    run(body)


def test_a_large_partition_is_built_and_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_index, "FLAT_LIMIT", 200)
    rng = np.random.default_rng(0)
    docs: Docs = {f"{n}.md": ("".join(chr(97 + i) for i in rng.integers(0, 26, 60)), ()) for n in range(600)}

    async def body() -> None:
        flat = await collection(tmp_path / "flat", LetterVectors(), Search("meaning", index="flat", feedback=0))
        await kept(flat, docs)
        for kind in ("ivf", "hnsw"):
            search = Search("meaning", index=kind, feedback=0)
            made = await collection(tmp_path / kind, LetterVectors(), search)
            await kept(made, docs)
            assert list((tmp_path / kind / "index" / "0").glob("*.faiss"))
            await made.store.delete([f"{n}.md" for n in range(50)])
            await made.catch_up()
            await kept(made, {"new.md": (docs["77.md"][0], ())})
            same = 0.0
            for n in range(60, 100):
                found = await sources(made, docs[f"{n}.md"][0])
                exact = [name for name in await sources(flat, docs[f"{n}.md"][0]) if int(name[:-3]) >= 50]
                same += len(set(found) & set(exact)) / len(exact)
                assert not {name for name in found if name != "new.md" and int(name[:-3]) < 50}
            assert same / 40 > 0.9
            assert set((await sources(made, docs["77.md"][0]))[:2]) == {"77.md", "new.md"}
            await made.close()
            again = await collection(tmp_path / kind, LetterVectors(), search)
            assert set((await sources(again, docs["77.md"][0]))[:2]) == {"77.md", "new.md"}
            await again.close()
        await flat.close()

    run(body)


def test_a_folder_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag.source.WATCH_S", 0.05)
    from rag.folder import folder_items, snapshot

    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.md").write_text("Zebras run.")

    async def body() -> None:
        made = Collection("t", STORES[-1](tmp_path), tmp_path / "index", LetterVectors())
        origin = Origin(partial(folder_items, folder, ("**/*",)), partial(snapshot, folder, ("**/*",)))
        source = Source(made, Chunking(), tmp_path / "lock", origin)
        await source.start()

        async def until(query: str, want: Sequence[str]) -> None:
            async with asyncio.timeout(10):
                while [passage.source for passage in await source.search(query, 5)][:1] != list(want):
                    await asyncio.sleep(0.02)

        await until("zebra", ["a.md"])
        (folder / "b.md").write_text("Lions sleep in the sun.")
        await until("lions", ["b.md"])
        (folder / "b.md").unlink()
        await until("lions sun", ["a.md"])
        await source.close()

    run(body)


def test_nothing_in_a_question_is_a_query_language(tmp_path: Path) -> None:
    async def body() -> None:
        made = await collection(tmp_path)
        await kept(made, {"a.md": ("Zebras run.", ())})
        for query in (
            '"',
            "partition:x OR *",
            "zebra AND (",
            "+-!{}[]^~?:\\/",
            "\x00",
            "",
            " ",
            "\ud800",
            "x" * 100_000,
        ):
            assert await sources(made, query) in ([], ["a.md"])
        await made.close()

    run(body)


def test_what_was_removed_takes_nobodys_place(tmp_path: Path) -> None:
    async def body() -> None:
        made = await collection(tmp_path)
        for number in range(12):
            await kept(made, {f"{number}.md": ("Okapis.", ())})
            assert [passage.source for passage in await made.search("okapis", 1)] == [f"{number}.md"]
            assert len(made.index.words) == 1
            await made.store.delete([f"{number}.md"])
            # Not even before the index has heard of it.
            assert await made.search("okapis", 1) == []
            await made.catch_up()
            assert len(made.index.words) == 0
        await made.close()

    run(body)


def test_searching_while_partitions_are_added(tmp_path: Path) -> None:
    async def body() -> None:
        made = await collection(tmp_path, LetterVectors())
        await kept(made, {"a.md": ("Okapis.", ())})

        async def fill() -> None:
            for number in range(30):
                await kept(made, {f"{number}.md": (f"Zebras {number}.", (f"label{number}",))})

        filling = asyncio.create_task(fill())
        while not filling.done():
            found = await asyncio.gather(*[sources(made, "okapis zebras", frozenset()) for _ in range(8)])
            assert all(each == ["a.md"] for each in found)
        await filling
        await made.close()

    run(body)


def test_the_same_search_is_made_once_and_anew_after_a_change(tmp_path: Path) -> None:
    async def body() -> None:
        made = await collection(tmp_path)
        await kept(made, {"a.md": ("Okapis.", ()), "b.md": ("Okapis of the board.", ("board",))})
        asked: list[str] = []
        search = made.index.words.search

        def counted(question: str, partitions: Sequence[str] | None, top: int) -> list[tuple[int, float]]:
            asked.append(question)
            return search(question, partitions, top)

        made.index.words.search = counted  # type: ignore[method-assign]
        for _ in range(3):
            assert await sources(made, "okapis", frozenset()) == ["a.md"]
        assert set(await sources(made, "okapis", frozenset({"board"}))) == {"a.md", "b.md"}
        assert len(asked) == 2
        await kept(made, {"c.md": ("Okapis, okapis.", ())})
        assert set(await sources(made, "okapis", frozenset())) == {"a.md", "c.md"}
        assert len(asked) == 3
        await made.close()

    run(body)


def test_a_crash_between_two_files_counts_nothing_twice(tmp_path: Path) -> None:
    async def body() -> None:
        made = await collection(tmp_path, LetterVectors())
        state = tmp_path / "index" / "0" / "state.json"
        before = state.read_bytes() if state.exists() else None
        await kept(made, {f"{number}.md": (f"Okapi {number}.", ()) for number in range(5)})
        await made.close()
        # As if the words had been committed and the power had gone.
        state.write_bytes(before) if before is not None else state.unlink()
        if before is None:
            state.write_text('{"embedder": "letters", "words": 0, "partitions": {}}')
        again = await collection(tmp_path, LetterVectors())
        assert len(again.index.words) == 5
        assert len(again.index.vectors) == 5
        await again.close()

    run(body)


LABELS = st.lists(st.sampled_from("abc"), max_size=2).map(tuple)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from("pqrst"), st.none() | st.tuples(st.sampled_from(["zebra", "lion", "pump"]), LABELS)),
        max_size=15,
    )
)
def test_what_is_found_is_what_is_kept(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, tuple[str, tuple[str, ...]] | None]]
) -> None:
    async def body() -> None:
        made = await collection(tmp_path_factory.mktemp("kept"), LetterVectors())
        model: dict[str, tuple[str, tuple[str, ...]]] = {}
        for name, what in steps:
            if what is None:
                await made.store.delete([name])
                model.pop(name, None)
            else:
                model[name] = (f"the {what[0]} {name}", what[1])
                await kept(made, {name: model[name]})
        await made.catch_up()
        for word in ("zebra", "lion", "pump"):
            for labels in (frozenset[str](), frozenset("a"), frozenset("bc")):
                seen = {name for name, (_, mine) in model.items() if may_see(partition_of(mine), labels)}
                assert set(await sources(made, word, labels)) <= seen
                hits = {name for name in seen if word in model[name][0]}
                found = {p.source for p in await made.search(word, 10, labels) if word in p.text}
                assert found == hits
        await made.close()

    run(body)


def test_fusion() -> None:
    assert weighted({1: 4.0, 2: 2.0}, {2: 1.0, 3: 0.5}, 0.3) == pytest.approx({1: 0.3, 2: 0.85, 3: 0.35})
    fused = by_ranks([1, 2], [2, 3])
    assert max(fused, key=lambda each: fused[each]) == 2
    assert by_ranks([1], [1]) == {1: pytest.approx(1.0)}
    assert ranked({1: 0.5, 2: 0.5, 3: 0.9, 4: 0.0}, 2) == [(3, 0.9), (1, 0.5)]
