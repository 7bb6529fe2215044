"""The connection to the database, and the migration of its tables."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from access.database.problems import SchemaTooNew
from access.ledger.entry import VERSION

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

# One module each in `migrations/versions`.
STEPS = tuple(f"{number:04}" for number in range(1, VERSION + 1))
HEAD = STEPS[-1]
DEADLINE_S = 5.0
_LOCK = 0x6761_7465
MIGRATIONS = Path(__file__).parent / "migrations"


class Database:
    """One connection pool. No request waits for the database."""

    def __init__(self, url: str) -> None:
        """`sqlite:///path` or `postgresql://...`. Raises `ValueError` if the driver is not installed."""
        self.is_sqlite = url.startswith("sqlite")
        if self.is_sqlite:
            path = Path(url.removeprefix("sqlite:///"))
            path.parent.mkdir(parents=True, exist_ok=True)
            # Other users of this machine must not read the ledger.
            path.touch(0o600)
            self.engine = create_async_engine(
                f"sqlite+aiosqlite:///{path}",
                connect_args={"timeout": DEADLINE_S},
                poolclass=NullPool,
                hide_parameters=True,
            )
            event.listen(self.engine.sync_engine, "connect", _pragmas)
        else:
            self.engine = _postgres(url)
        self._ready = False
        self._preparing = asyncio.Lock()

    async def prepare(self) -> None:
        """Migrates the tables, once."""
        async with self._preparing:
            if self._ready:
                return
            async with asyncio.timeout(60), self.engine.begin() as connection:
                await self.lock(connection)
                version = await connection.run_sync(_version)
                if version not in (*STEPS, ""):
                    raise SchemaTooNew(
                        f"a later version migrated the tables of server.database to step {version}, and this version "
                        f"supports {HEAD}: start that version, or restore an older backup"
                    )
                if version != HEAD:
                    await connection.run_sync(upgrade)
            self._ready = True

    async def check(self) -> None:
        """Checks that the database accepts writes. Raises if it is unreachable or read-only."""
        try:
            async with asyncio.timeout(DEADLINE_S), self.engine.begin() as connection:
                if self.is_sqlite:
                    await self.lock(connection)
                await connection.execute(text("UPDATE meta SET value = value WHERE name = ''"))
        except BaseException:
            self.doubt()
            raise

    def doubt(self) -> None:
        """Marks the tables as unchecked after a failure: the next connection may be to a new, empty database."""
        self._ready = False

    async def lock(self, connection: AsyncConnection) -> None:
        """Blocks other writers until the transaction ends."""
        if self.is_sqlite:
            await connection.execute(text("BEGIN IMMEDIATE"))
        else:
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))

    async def copy_to(self, path: Path) -> None:
        """Copies a SQLite file consistently while others write; only its owner may read the copy."""
        await self.prepare()
        # Created private, before it has any content.
        await asyncio.to_thread(path.touch, 0o600, exist_ok=False)
        try:
            async with self.engine.connect() as connection:
                await connection.execute(text("VACUUM INTO :path"), {"path": str(path)})
        except BaseException:
            await asyncio.to_thread(path.unlink, missing_ok=True)
            raise

    async def close(self) -> None:
        """Closes all connections."""
        await self.engine.dispose()


def _postgres(url: str) -> AsyncEngine:
    try:
        import asyncpg  # type: ignore[import-untyped]
    except ImportError:
        raise ValueError(
            "PostgreSQL in server.database needs the package asyncpg: install gatehouse-platform[database]"
        ) from None

    async def connect() -> Any:
        # asyncpg parses the URL itself: sockets, several hosts and sslmode work as in other PostgreSQL clients.
        return await asyncpg.connect(url, timeout=DEADLINE_S, command_timeout=DEADLINE_S, statement_cache_size=100)

    return create_async_engine(
        "postgresql+asyncpg://", async_creator=connect, pool_size=4, max_overflow=4, pool_timeout=DEADLINE_S,
        pool_pre_ping=True, hide_parameters=True,
    )  # fmt: skip


def _pragmas(connection: Any, _: Any) -> None:
    # Transactions begin explicitly: the driver would begin them too late to lock.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "busy_timeout = 5000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _version(connection: Connection) -> str:
    found = connection.dialect.has_table(connection, "alembic_version")
    return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar()) if found else ""


def upgrade(connection: Connection) -> None:
    """Applies the missing migrations."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
