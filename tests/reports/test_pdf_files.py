"""Public reports about PDF files: locked, damaged, scanned, with forms, and with the same header on every page."""

from __future__ import annotations

import io
import zlib

import pypdf
import pytest

from rag.documents.reading import UnreadableFile, read_document
from tests.reports.files import line, pdf, said

DAMAGED = "A PDF with a damaged or truncated object table is read as far as its pages are intact"
SCANS = "The report lists the page numbers of PDF pages without text"
WHOLE = pdf(line("armadillo"), line("wombat"))


def locked(user: str, algorithm: str) -> bytes:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(WHOLE))
    writer.encrypt(user, "owner", algorithm=algorithm)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


@pytest.mark.report(
    "documents", "A PDF that is locked only against changes is read; one that needs a password is an error that says so"
)
@pytest.mark.parametrize("algorithm", ["RC4-40", "RC4-128", "AES-128", "AES-256"])
def test_locked_files(algorithm: str) -> None:
    assert said("a.pdf", locked("", algorithm)) == ["page 1", "armadillo", "page 2", "wombat"]
    with pytest.raises(UnreadableFile, match="protected with a password"):
        said("a.pdf", locked("secret", algorithm))


@pytest.mark.report("documents", DAMAGED)
@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\njunk\r\n" + WHOLE, b"junk " * 150 + WHOLE, WHOLE + b"\0" * 2000,
        WHOLE.replace(b"startxref\n", b"startxref\n9"), WHOLE.replace(b"startxref", b""), WHOLE[:-60],
        WHOLE.replace(b"xref\n0", b"xrex\n0"), WHOLE.replace(b"trailer", b""), WHOLE[: WHOLE.index(b"xref\n0")],
        WHOLE.replace(b"/Type /Catalog", b"/Type /Nothing")[: WHOLE.index(b"xref\n0")],
    ],
)  # fmt: skip
def test_damaged_files(data: bytes) -> None:
    assert said("a.pdf", data) == ["page 1", "armadillo", "page 2", "wombat"]


@pytest.mark.report("documents", DAMAGED)
def test_a_file_that_is_cut_off_gives_the_pages_before() -> None:
    found = read_document("a.pdf", WHOLE[: WHOLE.index(b"(wombat)")])
    assert "armadillo" in found.text
    assert any("damaged" in note for note in found.notes)
    with pytest.raises(UnreadableFile, match="damaged PDF"):
        said("a.pdf", WHOLE[:100])


@pytest.mark.report("documents", DAMAGED)
def test_packed_objects_are_found_too() -> None:
    inner = "<< /Type /Page /Contents 4 0 R /MediaBox [0 0 9 9] /Resources << /Font << /F1 3 0 R >> >> >>"
    packed = zlib.compress(f"9 0 {inner}".encode()).decode("latin-1")
    content = line("armadillo")
    parts = [
        "%PDF-1.5", f"4 0 obj << /Length {len(content)} >> stream\n{content}\nendstream endobj",
        "3 0 obj << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> endobj",
        f"7 0 obj << /Type /ObjStm /N 1 /First 4 /Filter /FlateDecode /Length {len(packed)} >> stream\n{packed}\n"
        "endstream endobj",
    ]  # fmt: skip
    assert said("a.pdf", "\n".join(parts).encode("latin-1")) == ["page 1", "armadillo"]


@pytest.mark.report("documents", SCANS)
def test_scans() -> None:
    picture = "q 100 0 0 100 0 0 cm /Im1 Do Q"
    image = (
        "<< /Type /XObject /Subtype /Image /Width 1 /Height 1 /ColorSpace /DeviceGray /BitsPerComponent 8 /Length 1 >>"
    )
    objects = [f"{image}\nstream\nx\nendstream"]
    data = pdf(picture, line("x"), picture, picture, "", resources="/XObject << /Im1 14 0 R >>", objects=objects)
    found = read_document("a.pdf", data)
    assert found.text == "page 2\n\nx"
    assert found.notes == ("there is no text on pages 1, 3-5 (scans?)",)
    found = read_document("a.pdf", pdf("0 0 9 9 re f", ""))
    assert (found.text, found.why_empty) == ("", "there is no text on any of its 2 pages (a scan?)")


@pytest.mark.report("documents", "Filled-in forms and annotations in a PDF are read")
def test_forms_and_remarks() -> None:
    objects = [
        "<< /Type /Annot /Subtype /Widget /FT /Tx /T (owner) /V (Alice) /Rect [0 0 1 1] >>",
        "<< /Type /Annot /Subtype /Widget /FT /Btn /T (paid) /AS /Yes /V /Yes /Rect [0 0 1 1] >>",
        "<< /Type /Annot /Subtype /Widget /FT /Btn /T (late) /AS /Off /Rect [0 0 1 1] >>",
        "<< /Type /Annot /Subtype /Text /Contents (Ask Bo) /Rect [0 0 1 1] >>",
        "<< /Type /Annot /Subtype /FreeText /Contents (Typed in) /Rect [0 0 1 1] >>",
        "<< /Type /Annot /Subtype /Link /Rect [0 0 1 1] >>",
    ]
    annotations = "/Annots [6 0 R 7 0 R 8 0 R 9 0 R 10 0 R 11 0 R]"
    assert said("a.pdf", pdf(line("Form"), pages=annotations, objects=objects)) == [
        "page 1", "Form", "owner: Alice", "paid: Yes", "Comment: Ask Bo", "Typed in",
    ]  # fmt: skip


@pytest.mark.report("documents", "A repeated header or footer of a PDF is read once, not on every page")
def test_headers_and_footers_are_said_once() -> None:
    words = ["alpha", "beta", "gamma", "delta", "epsilon"]
    pages = [
        line("ACME manual", 780) + line(f"About {word}", 700) + line(f"{word} two", 680) + line(f"{word} three", 660)
        + line(f"Page {at} of 5", 20) for at, word in enumerate(words, 1)
    ]  # fmt: skip
    text = read_document("a.pdf", pdf(*pages)).text
    assert text.count("ACME manual") == text.count("of 5") == 1
    assert all(f"About {word}\n{word} two\n{word} three" in text for word in words)
    short = read_document("a.pdf", pdf(*pages[:2])).text
    assert short.count("ACME manual") == 2


@pytest.mark.report("documents", "A rotated PDF page is read")
@pytest.mark.parametrize("turn", [90, 180, 270])
def test_turned_pages(turn: int) -> None:
    assert said("a.pdf", pdf(line("armadillo"), pages=f"/Rotate {turn}")) == ["page 1", "armadillo"]


@pytest.mark.report("documents", "A broken PDF page does not affect the other pages")
def test_a_broken_page() -> None:
    data = pdf(line("armadillo"), line("wombat")).replace(b"/Contents 5 0 R", b"/Contents (no)", 1)
    found = read_document("a.pdf", data)
    assert "wombat" in found.text


@pytest.mark.report("documents", "A word with a hyphen at the end of a line is joined when a PDF is read")
def test_hyphens() -> None:
    assert said("a.pdf", pdf(line("two years of warran-", 700) + line("ty on pumps", 686)))[1] == (
        "two years of warranty\non pumps"
    )
