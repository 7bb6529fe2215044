"""Counters in a SQLite file, shared by all processes of one machine: for `workers` without Redis.

Every step is one transaction that locks the file, so it is as exact as in one process. It does not wait for the disk:
a crash of a process loses nothing, a crash of the machine at most the last moments.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import structlog

from access.ledger.lines import BROKEN
from access.limits.counters import (
    RATE,
    SLOTS,
    SPEND,
    WAITS,
    BudgetChange,
    Charge,
    CountersCondition,
    LimitStatus,
    Money,
    OpeningBalance,
    Settlement,
    Unreachable,
    now_us,
    refuse_to_spend,
    reserve,
    seeded,
    settle,
)

BUSY_MS = 200
# How often a broken file is retried.
TRY_US = 500_000
# A settlement that fails keeps its reservation until the lease ends, so it is retried for some seconds.
PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
# Longer than the window of any budget.
_OLDEST_US = 401 * 86_400_000_000
# A daily rate has fully recovered after two days.
_OLDEST_LIMIT_US = 2 * 86_400_000_000
_TIDY_US = 6 * 3_600_000_000
R = TypeVar("R")
_MONEY = msgspec.json.Decoder(Money)
_HELD = msgspec.json.Decoder(dict[str, int])
_DECODED: dict[int, Callable[[Any], Any]] = {SPEND: _MONEY.decode, SLOTS: _HELD.decode, RATE: int}
# The format of the rows, in the file's `user_version`; 0 is 0.1.0's, the same. New fields of `Money` have defaults.
FORM = 1
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS counters (key TEXT PRIMARY KEY, kind INTEGER, value BLOB, at INTEGER) WITHOUT ROWID"
)

_ALL = 2**53
_FORGET = "DELETE FROM counters WHERE at < ? OR (kind <> ? AND at < ?)"


class _DamagedRow(Unreachable):
    """The row of this key can't be read."""


class _Rows(MutableMapping[str, Any]):
    """The rows of one transaction as the mapping that the rules work on."""

    def __init__(self, connection: sqlite3.Connection, kinds: dict[str, int], now: int) -> None:
        self._connection = connection
        self._kinds = kinds
        self._now = now
        # The keys of rows that are readable or missing.
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        row = self._connection.execute("SELECT value FROM counters WHERE key = ?", (key,)).fetchone()
        self.read.add(key)
        if row is None:
            raise KeyError(key)
        kind = self._kinds[key]
        try:
            return _DECODED[kind](row[0])
        except (*BROKEN, ValueError, TypeError):
            # The row may be a budget: it stays as it is, and requests that need it are refused or counted locally.
            self.read.discard(key)
            raise _DamagedRow(key) from None

    def __setitem__(self, key: str, value: Any) -> None:
        raw = value if isinstance(value, int) else msgspec.json.encode(value)
        # The time of a budget's row makes it old enough for deletion at `until`.
        at = value.until - _OLDEST_US if isinstance(value, Money) and value.until else self._now
        self._connection.execute(
            "INSERT INTO counters VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value, "
            "at = excluded.at",
            (key, self._kinds[key], raw, at),
        )

    def __delitem__(self, key: str) -> None:
        self._connection.execute("DELETE FROM counters WHERE key = ?", (key,))

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)


class SqliteCounters:
    """One connection to the file. A step takes tens of microseconds, so it runs on the event loop."""

    def __init__(
        self, path: Path, clock: Callable[[], int] = now_us, *, waits: bool = False, replicas: int = 1
    ) -> None:
        """With `waits`, charges of money are refused until `seed` is called. `replicas` processes share the file.

        Raises `ValueError` for the file of a later version, and `sqlite3.Error`.
        """
        self.replicas = replicas
        self._waits = waits
        # The error of the last step, if the file is broken.
        self._broken = ""
        # The keys of rows that can't be read.
        self._damaged: set[str] = set()
        self._tried = 0
        self._replaced = False
        self._pending: list[tuple[str, Sequence[Settlement]]] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        self._clock = clock
        self._path = path
        path.touch(0o600)
        # Many workers may start at once.
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=5)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = OFF")
        self._check_form()
        self._connection.execute(_SCHEMA)
        self._file = os.stat(path)
        self._tidied = 0
        self._tidy(clock())
        self._connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")

    def _check_form(self) -> None:
        (form,) = self._connection.execute("PRAGMA user_version").fetchone()
        if form > FORM:
            self._connection.close()
            raise ValueError(
                f"a later version wrote the counters in {self._path} (format {form}; this version reads {FORM}): start "
                "that version, or stop all gateways and remove the file: with server.database, budgets are then loaded "
                "from the ledger"
            )
        if form < FORM:
            self._connection.execute(f"PRAGMA user_version = {FORM}")

    @property
    def condition(self) -> CountersCondition:
        """See `Counters.condition`."""
        if self._broken:
            self._try_again()
        if self._broken:
            problem = f"the counters' file in server.data can't be written ({self._broken})"
            return CountersCondition(problem, only_money=False)
        damaged = ""
        if self._damaged:
            damaged = (
                f"{len(self._damaged)} rows of the counters' file in server.data can't be read, so requests that need "
                "them are refused: stop the gateway, and remove the file"
            )
        return CountersCondition(WAITS if self._waits else "", damaged=damaged)

    def _try_again(self) -> None:
        """Retries a broken file: a gateway that is not ready gets no requests that would test it."""
        now = self._clock()
        if abs(now - self._tried) >= TRY_US:
            self._tried = now
            with contextlib.suppress(Unreachable):
                self._step({"": RATE}, now, lambda rows: rows.update({"": 0}))

    async def reserve(self, request: str, charges: Sequence[Charge]) -> tuple[bool, list[LimitStatus]]:
        """See `Counters.reserve`."""
        if self._waits:
            refuse_to_spend(charges)
        self._settle_pending()
        now = self._clock()
        if now - self._tidied > _TIDY_US:
            # If the file is locked, another process will tidy it.
            with contextlib.suppress(sqlite3.Error):
                self._tidy(now)
        kinds = {each.key: each.kind for each in charges}
        return self._step(kinds, now, lambda rows: reserve(rows, request, charges, now))

    def _tidy(self, now: int) -> None:
        """Deletes rows that are no longer used."""
        self._tidied = now
        self._connection.execute(_FORGET, (now - _OLDEST_US, SPEND, now - _OLDEST_LIMIT_US))

    async def settle(self, request: str, settlements: Sequence[Settlement]) -> list[BudgetChange]:
        """See `Counters.settle`. Retries while the file is locked, at last with the next request."""
        for pause_s in PAUSES_S:
            try:
                return self._settle(request, settlements)
            except _DamagedRow:
                # A damaged row does not recover by waiting.
                self._pending.append((request, settlements))
                raise
            except Unreachable:
                try:
                    await asyncio.sleep(pause_s)
                except asyncio.CancelledError:
                    self._pending.append((request, settlements))
                    raise
        self._pending.append((request, settlements))
        raise Unreachable("the counters' file is locked")

    def note(self, request: str, settlements: Sequence[Settlement]) -> None:
        """See `Counters.note`."""
        self._pending.append((request, settlements))

    def _settle(self, request: str, settlements: Sequence[Settlement]) -> list[BudgetChange]:
        now = self._clock()
        kinds = {each.charge.key: each.charge.kind for each in settlements}
        return self._step(kinds, now, lambda rows: settle(rows, request, settlements, now))

    def _settle_pending(self) -> None:
        if self._waits or not self._pending:
            return
        damaged = self._damaged
        late = [each for each in self._pending if not any(one.charge.key in damaged for one in each[1])]
        # Settlements of damaged rows wait until a step has read these rows.
        self._pending = [each for each in self._pending if each not in late] if damaged else []
        while late:
            try:
                self._settle(*late[-1])
            except _DamagedRow:
                self._pending.append(late[-1])
            except Unreachable:
                self._pending += late
                raise
            late.pop()

    def seed(self, seeds: Sequence[OpeningBalance], before: int | None = None) -> None:
        """Adds opening balances (spending `before` a time) of budgets that do not include them yet."""
        now = self._clock()

        def write(rows: _Rows) -> None:
            for each in seeds:
                try:
                    money = seeded(rows.get(each.key), each, now, before)
                except _DamagedRow as error:
                    # A damaged row must not block the other budgets.
                    self._note(error)
                    continue
                if money is not None:
                    rows[each.key] = money

        self._step({each.key: SPEND for each in seeds}, now, write)
        self._waits = False

    def taken(self, key: str) -> int:
        """See `Counters.taken`."""
        try:
            # Reading does not wait for locks.
            money = _Rows(self._connection, {key: SPEND}, 0).get(key)
        except (sqlite3.Error, _DamagedRow):
            return _ALL
        return money.total() if money is not None else 0

    def _step(self, kinds: dict[str, int], now: int, act: Callable[[_Rows], R]) -> R:
        if self._replaced or not self._is_the_same():
            # A process that starts now uses another file, so together they would spend a budget twice. Final, because
            # the parts of a restored file may not fit together.
            self._replaced = True
            self._broken = "it was removed or replaced while in use: restart the gateway"
            raise Unreachable(self._broken)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            rows = _Rows(self._connection, kinds, now)
            done = act(rows)
            self._connection.execute("COMMIT")
        except BaseException as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if isinstance(error, _DamagedRow):
                self._note(error)
            if isinstance(error, sqlite3.Error):
                # The file is locked for too long, or the disk is full.
                if getattr(error, "sqlite_errorcode", 0) & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                    self._broken = str(error)
                raise Unreachable(str(error)) from None
            raise
        self._broken = ""
        # Damaged rows may have been repaired or deleted.
        if self._damaged:
            self._damaged -= rows.read
        return done

    def _note(self, error: _DamagedRow) -> None:
        key = str(error)
        if key not in self._damaged:
            self._damaged.add(key)
            structlog.get_logger().error("a row of the counters' file can't be read", counter=key)

    def _is_the_same(self) -> bool:
        """Whether the path still names the open file."""
        try:
            return os.path.samestat(os.stat(self._path), self._file)
        except OSError:
            return False

    async def close(self) -> None:
        """Sends pending settlements and closes the file."""
        with contextlib.suppress(Unreachable):
            self._settle_pending()
        self._connection.close()
