"""Errors of changes that an administrator makes."""

from __future__ import annotations


class NotFound(LookupError):
    """The named object does not exist."""


class Conflict(ValueError):
    """The change conflicts with the current state."""
