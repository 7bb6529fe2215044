"""The audit log: who did what to which object. A hash chain reveals rows that were changed or removed.

The chain has no secret: anyone who may write to the database can rebuild it. A head that is stored elsewhere reveals a
rebuilt chain, and also a truncated one, which the chain alone can't show.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import func, insert, select

from access.database.tables import AUDIT
from access.ledger.entry import VERSION

if TYPE_CHECKING:
    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from access.database.store import Database

FIRST = "0" * 64
SLICE = 1000
DEADLINE_S = 10.0
MOST_ROWS = 1000
_HEAD = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})")
_LARGEST = 2**31 - 1
_LONGEST = {"actor": 128, "action": 64, "subject": 256}
_COLUMNS = (
    AUDIT.c.number, AUDIT.c.at_ms, AUDIT.c.actor, AUDIT.c.action, AUDIT.c.subject, AUDIT.c.detail, AUDIT.c.previous,
    AUDIT.c.hash,
)  # fmt: skip


_WHAT = ("actor", "action", "subject")


class AuditRow(msgspec.Struct, frozen=True):
    """One action. `detail` is plain text if it was tampered with and is no longer JSON."""

    number: int
    at_ms: int
    actor: str
    action: str
    subject: str
    detail: Any
    previous: str
    hash: str


class AuditCheck(msgspec.Struct, frozen=True):
    """The number of rows, and the "number:hash" of the last one; `wrong` is the first wrong row, 0 if none.

    `why` is "changed", "missing" or "out of order".
    """

    count: int
    head: str
    wrong: int = 0
    why: str = ""


class Audit:
    """The audit log, in a database that other processes also write to."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        # A lock in the process, so that waiting writers hold no connection.
        self._writing = asyncio.Lock()

    async def record(self, actor: str, action: str, subject: str, detail: Mapping[str, Any] | None = None) -> int:
        """Appends a row and returns its number. Raises `TypeError` or `ValueError` for a detail that is not JSON.

        The detail must not contain a secret.
        """
        await self._database.prepare()
        async with self._writing, asyncio.timeout(DEADLINE_S), self._database.engine.begin() as connection:
            await self._database.lock(connection)
            return await self.append(connection, (actor, action, subject), detail)

    async def append(
        self, connection: AsyncConnection, what: tuple[str, str, str], detail: Mapping[str, Any] | None = None
    ) -> int:
        """Like `record`, within the transaction of the action, which holds the lock: both happen, or neither.

        `what` is actor, action and subject.
        """
        texts = (*(_short(name, text) for name, text in zip(_WHAT, what, strict=True)), _canonical(detail or {}))
        number, previous = await _last(connection)
        values = (number + 1, int(self._clock() * 1000), *texts, previous)
        row = dict(zip((column.name for column in _COLUMNS), (*values, _hash(values)), strict=True))
        await connection.execute(insert(AUDIT), [{**row, "version": VERSION}])
        return number + 1

    async def rows(self, *, before: int | None = None, limit: int = 100) -> list[AuditRow]:
        """Rows, the newest first; `before` is the last number of the previous page."""
        statement = select(*_COLUMNS).order_by(AUDIT.c.number.desc()).limit(max(1, min(limit, MOST_ROWS)))
        if before is not None:
            statement = statement.where(AUDIT.c.number < max(0, min(before, _LARGEST)))
        await self._database.prepare()
        async with self._database.engine.connect() as connection:
            found = (await connection.execute(statement)).all()
        return [AuditRow(*row[:5], _parsed(row.detail), *row[6:]) for row in found]

    async def verify(self, head: str = "") -> AuditCheck:
        """Checks the complete chain. With an earlier head it also detects a truncated and a rebuilt chain.

        Raises `ValueError` for a malformed head.
        """
        known = _read_head(head)
        count, previous = 0, FIRST
        await self._database.prepare()
        async with self._database.engine.connect() as connection:
            statement = select(*_COLUMNS).order_by(AUDIT.c.number).limit(SLICE)
            found: Sequence[Any] = (await connection.execute(statement)).all()
            while found:
                for row in found:
                    why = _why(row, count + 1, previous)
                    if not why and row.number == known[0] and row.hash != known[1]:
                        why = "changed"
                    if why:
                        wrong = row.number if why == "out of order" else count + 1
                        return await _wrong(connection, wrong, why)
                    count, previous = row.number, row.hash
                found = (await connection.execute(statement.where(AUDIT.c.number > count))).all()
        missing = known[0] > count
        return AuditCheck(count, f"{count}:{previous}", count + 1 if missing else 0, "missing" if missing else "")


async def _last(connection: AsyncConnection) -> tuple[int, str]:
    statement = select(AUDIT.c.number, AUDIT.c.hash).order_by(AUDIT.c.number.desc()).limit(1)
    row = (await connection.execute(statement)).first()
    return (row.number, row.hash) if row is not None else (0, FIRST)


async def _wrong(connection: AsyncConnection, number: int, why: str) -> AuditCheck:
    count = (await connection.execute(select(func.count()).select_from(AUDIT))).scalar_one()
    last, digest = await _last(connection)
    return AuditCheck(count, f"{last}:{digest}", number, why)


def _why(row: Row[Any], number: int, previous: str) -> str:
    """The error of a row at the place of `number`, after a row with the hash `previous`; empty if none."""
    if row.number != number:
        return "missing" if row.number > number else "out of order"
    if _hash(row[:7]) == row.hash:
        return "" if row.previous == previous else "out of order"
    # A row moved from another place fits neither the row before it nor its own hash.
    moved = row.previous != previous and _hash((*row[:6], previous)) != row.hash
    return "out of order" if moved else "changed"


def _hash(values: Sequence[Any]) -> str:
    """The hash over number, at_ms, actor, action, subject, detail (as stored) and the previous hash."""
    return hashlib.sha256(_canonical(list(values)).encode()).hexdigest()


def _canonical(value: Any) -> str:
    # Only a row that was tampered with has values that JSON lacks: bytes, in SQLite.
    default = repr if isinstance(value, list) else None
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=default)


def _parsed(detail: Any) -> Any:
    try:
        return json.loads(detail)
    except (ValueError, TypeError, RecursionError):
        return detail


def _read_head(head: str) -> tuple[int, str]:
    if not head:
        return 0, FIRST
    match = _HEAD.fullmatch(head.strip())
    if match is None:
        raise ValueError('the head must be "number:hash", as an earlier check printed it')
    return int(match[1]), match[2]


def _short(column: str, text: str) -> str:
    """The text, cut to the column's length and without NUL, which PostgreSQL refuses."""
    return text.replace("\0", "")[: _LONGEST[column]].encode("utf-8", "replace").decode()
