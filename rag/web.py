"""Web pages as a source: a list of URLs, fetched again at intervals. Fetches nothing that is not in the list."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar, Literal

from pydantic import Field

from config.sources import DocumentSourceConfig
from config.struct import PageUrl
from config.units import Duration
from contract.egress import DIRECT, Egress
from contract.outbound import Call, Outbound
from contract.sources import Item, Origin
from rag.documents.sizes import MAX_BYTES

# For a complete page, to its last byte.
TIMEOUT_S = 20.0


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
    """Returns one document for each URL; its id is the URL."""
    return [Item(url, partial(_fetch, url, egress)) for url in urls]


def turn(every_s: float) -> int:
    """Returns a number that changes every `every_s` seconds: pages are then fetched again."""
    return int(time.time() // every_s)


def _fetch(url: str, egress: Egress) -> tuple[bytes, str]:
    """Returns bytes and media type. Raises `UnreadableFile`."""
    from rag.documents.reading import UnreadableFile

    try:
        # Documents are loaded in threads: each call has a loop of its own.
        return asyncio.run(_ask(Call(url, TIMEOUT_S, {"accept": "*/*"}, private=True, egress=egress)))
    except TimeoutError:
        raise UnreadableFile(f"it can't be fetched within {TIMEOUT_S:g} s") from None
    except (OSError, ValueError) as error:
        raise UnreadableFile(f"it can't be fetched: {error or type(error).__name__}") from None


async def _ask(call: Call) -> tuple[bytes, str]:
    from rag.documents.reading import UnreadableFile

    outbound = Outbound("web pages")
    try:
        async with outbound.open(call) as answer:
            if 300 <= answer.status < 400:
                # A redirect leads to a page that is not in the list.
                where = answer.headers.get("location", "another page")
                raise UnreadableFile(f"it can't be fetched: it redirects to {where[:500]}: add that URL to the list")
            if answer.status != 200:
                raise UnreadableFile(f"it can't be fetched: the server responded with status {answer.status}")
            return await answer.read(MAX_BYTES), answer.headers.get("content-type") or "text/html"
    finally:
        await outbound.close()
