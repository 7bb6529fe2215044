"""Web pages as a source: a list of addresses, fetched again after a while. Nothing that the list does not name."""

from __future__ import annotations

import http.client
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar, Literal

from pydantic import Field

from config.sources import DocumentSourceConfig
from config.struct import PageUrl
from config.units import Duration
from contract.bounded_http import opened, read_body
from contract.egress import DIRECT, Egress
from contract.sources import Item, Origin
from rag.documents.sizes import MAX_BYTES

# For a whole page.
TIMEOUT_S = 20.0
# A page that drips is given up after so long.
WHOLE_S = 60.0


class WebConfig(DocumentSourceConfig):
    """Web pages by their addresses."""

    renamed: ClassVar[Mapping[str, str]] = {"every": "refresh_every"}

    asks_hosts: ClassVar[bool] = True

    kind: Literal["web"] = Field(description="Web pages by their addresses.")
    urls: tuple[PageUrl, ...] = Field(min_length=1, description="The pages. No link and no redirect is followed.")
    refresh_every: Duration = Field(default=86_400.0, description="When they are fetched again.")

    @property
    def where(self) -> str:
        """See `SourceConfig.where`."""
        return f"{len(self.urls)} pages"

    def origin(self, egress: Egress) -> Origin:
        """See `DocumentSourceConfig.origin`."""
        return Origin(partial(web_items, self.urls, egress), partial(turn, self.refresh_every))


def web_items(urls: Sequence[str], egress: Egress = DIRECT) -> list[Item]:
    """A document each, whose id is the address."""
    return [Item(url, partial(_fetch, url, egress)) for url in urls]


def turn(every_s: float) -> int:
    """A number that changes every so often: pages are fetched again when it does."""
    return int(time.time() // every_s)


def _fetch(url: str, egress: Egress) -> tuple[bytes, str]:
    """Bytes and media type. Raises `UnreadableFile`."""
    from rag.documents.reading import UnreadableFile

    until = time.monotonic() + WHOLE_S
    try:
        with opened(url, TIMEOUT_S, headers={"user-agent": "gatehouse", "accept": "*/*"}, egress=egress) as response:
            if 300 <= response.status < 400:
                # A redirect leads to what nobody has listed.
                where = response.headers.get("location", "another page")
                raise UnreadableFile(f"it can't be fetched: it redirects to {where[:500]}: list that")
            if response.status != 200:
                raise UnreadableFile(f"it can't be fetched: it answered {response.status}")
            kind = response.headers.get("content-type") or "text/html"
            return read_body(response, MAX_BYTES, until), kind
    except TimeoutError:
        raise UnreadableFile(f"it can't be fetched within {min(TIMEOUT_S, WHOLE_S):g} s") from None
    except (http.client.HTTPException, OSError, ValueError) as error:
        raise UnreadableFile(f"it can't be fetched: {error or type(error).__name__}") from None
