"""A guardrail that needs the whole answer: checks it, and works through what its YAML says when it is not right."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

import msgspec
from pydantic import Field

from config.guardrails import Side, Step, Then
from contract.deltas import ChoiceDelta, Delta, FinishReason
from contract.finding import Finding
from contract.messages import Message, Text
from contract.stock import OWN_DIALECT, StockReply
from contract.work import caller_of
from guardrails.component import Guardrail, GuardrailParts
from guardrails.verdict import GuardrailBroken

if TYPE_CHECKING:
    from contract.exchange import Exchange
    from contract.guards import AskAgain
    from contract.messages import ChatRequest
    from contract.reply import Reply
    from guardrails.checks import AnswerCheck
    from guardrails.verdict import Policy

# Ends of an answer that is not whole.
CUT_OFF: frozenset[FinishReason] = frozenset({"length", "context_window", "pause", "content_filter", "malformed"})
MAX_HELD_CHARACTERS = 4_000_000


class Judgement(msgspec.Struct, frozen=True):
    """What a judge says of one answer: `problem` empty when it may pass; `repaired` its text as it should have been."""

    problem: str = ""
    repaired: str = ""


class Judge(Protocol):
    """Judges whole answers."""

    name: str

    async def judge(
        self, text: str, finish: FinishReason, *, calls: bool, request: ChatRequest, again: AskAgain, caller: str = ""
    ) -> Judgement:
        """`calls`: the answer calls tools as well. `again` asks a model, for judges that do.

        `caller` is whose turn long work takes.
        """
        ...


class HeldAnswer:
    """A whole answer, held back until it has been judged. Implements `contract.reply.Reply`."""

    def __init__(self, reply: Reply, deltas: list[Delta]) -> None:
        self.dialect = reply.dialect
        self.streamed = reply.streamed
        self._reply = reply
        self._deltas = deltas
        self._told = False

    async def next(self) -> list[Delta] | None:
        """See `Reply.next`."""
        if self._told:
            return None
        self._told = True
        return self._deltas or None

    async def close(self) -> None:
        """See `Reply.close`."""
        await self._reply.close()

    def texts(self) -> dict[int, tuple[str, FinishReason, bool]]:
        """Of each choice its words, its end and whether it calls tools."""
        words: dict[int, list[str]] = {}
        ends: dict[int, FinishReason] = {}
        calls: set[int] = set()
        for piece in (piece for delta in self._deltas for piece in delta.choices):
            words.setdefault(piece.index, []).append(piece.text)
            ends[piece.index] = piece.finish or ends.get(piece.index, "")
            if piece.tool_calls:
                calls.add(piece.index)
        return {index: ("".join(parts), ends[index], index in calls) for index, parts in words.items()}

    def with_texts(self, texts: dict[int, str]) -> HeldAnswer:
        """The same answer with other words in some choices: all in the first delta that had some."""
        told: set[int] = set()
        deltas = []
        for delta in self._deltas:
            pieces = []
            for piece in delta.choices:
                if piece.index in texts and piece.text:
                    text = "" if piece.index in told else texts[piece.index]
                    told.add(piece.index)
                    # What was said of the words that stood here can't be said of others.
                    pieces.append(msgspec.structs.replace(piece, text=text, logprobs=(), citations=()))
                elif piece.index in texts and piece.citations:
                    pieces.append(msgspec.structs.replace(piece, citations=()))
                else:
                    pieces.append(piece)
            deltas.append(msgspec.structs.replace(delta, choices=tuple(pieces), raw=b""))
        missing = [ChoiceDelta(index, text) for index, text in texts.items() if index not in told]
        if missing:
            deltas.insert(0, Delta(tuple(missing)))
        mended = HeldAnswer(self._reply, deltas)
        # Not the provider's bytes any more: every writer is to write it anew.
        mended.dialect = OWN_DIALECT
        return mended


async def hold(reply: Reply) -> HeldAnswer:
    """The whole of a reply. Raises what the reply raises, and `GatehouseError` for an answer beyond all bounds."""
    deltas: list[Delta] = []
    size = 0
    while (batch := await reply.next()) is not None:
        deltas += batch
        size += sum(len(piece.text) for delta in batch for piece in delta.choices)
        if size > MAX_HELD_CHARACTERS:
            raise GuardrailBroken("The answer is too long to be checked as a whole")
    return HeldAnswer(reply, deltas)


class AnswerGuardrail(Guardrail):
    """What a guardrail that needs the whole answer has: a kind names its options and gives its judge."""

    sides: ClassVar[frozenset[str]] = frozenset({"output"})
    steps: ClassVar[frozenset[str]] = frozenset({"flag", "repair", "retry", "race", "model", "block", "say", "human"})
    then: Then = Field(
        default=("repair", "retry 1", "block"),
        description="What to try, in order: repair, retry N (with the reason), race N, model NAME, say TEXT, "
        "human, block; flag lets it pass.",
    )

    def judge_of(self, parts: GuardrailParts) -> Judge:
        """What judges answers. Raises `ValueError`."""
        raise NotImplementedError(f"{type(self).__name__} has no judge")

    def holds_back(self, side: Side) -> str:
        """See `GuardrailConfig.holds_back`."""
        return "the whole answer" if side == "output" else super().holds_back(side)

    def answer_check(self, name: str, parts: GuardrailParts) -> AnswerCheck:
        """See `Guardrail.answer_check`."""
        return AnswerGuard(self.judge_of(parts), self.policy(name, parts, {"*": "flag"}), self.ordered_steps)


class AnswerGuard:
    """Implements `guardrails.checks.AnswerCheck`."""

    def __init__(self, judge: Judge, policy: Policy, steps: Sequence[Step]) -> None:
        """`steps` in the order in which they are tried: (`retry`, `1`), (`block`, ``), ..."""
        self.policy = policy
        self._judge = judge
        self._steps = tuple(steps)

    async def check(self, request: ChatRequest, reply: Reply, exchange: Exchange, again: AskAgain) -> Reply:
        """See `AnswerCheck.check`."""
        held, judgements = await self._held(request, reply, exchange, again)
        if not _problem(judgements):
            return held
        if self.policy.shadow:
            self._note(exchange, self._steps[0][0] if self._steps else "flag")
            return held
        for name, argument in self._steps:
            self._note(exchange, name)
            if name == "flag":
                return held
            if name == "repair":
                if (mended := _repaired(held, judgements)) is not None:
                    return mended
            elif name in ("retry", "race", "model"):
                better = await self._ask_again(name, argument, request, judgements, exchange, again)
                if better is not None:
                    await reply.close()
                    return better
            elif name == "block":
                raise self.policy.blocked(self._judge.name, "output")
            else:
                await reply.close()
                human = name == "human"
                return StockReply(self.policy.hand_over(exchange, self._judge.name) if human else argument, request)
        # Nothing that was tried helped, and nothing says to block: what there is goes on, flagged.
        return held

    async def _held(
        self, request: ChatRequest, reply: Reply, exchange: Exchange, again: AskAgain
    ) -> tuple[HeldAnswer, dict[int, Judgement]]:
        """The whole reply and what is to be said of each choice; nothing of one that passes unchecked."""
        held = await hold(reply)
        answered = exchange.target
        try:
            async with asyncio.timeout(self.policy.timeout_s):
                judgements = {
                    index: await self._judge.judge(
                        text, finish, calls=calls, request=request, again=again, caller=caller_of(exchange)
                    )
                    for index, (text, finish, calls) in held.texts().items()
                }
        except Exception as error:
            self.policy.failed(error, "output", exchange)
            return held, {}
        finally:
            # A model that judges is called like one that answers, but has not answered.
            exchange.target = answered
        return held, judgements

    async def _ask_again(
        self,
        name: str,
        argument: str,
        request: ChatRequest,
        judgements: dict[int, Judgement],
        exchange: Exchange,
        again: AskAgain,
    ) -> HeldAnswer | None:
        """An answer that passes, or None. `retry` tells the reason and asks up to N times, `race` N at once."""
        told = _with_reason(request, _problem(judgements))
        if name == "race":
            return await self._first_good(await self._all(told, int(argument), exchange, again))
        for _ in range(int(argument) if name == "retry" else 1):
            reply = await again(told, argument if name == "model" else "")
            try:
                held, found = await self._held(told, reply, exchange, again)
            except BaseException:
                await reply.close()
                raise
            if not _problem(found):
                return held
            mended = _repaired(held, found) if ("repair", "") in self._steps else None
            if mended is not None:
                return mended
            await reply.close()
            told = _with_reason(request, _problem(found))
        return None

    async def _all(
        self, request: ChatRequest, count: int, exchange: Exchange, again: AskAgain
    ) -> list[tuple[HeldAnswer, dict[int, Judgement]]]:
        async def one() -> tuple[HeldAnswer, dict[int, Judgement]]:
            reply = await again(request, "")
            try:
                return await self._held(request, reply, exchange, again)
            except BaseException:
                await reply.close()
                raise

        done = await asyncio.gather(*[one() for _ in range(count)], return_exceptions=True)
        for each in done:
            if isinstance(each, BaseException) and not isinstance(each, Exception):
                raise each
        return [each for each in done if isinstance(each, tuple)]

    @staticmethod
    async def _first_good(answers: list[tuple[HeldAnswer, dict[int, Judgement]]]) -> HeldAnswer | None:
        good = next((held for held, found in answers if not _problem(found)), None)
        for held, _ in answers:
            if held is not good:
                await held.close()
        return good

    def _note(self, exchange: Exchange, action: str) -> None:
        exchange.findings.append(
            Finding(self.policy.name, self._judge.name, action, "output", shadow=self.policy.shadow)
        )


def _problem(judgements: dict[int, Judgement]) -> str:
    return next((each.problem for each in judgements.values() if each.problem), "")


def _repaired(held: HeldAnswer, judgements: dict[int, Judgement]) -> HeldAnswer | None:
    """The answer with every choice mended; None if one can't be."""
    if any(each.problem and not each.repaired for each in judgements.values()):
        return None
    return held.with_texts({index: each.repaired for index, each in judgements.items() if each.problem})


def _with_reason(request: ChatRequest, problem: str) -> ChatRequest:
    """The request with why the last answer would not do."""
    reason = Message(
        "user", (Text(f"Your last answer can't be used: {problem}. Answer again, and only so that it can."),)
    )
    return msgspec.structs.replace(request, messages=(*request.messages, reason))
