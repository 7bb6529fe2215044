"""What is unsettled of a request until it is over. It travels beside the request's record, which only says what was."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from contract.attempt import Attempt
    from contract.messages import ChatRequest, EmbeddingRequest
    from contract.ticket import Ticket


class Transcript:
    """The request that one attempt got (None until it is sent), and the words of its answer so far.

    Both are let go of as soon as the attempt's usage is counted: see `access.ledger.prices`.
    """

    __slots__ = ("asked", "attempt", "said")

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.asked: ChatRequest | EmbeddingRequest | None = None
        self.said: list[str] = []

    def add(self, words: str) -> None:
        """More of the answer."""
        self.said.append(words)
        self.attempt.uncounted = True


class Unsettled:
    """Of one request. The surface makes it, the path fills it, and it is settled once, at the end."""

    __slots__ = ("due", "pending_call", "ticket", "transcripts")

    def __init__(self) -> None:
        # Whether what it has cost is yet to be written down. What is answered before its path begins costs nothing.
        self.due = False
        # What the request was admitted with; None where nothing limits it.
        self.ticket: Ticket | None = None
        # Of its attempts.
        self.transcripts: list[Transcript] = []
        # Done when the call that others read too is over. It may outlast its first caller.
        self.pending_call: asyncio.Future[None] | None = None

    @property
    def call_pending(self) -> bool:
        """Whether its call is not over, so that nobody knows yet what it takes."""
        return self.pending_call is not None and not self.pending_call.done()
