"""The connection to the database, and its tables brought up to date."""

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
    """One pool of connections. Nothing in the path of a request waits for it."""

    def __init__(self, url: str) -> None:
        """`sqlite:///path` or `postgresql://...`. Raises `ValueError` where a driver is not installed."""
        self.is_sqlite = url.startswith("sqlite")
        if self.is_sqlite:
            path = Path(url.removeprefix("sqlite:///"))
            path.parent.mkdir(parents=True, exist_ok=True)
            # Who has called whom is for nobody else of this machine.
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
        """Brings the tables up to date, once."""
        async with self._preparing:
            if self._ready:
                return
            async with asyncio.timeout(60), self.engine.begin() as connection:
                await self.lock(connection)
                version = await connection.run_sync(_version)
                if version not in (*STEPS, ""):
                    raise SchemaTooNew(
                        f"the tables of server.database are those of a later version (step {version}; this one "
                        f"knows {HEAD}): start that version, or put back a backup that is older than it"
                    )
                if version != HEAD:
                    await connection.run_sync(upgrade)
            self._ready = True

    async def check(self) -> None:
        """Whether it takes rows now. Raises where it does not: it is gone, or can only be read."""
        try:
            async with asyncio.timeout(DEADLINE_S), self.engine.begin() as connection:
                if self.is_sqlite:
                    await self.lock(connection)
                await connection.execute(text("UPDATE meta SET value = value WHERE name = ''"))
        except BaseException:
            self.doubt()
            raise

    def doubt(self) -> None:
        """It has failed: whatever comes back may be another, without tables."""
        self._ready = False

    async def lock(self, connection: AsyncConnection) -> None:
        """Lets nobody else write until the transaction ends."""
        if self.is_sqlite:
            await connection.execute(text("BEGIN IMMEDIATE"))
        else:
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))

    async def copy_to(self, path: Path) -> None:
        """A copy of a SQLite file, whole as of one moment, while others write; for nobody else to read."""
        await self.prepare()
        # Before there is anything in it that others could read.
        await asyncio.to_thread(path.touch, 0o600, exist_ok=False)
        try:
            async with self.engine.connect() as connection:
                await connection.execute(text("VACUUM INTO :path"), {"path": str(path)})
        except BaseException:
            await asyncio.to_thread(path.unlink, missing_ok=True)
            raise

    async def close(self) -> None:
        """Lets go of all connections."""
        await self.engine.dispose()


def _postgres(url: str) -> AsyncEngine:
    try:
        import asyncpg  # type: ignore[import-untyped]
    except ImportError:
        raise ValueError(
            "a PostgreSQL in server.database needs the package asyncpg: gatehouse-platform[database]"
        ) from None

    async def connect() -> Any:
        # asyncpg reads the address itself: sockets, several hosts and sslmode as everywhere else.
        return await asyncpg.connect(url, timeout=DEADLINE_S, command_timeout=DEADLINE_S, statement_cache_size=100)

    return create_async_engine(
        "postgresql+asyncpg://", async_creator=connect, pool_size=4, max_overflow=4, pool_timeout=DEADLINE_S,
        pool_pre_ping=True, hide_parameters=True,
    )  # fmt: skip


def _pragmas(connection: Any, _: Any) -> None:
    # Transactions begin where we say so: the driver would begin them too late to lock.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "busy_timeout = 5000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _version(connection: Connection) -> str:
    found = connection.dialect.has_table(connection, "alembic_version")
    return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar()) if found else ""


def upgrade(connection: Connection) -> None:
    """Applies what is missing of the steps."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
