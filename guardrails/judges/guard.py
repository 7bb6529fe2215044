"""A guardrail for complete answers: judges an answer and applies the configured steps if it has a problem."""

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

# The finish reasons of an incomplete answer.
CUT_OFF: frozenset[FinishReason] = frozenset({"length", "context_window", "pause", "content_filter", "malformed"})
MAX_HELD_CHARACTERS = 4_000_000


class Judgement(msgspec.Struct, frozen=True):
    """A judge's result for one answer: `problem` is empty if it passes; `repaired` is the corrected text, if any."""

    problem: str = ""
    repaired: str = ""


class Judge(Protocol):
    """Judges complete answers."""

    name: str

    async def judge(
        self, text: str, finish: FinishReason, *, calls: bool, request: ChatRequest, again: AskAgain, caller: str = ""
    ) -> Judgement:
        """`calls`: the answer also calls tools. `again` calls a model, for judges that use one.

        Long work is queued as `caller`.
        """
        ...


class HeldAnswer:
    """A complete answer, held back until it has been judged. Implements `contract.reply.Reply`."""

    def __init__(self, reply: Reply, deltas: list[Delta]) -> None:
        self.dialect = reply.dialect
        self.streamed = reply.streamed
        self._reply = reply
        self._deltas = deltas
        self._sent = False

    async def next(self) -> list[Delta] | None:
        """See `Reply.next`."""
        if self._sent:
            return None
        self._sent = True
        return self._deltas or None

    async def close(self) -> None:
        """See `Reply.close`."""
        await self._reply.close()

    def texts(self) -> dict[int, tuple[str, FinishReason, bool]]:
        """For each choice its text, its finish reason, and whether it calls tools."""
        parts: dict[int, list[str]] = {}
        ends: dict[int, FinishReason] = {}
        calls: set[int] = set()
        for piece in (piece for delta in self._deltas for piece in delta.choices):
            parts.setdefault(piece.index, []).append(piece.text)
            ends[piece.index] = piece.finish or ends.get(piece.index, "")
            if piece.tool_calls:
                calls.add(piece.index)
        return {index: ("".join(texts), ends[index], index in calls) for index, texts in parts.items()}

    def with_texts(self, texts: dict[int, str]) -> HeldAnswer:
        """The same answer with other texts for some choices, each in the first delta that had text."""
        replaced: set[int] = set()
        deltas = []
        for delta in self._deltas:
            pieces = []
            for piece in delta.choices:
                if piece.index in texts and piece.text:
                    text = "" if piece.index in replaced else texts[piece.index]
                    replaced.add(piece.index)
                    # Log probabilities and citations of the old text do not apply to the new one.
                    pieces.append(msgspec.structs.replace(piece, text=text, logprobs=(), citations=()))
                elif piece.index in texts and piece.citations:
                    pieces.append(msgspec.structs.replace(piece, citations=()))
                else:
                    pieces.append(piece)
            deltas.append(msgspec.structs.replace(delta, choices=tuple(pieces), raw=b""))
        missing = [ChoiceDelta(index, text) for index, text in texts.items() if index not in replaced]
        if missing:
            deltas.insert(0, Delta(tuple(missing)))
        changed = HeldAnswer(self._reply, deltas)
        # The provider's raw bytes no longer apply: every writer must serialise the deltas.
        changed.dialect = OWN_DIALECT
        return changed


async def hold(reply: Reply) -> HeldAnswer:
    """Reads a complete reply. Raises the reply's errors, and `GatehouseError` for an answer that is too long."""
    deltas: list[Delta] = []
    size = 0
    while (batch := await reply.next()) is not None:
        deltas += batch
        size += sum(len(piece.text) for delta in batch for piece in delta.choices)
        if size > MAX_HELD_CHARACTERS:
            raise GuardrailBroken("The answer is too long for a check of the complete answer")
    return HeldAnswer(reply, deltas)


class AnswerGuardrail(Guardrail):
    """The base class of guardrails for complete answers: a kind declares its options and builds its judge."""

    sides: ClassVar[frozenset[str]] = frozenset({"output"})
    steps: ClassVar[frozenset[str]] = frozenset({"flag", "repair", "retry", "race", "model", "block", "say", "human"})
    then: Then = Field(
        default=("repair", "retry 1", "block"),
        description="What to try, in order: repair, retry N (with the reason), race N, model NAME, say TEXT, "
        "human, block; flag lets it pass.",
    )

    def judge_of(self, parts: GuardrailParts) -> Judge:
        """Builds the judge. Raises `ValueError`."""
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
        """`steps` in the order to try: (`retry`, `1`), (`block`, ``), ..."""
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
                if (repaired := _repaired(held, judgements)) is not None:
                    return repaired
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
        # No step helped and none blocks: pass the answer on, flagged.
        return held

    async def _held(
        self, request: ChatRequest, reply: Reply, exchange: Exchange, again: AskAgain
    ) -> tuple[HeldAnswer, dict[int, Judgement]]:
        """Reads the complete reply and judges each choice; no judgements if the judge failed and fails open."""
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
            # A call to the judge model changes the target, but the target of the answer must be reported.
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
        """Returns a new answer that passes, or None. `retry` makes up to N calls in sequence, `race` N at once."""
        new_request = _with_reason(request, _problem(judgements))
        if name == "race":
            return await self._first_good(await self._all(new_request, int(argument), exchange, again))
        for _ in range(int(argument) if name == "retry" else 1):
            reply = await again(new_request, argument if name == "model" else "")
            try:
                held, new_judgements = await self._held(new_request, reply, exchange, again)
            except BaseException:
                await reply.close()
                raise
            if not _problem(new_judgements):
                return held
            repaired = _repaired(held, new_judgements) if ("repair", "") in self._steps else None
            if repaired is not None:
                return repaired
            await reply.close()
            new_request = _with_reason(request, _problem(new_judgements))
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
        good = next((held for held, judgements in answers if not _problem(judgements)), None)
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
    """The answer with every choice repaired; None if one can't be repaired."""
    if any(each.problem and not each.repaired for each in judgements.values()):
        return None
    return held.with_texts({index: each.repaired for index, each in judgements.items() if each.problem})


def _with_reason(request: ChatRequest, problem: str) -> ChatRequest:
    """The request with a message that states the problem of the last answer."""
    reason = Message(
        "user", (Text(f"Your last answer can't be used: {problem}. Answer again, and only so that it can."),)
    )
    return msgspec.structs.replace(request, messages=(*request.messages, reason))
