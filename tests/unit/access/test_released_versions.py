"""What every released version has kept is read by this one: see tests/golden."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis
from sqlalchemy import select, text

from access.callers.stored_keys import StoredKeys
from access.database.audit import Audit
from access.database.problems import SchemaTooNew
from access.database.store import HEAD, MIGRATIONS, STEPS, Database
from access.database.tables import METADATA, REQUESTS
from access.ledger.entry import VERSION
from access.ledger.lines import read_journal
from access.ledger.rows import insert
from access.limits.counters import SPEND, Settlement
from access.limits.redis_counters import RedisCounters
from access.limits.sqlite_counters import SqliteCounters
from contract.errors import Unauthenticated
from rag.sqlite_store import SqliteStore
from tests.golden.make import (
    DAY_OF,
    EMBEDDER,
    FOLDER,
    NOW,
    NOW_US,
    PEPPER,
    RATE_OF,
    ROLLING_OF,
    SLOTS_OF,
    adopt,
    plain,
    rows,
    usage,
)
from tests.services import RedisServer
from tests.unit.access.test_reports import entry

RELEASED = sorted(path for path in FOLDER.iterdir() if (path / "expected.json").exists())
READ = pytest.mark.guarantee("money", "Later versions read the journals and databases of every released version")


@pytest.fixture(scope="module", params=RELEASED, ids=lambda path: path.name)
def released(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture(scope="module")
def expected(released: Path) -> Any:
    return json.loads((released / "expected.json").read_text())


def restored(dump: Path, path: Path) -> Path:
    connection = sqlite3.connect(path)
    connection.executescript(dump.read_text())
    connection.close()
    return path


def have(found: list[Any], wanted: list[Any]) -> None:
    """Later versions may know more of each, never less."""
    for one, other in zip(found, wanted, strict=True):
        assert one is not None
        for name, value in other.items():
            if isinstance(value, list) and value and isinstance(value[0], dict):
                have(one[name], value)
            else:
                assert one[name] == value, name


async def check_database(database: Database, expected: Any, cache: Path) -> None:
    """All that reads a database reads it, and it takes new rows."""
    await database.prepare()
    have(await rows(database), expected["requests"])
    have(await usage(database), expected["usage"])
    found = await Audit(database).verify(expected["audit"]["head"])
    assert msgspec.structs.asdict(found) == expected["audit"]
    keys = StoredKeys(database, PEPPER, cache / "keys.copy", 3600, lambda: NOW)
    assert await keys.refresh()
    check_keys(keys, expected)
    await insert(database, [entry(int(NOW * 1000), 1)])
    async with database.engine.connect() as connection:
        versions = (await connection.execute(select(REQUESTS.c.version).distinct())).scalars().all()
        step = (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar()
    assert (sorted(versions)[0], step) == (1, HEAD)


def check_keys(keys: StoredKeys, expected: Any) -> None:
    for identity, key in expected["keys"].items():
        assert keys.find(key).id == identity
    for key in expected["revoked"].values():
        with pytest.raises(Unauthenticated, match="revoked"):
            keys.find(key)
    have([msgspec.structs.asdict(each) for each in keys.parties], expected["parties"])


def on(url: str, act: Callable[[Database], Awaitable[None]]) -> None:
    async def run() -> None:
        database = Database(url)
        try:
            await act(database)
        finally:
            await database.close()

    asyncio.run(run())


@READ
def test_a_sqlite_database(released: Path, expected: Any, tmp_path: Path) -> None:
    path = restored(released / "sqlite.sql", tmp_path / "gatehouse.sqlite")
    on(f"sqlite:///{path}", lambda database: check_database(database, expected["databases"]["sqlite"], tmp_path))


async def run_script(database: Database, script: str) -> None:
    """Statement by statement is for SQLAlchemy: a dump is for the driver."""
    async with database.engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        await driver.execute(script)


@READ
def test_a_postgresql_database(released: Path, expected: Any, postgres_url: str, tmp_path: Path) -> None:
    empty = "DROP SCHEMA public CASCADE; CREATE SCHEMA public;"
    on(postgres_url, lambda database: run_script(database, f"{empty}\n{(released / 'postgres.sql').read_text()}"))
    on(postgres_url, lambda database: check_database(database, expected["databases"]["postgres"], tmp_path))


def test_the_copy_of_the_keys(released: Path, expected: Any, tmp_path: Path) -> None:
    shutil.copy(released / "keys.copy", tmp_path)
    keys = StoredKeys(Database(f"sqlite:///{tmp_path / 'd.sqlite'}"), PEPPER, tmp_path / "keys.copy", 3600, lambda: NOW)
    keys._load()
    check_keys(keys, expected["databases"]["sqlite"])


@READ
def test_a_journal(released: Path, expected: Any, tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    journals = sorted((released / "journal").glob("*.journal"))
    for each in journals:
        shutil.copy(each, tmp_path / "journal")
        assert not [bad for _, unreadable in read_journal(each, 99) for bad in unreadable]

    async def act(database: Database) -> None:
        await adopt(database, tmp_path / "journal")
        have(await rows(database), expected["journal"]["requests"])
        have(await usage(database), expected["journal"]["usage"])

    on(f"sqlite:///{tmp_path / 'ledger.sqlite'}", act)
    assert list((tmp_path / "journal").iterdir()) == []


@READ
def test_what_was_kept_aside_of_a_damaged_journal(released: Path, tmp_path: Path) -> None:
    """By 0.1.0 a whole journal, with the rows that it had brought to the database."""
    folder = tmp_path / "journal"
    folder.mkdir()
    for each in (released / "journal").iterdir():
        if each.suffix != ".journal":
            shutil.copy(each, folder)
    kept = b"".join([each.read_bytes() for each in folder.iterdir()])
    assert b'{"what": "is this?"}' in kept
    path = restored(released / "sqlite.sql", tmp_path / "gatehouse.sqlite")

    async def act(database: Database) -> None:
        await database.prepare()
        before = len(await rows(database))
        for _ in range(2):
            await adopt(database, folder)
            assert len(await rows(database)) - before == kept.count(b'"line":"reserved"') * 9 // 3
        requests = sum(each["requests"] for each in await usage(database))
        assert requests == len(await rows(database))

    on(f"sqlite:///{path}", act)
    (aside,) = folder.iterdir()
    assert aside.suffix == ".undecodable"
    assert aside.read_bytes() == b'{"what": "is this?"}\n'


@READ
def test_the_counters_of_a_machine(released: Path, expected: Any, tmp_path: Path) -> None:
    path = restored(released / "counters.sql", tmp_path / "counters.sqlite")

    async def run() -> None:
        counters = SqliteCounters(path, lambda: NOW_US)
        taken = expected["counters"]
        assert {name: counters.taken(name) for name in taken} == taken
        charges = [RATE_OF, SLOTS_OF, DAY_OF, ROLLING_OF]
        ends = [Settlement(each, 1_000_000_000 if each.kind == SPEND else 1) for each in charges]
        await counters.settle("under-way", ends)
        # Whose lease had run out was counted in full; of a calendar's budget what was too much comes back.
        await counters.settle("died", ends)
        assert counters.taken(DAY_OF.key) == taken[DAY_OF.key] - 1_000_000_000 - 1_000_000_000
        assert counters.taken(ROLLING_OF.key) == taken[ROLLING_OF.key] - 2_000_000_000
        admitted, _ = await counters.reserve("new", charges)
        assert admitted
        await counters.close()

    asyncio.run(run())


@READ
def test_the_counters_of_replicas(released: Path, expected: Any, redis: RedisServer) -> None:
    kept = json.loads((released / "redis.json").read_text())

    async def run() -> None:
        client: Any = Redis.from_url(redis.url)
        counters = RedisCounters(client)
        await counters._join_epoch()
        epoch = counters._epoch
        for key, kind, value in kept:
            if kind == "hash":
                # Each run of Redis has an epoch: that one is not this one.
                fields = {name: epoch if name == "e" else each for name, each in value.items()}
                await client.hset(key, mapping=fields)
            elif kind == "zset":
                await client.zadd(key, dict(value))
            else:
                await client.set(key, value)
        counters._ready = True
        await counters.settle("under-way", [Settlement(each, 1_000_000_000) for each in (DAY_OF, ROLLING_OF)])
        taken = expected["redis"]
        assert counters.taken(DAY_OF.key) == taken[DAY_OF.key] - 1_000_000_000
        assert counters.taken(ROLLING_OF.key) == taken[ROLLING_OF.key] - 2_000_000_000
        await counters.close()

    asyncio.run(run())


def test_the_store_of_a_source(released: Path, expected: Any, tmp_path: Path) -> None:
    path = restored(released / "source.sql", tmp_path / "source.sqlite")

    async def run() -> tuple[list[Any], list[Any]]:
        store = SqliteStore(path)
        await store.open()
        assert await store.inherit(()) == 0
        documents = [msgspec.to_builtins(each) for each in await store.documents()]
        changes = [msgspec.to_builtins(each) for each in await store.changes(0, EMBEDDER, 100)]
        await store.close()
        as_kept = json.loads(json.dumps([documents, changes], default=plain))
        return as_kept[0], as_kept[1]

    found = asyncio.run(run())
    have(found[0], expected["source"]["documents"])
    have(found[1], expected["source"]["changes"])


def other_default(*compared: Any) -> bool:
    """Alembic's own comparison takes an empty text for another one."""
    _, _, _, there, _, wanted = compared
    return plain_default(there) != plain_default(wanted)


def plain_default(written: str | None) -> str | None:
    return None if written is None else written.partition("::")[0].strip("()'")


def test_every_step_has_a_migration_that_leads_to_the_tables(url: str) -> None:
    """The columns of the structs are those of the migrations, with their defaults."""
    modules = sorted(path.stem.removeprefix("step_") for path in (MIGRATIONS / "versions").glob("step_*.py"))
    assert modules == list(STEPS)
    assert f"{VERSION:04}" == HEAD

    def differences(connection: Any) -> list[Any]:
        from alembic.autogenerate import compare_metadata
        from alembic.migration import MigrationContext

        options = {"compare_type": True, "compare_server_default": other_default}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), METADATA))

    async def act(database: Database) -> None:
        await database.prepare()
        async with database.engine.connect() as connection:
            assert await connection.run_sync(differences) == []

    on(url, act)


def test_tables_of_a_later_version_are_refused_with_both_versions_and_the_cure(tmp_path: Path) -> None:
    later = f"{VERSION + 1:04}"

    async def act(database: Database) -> None:
        await database.prepare()
        database.doubt()
        async with database.engine.begin() as connection:
            await connection.execute(text("UPDATE alembic_version SET version_num = :later"), {"later": later})
        with pytest.raises(SchemaTooNew, match=f"step {later}, and this version supports {HEAD}: start that version"):
            await database.prepare()

    on(f"sqlite:///{tmp_path / 'gatehouse.sqlite'}", act)


def test_a_replica_of_the_version_before_still_adds_rows(tmp_path: Path) -> None:
    """It goes on while the first replica of this one has brought the tables up to date: columns have defaults."""

    async def act(database: Database) -> None:
        await database.prepare()
        row = entry(int(NOW * 1000), 1).row()
        del row["version"]
        names = ", ".join(f'"{name}"' for name in row)
        values = ", ".join(f":{name}" for name in row)
        async with database.engine.begin() as connection:
            await connection.execute(text(f"INSERT INTO requests ({names}) VALUES ({values})"), row)
        (found,) = await rows(database)
        assert found is not None
        assert found["request_id"] == "r1"

    on(f"sqlite:///{tmp_path / 'gatehouse.sqlite'}", act)
