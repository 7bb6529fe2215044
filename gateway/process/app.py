"""The process: the ASGI app and its server. Only routes and lifespan, no logic."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import operator
import os
import resource
import signal
import sys
from typing import TYPE_CHECKING, Any

import structlog
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from access.opening import open_accounts
from config.listening import is_loopback, split_listen
from config.problems import ConfigError
from config.references import stamp
from gateway import __version__
from gateway.admin.api import admin_api
from gateway.admin.service import AdminService
from gateway.assembly.building import build
from gateway.assembly.catalog import surfaces
from gateway.assembly.configuration import load
from gateway.engine.resources import Resources
from gateway.engine.runtime import Runtime
from gateway.process.admin_server import AdminServer
from gateway.process.worker_metrics import WorkerMetrics
from gateway.process.workers import notify_serving, supervise, this_worker, watch_parent
from gateway.surfaces.connections import Connections, connection_bounds
from gateway.surfaces.http import HttpCall
from gateway.surfaces.operations import operations
from gateway.surfaces.origins import Origins
from gateway.surfaces.paths import Paths
from gateway.surfaces.protocol import front_protocol
from observability.logs import configure_logging
from observability.recorder import Recorder, RecorderConfig
from observability.screen import show, styled
from observability.tracing import TracingConfig
from router.health import HealthBook
from router.policies import longest_timeouts

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from config.root import Config
    from config.sections import ServerConfig
    from gateway.process.workers import Worker
    from gateway.surfaces.http import Receive, Scope, Send

RELOAD_CHECK_S = 1.0
# The time to wait for spending data from the ledger. After it requests are served, but budgets refuse them until then.
SEED_WAIT_S = 5.0
OPEN_FILES = 65_536


# The default origins of a server on a loopback address: a developer's local pages.
_LOCAL_ORIGINS = ("http://localhost", "http://localhost:*", "http://127.0.0.1", "http://127.0.0.1:*")


def _origins(server: ServerConfig) -> Origins | None:
    """The origins whose web pages may call; None for no origin."""
    if server.cors_origins is not None:
        return Origins(server.cors_origins) if server.cors_origins else None
    return Origins(_LOCAL_ORIGINS, cached=False) if is_loopback(split_listen(server.listen)[0]) else None


class Gatehouse(FastAPI):
    """FastAPI for operations and administration.

    Model requests bypass its middleware and routing table, which would double the gateway's overhead.
    """

    def __init__(self, process: Process) -> None:
        super().__init__(
            title="Gatehouse", version=__version__, openapi_url=None, lifespan=process.lifespan, redirect_slashes=False
        )
        self._origins = process.origins
        self._paths = Paths(process.runtime, surfaces(), self._origins)
        self.include_router(operations(process.runtime))
        if process.admin_listen is None:
            self.mount("/admin", process.admin)
        self.add_exception_handler(HTTPException, _page_error)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http":
            method, path = scope["method"], scope["path"]
            endpoint = self._paths.posts.get(path) if method == "POST" else None
            if endpoint is not None or (endpoint := self._paths.find(method, path)) is not None:
                call = HttpCall(scope, receive, send, self._paths.key_headers)
                if self._origins is not None and (self._origins.cached or b"origin" in call.headers):
                    call = HttpCall(scope, receive, self._origins.open(scope, send))
                await endpoint(call)
                return
            if scope["method"] == "HEAD":
                # The HTTP server omits the body.
                scope = {**scope, "method": "GET"}
        await super().__call__(scope, receive, send)


async def _page_error(request: Request, error: Exception) -> Response:
    """The error for paths outside of all surfaces. It lists the base paths, for people with a browser."""
    path = request.url.path
    if isinstance(error, HTTPException) and error.status_code == 404 and not path.startswith("/admin"):
        hint = "OpenAI's and Anthropic's paths start with /v1, Gemini's with /v1beta; for the status see /health"
        error = HTTPException(404, f"There is no endpoint at {path[:200]}: {hint}")
    return await _http_error(request, error)


async def _http_error(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    message = str(error.detail) if isinstance(error, HTTPException) else "The gateway had an internal error"
    body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
    return JSONResponse(body, status, getattr(error, "headers", None))


def _tracing(config: Config) -> TracingConfig:
    observe = config.observe
    return TracingConfig(
        otlp=observe.otlp or "",
        protocol=observe.protocol,
        headers={name: value.reveal() for name, value in observe.headers.items()},
        sample=observe.sample,
        service_name=observe.service_name,
        service_version=__version__,
        egress=config.outbound,
    )


class Process:
    """One process: its state, and how it starts, reloads and ends."""

    def __init__(
        self, config: Config, path: Path | None, listen: str | None = None, worker: Worker | None = None
    ) -> None:
        """`path` is the config file for reloads; None disables them. `worker`: set if there are several processes."""
        self._config = self._started = config
        self._worker = worker
        self._path = path
        self._listen = listen
        health = HealthBook()
        resources = Resources(health)
        observe = config.observe
        recorder = Recorder(
            RecorderConfig(tracing=_tracing(config), log=observe.log),
            health.snapshot,
            quality=resources.quality,
            accounts=lambda: resources.accounts.state(),
        )
        self.runtime = Runtime(recorder, resources, metrics=observe.metrics)
        self._reloading = asyncio.Lock()
        # The files that the last load read or tried to read, with their state at that time.
        self._files = config.files
        self.admin = admin_api(AdminService(self.runtime, lambda: self._config, self._reload_all))
        self.admin_listen = config.admin.listen
        self.bounds = connection_bounds(config.server, _open_files())
        self.origins = _origins(config.server)

    @contextlib.asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """Builds the engine, serves, and closes everything in reverse order."""
        stack = contextlib.AsyncExitStack()
        try:
            self.runtime.recorder.start()
            self.runtime.resources.accounts = await open_accounts(self._config.server, alone=self._worker is None)
            self.runtime.install(await build(self._config, self.runtime.resources))
            await self.runtime.resources.accounts.seeded(SEED_WAIT_S)
            await self._open_listeners(stack)
        except (ValueError, OSError) as error:
            # Problems that appear only when resources are opened: a database, a folder, a missing package.
            structlog.get_logger().error("start failed", problem=str(error))
            raise
        self._record_config_load()
        self._retain_targets()
        watching = asyncio.create_task(self._watch()) if self._path is not None else None
        # Objects created until now live as long as the process: exclude them from garbage collection.
        gc.collect()
        gc.freeze()
        # Requests create almost no reference cycles; the default threshold of 700 objects costs a tenth of the time.
        gc.set_threshold(20_000, 20, 50)
        try:
            yield
        finally:
            if watching is not None:
                watching.cancel()
            await stack.aclose()
            await self.runtime.close()
            await self.runtime.resources.close()
            await self.runtime.recorder.close()
            gc.unfreeze()

    async def _open_listeners(self, stack: contextlib.AsyncExitStack) -> None:
        """Opens the other listeners: metrics for other workers, and the admin API's port."""
        worker = self._worker
        if worker is not None:
            own = self.runtime.recorder.render
            metrics = WorkerMetrics(worker.folder, worker.number, lambda: own("")[0])
            await metrics.start()
            stack.push_async_callback(metrics.close)
            self.runtime.gather = metrics.gather
        if self.admin_listen is not None and (worker is None or worker.number == 1):
            app = FastAPI(openapi_url=None, redirect_slashes=False)
            app.mount("/admin", self.admin)
            app.add_exception_handler(HTTPException, _http_error)
            server = AdminServer(app, self.admin_listen, self._config.server.trusted_proxies, self.bounds)
            await server.start()
            stack.push_async_callback(server.close)

    def _record_config_load(self) -> None:
        """Records the config load in the audit log, once for all workers."""
        if self._worker is None or self._worker.number == 1:
            for use in self._config.old_names:
                structlog.get_logger().warning(
                    "the configuration uses an old name", line=use.line, old=use.old, new=use.new
                )
            self.runtime.resources.accounts.note("config.load", self._config.digest)

    def _retain_targets(self) -> None:
        config = self._config
        callers = len(config.apps) + (config.access == "open")
        alone = callers <= 1 and config.server.database is None and not config.identity
        self.runtime.resources.health.retain(longest_timeouts(config), alone=alone)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        requested = asyncio.Event()
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(signal.SIGHUP, requested.set)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RELOAD_CHECK_S):
                    await requested.wait()
            changed = self._changed() if self._config.server.watch else []
            if requested.is_set() or changed:
                requested.clear()
                await self.reload(changed)

    def _changed(self) -> list[str]:
        """The files that have changed since they were read."""
        changed = []
        for path, before in self._files.items():
            now = stamp(path)
            # Editors may delete the YAML file before they write the new one.
            if now != before and (now is not None or path != self._path):
                changed.append(str(path))
        return sorted(changed)

    async def _reload_all(self) -> bool:
        """Reloads here first, then in all workers. Returns whether the config is valid."""
        done = await self.reload()
        if done and self._worker is not None:
            os.kill(os.getppid(), signal.SIGHUP)
        return done

    async def reload(self, changed: Sequence[str] = ()) -> bool:
        """Activates the file's config if it is valid and can be built; else the old config stays active.

        `changed` are the changed files, for the log.
        """
        log = structlog.get_logger()
        if self._path is None:
            return False
        async with self._reloading:
            # Filled even if the config is invalid, because a missing file may appear later.
            files = self._files = {}
            try:
                config = await asyncio.to_thread(load, self._path, listen=self._listen, files=files)
                engine = await build(config, self.runtime.resources)
            except ConfigError as error:
                problems = error.render()
                log.error("reload rejected, the old config stays active", problems=problems, changed=changed)
                return False
            except Exception as error:
                log.error("reload failed, the old config stays active", error=type(error).__name__)
                return False
            for part in ("server", "observe", "admin.listen"):
                now, then = operator.attrgetter(part)(config), operator.attrgetter(part)(self._started)
                if now != then:
                    log.warning("section changed, takes effect after a restart", section=part)
            self._config = config
            self.runtime.install(engine)
            self._record_config_load()
            self._retain_targets()
            log.info("reloaded", config=config.digest, changed=changed)
            return True


class Server(uvicorn.Server):
    """Fails readiness as soon as it gets a signal, before the drain starts."""

    runtime: Runtime | None = None
    shutdown_delay_s = 0.0
    _loop: asyncio.AbstractEventLoop | None = None

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Handles SIGTERM and SIGINT. A second signal skips the delay."""
        runtime = self.runtime
        if runtime is not None and self.shutdown_delay_s and self._loop is not None and not runtime.shutdown_requested:
            runtime.shutdown_requested = True
            self._loop.call_soon_threadsafe(self._loop.call_later, self.shutdown_delay_s, self._drain, sig)
        else:
            self._drain(sig)

    def _drain(self, sig: int) -> None:
        if self.runtime is not None:
            self.runtime.draining = True
        super().handle_exit(sig, None)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts, and notifies the parent process."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        notify_serving()


def serve(config_path: Path, listen: str | None = None) -> int:
    """Serves until SIGTERM or SIGINT. Returns the exit code: 2 for an invalid config, 1 if the port is in use."""
    try:
        config = load(config_path, listen=listen)
    except ConfigError as error:
        show(styled(error.pieces()), sys.stderr)
        return 2
    configure_logging(config.observe.log)
    settings = config.server
    worker = this_worker()
    drain_s = settings.drain + (settings.shutdown_delay or 0.0)
    log = structlog.get_logger()
    if worker is None:
        log.info("starting", listen=settings.listen, config=config.digest, version=__version__)
        if settings.workers > 1:
            command = [sys.executable, "-m", "gateway", "serve", "--config", str(config_path)]
            command += ["--listen", listen] if listen is not None else []
            return supervise(command, settings.host, settings.port, settings.workers, drain_s)
    watch_parent(grace_s=drain_s + 5)
    _raise_open_files()
    server = make_server(config, config_path, listen, worker)
    try:
        server.run([worker.listener] if worker is not None else None)
    except SystemExit:
        # uvicorn raises it if the start failed, after it has logged the reason.
        return 1
    return 0 if server.started else 1


def _open_files() -> int:
    """The process's limit of open files."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return OPEN_FILES if soft == resource.RLIM_INFINITY else soft


def _raise_open_files() -> None:
    """Raises the limit of open files to what the system allows: the soft limit exists for programs with `select`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def make_server(config: Config, path: Path | None, listen: str | None = None, worker: Worker | None = None) -> Server:
    """Creates a server that is ready to run."""
    process = Process(config, path, listen, worker)
    server = Server(
        uvicorn.Config(
            Gatehouse(process),
            host=config.server.host,
            port=config.server.port,
            loop="uvloop",
            http=front_protocol(Connections(process.bounds)),
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(config.server.trusted_proxies),
            forwarded_allow_ips=list(config.server.trusted_proxies),
            timeout_graceful_shutdown=max(1, round(config.server.drain)),
            backlog=4096,
        )
    )
    server.runtime = process.runtime
    server.shutdown_delay_s = config.server.shutdown_delay or 0.0
    return server
