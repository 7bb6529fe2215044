"""Routers from their configs: the part of the composition root that knows them, imported only when one is there."""

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
    """What a process lends to its routers."""

    pools: Pools
    egress: Egress

    def embedder(self) -> Vectors:
        """The embedding model that ships."""
        ...


@dataclass(frozen=True)
class _Parts:
    """Implements `config.routers.RouterParts`."""

    pool: WorkPool
    egress: Egress
    embedder: Callable[[], Vectors]


class Routers:
    """The routers of one config."""

    def __init__(self, config: Config, lends: RouterServices) -> None:
        self._config = config
        self._lends = lends
        self._made: dict[str, Routing] = {}

    async def open(self, stack: AsyncExitStack) -> None:
        """Starts all: learned where the embedding model is there already, else learning. `stack` closes them."""
        for name, config in self._config.routers.items():
            router = self._made[name] = open_router(name, config, self._lends)
            stack.push_async_callback(router.close)
            await router.start()

    def routing(self, name: str | None) -> Routing | None:
        """The routing phase of a pipeline that names this router."""
        return self._made[name] if name is not None else None

    def status(self) -> dict[str, Callable[[], str]]:
        """How each is, in a line for people."""
        return {name: router.status for name, router in self._made.items()}


def open_router(name: str, config: RouterConfig, lends: RouterServices) -> Routing:
    """One router, not yet started."""
    with opening("routers", name):
        return config.open(name, _Parts(lends.pools.learning, lends.egress, lends.embedder))
