"""Writes callers to the database: keys, apps, teams and organisations, every change with an audit row.

Each change increments the version that all replicas poll.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import delete, insert, select, update

from access.callers.errors import Conflict, NotFound
from access.callers.stored_keys import OTHER_PEPPER, PREFIX, Party, StoredKey, digest_of, make_key, mark_of, read_record
from access.database.tables import KEYS, META, PARTIES
from access.ledger.entry import VERSION
from config.secret import masked

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from access.database.audit import Audit
    from access.database.store import Database

DEADLINE_S = 10.0
MOST_OVERLAP_S = 90 * 86_400


class Registry:
    """Changes to keys, apps, teams and organisations. `actor` is the author of the change, for the audit log."""

    def __init__(self, database: Database, pepper: bytes, audit: Audit, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._pepper = pepper
        self._audit = audit
        self._clock = clock

    async def create_key(
        self, actor: str, app: str, name: str = "", options: str = "{}", expires_ms: int = 0, *, declared: bool = True
    ) -> tuple[StoredKey, str]:
        """Returns the record and the key, which can't be read again. Raises `NotFound` if the app is gone.

        `declared` apps are in the configuration; others must be in the database at that moment.
        """
        async with self._change() as connection:
            if not declared and await self._party(connection, "app", app) is None:
                raise NotFound(f"the app {app} no longer exists")
            record, key = await self._insert(
                connection, StoredKey("", "", app, name[:128], options, expires_ms=expires_ms)
            )
            detail = {"app": app, "name": record.name, "options": options, "expires_ms": expires_ms}
            await self._audit.append(connection, (actor, "key.create", record.id), detail)
        return record, key

    async def rotate_key(
        self, actor: str, identity: str, overlap_s: float, expires_ms: int = 0
    ) -> tuple[StoredKey, str]:
        """Replaces a key, which stays valid for `overlap_s`; by default the new key expires when the old one would.

        Raises `NotFound`, `Conflict`, `ValueError`.
        """
        if not 0 <= overlap_s <= MOST_OVERLAP_S:
            raise ValueError("the overlap must be from 0 s to 90 days")
        async with self._change() as connection:
            before = await self._key(connection, identity)
            identity = before.id
            now_ms = int(self._clock() * 1000)
            if before.revoked_ms and before.revoked_ms <= now_ms:
                raise Conflict("this key is revoked: create a new one")
            if before.expires_ms and before.expires_ms <= now_ms:
                raise Conflict("this key has expired: create a new one")
            successor = await self._successor(connection, identity)
            if successor:
                raise Conflict(f"this key was already rotated: rotate {successor}, which replaced it")
            ends_ms = now_ms + int(overlap_s * 1000)
            ends_ms = min(ends_ms, before.expires_ms) if before.expires_ms else ends_ms
            await connection.execute(update(KEYS).where(KEYS.c.id == identity).values(expires_ms=ends_ms))
            successor_record = msgspec.structs.replace(
                before, expires_ms=expires_ms or before.expires_ms, replaces=identity
            )
            record, key = await self._insert(connection, successor_record)
            detail = {"new": record.id, "old_ends_ms": ends_ms}
            await self._audit.append(connection, (actor, "key.rotate", identity), detail)
        return record, key

    async def revoke_key(self, actor: str, identity: str) -> None:
        """Revokes a key at once. Raises `NotFound`."""
        async with self._change() as connection:
            before = await self._key(connection, identity)
            identity = before.id
            now_ms = int(self._clock() * 1000)
            if not before.revoked_ms or before.revoked_ms > now_ms:
                await connection.execute(update(KEYS).where(KEYS.c.id == identity).values(revoked_ms=now_ms))
            await self._audit.append(connection, (actor, "key.revoke", identity))

    async def keys(self, app: str = "") -> list[StoredKey]:
        """All keys, or those of an app, the newest first."""
        await self._database.prepare()
        query = select(KEYS).order_by(KEYS.c.created_ms.desc(), KEYS.c.id)
        async with asyncio.timeout(DEADLINE_S), self._database.engine.connect() as connection:
            found = await connection.execute(query.where(KEYS.c.app == _plain(app)) if app else query)
            records = [read_record(row) for row in found.mappings()]
        return [each for each in records if each is not None]

    async def put_party(self, actor: str, kind: str, name: str, options: str, *, new: bool) -> None:
        """Adds an organisation, team or app, or changes one. Raises `Conflict`, `NotFound`."""
        async with self._change() as connection:
            known = await self._party(connection, kind, name)
            if new and known is not None:
                raise Conflict(f"the {kind} {name} already exists")
            if not new and known is None:
                raise NotFound(f"there is no {kind} {name} in the database")
            if new:
                created_ms = int(self._clock() * 1000)
                row = {"kind": kind, "name": name, "options": options, "created_ms": created_ms, "version": VERSION}
                await connection.execute(insert(PARTIES), [row])
            else:
                where = (PARTIES.c.kind == kind, PARTIES.c.name == name)
                await connection.execute(update(PARTIES).where(*where).values(options=options, version=VERSION))
            detail = {
                "options": _masked_options(options),
                "before": _masked_options(known.options) if known is not None else None,
            }
            await self._audit.append(connection, (actor, f"{kind}.{'create' if new else 'change'}", name), detail)

    async def remove_party(self, actor: str, kind: str, name: str) -> None:
        """Removes an entry, and revokes the keys of a removed app. Raises `NotFound`."""
        async with self._change() as connection:
            if await self._party(connection, kind, name) is None:
                raise NotFound(f"there is no {kind} {name} in the database")
            await connection.execute(delete(PARTIES).where(PARTIES.c.kind == kind, PARTIES.c.name == name))
            if kind == "app":
                mine = (KEYS.c.app == name, KEYS.c.revoked_ms.is_(None))
                await connection.execute(update(KEYS).where(*mine).values(revoked_ms=int(self._clock() * 1000)))
            await self._audit.append(connection, (actor, f"{kind}.remove", name))

    async def parties(self, kind: str) -> list[Party]:
        """All entries of a kind, sorted by name."""
        await self._database.prepare()
        query = select(PARTIES.c.kind, PARTIES.c.name, PARTIES.c.options).where(PARTIES.c.kind == kind)
        async with asyncio.timeout(DEADLINE_S), self._database.engine.connect() as connection:
            return [Party(*row) for row in await connection.execute(query.order_by(PARTIES.c.name))]

    @contextlib.asynccontextmanager
    async def _change(self) -> AsyncIterator[AsyncConnection]:
        """One exclusive transaction; increments the version that replicas poll."""
        await self._database.prepare()
        async with asyncio.timeout(DEADLINE_S), self._database.engine.begin() as connection:
            await self._database.lock(connection)
            yield connection
            found = await connection.execute(
                update(META).where(META.c.name == "callers").values(value=META.c.value + 1)
            )
            if found.rowcount == 0:
                await connection.execute(insert(META), [{"name": "callers", "value": 1}])

    async def _insert(self, connection: AsyncConnection, made: StoredKey) -> tuple[StoredKey, str]:
        mark = mark_of(self._pepper)
        known = (await connection.execute(select(META.c.value).where(META.c.name == "pepper"))).scalar()
        if known is None:
            await connection.execute(insert(META), [{"name": "pepper", "value": mark}])
        elif known != mark:
            raise Conflict(OTHER_PEPPER)
        identity, key = make_key()
        row: dict[str, Any] = {
            "id": identity,
            "digest": digest_of(key, self._pepper),
            "app": made.app,
            "name": made.name,
            "options": made.options,
            "created_ms": int(self._clock() * 1000),
            "expires_ms": made.expires_ms or None,
            "revoked_ms": None,
            "replaces": made.replaces or None,
            "version": VERSION,
        }
        await connection.execute(insert(KEYS), [row])
        return msgspec.structs.replace(made, id=identity, digest=row["digest"], created_ms=row["created_ms"]), key

    @staticmethod
    async def _key(connection: AsyncConnection, identity: str) -> StoredKey:
        identity = identity.removeprefix(PREFIX)
        row = (await connection.execute(select(KEYS).where(KEYS.c.id == _plain(identity)[:16]))).mappings().first()
        record = read_record(row) if row is not None else None
        if record is None:
            raise NotFound("the key does not exist")
        return record

    @staticmethod
    async def _successor(connection: AsyncConnection, identity: str) -> str:
        """The key that replaced a key and is not revoked; empty if there is none."""
        query = select(KEYS.c.id).where(KEYS.c.replaces == identity, KEYS.c.revoked_ms.is_(None))
        found = (await connection.execute(query)).first()
        return str(found.id) if found is not None else ""

    @staticmethod
    async def _party(connection: AsyncConnection, kind: str, name: str) -> Party | None:
        query = select(PARTIES.c.kind, PARTIES.c.name, PARTIES.c.options)
        row = (await connection.execute(query.where(PARTIES.c.kind == kind, PARTIES.c.name == _plain(name)))).first()
        return Party(*row) if row is not None else None


def _masked_options(options: str) -> Any:
    """The options for the audit log, with secrets masked."""
    try:
        return masked(json.loads(options))
    except ValueError:
        return "unreadable"


def _plain(name: str) -> str:
    """The name for a query: databases refuse NUL and lone surrogates, and no stored name has them."""
    return name.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
