"""The interfaces of sources: documents to index, searchable sources, and live sources."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from contract.answering import AskModel
    from contract.caller import Caller
    from contract.exchange import Exchange
    from contract.passages import Passage


class Item(msgspec.Struct, frozen=True):
    """A document to index: `load` returns its bytes and media type, and may raise `OSError` or `Unreadable`."""

    id: str
    load: Callable[[], tuple[bytes, str]]
    labels: tuple[str, ...] = ()
    title: str = ""


class Origin(msgspec.Struct, frozen=True):
    """An origin of documents: `items` lists all, `stamp` is a value that changes with them. Both run in threads."""

    items: Callable[[], list[Item]]
    stamp: Callable[[], object]
    watch: bool = True


class SearchableSource(Protocol):
    """A searchable source."""

    async def search(
        self, query: str, top: int, labels: frozenset[str] | None = None, payer: Caller | None = None
    ) -> list[Passage]:
        """Up to `top` passages that a caller with `labels` may see, best first; `payer` pays for it."""
        ...


class LiveSource(Protocol):
    """A source that is queried during the request, such as database tables. It is not indexed."""

    name: str

    async def start(self) -> None:
        """Connects. An exception aborts the start of the gateway, or the reload."""
        ...

    async def close(self) -> None:
        """Releases its resources."""
        ...

    def status(self) -> str:
        """The status as one line for people."""
        ...

    def may_see(self, labels: frozenset[str]) -> bool:
        """Whether a caller with `labels` may query it."""
        ...

    def concerns(self, question: str) -> bool:
        """Whether it may be able to answer: only then it is queried."""
        ...

    async def answer(self, question: str, exchange: Exchange, ask: AskModel) -> Passage | None:
        """The answer as one passage, which comes before those of documents; None if it has none. `ask` calls a model.

        After a `GatehouseError` the request continues without it; any other exception ends the request.
        """
        ...
