"""The seam of the surfaces: each says at which paths it answers, and who answers there."""

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
    """Whose API it is. Several surfaces may be of one vendor: its chats, its embeddings, its files.

    `name` stands in an app's `surfaces`, and before the paths (`/openai/v1/...`). `errors` writes them in the vendor's
    shape, `models` the list of models or, with a name, one of them.
    """

    name: str
    title: str
    errors: ErrorWriter
    models: Callable[[list[str], str | None], dict[str, Any]]
    instead: str
    """Where its chats go: said to whoever asks for what is not served."""
    header: bytes = b""
    """What its SDKs always send and others never do: it tells whose a path is that several vendors have."""
    key_headers: tuple[bytes, ...] = ()
    """Where its SDKs put a key, if not into `authorization`."""
    versions: tuple[str, ...] = ()
    """Of its API beside `v1`, the usual one first."""
    rooted: tuple[str, ...] = ()
    """What stands right below its name, without a version; a name of a model follows."""
    verbs: tuple[str, ...] = ()
    """What may follow a model's name behind a colon."""
    lent: bool = False
    """Whether others serve its API below a version of their own, such as `/v1beta/openai`."""
    unserved: str = ""
    """Of the vendor's reference: what its SDKs call and nothing here answers. A path, or all below it."""

    @property
    def version(self) -> str:
        """The version of a path that leaves it out."""
        return self.versions[0] if self.versions else "v1"


class Vendors:
    """All vendors whose API is served. The first is meant where nothing tells."""

    def __init__(self, vendors: Iterable[Vendor]) -> None:
        self.by_name: dict[str, Vendor] = {each.name: each for each in vendors}
        self.of_version = {version: each for each in self.by_name.values() for version in each.versions}
        self.first = next(iter(self.by_name.values()))
        # A vendor that has no header of its own is meant where no other's tells.
        self._told = [each for each in reversed(self.by_name.values()) if each.header]

    def __iter__(self) -> Iterator[Vendor]:
        return iter(self.by_name.values())

    def calling(self, headers: Mapping[bytes, bytes]) -> Vendor:
        """Whose SDK sends these headers."""
        return next((each for each in self._told if each.header in headers), self.first)


class PathMatch(msgspec.Struct, frozen=True):
    """A request whose path a pattern matches. `values` are its parts by name, as they are meant (`%20` is a blank)."""

    method: str
    path: str
    values: dict[str, str]


class FixedPath(msgspec.Struct, frozen=True):
    """A path in which nothing varies, and its method."""

    path: str
    endpoint: Endpoint
    method: str = "POST"


class PathPattern(msgspec.Struct, frozen=True):
    """Paths in which something varies.

    `path` is a regular expression in which `{name}` stands for a part: what `parts` says of it, else one segment. Other
    methods than `methods` are refused; without any, `find` looks itself. `find` gives None for a path that is none of
    the surface's after all, and may raise a `RequestError`. `alone`: it is not served below the vendor's name as well.
    """

    path: str
    find: Callable[[PathMatch], Endpoint | None]
    methods: tuple[str, ...] = ("POST",)
    parts: Mapping[str, str] = {}
    alone: bool = False


Route: TypeAlias = FixedPath | PathPattern


class SurfaceParts(msgspec.Struct, frozen=True):
    """What a surface is made with."""

    runtime: Runtime
    bodies: BodyReader
    vendors: Vendors


class Surface(Protocol):
    """One way to ask the gateway."""

    vendor: Vendor | None
    """Whose API it is; None for what is Gatehouse's own."""
    meant: ClassVar[Mapping[str, str]] = {}
    """Ends of paths that are near to one of its own, and how that one is spelled."""

    def __init__(self, parts: SurfaceParts) -> None: ...

    def routes(self) -> Sequence[Route]:
        """Its paths, once, when the process starts."""
        ...


def wrong_method(path: str, methods: Sequence[str]) -> WrongMethod:
    """What is said to whoever calls a path that takes other methods."""
    allow = ", ".join(f"{each}, HEAD" if each == "GET" else each for each in methods)
    return WrongMethod(f"{path[:200]} takes {allow}", allow=allow)
