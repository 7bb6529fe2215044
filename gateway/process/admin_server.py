"""Serves the admin API on a separate port, in the gateway's process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog
import uvicorn

from config.listening import split_listen
from gateway.surfaces.connections import Connections, admin_bounds
from gateway.surfaces.protocol import front_protocol

if TYPE_CHECKING:
    from fastapi import FastAPI

    from gateway.surfaces.connections import Bounds

DRAIN_S = 5


class AdminServer:
    """A second server on the running event loop."""

    def __init__(self, app: FastAPI, listen: str, proxies: Sequence[str], bounds: Bounds) -> None:
        self._listen = listen
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=front_protocol(Connections(admin_bounds(bounds))),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=bool(proxies),
                forwarded_allow_ips=list(proxies),
                timeout_graceful_shutdown=DRAIN_S,
            )
        )
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listens. Raises `OSError` if the port is in use."""
        host, port = split_listen(self._listen)
        # Bound here, because uvicorn would exit the process if the port is in use.
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=128)
        structlog.get_logger().info("admin API listening", address=listener.getsockname()[:2])
        # `_serve` instead of `serve`: the main server handles signals.
        self._serving = asyncio.create_task(self._server._serve([listener]))

    async def close(self) -> None:
        """Stops after the requests in flight."""
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving
