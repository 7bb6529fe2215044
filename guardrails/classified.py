"""A guardrail made of a classifier: what a text as a whole is, judged by its embedding."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Protocol

from contract.context_block import read_blocks
from contract.work import caller_of
from guardrails.text_fields import Author, map_text

if TYPE_CHECKING:
    from contract.exchange import Exchange
    from contract.finding import Stage
    from contract.guards import AskAgain
    from contract.messages import ChatRequest
    from guardrails.verdict import Policy

_REMEMBERED = 4096


class Classifier(Protocol):
    """Judges texts."""

    async def rules(self, text: str, again: AskAgain | None = None, caller: str = "") -> list[str]:
        """What is wrong with the text; empty for most. `again` asks a model, for those that do.

        `caller` is whose turn long work takes.

        Raises what the embedder raises, and what the model's targets raise.
        """
        ...


class ClassifierGuard:
    """Judges the texts of a request.

    `last_only` looks at the user's last message alone, as for its topic; `passages` at what was retrieved as well.
    """

    def __init__(
        self,
        classifier: Classifier,
        policy: Policy,
        authors: frozenset[Author],
        *,
        last_only: bool = False,
        passages: bool = False,
    ) -> None:
        self.policy = policy
        self._classifier = classifier
        self._authors = authors
        self._last_only = last_only
        self._passages = passages
        # Earlier turns come again with every request: they are judged once.
        self._judged: OrderedDict[int, tuple[str, ...]] = OrderedDict()

    async def check(
        self, request: ChatRequest, exchange: Exchange, stage: Stage = "input", again: AskAgain | None = None
    ) -> ChatRequest:
        """The request, if it may go on. Raises `ContentBlocked`, `StockAnswer` or `GuardrailBroken`."""
        if stage == "context" and self._last_only:
            return request
        texts = self._texts(request)
        try:
            async with asyncio.timeout(self.policy.timeout_s):
                caller = caller_of(exchange)
                found = [rule for text in texts for rule in await self._rules(text, again, caller)]
        except Exception as error:
            self.policy.failed(error, stage, exchange, sum(map(len, texts)))
            return request
        if found:
            self.policy.decide(Counter(found), stage, exchange)
        return request

    def _texts(self, request: ChatRequest) -> list[str]:
        if self._last_only:
            asked = [message.text for message in request.messages if message.role == "user" and message.text.strip()]
            return asked[-1:]
        texts: dict[str, None] = {}

        def note(text: str, author: Author) -> str:
            if author in self._authors:
                # Retrieved passages are nobody's words; what is said of them is another guardrail's.
                texts[text if self._passages else read_blocks(text)[1]] = None
            return text

        map_text(request, note)
        return [text for text in texts if text.strip()]

    async def _rules(self, text: str, again: AskAgain | None, caller: str) -> tuple[str, ...]:
        key = hash(text)
        known = self._judged.get(key)
        if known is None:
            known = self._judged[key] = tuple(await self._classifier.rules(text, again, caller))
            if len(self._judged) > _REMEMBERED:
                self._judged.popitem(last=False)
        return known
