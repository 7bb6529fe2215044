"""A folder of documents as a source: .md, .txt and .html files, with those in its subfolders."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from gateway.contract.passages import Passage
from rag.chunk import chunk, markdown_blocks, plain_blocks
from rag.html_text import html_blocks

MAX_FILE_BYTES = 16 * 1024 * 1024
_SUFFIXES = frozenset({".md", ".markdown", ".txt", ".html", ".htm"})


def read_folder(folder: Path, patterns: Sequence[str] = ("**/*",)) -> list[Passage]:
    """Every chunk of every document that one of `patterns` matches, in the order of the files' names, with score 0.

    `source` is the file's path within the folder. Hidden files and those beyond MAX_FILE_BYTES are left out, bytes
    that are not UTF-8 are replaced. Raises `NotADirectoryError` when there is no such folder.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    return [
        passage for path in _documents(folder, patterns) for passage in read_document(path, path.relative_to(folder))
    ]


def read_document(path: Path, name: Path) -> list[Passage]:
    """The chunks of one file, whose source will be `name`."""
    text = path.read_bytes().decode("utf-8", "replace").removeprefix("\ufeff").replace("\r\n", "\n")
    suffix = path.suffix.lower()
    if suffix in {".html", ".htm"}:
        text, blocks = html_blocks(text)
    elif suffix == ".txt":
        blocks = plain_blocks(text)
    else:
        blocks = markdown_blocks(text)
    passages = []
    for piece in chunk(text, blocks):
        source, place, words = name.as_posix(), piece.place, piece.text.strip("\n")
        identity = hashlib.sha256(f"{source}\0{piece.start}\0{words}".encode("utf-8", "replace")).hexdigest()[:16]
        passages.append(Passage(source, place, words, 0.0, identity))
    return passages


def _documents(folder: Path, patterns: Sequence[str]) -> list[Path]:
    return [
        path
        for path in sorted({path for pattern in patterns for path in folder.glob(pattern)})
        if path.suffix.lower() in _SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
        and path.stat().st_size <= MAX_FILE_BYTES
    ]
