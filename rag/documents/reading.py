"""A file's text and blocks, whatever its format."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, TypeAlias

from contract.units import write_size
from rag.alphabets import control_share
from rag.chunk import Block, markdown_blocks, plain_blocks
from rag.documents.kinds import EXCEL, HTML, MARKDOWN, SUFFIXES, TABLES, WORD, kind_of, suffix_of
from rag.documents.pieces import TextBuilder, UnreadableFile
from rag.documents.prose import unhyphenated
from rag.documents.sizes import MAX_BYTES
from rag.encodings import clean, decode
from rag.html_text import add_page

__all__ = ["MAX_BYTES", "SUFFIXES", "UnreadableFile", "load_file", "read", "read_document", "suffix_of"]

Blocks: TypeAlias = "tuple[str, list[Block]]"
# Of bytes that no text has; more is a program or a picture by the name of a text.
MOST_CONTROLS = 0.1
_LOOKED_AT = 16_384
_MOST_NOTES = 20
_PROSE = frozenset({".txt", ".text", ".tex"})
EMPTY_FILE = "the file is empty"
NO_WORDS = "there are no words in it"


class ReadDocument(NamedTuple):
    """What was read. `notes` say what was left out or guessed, `why_empty` why there is no text if there is none."""

    text: str
    blocks: list[Block]
    notes: tuple[str, ...] = ()
    why_empty: str = NO_WORDS


def read(name: str, data: bytes, media_type: str = "", max_bytes: int = MAX_BYTES) -> Blocks:
    """See `read_document`: the text, and its headings and paragraphs."""
    found = read_document(name, data, media_type, max_bytes)
    return found.text, found.blocks


def read_document(name: str, data: bytes, media_type: str = "", max_bytes: int = MAX_BYTES) -> ReadDocument:
    """The text, its headings and paragraphs, and what is to be said of them.

    Raises `UnreadableFile`, whatever a format's library raises, but for `MemoryError`.
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
        # Libraries of formats raise anything for a broken file; the rest of the files must go on.
        raise UnreadableFile(f"{type(error).__name__}: {str(error)[:200]}") from error


def load_file(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """A file's bytes; no more of one that is too large than shows that it is. Raises `OSError` and `UnreadableFile`."""
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise too_long(max_bytes)
    return data


def too_long(max_bytes: int) -> UnreadableFile:
    """Why a document of more bytes is not read."""
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
    return ReadDocument(*pieces.done(), tuple(pieces.notes[:_MOST_NOTES]), pieces.why_empty or NO_WORDS)


def _read_text(suffix: str, data: bytes, media_type: str) -> ReadDocument:
    found = decode(data, media_type)
    if found.is_bytes and control_share(data[:_LOOKED_AT]) > MOST_CONTROLS:
        raise UnreadableFile("its bytes are no text, whatever its name says")
    text = clean(found.text).replace("\r\n", "\n").replace("\r", "\n")
    notes = (found.note,) if found.note else ()
    if suffix in TABLES | HTML:
        pieces = TextBuilder()
        if suffix in HTML:
            add_page(pieces, text)
        else:
            from rag.documents.rows import add_csv

            add_csv(pieces, text, "\t" if suffix == ".tsv" else "")
        return ReadDocument(*pieces.done(), notes + tuple(pieces.notes[:_MOST_NOTES]), NO_WORDS)
    if suffix in MARKDOWN:
        from rag.documents.markdown import tables_said

        text = tables_said(text)
        return ReadDocument(text, markdown_blocks(text), notes)
    text = unhyphenated(text) if suffix in _PROSE else text
    return ReadDocument(text, plain_blocks(text), notes)
