"""Full-text search: a BM25 index on disk (tantivy). It is derived from the store's log and can be rebuilt at any time.

Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), k1 1.2 and b 0.75. `rag.words`
splits texts and questions into words, which are stemmed; a question is never parsed as query syntax.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rag.words import indexed_words

if TYPE_CHECKING:
    import tantivy

# Increase this when the tokenization changes, so that the index is rebuilt from the store.
VERSION = 3
HEAP_BYTES = 64_000_000
MAX_QUERY_TERMS = 64
# Longer words are noise, and tantivy rejects words above 64 KB.
_MAX_TERM = 100


class TextIndex:
    """Written and committed by one thread at a time, searched by any."""

    def __init__(self, folder: Path, language: str = "english") -> None:
        """Opens or creates the index in `folder`; replaces a damaged one. Raises `OSError`, `ValueError` (language)."""
        import tantivy

        self._folder = folder
        self._analyzer = (
            tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace())
            .filter(tantivy.Filter.remove_long(_MAX_TERM))
            .filter(tantivy.Filter.stemmer(language))
            .build()
        )
        builder = tantivy.SchemaBuilder()
        builder.add_unsigned_field("id", stored=False, indexed=True, fast=True)
        builder.add_text_field("body", stored=False, tokenizer_name="words", index_option="freq")
        builder.add_text_field("partition", stored=False, tokenizer_name="raw", index_option="basic")
        self._schema = builder.build()
        try:
            self._index = self._open()
        except ValueError:
            # Damaged or written by another version: rebuild it from the store.
            shutil.rmtree(folder, ignore_errors=True)
            self._index = self._open()
        self._writer: tantivy.IndexWriter | None = None
        self._searcher = self._index.searcher()

    def _open(self) -> tantivy.Index:
        import tantivy

        self._folder.mkdir(parents=True, exist_ok=True)
        index = tantivy.Index(self._schema, path=str(self._folder), reuse=True)
        index.register_tokenizer("words", self._analyzer)
        index.reload()
        return index

    def __len__(self) -> int:
        return int(self._searcher.num_docs)

    def add(self, chunk: int, text: str, partition: str, *, replace: bool = False) -> None:
        """Adds a new chunk; `replace` if the index may already contain it. Searchable after `commit`."""
        import tantivy

        if replace:
            self.remove(chunk)
        document = tantivy.Document()
        document.add_unsigned("id", chunk)
        document.add_text("body", " ".join(indexed_words(text)))
        document.add_text("partition", partition)
        self._open_writer().add_document(document)

    def remove(self, chunk: int) -> None:
        """Removes a chunk. Takes effect after `commit`."""
        import tantivy

        # Delete by query: `delete_documents` would treat the number as signed, and match nothing.
        query = tantivy.Query.term_query(self._schema, "id", chunk)
        self._open_writer().delete_documents_by_query(query)

    def _open_writer(self) -> tantivy.IndexWriter:
        if self._writer is None:
            self._writer = self._index.writer(HEAP_BYTES, 1)
        return self._writer

    def commit(self) -> None:
        """Makes additions and removals durable and searchable."""
        if self._writer is not None:
            self._writer.commit()
            self._index.reload()
            self._searcher = self._index.searcher()

    def close(self) -> None:
        """Commits and releases the folder."""
        if self._writer is not None:
            self._writer.commit()
            self._writer.wait_merging_threads()
            self._writer = None

    def search(self, question: str, partitions: Sequence[str] | None, top: int) -> list[tuple[int, float]]:
        """Chunks of `partitions` (None: all) that contain a word of the question, with their scores, best first."""
        import tantivy

        words = list(dict.fromkeys(self._analyzer.analyze(" ".join(indexed_words(question, is_query=True)))))[
            :MAX_QUERY_TERMS
        ]
        if not words or partitions == []:
            return []
        term_query, occur = tantivy.Query.term_query, tantivy.Occur
        query = tantivy.Query.boolean_query(
            [(occur.Should, term_query(self._schema, "body", word, "freq")) for word in words]
        )
        if partitions is not None:
            allowed = tantivy.Query.term_set_query(self._schema, "partition", list(partitions))
            query = tantivy.Query.boolean_query(
                [(occur.Must, query), (occur.Must, tantivy.Query.const_score_query(allowed, 0.0))]
            )
        searcher = self._searcher
        hits = searcher.search(query, top, count=False).hits
        ids = searcher.fast_field_values("id", [address for _, address in hits])
        return [(int(chunk or 0), float(score)) for chunk, (score, _) in zip(ids, hits, strict=True)]
