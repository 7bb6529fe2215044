"""Why an administrator's change can't be made."""

from __future__ import annotations


class NotFound(LookupError):
    """What was named does not exist."""


class Conflict(ValueError):
    """Something else must be changed first."""
