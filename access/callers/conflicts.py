"""Why an administrator's change can't be made."""

from __future__ import annotations


class NotThere(LookupError):
    """What was named does not exist."""


class InTheWay(ValueError):
    """Something else must be changed first."""
