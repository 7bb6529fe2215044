"""Builds the providers of a config."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.assembly import catalog
from gateway.providers.credentials import Credentials
from gateway.providers.remote import RemoteProvider

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AsyncExitStack

    from config.root import Config
    from contract.dialect import Dialect
    from contract.embedding import Embeds
    from contract.endpoint import Endpoint
    from contract.provider import Provider
    from gateway.engine.resources import Resources


class Parts:
    """Implements `config.providers.ProviderParts`."""

    def __init__(self, resources: Resources, stack: AsyncExitStack) -> None:
        self.egress = resources.egress
        self.quotes = resources.pools.quotes
        self._resources = resources
        self._stack = stack

    def embedder(self) -> Embeds:
        """See `ProviderParts.embedder`."""
        return self._resources.embedder()

    def dialect(self, name: str) -> Dialect:
        """See `ProviderParts.dialect`."""
        return catalog.dialect(name)

    def remote(
        self, name: str, dialect: Dialect, endpoint: Endpoint, keys: tuple[str, ...], *, trusted: bool = False
    ) -> Provider:
        """See `ProviderParts.remote`."""
        return RemoteProvider(name, dialect, endpoint, Credentials(keys), trusted=trusted)

    def owns(self, close: Callable[[], Awaitable[None]]) -> None:
        """See `ProviderParts.owns`."""
        self._stack.push_async_callback(close)


async def build_providers(config: Config, resources: Resources, stack: AsyncExitStack) -> dict[str, Provider]:
    """All providers by name. `stack` closes them."""
    parts = Parts(resources, stack)
    providers = {}
    for name, each in config.providers.items():
        providers[name] = await each.build(name, parts)
        stack.push_async_callback(providers[name].close)
    return providers
