"""`providers`: what every provider says of itself, and what all those behind HTTP have.

The kinds stand beside what they build; the catalog names them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol, TypeAlias
from urllib.parse import urlsplit

import msgspec
from pydantic import Field, model_validator

from config.access import LimitsConfig
from config.egress import NONE, ProxyUrl
from config.findings import wrong
from config.secret import ApiKey, Secret
from config.struct import Checked, Component, Flag, Whole
from config.units import Duration, Size
from contract.egress import read_proxy
from contract.endpoint import MAX_ANSWER_BYTES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from config.document import Path
    from contract.dialect import Dialect
    from contract.egress import Egress, Proxy
    from contract.embedding import Embeds
    from contract.endpoint import Endpoint
    from contract.provider import Provider
    from contract.work import WorkPool

UnsupportedParams: TypeAlias = Literal["drop", "refuse"]


def _header_name(value: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", value) is None:
        raise wrong("this is no name of an HTTP header", "write it like X-Team")
    return value


HeaderName = Annotated[str, Checked(_header_name, r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]
Headers = dict[HeaderName, Secret]


MaxAnswer = Annotated[
    Size,
    Field(
        description="The most bytes that one answer may have, all of a stream counted; what is longer is broken off."
    ),
]
KEYED = (("api_key",), ("api_keys",))


class ProviderParts(Protocol):
    """What a provider is made with."""

    egress: Egress
    quotes: WorkPool

    def embedder(self) -> Embeds:
        """The built-in one, loaded in the background."""
        ...

    def dialect(self, name: str) -> Dialect:
        """The dialect that the catalog has under this name. Raises `ValueError`."""
        ...

    def remote(
        self, name: str, dialect: Dialect, endpoint: Endpoint, keys: tuple[str, ...], *, trusted: bool = False
    ) -> Provider:
        """A provider behind HTTP."""
        ...

    def owns(self, close: Callable[[], Awaitable[None]]) -> None:
        """`close` is called when the engine goes, after the provider itself is closed."""
        ...


class ProviderBase(Component):
    """What every provider says of itself; a kind gives its options, the facts and `build`."""

    free: ClassVar[bool] = False
    """Whether nobody pays for its answers."""
    price_list: ClassVar[str] = ""
    """Whose prices hold, as genai-prices names the vendor; empty: the address tells."""
    models_of: ClassVar[str] = ""
    """Whose models it usually has, as genai-prices names the vendor: for a hint at the nearest name."""

    @property
    def network(self) -> NetworkConfig | None:
        """Itself, if it is reached over the network with a key of its own."""
        return None

    async def build(self, name: str, parts: ProviderParts) -> Provider:
        """The provider called `name`. The engine closes it."""
        raise NotImplementedError(f"{type(self).__name__} has no build")


class NetworkConfig(ProviderBase):
    """What every provider behind HTTP has. Several keys are used in rotation."""

    renamed: ClassVar[Mapping[str, str]] = {"max_answer": "max_response"}

    speaks: ClassVar[str] = ""
    """The dialect, as the catalog names it; one of another package as `module:Class`."""
    address_key: ClassVar[str] = "base_url"
    """The field that holds the address."""
    adds: ClassVar[str] = r"(?!)"
    """The paths that follow the address by themselves, as a pattern: an address that ends so has them twice."""

    kind: str = Field(description="The dialect and its options.")
    api_key: ApiKey | None = Field(default=None, description="The credential, as a reference.")
    api_keys: tuple[ApiKey, ...] = Field(default=(), description="Several credentials, used in rotation.")
    headers: Headers = Field(default={}, description="Headers to send with every request; values count as secrets.")
    trusted: Flag = Field(
        default=False, description="Self-hosted: gets the original values where others get masked ones."
    )
    connect: Duration = Field(default=5.0, description="Time to open a connection.")
    proxy: ProxyUrl | None = Field(
        default=None,
        description="The proxy that this provider is reached through, whatever its address; `none` for none. Without "
        "it `egress` holds.",
        examples=["http://proxy.internal:3128"],
    )
    http2: Flag = Field(
        default=False,
        description="Whether it is called by HTTP/2, which has to be at an https address; without it by HTTP/1.1.",
    )
    max_connections: Whole = Field(default=1000, ge=1, description="Connections open at the same time.")
    max_response: MaxAnswer = MAX_ANSWER_BYTES
    unsupported_params: UnsupportedParams = Field(
        default="drop", description="What to do with request fields that the provider's dialect can't say."
    )
    limits: LimitsConfig | None = Field(
        default=None, description="How much is asked of it at most; beyond that the next target is tried."
    )

    @property
    def keys(self) -> tuple[Secret, ...]:
        """All credentials in the order in which they are used; empty for a server that asks for none."""
        return (self.api_key,) if self.api_key else self.api_keys

    @property
    def network(self) -> NetworkConfig | None:
        """See `ProviderBase.network`."""
        return self

    @property
    def address(self) -> str:
        """The URL that it is asked at."""
        return str(getattr(self, self.address_key))

    def address_remark(self) -> tuple[str, str] | None:
        """What is doubtful about the address, and what to do; None for nothing."""
        parts = urlsplit(self.address)
        bare = parts.path.rstrip("/")
        found = re.search(f"(?:{self.adds})$", bare)
        if found is None or not found[0].strip("/"):
            return None
        message = f"Gatehouse adds the API's own path to this address, so {found[0]} is too much"
        right = parts._replace(path=bare[: found.start()], query="", fragment="").geturl()
        return message, f"write {right}"

    def endpoint_of(self) -> Endpoint:
        """Where its paths begin, how a key travels, and what is peculiar to the server."""
        raise NotImplementedError(f"{type(self).__name__} has no endpoint")

    async def build(self, name: str, parts: ProviderParts) -> Provider:
        """See `ProviderBase.build`."""
        endpoint = msgspec.structs.replace(
            self.endpoint_of(),
            headers={key.lower(): value.reveal() for key, value in self.headers.items()},
            unsupported=self.unsupported_params,
            max_answer=self.max_response,
            connect_s=self.connect,
            max_connections=self.max_connections,
            http2=self.http2,
            proxy=self._proxy(parts.egress),
        )
        keys = tuple(key.reveal() for key in self.keys)
        return parts.remote(name, parts.dialect(self.speaks), endpoint, keys, trusted=self.trusted)

    def _proxy(self, egress: Egress) -> Proxy | None:
        """Its own holds for any address."""
        if self.proxy is None:
            return egress.proxy_for(self.address)
        return None if self.proxy.reveal() == NONE else read_proxy(self.proxy.reveal())

    @classmethod
    def needed_extras(cls, values: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
        """What reads and writes its frames."""
        if str(values.get("http2")).lower() == "true":
            yield ("http2",), "http2"

    @model_validator(mode="after")
    def _http2_needs_tls(self) -> NetworkConfig:
        if self.http2 and not self.address.startswith("https://"):
            raise wrong("http2 is only spoken at https addresses", "write an https address, or take http2 out")
        return self

    @model_validator(mode="after")
    def _one_kind_of_key(self) -> NetworkConfig:
        if self.api_key and self.api_keys:
            raise wrong("api_key and api_keys are both given", "keep api_keys and put all keys there")
        if not self.keys and self._needs_key():
            raise wrong("a key is missing", 'add api_key: "${...}" with the name of an environment variable')
        return self

    def _needs_key(self) -> bool:
        return True
