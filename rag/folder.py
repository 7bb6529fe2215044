"""The source kind `folder`: documents in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from config.sources import DocumentSourceConfig, ExistingFolder
from config.struct import Flag
from contract.sources import Item, Origin
from rag.documents.sizes import MAX_BYTES

if TYPE_CHECKING:
    from contract.egress import Egress


class FolderConfig(DocumentSourceConfig):
    """Documents in a folder."""

    kind: Literal["folder"] = Field(description="Documents in a folder.")
    path: ExistingFolder = Field(description="The folder, relative to this file.", examples=["./documents"])
    glob: tuple[str, ...] = Field(
        default=("**/*",), min_length=1, description="Which files to read, as glob patterns relative to the folder."
    )
    watch: Flag = Field(default=True, description="Whether to watch the folder and ingest changes.")

    @property
    def where(self) -> str:
        """See `SourceConfig.where`."""
        return str(self.path)

    @property
    def made_from(self) -> str:
        """See `DocumentSourceConfig.made_from`."""
        return str(self.path)

    def origin(self, egress: Egress) -> Origin:
        """See `DocumentSourceConfig.origin`."""
        items = partial(folder_items, self.path, self.glob, self.read.size)
        return Origin(items, partial(snapshot, self.path, self.glob), self.watch)


def folder_items(folder: Path, patterns: Sequence[str], max_bytes: int = MAX_BYTES) -> list[Item]:
    """Returns every document that one of `patterns` matches, sorted; skips hidden files and other kinds of files.

    A document in an unsupported format (`.pptx`) fails on its own. A document's id is its path in the folder. A link
    out of the folder fails too: write access to the folder must not give read access to the machine. Raises
    `NotADirectoryError` if the folder does not exist.
    """
    # Imported lazily here and below: `gatehouse check` needs only the config above, not the parsers.
    from rag.documents.kinds import OTHERS, SUFFIXES

    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    return [
        Item(path.relative_to(folder).as_posix(), partial(_load, path, folder, max_bytes))
        for path in sorted({path for pattern in patterns for path in folder.glob(pattern)})
        if (path.suffix.lower() in SUFFIXES or path.suffix.lower() in OTHERS)
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    ]


def snapshot(folder: Path, patterns: Sequence[str]) -> int:
    """A number that changes when a file in the folder changes."""
    files: list[tuple[str, int, int]] = []
    for pattern in patterns:
        for path in folder.glob(pattern):
            try:
                stat = path.stat()
            except OSError:
                continue
            files.append((str(path), stat.st_mtime_ns, stat.st_size))
    return hash(tuple(sorted(files)))


def _load(path: Path, folder: Path, max_bytes: int) -> tuple[bytes, str]:
    from rag.documents.kinds import check_name
    from rag.documents.reading import UnreadableFile, load_file

    if not path.resolve().is_relative_to(folder.resolve()):
        raise UnreadableFile("it is a link out of the folder: copy the file, or configure its folder as a source")
    check_name(path.name)
    return load_file(path, max_bytes), ""
