"""A response in progress, and the filters of its output."""

from __future__ import annotations

from typing import Protocol

from contract.deltas import Delta


class Reply(Protocol):
    """A response in progress: an async stream of batches of deltas, with an owner that closes it.

    `streamed` is whether its deltas are events of a stream, or one complete body.
    """

    dialect: str
    streamed: bool

    async def next(self) -> list[Delta] | None:
        """The next deltas, or None at the clean end. Raises `UpstreamError` if the response breaks off or stalls."""
        ...

    async def close(self) -> None:
        """Cancels the upstream call at once. Idempotent."""
        ...


class OutputFilter(Protocol):
    """A stateful filter of one reply. A changed delta is a new one, without `raw`."""

    def feed(self, deltas: list[Delta]) -> list[Delta]:
        """The deltas that may be sent now; the rest is held back."""
        ...

    def finish(self) -> list[Delta]:
        """The held-back deltas, at the clean end. Raises `GatehouseError` to end the reply with an error."""
        ...
