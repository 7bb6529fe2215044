"""Documents are read in a process of their own: hostile files cost that process, and are errors that name the limit."""

from __future__ import annotations

import asyncio
import io
import os
import re
import signal
import threading
import zipfile
from collections.abc import Awaitable, Callable
from functools import partial
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import docx
import msgspec
import openpyxl  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag import web
from rag.chunk import markdown_blocks
from rag.chunkers import Chunking
from rag.documents import rows
from rag.documents.chunking import chunks_of
from rag.documents.process import Readers
from rag.documents.reading import UnreadableFile, read
from rag.documents.worker import MB, Limits
from rag.html_text import html_blocks
from rag.markup import tokens
from rag.store import NewChunk
from rag.web import web_items

pytestmark = pytest.mark.slow

OWN = "Documents are parsed in a separate process with time and memory limits, and errors name the limit"
SMALL = Limits(memory_bytes=400 * MB)
W = "word/document.xml"


def run(body: Callable[[Readers], Awaitable[None]]) -> None:
    async def main() -> None:
        readers = Readers()
        try:
            await asyncio.wait_for(body(readers), 240)
        finally:
            pids = readers.processes
            readers.close()
            for pid in pids:
                with pytest.raises(ProcessLookupError):
                    os.kill(pid, 0)

    asyncio.run(main())


async def chunks(readers: Readers, name: str, data: bytes, limits: Limits = SMALL) -> tuple[NewChunk, ...]:
    return (await readers.reader("test", limits).cut(name, data, "", Chunking())).chunks


def changed(make: Any, changes: dict[str, Callable[[str], str]]) -> bytes:
    """The file that a library's object saves, some of its parts changed."""
    whole, out = io.BytesIO(), io.BytesIO()
    make.save(whole)
    with zipfile.ZipFile(whole) as before, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as after:
        for name in before.namelist():
            data = before.read(name)
            after.writestr(name, changes[name](data.decode()) if name in changes else data)
    return out.getvalue()


def document(inner: str, text: str = "zebra") -> bytes:
    made = docx.Document()
    made.add_paragraph(text)
    return changed(made, {W: lambda xml: xml.replace("<w:body>", "<w:body>" + inner)})


def sheet(change: Callable[[str], str]) -> bytes:
    made = openpyxl.Workbook()
    made.active.append(["name", "size"])
    made.active.append(["zebra", 7])
    return changed(made, {"xl/worksheets/sheet1.xml": change})


def table(rows: int, columns: int) -> str:
    row = "<w:tr>" + "<w:tc><w:p/></w:tc>" * columns + "</w:tr>"
    grid = "<w:gridCol/>" * columns
    return f"<w:tbl><w:tblPr/><w:tblGrid>{grid}</w:tblGrid>{row * rows}</w:tbl>"


def far_row(xml: str) -> str:
    xml = re.sub(r"<dimension[^>]*/>", '<dimension ref="A1:XFD1048576"/>', xml)
    return xml.replace("</sheetData>", '<row r="900000"><c r="A900000"><v>1</v></c></row></sheetData>')


def endless_row(xml: str) -> str:
    row = 10**18
    return xml.replace("</sheetData>", f'<row r="{row}"><c r="A{row}"><v>1</v></c></row></sheetData>')


def half_letters() -> bytes:
    """A PDF whose font says that its letters are halves of one."""
    letters = b"1 begincodespacerange <00> <ff> endcodespacerange 1 beginbfchar <41> <d83d> endbfchar"

    def stream(data: bytes) -> bytes:
        return b"<< /Length %d >>\nstream\n%s\nendstream" % (len(data), data)

    parts = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R /Resources << /Font << /F 5 0 R >> >> >>",
        stream(b"BT /F 12 Tf (zebra A) Tj ET"),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /X /ToUnicode 6 0 R >>",
        stream(letters),
    ]
    data = b"%PDF-1.4\n" + b"".join(b"%d 0 obj\n%s\nendobj\n" % (at, part) for at, part in enumerate(parts, 1))
    return data + b"trailer << /Size 7 /Root 1 0 R >>\nstartxref\n0\n%%EOF"


def span(count: int) -> str:
    return (
        f'<w:tbl><w:tblPr/><w:tblGrid/><w:tr><w:tc><w:tcPr><w:gridSpan w:val="{count}"/></w:tcPr>'
        "<w:p><w:r><w:t>lion</w:t></w:r></w:p></w:tc></w:tr></w:tbl>"
    )


READ: dict[str, tuple[str, Callable[[], bytes]]] = {
    "many empty paragraphs": ("a.docx", lambda: document("<w:p/>" * 60_000)),
    "a table of many cells": ("a.docx", lambda: document(table(500, 60))),
    "a cell over a billion columns": ("a.docx", lambda: document(span(2_000_000_000))),
    "nested tables": (
        "a.docx",
        lambda: document("<w:tbl><w:tr><w:tc>" * 80 + "<w:p/>" + "</w:tc></w:tr></w:tbl>" * 80),
    ),
    "a sheet with a far row": ("a.xlsx", lambda: sheet(far_row)),
    "a sheet that says it is one cell": (
        "a.xlsx",
        lambda: sheet(lambda xml: re.sub(r'ref="A1:B2"', 'ref="A1"', xml)),
    ),
    "a page of many inline pieces": ("a.html", lambda: b"<p>zebra" + b"<b>x</b>" * 150_000),
    "a page nested deeply": ("a.html", lambda: b"<div>" * 200_000 + b"zebra"),
    "a page of open comments": ("a.html", lambda: b"<p>zebra</p>" + b"<!-- " * 20_000),
    **{
        f"a page of {piece}": ("a.html", partial(lambda piece: b"<p>zebra</p>" + piece.encode() * 250_000, piece))
        for piece in (
            "<",
            "</",
            "<!",
            "<?",
            "<!--",
            "<![CDATA[",
            "<a ",
            "<a b='",
            '<a b="x" c=\'',
            "<script>",
            "&#",
            "<!a ",
        )
    },
    "a heading of blanks": ("a.md", lambda: b"# zebra" + b" \t" * 400_000 + b"x"),
    "one endless line": ("a.md", lambda: b"zebra " + b"x" * 5_000_000),
    "deep json": ("a.json", lambda: b"[" * 1_000_000 + b'"zebra"'),
    "a long cell": ("a.csv", lambda: b"name\nzebra\n" + b"x" * 300_000),
    "halves of letters": ("a.pdf", half_letters),
    "deep lists": ("a.md", lambda: b"\n".join(b" " * at + b"- zebra" for at in range(1500))),
}
REFUSED: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "a row of a number without end": ("a.xlsx", lambda: sheet(endless_row), "cells"),
    "many headings": ("a.md", lambda: b"# zebra\n" * 200_000, "more than 50,000 (read.max_chunks)"),
    "a row of a million columns": ("a.csv", lambda: (b"," * 1_000_000 + b"\n") * 8, "cells"),
    "a sheet of wide rows": (
        "a.xlsx",
        lambda: sheet(
            lambda xml: xml.replace(
                "</sheetData>",
                "".join(f'<row r="{at}"><c r="XFD{at}"><v>1</v></c></row>' for at in range(3, 700)) + "</sheetData>",
            )
        ),
        "cells",
    ),
    "a bomb of paragraphs": ("a.docx", lambda: document("<w:p/>" * 12_000_000), "400MiB of memory (read.memory)"),
    "an archive in an archive": ("a.docx", lambda: packed({"a.zip": packed({"b": b"zebra"})}), ""),
    "an archive of many files": ("a.xlsx", lambda: packed({str(at): b"" for at in range(10_001)}), "10,000 files"),
    "a bomb of entities": (
        "a.xlsx",
        lambda: sheet(
            lambda xml: (
                "<!DOCTYPE z ["
                + '<!ENTITY a0 "zebra">'
                + "".join(f'<!ENTITY a{at} "{f"&a{at - 1};" * 10}">' for at in range(1, 12))
                + "]>"
                + re.sub(r"<\?xml[^>]*\?>", "", xml).replace("<v>7</v>", "<v>&a11;</v>")
            )
        ),
        "",
    ),
    "a file that is no PDF": ("a.pdf", lambda: b"%PDF-1.4 " + b"1 0 obj << " * 5000, ""),
}


def packed(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


@pytest.mark.guarantee("files", OWN)
def test_hostile_files_are_read_or_refused_within_the_limits() -> None:
    async def body(readers: Readers) -> None:
        for what, (name, make) in READ.items():
            found = await chunks(readers, name, make(), Limits())
            assert any("zebra" in each.searched for each in found), what
        for what, (name, make, words) in REFUSED.items():
            limits = SMALL if "MiB" in words else Limits()
            with pytest.raises(UnreadableFile, match=re.escape(words) or None):
                raise AssertionError((what, (await chunks(readers, name, make(), limits))[:2]))
            # The next file is read as if nothing had been.
            assert (await chunks(readers, "b.md", b"lions"))[0].text == "lions"
            assert len(readers.processes) <= 1, what

    run(body)


@pytest.mark.guarantee("files", OWN)
def test_time_memory_and_size_are_errors_that_name_the_limit() -> None:
    async def body(readers: Readers) -> None:
        with pytest.raises(UnreadableFile, match=r"longer than 1ms \(read.timeout\)"):
            await chunks(readers, "a.md", b"zebra", Limits(timeout_s=0.001))
        with pytest.raises(UnreadableFile, match=r"larger than 1MiB \(read.size\)"):
            await chunks(readers, "a.md", b"x" * (MB + 1), Limits(size_bytes=MB))
        # A limit is named as it is written in the YAML, whatever it is a multiple of.
        with pytest.raises(UnreadableFile, match=r"larger than 2MB \(read.size\)"):
            await chunks(readers, "a.md", b"x" * 2_000_001, Limits(size_bytes=2_000_000))
        with pytest.raises(UnreadableFile, match=r"\(read.memory\)|crashes the parser process"):
            await chunks(readers, "a.md", b"x y\n\n" * 5_000_000, msgspec.structs.replace(SMALL, chunks=10**9))
        assert (await chunks(readers, "a.md", b"zebra"))[0].text == "zebra"

    run(body)


@pytest.mark.guarantee("files", OWN)
def test_a_process_that_is_gone_is_replaced_and_one_is_kept() -> None:
    async def body(readers: Readers) -> None:
        await chunks(readers, "a.md", b"zebra")
        (first,) = readers.processes
        await chunks(readers, "a.md", b"zebra")
        assert readers.processes == [first]
        os.kill(first, signal.SIGKILL)
        assert (await chunks(readers, "a.md", b"zebra"))[0].text == "zebra"
        assert readers.processes != [first]
        both = [readers.reader(each, SMALL).cut("a.md", b"zebra", "", Chunking()) for each in "abcd"]
        assert all(len(each.chunks) == 1 for each in await asyncio.gather(*both))
        assert len(readers.processes) == 1

    run(body)


@pytest.mark.guarantee("files", OWN)
def test_nobody_gets_all_processes_and_closing_ends_them() -> None:
    async def main() -> None:
        readers = Readers()
        slow = b"# zebra\n" * 2_000_000
        tasks = [asyncio.create_task(chunks(readers, f"{at}.md", slow, Limits())) for at in range(4)]
        while not readers.processes:
            await asyncio.sleep(0.01)
        # Four of one caller wait for each other; another's is read beside them.
        other = await readers.reader("other", SMALL).cut("a.md", b"lions", "", Chunking())
        assert other.chunks[0].text == "lions"
        pids = readers.processes
        readers.close()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, (UnreadableFile, asyncio.CancelledError)) for each in done)
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                while True:
                    os.kill(pid, 0)
                    await asyncio.sleep(0.05)

    async def bounded() -> None:
        await asyncio.wait_for(main(), 120)

    asyncio.run(bounded())


@pytest.mark.guarantee("files", OWN)
def test_the_process_knows_nothing_of_the_servers_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VENDOR_KEY", "planted-secret")

    async def body(readers: Readers) -> None:
        await chunks(readers, "a.md", b"zebra")
        (pid,) = readers.processes
        environment = await asyncio.to_thread(Path(f"/proc/{pid}/environ").read_bytes)
        assert b"planted-secret" not in environment

    run(body)


@settings(max_examples=15, deadline=None)
@given(st.text("ab #\n.<>b/\t", max_size=300), st.sampled_from(["a.md", "a.html", "a.txt", "a.csv"]))
def test_the_process_reads_as_this_one_does(text: str, name: str) -> None:
    async def body(readers: Readers) -> None:
        assert await chunks(readers, name, text.encode()) == chunks_of(name, text.encode(), "", Chunking())

    run(body)


@given(st.text("# \tab", max_size=40))
def test_headings_are_as_they_were(line: str) -> None:
    before = re.compile(r"(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$").match(line) if line.startswith("#") else None
    title = (before[2] or "").strip() if before else ""
    if before and not line[len(before[1]) :].strip().strip("#"):
        # Nothing but signs that close it: CommonMark has no title there.
        title = ""
    blocks = [block for block in markdown_blocks(line) if block.level]
    assert [(each.level, each.title) for each in blocks] == ([(len(before[1]), title)] if before else [])


@given(st.lists(st.sampled_from(["<b>x</b>", "<p>", "</p>", "y ", "<br>", "<i>", "\n"]), max_size=60))
def test_each_piece_of_a_page_is_looked_at_once(pieces: list[str]) -> None:
    markup = "<p>" + "".join(pieces)
    text, blocks = html_blocks(markup)
    assert [each for each in text.split() if each] == "".join(
        {"<b>x</b>": "x", "y ": "y ", "<br>": " ", "<p>": " ", "</p>": " ", "\n": "\n"}.get(each, "") for each in pieces
    ).split()
    assert all(text[block.start : block.end].strip() for block in blocks)


class _Library(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, str, int]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(("start", tag, self.getpos()[0]))

    def handle_endtag(self, tag: str) -> None:
        self.found.append(("end", tag, self.getpos()[0]))

    def handle_data(self, data: str) -> None:
        self.found.append(("text", data, self.getpos()[0]))


WHOLE = (
    "<p>", "</p>", "<b class='x > y'>", "</b>", "text ", "\n", "a &amp; b", "<br/>", "<!-- no <p> -->",
    '<a href="/?a=1&b=2">', "<style>p > a {}</style>", "<script>if (a < b) { '<p>' }</script>", "<H2>",
    "<td x = 'y'>", "2 < 3 ", "<!doctype html>",
)  # fmt: skip


@given(st.lists(st.sampled_from(WHOLE), max_size=20))
def test_whole_pages_are_cut_as_the_library_cuts_them(pieces: list[str]) -> None:
    library = _Library()
    library.feed("".join(pieces))
    library.close()
    raw, want = "", []
    for kind, value, line in library.found:
        if kind == "text" and raw:
            continue
        raw = value if kind == "start" and value in {"script", "style"} else ""
        want.append((kind, value, line))

    def joined(found: list[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
        made: list[tuple[str, str, int]] = []
        for kind, value, line in found:
            if kind == "text" and made and made[-1][0] == "text":
                made[-1] = ("text", made[-1][1] + value, made[-1][2])
            else:
                made.append((kind, value, line))
        return made

    assert joined([(each.kind, each.value, each.line) for each in tokens("".join(pieces))]) == joined(want)


@given(st.text("<>/!-?='\"ab &;#\n[]", max_size=200))
def test_any_markup_is_cut(markup: str) -> None:
    found = list(tokens(markup))
    assert all(1 <= each.line <= markup.count("\n") + 1 for each in found)
    text, blocks = html_blocks(markup)
    assert all(text[block.start : block.end].strip() for block in blocks)


@pytest.mark.parametrize(
    ("page", "says"),
    [
        (b"<html><head><title>T</title><meta name=a><body><h1>Pump</h1><p>Nine years.</p>", "Pump\n\nNine years."),
        (b"<head><style>x</style><p>Nine years.</p>", "Nine years."),
        (b"<head><title>T</title></head><p>Nine years.", "Nine years."),
        (b"<head><script>a</script><noscript>b</noscript><link rel=x><div>Nine</div>", "Nine"),
    ],
)
def test_a_head_that_is_left_open_hides_nothing(page: bytes, says: str) -> None:
    assert read("a.html", page)[0] == says


def test_a_single_row_is_text_and_rows_beyond_the_bound_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read("a.csv", b"The only line, about ocelots\n")[0] == "The only line; about ocelots"
    monkeypatch.setattr(rows, "MAX_CELLS", 7)
    assert read("a.csv", b"a,b\n1,2\n3,4\n")[0]
    with pytest.raises(UnreadableFile, match="7 cells"):
        read("a.csv", b"a,b\n1,2\n3,4\n5,6\n")


def test_cells_that_span_stand_in_each_column() -> None:
    made = docx.Document()
    grid = made.add_table(3, 3)
    for row, words in enumerate([["Name", "Size", "Price"], ["Pump", "2", "9"], ["x", "3", "8"]]):
        for column, word in enumerate(words):
            grid.cell(row, column).text = word
    grid.cell(1, 0).merge(grid.cell(2, 0)).text = "Pump"
    out = io.BytesIO()
    made.save(out)
    text = read("a.docx", out.getvalue())[0]
    assert "Name: Pump; Size: 2; Price: 9" in text
    assert "Name: Pump; Size: 3; Price: 8" in text


def test_a_page_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<p>zebra</p>")

        def log_message(self, *arguments: Any) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        (page,) = web_items([f"http://127.0.0.1:{server.server_port}/"])
        assert page.load()[0] == b"<p>zebra</p>"
        monkeypatch.setattr(web, "TIMEOUT_S", -1.0)
        with pytest.raises(UnreadableFile, match="within"):
            page.load()
        server.shutdown()
