"""The tables. Times are milliseconds since 1970; money is in trillionths of a dollar, so that sums are exact."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, String, Table, Text

from access.ledger.entry import REQUEST_FILTERS

METADATA = MetaData()

# Counted up by whatever changes who may call: replicas look at it to know that their copy is old.
META = Table(
    "meta", METADATA, Column("name", String(64), primary_key=True), Column("value", BigInteger, nullable=False)
)

# Organisations, teams and apps that are made while it runs; `options` is what the YAML would say of them, as JSON.
PARTIES = Table(
    "parties",
    METADATA,
    Column("kind", String(16), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("options", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)

KEYS = Table(
    "keys",
    METADATA,
    Column("id", String(16), primary_key=True),
    # HMAC-SHA256 of the key under the pepper, hexadecimal. The key itself is nowhere.
    Column("digest", String(64), nullable=False),
    Column("app", String(128), nullable=False),
    Column("name", String(128), nullable=False),
    Column("options", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger),
    Column("revoked_ms", BigInteger),
    Column("replaces", String(16)),
    Index("keys_by_app", "app"),
)

_TOKENS = ("input", "output", "cache_read", "cache_write", "reasoning")


def _whose() -> list[Column[str]]:
    return [Column(name, String(128), nullable=False) for name in ("organisation", "team", "app", "key", "user")]


def _tokens() -> list[Column[int]]:
    return [Column(name, BigInteger, nullable=False) for name in _TOKENS]


REQUESTS = Table(
    "requests",
    METADATA,
    # Its beginning in nanoseconds and a random number, both hexadecimal: so ids are in the order of time.
    Column("id", String(32), primary_key=True),
    Column("request_id", String(160), nullable=False),
    Column("trace_id", String(32), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    *_whose(),
    Column("surface", String(64), nullable=False),
    Column("model", String(256), nullable=False),
    Column("target", String(256), nullable=False),
    Column("status", Integer, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("error", String(64), nullable=False),
    Column("cache", String(16), nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("attempts", Integer, nullable=False),
    *_tokens(),
    # NULL where a price is not known: never 0.
    Column("cost", BigInteger),
    Column("estimated", Boolean, nullable=False),
    Column("duration_ms", Integer, nullable=False),
    # What people look for among millions.
    *[Index(f"requests_by_{name}", name, "id") for name in REQUEST_FILTERS],
)

ATTEMPTS = Table(
    "attempts",
    METADATA,
    Column("request", String(32), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("target", String(256), nullable=False),
    Column("reason", String(16), nullable=False),
    Column("status", Integer, nullable=False),
    Column("error", String(64), nullable=False),
    *_tokens(),
    Column("cost", BigInteger),
    Column("estimated", Boolean, nullable=False),
    Column("duration_ms", Integer, nullable=False),
)

# Sums by hour, kept up with every row: what boards and reports read, and what stays when single rows go.
HOURS = Table(
    "usage_by_hour",
    METADATA,
    Column("hour_ms", BigInteger, primary_key=True),
    *[Column(name, String(128), primary_key=True) for name in ("organisation", "team", "app", "key", "user")],
    Column("model", String(256), primary_key=True),
    Column("target", String(256), primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("failures", BigInteger, nullable=False),
    Column("unpriced", BigInteger, nullable=False),
    *_tokens(),
    Column("cost", BigInteger, nullable=False),
)

# Each row's hash is over its own words and the hash before: none can be changed or taken out unnoticed.
AUDIT = Table(
    "audit",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", String(256), nullable=False),
    Column("detail", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)
