"""The seams of sources: documents to come, sources that are searched, and sources that are asked each time."""

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
    """A document to come: `load` gives its bytes and media type, and may raise `OSError` or `Unreadable`."""

    id: str
    load: Callable[[], tuple[bytes, str]]
    labels: tuple[str, ...] = ()
    title: str = ""


class Origin(msgspec.Struct, frozen=True):
    """Where documents come from: all there are, and a value that changes when they do. Both run in threads."""

    items: Callable[[], list[Item]]
    stamp: Callable[[], object]
    watch: bool = True


class Searches(Protocol):
    """Finds passages."""

    async def search(
        self, query: str, top: int, labels: frozenset[str] | None = None, payer: Caller | None = None
    ) -> list[Passage]:
        """Up to `top` passages that somebody with `labels` may see, best first; `payer` pays for it."""
        ...


class LiveSource(Protocol):
    """A source that is asked while the request waits, such as the tables of a database. Nothing of it is indexed."""

    name: str

    async def start(self) -> None:
        """Connects. What it raises ends the start of the gateway, or the reload."""
        ...

    async def close(self) -> None:
        """Lets go of what it holds."""
        ...

    def status(self) -> str:
        """One line for people."""
        ...

    def may_see(self, labels: frozenset[str]) -> bool:
        """Whether somebody with `labels` may ask."""
        ...

    def concerns(self, question: str) -> bool:
        """Whether it may have something to say: only then it is asked."""
        ...

    async def answer(self, question: str, exchange: Exchange, ask: AskModel) -> Passage | None:
        """What it says, as one passage that comes before those of documents; None for nothing. `ask` asks a model.

        With a `GatehouseError` the request goes on without it; whatever else it raises ends the request.
        """
        ...
