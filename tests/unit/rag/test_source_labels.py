"""A source's labels hold for each of its documents, however it came there, in both stores."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.sources import Item
from rag.chunkers import Chunking
from rag.collection import Collection
from rag.documents.reading import EMPTY_FILE
from rag.ingest import HIDDEN, store_documents
from rag.postgres_store import PostgresStore
from rag.source import Source
from rag.sqlite_store import SqliteStore
from rag.store import NewChunk, NewDocument, Store, may_see, partition_of
from tests.unit.rag.letters import LetterVectors

NOBODY: frozenset[str] = frozenset()
BOARD = frozenset({"board"})
HOLDS = "A source's labels apply to each of its documents, also after the labels change"
Make = Callable[[Path], Store]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def make(request: pytest.FixtureRequest) -> Make:
    if request.param == "sqlite":
        return lambda folder: SqliteStore(folder / "store.sqlite")
    url = request.getfixturevalue("postgres_url")
    return lambda folder: PostgresStore(url, hashlib.sha256(str(folder).encode()).hexdigest()[:16])


def item(name: str, text: str, *labels: str) -> Item:
    return Item(name, partial(lambda data: (data, "text/markdown"), text.encode()), labels)


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await asyncio.wait_for(body(), 60)

    asyncio.run(main())


ONE = "A document that cannot be read or stored is an error of its own and does not stop the others"


@pytest.mark.guarantee("files", ONE)
@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        (os.fsdecode(b"\xff\xfe.md"), "Lions roar.", "not valid UTF-8"),
        ("\u4e00" * 900, "Lions roar.", "2,700 bytes"),
        ("nought.md", "# Li\0ons\n\nThey \0roar.", ""),
        ("nought.html", "<h1>Li\0ons</h1><p>They &#0;\0roar.", ""),
    ],
)
def test_no_document_ends_the_reading_of_others(tmp_path: Path, make: Make, name: str, text: str, why: str) -> None:
    async def body() -> None:
        made = source(tmp_path, make)
        await made.open()
        report = await made.add([item(name, text), item("z.md", "Yaks graze.")])
        assert [reason for _, reason in report.failed if why in reason] == [reason for _, reason in report.failed]
        assert len(report.failed) == bool(why)
        assert all(each.isprintable() for each, _ in report.failed)
        assert [each.text for each in await made.search("yaks graze", 1)] == ["Yaks graze."]
        if not why:
            found = (await made.search("lions roar", 1))[0]
            assert "\0" not in found.text + found.place
            assert "roar" in found.text
        await made.close()

    run(body)


def source(folder: Path, make: Make, *labels: str, index: str = "index") -> Source:
    made = Collection("s", make(folder), folder / index, LetterVectors())
    return Source(made, Chunking(), folder / "lock", labels=labels)


async def names(made: Source, query: str, labels: frozenset[str] | None) -> set[str]:
    return {each.source for each in await made.search(query, 10, labels)}


@pytest.mark.guarantee("access", HOLDS)
def test_who_has_none_of_the_sources_labels_sees_nothing_of_it(tmp_path: Path, make: Make) -> None:
    async def body() -> None:
        made = source(tmp_path, make, "board")
        await made.open()
        await made.add([item("open.md", "merger of zebras"), item("hr.md", "merger of lions", "hr")])
        for labels, seen in (
            (NOBODY, set()),
            (frozenset({"hr"}), set()),
            (BOARD, {"open.md"}),
            (BOARD | {"hr"}, {"open.md", "hr.md"}),
            (None, {"open.md", "hr.md"}),
        ):
            assert await names(made, "merger", labels) == seen
            assert {each.passage.source for each in await made.explain("merger", 9, labels)} == seen
            assert {each.id for each in await made.documents(labels=labels)} == seen
            # What is kept in a cache is given to those only who may see it now.
            passages = await made.search("merger", 10)
            assert {each.source for each in await made.refresh(passages, labels)} == seen
        assert sorted(await made.hidden(["open.md", "hr.md", "new.md"], NOBODY)) == ["hr.md", "open.md"]
        assert await made.hidden(["open.md", "hr.md", "new.md"], BOARD) == ["hr.md"]
        await made.close()

    run(body)


@pytest.mark.guarantee("access", HOLDS)
def test_other_labels_in_the_config_hold_at_once(tmp_path: Path, make: Make) -> None:
    async def body() -> None:
        made = source(tmp_path, make, "board")
        await made.open()
        await made.add([item("a.md", "merger of zebras")])
        passages = await made.search("merger", 5)
        version = made.version
        other = source(tmp_path, make, "finance", index="other")
        await other.open()
        assert await names(other, "merger", BOARD) == set()
        assert await names(other, "merger", frozenset({"finance"})) == {"a.md"}
        assert await other.refresh(passages, BOARD) == []
        assert other.version != version
        await made.close()
        await other.close()

    run(body)


@pytest.mark.guarantee("access", "Documents that an earlier version stored get their labels from their source")
def test_stored_documents_take_their_labels_from_the_source(tmp_path: Path, make: Make) -> None:
    async def body() -> None:
        old = make(tmp_path)
        await old.open()
        for name, labels in (("cli.md", ("board",)), ("http.md", ()), ("hr.md", ("board", "hr"))):
            await old.put(NewDocument(name, name, (NewChunk(f"merger {name}", "1"),), labels=labels))
        before = Collection("s", make(tmp_path), tmp_path / "index", LetterVectors())
        await before.start()
        await before.close()
        await old.close()
        made = source(tmp_path, make, "board")
        await made.open()
        assert {each.id: each.labels for each in await made.documents()} == {
            "cli.md": (),
            "http.md": (),
            "hr.md": ("board", "hr"),
        }
        assert await names(made, "merger", BOARD) == {"cli.md", "http.md", "hr.md"}
        assert await names(made, "merger", NOBODY) == set()
        # Once: a document that is given the same label later keeps it as its own.
        await made.add([item("own.md", "merger", "board")])
        await made.close()
        for index in ("index", "new"):
            other = source(tmp_path, make, "finance", index=index)
            await other.open()
            assert await names(other, "merger", frozenset({"finance"})) == {"cli.md", "http.md"}
            assert await names(other, "merger", BOARD) == set()
            assert await names(other, "merger", BOARD | {"finance"}) == {"cli.md", "http.md", "hr.md", "own.md"}
            await other.close()

    run(body)


@pytest.mark.guarantee(
    "access", "A source does not let a caller without a document's labels list, replace or delete it"
)
def test_what_somebody_may_not_see_it_does_not_change(tmp_path: Path, make: Make) -> None:
    async def body() -> None:
        made = source(tmp_path, make)
        await made.open()
        await made.add([item("pay.md", "pay of zebras", "hr"), item("open.md", "pay of all")])
        report = await made.add([item("pay.md", "nothing"), item("new.md", "pay of none", "hr")], NOBODY)
        assert report.failed == [("pay.md", HIDDEN)]
        assert report.added == 1
        assert await made.remove(["pay.md", "new.md", "open.md"], NOBODY) == 1
        assert [each.id for each in await made.documents(labels=NOBODY)] == []
        assert [each.id for each in await made.documents(labels=frozenset({"hr"}))] == ["new.md", "pay.md"]
        assert "zebras" in (await made.search("pay zebras", 5))[0].text
        assert await made.remove(["pay.md"], frozenset({"hr"})) == 1
        closed = source(tmp_path, make, "board", index="closed")
        await closed.open()
        assert await closed.remove(["new.md"], frozenset({"hr"})) == 0
        # Who sees nothing of the source may add to it, and replaces nothing, not even what has no labels of its own.
        await closed.add([item("free.md", "all")])
        report = await closed.add([item("free.md", "none"), item("more.md", "none")], NOBODY)
        assert (report.failed, report.added) == ([("free.md", HIDDEN)], 1)
        await made.close()
        await closed.close()

    run(body)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sets(st.sampled_from("abc"), max_size=2), min_size=1, max_size=6),
    st.sets(st.sampled_from("abc"), max_size=2),
    st.sets(st.sampled_from("abc"), max_size=3),
)
def test_pages_of_a_list_hold_what_may_be_seen(
    tmp_path: Path, own: list[set[str]], of_source: set[str], held: set[str]
) -> None:
    folder = tmp_path / hashlib.sha256(repr((own, of_source, held)).encode()).hexdigest()[:12]

    async def body() -> None:
        made = source(folder, lambda path: SqliteStore(path / "s.sqlite"), *sorted(of_source))
        await made.open()
        await made.add([item(f"{at}.md", "zebra", *sorted(labels)) for at, labels in enumerate(own)])
        listed: list[str] = []
        while page := await made.documents(listed[-1] if listed else "", 2, frozenset(held)):
            listed += [each.id for each in page]
        reach = may_see(partition_of(tuple(of_source)), frozenset(held))
        want = [f"{at}.md" for at, labels in enumerate(own) if reach and (not labels or labels & held)]
        assert listed == want
        assert await names(made, "zebra", frozenset(held)) == set(want)
        await made.close()

    run(body)


@pytest.mark.guarantee("files", "A document without text is reported, and its earlier content is removed")
def test_a_document_without_words_is_reported_each_time(tmp_path: Path, make: Make) -> None:
    async def body() -> None:
        made = source(tmp_path, make)
        await made.open()
        await made.add([item("a.md", "zebras")])
        for _ in range(2):
            report = await made.add([item("a.md", " \n")])
            assert report.failed == [("a.md", EMPTY_FILE)]
            assert (report.added, report.changed, report.unchanged) == (0, 0, 0)
            assert await made.search("zebras", 5) == []
        await made.close()

    run(body)


@pytest.mark.guarantee("files", "A document is found by full-text search at once, even while others are embedded")
def test_found_by_its_words_while_others_are_embedded(tmp_path: Path, make: Make) -> None:
    async def body() -> None:
        vectors = LetterVectors()
        made = source(tmp_path, make)
        made.collection.embedder = vectors
        await made.open()
        await made.add([item(f"{at}.md", f"stripes on page {at} of the printer") for at in range(40)])
        await made.ingest()
        await made.collection.catch_up()
        # A main index is being built, which may take minutes.
        await made.collection._building.acquire()
        await made.add([item("new.md", "okapis in the printer")])
        assert (await made.search("okapis printer", 3))[0].source == "new.md"
        assert await made.remove(["new.md"]) == 1
        assert "new.md" not in await names(made, "okapis", None)
        made.collection._building.release()
        await made.close()

    run(body)


def test_new_labels_keep_the_vectors(tmp_path: Path, make: Make) -> None:
    async def body() -> None:
        vectors = LetterVectors()
        store = make(tmp_path)
        await store.open()
        from rag.ingest import embed

        await store_documents(store, [item("a.md", "zebras run")], Chunking())
        assert await embed(store, vectors) == 1
        await store_documents(store, [item("a.md", "zebras run", "hr")], Chunking())
        assert await embed(store, vectors) == 0
        await store.close()

    run(body)
