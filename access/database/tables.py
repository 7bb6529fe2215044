"""The tables. Times are milliseconds since 1970; money is in trillionths of a dollar, so that sums are exact.

The ledger's tables have the columns of the structs in `access.ledger.entry`. `version` is the version of the code that
wrote a row: it distinguishes a default from a value. Hourly sums have none, because a sum mixes rows of all versions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.inspect import BoolType, IntType, Metadata, NoneType, StructType, UnionType, VarTupleType, type_info
from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, SmallInteger, String, Table, Text, false

from access.ledger.entry import COUNTS, REQUEST_FILTERS, WHOSE, AttemptEntry, LedgerEntry, lengths

METADATA = MetaData()
_MOST_OF_INTEGER = 2**31 - 1


def version_column() -> Column[int]:
    """The version of a row; 1 for rows of versions that did not have the column."""
    return Column("version", SmallInteger, nullable=False, server_default="1")


def columns_of(row: type[msgspec.Struct], key: Sequence[str] = ()) -> list[Column[Any]]:
    """A column for each field of a row. A field whose rows have their own table is here the number of rows.

    The field's default is the column's default, so that replicas of an older version can still add rows.
    """
    info = type_info(row)
    assert isinstance(info, StructType)
    columns: list[Column[Any]] = []
    for field in info.fields:
        if field.name == "version":
            columns.append(version_column())
            continue
        nullable = False
        kind: Any = field.type
        if isinstance(kind, UnionType):
            nullable = True
            (kind,) = (each for each in kind.types if not isinstance(each, NoneType))
        default: Any = None
        if not field.required and not nullable and not isinstance(kind, VarTupleType):
            default = false() if field.default is False else str(field.default)
        columns.append(
            Column(
                field.name,
                _type_of(kind),
                primary_key=field.name in key,
                nullable=nullable,
                server_default=default,
            )
        )
    return columns


def _type_of(kind: Any) -> Any:
    if isinstance(kind, Metadata):
        return String((kind.extra or {})["length"])
    if isinstance(kind, BoolType):
        return Boolean
    if isinstance(kind, VarTupleType):
        return Integer
    if isinstance(kind, IntType):
        return Integer if kind.le is not None and kind.le <= _MOST_OF_INTEGER else BigInteger
    return String(kind.max_length)


# Every change of callers increments a value here: replicas poll it to see whether their copy is outdated.
META = Table(
    "meta", METADATA, Column("name", String(64), primary_key=True), Column("value", BigInteger, nullable=False)
)

# Organisations, teams and apps that were created at run time; `options` has the options of the YAML as JSON.
PARTIES = Table(
    "parties",
    METADATA,
    Column("kind", String(16), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("options", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    version_column(),
)

KEYS = Table(
    "keys",
    METADATA,
    Column("id", String(16), primary_key=True),
    # HMAC-SHA256 of the key with the pepper, hexadecimal. The key itself is not stored.
    Column("digest", String(64), nullable=False),
    Column("app", String(128), nullable=False),
    Column("name", String(128), nullable=False),
    Column("options", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger),
    Column("revoked_ms", BigInteger),
    Column("replaces", String(16)),
    version_column(),
    Index("keys_by_app", "app"),
)

REQUESTS = Table(
    "requests",
    METADATA,
    # The id is the start time in nanoseconds and a random number, both hexadecimal, so ids sort by time. An unknown
    # cost is NULL, never 0.
    *columns_of(LedgerEntry, ("id",)),
    # Columns that people filter by.
    *[Index(f"requests_by_{name}", name, "id") for name in REQUEST_FILTERS],
)

ATTEMPTS = Table(
    "attempts",
    METADATA,
    Column("request", String(32), primary_key=True),
    *columns_of(AttemptEntry, ("number",)),
)

# Hourly sums, updated with every row: dashboards and reports read them, and they stay when single rows are removed.
HOURS = Table(
    "usage_by_hour",
    METADATA,
    Column("hour_ms", BigInteger, primary_key=True),
    *[Column(name, String(lengths(LedgerEntry)[name]), primary_key=True) for name in WHOSE],
    *[Column(name, BigInteger, nullable=False) for name in COUNTS],
    Column("cost", BigInteger, nullable=False),
)

# Each row's hash covers its own values and the previous hash, so a changed or removed row is detected.
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
    version_column(),
)
