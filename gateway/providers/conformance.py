"""What holds for every kind of provider, as tests: a class of tests derives from `ProviderConformance`.

    class TestEchoProvider(ProviderConformance):
        config = EchoConfig
        dialect = Echo()
        options = {"kind": "echo", "api_key": "k"}

It needs pytest, which nothing else here does: only tests import this module.
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
    """Implements `Embeds`: all texts mean the same."""

    name = "one"
    dimensions = 1
    ready = True

    def status(self) -> str:
        return "ready"

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        return [[1.0] for _ in texts]


class _Parts:
    """Implements `ProviderParts`, and keeps what it was asked for."""

    def __init__(self, dialect: Dialect | None) -> None:
        self.egress = DIRECT
        self.quotes = WorkPool("quotes")
        self.endpoints: list[Endpoint] = []
        self.closing: list[Callable[[], Awaitable[None]]] = []
        self._dialect = dialect

    def embedder(self) -> Embeds:
        return _Embedder()

    def dialect(self, name: str) -> Dialect:
        assert self._dialect is not None, f"it asks for the dialect {name}: name it in the class of tests"
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
    """What a file must say of it at least, in the values that the fields have."""
    dialect: ClassVar[Dialect | None] = None
    """What it speaks; None for one without a dialect of the catalog."""
    too_much: ClassVar[str] = ""
    """A path that does not belong behind its address, where it is reached over the network."""

    def made(self, more: Mapping[str, Any] | None = None) -> ProviderBase:
        """The config from the options and what is given beside them."""
        return self.config.model_validate({**self.options, **(more or {})}, strict=False)

    def test_it_is_built_under_its_name(self) -> None:
        """And leaves nothing open."""

        async def build() -> None:
            parts = _Parts(self.dialect)
            asked: ProviderParts = parts
            provider = await self.made().build("here", asked)
            assert provider.name == "here"
            assert provider.dialect == (self.dialect.name if self.dialect is not None else provider.dialect)
            await provider.close()
            for close in parts.closing:
                await close()

        asyncio.run(build())

    def test_it_is_built_behind_a_proxy_and_for_http_2(self) -> None:
        """Of one behind HTTP: its calls go another way then, and its address stays."""
        network = self.made().network
        if network is None:
            return

        async def build(more: Mapping[str, Any]) -> tuple[Endpoint, tuple[str, int] | None]:
            parts = _Parts(self.dialect)
            provider = await self.made(more).build("here", parts)
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
        """Of one behind HTTP: headers, bounds and what to do with fields that can't be said."""
        if not issubclass(self.config, NetworkConfig):
            return

        async def build() -> Endpoint:
            parts = _Parts(self.dialect)
            more = {"max_connections": 7, "max_response": "1MB", "unsupported_params": "refuse", "connect": "2s"}
            await self.made(more).build("here", parts)
            return parts.endpoints[0]

        endpoint = asyncio.run(build())
        assert (endpoint.max_connections, endpoint.max_answer, endpoint.connect_s) == (7, 1_000_000, 2.0)
        assert endpoint.unsupported == "refuse"

    def test_its_address_is_looked_at(self) -> None:
        """The one that it has raises no doubts; one with a path of the API's own does."""
        network = self.made().network
        if network is None:
            return
        assert network.endpoint_of().base_url == network.address
        assert network.address_remark() is None
        if self.too_much:
            remark = self.made({network.address_key: network.address + self.too_much}).network
            assert remark is not None
            assert remark.address_remark() is not None

    def test_what_it_costs_can_be_looked_up(self) -> None:
        """By nobody, by a list's name, or by its address."""
        made = self.made()
        assert made.free or made.price_list or made.network is not None
