"""Keys that are made while it runs, and the organisations, teams and apps made so: this process's copy of them.

The copy follows the database within half a second, so that a key that is revoked anywhere is refused everywhere within
one. While the database is gone the copy serves on for a set time, over restarts too: it is kept on disk, signed.
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
    """What is known of a key. `options` narrows what its app may do; times are milliseconds, 0 for never."""

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
    """An organisation, a team or an app. `options` is what the YAML would say of it, as JSON."""

    kind: str
    name: str
    options: str


# Of the copy on disk. It is one higher where a key that is read without a new field would be good for more.
COPY_FORM = 1


class Snapshot(msgspec.Struct, frozen=True):
    """All that the database says of who may call, as of `confirmed` (seconds since 1970).

    `version` counts the changes of callers; `form` is that of the copy on disk.
    """

    version: int
    confirmed: float
    keys: tuple[StoredKey, ...] = ()
    parties: tuple[Party, ...] = ()
    form: Annotated[int, msgspec.Meta(ge=1, le=COPY_FORM)] = COPY_FORM


def read_record(row: Mapping[Any, Any]) -> StoredKey | None:
    """A row of the database; None for one that somebody has made something else of: it is no key."""
    try:
        return msgspec.convert({str(name): value for name, value in row.items() if value is not None}, StoredKey)
    except msgspec.ValidationError:
        structlog.get_logger().error("the row of a key can't be read: it is refused", key=str(row["id"])[:16])
        return None


def make_key() -> tuple[str, str]:
    """(id, key): the id is the key's beginning and no secret; 256 bits of the rest are."""
    identity = "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))
    return identity, f"{PREFIX}{identity}-{secrets.token_urlsafe(32)}"


def id_of(key: str) -> str:
    """The id within a key of ours, well formed or not; empty for any other text."""
    if not key.startswith(PREFIX) or key[len(PREFIX) + _ID_LENGTH : len(PREFIX) + _ID_LENGTH + 1] != "-":
        return ""
    return key[len(PREFIX) : len(PREFIX) + _ID_LENGTH]


def digest_of(key: str, pepper: bytes) -> str:
    """What is kept of a key."""
    return hmac.new(pepper, key.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()


def mark_of(pepper: bytes) -> int:
    """What the database remembers of a pepper: enough to know it again, and nothing of use to anybody else."""
    return int.from_bytes(hmac.new(pepper, b"gatehouse pepper", hashlib.sha256).digest()[:6])


OTHER_PEPPER = (
    "the keys of this database were hashed with another pepper: set server.pepper to that one, or put its file back"
)


def read_pepper(path: Path) -> bytes:
    """The pepper in a file, which is made with the first one; only its owner may read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        # Written whole before it has its name: of several workers that start at once, the first one's holds.
        made = path.with_suffix(f".{secrets.token_hex(8)}")
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(made)
        made.unlink()
    if path.stat().st_mode & 0o077:
        structlog.get_logger().warning("others of this machine can read the pepper: chmod 600", path=str(path))
    text = path.read_text().strip()
    if len(text) < LEAST_PEPPER:
        raise ValueError(f"the pepper in {path} is too short: it must have {LEAST_PEPPER} characters or more")
    return text.encode()


class StoredKeys:
    """The copy of one process."""

    def __init__(
        self,
        database: Database,
        pepper: bytes,
        cache: Path,
        max_age_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`cache` is the copy on disk; `max_age_s` is how long keys are taken that nobody can confirm."""
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
        self._wrong = False
        self._unreadable = 0
        self.changed = 0
        """Counts the copies: whoever keeps something made from one sees that it is old."""

    async def start(self) -> None:
        """Reads the first copy, from the database or the disk, and follows. Raises `ValueError` for another pepper."""
        await self.refresh()
        if self._wrong:
            raise ValueError(self._problem)
        if self._snapshot.version < 0:
            self._load()
        self._polling = asyncio.create_task(self._poll())

    async def close(self) -> None:
        """Ends it."""
        if self._polling is not None:
            self._polling.cancel()

    @property
    def parties(self) -> tuple[Party, ...]:
        """The organisations, teams and apps."""
        return self._snapshot.parties

    def of_app(self, app: str) -> list[StoredKey]:
        """The keys of an app, good or not."""
        return [each for each in self._by_id.values() if each.app == app]

    @property
    def unconfirmed_s(self) -> float:
        """How long nobody has confirmed them; 0 while somebody does."""
        return self._clock() - self._snapshot.confirmed if self._problem else 0.0

    @property
    def unreadable(self) -> int:
        """How many rows of keys can't be read: they stay in the database, and their keys are refused."""
        return self._unreadable

    @property
    def problem(self) -> str:
        """Why the database can't be asked; empty where it can."""
        return self._problem

    @property
    def expired(self) -> bool:
        """Whether nobody has confirmed them for longer than they are taken unconfirmed."""
        return self._clock() - self._snapshot.confirmed > self._max_age_s

    def status(self) -> str:
        """In a line for people."""
        if self._problem:
            age = write_duration(round(self.unconfirmed_s))
            known = f"keys are as of {age} ago" if self._snapshot.confirmed else "no key is known"
            return f"the database can't be asked ({self._problem}); {known}"
        refused = f", {self._unreadable} that can't be read and are refused" if self._unreadable else ""
        return f"ready, {len(self._by_id)} keys{refused}"

    def find(self, key: str) -> StoredKey:
        """The record of a key that is good now. Raises `Unauthenticated`, or `Unavailable` where nobody knows."""
        self.check_age()
        identity = id_of(key)
        record = self._by_id.get(identity)
        # A key that is not there costs the same time as one that is.
        digest = digest_of(key, self._pepper)
        kept = record.digest if record is not None else "0" * 64
        if not hmac.compare_digest(digest.encode(), kept.encode("utf-8", "replace")) or record is None:
            if record is None and identity and self._problem:
                # It may have been made a moment before the database went.
                raise Unavailable("The key can't be checked: the database is out of reach", retry_after_s=5.0)
            raise Unauthenticated("The API key is not known here")
        now_ms = self._clock() * 1000
        if record.revoked_ms and record.revoked_ms <= now_ms:
            raise Unauthenticated("The API key has been revoked")
        if record.expires_ms and record.expires_ms <= now_ms:
            raise Unauthenticated("The API key has expired")
        return record

    def check_age(self) -> None:
        """Raises `Unavailable` where the copy is too old to tell who may call."""
        if self.expired:
            raise Unavailable("Keys can't be checked: the database is out of reach", retry_after_s=5.0)

    async def refresh(self) -> bool:
        """Looks at the database now; False where it can't be reached."""
        try:
            async with asyncio.timeout(5.0):
                await self._database.prepare()
                version, mark = await self._marks()
                if mark not in (None, mark_of(self._pepper)):
                    raise ValueError(OTHER_PEPPER)
                if version != self._snapshot.version:
                    await self._read(version)
        except Exception as error:
            # What time does not mend is said in full.
            self._wrong = isinstance(error, SchemaTooNew) or str(error) == OTHER_PEPPER
            problem = str(error) if self._wrong else type(error).__name__
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
        """The version, and the mark of the pepper that keys were hashed with; None before the first key."""
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
        # Each process writes its own file first: the last one wins whole.
        mine = self._cache.with_suffix(f".{os.getpid()}")
        try:
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(signature + b"\n" + body)
            mine.replace(self._cache)
        except OSError as error:
            structlog.get_logger().warning("the copy of the keys can't be kept", problem=str(error.strerror))

    def _load(self) -> None:
        try:
            signature, _, body = self._cache.read_bytes().partition(b"\n")
            expected = hmac.new(self._pepper, b"keys" + body, hashlib.sha256).hexdigest().encode()
            if not hmac.compare_digest(signature, expected):
                structlog.get_logger().error("the copy of the keys on disk is not signed by this pepper, and not used")
                return
            self._take(msgspec.json.decode(body, type=Snapshot))
        except OSError:
            return
        except BROKEN:
            # Signed by us, so of a later version. The file stays until the database has given another.
            structlog.get_logger().error("the copy of the keys on disk is of another version, and not used")
