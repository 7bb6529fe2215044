"""httpx's transport over `Dialer`, and the client for calls off the hot path. Imported with the first call, because
httpx loads slowly."""

from __future__ import annotations

import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpcore
import httpx

from contract.dialer import Dialer, give_back, reason_of, was_dropped
from contract.egress import CallFailed, Proxy
from contract.packing import known_codings

# At INFO httpx logs each URL, whose query may contain a key.
logging.getLogger("httpx").setLevel(logging.WARNING)
logging.getLogger("httpcore").setLevel(logging.WARNING)

MAX_CONNECTIONS = 64
IDLE_S = 30.0
# The most idle connections that one request tries before it fails because all were closed.
MOST_KEPT = 3


class CheckedTransport(httpx.AsyncBaseTransport):
    """Pools connections to any number of hosts, and translates errors."""

    def __init__(self, tls: ssl.SSLContext, dialer: Dialer, *, secure: bool) -> None:
        """`secure`: for https, which a proxy tunnels; a proxy forwards http."""
        self._proxy = dialer.proxy
        self._secure = secure
        self._dialer = dialer
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=MAX_CONNECTIONS // 2,
            keepalive_expiry=IDLE_S,
            network_backend=self._dialer,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See `httpx.AsyncBaseTransport`. Raises `CallFailed`, `ProxyRefused`."""
        url, headers, target = request.url, list(request.headers.raw), request.url.raw_path
        # The name as it is sent: the system's own encoding of a name such as straße.example is of another host.
        await self._dialer.check(url.raw_host.decode("ascii"), url.port or (443 if self._secure else 80))
        if self._proxy is not None and not self._secure:
            target = b"http://" + url.netloc + target
            if self._proxy.authorization:
                headers.append((b"proxy-authorization", self._proxy.authorization.encode("latin-1")))
        asked = httpcore.Request(
            request.method,
            httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=target),
            headers=headers,
            content=request.stream,
        )
        with translated():
            given = await self._answered(asked)
        if given.status == 407 and self._proxy is not None:
            await given.aclose()
            raise self._proxy.refused(407)
        return httpx.Response(given.status, headers=given.headers, stream=_Body(given), extensions=given.extensions)

    async def _answered(self, asked: httpcore.Request) -> httpcore.Response:
        """Sends the request; retries it on another connection if the server had closed an idle one, as browsers do."""
        kept = True

        async def trace(name: str, info: object) -> None:
            nonlocal kept
            if name == "connection.connect_tcp.started":
                kept = False

        asked.extensions = {"trace": trace}
        for _ in range(MOST_KEPT):
            kept = True
            try:
                return await self._pool.handle_async_request(asked)
            except (httpcore.NetworkError, httpcore.RemoteProtocolError) as error:
                if not kept or not was_dropped(error):
                    raise
        raise CallFailed("the server closes every connection before it responds")

    async def aclose(self) -> None:
        """See `httpx.AsyncBaseTransport`."""
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, given: httpcore.Response) -> None:
        self._given = given

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with translated():
            async for data in self._given.aiter_stream():
                yield data

    async def aclose(self) -> None:
        await give_back(self._given)


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Translates httpcore's errors to `CallFailed`."""
    try:
        yield
    except httpcore.RemoteProtocolError as error:
        raise CallFailed("the response is not HTTP or ends early") from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise CallFailed(reason_of(error)) from None


def open_client(proxy: Proxy | None, *, secure: bool, private: bool) -> httpx.AsyncClient:
    """Opens a client that drops cookies and follows no redirects.

    From the environment it reads only the location of the CA certificates. Loading these takes some ten milliseconds:
    do not call it on the event loop.
    """
    tls = ssl.create_default_context() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.AsyncClient(
        transport=CheckedTransport(tls, Dialer(proxy, tunnel=secure, private=private), secure=secure),
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        follow_redirects=False,
        trust_env=False,
        timeout=None,  # noqa: S113 -- `Outbound` bounds the whole call
    )


def request_of(client: httpx.AsyncClient, url: str, headers: Mapping[str, str], body: bytes | None) -> httpx.Request:
    """Builds a GET, or a POST of `body`; `headers` override the defaults. Raises `CallFailed`."""
    merged = {"user-agent": "gatehouse", "accept-encoding": ", ".join(known_codings()), **headers}
    method = "GET" if body is None else "POST"
    try:
        encoded = [(name.encode("ascii"), value.encode("latin-1")) for name, value in merged.items()]
        request = client.build_request(method, url, headers=encoded, content=body)
        if request.url.scheme not in ("http", "https") or (request.url.port or 1) > 65_535:
            raise ValueError
        return request
    except (httpx.InvalidURL, ValueError) as error:
        raise CallFailed(f"the URL or a header is invalid ({type(error).__name__})") from None
