"""The interface of surfaces: each declares its paths and the endpoint of each path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

import msgspec

from contract.errors import WrongMethod

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

    from gateway.engine.runtime import Runtime
    from gateway.surfaces.bodies import BodyReader
    from gateway.surfaces.http import HttpCall
    from gateway.surfaces.request import ErrorWriter

    Endpoint: TypeAlias = Callable[[HttpCall], Awaitable[None]]


class Vendor(msgspec.Struct, frozen=True):
    """The vendor of an API. Several surfaces may belong to one vendor: chat, embeddings, files.

    `name` is used in an app's `surfaces` and as a path prefix (`/openai/v1/...`). `errors` writes errors in the
    vendor's format. `models` returns the list of models or, given a name, one model.
    """

    name: str
    title: str
    errors: ErrorWriter
    models: Callable[[list[str], str | None], dict[str, Any]]
    chat_endpoint: str
    """The chat endpoint that an error suggests when a caller requests an endpoint that is not served."""
    header: bytes = b""
    """A header that only this vendor's SDKs send: it decides the vendor of a path that several vendors share."""
    key_headers: tuple[bytes, ...] = ()
    """Headers that carry the key in this vendor's SDKs, besides `authorization`."""
    versions: tuple[str, ...] = ()
    """API versions besides `v1`, the most common one first."""
    unversioned: tuple[str, ...] = ()
    """Path segments that follow the vendor's name without a version; a model's name comes next."""
    verbs: tuple[str, ...] = ()
    """Verbs that may follow a model's name after a colon."""
    has_other_hosts: bool = False
    """Whether other vendors serve this API under a version of their own, such as `/v1beta/openai`."""
    unserved_paths: str = ""
    """Paths of the vendor's API that the gateway does not serve, separated by blanks. Each includes its subpaths."""

    @property
    def version(self) -> str:
        """The default version for a path without one."""
        return self.versions[0] if self.versions else "v1"


class Vendors:
    """All vendors whose API is served. The first is the default."""

    def __init__(self, vendors: Iterable[Vendor]) -> None:
        self.by_name: dict[str, Vendor] = {each.name: each for each in vendors}
        self.by_version = {version: each for each in self.by_name.values() for version in each.versions}
        self.first = next(iter(self.by_name.values()))
        # A vendor without such a header can only be the default.
        self._with_header = [each for each in reversed(self.by_name.values()) if each.header]

    def __iter__(self) -> Iterator[Vendor]:
        return iter(self.by_name.values())

    def calling(self, headers: Mapping[bytes, bytes]) -> Vendor:
        """The vendor whose SDK sent these headers."""
        return next((each for each in self._with_header if each.header in headers), self.first)


class PathMatch(msgspec.Struct, frozen=True):
    """A request whose path matches a pattern. `values` maps part names to percent-decoded text."""

    method: str
    path: str
    values: dict[str, str]


class FixedPath(msgspec.Struct, frozen=True):
    """A path without variable parts, and its method."""

    path: str
    endpoint: Endpoint
    method: str = "POST"


class PathPattern(msgspec.Struct, frozen=True):
    """Paths with variable parts.

    `path` is a regular expression in which `{name}` is a part: the expression in `parts`, else one segment. Methods
    other than `methods` are refused; if `methods` is empty, `find` checks the method itself. `find` returns None if the
    path does not belong to the surface, and may raise a `RequestError`. `vendor_prefix` says whether the path is also
    served under the vendor's name.
    """

    path: str
    find: Callable[[PathMatch], Endpoint | None]
    methods: tuple[str, ...] = ("POST",)
    parts: Mapping[str, str] = {}
    vendor_prefix: bool = True


Route: TypeAlias = FixedPath | PathPattern


class SurfaceParts(msgspec.Struct, frozen=True):
    """The arguments of a surface's constructor."""

    runtime: Runtime
    bodies: BodyReader
    vendors: Vendors


class Surface(Protocol):
    """A group of HTTP endpoints of the gateway."""

    vendor: Vendor | None
    """The vendor of the API; None for Gatehouse's own API."""
    similar_paths: ClassVar[Mapping[str, str]] = {}
    """Path endings that resemble one of its own paths, each with the endpoint to suggest."""

    def __init__(self, parts: SurfaceParts) -> None: ...

    def routes(self) -> Sequence[Route]:
        """Its paths. Called once, when the process starts."""
        ...


def wrong_method(path: str, methods: Sequence[str]) -> WrongMethod:
    """The error for a request whose path does not support its method."""
    allow = ", ".join(f"{each}, HEAD" if each == "GET" else each for each in methods)
    return WrongMethod(f"{path[:200]} supports only {allow}", allow=allow)
