"""The tables. Times are milliseconds since 1970; money is in trillionths of a dollar, so that sums are exact.

Those of the ledger have the columns of the structs in `access.ledger.entry`. `version` is that of the code that wrote a
row: it tells a column's default from a value. Sums by hour have none, for rows of several versions are in one sum.
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
    """Of rows that are written before there was one, and by replicas that know none yet: 1."""
    return Column("version", SmallInteger, nullable=False, server_default="1")


def columns_of(row: type[msgspec.Struct], key: Sequence[str] = ()) -> list[Column[Any]]:
    """A column for each field of a row. What has a table of its own is a number here: how many there are.

    A field's default is the column's, so that replicas of a version before it can still add rows.
    """
    info = type_info(row)
    assert isinstance(info, StructType)
    made: list[Column[Any]] = []
    for field in info.fields:
        if field.name == "version":
            made.append(version_column())
            continue
        nullable = False
        kind: Any = field.type
        if isinstance(kind, UnionType):
            nullable = True
            (kind,) = (each for each in kind.types if not isinstance(each, NoneType))
        default: Any = None
        if not field.required and not nullable and not isinstance(kind, VarTupleType):
            default = false() if field.default is False else str(field.default)
        made.append(
            Column(
                field.name,
                _type_of(kind),
                primary_key=field.name in key,
                nullable=nullable,
                server_default=default,
            )
        )
    return made


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
    version_column(),
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
    version_column(),
    Index("keys_by_app", "app"),
)

REQUESTS = Table(
    "requests",
    METADATA,
    # The id is its beginning in nanoseconds and a random number, both hexadecimal: so ids are in the order of time. The
    # cost is NULL where a price is not known: never 0.
    *columns_of(LedgerEntry, ("id",)),
    # What people look for among millions.
    *[Index(f"requests_by_{name}", name, "id") for name in REQUEST_FILTERS],
)

ATTEMPTS = Table(
    "attempts",
    METADATA,
    Column("request", String(32), primary_key=True),
    *columns_of(AttemptEntry, ("number",)),
)

# Sums by hour, kept up with every row: what boards and reports read, and what stays when single rows go.
HOURS = Table(
    "usage_by_hour",
    METADATA,
    Column("hour_ms", BigInteger, primary_key=True),
    *[Column(name, String(lengths(LedgerEntry)[name]), primary_key=True) for name in WHOSE],
    *[Column(name, BigInteger, nullable=False) for name in COUNTS],
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
    version_column(),
)
