"""What every kind of guardrail keeps, as tests that its author inherits. This needs pytest.

class TestShouting(GuardrailConformance):
    config = ShoutingConfig
    options = {"then": "block"}
    found = ("WHERE IS MY PARCEL",)
    passed = ("Where is my parcel?",)
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, get_args

import pytest

from config.conformance import ComponentConformance
from config.guardrails import Side
from contract.caller import Caller
from contract.deltas import ChoiceDelta, Delta
from contract.egress import DIRECT
from contract.embedding import Embeds
from contract.errors import GatehouseError, Unavailable
from contract.exchange import Exchange
from contract.finding import Finding
from contract.messages import ChatRequest, Message, Text
from contract.pools import Pools
from contract.reply import OutputFilter, Reply
from contract.stock import StockReply
from guardrails.assembly import chain
from guardrails.chain import Chain
from guardrails.component import Guardrail, GuardrailParts
from guardrails.masking.conversations import MemoryRows, RowStore
from guardrails.personal.tagger_thread import TaggerThread, Tags
from guardrails.span import Span

if TYPE_CHECKING:
    from rag.async_embedder import AsyncEmbedder, Model

T = TypeVar("T")
NAME = "tested"
# Models load and learn with the first case, on a machine that is busy with other tests.
_PATIENT: Mapping[str, Any] = MappingProxyType({"timeout": "60s"})
_SIDES: tuple[Side, ...] = ("input", "output")


@functools.cache
def _embedding_model() -> Model:
    from rag.embedder import open_embedder

    return open_embedder()


@functools.cache
def _tagger() -> Tags:
    from guardrails.personal.tagger import open_tagger

    return open_tagger()


class FakeServices:
    """What the process lends to guardrails. Implements `guardrails.component.Shared`, with the models that ship."""

    def __init__(self) -> None:
        self.pools = Pools()
        self.egress = DIRECT
        self._rows = MemoryRows()
        self._kept: dict[tuple[str, type], object] = {}
        self._embedders: list[AsyncEmbedder] = []

    def embedder(self) -> Embeds:
        """See `Shared.embedder`."""
        from rag.async_embedder import AsyncEmbedder

        self._embedders.append(AsyncEmbedder(_embedding_model))
        return self._embedders[-1]

    def tagger(self) -> TaggerThread:
        """See `Shared.tagger`."""
        return TaggerThread(_tagger(), self.pools.tagger)

    def kept(self, owner: str, what: type[T]) -> T:
        """See `Shared.kept`."""
        found = self._kept.setdefault((owner, what), what())
        assert isinstance(found, what)
        return found

    def rows(self, redis_url: str | None) -> RowStore:
        """See `Shared.rows`."""
        return self._rows

    async def close(self) -> None:
        """Ends all threads."""
        for embedder in self._embedders:
            await embedder.close()
        await self.pools.close()


class FailingServices(FakeServices):
    """What the process lends when none of its models works."""

    def embedder(self) -> Embeds:
        """See `Shared.embedder`: it never loads."""
        from rag.async_embedder import AsyncEmbedder
        from rag.embedder import EmbedderAbsent

        def absent() -> Model:
            raise EmbedderAbsent("broken")

        self._embedders.append(AsyncEmbedder(absent))
        return self._embedders[-1]

    def tagger(self) -> TaggerThread:
        """See `Shared.tagger`: it fails on every text."""

        class Failing:
            def tag(self, text: str) -> list[Span]:
                raise OSError("broken")

        return TaggerThread(Failing(), self.pools.tagger)


class PiecewiseReply:
    """An answer in pieces. Implements `contract.reply.Reply`."""

    dialect = "openai"
    streamed = True

    def __init__(self, pieces: Sequence[str]) -> None:
        self._deltas = [[Delta((ChoiceDelta(text=piece),))] for piece in pieces]
        self._deltas.append([Delta((ChoiceDelta(finish="stop"),))])

    async def next(self) -> list[Delta] | None:
        """See `Reply.next`."""
        return self._deltas.pop(0) if self._deltas else None

    async def close(self) -> None:
        """Nothing is open."""


class Outcome(NamedTuple):
    """What became of a text: the words that went on, the findings, and whether it was stopped."""

    words: str
    findings: tuple[Finding, ...]
    stopped: bool

    @property
    def rules(self) -> set[str]:
        """What was found."""
        return {each.rule for each in self.findings}


class GuardrailConformance(ComponentConformance):
    """`found` are texts in which it finds something, `passed` texts in which it finds nothing.

    The user says them on the way in, and a model on the way out. The options say `then: block` where the kind can.
    """

    config: type[Guardrail]
    found: Sequence[str] = ()
    passed: Sequence[str] = ()

    @classmethod
    def kind(cls) -> str:
        """The kind's name in a file."""
        (kind,) = get_args(cls.config.model_fields["kind"].annotation)
        return str(kind)

    def request(self, text: str) -> ChatRequest:
        """The request in which `text` is said."""
        return ChatRequest(dialect="openai", model="m", messages=(Message("user", (Text(text),)),))

    def asked(self) -> ChatRequest:
        """The request that an answer is given to."""
        return self.request("Go on.")

    def model_says(self, text: str) -> str:
        """What a model answers that the guardrail asks about `text`."""
        raise AssertionError("this guardrail asks no model")

    async def before(self, guards: Chain) -> None:
        """What happens before each case, for a guardrail that learns from what it sees."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test for each side on which the kind may stand, and each case."""
        if "side" in metafunc.fixturenames:
            metafunc.parametrize("side", [each for each in _SIDES if each in self.config.sides])
        for name in ("found", "passed"):
            if f"{name}_text" in metafunc.fixturenames:
                metafunc.parametrize(f"{name}_text", getattr(self, name), ids=lambda text: repr(text[:24]))

    def test_it_has_cases_of_both_sorts(self) -> None:
        """Texts in which it finds something, and texts in which it does not."""
        assert self.found
        assert self.passed

    def test_it_is_built_for_each_side_and_holds_back_what_it_says(self, side: Side) -> None:
        """`holds_back` agrees with the checks that there are."""

        async def built(lent: FakeServices) -> None:
            guardrail = self._read()
            parts = GuardrailParts(lent)
            stream = guardrail.stream_check(NAME, parts)
            sentence = guardrail.sentence_check(NAME, parts)
            answer = guardrail.answer_check(NAME, parts)
            if side == "input":
                assert guardrail.request_check(NAME, parts) is not None
                return
            assert any(each is not None for each in (stream, sentence, answer))
            held = guardrail.holds_back("output")
            assert (held == "the whole answer") == (answer is not None)
            assert (held == "a sentence") == (sentence is not None)

        _lending(built)

    def test_it_does_as_the_options_of_all_guardrails_say(self, side: Side) -> None:
        """`shadow`, `on_error` and `timeout` reach every check."""

        async def built(lent: FakeServices) -> None:
            guards = self._chain(side, lent, {"shadow": True, "on_error": "open", "timeout": "7s"})
            for each in (*guards.inputs, *guards.outputs, *guards.answers):
                policy = each.policy
                assert (policy.name, policy.shadow, policy.fail_open, policy.timeout_s) == (NAME, True, True, 7.0)

        _lending(built)

    def test_it_finds(self, side: Side, found_text: str) -> None:
        """What it should find leaves findings, and nothing of what is stopped gets out."""
        outcome = self._run(found_text, side)
        assert outcome.findings
        for each in outcome.findings:
            assert (each.guardrail, each.shadow) == (NAME, False)
            assert each.action not in ("failed", "unread")
        assert not outcome.stopped or not outcome.words

    def test_it_lets_pass(self, side: Side, passed_text: str) -> None:
        """What it should not find goes on as it was."""
        assert self._run(passed_text, side) == Outcome(passed_text, (), False)

    def test_in_the_shadow_it_only_records(self, side: Side, found_text: str) -> None:
        """With `shadow` a text goes on as it was, and the findings say what would have been done."""
        outcome = self._run(found_text, side, {**_PATIENT, "shadow": True})
        assert (outcome.words, outcome.stopped) == (found_text, False)
        assert outcome.findings
        assert all(each.shadow for each in outcome.findings)

    def test_a_finding_holds_no_text(self, side: Side, found_text: str) -> None:
        """Findings are logged and counted, so they name what was found and never quote it."""
        told = repr(self._run(found_text, side).findings)
        assert not found_text.strip() or found_text not in told

    def test_an_answer_in_pieces_is_as_one_that_is_whole(self, found_text: str) -> None:
        """Where a stream is cut makes no difference."""
        if "output" not in self.config.sides:
            return
        whole = self._run(found_text, "output")
        pieces = self._run(found_text, "output", letters=True)
        assert (pieces.stopped, pieces.rules) == (whole.stopped, whole.rules)
        # What may go on of an answer that is stopped differs; it never holds what was found.
        assert pieces.words == whole.words or (whole.stopped and found_text not in pieces.words)

    @pytest.mark.parametrize("on_error", ["closed", "open"])
    def test_when_models_are_broken_it_does_as_on_error_says(self, side: Side, on_error: str) -> None:
        """Unless it needs none: then it works as always."""
        text = self.passed[0]

        async def run(lent: FakeServices) -> Outcome:
            guards = self._chain(side, lent, {**_PATIENT, "on_error": on_error})
            return await self._outcome(guards, text, side, [text], works=False)

        outcome = _lending(run, FailingServices)
        assert {each.action for each in outcome.findings} <= {"failed"}
        assert outcome.stopped == (on_error == "closed" and bool(outcome.findings))
        assert outcome.words == ("" if outcome.stopped else text)

    def test_requests_at_the_same_time_know_nothing_of_each_other(self, side: Side) -> None:
        """One guardrail serves all requests of a pipeline, many at a time."""

        async def both(lent: FakeServices) -> list[Outcome]:
            guards = self._chain(side, lent)
            await self.before(guards)
            texts = (self.found[0], self.passed[0]) * 3
            return list(await asyncio.gather(*[self._outcome(guards, text, side, [text]) for text in texts]))

        outcomes = _lending(both)
        assert all(each.findings for each in outcomes[::2])
        assert [each.findings for each in outcomes[1::2]] == [()] * 3

    def _read(self, more: Mapping[str, Any] = _PATIENT) -> Guardrail:
        guardrail: Guardrail = self.read({**self.options, **more})
        return guardrail

    def _chain(self, side: Side, lent: FakeServices, more: Mapping[str, Any] = _PATIENT) -> Chain:
        inputs, outputs = ((NAME,), ()) if side == "input" else ((), (NAME,))
        return chain({NAME: self._read(more)}, inputs, outputs, lent)

    def _run(self, text: str, side: Side, more: Mapping[str, Any] = _PATIENT, *, letters: bool = False) -> Outcome:
        async def run(lent: FakeServices) -> Outcome:
            guards = self._chain(side, lent, more)
            await self.before(guards)
            return await self._outcome(guards, text, side, list(text) if letters else [text])

        return _lending(run)

    async def _outcome(
        self, guards: Chain, text: str, side: Side, pieces: Sequence[str], *, works: bool = True
    ) -> Outcome:
        exchange = Exchange("conformance")
        exchange.caller = Caller("conformance")
        request = self.request(text) if side == "input" else self.asked()

        async def again(request: ChatRequest, model: str, *, masked: bool = False) -> Reply:
            if not works:
                raise Unavailable("broken")
            return StockReply(self.model_says(text), request)

        words: list[str] = []
        stopped = False
        try:
            guarded = await guards.open(request, exchange, again)
            stopped = guarded.answer is not None
            if side == "output":
                await _drain(await guarded.check(PiecewiseReply(pieces), again), guarded.filters(), words)
            elif not stopped:
                words.append(guarded.request.messages[-1].text)
        except GatehouseError:
            stopped = True
        return Outcome("".join(words), tuple(exchange.findings), stopped)


def _lending(act: Callable[[FakeServices], Awaitable[T]], made: Callable[[], FakeServices] = FakeServices) -> T:
    """What `act` gives with what it is lent."""

    async def run() -> T:
        lent = made()
        try:
            return await act(lent)
        finally:
            await lent.close()

    return asyncio.run(run())


async def _drain(reply: Reply, filters: Sequence[OutputFilter], words: list[str]) -> None:
    """The answer's words as they get out, through the filters in their order."""

    def say(deltas: list[Delta]) -> None:
        words.extend(piece.text for delta in deltas for piece in delta.choices)

    while (deltas := await reply.next()) is not None:
        for each in filters:
            deltas = each.feed(deltas)
        say(deltas)
    left: list[Delta] = []
    for each in filters:
        left = (each.feed(left) if left else []) + each.finish()
    say(left)
