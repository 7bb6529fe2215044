"""Web pages as a source: a list of addresses, fetched again after a while. Nothing that the list does not name."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from functools import partial
from http.client import HTTPMessage, HTTPResponse
from typing import IO

from gateway.contract.bounded_http import bounded_opener
from rag.documents.reading import MAX_BYTES, Unreadable
from rag.ingest import Item

# For a whole page.
TIMEOUT_S = 20.0
# A page that drips is given up after so long.
WHOLE_S = 60.0
_PIECE = 1 << 16


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect leads to what nobody has listed."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        """Refuses."""
        raise urllib.error.HTTPError(req.full_url, code, f"it redirects to {newurl}: list that", headers, fp)


_OPENER = bounded_opener(_NoRedirects())


def web_items(urls: Sequence[str]) -> list[Item]:
    """A document each, whose id is the address."""
    return [Item(url, partial(_fetch, url)) for url in urls]


def turn(every_s: float) -> int:
    """A number that changes every so often: pages are fetched again when it does."""
    return int(time.time() // every_s)


def _fetch(url: str) -> tuple[bytes, str]:
    """Bytes and media type. Raises `Unreadable`."""
    request = urllib.request.Request(url, headers={"user-agent": "gatehouse"})  # noqa: S310 -- http(s) by its type
    try:
        with _OPENER.open(request, timeout=TIMEOUT_S) as response:
            return _read(response), response.headers.get("content-type") or "text/html"
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise Unreadable(f"it can't be fetched: {error}") from None


def _read(response: HTTPResponse) -> bytes:
    """All of it, up to what is read at most. Raises `Unreadable`."""
    data = bytearray()
    until = time.monotonic() + WHOLE_S
    while len(data) <= MAX_BYTES and (piece := response.read1(_PIECE)):
        data += piece
        if time.monotonic() > until:
            raise Unreadable(f"it can't be fetched within {WHOLE_S:g} s")
    return bytes(data)
