"""Files of folders and their letters: links that lead out, files too large to load, texts that are not UTF-8."""

from __future__ import annotations

import asyncio
import os
import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.chunkers import Chunking
from rag.documents.reading import UnreadableFile, load_file, read
from rag.encodings import clean, decoded
from rag.folder import folder_items
from rag.ingest import store_documents
from rag.sqlite_store import SqliteStore

MB = 1024 * 1024
WITHIN = "A folder source reads only files inside its folder, and does not load a file that is too large"
LETTERS = "A file's text is read correctly in every supported encoding, even with a broken byte"


@pytest.mark.guarantee("files", WITHIN)
def test_links_that_lead_out_are_errors_and_those_within_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    (folder / "..data").mkdir(parents=True)
    (folder / "..data" / "a.md").write_text("Lions.")
    (folder / "a.md").symlink_to("..data/a.md")
    (tmp_path / "secret.md").write_text("secret")
    (folder / "b.md").symlink_to(tmp_path / "secret.md")
    (folder / "c.txt").symlink_to("/proc/self/environ")
    (folder / "d.md").symlink_to("d.md")
    os.mkfifo(folder / "e.md")
    loads = {each.id: each.load for each in folder_items(folder, ["**/*"])}
    assert sorted(loads) == ["a.md", "b.md", "c.txt"]
    assert loads["a.md"]()[0] == b"Lions."
    for name in ("b.md", "c.txt"):
        with pytest.raises(UnreadableFile, match="a link out of the folder"):
            loads[name]()


@pytest.mark.guarantee("files", WITHIN)
def test_a_file_that_is_too_large_takes_no_memory_and_ends_no_other(tmp_path: Path) -> None:
    with (tmp_path / "a.md").open("wb") as file:
        file.truncate(8_000 * MB)
    (tmp_path / "b.md").write_text("Lions.")

    async def run() -> None:
        store = SqliteStore(tmp_path / "s.sqlite")
        await store.open()
        report = await store_documents(store, folder_items(tmp_path, ["*.md"], MB), Chunking(), complete=True)
        assert report.failed == [("a.md", "it is larger than 1MiB (read.size)")]
        assert report.added == 1
        await store.close()

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    asyncio.run(run())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500 * 1024
    (tmp_path / "c.md").write_bytes(b"x" * MB)
    assert len(load_file(tmp_path / "c.md", MB)) == MB


@pytest.mark.guarantee("files", LETTERS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
@pytest.mark.parametrize("name", ["a.md", "a.txt", "a.html", "a.csv", "a.json"])
def test_every_encoding_is_read(name: str, encoding: str) -> None:
    text = "name;town\nJ\u00f6rg M\u00fcller;K\u00f6ln\nZo\u00eb;Gen\u00e8ve\n"
    found, _ = read(name, text.encode(encoding))
    for word in ("J\u00f6rg M\u00fcller", "K\u00f6ln", "Zo\u00eb", "Gen\u00e8ve"):
        assert word in found
    assert "\ufeff" not in found


@pytest.mark.guarantee("files", LETTERS)
def test_one_broken_byte_makes_no_other_letter_wrong() -> None:
    text = "J\u00f6rg, M\u00fcller, K\u00f6ln "
    assert decoded(text.encode() + b"\xff") == text + "\ufffd"


def test_halves_of_letters_are_joined_or_replaced() -> None:
    assert clean("a \ud83d\ude00 b\0 \ud83d c") == "a \U0001f600 b \ufffd c"


@given(st.text(st.characters()) | st.text(st.characters(categories=["Cs"])))
def test_a_clean_text_can_be_kept(text: str) -> None:
    found = clean(text)
    assert "\0" not in found
    found.encode()
    assert clean(found) == found


@given(st.binary(max_size=200))
def test_any_bytes_are_text(data: bytes) -> None:
    clean(decoded(data)).encode()
