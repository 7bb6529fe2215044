"""Retrieval: ingests documents, searches passages, and the built-in embedding model."""
