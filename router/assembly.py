"""Builds routers from their configs: a part of the composition root, imported only if the config has a router."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from config.kinds import opening

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from config.root import Config
    from config.routers import RouterConfig
    from contract.egress import Egress
    from contract.embedding import Vectors
    from contract.phases import Routing
    from contract.pools import Pools
    from contract.work import WorkPool


class RouterServices(Protocol):
    """What a process provides to its routers."""

    pools: Pools
    egress: Egress

    def embedder(self) -> Vectors:
        """The bundled embedding model."""
        ...


@dataclass(frozen=True)
class _Parts:
    """Implements `config.routers.RouterParts`."""

    pool: WorkPool
    egress: Egress
    embedder: Callable[[], Vectors]


class Routers:
    """The routers of one config."""

    def __init__(self, config: Config, services: RouterServices) -> None:
        self._config = config
        self._services = services
        self._made: dict[str, Routing] = {}

    async def open(self, stack: AsyncExitStack) -> None:
        """Starts all routers. They train at once if the embedding model is loaded, else later. `stack` closes them."""
        for name, config in self._config.routers.items():
            router = self._made[name] = open_router(name, config, self._services)
            stack.push_async_callback(router.close)
            await router.start()

    def routing(self, name: str | None) -> Routing | None:
        """The routing phase of a pipeline that names this router."""
        return self._made[name] if name is not None else None

    def status(self) -> dict[str, Callable[[], str]]:
        """The status of each router, as one line for people."""
        return {name: router.status for name, router in self._made.items()}


def open_router(name: str, config: RouterConfig, services: RouterServices) -> Routing:
    """Returns a router, not yet started."""
    with opening("routers", name):
        return config.open(name, _Parts(services.pools.learning, services.egress, services.embedder))
