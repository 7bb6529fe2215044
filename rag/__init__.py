"""Retrieval: documents in, passages out; and the embedding model."""
