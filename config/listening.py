"""Listen addresses (`host:port`, `[v6]:port`), and networks that requests may come from."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator

from config.findings import wrong


def split_listen(listen: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[v6]:port`. Raises `ValueError`."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%]+)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})", listen)
    if match is None or int(match[3]) > 65535:
        raise ValueError(listen)
    return match[1] or match[2], int(match[3])


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on this host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_listen(value: str) -> str:
    """Returns the address. Raises a config error if it is not valid."""
    try:
        split_listen(value)
    except ValueError:
        cure = "write host:port, like 127.0.0.1:8080"
        if re.fullmatch(r":?[0-9]+", value):
            cure = "write 0.0.0.0{text}" if value.startswith(":") else "write 127.0.0.1:{text}"
        raise wrong("{value} is not a listen address", cure) from None
    return value


def _network(value: str) -> str:
    try:
        ipaddress.ip_network(value)
    except ValueError:
        raise wrong("{value} is not a network", "write it like 10.0.0.0/8 or 2001:db8::/32") from None
    return value


Networks = tuple[Annotated[str, AfterValidator(_network)], ...]
"""Networks in CIDR notation, such as 10.0.0.0/8."""
