"""Runs a pipeline's guardrails in config order: on the request, on the added context, and on the answer."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from contract.messages import ChatRequest, EmbeddingRequest, Message, Text
from contract.stock import StockReply
from guardrails.checks import RequestMasker
from guardrails.masking.answers import caller_text
from guardrails.stream import SpanFilter
from guardrails.verdict import StockAnswer

if TYPE_CHECKING:
    from contract.exchange import Exchange
    from contract.finding import Stage
    from contract.guards import AskAgain
    from contract.reply import OutputFilter, Reply
    from guardrails.checks import AnswerCheck, AnswerFinder, InputCheck, RequestMasking
    from guardrails.verdict import Policy


class Chain:
    """Implements `contract.guards.Guards`."""

    def __init__(
        self,
        inputs: Sequence[RequestMasker | InputCheck] = (),
        outputs: Sequence[AnswerFinder] = (),
        answers: Sequence[AnswerCheck] = (),
    ) -> None:
        """`outputs` check an answer while it streams, `answers` check sentences or the complete answer."""
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.answers = tuple(answers)

    async def open(self, request: ChatRequest, exchange: Exchange, again: AskAgain | None = None) -> GuardedRequest:
        """See `Guards.open`. Without `again` no judge model is called."""
        guarded = GuardedRequest(self, request, exchange, again)
        await guarded.guard("input")
        return guarded

    async def embed(self, request: EmbeddingRequest, exchange: Exchange) -> EmbeddingRequest:
        """See `Guards.embed`."""
        if not self.inputs:
            return request
        chat_request = ChatRequest(
            dialect=request.dialect,
            model=request.model,
            messages=tuple(Message("user", (Text(text),)) for text in request.texts),
            user=request.user,
        )
        guarded = GuardedRequest(self, chat_request, exchange, hint=False)
        await guarded.guard("input")
        if guarded.answer is not None:
            raise guarded.policy_of_answer.blocked("embeddings", "input")
        texts = tuple(message.text for message in guarded.request.messages)
        return msgspec.structs.replace(request, texts=texts, user=guarded.request.user)


class GuardedRequest:
    """Implements `contract.guards.Guarded`."""

    def __init__(
        self,
        chain: Chain,
        request: ChatRequest,
        exchange: Exchange,
        again: AskAgain | None = None,
        *,
        hint: bool = True,
    ) -> None:
        self.request = request
        self._sent = request
        self._sent_text: str | None = None
        self._again = again
        self.answer: Reply | None = None
        self._chain = chain
        self._exchange = exchange
        app = exchange.caller.app if exchange.caller is not None else ""
        self._steps: list[
            tuple[Policy, Callable[[ChatRequest, Exchange, Stage, AskAgain | None], Awaitable[ChatRequest]]]
        ] = []
        self._maskings: list[RequestMasking] = []
        for guard in chain.inputs:
            if isinstance(guard, RequestMasker):
                masking = guard.masking(request, app, hint=hint)
                self._maskings.append(masking)
                self._steps.append((guard.policy, masking.check))
            else:
                self._steps.append((guard.policy, guard.check))
        self.policy_of_answer: Policy

    async def guard(self, stage: Stage) -> None:
        """Runs every guardrail on the request in order."""
        for policy, check in self._steps:
            started = time.perf_counter()
            before = len(self._exchange.findings)
            try:
                self.request = await check(self.request, self._exchange, stage, self._again)
            except StockAnswer as stock:
                self.answer = StockReply(stock.text, self.request)
                self.policy_of_answer = policy
                return
            finally:
                findings = [f"{each.rule}: {each.action}" for each in self._exchange.findings[before:]]
                self._exchange.record(f"guard {policy.name}", started, {"stage": stage, "findings": findings})

    async def add(self, request: ChatRequest) -> ChatRequest:
        """See `Guarded.add`."""
        if request is not self.request:
            self.request = request
            await self.guard("context")
        return self.request

    def reveal(self, request: ChatRequest) -> ChatRequest:
        """See `Guarded.reveal`."""
        for masking in reversed(self._maskings):
            request = masking.reveal(request)
        return request

    def reveal_arguments(self, tool: str, arguments: str) -> str:
        """See `Guarded.reveal_arguments`."""
        for masking in reversed(self._maskings):
            arguments = masking.reveal_arguments(tool, arguments)
        return arguments

    async def check(self, reply: Reply, again: AskAgain) -> Reply:
        """See `Guarded.check`."""
        for answer in self._chain.answers:
            started = time.perf_counter()
            before = len(self._exchange.findings)
            try:
                reply = await answer.check(self.request, reply, self._exchange, again)
            finally:
                findings = [f"{each.rule}: {each.action}" for each in self._exchange.findings[before:]]
                self._exchange.record(f"guard {answer.policy.name}", started, {"stage": "output", "findings": findings})
        return reply

    def filters(self) -> tuple[OutputFilter, ...]:
        """See `Guarded.filters`."""
        filters: list[OutputFilter] = [
            SpanFilter(
                guard.finder_for(self.request),
                guard.policy,
                self._exchange,
                allowed=self._was_sent if guard.spares_sent else None,
            )
            for guard in self._chain.outputs
        ]
        filters += [unmask for masking in reversed(self._maskings) if (unmask := masking.filter()) is not None]
        return tuple(filters)

    def _was_sent(self, text: str) -> bool:
        """Whether the caller's own request contains the text."""
        if self._sent_text is None:
            self._sent_text = caller_text(self._sent)
        return text in self._sent_text or any(masking.allows(text) for masking in self._maskings)
