"""What a running process holds: the engine that serves now, and what outlives it.

A reload builds a new engine whole and swaps one reference; the old one serves the requests that borrowed it and
is closed after the last of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from access.ledger.prices import Prices
from gateway import __version__
from gateway.engine.readiness import can_serve, impaired

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from cache.answers import AnswerCache
    from gateway.engine.pipeline import Pipeline
    from gateway.engine.resources import Resources
    from observability.recorder import Recorder
    from rag.source import Source


class Engine:
    """One config made to run. `close` is called once, when nobody uses it any more."""

    __slots__ = (
        "_close",
        "_retired",
        "_users",
        "caches",
        "digest",
        "keepalive_s",
        "max_body",
        "parts",
        "pipeline",
        "prices",
        "sources",
    )

    def __init__(
        self,
        pipeline: Pipeline,
        close: Callable[[], Awaitable[None]],
        *,
        digest: str,
        max_body: int,
        keepalive_s: float,
        parts: Mapping[str, Callable[[], str]],
        sources: Mapping[str, Source] | None = None,
        caches: Mapping[str, AnswerCache] | None = None,
        prices: Prices | None = None,
    ) -> None:
        """`max_body` in bytes; `digest` names the config on traces and in /health; `parts` tell how they are."""
        self.pipeline = pipeline
        self.digest = digest
        self.max_body = max_body
        self.keepalive_s = keepalive_s
        self.parts = parts
        self.sources = sources or {}
        self.caches = caches or {}
        self.prices = prices if prices is not None else Prices({}, {})
        self._close = close
        self._users = 0
        self._retired: asyncio.Event | None = None

    def enter(self) -> None:
        """One more request uses it."""
        self._users += 1

    def leave(self) -> None:
        """One less."""
        self._users -= 1
        if self._users == 0 and self._retired is not None:
            self._retired.set()

    async def retire(self) -> None:
        """Waits for the last request, then closes what it owns."""
        self._retired = asyncio.Event()
        if self._users:
            await self._retired.wait()
        await self.close()

    async def close(self) -> None:
        """Closes what it owns, in use or not."""
        await self._close()


class Runtime:
    """The process's state that surfaces see."""

    def __init__(self, recorder: Recorder, resources: Resources, *, metrics: bool = True) -> None:
        """`metrics` says whether /metrics answers."""
        self.recorder = recorder
        self.resources = resources
        self.metrics = metrics
        self.draining = False
        # It will drain soon: load balancers are to look elsewhere, and requests are taken meanwhile.
        self.leaving = False
        # All workers' metrics, where there are several.
        self.gather: Callable[[], Awaitable[bytes]] | None = None
        self._engine: Engine | None = None
        self._retiring: set[asyncio.Task[None]] = set()

    @property
    def engine(self) -> Engine:
        """The one that serves now."""
        if self._engine is None:
            raise RuntimeError("no engine has been installed")
        return self._engine

    @property
    def ready(self) -> bool:
        """Whether requests can be served."""
        return self.can_serve()

    def can_serve(self, *, everybody: bool = False) -> bool:
        """See `gateway.engine.readiness.can_serve`; never while starting and ending."""
        serving = self._engine is not None and not (self.draining or self.leaving)
        return serving and can_serve(self.resources.accounts, everybody=everybody)

    @property
    def status(self) -> str:
        """`starting`, `waiting` for what it can't serve without, `draining`, `degraded` or `ready`."""
        if self.draining or self.leaving:
            return "draining"
        if self._engine is None:
            return "starting"
        if not self.ready:
            return "waiting"
        return "degraded" if self.impaired() else "ready"

    def impaired(self) -> dict[str, str]:
        """See `gateway.engine.readiness.impaired`."""
        return impaired(self.resources.accounts)

    @property
    def version(self) -> str:
        """Of the program."""
        return __version__

    def targets(self) -> list[dict[str, Any]]:
        """How each target has been doing, from real traffic."""
        return [msgspec.to_builtins(target) for target in self.resources.health.snapshot()]

    def parts(self) -> dict[str, str]:
        """How each part is, in a line for people."""
        engine = self._engine
        return {
            **self.resources.status(),
            **{name: status() for name, status in (engine.parts if engine else {}).items()},
        }

    @contextlib.contextmanager
    def borrow(self) -> Iterator[Engine]:
        """The engine for one request, kept open until the request is over."""
        engine = self.engine
        engine.enter()
        try:
            yield engine
        finally:
            engine.leave()

    def install(self, engine: Engine) -> None:
        """Serves from `engine` from now on; the one before ends with its last request."""
        before, self._engine = self._engine, engine
        if before is not None:
            task = asyncio.get_running_loop().create_task(before.retire())
            self._retiring.add(task)
            task.add_done_callback(self._retired)

    def _retired(self, task: asyncio.Task[None]) -> None:
        self._retiring.discard(task)
        if not task.cancelled() and task.exception() is not None:
            structlog.get_logger().error("closing the former config failed", error=str(task.exception()))

    async def close(self) -> None:
        """The end of the process: requests have been drained, or will be cut."""
        for task in self._retiring:
            task.cancel()
        if self._engine is not None:
            await self._engine.close()
