"""Sends a request to the targets of its policy until one answers.

The straight way (one lane, the first attempt answers) makes no task, no timer and no copy of the request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from random import Random
from typing import NamedTuple

from contract.attempt import Attempt
from contract.deltas import Delta, Usage
from contract.exchange import Exchange
from contract.messages import ChatRequest, EmbeddingRequest, Embeddings
from contract.patience import asks_to_think, thinks
from contract.provider import Provider, UpstreamCall
from contract.service_tier import asked_tier
from contract.ticket import Ticket
from contract.unsettled import Unsettled
from router.clockwork import Clockwork
from router.failure import explain_timeout
from router.health import HealthBook, Permit
from router.hedge import R, race
from router.plan import Plan
from router.policy import RoutePolicy
from router.reply import CommittedReply, read_to_commit
from router.run import AttemptOptions, Run


class Changes(NamedTuple):
    """What becomes of a request for one target: `reveal` makes it as a trusted provider gets it, `fit` as so many
    tokens hold it.
    """

    reveal: Callable[[ChatRequest], ChatRequest] | None = None
    fit: Callable[[ChatRequest, int], ChatRequest] | None = None


AS_IT_IS = Changes()


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
        """`clock` must be the health book's own, `sleep` takes its seconds."""
        self._providers = providers
        self._book = health
        self._works = Clockwork(clock, sleep, random or Random())

    async def dispatch(
        self,
        request: ChatRequest,
        policy: RoutePolicy,
        exchange: Exchange,
        unsettled: Unsettled,
        changes: Changes = AS_IT_IS,
        prompt_tokens: int | None = None,
        opening: Callable[[Delta], None] | None = None,
    ) -> CommittedReply:
        """The first answer that begins; the caller closes it. `prompt_tokens` is an estimate, None if there is none.

        `opening` is called once for each target that sends something before its first word; another may yet answer.
        The ticket of `unsettled` covers every attempt before it is made; each leaves its transcript there.

        Raises the error of the only attempt, `UnsupportedFeature` when no target can say what is asked, or
        `AllTargetsFailed`.
        """
        clock, windows, ticket = self._works.clock, policy.windows, unsettled.ticket
        reveal, fit = changes

        async def answer(provider: Provider, call: UpstreamCall, permit: Permit) -> CommittedReply:
            attempt = call.attempt
            asked = reveal(request) if reveal is not None and provider.trusted else request
            if fit is not None and (window := windows.get(attempt.target)) is not None:
                asked = fit(asked, window)
            transcript = call.transcript
            transcript.asked = asked
            if asked.extra is not None and asked.dialect == attempt.dialect:
                attempt.tier = asked_tier(asked.extra)
            reply = await provider.open(asked, call)
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
        options = AttemptOptions(request.stream, unsettled.transcripts, cover, partial(thinks, request))
        run = Run(policy, plan, exchange, self._works, answer, options)
        # A model that was asked to think is silent, and not slow: asking a second one would only cost twice.
        hedges = policy.hedge_after_s is not None and not asks_to_think(request)
        return await self._outcome(run, policy, exchange, _close, hedges=hedges)

    async def embed(
        self, request: EmbeddingRequest, policy: RoutePolicy, exchange: Exchange, unsettled: Unsettled
    ) -> Embeddings:
        """One vector per text, from the first target that gives them. Raises as `dispatch` does."""
        clock, ticket = self._works.clock, unsettled.ticket

        async def embed(provider: Provider, call: UpstreamCall, permit: Permit) -> Embeddings:
            call.transcript.asked = request
            embeddings = await provider.embed(request, call)
            now = call.attempt.ended = clock()
            if embeddings.input_tokens:
                call.attempt.usage = Usage(input=embeddings.input_tokens).sane
            permit.commit(now)
            permit.finish()
            return embeddings

        plan = self._plan(policy, exchange, None, request, ticket)
        cover = partial(_cover, ticket, request) if ticket is not None else None
        run = Run(policy, plan, exchange, self._works, embed, AttemptOptions(False, unsettled.transcripts, cover))
        return await self._outcome(run, policy, exchange, _keep)

    def _plan(
        self,
        policy: RoutePolicy,
        exchange: Exchange,
        prompt_tokens: int | None,
        request: ChatRequest | EmbeddingRequest,
        ticket: Ticket | None,
    ) -> Plan:
        excludes = partial(_excludes, ticket, request) if ticket is not None else None
        return Plan(policy, self._providers, self._book, exchange, self._works, prompt_tokens, excludes)

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
            won = await race(run, policy.hedge_after_s, self._works.sleep, discard)
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
