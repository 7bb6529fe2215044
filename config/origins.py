"""Origins of web pages, as `server.cors_origins` lists them."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

from config.findings import wrong

_ORIGIN = re.compile(
    r"[a-z][a-z0-9+.-]*://(?:(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::(?:[0-9]{1,5}|\*))?"
)
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def _origin(value: str) -> str:
    if value in ("*", "null"):
        return value
    if _ORIGIN.fullmatch(value) is not None:
        scheme, _, host = value.partition("://")
        port = _DEFAULT_PORTS.get(scheme, "none")
        if host.endswith(port):
            raise wrong("browsers omit the default port that {value} ends in", "remove the port")
        if not re.fullmatch(r"\*\.[a-z0-9_-]+(?::.*)?", host) or host.startswith("*.localhost"):
            return value
        raise wrong("{value} would allow an entire top-level domain", "write it like https://*.example.com")
    raise wrong("{value} is not an origin", _cure(value))


def _cure(value: str) -> str:
    example = "write scheme and host, like https://app.example.com or https://*.example.com"
    try:
        parts = urlsplit(value.lower())
    except ValueError:
        return example
    origin = f"{parts.scheme}://{parts.netloc}"
    if parts.scheme and parts.netloc and origin != value and _ORIGIN.fullmatch(origin):
        return "write only scheme, host and port, in lower case and without a slash at the end"
    if _ORIGIN.fullmatch(f"https://{value}"):
        return "write the scheme too, like https://app.example.com"
    return example


Origins = tuple[Annotated[str, AfterValidator(_origin)], ...]
"""Origins of web pages: `*`, `null`, exact origins, and origins with a star for subdomains or for the port."""
