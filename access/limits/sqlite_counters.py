"""Counters of all processes of one machine, in a SQLite file: what `workers` share without Redis.

Every step is one transaction that locks the file, so it is as exact as in one process. It waits for no disk: after a
crash of a process nothing is lost, after one of the machine at most the last moments.
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
# How often a file is tried with which something was wrong.
TRY_US = 500_000
# What is not given back is lost until the lease ends: worth some patience.
PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
# No budget looks back longer.
_OLDEST_US = 401 * 86_400_000_000
# A rate of a day is whole again two days later.
_OLDEST_LIMIT_US = 2 * 86_400_000_000
_TIDY_US = 6 * 3_600_000_000
R = TypeVar("R")
_MONEY = msgspec.json.Decoder(Money)
_HELD = msgspec.json.Decoder(dict[str, int])
_DECODED: dict[int, Callable[[Any], Any]] = {SPEND: _MONEY.decode, SLOTS: _HELD.decode, RATE: int}
# The form of the rows, in the file's `user_version`; 0 is 0.1.0's, the same. New fields of `Money` have defaults.
FORM = 1
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS counters (key TEXT PRIMARY KEY, kind INTEGER, value BLOB, at INTEGER) WITHOUT ROWID"
)

_ALL = 2**53
_FORGET = "DELETE FROM counters WHERE at < ? OR (kind <> ? AND at < ?)"


class _Spoilt(Unreachable):
    """The row of this key can't be read."""


class _Rows(MutableMapping[str, Any]):
    """The rows of one transaction as the mapping that the rules work on."""

    def __init__(self, connection: sqlite3.Connection, kinds: dict[str, int], now: int) -> None:
        self._connection = connection
        self._kinds = kinds
        self._now = now
        # The keys of rows that could be read, or are not there.
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
            # It may be money: it stays as it is, and whoever needs it is refused, or counts alone.
            self.read.discard(key)
            raise _Spoilt(key) from None

    def __setitem__(self, key: str, value: Any) -> None:
        raw = value if isinstance(value, int) else msgspec.json.encode(value)
        # So that it is the oldest when nobody asks for it any more.
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
    """One connection to the file; its steps take tens of microseconds, so they run where they are called."""

    def __init__(
        self, path: Path, clock: Callable[[], int] = now_us, *, waits: bool = False, replicas: int = 1
    ) -> None:
        """With `waits` nobody spends before `seed` has been called. `replicas` is how many processes share the file.

        Raises `ValueError` for the file of a later version, and `sqlite3.Error`.
        """
        self.replicas = replicas
        self._waits = waits
        # What is wrong with the file, as its last step has shown.
        self._broken = ""
        # The keys of rows that can't be read.
        self._spoilt: set[str] = set()
        self._tried = 0
        self._replaced = False
        self._late: list[tuple[str, Sequence[Settlement]]] = []
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
                f"the counters in {self._path} are of a later version (form {form}; this one knows {FORM}): start that "
                "version, or remove the file while nothing runs: with server.database budgets are read from the ledger"
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
        if self._spoilt:
            damaged = (
                f"{len(self._spoilt)} rows of the counters' file in server.data can't be read, so whoever has these "
                "limits or budgets is refused: stop the gateway, and remove the file"
            )
        return CountersCondition(WAITS if self._waits else "", damaged=damaged)

    def _try_again(self) -> None:
        """Who is not ready is asked nothing: it would never find out that the file is well again."""
        now = self._clock()
        if abs(now - self._tried) >= TRY_US:
            self._tried = now
            with contextlib.suppress(Unreachable):
                self._step({"": RATE}, now, lambda rows: rows.update({"": 0}))

    async def reserve(self, request: str, demands: Sequence[Charge]) -> tuple[bool, list[LimitStatus]]:
        """See `Counters.reserve`."""
        if self._waits:
            refuse_to_spend(demands)
        self._tell_late()
        now = self._clock()
        if now - self._tidied > _TIDY_US:
            # When others hold the file, it is somebody else's turn.
            with contextlib.suppress(sqlite3.Error):
                self._tidy(now)
        kinds = {each.key: each.kind for each in demands}
        return self._step(kinds, now, lambda rows: reserve(rows, request, demands, now))

    def _tidy(self, now: int) -> None:
        """Forgets what nobody asks for any more."""
        self._tidied = now
        self._connection.execute(_FORGET, (now - _OLDEST_US, SPEND, now - _OLDEST_LIMIT_US))

    async def settle(self, request: str, settlements: Sequence[Settlement]) -> list[BudgetChange]:
        """See `Counters.settle`. While others hold the file it tries again, and at last with the next request."""
        for pause_s in PAUSES_S:
            try:
                return self._settle(request, settlements)
            except _Spoilt:
                # Time alone does not mend it.
                self._late.append((request, settlements))
                raise
            except Unreachable:
                try:
                    await asyncio.sleep(pause_s)
                except asyncio.CancelledError:
                    self._late.append((request, settlements))
                    raise
        self._late.append((request, settlements))
        raise Unreachable("others hold the counters")

    def note(self, request: str, settlements: Sequence[Settlement]) -> None:
        """See `Counters.note`."""
        self._late.append((request, settlements))

    def _settle(self, request: str, settlements: Sequence[Settlement]) -> list[BudgetChange]:
        now = self._clock()
        kinds = {each.demand.key: each.demand.kind for each in settlements}
        return self._step(kinds, now, lambda rows: settle(rows, request, settlements, now))

    def _tell_late(self) -> None:
        if self._waits or not self._late:
            return
        spoilt = self._spoilt
        late = [each for each in self._late if not any(one.demand.key in spoilt for one in each[1])]
        # Those wait until somebody's step has read their rows.
        self._late = [each for each in self._late if each not in late] if spoilt else []
        while late:
            try:
                self._settle(*late[-1])
            except _Spoilt:
                self._late.append(late[-1])
            except Unreachable:
                self._late += late
                raise
            late.pop()

    def seed(self, seeds: Sequence[OpeningBalance], before: int | None = None) -> None:
        """Sets what budgets had spent (`before` a time), where nobody has counted it here."""
        now = self._clock()

        def write(rows: _Rows) -> None:
            for each in seeds:
                try:
                    money = seeded(rows.get(each.key), each, now, before)
                except _Spoilt as error:
                    # The others' budgets don't wait for it.
                    self._note(error)
                    continue
                if money is not None:
                    rows[each.key] = money

        self._step({each.key: SPEND for each in seeds}, now, write)
        self._waits = False

    def taken(self, key: str) -> int:
        """See `Counters.taken`."""
        try:
            # Reading waits for nobody.
            money = _Rows(self._connection, {key: SPEND}, 0).get(key)
        except (sqlite3.Error, _Spoilt):
            return _ALL
        return money.total() if money is not None else 0

    def _step(self, kinds: dict[str, int], now: int, act: Callable[[_Rows], R]) -> R:
        if self._replaced or not self._is_the_same():
            # Who starts now counts in another: together they would spend a budget twice. For good, as its parts on disk
            # need no longer belong together when it is put back.
            self._replaced = True
            self._broken = "it was removed or replaced while it was used: restart the gateway"
            raise Unreachable(self._broken)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            rows = _Rows(self._connection, kinds, now)
            done = act(rows)
            self._connection.execute("COMMIT")
        except BaseException as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if isinstance(error, _Spoilt):
                self._note(error)
            if isinstance(error, sqlite3.Error):
                # Others hold the file for too long, or the disk is full.
                if getattr(error, "sqlite_errorcode", 0) & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                    self._broken = str(error)
                raise Unreachable(str(error)) from None
            raise
        self._broken = ""
        # It may have been mended, or forgotten.
        if self._spoilt:
            self._spoilt -= rows.read
        return done

    def _note(self, error: _Spoilt) -> None:
        key = str(error)
        if key not in self._spoilt:
            self._spoilt.add(key)
            structlog.get_logger().error("a row of the counters' file can't be read", counter=key)

    def _is_the_same(self) -> bool:
        """Whether the file that is open is still the one of its name."""
        try:
            return os.path.samestat(os.stat(self._path), self._file)
        except OSError:
            return False

    async def close(self) -> None:
        """Lets go of the file."""
        with contextlib.suppress(Unreachable):
            self._tell_late()
        self._connection.close()
