"""What somebody has spoilt in the database, on disk or in a request makes nobody stronger and stops nobody else."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog
from sqlalchemy import event, select, update

from access.callers.directory import CallerDirectory, check_key_options, check_options, narrowed
from access.callers.errors import NotFound
from access.callers.registry import Registry
from access.callers.stored_keys import COPY_FORM, Party, Snapshot, StoredKey, StoredKeys, digest_of, read_pepper
from access.database.audit import Audit
from access.database.store import Database
from access.database.tables import KEYS
from access.ledger.entry import entry_of
from config import Config, ConfigError
from contract.caller import Caller
from contract.errors import Unauthenticated, Unavailable
from contract.exchange import Exchange
from gateway.admin.administration import Administration, KeyView, Kind
from gateway.assembly.configuration import load
from observability.logs import LogFormat, configure_logging
from rag.source import Source
from rag.tools.source import SourceTool

YAML = """
version: 1
providers: {pretend: {kind: simulated}}
models: {quick: {targets: [pretend/m]}}
organisations: {acme: {budget: 5 USD per day}}
teams: {blue: {organisation: acme}}
apps: {one: {keys: [test-key]}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "gatehouse.yaml"
    path.write_text(YAML)
    return load(path, environ={})


def directory(config: Config, *parties: Party) -> CallerDirectory:
    """Callers of a database with these."""
    copy = SimpleNamespace(changed=1, parties=parties, of_app=lambda _: [])
    return CallerDirectory(config, cast(StoredKeys, copy))


def key_of(app: str, options: str = "{}") -> StoredKey:
    return StoredKey("abcdefghij", "0" * 64, app, options=options)


@pytest.mark.parametrize(
    "options",
    [
        "", "{", "[]", "null", "7", "[" * 100_000, '{"models": ["quick"', '{"models": 7}', '{"models": [["quick"]]}',
        '{"networks": ["x"]}', '{"networks": "10.0.0.0/8"}', '{"sources": {"a": 1}}', '{"surfaces": ["cohere"]}',
        '{"only_at_night": true}',
    ],
)  # fmt: skip
def test_a_key_whose_narrowing_nobody_can_read_is_no_key(config: Config, options: str) -> None:
    """Least of all one without it: what a later version narrows by is not overlooked by an earlier one."""
    assert directory(config).of_key(key_of("one", options)) is None
    assert directory(config).of_key(key_of("one", '{"models": ["quick"]}')) is not None


@pytest.mark.parametrize(
    "team",
    [
        '{"organisation": "acme", "budget": "5 EUR per day"}',
        '{"budget": {"spend": "5 USD per day", "downgrade": "gone"}}',
        '{"budget": "5 USD per century"}',
        '{"organisation": "gone"}',
        '{"organisation": "red"}',
        "{",
    ],
)
def test_an_app_whose_budgets_nobody_can_read_spends_nothing(config: Config, team: str) -> None:
    """A currency or a model may have left the file since; a team's money is not free for that."""
    parties = [Party("team", "spoilt", team), Party("organisation", "red", '{"budget": 5}'),
               Party("app", "poor", '{"team": "spoilt"}'), Party("app", "lost", '{"team": "gone"}'),
               Party("app", "fine", '{"team": "blue"}')]  # fmt: skip
    found = directory(config, *parties)
    assert found.of_key(key_of("poor")) is None
    assert found.of_key(key_of("lost")) is None
    fine = directory(config, *parties).of_key(key_of("fine"))
    assert fine is not None
    assert {bound.name for bound in fine.rules} == {"acme"}
    # Nor does it keep the others' budgets from being counted.
    assert {bound.name for bound in found.known_rules()} == {"acme"}


def test_an_app_with_a_budget_in_a_currency_that_has_gone(config: Config) -> None:
    for options in ('{"budget": "5 EUR per day"}', '{"per_user": {"budget": "5 EUR per day"}}'):
        found = directory(config, Party("app", "extra", options))
        assert found.of_key(key_of("extra")) is None
        assert found.known_rules() == []


def test_networks_are_those_of_both() -> None:
    app = Caller("one", networks=(ip_network("10.0.0.0/16"), ip_network("2001:db8::/32")))
    for asked, left in (
        (["10.0.7.0/24"], {"10.0.7.0/24"}),
        (["10.0.0.0/8"], {"10.0.0.0/16"}),
        (["10.0.7.0/24", "192.0.2.0/24", "::/0"], {"10.0.7.0/24", "2001:db8::/32"}),
    ):
        assert {str(each) for each in narrowed(app, {"networks": asked}).networks} == left
    assert not any(
        ip_network("192.0.2.1/32").subnet_of(each)  # type: ignore[arg-type]
        for each in narrowed(app, {"networks": ["192.0.2.0/24"]}).networks
    )
    assert narrowed(app, {"networks": ["192.0.2.0/24"]}).networks


def test_what_is_wrong_is_said_with_the_value() -> None:
    with pytest.raises(ValueError, match=r"budget\.0\.spend: \"lots\" is not a budget") as told:
        check_options("app", {"budget": "lots"})
    assert "{" not in str(told.value)
    with pytest.raises(ValueError, match="list of names"):
        check_key_options({"models": "quick"}, ())


class _Found:
    """A source that finds the same for everybody."""

    async def search(self, *_: object) -> list[SimpleNamespace]:
        return [SimpleNamespace(source="handbook.md", place="1", text="The safe is behind the clock.")]


@pytest.mark.parametrize(("sources", "told"), [(None, True), ({"handbook"}, True), ({"faq"}, False), (set(), False)])
def test_a_key_that_may_not_reach_a_source_does_not_reach_it_by_a_tool(sources: set[str] | None, told: bool) -> None:
    tool = SourceTool("look", "Looks.", cast(Source, _Found()), 3, "handbook")
    caller = Caller("one", sources=frozenset(sources) if sources is not None else None)
    said = asyncio.run(tool.call({"query": "safe"}, caller))
    assert ("behind the clock" in said) is told


@pytest.fixture
def logging() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.mark.usefixtures("logging")
@pytest.mark.parametrize("log", ["json", "text", "off"])
def test_a_mistake_of_ours_tells_no_secret(log: LogFormat, capsys: pytest.CaptureFixture[str]) -> None:
    """Tracebacks hold where it was, never what a caller had sent."""

    def find(key: str) -> None:
        held: dict[str, Any] = {"key": key, "name": name}
        raise RuntimeError(f"{len(held)} things went wrong")

    # Spelt here, where no frame of the traceback stands.
    key, name = "gh-abcdefghij-0123456789", "Anna Schmidt"
    configure_logging(log)
    try:
        find(key)
    except RuntimeError:
        structlog.get_logger().exception("unhandled exception")
    told = capsys.readouterr().err
    assert "2 things went wrong" in told
    assert "test_hostile_records.py" in told
    assert "0123456789" not in told
    assert "Schmidt" not in told


def test_a_model_that_is_none_leaves_no_words_of_its_caller() -> None:
    exchange = Exchange("POST /v1/chat/completions")
    exchange.caller = Caller("one")
    exchange.model = "my password is swordfish"
    assert "swordfish" not in str(entry_of(exchange).row())
    exchange.model = exchange.route = "quick"
    assert entry_of(exchange).model == "quick"


def test_a_pepper_that_others_can_read_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = structlog.get_config()
    try:
        configure_logging("json")
        path = tmp_path / "pepper"
        pepper = read_pepper(path)
        assert capsys.readouterr().err == ""
        path.chmod(0o644)
        assert read_pepper(path) == pepper
        told = capsys.readouterr().err
        assert json.loads(told)["level"] == "warning"
        assert pepper.decode() not in told
    finally:
        structlog.configure(**before)


def test_a_digest_that_is_none_proves_nothing(tmp_path: Path) -> None:
    keys = StoredKeys(cast(Any, None), b"p" * 32, tmp_path / "copy", 3600)
    key = "gh-abcdefghij-secret"
    good = StoredKey("abcdefghij", digest_of(key, b"p" * 32), "one")
    for digest in ("", "ü" * 64, "0" * 64, good.digest.upper()):
        keys._by_id = {"abcdefghij": StoredKey("abcdefghij", digest, "one")}
        keys._snapshot = type(keys._snapshot)(1, keys._clock())
        with pytest.raises(Unauthenticated):
            keys.find(key)
    keys._by_id = {"abcdefghij": good}
    assert keys.find(key) == good


@pytest.mark.parametrize("name", ["gatehouse", "Gatehouse"])
def test_no_administrator_is_called_like_the_gateway_in_the_audit(tmp_path: Path, name: str) -> None:
    path = tmp_path / "gatehouse.yaml"
    path.write_text(f"{YAML}admin: {{keys: {{{name}: {{key: {'k' * 30}, role: owner}}}}}}\n")
    with pytest.raises(ConfigError, match="the gateway itself"):
        load(path, environ={})


def test_a_backup_is_never_there_for_others_to_read(tmp_path: Path) -> None:
    async def copies() -> tuple[int, int]:
        database = Database(f"sqlite:///{tmp_path}/gatehouse.db")
        modes: list[int] = []
        try:
            await database.prepare()

            def look(*_: object) -> None:
                if (tmp_path / "copy.db").exists():
                    modes.append((tmp_path / "copy.db").stat().st_mode & 0o777)

            event.listen(database.engine.sync_engine, "before_cursor_execute", look)
            await database.copy_to(tmp_path / "copy.db")
            with pytest.raises(FileExistsError):
                await database.copy_to(tmp_path / "copy.db")
        finally:
            await database.close()
        return modes[0], (tmp_path / "copy.db").stat().st_mode & 0o777

    before = os.umask(0)
    try:
        assert asyncio.run(copies()) == (0o600, 0o600)
    finally:
        os.umask(before)


def test_no_key_is_made_for_an_app_that_goes_meanwhile(config: Config, tmp_path: Path) -> None:
    """It would be good again as soon as there is another app of that name."""
    serving = config.model_copy(update={"server": config.server.model_copy(update={"data": tmp_path})})

    async def race() -> tuple[list[KeyView], list[KeyView]]:
        database = Database(f"sqlite:///{tmp_path}/gatehouse.db")
        try:
            desk = Administration(lambda: serving, database)
            await desk.put_party("test", "app", "extra", {}, new=True)
            await desk.create_key("test", "extra")
            known = desk._options

            async def removed_since(kind: Kind, name: object) -> object:
                found = await known(kind, name)
                await desk.remove_party("other", kind, str(name))
                return found

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(desk, "_options", removed_since)
                with pytest.raises(NotFound):
                    await desk.create_key("test", "extra")
            await desk.create_key("test", "one")
            return await desk.keys("extra"), await desk.keys("one")
        finally:
            await database.close()

    extra, one = asyncio.run(race())
    assert [each.state for each in extra] == ["revoked"]
    assert [each.state for each in one] == ["good"]


def test_a_copy_on_disk_is_taken_as_we_wrote_it_and_not_for_long(tmp_path: Path) -> None:
    key, pepper, path = "gh-abcdefghij-secret", b"p" * 32, tmp_path / "keys.copy"
    now = [1_000_000.0]

    def opened(secret: bytes = pepper) -> StoredKeys:
        keys = StoredKeys(cast(Any, None), secret, path, 3600, lambda: now[0])
        keys._load()
        return keys

    written = StoredKeys(cast(Any, None), pepper, path, 3600, lambda: now[0])
    good = StoredKey("abcdefghij", digest_of(key, pepper), "one", options='{"models": ["quick"]}')
    written._take(Snapshot(7, now[0], (good,)))
    written._save()
    kept = path.read_bytes()
    assert opened().find(key) == good
    assert b"1000000" in kept
    for spoilt in (
        kept.replace(b"quick", b"clevr"), kept.replace(b"1000000", b"9000000"), kept[:-1], kept + b" ",
        b"", b"\n", b"\xff" * 99, b"0" * 64 + kept[64:], kept.partition(b"\n")[2], kept.upper(),
    ):  # fmt: skip
        path.write_bytes(spoilt)
        with pytest.raises(Unavailable):
            opened().find(key)
    path.write_bytes(kept)
    with pytest.raises(Unavailable):
        opened(b"q" * 32).find(key)
    # An old one, put back to bring back what was revoked since.
    now[0] += 3601
    with pytest.raises(Unavailable):
        opened().find(key)


def test_the_row_of_a_key_that_cannot_be_read_stays_and_is_told(tmp_path: Path) -> None:
    """Its key is refused; the others are good."""

    async def run() -> None:
        database = Database(f"sqlite:///{tmp_path}/gatehouse.db")
        registry = Registry(database, b"p" * 32, Audit(database))
        _, good = await registry.create_key("test", "one")
        spoilt, bad = await registry.create_key("test", "one")
        async with database.engine.begin() as connection:
            await connection.execute(update(KEYS).where(KEYS.c.id == spoilt.id).values(created_ms="soon"))
        keys = StoredKeys(database, b"p" * 32, tmp_path / "keys.copy", 3600)
        assert await keys.refresh()
        assert keys.find(good)
        with pytest.raises(Unauthenticated):
            keys.find(bad)
        assert (keys.unreadable, keys.status()) == (1, "ready, 1 keys, 1 unreadable and refused")
        async with database.engine.connect() as connection:
            assert len((await connection.execute(select(KEYS.c.id))).all()) == 2
        await database.close()

    asyncio.run(run())


def test_a_copy_on_disk_of_a_later_version_is_not_used(tmp_path: Path) -> None:
    """It may narrow a key by what this one does not know."""
    key, pepper, path = "gh-abcdefghij-secret", b"p" * 32, tmp_path / "keys.copy"
    good = StoredKey("abcdefghij", digest_of(key, pepper), "one")
    for form, used in ((COPY_FORM, True), (COPY_FORM + 1, False)):
        keys = StoredKeys(cast(Any, None), pepper, path, 3600, lambda: 1000.0)
        keys._take(Snapshot(7, 1000.0, (good,), form=form))
        keys._save()
        opened = StoredKeys(cast(Any, None), pepper, path, 3600, lambda: 1000.0)
        opened._load()
        assert (opened._snapshot.version == 7) is used
