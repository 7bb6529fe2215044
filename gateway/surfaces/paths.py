"""Maps paths to endpoints: one table for the fixed paths of all surfaces, one regular expression for all others."""

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

# Served elsewhere in the process, under these names only.
_RESERVED = frozenset({"admin", "health", "livez", "readyz", "metrics"})
# The first segment of a path, if it has no variable part.
_FIRST_SEGMENT = re.compile(r"/([A-Za-z0-9_-]+)(?=/|\Z)")
_PART = re.compile(r"\{([a-z]+)\}")


class Paths:
    """Finds the endpoint of a request among all surfaces."""

    def __init__(self, runtime: Runtime, surfaces: Sequence[type[Surface]], origins: Origins | None = None) -> None:
        """`origins`: the origins whose web pages may call; None for no origin."""
        self._runtime = runtime
        self._origins = origins
        self._vendors = vendors = Vendors(each.vendor for each in surfaces if each.vendor is not None)
        # The key headers of all vendors, on every path: two different keys are refused.
        self.key_headers = tuple({header: None for each in vendors for header in each.key_headers})
        parts = SurfaceParts(runtime, BodyReader(), vendors)
        self.posts: dict[str, Endpoint] = {}
        self._methods: dict[str, dict[str, Endpoint]] = {}
        self._vendor_by_path: list[tuple[str, Vendor]] = []
        self._patterns: dict[str, tuple[PathPattern, tuple[tuple[str, str], ...]]] = {}
        expressions: list[str] = []
        surface_routes = [(surface, surface.routes()) for surface in [each(parts) for each in surfaces]]
        for surface, routes in surface_routes:
            for route in routes:
                if isinstance(route, FixedPath):
                    self._mount(surface.vendor, route)
                else:
                    number = len(self._patterns)
                    expressions.append(_pattern_expression(number, surface.vendor, route))
                    named_parts = tuple((name, f"p{number}_{name}") for name in _PART.findall(route.path))
                    self._patterns[f"p{number}"] = (route, named_parts)
        self._match_pattern = re.compile(f"(?:{'|'.join(expressions)})\\Z").match
        self._suggestions = PathSuggestions(vendors, surface_routes)
        known_paths = [*self._methods, *(pattern.path for pattern, _ in self._patterns.values())]
        first_segments = {
            "v1",
            *vendors.by_name,
            *vendors.by_version,
            *(match[1] for path in known_paths if (match := _FIRST_SEGMENT.match(path))),
        }
        self._has_known_start = re.compile(f"/(?:{'|'.join(map(re.escape, sorted(first_segments)))})(?:/|\\Z)").match

    def _mount(self, vendor: Vendor | None, route: FixedPath) -> None:
        paths = [route.path]
        if vendor is not None:
            paths.append(f"/{vendor.name}{route.path}")
            self._vendor_by_path.append((route.path, vendor))
        for path in paths:
            self._methods.setdefault(path, {})[route.method] = route.endpoint
            if route.method == "POST":
                self.posts[path] = route.endpoint

    def find(self, method: str, path: str) -> Endpoint | None:
        """The endpoint; one that responds 404 or 405 if path or method are close to a served one; None for others."""
        if method == "POST":
            endpoint = self.posts.get(path)
            if endpoint is not None:
                return endpoint
        if method == "OPTIONS" and (
            path == "*"
            or self._has_known_start(path)
            or self._match_pattern(path)
            or self._suggestions.canonical_path(path)
        ):
            return partial(self._options, path)
        return self._find(method, path)

    def _find(self, method: str, path: str) -> Endpoint | None:
        if method == "HEAD":
            # The HTTP server omits the body.
            method = "GET"
        endpoint = self._find_exactly(method, path)
        if endpoint is not None:
            return endpoint
        if path[1:].partition("/")[0] in _RESERVED:
            return None
        canonical = self._suggestions.canonical_path(path)
        if canonical is not None and canonical != path:
            endpoint = self._find_exactly(method, canonical)
            if endpoint is not None:
                return partial(_serve_canonical, endpoint, canonical)
        message, vendor = self._suggestions.explain(path)
        if not message and self._has_known_start(path) is None:
            return None
        return self._refuse(path, UnknownPath(message or f"There is no endpoint at {path[:200]}"), vendor)

    def _find_exactly(self, method: str, path: str) -> Endpoint | None:
        """The endpoint of exactly this path, or one that refuses the method."""
        methods = self._methods.get(path)
        if methods is not None:
            return methods.get(method) or self._wrong_method(path, list(methods))
        match = self._match_pattern(path)
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
        """Responds to a browser's preflight request: requires no key, and does not reveal which paths exist."""
        origin = call.headers.get(b"origin")
        if origin is not None and b"access-control-request-method" in call.headers:
            if self._origins is None or not self._origins.allows(origin):
                error = NotAllowed("Browsers may not call the gateway from this origin: add it to server.cors_origins")
                await self._refuse(path, error)(call)
                return
            await call.begin(204, self._origins.preflight_headers(call.headers))
        else:
            await call.begin(204, [(b"allow", METHODS)])
        await call.end(b"")

    def _wrong_method(self, path: str, methods: Sequence[str]) -> Endpoint:
        return self._refuse(path, wrong_method(path, methods))

    def _refuse(self, path: str, error: RequestError, vendor: str = "") -> Endpoint:
        """An endpoint that responds with `error` in the format of `vendor`, else of the path's vendor."""
        first = path.split("/", 2)[1] if path.startswith("/") else ""
        fixed = next((each for known, each in self._vendor_by_path if path.startswith(known)), None)
        vendors = self._vendors
        path_vendor = vendors.by_name.get(vendor or first) or vendors.by_version.get(first) or fixed

        async def refuse(call: HttpCall) -> None:
            async def answer(*_: object) -> None:
                raise error

            caller_vendor = vendors.calling(call.headers)
            # Several vendors share paths under /v1 (`files`): there the SDK's headers decide.
            shared_path = path.startswith("/v1/") and caller_vendor is not vendors.first
            known = caller_vendor if path_vendor is None or shared_path else path_vendor
            await run_request(self._runtime, call, "unknown path", known.errors, answer)

        return refuse


def _pattern_expression(number: int, vendor: Vendor | None, pattern: PathPattern) -> str:
    """The pattern as a group `pN` of a regular expression, its parts as groups `pN_name`."""

    def part(match: re.Match[str]) -> str:
        return f"(?P<p{number}_{match[1]}>{pattern.parts.get(match[1], '[^/]+')})"

    prefix = f"(?:/{vendor.name})?" if vendor is not None and pattern.vendor_prefix else ""
    return f"(?P<p{number}>{prefix}{_PART.sub(part, pattern.path)})"


async def _serve_canonical(endpoint: Endpoint, path: str, call: HttpCall) -> None:
    """Serves a path under its canonical spelling, which access checks rely on."""
    call.path = path
    await endpoint(call)
