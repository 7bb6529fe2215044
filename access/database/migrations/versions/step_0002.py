"""Adds the version of the code that wrote a row. Existing rows have version 1."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None
_TABLES = ("requests", "keys", "parties", "audit")


def upgrade() -> None:
    """Adds the column. Replicas of the previous version, which still run, write rows without it."""
    for table in _TABLES:
        op.add_column(table, sa.Column("version", sa.SmallInteger(), nullable=False, server_default="1"))


def downgrade() -> None:
    """Drops the column."""
    for table in _TABLES:
        op.drop_column(table, "version")
