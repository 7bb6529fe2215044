"""PDF: the text of each page, under a heading that says which."""

from __future__ import annotations

import io
import logging

from rag.chunk import Block
from rag.documents.pieces import Pieces


def pdf_blocks(data: bytes) -> tuple[str, list[Block]]:
    """Pages as headings, their paragraphs below. Raises what pypdf raises; a page of pictures only is empty."""
    import pypdf

    # It tells every oddity of a file to the log.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    reader = pypdf.PdfReader(io.BytesIO(data))
    pieces = Pieces()
    for number, page in enumerate(reader.pages, 1):
        text = page.extract_text()
        if not text.strip():
            continue
        pieces.heading(1, f"page {number}", number)
        for line, paragraph in _paragraphs(text):
            pieces.paragraph(paragraph, line)
    return pieces.done()


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
