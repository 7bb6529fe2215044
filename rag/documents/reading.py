"""Extracts the text and blocks of a file of any supported format."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, TypeAlias

from contract.units import write_size
from rag.alphabets import control_share
from rag.chunk import Block, markdown_blocks, plain_blocks
from rag.documents.kinds import EXCEL, HTML, MARKDOWN, SUFFIXES, TABLES, WORD, kind_of, suffix_of
from rag.documents.pieces import TextBuilder, UnreadableFile
from rag.documents.prose import join_hyphenated
from rag.documents.sizes import MAX_BYTES
from rag.encodings import clean, decode
from rag.html_text import add_page

__all__ = ["MAX_BYTES", "SUFFIXES", "UnreadableFile", "load_file", "read", "read_document", "suffix_of"]

Blocks: TypeAlias = "tuple[str, list[Block]]"
# The maximum share of control bytes; a file with more is binary, whatever its name.
MAX_CONTROL_SHARE = 0.1
_SAMPLE_BYTES = 16_384
_MAX_NOTES = 20
_PROSE = frozenset({".txt", ".text", ".tex"})
EMPTY_FILE = "the file is empty"
NO_WORDS = "it contains no text"


class ReadDocument(NamedTuple):
    """A parsed document. `notes` list what was skipped or guessed; `why_empty` explains an empty `text`."""

    text: str
    blocks: list[Block]
    notes: tuple[str, ...] = ()
    why_empty: str = NO_WORDS


def read(name: str, data: bytes, media_type: str = "", max_bytes: int = MAX_BYTES) -> Blocks:
    """Returns the text and blocks of `read_document`."""
    document = read_document(name, data, media_type, max_bytes)
    return document.text, document.blocks


def read_document(name: str, data: bytes, media_type: str = "", max_bytes: int = MAX_BYTES) -> ReadDocument:
    """Returns the text, its headings and paragraphs, and notes about them.

    Raises `UnreadableFile` for any error of a format's library, except `MemoryError`.
    """
    if len(data) > max_bytes:
        raise too_long(max_bytes)
    try:
        if not data.strip():
            suffix_of(name, media_type)
            return ReadDocument("", [], (), EMPTY_FILE)
        return _read(kind_of(name, data, media_type), data, media_type)
    except (UnreadableFile, MemoryError):
        raise
    except ImportError as error:
        raise UnreadableFile(f"the package {error.name} is not installed: gatehouse-platform[documents]") from None
    except Exception as error:
        # Parsers raise any error for a broken file; ingestion of the other files must continue.
        raise UnreadableFile(f"{type(error).__name__}: {str(error)[:200]}") from error


def load_file(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """Reads a file's bytes, up to one more than `max_bytes`. Raises `OSError` and `UnreadableFile`."""
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise too_long(max_bytes)
    return data


def too_long(max_bytes: int) -> UnreadableFile:
    """The error for a document of more than `max_bytes`."""
    return UnreadableFile(f"it is larger than {write_size(max_bytes)} (read.size)")


def _read(suffix: str, data: bytes, media_type: str) -> ReadDocument:
    pieces = TextBuilder()
    if suffix == ".pdf":
        from rag.documents.pdf import add_pdf

        add_pdf(pieces, data)
    elif suffix in WORD:
        from rag.documents.word import add_word

        add_word(pieces, data)
    elif suffix in EXCEL:
        from rag.documents.sheets import add_sheets

        add_sheets(pieces, data)
    else:
        return _read_text(suffix, data, media_type)
    return ReadDocument(*pieces.done(), tuple(pieces.notes[:_MAX_NOTES]), pieces.why_empty or NO_WORDS)


def _read_text(suffix: str, data: bytes, media_type: str) -> ReadDocument:
    decoded = decode(data, media_type)
    if decoded.is_bytes and control_share(data[:_SAMPLE_BYTES]) > MAX_CONTROL_SHARE:
        raise UnreadableFile("it contains binary data, not text as its name suggests")
    text = clean(decoded.text).replace("\r\n", "\n").replace("\r", "\n")
    notes = (decoded.note,) if decoded.note else ()
    if suffix in TABLES | HTML:
        pieces = TextBuilder()
        if suffix in HTML:
            add_page(pieces, text)
        else:
            from rag.documents.rows import add_csv

            add_csv(pieces, text, "\t" if suffix == ".tsv" else "")
        return ReadDocument(*pieces.done(), notes + tuple(pieces.notes[:_MAX_NOTES]), NO_WORDS)
    if suffix in MARKDOWN:
        from rag.documents.markdown import flatten_tables

        text = flatten_tables(text)
        return ReadDocument(text, markdown_blocks(text), notes)
    text = join_hyphenated(text) if suffix in _PROSE else text
    return ReadDocument(text, plain_blocks(text), notes)
