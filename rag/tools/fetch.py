"""One request to a host that the config names: no redirect, no private address, no body without end."""

from __future__ import annotations

import http.client
import ipaddress
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from contract.bounded_http import opened, read_body
from contract.egress import DIRECT, Egress, ProxyRefused
from contract.packing import CorruptBody, ExpansionTooLarge, UnknownCoding


class FetchFailed(Exception):
    """It gave nothing that can be used; the message may go to the model."""


def fetch(
    url: str,
    headers: Mapping[str, str],
    timeout_s: float,
    max_bytes: int,
    *,
    private: bool,
    body: bytes | None = None,
    egress: Egress = DIRECT,
) -> tuple[str, str]:
    """Media type and text of a GET, or of a POST of `body`, within `timeout_s` in all. Raises `FetchFailed`.

    `private`: whether addresses of one's own network may be asked. A name that only the proxy knows is its to find.
    """
    parts = urlsplit(url)
    proxied = egress.proxy_for(url) is not None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address = _checked_address(parts.hostname or "", port, private=private, proxied=proxied)
    told = {"user-agent": "gatehouse", "accept": "*/*", **headers}
    try:
        with opened(url, timeout_s, headers=told, body=body, address=address, egress=egress) as response:
            if response.status != 200:
                moved = 300 <= response.status < 400
                raise FetchFailed(f"it answered {response.status}{', and redirects are not followed' if moved else ''}")
            data = read_body(response, max_bytes)
            return response.headers.get_content_type(), data.decode("utf-8", "replace")
    except ExpansionTooLarge:
        raise FetchFailed(f"its answer is larger than {max_bytes} bytes") from None
    except (CorruptBody, UnknownCoding) as error:
        raise FetchFailed(f"its answer can't be unpacked: {error}") from None
    except TimeoutError:
        raise FetchFailed(f"it took longer than {timeout_s:g} s") from None
    except ProxyRefused as error:
        raise FetchFailed(f"it can't be reached: {error}") from None
    except (OSError, http.client.HTTPException) as error:
        raise FetchFailed(f"it can't be reached ({type(error).__name__})") from None


def _checked_address(host: str, port: int, *, private: bool, proxied: bool) -> str:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        if proxied:
            return ""
        raise FetchFailed("its name leads nowhere") from None
    for _, _, _, _, where in found:
        address = ipaddress.ip_address(str(where[0]).partition("%")[0])
        if private or address.is_global:
            return str(where[0])
    raise FetchFailed("its address belongs to a private network")
