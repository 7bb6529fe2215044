"""Tests that every kind of provider must pass. Derive a test class from `ProviderConformance`.

    class TestEchoProvider(ProviderConformance):
        config = EchoConfig
        dialect = Echo()
        options = {"kind": "echo", "api_key": "k"}

Only tests may import this module, because it needs pytest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar

from config.providers import NetworkConfig, ProviderBase, ProviderParts
from contract.dialect import Dialect
from contract.egress import DIRECT
from contract.embedding import Embeds
from contract.endpoint import Endpoint
from contract.provider import Provider
from contract.work import WorkPool
from gateway.providers.credentials import Credentials
from gateway.providers.remote import RemoteProvider


class _Embedder:
    """Implements `Embeds`: all texts have the same vector."""

    name = "one"
    dimensions = 1
    ready = True

    def status(self) -> str:
        return "ready"

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        return [[1.0] for _ in texts]


class _Parts:
    """Implements `ProviderParts`, and records the calls."""

    def __init__(self, dialect: Dialect | None) -> None:
        self.egress = DIRECT
        self.quotes = WorkPool("quotes")
        self.endpoints: list[Endpoint] = []
        self.closing: list[Callable[[], Awaitable[None]]] = []
        self._dialect = dialect

    def embedder(self) -> Embeds:
        return _Embedder()

    def dialect(self, name: str) -> Dialect:
        assert self._dialect is not None, f"the provider uses the dialect {name}: set `dialect` in the test class"
        assert self._dialect.name == name
        return self._dialect

    def remote(
        self, name: str, dialect: Dialect, endpoint: Endpoint, keys: tuple[str, ...], *, trusted: bool = False
    ) -> Provider:
        self.endpoints.append(endpoint)
        return RemoteProvider(name, dialect, endpoint, Credentials(keys), trusted=trusted)

    def owns(self, close: Callable[[], Awaitable[None]]) -> None:
        self.closing.append(close)


class ProviderConformance:
    """The tests."""

    config: ClassVar[type[ProviderBase]]
    options: ClassVar[Mapping[str, Any]]
    """The minimal options of a valid config, as field values."""
    dialect: ClassVar[Dialect | None] = None
    """The provider's dialect; None if it uses no dialect of the catalog."""
    excess_path: ClassVar[str] = ""

    """A path that must not follow the address of a network provider."""

    def provider_config(self, more: Mapping[str, Any] | None = None) -> ProviderBase:
        """The config with the minimal options plus `more`."""
        return self.config.model_validate({**self.options, **(more or {})}, strict=False)

    def test_it_is_built_under_its_name(self) -> None:
        """It closes everything that it opened."""

        async def build() -> None:
            parts = _Parts(self.dialect)
            provider_parts: ProviderParts = parts
            provider = await self.provider_config().build("here", provider_parts)
            assert provider.name == "here"
            assert provider.dialect == (self.dialect.name if self.dialect is not None else provider.dialect)
            await provider.close()
            for close in parts.closing:
                await close()

        asyncio.run(build())

    def test_it_is_built_behind_a_proxy_and_for_http_2(self) -> None:
        """Of one behind HTTP: its calls go another way then, and its address stays."""
        network = self.provider_config().network
        if network is None:
            return

        async def build(more: Mapping[str, Any]) -> tuple[Endpoint, tuple[str, int] | None]:
            parts = _Parts(self.dialect)
            provider = await self.provider_config(more).build("here", parts)
            await provider.close()
            return parts.endpoints[0], provider.address if isinstance(provider, RemoteProvider) else None

        straight = asyncio.run(build({}))
        proxied = asyncio.run(build({"proxy": "http://127.0.0.1:9"}))
        assert proxied[0].proxy is not None
        assert proxied[1] == straight[1]
        if network.address.startswith("https://"):
            endpoint, address = asyncio.run(build({"http2": True}))
            assert endpoint.http2
            assert address == straight[1]

    def test_its_options_reach_the_endpoint(self) -> None:
        """The endpoint of an HTTP provider gets the headers, the limits and the policy for unsupported fields."""
        if not issubclass(self.config, NetworkConfig):
            return

        async def build() -> Endpoint:
            parts = _Parts(self.dialect)
            more = {"max_connections": 7, "max_response": "1MB", "unsupported_params": "refuse", "connect": "2s"}
            await self.provider_config(more).build("here", parts)
            return parts.endpoints[0]

        endpoint = asyncio.run(build())
        assert (endpoint.max_connections, endpoint.max_answer, endpoint.connect_s) == (7, 1_000_000, 2.0)
        assert endpoint.unsupported == "refuse"

    def test_its_address_is_checked(self) -> None:
        """Its default address gets no warning; an address with a path of the API does."""
        network = self.provider_config().network
        if network is None:
            return
        assert network.endpoint_of().base_url == network.address
        assert network.address_remark() is None
        if self.excess_path:
            remark = self.provider_config({network.address_key: network.address + self.excess_path}).network
            assert remark is not None
            assert remark.address_remark() is not None

    def test_its_prices_can_be_looked_up(self) -> None:
        """It is free, has a price list, or has an address to look it up by."""
        config = self.provider_config()
        assert config.free or config.price_list or config.network is not None
