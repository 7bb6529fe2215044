"""This process's copy of the database's keys, organisations, teams and apps.

The copy follows the database within half a second, so every process refuses a revoked key within a second. While the
database is unreachable the copy stays valid for a configured time, also after a restart: it is stored on disk, signed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import structlog

from access.database.problems import SchemaTooNew
from access.ledger.lines import BROKEN
from config.sections import LEAST_PEPPER
from contract.errors import Unauthenticated, Unavailable
from contract.units import write_duration

if TYPE_CHECKING:
    from access.database.store import Database

POLL_S = 0.5
PREFIX = "gh-"
_ID_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
_ID_LENGTH = 10


class StoredKey(msgspec.Struct, frozen=True):
    """The record of a key. `options` restricts the permissions of its app; times are milliseconds, 0 for never."""

    id: str
    digest: str
    app: str
    name: str = ""
    options: str = "{}"
    created_ms: int = 0
    expires_ms: int = 0
    revoked_ms: int = 0
    replaces: str = ""


class Party(msgspec.Struct, frozen=True):
    """An organisation, a team or an app. `options` has the options of the YAML as JSON."""

    kind: str
    name: str
    options: str


# The format of the copy on disk. Increment it if a key that is read without a new field would get more permissions.
COPY_FORM = 1


class Snapshot(msgspec.Struct, frozen=True):
    """All callers in the database, as of `confirmed` (seconds since 1970).

    `version` counts the changes of callers; `form` is the format of the copy on disk.
    """

    version: int
    confirmed: float
    keys: tuple[StoredKey, ...] = ()
    parties: tuple[Party, ...] = ()
    form: Annotated[int, msgspec.Meta(ge=1, le=COPY_FORM)] = COPY_FORM


def read_record(row: Mapping[Any, Any]) -> StoredKey | None:
    """The record of a database row; None if the row is damaged, so that its key is refused."""
    try:
        return msgspec.convert({str(name): value for name, value in row.items() if value is not None}, StoredKey)
    except msgspec.ValidationError:
        structlog.get_logger().error("the row of a key can't be read: the key is refused", key=str(row["id"])[:16])
        return None


def make_key() -> tuple[str, str]:
    """Returns (id, key). The key begins with the id, which is not secret; the rest has 256 random bits."""
    identity = "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))
    return identity, f"{PREFIX}{identity}-{secrets.token_urlsafe(32)}"


def id_of(key: str) -> str:
    """The id in a Gatehouse key, which may otherwise be malformed; empty for any other text."""
    if not key.startswith(PREFIX) or key[len(PREFIX) + _ID_LENGTH : len(PREFIX) + _ID_LENGTH + 1] != "-":
        return ""
    return key[len(PREFIX) : len(PREFIX) + _ID_LENGTH]


def digest_of(key: str, pepper: bytes) -> str:
    """The HMAC of a key, which is stored instead of the key."""
    return hmac.new(pepper, key.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()


def mark_of(pepper: bytes) -> int:
    """A fingerprint of a pepper, for the database: it recognises the pepper, and is useless to an attacker."""
    return int.from_bytes(hmac.new(pepper, b"gatehouse pepper", hashlib.sha256).digest()[:6])


OTHER_PEPPER = "the keys of this database were hashed with another pepper: set server.pepper to it, or restore its file"


def read_pepper(path: Path) -> bytes:
    """Reads the pepper from a file; creates the file, readable only by its owner, if it does not exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        # Written completely, then linked to its name: if several workers start at once, the first one's file wins.
        temporary = path.with_suffix(f".{secrets.token_hex(8)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(temporary)
        temporary.unlink()
    if path.stat().st_mode & 0o077:
        structlog.get_logger().warning("other users of this machine can read the pepper: run chmod 600", path=str(path))
    text = path.read_text().strip()
    if len(text) < LEAST_PEPPER:
        raise ValueError(f"the pepper in {path} is too short: it must have {LEAST_PEPPER} characters or more")
    return text.encode()


class StoredKeys:
    """One process's copy of keys, organisations, teams and apps."""

    def __init__(
        self,
        database: Database,
        pepper: bytes,
        cache: Path,
        max_age_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`cache` is the copy on disk; `max_age_s` is how long it is valid while the database is unreachable."""
        self._database = database
        self._pepper = pepper
        self._cache = cache
        self._max_age_s = max_age_s
        self._clock = clock
        self._snapshot = Snapshot(-1, 0.0)
        self._by_id: dict[str, StoredKey] = {}
        self._polling: asyncio.Task[None] | None = None
        self._saved = 0.0
        self._problem = ""
        self._needs_operator = False
        self._unreadable = 0
        self.changed = 0
        """Increments with each new copy, so that users of a copy notice when it is outdated."""

    async def start(self) -> None:
        """Loads a copy from the database or the disk, and starts polling. Raises `ValueError` for another pepper."""
        await self.refresh()
        if self._needs_operator:
            raise ValueError(self._problem)
        if self._snapshot.version < 0:
            self._load()
        self._polling = asyncio.create_task(self._poll())

    async def close(self) -> None:
        """Stops polling."""
        if self._polling is not None:
            self._polling.cancel()

    @property
    def parties(self) -> tuple[Party, ...]:
        """The organisations, teams and apps."""
        return self._snapshot.parties

    def of_app(self, app: str) -> list[StoredKey]:
        """The keys of an app, valid or not."""
        return [each for each in self._by_id.values() if each.app == app]

    @property
    def unconfirmed_s(self) -> float:
        """Seconds since the database last confirmed the copy; 0 while it is reachable."""
        return self._clock() - self._snapshot.confirmed if self._problem else 0.0

    @property
    def unreadable(self) -> int:
        """How many rows of keys can't be read: they stay in the database, but their keys are refused."""
        return self._unreadable

    @property
    def problem(self) -> str:
        """Why the database can't be read; empty if it can."""
        return self._problem

    @property
    def expired(self) -> bool:
        """Whether the copy is older than `max_age_s`."""
        return self._clock() - self._snapshot.confirmed > self._max_age_s

    def status(self) -> str:
        """The status as one line for people."""
        if self._problem:
            age = write_duration(round(self.unconfirmed_s))
            known = f"the keys were last confirmed {age} ago" if self._snapshot.confirmed else "no key is known"
            return f"the database can't be read ({self._problem}); {known}"
        refused = f", {self._unreadable} unreadable and refused" if self._unreadable else ""
        return f"ready, {len(self._by_id)} keys{refused}"

    def find(self, key: str) -> StoredKey:
        """The record of a valid key. Raises `Unauthenticated`, or `Unavailable` if it can't be checked now."""
        self.check_age()
        identity = id_of(key)
        record = self._by_id.get(identity)
        # An unknown key takes the same time as a known one.
        digest = digest_of(key, self._pepper)
        stored = record.digest if record is not None else "0" * 64
        if not hmac.compare_digest(digest.encode(), stored.encode("utf-8", "replace")) or record is None:
            if record is None and identity and self._problem:
                # It may have been created just before the database became unreachable.
                raise Unavailable("The key can't be checked: the database is unreachable", retry_after_s=5.0)
            raise Unauthenticated("The API key is unknown")
        now_ms = self._clock() * 1000
        if record.revoked_ms and record.revoked_ms <= now_ms:
            raise Unauthenticated("The API key has been revoked")
        if record.expires_ms and record.expires_ms <= now_ms:
            raise Unauthenticated("The API key has expired")
        return record

    def check_age(self) -> None:
        """Raises `Unavailable` if the copy is too old."""
        if self.expired:
            raise Unavailable("Keys can't be checked: the database is unreachable", retry_after_s=5.0)

    async def refresh(self) -> bool:
        """Updates the copy from the database; returns False if the database is unreachable."""
        try:
            async with asyncio.timeout(5.0):
                await self._database.prepare()
                version, mark = await self._marks()
                if mark not in (None, mark_of(self._pepper)):
                    raise ValueError(OTHER_PEPPER)
                if version != self._snapshot.version:
                    await self._read(version)
        except Exception as error:
            # Problems that need an operator get their full message.
            self._needs_operator = isinstance(error, SchemaTooNew) or str(error) == OTHER_PEPPER
            problem = str(error) if self._needs_operator else type(error).__name__
            if not self._problem:
                structlog.get_logger().error("keys can't be confirmed", problem=problem)
            self._problem = problem
            return False
        if self._problem:
            structlog.get_logger().info("keys are confirmed again")
        self._problem = ""
        self._snapshot = msgspec.structs.replace(self._snapshot, confirmed=self._clock())
        if self._clock() - self._saved > self._max_age_s / 10:
            await asyncio.to_thread(self._save)
        return True

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            await self.refresh()

    async def _marks(self) -> tuple[int, int | None]:
        """The version, and the fingerprint of the keys' pepper; None before the first key."""
        from sqlalchemy import select

        from access.database.tables import META

        async with self._database.engine.connect() as connection:
            found = {name: int(value) for name, value in await connection.execute(select(META.c.name, META.c.value))}
        return found.get("callers", 0), found.get("pepper")

    async def _read(self, version: int) -> None:
        from sqlalchemy import select

        from access.database.tables import KEYS, PARTIES

        async with self._database.engine.connect() as connection:
            keys = [read_record(row) for row in (await connection.execute(select(KEYS))).mappings()]
            rows = await connection.execute(select(PARTIES.c.kind, PARTIES.c.name, PARTIES.c.options))
            parties = tuple(Party(str(kind), str(name), str(options)) for kind, name, options in rows)
        self._unreadable = keys.count(None)
        self._take(Snapshot(version, self._clock(), tuple(each for each in keys if each is not None), parties))
        await asyncio.to_thread(self._save)

    def _take(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._by_id = {each.id: each for each in snapshot.keys}
        self.changed += 1

    def _save(self) -> None:
        body = msgspec.json.encode(self._snapshot)
        signature = hmac.new(self._pepper, b"keys" + body, hashlib.sha256).hexdigest().encode()
        self._saved = self._clock()
        # Each process writes its own file, then renames it: the last one wins, and the file is always complete.
        temporary = self._cache.with_suffix(f".{os.getpid()}")
        try:
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(signature + b"\n" + body)
            temporary.replace(self._cache)
        except OSError as error:
            structlog.get_logger().warning("the copy of the keys can't be written", problem=str(error.strerror))

    def _load(self) -> None:
        try:
            signature, _, body = self._cache.read_bytes().partition(b"\n")
            expected = hmac.new(self._pepper, b"keys" + body, hashlib.sha256).hexdigest().encode()
            if not hmac.compare_digest(signature, expected):
                structlog.get_logger().error("the copy of the keys on disk is not signed with this pepper: ignored")
                return
            self._take(msgspec.json.decode(body, type=Snapshot))
        except OSError:
            return
        except BROKEN:
            # The signature is valid, so a later version wrote it. The file stays until the next copy replaces it.
            structlog.get_logger().error("the copy of the keys on disk was written by another version and is ignored")
