"""PDF: the text of each page, under a heading with the page number."""

from __future__ import annotations

import contextlib
import io
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from rag.documents.pdf_repair import repair
from rag.documents.pieces import TextBuilder, UnreadableFile
from rag.documents.prose import join_hyphenated

LOCKED = "it is protected with a password: upload a copy without one"
_MARKED = frozenset({"/Text", "/FreeText", "/Highlight", "/Underline", "/StrikeOut", "/Squiggly", "/Stamp", "/Caret"})
# Lines at the top and bottom of most pages are running headers and footers; each is kept once.
_EDGE, _MIN_PAGES, _MIN_PAGE_SHARE = 2, 4, 0.6
_DIGITS = re.compile(r"\d+")
_NON_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ue000-\uf8ff\ufffd]")
_MAX_NON_TEXT_SHARE = 0.5
_BLANK_PAGE = 100
_MAX_LISTED = 20
_MAX_PARENTS = 20


class _Page(NamedTuple):
    """`lines` of its text; `annotations`: form fields and comments; `drawn`: the page is not blank."""

    number: int
    lines: list[str]
    annotations: list[str]
    drawn: bool


def add_pdf(pieces: TextBuilder, data: bytes) -> None:
    """Adds each page as a heading with its paragraphs. Raises `UnreadableFile` and pypdf's errors.

    A file that only its owner may change is read; one that needs a password to open is not.
    """
    import pypdf

    # pypdf logs every irregularity of a file.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    reader, is_intact = _opened(data)
    if not is_intact:
        pieces.note("the file is damaged: only the pages that could be recovered are read")
    pages = [_page(pieces, number, page) for number, page in enumerate(_pages(reader), 1)]
    _remove_repeated_edges(pages)
    for page in pages:
        text = "\n".join(page.lines)
        if not text.strip() and not page.annotations:
            continue
        pieces.heading(1, f"page {page.number}", page.number)
        for line, paragraph in _paragraphs(join_hyphenated(text)):
            pieces.paragraph(paragraph, line)
        for words in page.annotations:
            pieces.paragraph(words, len(page.lines) + 1)
    empty = [
        page.number for page in pages if page.drawn and not any(map(str.strip, page.lines)) and not page.annotations
    ]
    if empty:
        pieces.note(f"there is no text on {_named(empty)} (scans?)")
    pieces.why_empty = f"there is no text on any of its {len(pages)} pages (a scan?)"
    with contextlib.suppress(pypdf.errors.PyPdfError, AttributeError, KeyError, TypeError, ValueError):
        if reader.xfa:
            pieces.note("it has an Adobe XFA form, whose values may be missing: print it to a PDF")
        if names := list(reader.attachments):
            pieces.note(f"its attached files are not read: {', '.join(names)[:300]}")


def _opened(data: bytes) -> tuple[Any, bool]:
    """Opens the file; returns its reader and whether it is intact. A damaged file gets a new object table."""
    import pypdf

    try:
        return _checked(pypdf.PdfReader(io.BytesIO(data))), True
    except pypdf.errors.FileNotDecryptedError:
        raise UnreadableFile(LOCKED) from None
    except (pypdf.errors.PyPdfError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        with contextlib.suppress(pypdf.errors.PyPdfError, ValueError, KeyError, TypeError, AttributeError):
            if (repaired := repair(data)) is not None:
                return _checked(pypdf.PdfReader(io.BytesIO(repaired))), False
        raise UnreadableFile(f"it is a damaged PDF ({error}): open it in a viewer and save it again") from error


def _checked(reader: Any) -> Any:
    if len(reader.pages):
        # Raises if the page cannot be found.
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
    """Reads one page; a page that can't be read does not affect the others."""
    try:
        text = str(page.extract_text())
        non_text = len(_NON_TEXT.findall(text))
        if text and non_text > _MAX_NON_TEXT_SHARE * len("".join(text.split())):
            pieces.note(f"page {number} is not read: its font does not map its characters to text")
            text = ""
        return _Page(number, text.split("\n"), list(_annotations(page)), drawn=_is_drawn(page))
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


def _annotations(page: Any) -> Iterator[str]:
    """The values of form fields, and comments."""
    for each in page.get("/Annots") or ():
        annotation = each.get_object()
        kind = annotation.get("/Subtype")
        if kind == "/Widget":
            if words := _field(annotation):
                yield words
        elif kind in _MARKED and (words := " ".join(str(annotation.get("/Contents") or "").split())):
            yield words if kind == "/FreeText" else f"Comment: {words}"


def _field(annotation: Any) -> str:
    """`name: value` of a form field, or an empty text; a field may inherit its name and value from its parents."""
    names: list[str] = []
    value: Any = None
    kind = ""
    field = annotation
    for _ in range(_MAX_PARENTS):
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


def _remove_repeated_edges(pages: Sequence[_Page]) -> None:
    """Blanks running headers and footers: lines that most pages start or end with, except their first occurrence."""
    if len(pages) < _MIN_PAGES:
        return
    edges = {page.number: _edges(page.lines) for page in pages}
    counts: Counter[str] = Counter()
    for page in pages:
        counts.update({_shape(page.lines[at]) for at in edges[page.number]})
    min_count = max(_MIN_PAGES - 1, _MIN_PAGE_SHARE * sum(1 for page in pages if edges[page.number]))
    seen: set[str] = set()
    for page in pages:
        for at in edges[page.number]:
            shape = _shape(page.lines[at])
            if counts[shape] >= min_count:
                if shape in seen or not any(map(str.isalpha, shape)):
                    page.lines[at] = ""
                seen.add(shape)


def _edges(lines: Sequence[str]) -> list[int]:
    filled = [at for at, line in enumerate(lines) if line.strip()]
    return filled[:_EDGE] + filled[max(_EDGE, len(filled) - _EDGE) :]


def _shape(line: str) -> str:
    """A line with its numbers replaced, because page numbers differ from page to page."""
    return _DIGITS.sub("#", " ".join(line.split()))


def _named(numbers: Iterable[int]) -> str:
    """`pages 2, 5-7`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    named = [str(first) if first == last else f"{first}-{last}" for first, last in runs[:_MAX_LISTED]]
    more = " and more" if len(runs) > _MAX_LISTED else ""
    return f"page{'s' if len(runs) > 1 or runs[0][0] != runs[0][1] else ''} {', '.join(named)}{more}"


def _paragraphs(text: str) -> list[tuple[int, str]]:
    """Returns each paragraph with the number of its first line, counted from the top of the page."""
    paragraphs: list[tuple[int, str]] = []
    run: list[str] = []
    first = 1
    for number, line in enumerate([*text.split("\n"), ""], 1):
        if line.strip():
            first = first if run else number
            run.append(line.strip())
        elif run:
            paragraphs.append((first, "\n".join(run)))
            run = []
    return paragraphs
