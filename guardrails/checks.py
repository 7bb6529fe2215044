"""The guardrail protocols: the checks that a guardrail can implement on requests and answers."""

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
    """Searches a text. Pure; takes at most about a millisecond per kilobyte."""

    def find(self, text: str) -> list[Span]:
        """Returns spans ordered by position, without overlaps."""
        ...


class InputCheck(Protocol):
    """A guardrail that checks requests."""

    policy: Policy

    async def check(
        self, request: ChatRequest, exchange: Exchange, stage: Stage = "input", again: AskAgain | None = None
    ) -> ChatRequest:
        """Returns the request to pass on; `again` calls a model, for checks that use one.

        Raises `ContentBlocked`, `StockAnswer` or `GuardrailBroken`.
        """
        ...


class RequestMasking(Protocol):
    """The masking of one request by a `RequestMasker`, until its answer ends."""

    async def check(
        self, request: ChatRequest, exchange: Exchange, stage: Stage = "input", again: AskAgain | None = None
    ) -> ChatRequest:
        """See `InputCheck.check`."""
        ...

    def reveal(self, request: ChatRequest) -> ChatRequest:
        """Returns the request with the original values, for recipients that may see them."""
        ...

    def reveal_arguments(self, tool: str, arguments: str) -> str:
        """Returns a tool's arguments with the original values, if the tool may receive them."""
        ...

    def allows(self, text: str) -> bool:
        """Whether the caller sent the value `text`."""
        ...

    def filter(self) -> OutputFilter | None:
        """The filter that restores values in the answer; None if nothing was masked."""
        ...


class RequestMasker:
    """A guardrail that masks values in a request and restores them in the answer."""

    policy: Policy

    def masking(self, request: ChatRequest, app: str, *, hint: bool = True) -> RequestMasking:
        """Masks one request of `app`. `hint`: whether a system message may explain the tags to the model."""
        raise NotImplementedError

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of values that it finds."""
        raise NotImplementedError

    async def spans(self, text: str) -> Sequence[Span]:
        """All spans in a text, whatever action applies to them."""
        raise NotImplementedError


class AnswerFinder(Protocol):
    """A guardrail that searches an answer while it streams."""

    policy: Policy
    spares_sent: bool
    """Whether the answer may contain values that the caller sent."""

    def finder_for(self, request: ChatRequest) -> Finder:
        """The finder for the answer to `request`."""
        ...


class AnswerCheck(Protocol):
    """A guardrail that needs complete sentences of an answer, or the complete answer."""

    policy: Policy

    async def check(self, request: ChatRequest, reply: Reply, exchange: Exchange, again: AskAgain) -> Reply:
        """Returns the reply to pass on: the same, a repaired or another one. Raises `GatehouseError`."""
        ...
