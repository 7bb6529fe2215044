"""Proves queries in subprocesses, so that a query that takes too long to parse can be aborted."""

from __future__ import annotations

import threading

from contract.work import WorkPool
from rag.tables.child import START_S, Child, ChildStopped
from rag.tables.columns import Allowed, SqlRefused
from rag.tables.rows import QueryFailed

PROOF_S = 5.0
_THREADS = 3


class Prover:
    """Proves SQL that a model wrote; reuses its subprocesses."""

    def __init__(self, pool: WorkPool | None = None) -> None:
        """`pool` provides the threads that wait for proofs."""
        self._pool = pool or WorkPool("sql", _THREADS)
        self._lock = threading.Lock()
        self._idle: list[Child] = []
        self._closed = False

    async def prove(self, sql: str, allowed: Allowed, limit: int, caller: str = "") -> str:
        """See `rag.tables.safety.prove`."""
        return await self._pool.run(caller, self._prove, sql, allowed, limit)

    def _prove(self, sql: str, allowed: Allowed, limit: int) -> str:
        with self._lock:
            child = self._idle.pop() if self._idle else None
        try:
            if child is None:
                child = Child("proof")
                child.ask("open", [], START_S)
            answer = child.ask("prove", [sql, allowed.dialect, allowed.tables, limit], PROOF_S)
        except (ChildStopped, OSError):
            raise SqlRefused("it takes too long to parse: write a simpler query") from None
        except QueryFailed as error:
            assert child is not None
            self._release(child)
            raise SqlRefused(str(error)) from None
        self._release(child)
        return answer.sql

    def _release(self, child: Child) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(child)
                return
        child.kill()

    def close(self) -> None:
        """Kills the subprocesses."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for child in idle:
            child.kill()
