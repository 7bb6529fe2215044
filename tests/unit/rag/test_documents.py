"""Files of every format, made by other programs' libraries, read as text with headings and places."""

from __future__ import annotations

import io
import zipfile
import zlib

import docx
import openpyxl  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.chunk import Block, chunk
from rag.chunkers import Chunking, cut
from rag.documents.reading import SUFFIXES, UnreadableFile, read


def pdf(*pages: str) -> bytes:
    """A small PDF with one line of text a page, as the format's first chapter has it."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b""]
    kids = []
    for text in pages:
        content = zlib.compress(f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET".encode())
        number = len(objects) + 1
        kids.append(f"{number} 0 R")
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /Contents %d 0 R /MediaBox [0 0 600 800] "
            b"/Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>" % (number + 1)
        )
        objects.append(b"<< /Length %d /Filter /FlateDecode >>\nstream\n%b\nendstream" % (len(content), content))
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(pages)} >>".encode()
    out = io.BytesIO(b"%PDF-1.4\n")
    out.seek(0, 2)
    places = []
    for number, body in enumerate(objects, 1):
        places.append(out.tell())
        out.write(b"%d 0 obj\n%b\nendobj\n" % (number, body))
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.write(b"".join(b"%010d 00000 n \n" % place for place in places))
    out.write(b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start))
    return out.getvalue()


def word() -> bytes:
    document = docx.Document()
    document.add_heading("Manual", 1)
    document.add_paragraph("The pump drips.")
    document.add_heading("Repair", 2)
    document.add_paragraph("Turn the valve.")
    table = document.add_table(rows=2, cols=2)
    for place, text in enumerate(("Part", "Price", "Valve", "9 EUR")):
        table.rows[place // 2].cells[place % 2].text = text
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def excel() -> bytes:
    book = openpyxl.Workbook()
    book.active.title = "Prices"
    for row in (["Article", "Price"], ["Pump", 99], ["Valve", 9], [None, None]):
        book.active.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def places(name: str, data: bytes) -> list[tuple[str, str]]:
    return [(piece.place, piece.text.strip()) for piece in chunk(*read(name, data))]


def test_pdf_keeps_its_pages() -> None:
    assert places("a.pdf", pdf("The pump drips.", "Turn the valve.")) == [
        ("page 1, line 1", "The pump drips."),
        ("page 2, line 1", "Turn the valve."),
    ]


def test_word_keeps_its_headings_and_tables() -> None:
    assert places("a.docx", word()) == [
        ("Manual, line 2", "The pump drips."),
        ("Manual > Repair, line 4", "Turn the valve.\n\nPart: Valve; Price: 9 EUR"),
    ]


def test_excel_and_csv_say_their_columns() -> None:
    assert places("a.xlsx", excel()) == [("Prices, line 2", "Article: Pump; Price: 99\n\nArticle: Valve; Price: 9")]
    assert places("a.csv", b"Article;Price\nPump;99\n") == [("line 2", "Article: Pump; Price: 99")]
    assert places("a.tsv", b"Article\tPrice\nPump\t99\n") == [("line 2", "Article: Pump; Price: 99")]


def test_a_media_type_will_do_for_a_name() -> None:
    assert read("page", b"<h1>Pump</h1><p>drips</p>", "text/html; charset=utf-8")[0] == "Pump\n\ndrips"
    with pytest.raises(UnreadableFile, match="is not supported"):
        read("page", b"", "image/png")


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
@pytest.mark.parametrize("data", [b"", b"\x00\xff\xfe" * 50, b"%PDF-1.7", b"PK\x03\x04" + b"\x00" * 60, b"<" * 3000])
def test_broken_files_are_unreadable_and_nothing_worse(suffix: str, data: bytes) -> None:
    try:
        text, blocks = read(f"a{suffix}", data)
    except UnreadableFile:
        return
    assert all(0 <= block.start <= block.end <= len(text) for block in blocks)


@given(
    st.text("ab. \n#", max_size=400),
    st.sampled_from(["structure", "sentences", "tokens"]),
    st.integers(50, 120),
    st.integers(0, 40),
)
def test_every_word_is_in_a_chunk_and_every_chunk_is_of_the_text(text: str, by: str, size: int, overlap: int) -> None:
    text, blocks = read("a.md", text.encode())
    chunks = cut(text, blocks, Chunking(by, size, overlap))  # type: ignore[arg-type]
    assert all(text[piece.start : piece.start + len(piece.text)] == piece.text for piece in chunks)
    if by != "structure":
        covered = {place for piece in chunks for place in range(piece.start, piece.start + len(piece.text))}
        assert all(letter.isspace() or place in covered for place, letter in enumerate(text))
    if by == "sentences":
        assert all(len(piece.text) <= size or "." not in piece.text.strip(". \n#")[:-1] for piece in chunks)


def test_overlap_repeats_the_end() -> None:
    text = "One two three. Four five six. Seven eight nine. Ten eleven twelve."
    chunks = cut(text, [Block(0, len(text), 1)], Chunking("sentences", 34, 16))
    assert [piece.text.strip() for piece in chunks] == [
        "One two three. Four five six.",
        "Four five six. Seven eight nine.",
        "Ten eleven twelve.",
    ]


def test_an_archive_that_would_be_huge_is_not_unpacked() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", b" " * (257 * 1024 * 1024))
    with pytest.raises(UnreadableFile, match="unpacked"):
        read("bomb.docx", out.getvalue())
