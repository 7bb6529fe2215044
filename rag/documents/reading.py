"""A file's text and blocks, whatever its format."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from rag.chunk import Block, markdown_blocks, plain_blocks
from rag.documents.pieces import Pieces, Unreadable
from rag.encodings import clean, decoded
from rag.html_text import html_blocks

__all__ = ["MAX_BYTES", "SUFFIXES", "Unreadable", "load_file", "read", "suffix_of"]

Blocks: TypeAlias = "tuple[str, list[Block]]"
MAX_BYTES = 64 * 1024 * 1024
MAX_UNPACKED = 256 * 1024 * 1024
MAX_ENTRIES = 10_000
_MARKDOWN = frozenset({".md", ".markdown", ".mdx"})
_HTML = frozenset({".html", ".htm", ".xhtml"})
_PLAIN = frozenset({
    ".txt", ".text", ".rst", ".log", ".py", ".js", ".ts", ".tsx", ".jsx", ".java", ".kt", ".go", ".rs", ".c", ".h",
    ".cc", ".cpp", ".hpp", ".cs", ".rb", ".php", ".swift", ".scala", ".sh", ".sql", ".css", ".json", ".yaml", ".yml",
    ".toml", ".ini", ".cfg", ".xml", ".tex",
})  # fmt: skip
_WORD = frozenset({".docx", ".docm", ".dotx", ".dotm"})
_EXCEL = frozenset({".xlsx", ".xlsm", ".xltx", ".xltm"})
SUFFIXES = _MARKDOWN | _HTML | _PLAIN | _WORD | _EXCEL | {".pdf", ".csv", ".tsv"}
_MEDIA = {
    "text/markdown": ".md", "text/html": ".html", "application/xhtml+xml": ".html", "text/plain": ".txt",
    "application/pdf": ".pdf", "text/csv": ".csv", "text/tab-separated-values": ".tsv", "application/json": ".json",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
}  # fmt: skip


def suffix_of(name: str, media_type: str = "") -> str:
    """The kind of a file by its name, or by its media type. Raises `Unreadable` for one that nobody reads."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in SUFFIXES:
        suffix = _MEDIA.get(media_type.partition(";")[0].strip().lower(), "")
    if not suffix:
        raise Unreadable(f"nothing here reads {PurePosixPath(name).suffix or media_type or 'a file without a suffix'}")
    return suffix


def read(name: str, data: bytes, media_type: str = "", max_bytes: int = MAX_BYTES) -> Blocks:
    """The text, and its headings and paragraphs.

    Raises `Unreadable`, whatever a format's library raises, but for `MemoryError`.
    """
    suffix = suffix_of(name, media_type)
    if len(data) > max_bytes:
        raise too_long(max_bytes)
    try:
        return _read(suffix, data)
    except (Unreadable, MemoryError):
        raise
    except ImportError as error:
        raise Unreadable(f"the package {error.name} is not installed: gatehouse-platform[documents]") from None
    except Exception as error:
        # Libraries of formats raise anything for a broken file; the rest of the files must go on.
        raise Unreadable(f"{type(error).__name__}: {str(error)[:200]}") from error


def load_file(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """A file's bytes; no more of one that is too large than shows that it is. Raises `OSError` and `Unreadable`."""
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise too_long(max_bytes)
    return data


def too_long(max_bytes: int) -> Unreadable:
    """Why a document of more bytes is not read."""
    return Unreadable(f"it is larger than {max_bytes // 1024 // 1024} MB (read.size)")


def _check_unpacked(data: bytes) -> None:
    """Refuses an archive that says of itself that it is huge, before anything of it is unpacked."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        if len(entries) > MAX_ENTRIES:
            raise Unreadable(f"it is an archive of more than {MAX_ENTRIES:,} files")
        if sum(entry.file_size for entry in entries) > MAX_UNPACKED:
            raise Unreadable(f"it would be larger than {MAX_UNPACKED // 1024 // 1024} MB unpacked")


def _read(suffix: str, data: bytes) -> Blocks:
    if suffix == ".pdf":
        from rag.documents.pdf import pdf_blocks

        return pdf_blocks(data)
    if suffix in _WORD | _EXCEL:
        _check_unpacked(data)
    if suffix in _WORD:
        from rag.documents.word import add_word

        pieces = Pieces()
        add_word(pieces, data)
        return pieces.done()
    if suffix in _EXCEL:
        from rag.documents.sheets import add_sheets

        pieces = Pieces()
        add_sheets(pieces, data)
        return pieces.done()
    text = clean(decoded(data)).removeprefix("\ufeff").replace("\r\n", "\n")
    if suffix in {".csv", ".tsv"}:
        from rag.documents.rows import csv_blocks

        return csv_blocks(text, "\t" if suffix == ".tsv" else "")
    if suffix in _HTML:
        return html_blocks(text)
    return text, markdown_blocks(text) if suffix in _MARKDOWN else plain_blocks(text)
