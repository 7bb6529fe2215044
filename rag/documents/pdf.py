"""PDF: the text of each page, under a heading that says which."""

from __future__ import annotations

import contextlib
import io
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from rag.documents.pdf_repair import repaired
from rag.documents.pieces import TextBuilder, UnreadableFile
from rag.documents.prose import unhyphenated

LOCKED = "it is locked with a password: hand in a copy without one"
_MARKED = frozenset({"/Text", "/FreeText", "/Highlight", "/Underline", "/StrikeOut", "/Squiggly", "/Stamp", "/Caret"})
# Lines at the top and bottom of most pages are its header and footer, and are said once.
_EDGE, _LEAST_PAGES, _MOST_OF_THEM = 2, 4, 0.6
_DIGITS = re.compile(r"\d+")
_NO_LETTER = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ue000-\uf8ff\ufffd]")
_MOST_NO_LETTERS = 0.5
_BLANK_PAGE = 100
_MOST_NAMED = 20
_MOST_PARENTS = 20


class _Page(NamedTuple):
    """`lines` of its text, `said` in forms and remarks; `drawn`: something is to be seen on it."""

    number: int
    lines: list[str]
    said: list[str]
    drawn: bool


def add_pdf(pieces: TextBuilder, data: bytes) -> None:
    """Pages as headings, their paragraphs below. Raises `UnreadableFile`, and what pypdf raises.

    A file that only its owner may change is read; one that asks for a password is not.
    """
    import pypdf

    # It tells every oddity of a file to the log.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    reader, found = _opened(data)
    if found is None:
        pieces.note("the file is damaged, and its pages are read as far as they could be found")
    pages = [_page(pieces, number, page) for number, page in enumerate(_pages(reader), 1)]
    _without_edges(pages)
    for page in pages:
        text = "\n".join(page.lines)
        if not text.strip() and not page.said:
            continue
        pieces.heading(1, f"page {page.number}", page.number)
        for line, paragraph in _paragraphs(unhyphenated(text)):
            pieces.paragraph(paragraph, line)
        for words in page.said:
            pieces.paragraph(words, len(page.lines) + 1)
    empty = [page.number for page in pages if page.drawn and not any(map(str.strip, page.lines)) and not page.said]
    if empty:
        pieces.note(f"there is no text on {_named(empty)} (scans?)")
    pieces.why_empty = f"there is no text on any of its {len(pages)} pages (a scan?)"
    with contextlib.suppress(pypdf.errors.PyPdfError, AttributeError, KeyError, TypeError, ValueError):
        if reader.xfa:
            pieces.note("its form is one of Adobe's (XFA), and what is filled in may not be read: print it to a PDF")
        if names := list(reader.attachments):
            pieces.note(f"files attached to it are not read: {', '.join(names)[:300]}")


def _opened(data: bytes) -> tuple[Any, bytes | None]:
    """The file, and its bytes where they are whole. A file that is damaged is read with a new table of its objects."""
    import pypdf

    try:
        return _checked(pypdf.PdfReader(io.BytesIO(data))), data
    except pypdf.errors.FileNotDecryptedError:
        raise UnreadableFile(LOCKED) from None
    except (pypdf.errors.PyPdfError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        with contextlib.suppress(pypdf.errors.PyPdfError, ValueError, KeyError, TypeError, AttributeError):
            if (again := repaired(data)) is not None:
                return _checked(pypdf.PdfReader(io.BytesIO(again))), None
        raise UnreadableFile(f"it is a damaged PDF ({error}): open it in a viewer and save it again") from error


def _checked(reader: Any) -> Any:
    if len(reader.pages):
        # Is there one that can be found?
        reader.pages[0].get("/Type")
    return reader


def _pages(reader: Any) -> Iterator[Any]:
    for number in range(len(reader.pages)):
        try:
            yield reader.pages[number]
        except MemoryError:
            raise
        except Exception:
            yield None


def _page(pieces: TextBuilder, number: int, page: Any) -> _Page:
    """One page; one that can't be read costs no other."""
    try:
        text = str(page.extract_text())
        strange = len(_NO_LETTER.findall(text))
        if text and strange > _MOST_NO_LETTERS * len("".join(text.split())):
            pieces.note(f"page {number} has letters in a font of its own that says nothing of their meaning")
            text = ""
        return _Page(number, text.split("\n"), list(_said(page)), drawn=_is_drawn(page))
    except MemoryError:
        raise
    except Exception as error:
        # pypdf raises anything for a broken page.
        pieces.note(f"page {number} can't be read ({type(error).__name__})")
        return _Page(number, [], [], drawn=False)


def _is_drawn(page: Any) -> bool:
    contents = page.get_contents()
    drawn = contents is not None and len(contents.get_data().strip()) > _BLANK_PAGE
    resources = page.get("/Resources")
    return drawn or bool(resources is not None and resources.get_object().get("/XObject"))


def _said(page: Any) -> Iterator[str]:
    """What is filled into the fields of a form, and remarks."""
    for each in page.get("/Annots") or ():
        annotation = each.get_object()
        kind = annotation.get("/Subtype")
        if kind == "/Widget":
            if words := _field(annotation):
                yield words
        elif kind in _MARKED and (words := " ".join(str(annotation.get("/Contents") or "").split())):
            yield words if kind == "/FreeText" else f"Comment: {words}"


def _field(annotation: Any) -> str:
    """`name: value` of a field that holds something; names and values may be its parents'."""
    names: list[str] = []
    value: Any = None
    kind = ""
    field = annotation
    for _ in range(_MOST_PARENTS):
        if field is None:
            break
        names += [str(field["/T"])] if "/T" in field else []
        value = field.get("/V") if value is None else value
        kind = kind or str(field.get("/FT") or "")
        parent = field.get("/Parent")
        field = parent.get_object() if parent is not None else None
    state = str(annotation.get("/AS") or value or "").lstrip("/")
    if kind == "/Btn":
        text = "" if state in {"", "Off"} else state
    else:
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value if value is not None else "")
    text = " ".join(text.split())
    return f"{'.'.join(reversed(names))}: {text}" if text and names else text


def _without_edges(pages: Sequence[_Page]) -> None:
    """Leaves out lines that most pages begin or end with, but for the first time that each is there."""
    if len(pages) < _LEAST_PAGES:
        return
    edges = {page.number: _edges(page.lines) for page in pages}
    counts: Counter[str] = Counter()
    for page in pages:
        counts.update({_shape(page.lines[at]) for at in edges[page.number]})
    least = max(_LEAST_PAGES - 1, _MOST_OF_THEM * sum(1 for page in pages if edges[page.number]))
    said: set[str] = set()
    for page in pages:
        for at in edges[page.number]:
            shape = _shape(page.lines[at])
            if counts[shape] >= least:
                if shape in said or not any(map(str.isalpha, shape)):
                    page.lines[at] = ""
                said.add(shape)


def _edges(lines: Sequence[str]) -> list[int]:
    filled = [at for at, line in enumerate(lines) if line.strip()]
    return filled[:_EDGE] + filled[max(_EDGE, len(filled) - _EDGE) :]


def _shape(line: str) -> str:
    """A line without what differs from page to page."""
    return _DIGITS.sub("#", " ".join(line.split()))


def _named(numbers: Iterable[int]) -> str:
    """`pages 2, 5-7`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    named = [str(first) if first == last else f"{first}-{last}" for first, last in runs[:_MOST_NAMED]]
    more = " and more" if len(runs) > _MOST_NAMED else ""
    return f"page{'s' if len(runs) > 1 or runs[0][0] != runs[0][1] else ''} {', '.join(named)}{more}"


def _paragraphs(text: str) -> list[tuple[int, str]]:
    """Runs of lines with their first line's number, which counts from the top of the page."""
    found: list[tuple[int, str]] = []
    run: list[str] = []
    first = 1
    for number, line in enumerate([*text.split("\n"), ""], 1):
        if line.strip():
            first = first if run else number
            run.append(line.strip())
        elif run:
            found.append((first, "\n".join(run)))
            run = []
    return found
