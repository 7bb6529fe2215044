"""Ten thousand requests of many apps, side by side: no answer crosses a boundary, no cut one is taken for a whole."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import msgspec
import pytest

from cache.answers import AnswerCache
from cache.eviction import Kind
from cache.memory import MemoryTier
from cache.phase import CachePhase, CachePolicy
from cache.tier import Tiers
from contract.caller import Caller
from contract.deltas import ChoiceDelta, Delta
from contract.errors import IncompleteReply
from contract.exchange import Exchange
from contract.messages import CacheControl, ChatRequest, Message, Text
from contract.passages import Passage
from contract.phases import Answer, MakesAnswer
from contract.unsettled import Unsettled
from tests.processes import eventually


class Reply:
    """Says who asked what, in pieces, with pauses; may break off."""

    dialect = "test"
    streamed = True

    def __init__(self, said: str, fails: bool) -> None:
        self._pieces = list(said)
        self._fails = fails
        self.closed = False

    async def next(self) -> list[Delta] | None:
        await asyncio.sleep(0)
        if not self._pieces:
            return None
        if self._fails and len(self._pieces) < 5:
            raise IncompleteReply("cut")
        piece = self._pieces.pop(0)
        return [Delta((ChoiceDelta(text=piece, finish="" if self._pieces else "stop"),))]

    async def close(self) -> None:
        self.closed = True


class Source:
    version = "1"

    async def refresh(self, passages: Any, labels: Any = None) -> list[Passage]:
        return [msgspec.structs.replace(each, text="t") for each in passages]


def asking(app: str, user: str, question: str, control: CacheControl | None) -> tuple[ChatRequest, Exchange]:
    exchange = Exchange("test")
    exchange.caller = Caller(app, labels=frozenset({app[0]}))
    message = Message("user", (Text(question),))
    request = ChatRequest(dialect="openai", model="m", messages=(message,), user=user, cache=control)
    return request, exchange


async def answered(
    recall: CachePhase,
    request: ChatRequest,
    exchange: Exchange,
    make: MakesAnswer,
    unsettled: Unsettled | None = None,
) -> Answer:
    found = await recall.lookup(request, exchange)
    return found if isinstance(found, Answer) else await found.share(make, unsettled or Unsettled())


@pytest.mark.parametrize(("per", "evict"), [("app", "s3-fifo"), ("user", "lru"), ("labels", "s3-fifo")])
@pytest.mark.slow
def test_no_answer_crosses_a_boundary(per: str, evict: Kind) -> None:
    draw = random.Random(7)
    source = Source()
    calls = 0

    async def run() -> None:
        nonlocal calls
        answers = AnswerCache(Tiers([MemoryTier(40_000, evict)], 60.0))
        pipelines = [
            CachePhase(CachePolicy("c", name, per=per, personal=True), answers, [source]) for name in ("p", "q")
        ]

        async def one() -> None:
            nonlocal calls
            app, user, question = (
                f"{draw.choice('xy')}{draw.randrange(4)}",
                f"u{draw.randrange(3)}",
                f"q{draw.randrange(6)}",
            )
            which = draw.randrange(2)
            control = draw.choice([None] * 8 + [CacheControl(no_cache=True), CacheControl(max_age=0.0)])
            request, exchange = asking(app, user, question, control)
            leaves = draw.random() < 0.1
            version = source.version
            owner = {"app": app, "user": f"{app}/{user}", "labels": app[0]}[per]

            async def make() -> Answer:
                nonlocal calls
                calls += 1
                said = f"{which} {owner} {question} {version}."
                await asyncio.sleep(0)
                return Answer(Reply(said, fails=draw.random() < 0.1), (Passage("d", "", "t", 1.0, "s:1"),))

            try:
                made = await answered(pipelines[which], request, exchange, make)
            except IncompleteReply:
                return
            said = ""
            try:
                while (deltas := await made.reply.next()) is not None:
                    said += "".join(choice.text for delta in deltas for choice in delta.choices)
                    if leaves and len(said) > 3:
                        return
            except IncompleteReply:
                return
            finally:
                await made.reply.close()
            assert said == f"{which} {owner} {question} {version}."

        for batch in range(100):
            if batch % 20 == 10:
                source.version = str(batch)
            await asyncio.gather(*[one() for _ in range(100)])
        await eventually(lambda: all(not len(each.calls) for each in pipelines))

    asyncio.run(run())
    assert calls < 9000, "it has to give some answers again"


@pytest.mark.parametrize("fails", [False, True])
def test_a_thousand_equal_requests_make_one_call(fails: bool) -> None:
    async def run() -> None:
        recall = CachePhase(CachePolicy("c", "p"), AnswerCache(Tiers([MemoryTier(100_000)], 60.0)))
        calls: list[Reply] = []

        async def make() -> Answer:
            await asyncio.sleep(0.01)
            calls.append(Reply("an answer of some length", fails))
            return Answer(calls[-1])

        async def one() -> str:
            made = await answered(recall, *asking("a", "", "How many pages does it print?", None), make)
            said = ""
            try:
                while (deltas := await made.reply.next()) is not None:
                    said += "".join(choice.text for delta in deltas for choice in delta.choices)
            except IncompleteReply:
                return "cut"
            finally:
                await made.reply.close()
            return said

        answers = await asyncio.gather(*[one() for _ in range(1000)])
        assert len(calls) == 1
        assert set(answers) == ({"cut"} if fails else {"an answer of some length"})
        assert calls[0].closed

    asyncio.run(run())


def test_when_all_leave_the_call_ends(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        recall = CachePhase(CachePolicy("c", "p"), AnswerCache(Tiers([MemoryTier(100_000)], 60.0)))
        reply = Reply("x" * 10_000, fails=False)

        async def make() -> Answer:
            return Answer(reply)

        readers = [
            await answered(recall, *asking("a", "", "How many pages does it print?", None), make) for _ in range(3)
        ]
        for reader in readers:
            await reader.reply.next()
            assert not reply.closed
            await reader.reply.close()
        await eventually(lambda: reply.closed and not len(recall.calls))

    asyncio.run(run())


def test_a_call_goes_on_for_its_ledger_while_another_reads_it() -> None:
    """Whoever made the call and left pays for all of it: their ledger must not be closed before it is over."""

    async def run() -> None:
        recall = CachePhase(CachePolicy("c", "p"), AnswerCache(Tiers([MemoryTier(40_000, "lru")], 60.0)))

        async def make() -> Answer:
            return Answer(Reply("an answer", fails=False))

        request, first = asking("x1", "u", "How many pages?", None)
        of_first, of_second, of_alone = Unsettled(), Unsettled(), Unsettled()
        made = await answered(recall, request, first, make, of_first)
        _, second = asking("x1", "u", "How many pages?", None)
        joined = await answered(recall, request, second, make, of_second)
        await made.reply.next()
        await made.reply.close()
        assert (of_first.call_pending, of_second.call_pending) == (True, False)
        while await joined.reply.next() is not None:
            pass
        assert not of_first.call_pending
        await joined.reply.close()
        # Nobody else reads: the call ends with its caller.
        request, alone = asking("x1", "u", "How many sheets?", None)
        made = await answered(recall, request, alone, make, of_alone)
        await made.reply.next()
        await made.reply.close()
        await eventually(lambda: not of_alone.call_pending)

    asyncio.run(run())
