"""Public reports about files whose names say another kind than their bytes, and kinds that nothing reads."""

from __future__ import annotations

import pytest

from rag.documents.reading import UnreadableFile, read_document
from tests.reports.files import grid, line, packed, paragraph, pdf, said, sheet, word

BYTES = "The bytes of a file decide its format, not its name"
NAMED = "A file in an unsupported format is an error that names the format and the supported ones"
WORD, SHEET, PDF = word(paragraph("Pump")), sheet(["Pump"]), pdf(line("Pump"))


@pytest.mark.report("documents", BYTES)
@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.txt", PDF, ["page 1", "Pump"]), ("a", PDF, ["page 1", "Pump"]), ("A.PDF", PDF, ["page 1", "Pump"]),
        ("a.pdf", WORD, ["Pump"]), ("a.xlsx", WORD, ["Pump"]), ("a.doc", WORD, ["Pump"]), ("a.zip", WORD, ["Pump"]),
        ("a.docx", SHEET, ["Sheet", "Pump"]), ("a.XLS", SHEET, ["Sheet", "Pump"]), ("a.TXT", b"Pump", ["Pump"]),
        ("a.doc", b"<html><body><p>Pump</body>", ["Pump"]), ("a.docx", b"<!DOCTYPE HTML><p>Pump", ["Pump"]),
        ("a.xls", b"<table><tr><th>A<th>B<tr><td>1<td>2</table>", ["A: 1; B: 2"]),
        ("a.xls", b"Item\tPrice\nPump\t9\n", ["Item: Pump; Price: 9"]),
        ("a.md", b"How a PDF begins: %PDF-1.4", ["How a PDF begins: %PDF-1.4"]),
        ("a.docm", grid(["Pump"]), ["Pump"]),
    ],
)  # fmt: skip
def test_kinds_by_bytes(name: str, data: bytes, says: list[str]) -> None:
    assert said(name, data) == says


@pytest.mark.report("documents", NAMED)
@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("a.pptx", b"x", "PowerPoint"), ("a.eml", b"Subject: x", "an e-mail"), ("a.epub", b"x", "EPUB"),
        ("a.docx", packed({"ppt/presentation.xml": "x"}), "PowerPoint"),
        ("a.docx", packed({"mimetype": "application/vnd.oasis.opendocument.text"}), "OpenDocument text"),
        ("a.txt", packed({"notes.txt": "x"}), "an archive of files"), ("a.odt", b"x", "OpenDocument text"),
        ("a.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "WordDocument".encode("utf-16-le"), "save it as .docx"),
        ("a.txt", b"\x89PNG\r\n\x1a\n", "a picture"), ("a.doc", b"{\\rtf1 x}", "RTF"), ("a.xyz", b"x", ".xyz"),
        ("a", b"x", "without a suffix"),
    ],
)  # fmt: skip
def test_kinds_that_nothing_reads(name: str, data: bytes, what: str) -> None:
    with pytest.raises(UnreadableFile) as raised:
        read_document(name, data)
    assert what in str(raised.value)
    assert "PDF, DOCX, XLSX" in str(raised.value)


@pytest.mark.report("documents", "An encrypted, damaged or empty file is an error with the reason")
@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("a.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"), "protected with"),
        ("a.docx", b"just words", "not a valid DOCX file"), ("a.pdf", b"just words", "not a valid PDF file"),
        ("a.xlsx", SHEET[:200], "damaged"), ("a.docx", WORD[:-30], "damaged"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_read(name: str, data: bytes, why: str) -> None:
    with pytest.raises(UnreadableFile, match=why):
        read_document(name, data)


@pytest.mark.report("documents", "A document without text is reported with the reason")
@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("a.txt", b"", "the file is empty"), ("a.pdf", b" \n", "the file is empty"),
        ("a.docx", word(paragraph("<w:r><w:drawing><a:blip/></w:drawing></w:r>")), "only pictures"),
        ("a.xlsx", sheet([]), "contains no text"), ("a.html", b"<script>x</script>", "contains no text"),
    ],
)  # fmt: skip
def test_empty_documents(name: str, data: bytes, why: str) -> None:
    found = read_document(name, data)
    assert why in found.why_empty


@pytest.mark.report("documents", "Hidden sheets and formulas without stored results in a spreadsheet are reported")
def test_notes_on_sheets() -> None:
    def change(book: object, page: object) -> None:
        hidden = book.create_sheet("Margins")  # type: ignore[attr-defined]
        hidden.append(["secret"])
        hidden.sheet_state = "hidden"
        page.row_dimensions[2].hidden = True  # type: ignore[attr-defined]

    found = read_document("a.xlsx", sheet(["Item", "Twice"], ["Pump", "=2*2"], change=change))
    assert found.text == "Sheet\n\nItem: Pump; Twice: =2*2"
    assert "1 formulas" in found.notes[0]
    assert found.notes[1] == "hidden sheets are not read: Margins"


@pytest.mark.report("documents", "Each row of a Markdown table repeats its column names, wherever a chunk ends")
def test_markdown_tables() -> None:
    text = "# Prices\n\n| Part | Price |\n|:-----|------:|\n| Valve | 9 |\n| a \\| b | `x|y` |\n\nEnd | of it"
    assert read_document("a.md", text.encode()).text == (
        "# Prices\n\n\n\nPart: Valve; Price: 9\nPart: a | b; Price: `x|y`\n\nEnd | of it"
    )
    for same in ("```\n| a | b |\n|---|---|\n| 1 | 2 |\n```", "a | b\nc | d", "| a |\n|---|"):
        assert read_document("a.md", same.encode()).text == same
