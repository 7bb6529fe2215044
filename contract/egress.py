"""Egress: which outgoing calls go through a proxy, and through which one.

Every outgoing call of the gateway uses an `Egress`: providers, tools, rerankers, web pages, webhooks, identity
providers, MCP servers, traces. Databases and Redis are reached directly.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

import msgspec

_MOST_REPLY = 16 * 1024


class CallFailed(OSError):
    """A call failed. The message may be shown to callers: it contains no secret and no address."""


class ProxyRefused(OSError):
    """A proxy refused a call. The message names the proxy, never its password."""


class Proxy(msgspec.Struct, frozen=True):
    """One HTTP proxy. `authorization` is the value of `proxy-authorization`, or empty: a secret."""

    host: str
    port: int
    authorization: str = ""

    @property
    def shown(self) -> str:
        """The URL without credentials."""
        return f"http://{_bracketed(self.host)}:{self.port}"

    def __repr__(self) -> str:
        return f"Proxy({self.shown})"

    def connect_request(self, host: str, port: int) -> bytes:
        """Returns the CONNECT request for a tunnel."""
        authority = f"{_bracketed(host)}:{port}"
        lines = [f"CONNECT {authority} HTTP/1.1", f"host: {authority}", "user-agent: gatehouse"]
        if self.authorization:
            lines.append(f"proxy-authorization: {self.authorization}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def refused(self, status: int, reason: str = "") -> ProxyRefused:
        """Returns the error for a response of the proxy that refuses a request."""
        if status == 407:
            what = "rejects the configured credentials" if self.authorization else "requires credentials"
            return ProxyRefused(f"the proxy {self.shown} {what} (407)")
        words = re.sub(r"[^\x20-\x7e]", "?", reason)[:60].strip()
        return ProxyRefused(f"the proxy {self.shown} refused the tunnel ({status}{' ' + words if words else ''})")


class ConnectReply:
    """Parses a proxy's response to `connect_request` incrementally."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._data = b""

    def feed(self, data: bytes) -> bool:
        """Adds data; returns whether the tunnel is open. Raises `ProxyRefused`."""
        self._data += data
        head, end, rest = self._data.partition(b"\r\n\r\n")
        if not end:
            if len(self._data) > _MOST_REPLY:
                raise ProxyRefused(f"the proxy {self._proxy.shown} does not speak HTTP")
            return False
        match = re.match(rb"HTTP/1\.[01] ([0-9]{3})(?: ([^\r\n]*))?", head)
        if match is None:
            raise ProxyRefused(f"the proxy {self._proxy.shown} does not speak HTTP")
        status = int(match[1])
        if not 200 <= status < 300:
            raise self._proxy.refused(status, (match[2] or b"").decode("latin-1"))
        if rest:
            raise ProxyRefused(f"the proxy {self._proxy.shown} sent data before the TLS handshake")
        return True


class Egress(msgspec.Struct, frozen=True):
    """Proxies by the scheme of the requested URL, and the hosts that bypass them (`NO_PROXY`)."""

    http: Proxy | None = None
    https: Proxy | None = None
    exempt: tuple[str, ...] = ()

    def proxy_for(self, url: str) -> Proxy | None:
        """Returns the proxy for a call to `url`; None for a direct call, as always to this machine."""
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        proxy = self.https if secure else self.http
        host = (parts.hostname or "").rstrip(".").lower()
        if proxy is None or is_this_machine(host):
            return None
        port = parts.port or (443 if secure else 80)
        return None if any(_exempts(each, host, port) for each in self.exempt) else proxy


DIRECT = Egress()


def is_this_machine(host: str) -> bool:
    """Whether a host's name or address is this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and (address.is_loopback or address.is_unspecified)


def read_proxy(text: str) -> Proxy:
    """Parses a URL such as `http://user:password@proxy.internal:3128`. Raises `ValueError`, without the text."""
    if "://" not in text:
        text = f"http://{text}"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("it is not a URL with a host and a port") from None
    if parts.scheme != "http":
        scheme = parts.scheme if re.fullmatch(r"[a-z0-9+]{1,12}", parts.scheme) else "another"
        raise ValueError(f"its scheme is {scheme}; only http:// proxies are supported (they tunnel https too)")
    if not host or port == 0 or re.search(r"[\s\\]", text):
        raise ValueError("it is not a URL with a host and a port")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("it must end after the port, without a path or a query")
    authorization = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode()
    return Proxy(host, port or 80, authorization)


def read_exempt(text: str) -> str:
    """Validates one entry of `NO_PROXY`: a host, a suffix, an address, a network or `*`, with or without a port.

    Raises `ValueError`.
    """
    entry = text.strip().lower()
    if "/" in entry:
        ipaddress.ip_network(entry, strict=False)
        return entry
    if entry != "*" and _address(entry) is None:
        host = _host_and_port(entry)[0]
        if re.fullmatch(r"(?:\*?\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?", host) is None and _address(host) is None:
            raise ValueError(f"{text} is not a host, network or suffix")
    return entry


def from_environment(environ: Mapping[str, str]) -> Egress:
    """Reads `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`; lower-case names take precedence, as in curl.

    Raises `ValueError`, which names the variable but not its value.
    """
    exempt = tuple(each for each in re.split(r"[,\s]+", _variable(environ, "no_proxy")[1].lower()) if each)
    found: dict[str, Proxy | None] = {}
    for scheme in ("http", "https"):
        name, text = _variable(environ, f"{scheme}_proxy", "all_proxy")
        try:
            found[scheme] = read_proxy(text) if text else None
        except ValueError as error:
            raise ValueError(f"the environment's {name} can't be used: {error}") from None
    return Egress(found["http"], found["https"], exempt)


def _variable(environ: Mapping[str, str], *names: str) -> tuple[str, str]:
    for name in names:
        for spelled in (name, name.upper()):
            # Under CGI, a caller's header `Proxy` sets HTTP_PROXY.
            if spelled == "HTTP_PROXY" and "REQUEST_METHOD" in environ:
                continue
            if value := environ.get(spelled, "").strip():
                return spelled, value
    return names[-1], ""


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _host_and_port(entry: str) -> tuple[str, str]:
    """Splits `host:port` or `[v6]:port`; the port may be missing."""
    match = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?", entry)
    return (match[1], match[2] or "") if match is not None else (entry, "")


def _exempts(entry: str, host: str, port: int) -> bool:
    """Whether one entry of `NO_PROXY` covers a host."""
    if entry == "*":
        return True
    address = _address(host)
    if "/" in entry:
        try:
            return address is not None and address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    if (same := _address(entry)) is not None:
        return same == address
    name, wanted = _host_and_port(entry)
    if wanted and int(wanted) != port:
        return False
    if (same := _address(name)) is not None:
        return same == address
    name = name.rstrip(".")
    if name.startswith(("*.", ".")):
        return host.endswith("." + name.lstrip("*."))
    return bool(name) and (host == name or host.endswith("." + name))
