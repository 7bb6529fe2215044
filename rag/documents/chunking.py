"""Parses a document's bytes and splits the text into chunks. `rag.documents.process` runs this in a subprocess."""

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
    """A document's chunks, notes for the ingest report, and `why_empty` if there are no chunks."""

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
    """Returns the chunks of `cut_document` without its notes."""
    return cut_document(name, data, media_type, chunking, max_chunks, max_bytes).chunks


def cut_document(
    name: str,
    data: bytes,
    media_type: str,
    chunking: Chunking,
    max_chunks: int = MAX_CHUNKS,
    max_bytes: int = MAX_BYTES,
) -> ChunkedDocument:
    """Parses and splits a document; one without text has no chunks. Raises `UnreadableFile`, also above a limit."""
    text, blocks, notes, why_empty = read_document(name, data, media_type, max_bytes)
    pieces = cut(text, blocks, chunking)
    if len(pieces) > max_chunks:
        raise UnreadableFile(f"it has {len(pieces):,} chunks, more than {max_chunks:,} (read.max_chunks): split it")
    chunks = tuple(NewChunk(each.text.strip("\n"), each.place, ". ".join(each.headings)) for each in pieces)
    return ChunkedDocument(chunks, notes, why_empty)
