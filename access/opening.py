"""Access services that outlive config reloads: counters and, with a database, keys, ledger and audit log.

The part of the composition root that builds them; surfaces and the engine get them from here.
"""

from __future__ import annotations

import asyncio
import fcntl
import sqlite3
import time
from collections.abc import Coroutine, Iterable
from decimal import Decimal
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import structlog

from access.callers.directory import limits_by_name
from access.callers.stored_keys import StoredKeys, read_pepper
from access.limits.counters import MemoryCounters, OpeningBalance, Unreachable
from access.limits.quota import Quota, describe, user_digest
from access.limits.redis_counters import RedisCounters
from access.limits.sqlite_counters import SqliteCounters
from config.folders import data_folder
from contract.access_state import AccessState
from contract.egress import DIRECT
from contract.outbound import Outbound
from contract.rules import NANO, ScopedRule
from contract.units import write_amount
from observability.webhook import post_event

if TYPE_CHECKING:
    from access.callers.directory import CallerDirectory
    from access.database.audit import Audit
    from access.database.store import Database
    from access.ledger.ledger import Ledger
    from access.ledger.prices import Prices
    from access.limits.counters import BudgetChange, Counters
    from config.root import Config
    from config.sections import ServerConfig
    from contract.exchange import Exchange

SEED_DEADLINE_S = 30.0


async def open_accounts(server: ServerConfig, *, alone: bool = True) -> AccessServices:
    """Opens the services of one process; `alone` means one worker on this machine. Raises `ValueError`, `OSError`."""
    folder = data_folder(server)
    accounts = AccessServices(_counters(server, folder, alone=alone))
    if server.database is None:
        return accounts
    if isinstance(accounts.counters, MemoryCounters):
        accounts.hold(folder)
        # The file misses what this process spends; workers that use such a file later read everything from the ledger.
        for each in folder.glob("counters.sqlite*"):
            each.unlink(missing_ok=True)
    if isinstance(accounts.counters, RedisCounters):
        accounts.counters.seeds = accounts.seeds
    from access.database.audit import Audit
    from access.database.store import Database
    from access.ledger.ledger import Ledger

    url = server.database.reveal()
    accounts.database = Database(url)
    pepper = pepper_of(server)
    accounts.audit = Audit(accounts.database)
    accounts.keys = StoredKeys(accounts.database, pepper, folder / "keys.copy", server.key_cache_ttl)
    await accounts.keys.start()
    accounts.ledger = Ledger(accounts.database, folder / "journal", server.retention)
    if not isinstance(accounts.counters, MemoryCounters):
        accounts.ledger.settle = accounts.counters.settle
    accounts.ledger.start(accounts.keys.problem)
    return accounts


async def open_ledger(server: ServerConfig) -> AccessServices:
    """Opens only the ledger, for a command that calls providers. Raises `ValueError`, `OSError`."""
    accounts = AccessServices()
    if server.database is not None:
        from access.database.store import Database
        from access.ledger.ledger import Ledger

        accounts.database = Database(server.database.reveal())
        accounts.ledger = Ledger(accounts.database, data_folder(server) / "journal", server.retention)
        accounts.ledger.start()
    return accounts


def pepper_file(server: ServerConfig) -> Path:
    """The file of the generated pepper, used if `server.pepper` is not set."""
    return data_folder(server) / "pepper"


def pepper_of(server: ServerConfig) -> bytes:
    """The pepper that keys are hashed with. Raises `ValueError` if it is too short."""
    if server.pepper is None:
        return read_pepper(pepper_file(server))
    return server.pepper.reveal().encode()


def _counters(server: ServerConfig, folder: Path, *, alone: bool) -> Counters:
    waits = server.database is not None
    if server.redis is None:
        if alone:
            return MemoryCounters(waits=waits)
        path = folder / "counters.sqlite"
        try:
            return SqliteCounters(path, waits=waits, replicas=server.workers)
        except sqlite3.Error as error:
            raise ValueError(f"the workers' shared counters in {path} can't be opened: {error}") from None
    try:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError:
        raise ValueError("server.redis needs the package redis: install gatehouse-platform[redis]") from None
    # No silent reconnects: after a broken connection, another run of Redis may answer.
    client = Redis.from_url(server.redis.reveal(), socket_connect_timeout=1.0, retry=Retry(NoBackoff(), 0))
    counters = RedisCounters(client)
    counters.start()
    return counters


class AccessServices:
    """Services of one process. Replicas share `counters` through Redis, workers through a file; else they are local."""

    def __init__(self, counters: Counters | None = None) -> None:
        self.counters: Counters = counters or MemoryCounters()
        self.database: Database | None = None
        self.keys: StoredKeys | None = None
        self.ledger: Ledger | None = None
        self.audit: Audit | None = None
        self.directory: CallerDirectory | None = None
        self._quota: Quota | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._webhooks = Outbound("budgets' webhooks", 4)
        # The proxies for webhooks.
        self.egress = DIRECT
        self._held: IO[str] | None = None
        self._seeding: asyncio.Task[None] | None = None

    def hold(self, folder: Path) -> None:
        """Locks the folder for local counters; logs an error if another process has done so."""
        folder.mkdir(parents=True, exist_ok=True)
        place = folder / "counting.lock"
        place.touch(0o600)
        self._held = place.open("w")
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            structlog.get_logger().error(
                "another gateway with this server.data has its own counters, so budgets may be spent twice: "
                "set server.redis or server.workers",
                folder=str(folder),
            )

    def quota(self, config: Config, prices: Prices) -> Quota:
        """The limits and budgets of a config."""
        return Quota(
            self.counters,
            prices,
            limits_by_name(config, "models"),
            limits_by_name(config, "providers"),
            self._warned,
            begin=self.ledger.begin if self.ledger is not None else None,
        )

    def follow(self, directory: CallerDirectory, quota: Quota) -> None:
        """Switches to the callers and budgets of a new config, and reads from the ledger what they have spent."""
        self.directory, self._quota = directory, quota
        if self.database is not None:
            if self._seeding is not None:
                self._seeding.cancel()
            # No request has been counted by the new rules yet.
            self._seeding = asyncio.create_task(self._seed(self.counters, time.time(), self._seeding is not None))

    def finished(self, exchange: Exchange) -> None:
        """Adds a finished request to the ledger."""
        if self.ledger is not None and exchange.caller is not None and exchange.model:
            self.ledger.add(exchange)

    def apps(self) -> list[str]:
        """The names of all apps, from the YAML and the database."""
        return self.directory.apps() if self.directory is not None else []

    async def budgets(self, app: str = "", user: str = "") -> list[dict[str, object]]:
        """What is left of each budget now, without users' budgets; or of an app's user's. Raises `Unreachable`."""
        quota = self._quota
        if quota is None:
            return []
        known = {scoped: None for scoped in self._budgets() if (scoped.scope == "user") is bool(user)}
        scoped_rules = list(known)
        counted = scoped_rules
        if user:
            scoped_rules = [scoped for scoped in scoped_rules if scoped.name == app]
            counted = [ScopedRule("user", f"{app}/{user_digest(user)}", scoped.rule) for scoped in scoped_rules]
        return [
            {
                **describe(scoped),
                "limit_usd": _dollars(scoped.rule.limit),
                "left_usd": _dollars(status.left),
                "resets_s": status.reset_us // 1_000_000,
                "shadow": scoped.rule.shadow,
            }
            for scoped, status in zip(scoped_rules, await quota.statuses(counted), strict=True)
        ]

    def note(self, action: str, subject: str, detail: dict[str, object] | None = None) -> None:
        """Adds an action of the gateway itself to the audit log, if there is one, in the background."""
        if self.audit is not None:
            self._start_task(self._record(action, subject, detail or {}))

    def _start_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def state(self) -> AccessState | None:
        """The state for metrics; None without a database."""
        if self.ledger is None or self.keys is None:
            return None
        return AccessState(
            self.ledger.waiting_bytes,
            self.ledger.lost_rows,
            self.ledger.unreadable_lines,
            self.keys.unconfirmed_s,
        )

    def status(self) -> dict[str, str]:
        """One status line for each service that is configured."""
        lines = {"ledger": self.ledger.status()} if self.ledger is not None else {}
        problem = self.counters.condition.problem
        if isinstance(self.counters, RedisCounters) or problem:
            lines["limits"] = problem or "ready"
        return lines | ({"keys": self.keys.status()} if self.keys is not None else {})

    async def seeds(self, before: float | None) -> list[OpeningBalance]:
        """The opening balances of all known budgets: what they spent on requests that ended before a time.

        None means no limit in time, so that a clock that was set back does not hide spending.
        Raises if the ledger can't be read.
        """
        if self.directory is None or self._quota is None:
            raise Unreachable("no config is loaded yet")
        if self.ledger is not None:
            # First the journals of dead processes: they contain spending too.
            await self.ledger.adopt()
            if not await self.ledger.flush():
                raise OSError("the ledger's database can't be reached")
        found: list[OpeningBalance] = []
        by_period: dict[tuple[object, ...], dict[str, dict[str, int]]] = {}
        for scoped in self._budgets():
            rule = scoped.rule
            period = (scoped.scope, rule.calendar, rule.zone, rule.window_s)
            if period not in by_period:
                by_period[period] = await self._spent(scoped.scope, self._quota.period_start(scoped), before)
            for name, amount in by_period[period].get(scoped.name, {}).items():
                of_one = ScopedRule("user", f"{scoped.name}/{name}", rule) if scoped.scope == "user" else scoped
                charge = self._quota.charge(of_one, 0)
                found.append(OpeningBalance(charge.key, amount, charge.window_us, charge.ends_us))
        return found

    def _budgets(self) -> Iterable[ScopedRule]:
        """Budgets of known scopes; those of an app's users have the app's name."""
        directory = self.directory
        if directory is None:
            return
        yield from (scoped for scoped in directory.known_rules() if scoped.rule.what == "spend")

    async def _spent(self, scope: str, since: float, before: float | None) -> dict[str, dict[str, int]]:
        """Nano-dollars by name of the scope; for users by app, then by the user's digest."""
        from access.ledger.reports import spent

        if self.database is None:
            return {}
        await self.database.prepare()
        async with asyncio.timeout(SEED_DEADLINE_S):
            until = int(before * 1000) if before is not None else None
            sums = await spent(self.database, scope, int(since * 1000), until, ended=True)
        if scope != "user":
            return {name: {"": amount} for name, amount in sums.items()}
        found: dict[str, dict[str, int]] = {}
        for name, amount in sums.items():
            app, _, user = name.partition("/")
            found.setdefault(app, {})[user_digest(user)] = amount
        return found

    async def seeded(self, within_s: float) -> None:
        """Waits until the counters have their opening balances, `within_s` seconds at most."""
        # Redis counters load their balances themselves, and Redis may be unreachable.
        if self._seeding is not None and not isinstance(self.counters, RedisCounters):
            await asyncio.wait((self._seeding,), timeout=within_s)

    async def _seed(self, counters: Counters, began: float, again: bool) -> None:
        """Loads the opening balances. At a start no process on this machine spends until then.

        After a reload (`again`) only new budgets need them; requests may have spent from these since they `began`.
        """
        logged = False
        while True:
            try:
                if isinstance(counters, MemoryCounters | SqliteCounters):
                    before = began if again else time.time()
                    counters.seed(await self.seeds(began if again else None), int(before * 1e6))
                    return
                if not isinstance(counters, RedisCounters):
                    return
                if counters.counts and await counters.seed(await self.seeds(began), int(began * 1e6)):
                    return
            except Exception as error:
                # Unreachable counters log it themselves.
                if not logged and not isinstance(error, Unreachable):
                    logged = True
                    structlog.get_logger().error(
                        "budgets unavailable: the ledger can't be read", problem=type(error).__name__
                    )
            await asyncio.sleep(1.0)

    def _warned(self, scoped: ScopedRule, share: float, spent: BudgetChange) -> None:
        event = {
            "event": "budget_threshold",
            **describe(scoped),
            "share": share,
            "spent_usd": _dollars(spent.after),
            "limit_usd": _dollars(scoped.rule.limit),
        }
        structlog.get_logger().warning(
            "a budget has passed a threshold", **{k: v for k, v in event.items() if k != "event"}
        )
        self.note("budget.threshold", f"{scoped.scope}:{scoped.name}", event)
        self._start_task(self._call_webhook(scoped, event))

    async def _record(self, action: str, subject: str, detail: dict[str, object]) -> None:
        if self.audit is None:
            return
        try:
            await self.audit.record("gatehouse", action, subject, detail)
        except Exception as error:
            structlog.get_logger().error("the audit log can't be written", action=action, problem=type(error).__name__)

    async def _call_webhook(self, scoped: ScopedRule, event: dict[str, object]) -> None:
        if not scoped.rule.webhook:
            return
        for pause_s in (1.0, 5.0, None):
            try:
                await post_event(self._webhooks, scoped.rule.webhook, event, self.egress, scoped.name)
                return
            except (OSError, ValueError) as error:
                if pause_s is None:
                    structlog.get_logger().error("the webhook of a budget failed", problem=type(error).__name__)
                else:
                    await asyncio.sleep(pause_s)

    async def close(self) -> None:
        """Closes everything at the end of the process; the ledger writes its pending rows."""
        if self._seeding is not None:
            self._seeding.cancel()
        if self._quota is not None:
            await self._quota.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2.0)
        await self._webhooks.close()
        for part in (self.keys, self.ledger):
            if part is not None:
                await part.close()
        close = getattr(self.counters, "close", None)
        if close is not None:
            await close()
        if self.database is not None:
            await self.database.close()
        if self._held is not None:
            self._held.close()


def _dollars(nanos: int) -> str:
    return write_amount(Decimal(nanos) / NANO)
