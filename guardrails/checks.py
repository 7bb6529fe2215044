"""The seam of the guardrails: what one of them may be on the way in and on the way out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contract.exchange import Exchange
    from contract.finding import Stage
    from contract.guards import AskAgain
    from contract.messages import ChatRequest
    from contract.reply import OutputFilter, Reply
    from guardrails.span import Span
    from guardrails.verdict import Policy


class Finder(Protocol):
    """Finds what it looks for. Pure, and about a millisecond a kilobyte at most."""

    def find(self, text: str) -> list[Span]:
        """By place, without overlaps."""
        ...


class InputCheck(Protocol):
    """A guardrail that checks a request on its way in."""

    policy: Policy

    async def check(
        self, request: ChatRequest, exchange: Exchange, stage: Stage = "input", again: AskAgain | None = None
    ) -> ChatRequest:
        """The request as it may go on; `again` asks a model, for those that do.

        Raises `ContentBlocked`, `StockAnswer` or `GuardrailBroken`.
        """
        ...


class RequestMasking(Protocol):
    """What a `RequestMasker` did to one request, until the end of its answer."""

    async def check(
        self, request: ChatRequest, exchange: Exchange, stage: Stage = "input", again: AskAgain | None = None
    ) -> ChatRequest:
        """See `InputCheck.check`."""
        ...

    def reveal(self, request: ChatRequest) -> ChatRequest:
        """The request as it was, for those who may see it."""
        ...

    def reveal_arguments(self, tool: str, arguments: str) -> str:
        """A tool's arguments with the values, if it may have them."""
        ...

    def allows(self, text: str) -> bool:
        """Whether `text` is a value that the caller sent."""
        ...

    def filter(self) -> OutputFilter | None:
        """What the answer passes; None when there is nothing to put back."""
        ...


class RequestMasker:
    """A guardrail that takes values out of a request and puts them back into the answer."""

    policy: Policy

    def masking(self, request: ChatRequest, app: str, *, hint: bool = True) -> RequestMasking:
        """What it does to one request of `app`. `hint`: the model may be told in a line what stands for the values."""
        raise NotImplementedError

    @property
    def kinds(self) -> frozenset[str]:
        """What it looks for."""
        raise NotImplementedError

    async def spans(self, text: str) -> Sequence[Span]:
        """All that it looks for in one text, whatever is done about it."""
        raise NotImplementedError


class AnswerFinder(Protocol):
    """A guardrail that searches an answer while it streams."""

    policy: Policy
    spares_sent: bool
    """Whether what the caller sent itself may stand in the answer."""

    def finder_for(self, request: ChatRequest) -> Finder:
        """What searches the answer to `request`."""
        ...


class AnswerCheck(Protocol):
    """A guardrail that needs sentences of an answer, or the whole of it."""

    policy: Policy

    async def check(self, request: ChatRequest, reply: Reply, exchange: Exchange, again: AskAgain) -> Reply:
        """The reply as it may go on: the same, mended, or another. Raises `GatehouseError`."""
        ...
