"""Creates the first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the tables."""
    for make in (_attempts, _audit, _keys, _meta, _parties, _requests, _usage_by_hour):
        make()


def _counts(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), nullable=False) for name in names]


def _whose(*, primary: bool = False) -> list[sa.Column[str]]:
    names = ("organisation", "team", "app", "key", "user")
    return [sa.Column(name, sa.String(128), primary_key=primary, nullable=False) for name in names]


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("request", sa.String(32), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True),
        sa.Column("target", sa.String(256), nullable=False),
        sa.Column("reason", sa.String(16), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("error", sa.String(64), nullable=False),
        *_counts("input", "output", "cache_read", "cache_write", "reasoning"),
        sa.Column("cost", sa.BigInteger()),
        sa.Column("estimated", sa.Boolean(), nullable=False),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
    )


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(256), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )


def _keys() -> None:
    op.create_table(
        "keys",
        sa.Column("id", sa.String(16), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("app", sa.String(128), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger()),
        sa.Column("revoked_ms", sa.BigInteger()),
        sa.Column("replaces", sa.String(16)),
    )
    op.create_index("keys_by_app", "keys", ["app"])


def _meta() -> None:
    op.create_table(
        "meta",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", sa.BigInteger(), nullable=False),
    )


def _parties() -> None:
    op.create_table(
        "parties",
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
    )


def _requests() -> None:
    op.create_table(
        "requests",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("request_id", sa.String(160), nullable=False),
        sa.Column("trace_id", sa.String(32), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        *_whose(),
        sa.Column("surface", sa.String(64), nullable=False),
        sa.Column("model", sa.String(256), nullable=False),
        sa.Column("target", sa.String(256), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("error", sa.String(64), nullable=False),
        sa.Column("cache", sa.String(16), nullable=False),
        sa.Column("stream", sa.Boolean(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        *_counts("input", "output", "cache_read", "cache_write", "reasoning"),
        sa.Column("cost", sa.BigInteger()),
        sa.Column("estimated", sa.Boolean(), nullable=False),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
    )
    for name in (
        "organisation", "team", "app", "key", "user", "model", "target", "status", "outcome", "request_id",
    ):  # fmt: skip
        op.create_index(f"requests_by_{name}", "requests", [name, "id"])


def _usage_by_hour() -> None:
    op.create_table(
        "usage_by_hour",
        sa.Column("hour_ms", sa.BigInteger(), primary_key=True),
        *_whose(primary=True),
        sa.Column("model", sa.String(256), primary_key=True),
        sa.Column("target", sa.String(256), primary_key=True),
        *_counts("requests", "failures", "unpriced"),
        *_counts("input", "output", "cache_read", "cache_write", "reasoning", "cost"),
    )


def downgrade() -> None:
    """Drops the tables with their data."""
    for name in ("attempts", "audit", "keys", "meta", "parties", "requests", "usage_by_hour"):
        op.drop_table(name)
