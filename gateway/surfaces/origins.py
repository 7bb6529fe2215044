"""CORS: which web pages may call the gateway from a browser (`server.cors_origins`).

Keys travel in headers that the page sets, never in cookies. CORS credentials therefore stay off, and access depends on
the key alone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.surfaces.http import Headers, Scope, Send

METHODS = b"GET, HEAD, POST, DELETE, OPTIONS"
# No browser caches a preflight longer (Chromium: two hours).
MAX_AGE = b"7200"
_EXPOSED = (
    b"x-request-id, request-id, retry-after, x-should-retry, x-gatehouse-attempts, x-gatehouse-cache, "
    b"x-gatehouse-cache-entry, x-gatehouse-cache-similarity, x-gatehouse-cache-reason, x-gatehouse-cost-usd, "
    b"x-gatehouse-estimated, x-gatehouse-dropped-params, x-gatehouse-target, x-gatehouse-overhead-ms, "
    b"x-gatehouse-route, x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, "
    b"x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens, age"
)
_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+(?:[ \t]*,[ \t]*[A-Za-z0-9!#$%&'*+.^_`|~-]+)*\Z")
_MOST_NAMES = 4096


class Origins:
    """The allowed origins: those in `server.cors_origins`, or those of this machine."""

    def __init__(self, listed: Sequence[str], *, cached: bool = True) -> None:
        """`listed` as in the config: `*`, `null`, `https://app.example.com`, `https://*.example.com`, `http://host:*`.

        `cached` says whether a shared cache may be in front: responses then vary by origin (`vary`).
        """
        self.cached = cached
        self._all = "*" in listed
        self._exact = frozenset(each.encode() for each in listed if "*" not in each)
        patterns = [_pattern(each) for each in listed if "*" in each and each != "*"]
        self._patterns = [re.compile(each) for each in patterns]

    def allows(self, origin: bytes) -> bool:
        """Whether pages of this origin may call."""
        # Browsers write it in lower case.
        if self._all or origin in self._exact:
            return True
        return any(each.fullmatch(origin) is not None for each in self._patterns)

    def headers_for(self, origin: bytes) -> Headers:
        """The response headers that let the page read the response. `origin` is empty if the caller is not a page."""
        if self._all:
            return [(b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", _EXPOSED)]
        # Sent to disallowed origins too: a shared cache must not serve this response to an allowed page.
        headers = [(b"vary", b"origin")]
        if origin and self.allows(origin):
            headers += ((b"access-control-allow-origin", origin), (b"access-control-expose-headers", _EXPOSED))
        return headers

    def preflight_headers(self, request: dict[bytes, bytes]) -> Headers:
        """The response headers of an allowed preflight request. `request` holds the request's headers."""
        headers = [
            (b"access-control-allow-methods", METHODS),
            (b"access-control-max-age", MAX_AGE),
            (b"vary", b"access-control-request-headers, access-control-request-private-network"),
        ]
        names = request.get(b"access-control-request-headers", b"").strip()
        # Every requested header is allowed: SDKs add headers with each release, and a header alone grants nothing.
        if names and len(names) <= _MOST_NAMES and _NAMES.match(names):
            headers.append((b"access-control-allow-headers", names))
        if request.get(b"access-control-request-private-network", b"").strip().lower() == b"true":
            headers.append((b"access-control-allow-private-network", b"true"))
        return headers

    def open(self, scope: Scope, send: Send) -> Send:
        """Wraps `send` so that every response carries the CORS headers."""
        origin = next((value for name, value in scope["headers"] if name == b"origin"), b"")
        if not origin and not self.cached:
            return send
        cors_headers = self.headers_for(origin)

        async def send_with_cors(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *cors_headers]
            await send(message)

        return send_with_cors


def _pattern(listed: str) -> bytes:
    """A regular expression: `*.` matches subdomains of any depth, `:*` any port or none."""
    scheme, _, rest = listed.partition("://")
    host, port = (rest[:-2], rb"(?::[0-9]{1,5})?") if rest.endswith(":*") else (rest, b"")
    label = rb"[a-z0-9_-]+"
    sub = rb"(?:" + label + rb"\.)+" if host.startswith("*.") else b""
    return re.escape(scheme.encode()) + b"://" + sub + re.escape(host.removeprefix("*.").encode()) + port
