"""A document's bytes as the chunks that are kept: read, then cut. `rag.documents.process` says where this runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from rag.chunkers import cut
from rag.documents.reading import MAX_BYTES, UnreadableFile, read_document
from rag.store import NewChunk

if TYPE_CHECKING:
    from rag.chunkers import Chunking

MAX_CHUNKS = 50_000


class ChunkedDocument(msgspec.Struct, frozen=True):
    """A document's chunks, with what the report says of it: `notes`, and why there are none if there are none."""

    chunks: tuple[NewChunk, ...] = ()
    notes: tuple[str, ...] = ()
    why_empty: str = ""


def chunks_of(
    name: str,
    data: bytes,
    media_type: str,
    chunking: Chunking,
    max_chunks: int = MAX_CHUNKS,
    max_bytes: int = MAX_BYTES,
) -> tuple[NewChunk, ...]:
    """See `cut_document`: the chunks alone."""
    return cut_document(name, data, media_type, chunking, max_chunks, max_bytes).chunks


def cut_document(
    name: str,
    data: bytes,
    media_type: str,
    chunking: Chunking,
    max_chunks: int = MAX_CHUNKS,
    max_bytes: int = MAX_BYTES,
) -> ChunkedDocument:
    """No chunks for a document without words. Raises `UnreadableFile`, also beyond a bound."""
    text, blocks, notes, why_empty = read_document(name, data, media_type, max_bytes)
    pieces = cut(text, blocks, chunking)
    if len(pieces) > max_chunks:
        raise UnreadableFile(f"it has {len(pieces):,} chunks, more than {max_chunks:,} (read.chunks): split it")
    chunks = tuple(NewChunk(each.text.strip("\n"), each.place, ". ".join(each.headings)) for each in pieces)
    return ChunkedDocument(chunks, notes, why_empty)
