"""Which path means which endpoint: one table for the fixed paths of all surfaces, one pattern for all others."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import unquote

from contract.errors import NotAllowed, RequestError, UnknownPath
from gateway.surfaces.bodies import BodyReader
from gateway.surfaces.origins import METHODS
from gateway.surfaces.path_suggestions import PathSuggestions
from gateway.surfaces.request import run_request
from gateway.surfaces.surface import FixedPath, PathMatch, PathPattern, SurfaceParts, Vendors, wrong_method

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.engine.runtime import Runtime
    from gateway.surfaces.http import HttpCall
    from gateway.surfaces.origins import Origins
    from gateway.surfaces.surface import Endpoint, Surface, Vendor

# Served by others, under these names only.
_OTHERS = frozenset({"admin", "health", "livez", "readyz", "metrics"})
# The first part of a path, where nothing in it varies.
_HEAD = re.compile(r"/([A-Za-z0-9_-]+)(?=/|\Z)")
_PART = re.compile(r"\{([a-z]+)\}")


class Paths:
    """Finds the endpoint of a request among those that speak to models."""

    def __init__(self, runtime: Runtime, surfaces: Sequence[type[Surface]], origins: Origins | None = None) -> None:
        """`origins`: whose web pages may call; None for nobody's."""
        self._runtime = runtime
        self._origins = origins
        self._vendors = vendors = Vendors(each.vendor for each in surfaces if each.vendor is not None)
        # Every vendor's, whoever is asked: two keys that differ are refused.
        self.key_headers = tuple({header: None for each in vendors for header in each.key_headers})
        parts = SurfaceParts(runtime, BodyReader(), vendors)
        self.posts: dict[str, Endpoint] = {}
        self._methods: dict[str, dict[str, Endpoint]] = {}
        self._of_path: list[tuple[str, Vendor]] = []
        self._patterns: dict[str, tuple[PathPattern, tuple[tuple[str, str], ...]]] = {}
        written: list[str] = []
        made = [(surface, surface.routes()) for surface in [each(parts) for each in surfaces]]
        for surface, routes in made:
            for route in routes:
                if isinstance(route, FixedPath):
                    self._mount(surface.vendor, route)
                else:
                    number = len(self._patterns)
                    written.append(_written(number, surface.vendor, route))
                    named_parts = tuple((name, f"p{number}_{name}") for name in _PART.findall(route.path))
                    self._patterns[f"p{number}"] = (route, named_parts)
        self._match = re.compile(f"(?:{'|'.join(written)})\\Z").match
        self._nearby = PathSuggestions(vendors, made)
        begun = [*self._methods, *(pattern.path for pattern, _ in self._patterns.values())]
        heads = {
            "v1",
            *vendors.by_name,
            *vendors.of_version,
            *(found[1] for each in begun if (found := _HEAD.match(each))),
        }
        self._ours = re.compile(f"/(?:{'|'.join(map(re.escape, sorted(heads)))})(?:/|\\Z)").match

    def _mount(self, vendor: Vendor | None, route: FixedPath) -> None:
        paths = [route.path]
        if vendor is not None:
            paths.append(f"/{vendor.name}{route.path}")
            self._of_path.append((route.path, vendor))
        for path in paths:
            self._methods.setdefault(path, {})[route.method] = route.endpoint
            if route.method == "POST":
                self.posts[path] = route.endpoint

    def find(self, method: str, path: str) -> Endpoint | None:
        """The endpoint; one that answers 404 or 405 for a path near ours; None for a path that is none of ours."""
        if method == "POST":
            endpoint = self.posts.get(path)
            if endpoint is not None:
                return endpoint
        if method == "OPTIONS" and (
            path == "*" or self._ours(path) or self._match(path) or self._nearby.served_as(path)
        ):
            return partial(self._options, path)
        return self._find(method, path)

    def _find(self, method: str, path: str) -> Endpoint | None:
        if method == "HEAD":
            # The server leaves out the body.
            method = "GET"
        endpoint = self._find_exactly(method, path)
        if endpoint is not None:
            return endpoint
        if path[1:].partition("/")[0] in _OTHERS:
            return None
        meant = self._nearby.served_as(path)
        if meant is not None and meant != path:
            endpoint = self._find_exactly(method, meant)
            if endpoint is not None:
                return partial(_under_its_name, endpoint, meant)
        said, vendor = self._nearby.explain(path)
        if not said and self._ours(path) is None:
            return None
        return self._refuse(path, UnknownPath(said or f"There is no endpoint at {path[:200]}"), vendor)

    def _find_exactly(self, method: str, path: str) -> Endpoint | None:
        """The endpoint of a path as it is spelled, or one that refuses the method."""
        methods = self._methods.get(path)
        if methods is not None:
            return methods.get(method) or self._wrong_method(path, list(methods))
        match = self._match(path)
        if match is None or match.lastgroup is None:
            return None
        pattern, groups = self._patterns[match.lastgroup]
        if pattern.methods and method not in pattern.methods:
            return self._wrong_method(path, pattern.methods)
        values = {name: match[group] or "" for name, group in groups}
        if "%" in path:
            values = {name: unquote(value) for name, value in values.items()}
        try:
            return pattern.find(PathMatch(method, path, values))
        except RequestError as error:
            return self._refuse(path, error)

    async def _options(self, path: str, call: HttpCall) -> None:
        """Answers what a browser asks before a call: without a key, and without telling what there is."""
        origin = call.headers.get(b"origin")
        if origin is not None and b"access-control-request-method" in call.headers:
            if self._origins is None or not self._origins.allows(origin):
                error = NotAllowed(
                    "Pages of this origin may not call from a browser: server.cors_origins does not list it"
                )
                await self._refuse(path, error)(call)
                return
            await call.begin(204, self._origins.preflight_headers(call.headers))
        else:
            await call.begin(204, [(b"allow", METHODS)])
        await call.end(b"")

    def _wrong_method(self, path: str, methods: Sequence[str]) -> Endpoint:
        return self._refuse(path, wrong_method(path, methods))

    def _refuse(self, path: str, error: RequestError, vendor: str = "") -> Endpoint:
        """Answers with `error` in the shape of `vendor`, or of the one whose path it is."""
        first = path.split("/", 2)[1] if path.startswith("/") else ""
        begun = next((each for known, each in self._of_path if path.startswith(known)), None)
        vendors = self._vendors
        whose = vendors.by_name.get(vendor or first) or vendors.of_version.get(first) or begun

        async def refuse(call: HttpCall) -> None:
            async def answer(*_: object) -> None:
                raise error

            told = vendors.calling(call.headers)
            # Below /v1 stand paths of several (`files`): then the headers of a vendor's SDK tell.
            known = told if whose is None or (path.startswith("/v1/") and told is not vendors.first) else whose
            await run_request(self._runtime, call, "unknown path", known.errors, answer)

        return refuse


def _written(number: int, vendor: Vendor | None, pattern: PathPattern) -> str:
    """The pattern as a group `pN` of a regular expression, its parts as groups `pN_name`."""

    def part(found: re.Match[str]) -> str:
        return f"(?P<p{number}_{found[1]}>{pattern.parts.get(found[1], '[^/]+')})"

    prefix = f"(?:/{vendor.name})?" if vendor is not None and not pattern.alone else ""
    return f"(?P<p{number}>{prefix}{_PART.sub(part, pattern.path)})"


async def _under_its_name(endpoint: Endpoint, path: str, call: HttpCall) -> None:
    """Serves a path that was spelled otherwise: what may be called is decided by the name that we know."""
    call.path = path
    await endpoint(call)
