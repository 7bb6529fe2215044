"""A folder of documents as a source."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rag.documents.reading import SUFFIXES
from rag.ingest import Item


def folder_items(folder: Path, patterns: Sequence[str]) -> list[Item]:
    """Every document that one of `patterns` matches, by name; hidden files and unknown formats are left out.

    A document's id is its path within the folder. Raises `NotADirectoryError` when there is no such folder.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    return [
        Item(path.relative_to(folder).as_posix(), partial(_load, path))
        for path in sorted({path for pattern in patterns for path in folder.glob(pattern)})
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    ]


def snapshot(folder: Path, patterns: Sequence[str]) -> int:
    """A number that changes when a file of the folder does."""
    seen: list[tuple[str, int, int]] = []
    for pattern in patterns:
        for path in folder.glob(pattern):
            try:
                about = path.stat()
            except OSError:
                continue
            seen.append((str(path), about.st_mtime_ns, about.st_size))
    return hash(tuple(sorted(seen)))


def _load(path: Path) -> tuple[bytes, str]:
    return path.read_bytes(), ""
