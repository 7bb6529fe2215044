"""A document's bytes as the chunks that are kept: read, then cut. `rag.documents.process` says where this runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag.chunkers import cut
from rag.documents.reading import MAX_BYTES, Unreadable, read
from rag.store import NewChunk

if TYPE_CHECKING:
    from rag.chunkers import Chunking

MAX_CHUNKS = 50_000


def chunks_of(
    name: str,
    data: bytes,
    media_type: str,
    chunking: Chunking,
    max_chunks: int = MAX_CHUNKS,
    max_bytes: int = MAX_BYTES,
) -> tuple[NewChunk, ...]:
    """None for a document without words. Raises `Unreadable`, also beyond a bound."""
    text, blocks = read(name, data, media_type, max_bytes)
    pieces = cut(text, blocks, chunking)
    if len(pieces) > max_chunks:
        raise Unreadable(f"it has {len(pieces):,} chunks, more than {max_chunks:,} (read.chunks): split it")
    return tuple(NewChunk(each.text.strip("\n"), each.place, ". ".join(each.headings)) for each in pieces)
