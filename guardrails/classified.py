"""A guardrail that classifies complete texts by their embeddings."""

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
    """Classifies texts."""

    async def rules(self, text: str, again: AskAgain | None = None, caller: str = "") -> list[str]:
        """Returns the rules that the text breaks; usually none. `again` calls a model, for classifiers that use one.

        Long work is queued as `caller`. Raises the errors of the embedder and of the model's targets.
        """
        ...


class ClassifierGuard:
    """Classifies the texts of a request.

    With `last_only` only the user's last message (for its topic); with `passages` also retrieved passages.
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
        # Every request repeats the earlier turns, so results are cached.
        self._judged: OrderedDict[int, tuple[str, ...]] = OrderedDict()

    async def check(
        self, request: ChatRequest, exchange: Exchange, stage: Stage = "input", again: AskAgain | None = None
    ) -> ChatRequest:
        """Returns the request if it may pass. Raises `ContentBlocked`, `StockAnswer` or `GuardrailBroken`."""
        if stage == "context" and self._last_only:
            return request
        texts = self._texts(request)
        try:
            async with asyncio.timeout(self.policy.timeout_s):
                caller = caller_of(exchange)
                broken = [rule for text in texts for rule in await self._rules(text, again, caller)]
        except Exception as error:
            self.policy.failed(error, stage, exchange, sum(map(len, texts)))
            return request
        if broken:
            self.policy.decide(Counter(broken), stage, exchange)
        return request

    def _texts(self, request: ChatRequest) -> list[str]:
        if self._last_only:
            prompts = [message.text for message in request.messages if message.role == "user" and message.text.strip()]
            return prompts[-1:]
        texts: dict[str, None] = {}

        def note(text: str, author: Author) -> str:
            if author in self._authors:
                # Retrieved passages have no author here; another guardrail checks them.
                texts[text if self._passages else read_blocks(text)[1]] = None
            return text

        map_text(request, note)
        return [text for text in texts if text.strip()]

    async def _rules(self, text: str, again: AskAgain | None, caller: str) -> tuple[str, ...]:
        key = hash(text)
        rules = self._judged.get(key)
        if rules is None:
            rules = self._judged[key] = tuple(await self._classifier.rules(text, again, caller))
            if len(self._judged) > _REMEMBERED:
                self._judged.popitem(last=False)
        return rules
