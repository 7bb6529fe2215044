"""Sends a request to the targets of its policy until one answers; returns the committed reply.

After the commit the reply goes to the caller, and there are no more retries or fallbacks. The fast path (one lane, the
first attempt answers) creates no task, no timer and no copy of the request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from random import Random
from typing import NamedTuple

from contract.attempt import Attempt
from contract.deltas import Delta, Usage
from contract.errors import ContentRefused, EmptyAnswer, TimedOut, UpstreamError
from contract.exchange import Exchange
from contract.messages import ChatRequest, EmbeddingRequest, Embeddings
from contract.patience import asks_to_think
from contract.provider import Provider, UpstreamCall
from contract.reply import Reply
from contract.service_tier import asked_tier
from contract.ticket import Ticket
from contract.unsettled import Transcript, Unsettled
from router.blame import blame
from router.clock import ClockAndRandom
from router.failure import explain_timeout, record_cancelled, record_failure
from router.health import HealthBook, Permit
from router.hedge import R, race
from router.policy import RoutePolicy
from router.run import AttemptOptions, Run, TargetPlan

_UNDECIDED = frozenset({"", "stop", "other"})
_DECLINED = frozenset({"content_filter", "refusal"})


class Changes(NamedTuple):
    """Changes of a request for one target: `reveal` restores masked values for a trusted provider, `fit` shortens it
    to a number of tokens.
    """

    reveal: Callable[[ChatRequest], ChatRequest] | None = None
    fit: Callable[[ChatRequest, int], ChatRequest] | None = None


NO_CHANGES = Changes()


class Dispatcher:
    """Retry, fallback, hedge and breakers over the providers of one config. `health` outlives it."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        health: HealthBook,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Random | None = None,
    ) -> None:
        """`clock` must be the clock of the health book; `sleep` takes seconds of it."""
        self._providers = providers
        self._book = health
        self._clock = ClockAndRandom(clock, sleep, random or Random())

    async def dispatch(
        self,
        request: ChatRequest,
        policy: RoutePolicy,
        exchange: Exchange,
        unsettled: Unsettled,
        changes: Changes = NO_CHANGES,
        prompt_tokens: int | None = None,
        opening: Callable[[Delta], None] | None = None,
    ) -> CommittedReply:
        """Returns the first reply that commits; the caller closes it. `prompt_tokens` is an estimate, None if unknown.

        `opening` is called once for each target that sends a delta before its first token; another may yet answer.
        The ticket of `unsettled` covers every attempt before it is sent; each attempt adds its transcript there.

        Raises the error of the only attempt, `UnsupportedFeature` if no target supports the request, or
        `AllTargetsFailed`.
        """
        clock, windows, ticket = self._clock.clock, policy.windows, unsettled.ticket
        reveal, fit = changes

        async def answer(provider: Provider, call: UpstreamCall, permit: Permit) -> CommittedReply:
            attempt = call.attempt
            sent = reveal(request) if reveal is not None and provider.trusted else request
            if fit is not None and (window := windows.get(attempt.target)) is not None:
                sent = fit(sent, window)
            transcript = call.transcript
            transcript.request = sent
            if sent.extra is not None and sent.dialect == attempt.dialect:
                attempt.tier = asked_tier(sent.extra)
            reply = await provider.open(sent, call)
            try:
                head = await read_to_commit(reply, transcript, policy.refusal_falls_back, clock, opening)
            except BaseException:
                await reply.close()
                raise
            permit.commit(clock())
            explain = partial(explain_timeout, policy, call)
            return CommittedReply(reply, head, provider, transcript, permit, clock, explain)

        plan = self._plan(policy, exchange, prompt_tokens, request, ticket)
        cover = partial(_cover, ticket, request) if ticket is not None else None
        # Most requests set no reasoning options.
        thinks = None if request.reasoning is None and not request.extra else asks_to_think(request)
        options = AttemptOptions(request.stream, unsettled.transcripts, cover, thinks)
        run = Run(policy, plan, exchange, self._clock, answer, options)
        # A reasoning model is silent at first, but not slow: a second call would only double the cost.
        hedges = policy.hedge_after_s is not None and not thinks
        return await self._outcome(run, policy, exchange, _close, hedges=hedges)

    async def embed(
        self, request: EmbeddingRequest, policy: RoutePolicy, exchange: Exchange, unsettled: Unsettled
    ) -> Embeddings:
        """One vector per text, from the first target that answers. Raises as `dispatch` does."""
        clock, ticket = self._clock.clock, unsettled.ticket

        async def embed(provider: Provider, call: UpstreamCall, permit: Permit) -> Embeddings:
            call.transcript.request = request
            embeddings = await provider.embed(request, call)
            now = call.attempt.ended = clock()
            if embeddings.input_tokens:
                call.attempt.usage = Usage(input=embeddings.input_tokens).sane
            permit.commit(now)
            permit.finish()
            return embeddings

        plan = self._plan(policy, exchange, None, request, ticket)
        cover = partial(_cover, ticket, request) if ticket is not None else None
        options = AttemptOptions(False, unsettled.transcripts, cover, thinks=False)
        run = Run(policy, plan, exchange, self._clock, embed, options)
        return await self._outcome(run, policy, exchange, _keep)

    def _plan(
        self,
        policy: RoutePolicy,
        exchange: Exchange,
        prompt_tokens: int | None,
        request: ChatRequest | EmbeddingRequest,
        ticket: Ticket | None,
    ) -> TargetPlan:
        excludes = partial(_excludes, ticket, request) if ticket is not None else None
        return TargetPlan(policy, self._providers, self._book, exchange, self._clock, prompt_tokens, excludes)

    async def _outcome(
        self,
        run: Run[R],
        policy: RoutePolicy,
        exchange: Exchange,
        discard: Callable[[R], Awaitable[None]],
        *,
        hedges: bool = True,
    ) -> R:
        if policy.hedge_after_s is None or len(policy.targets) < 2 or not hedges:
            won = await run.lane()
        else:
            won = await race(run, policy.hedge_after_s, self._clock.sleep, discard)
        if won is None:
            raise run.error()
        attempt, result = won
        attempt.chosen = True
        exchange.target = attempt.target
        return result


def _excludes(ticket: Ticket, request: ChatRequest | EmbeddingRequest, target: str) -> str:
    return ticket.excludes(target, request)


async def _cover(ticket: Ticket, request: ChatRequest | EmbeddingRequest, attempt: Attempt) -> None:
    await ticket.cover(attempt, request)


async def _close(reply: CommittedReply) -> None:
    await reply.close()


async def _keep(embeddings: Embeddings) -> None:
    """Embeddings hold nothing open."""


class CommittedReply:
    """A committed reply: the deltas read before the commit, then the rest of the stream.

    `target` is `provider/model`; `trusted` is the provider's. Ends its attempt and its permit on every exit.
    """

    __slots__ = (
        "_clock",
        "_explain",
        "_head",
        "_permit",
        "_reply",
        "_transcript",
        "attempt",
        "dialect",
        "provider",
        "streamed",
        "target",
        "trusted",
    )

    def __init__(
        self,
        reply: Reply,
        head: list[Delta],
        provider: Provider,
        transcript: Transcript,
        permit: Permit,
        clock: Callable[[], float],
        explain: Callable[[TimedOut], None] | None = None,
    ) -> None:
        """`explain` adds to a timeout error the limit that was reached, and where it is set."""
        self.dialect = reply.dialect
        self.streamed = reply.streamed
        attempt = transcript.attempt
        self.target = attempt.target
        self.provider = provider.name
        self.trusted = provider.trusted
        self.attempt = attempt
        self._transcript = transcript
        self._reply = reply
        self._head: list[Delta] | None = head
        self._permit = permit
        self._clock = clock
        self._explain = explain

    async def next(self) -> list[Delta] | None:
        """The next deltas, or None at the clean end. Raises `UpstreamError` unchanged."""
        if self._head is not None:
            batch, self._head = self._head, None
            return batch
        try:
            following = await self._reply.next()
        except BaseException as error:
            self._end(error)
            await self._reply.close()
            raise
        if following is None:
            self._end(None)
        else:
            note_usage(self._transcript, following)
        return following

    async def close(self) -> None:
        """Cancels the upstream call at once. Idempotent."""
        self._cancel()
        await self._reply.close()

    def _cancel(self) -> None:
        if not self.attempt.ended:
            record_cancelled(self.attempt, self._clock(), lost=False)
        self._permit.release()

    def _end(self, error: BaseException | None) -> None:
        now = self._clock()
        if error is None:
            self.attempt.ended = self.attempt.ended or now
            self._permit.finish()
            return
        if isinstance(error, TimedOut) and self._explain is not None:
            self._explain(error)
        if isinstance(error, Exception):
            record_failure(self.attempt, error, now)
        if isinstance(error, UpstreamError):
            note_usage(self._transcript, error.before)
            self._permit.fail(error, now, blame(error, self._transcript, self._permit.timeouts, stream=self.streamed))
        self._cancel()


async def read_to_commit(
    reply: Reply,
    transcript: Transcript,
    refusal_falls_back: bool,
    clock: Callable[[], float],
    opening: Callable[[Delta], None] | None = None,
) -> list[Delta]:
    """Reads all deltas up to the first that commits: one with content, or an end with a reason for having none.

    Calls `opening` with the first delta if it does not commit. Raises `EmptyAnswer` for a clean end without content,
    and `ContentRefused` for a refusal if refusals fall back.
    """
    head: list[Delta] = []
    declined = False
    while (batch := await _read(reply, transcript)) is not None:
        head = head + batch if head else batch
        for delta in batch:
            for choice in delta.choices:
                if choice.has_content:
                    transcript.attempt.first_token = clock()
                    return head
                if choice.finish in _DECLINED and refusal_falls_back:
                    declined = True
                elif choice.finish not in _UNDECIDED:
                    return head
        if opening is not None and batch:
            opening(batch[0])
            opening = None
    if declined:
        raise ContentRefused("the provider's content policy declined the request")
    raise EmptyAnswer("the provider's answer was empty")


async def _read(reply: Reply, transcript: Transcript) -> list[Delta] | None:
    """The next deltas; records their usage on the attempt, also for deltas that an error carries."""
    try:
        batch = await reply.next()
    except UpstreamError as error:
        note_usage(transcript, error.before)
        raise
    if batch is not None:
        note_usage(transcript, batch)
    return batch


def note_usage(transcript: Transcript, batch: Sequence[Delta]) -> None:
    """Records the latest usage and the text, so that the output is counted however the call ends."""
    attempt, texts = transcript.attempt, transcript.texts
    for delta in batch:
        if delta.usage is not None:
            attempt.usage = delta.usage.sane
        if delta.tier:
            attempt.tier = delta.tier
        for choice in delta.choices:
            if choice.text:
                texts.append(choice.text)
            if choice.reasoning:
                texts.append(choice.reasoning)
            for call in choice.tool_calls:
                texts.append(call.name + call.arguments)
    if texts:
        attempt.uncounted = True
