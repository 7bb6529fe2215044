"""The state of a running process: the current engine, and what outlives it.

A reload builds a complete new engine and swaps one reference. The old engine serves the requests that use it and is
closed after the last of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from access.ledger.prices import Prices
from gateway import __version__
from gateway.engine.readiness import can_serve, impairments

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from cache.answers import AnswerCache
    from gateway.engine.pipeline import Pipeline
    from gateway.engine.resources import Resources
    from observability.recorder import Recorder
    from rag.source import Source


class Engine:
    """The running form of one config. `close` is called once, when no request uses it."""

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
        """`max_body` in bytes. `digest` identifies the config in traces and /health. `parts` return status lines."""
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
        """Counts one more request."""
        self._users += 1

    def leave(self) -> None:
        """Counts one request less."""
        self._users -= 1
        if self._users == 0 and self._retired is not None:
            self._retired.set()

    async def retire(self) -> None:
        """Waits for the last request, then closes the engine's resources."""
        self._retired = asyncio.Event()
        if self._users:
            await self._retired.wait()
        await self.close()

    async def close(self) -> None:
        """Closes the engine's resources, in use or not."""
        await self._close()


class Runtime:
    """The process state that surfaces use."""

    def __init__(self, recorder: Recorder, resources: Resources, *, metrics: bool = True) -> None:
        """`metrics` says whether /metrics is enabled."""
        self.recorder = recorder
        self.resources = resources
        self.metrics = metrics
        self.draining = False
        # It will drain soon: readiness fails, so that load balancers stop sending requests, but requests are served.
        self.shutdown_requested = False
        # Collects the metrics of all workers, if there are several.
        self.gather: Callable[[], Awaitable[bytes]] | None = None
        self._engine: Engine | None = None
        self._retiring: set[asyncio.Task[None]] = set()

    @property
    def engine(self) -> Engine:
        """The current engine."""
        if self._engine is None:
            raise RuntimeError("no engine has been installed")
        return self._engine

    @property
    def ready(self) -> bool:
        """Whether requests can be served."""
        return self.can_serve()

    def can_serve(self, *, every_app: bool = False) -> bool:
        """See `gateway.engine.readiness.can_serve`; false while starting and draining."""
        serving = self._engine is not None and not (self.draining or self.shutdown_requested)
        return serving and can_serve(self.resources.accounts, every_app=every_app)

    @property
    def status(self) -> str:
        """`starting`, `waiting` (for a required service), `draining`, `degraded` or `ready`."""
        if self.draining or self.shutdown_requested:
            return "draining"
        if self._engine is None:
            return "starting"
        if not self.ready:
            return "waiting"
        return "degraded" if self.impairments() else "ready"

    def impairments(self) -> dict[str, str]:
        """See `gateway.engine.readiness.impairments`."""
        return impairments(self.resources.accounts)

    @property
    def version(self) -> str:
        """The version of Gatehouse."""
        return __version__

    def targets(self) -> list[dict[str, Any]]:
        """The health of each target, measured on real traffic."""
        return [msgspec.to_builtins(target) for target in self.resources.health.snapshot()]

    def parts(self) -> dict[str, str]:
        """The status of each part, one line of text each."""
        engine = self._engine
        return {
            **self.resources.status(),
            **{name: status() for name, status in (engine.parts if engine else {}).items()},
        }

    @contextlib.contextmanager
    def borrow(self) -> Iterator[Engine]:
        """The engine for one request; it stays open until the request ends."""
        engine = self.engine
        engine.enter()
        try:
            yield engine
        finally:
            engine.leave()

    def install(self, engine: Engine) -> None:
        """Makes `engine` current; the previous one closes after its last request."""
        before, self._engine = self._engine, engine
        if before is not None:
            task = asyncio.get_running_loop().create_task(before.retire())
            self._retiring.add(task)
            task.add_done_callback(self._retired)

    def _retired(self, task: asyncio.Task[None]) -> None:
        self._retiring.discard(task)
        if not task.cancelled() and task.exception() is not None:
            structlog.get_logger().error("closing the previous config failed", error=str(task.exception()))

    async def close(self) -> None:
        """Closes the engine at the end of the process; requests still in flight are cut off."""
        for task in self._retiring:
            task.cancel()
        if self._engine is not None:
            await self._engine.close()
