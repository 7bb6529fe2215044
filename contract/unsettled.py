"""The unsettled state of a request until its end: kept outside the request record, which only has facts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from contract.attempt import Attempt
    from contract.messages import ChatRequest, EmbeddingRequest
    from contract.ticket import Ticket


class Transcript:
    """The request of one attempt (None until it is sent), and the text of its response so far.

    Both are released as soon as the attempt's usage is counted: see `access.ledger.prices`.
    """

    __slots__ = ("attempt", "request", "texts")

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.request: ChatRequest | EmbeddingRequest | None = None
        self.texts: list[str] = []

    def add(self, text: str) -> None:
        """Adds text of the response."""
        self.texts.append(text)
        self.attempt.uncounted = True


class Unsettled:
    """The unsettled state of one request. The surface creates it, the phases fill it, and it is settled at the end."""

    __slots__ = ("due", "pending_call", "ticket", "transcripts")

    def __init__(self) -> None:
        # Whether the cost is not recorded yet. A request that is answered before its first phase costs nothing.
        self.due = False
        # The ticket; None if nothing limits the request.
        self.ticket: Ticket | None = None
        # The transcripts of its attempts.
        self.transcripts: list[Transcript] = []
        # Done when the shared call ends, which may outlast its first caller.
        self.pending_call: asyncio.Future[None] | None = None

    @property
    def call_pending(self) -> bool:
        """Whether the shared call is still in flight, so that its usage is unknown."""
        return self.pending_call is not None and not self.pending_call.done()
