"""`providers`: the base of all provider configs, and the options of providers reached over HTTP.

Each kind's config is next to the code that it builds; the catalog lists the kinds.
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
        raise wrong("this is not a valid HTTP header name", "write it like X-Team")
    return value


HeaderName = Annotated[str, Checked(_header_name, r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]
Headers = dict[HeaderName, Secret]


MaxAnswer = Annotated[
    Size,
    Field(
        description="The largest size of one response; for a stream, of all its chunks. A larger response is cut off."
    ),
]
KEYED = (("api_key",), ("api_keys",))


class ProviderParts(Protocol):
    """What a provider is built with."""

    egress: Egress
    quotes: WorkPool

    def embedder(self) -> Embeds:
        """The built-in embedding model, loaded in the background."""
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
        """Registers `close`; the engine calls it when it closes, after the provider is closed."""
        ...


class ProviderBase(Component):
    """The base of provider configs. A kind adds its options, the facts below and `build`."""

    free: ClassVar[bool] = False
    """Whether its responses cost nothing."""
    price_list: ClassVar[str] = ""
    """The vendor in genai-prices whose prices apply; if empty, the address decides."""
    models_of: ClassVar[str] = ""
    """The vendor in genai-prices whose models it usually serves: used to suggest the nearest model name."""

    @property
    def network(self) -> NetworkConfig | None:
        """Itself, if it is reached over the network with its own key."""
        return None

    async def build(self, name: str, parts: ProviderParts) -> Provider:
        """Returns the provider called `name`. The engine closes it."""
        raise NotImplementedError(f"{type(self).__name__} has no build")


class NetworkConfig(ProviderBase):
    """Options of every provider reached over HTTP. Several keys are used in rotation."""

    renamed: ClassVar[Mapping[str, str]] = {"max_answer": "max_response"}

    speaks: ClassVar[str] = ""
    """The dialect's name in the catalog; a dialect of another package as `module:Class`."""
    address_key: ClassVar[str] = "base_url"
    """The field that holds the address."""
    adds: ClassVar[str] = r"(?!)"
    """A pattern of the paths that the dialect appends to the address: an address that ends in one has it twice."""

    kind: str = Field(description="The dialect and its options.")
    api_key: ApiKey | None = Field(default=None, description="The API key, as a reference.")
    api_keys: tuple[ApiKey, ...] = Field(default=(), description="Several API keys, used in rotation.")
    headers: Headers = Field(
        default={}, description="Headers to send with every request; their values are masked like secrets."
    )
    trusted: Flag = Field(
        default=False,
        description="Self-hosted and trusted: receives original values where other providers receive masked ones.",
    )
    connect: Duration = Field(default=5.0, description="Time limit for opening a connection.")
    proxy: ProxyUrl | None = Field(
        default=None,
        description="The proxy for this provider, whatever its address; `none` disables the proxy. By default `egress` "
        "applies.",
        examples=["http://proxy.internal:3128"],
    )
    http2: Flag = Field(
        default=False,
        description="Whether to use HTTP/2, which needs an https address; otherwise HTTP/1.1.",
    )
    max_connections: Whole = Field(default=1000, ge=1, description="The most open connections.")
    max_response: MaxAnswer = MAX_ANSWER_BYTES
    unsupported_params: UnsupportedParams = Field(
        default="drop", description="What to do with request fields that the provider's API does not support."
    )
    limits: LimitsConfig | None = Field(
        default=None, description="Rate limits of calls to this provider; beyond them the next target is tried."
    )

    @property
    def keys(self) -> tuple[Secret, ...]:
        """All API keys in rotation order; empty for a server that needs none."""
        return (self.api_key,) if self.api_key else self.api_keys

    @property
    def network(self) -> NetworkConfig | None:
        """See `ProviderBase.network`."""
        return self

    @property
    def address(self) -> str:
        """The URL of its server."""
        return str(getattr(self, self.address_key))

    def address_remark(self) -> tuple[str, str] | None:
        """A warning about a doubtful address, and the cure; None if the address looks right."""
        parts = urlsplit(self.address)
        bare = parts.path.rstrip("/")
        found = re.search(f"(?:{self.adds})$", bare)
        if found is None or not found[0].strip("/"):
            return None
        message = f"Gatehouse appends the API path to this address, so {found[0]} would be there twice"
        right = parts._replace(path=bare[: found.start()], query="", fragment="").geturl()
        return message, f"write {right}"

    def endpoint_of(self) -> Endpoint:
        """The base URL, how the key is sent, and what is specific to the server."""
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
        """The proxy to use; the provider's own setting applies to any address."""
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
            raise wrong("api_key and api_keys are both given", "put all keys in api_keys and remove api_key")
        if not self.keys and self._needs_key():
            raise wrong("the API key is missing", 'add api_key: "${...}" with the name of an environment variable')
        return self

    def _needs_key(self) -> bool:
        return True
