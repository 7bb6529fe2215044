"""An answer under way, and what it passes on its way out."""

from __future__ import annotations

from typing import Protocol

from contract.deltas import Delta


class Reply(Protocol):
    """An answer under way: an async stream of batches of deltas, with an owner that closes it.

    `streamed` says whether its deltas are a stream's events or one whole body.
    """

    dialect: str
    streamed: bool

    async def next(self) -> list[Delta] | None:
        """The next deltas, or None at the clean end. Raises `UpstreamError` when the answer breaks off or stalls."""
        ...

    async def close(self) -> None:
        """Lets go of the upstream call at once. Idempotent."""
        ...


class OutputFilter(Protocol):
    """One step of the output, stateful, for one reply. A delta that it changes is a new one, without `raw`."""

    def feed(self, deltas: list[Delta]) -> list[Delta]:
        """What may go on now; the rest is held back."""
        ...

    def finish(self) -> list[Delta]:
        """What was held back, at the clean end. Raises `GatehouseError` to end the reply otherwise."""
        ...
