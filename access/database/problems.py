"""What is wrong with a database that time alone does not mend."""

from __future__ import annotations


class SchemaTooNew(ValueError):
    """A later version of Gatehouse has brought its tables up to date: this one would write nonsense."""
