"""Database errors that need an operator."""

from __future__ import annotations


class SchemaTooNew(ValueError):
    """A later version of Gatehouse has migrated the tables: this version must not write to them."""
