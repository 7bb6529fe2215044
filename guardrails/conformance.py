"""Conformance tests that the author of a guardrail kind inherits. This needs pytest.

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
from guardrails.personal.tagger_thread import TaggerThread, TaggingModel
from guardrails.span import Span

if TYPE_CHECKING:
    from rag.async_embedder import AsyncEmbedder, Model

T = TypeVar("T")
NAME = "tested"
# Models load during the first case, possibly on a busy machine.
_PATIENT: Mapping[str, Any] = MappingProxyType({"timeout": "60s"})
_SIDES: tuple[Side, ...] = ("input", "output")


@functools.cache
def _embedding_model() -> Model:
    from rag.embedder import open_embedder

    return open_embedder()


@functools.cache
def _tagger() -> TaggingModel:
    from guardrails.personal.tagger import open_tagger

    return open_tagger()


class FakeServices:
    """Implements `guardrails.component.GuardrailServices` with the built-in models."""

    def __init__(self) -> None:
        self.pools = Pools()
        self.egress = DIRECT
        self._rows = MemoryRows()
        self._state: dict[tuple[str, type], object] = {}
        self._embedders: list[AsyncEmbedder] = []

    def embedder(self) -> Embeds:
        """See `GuardrailServices.embedder`."""
        from rag.async_embedder import AsyncEmbedder

        self._embedders.append(AsyncEmbedder(_embedding_model))
        return self._embedders[-1]

    def tagger(self) -> TaggerThread:
        """See `GuardrailServices.tagger`."""
        return TaggerThread(_tagger(), self.pools.tagger)

    def state(self, owner: str, what: type[T]) -> T:
        """See `GuardrailServices.state`."""
        state = self._state.setdefault((owner, what), what())
        assert isinstance(state, what)
        return state

    def rows(self, redis_url: str | None) -> RowStore:
        """See `GuardrailServices.rows`."""
        return self._rows

    async def close(self) -> None:
        """Stops all threads."""
        for embedder in self._embedders:
            await embedder.close()
        await self.pools.close()


class FailingServices(FakeServices):
    """Services whose models all fail."""

    def embedder(self) -> Embeds:
        """See `GuardrailServices.embedder`: the model never loads."""
        from rag.async_embedder import AsyncEmbedder
        from rag.embedder import EmbedderAbsent

        def absent() -> Model:
            raise EmbedderAbsent("broken")

        self._embedders.append(AsyncEmbedder(absent))
        return self._embedders[-1]

    def tagger(self) -> TaggerThread:
        """See `GuardrailServices.tagger`: the tagger fails on every text."""

        class Failing:
            def tag(self, text: str) -> list[Span]:
                raise OSError("broken")

        return TaggerThread(Failing(), self.pools.tagger)


class PiecewiseReply:
    """A streamed answer in pieces. Implements `contract.reply.Reply`."""

    dialect = "openai"
    streamed = True

    def __init__(self, pieces: Sequence[str]) -> None:
        self._deltas = [[Delta((ChoiceDelta(text=piece),))] for piece in pieces]
        self._deltas.append([Delta((ChoiceDelta(finish="stop"),))])

    async def next(self) -> list[Delta] | None:
        """See `Reply.next`."""
        return self._deltas.pop(0) if self._deltas else None

    async def close(self) -> None:
        """Does nothing: there is nothing to close."""


class Outcome(NamedTuple):
    """The result for a text: the text that passed, the findings, and whether it was stopped."""

    text: str
    findings: tuple[Finding, ...]
    stopped: bool

    @property
    def rules(self) -> set[str]:
        """The rules of the findings."""
        return {each.rule for each in self.findings}


class GuardrailConformance(ComponentConformance):
    """`found` are texts with findings, `passed` texts without.

    They are the user's message for input checks, and the model's answer for output checks. Set `then: block` in the
    options if the kind supports it.
    """

    config: type[Guardrail]
    found: Sequence[str] = ()
    passed: Sequence[str] = ()

    @classmethod
    def kind(cls) -> str:
        """The kind's name in a config file."""
        (kind,) = get_args(cls.config.model_fields["kind"].annotation)
        return str(kind)

    def request(self, text: str) -> ChatRequest:
        """A request that contains `text`."""
        return ChatRequest(dialect="openai", model="m", messages=(Message("user", (Text(text),)),))

    def answered_request(self) -> ChatRequest:
        """The request whose answer is checked."""
        return self.request("Go on.")

    def model_says(self, text: str) -> str:
        """The reply of the model that the guardrail calls about `text`."""
        raise AssertionError("this guardrail calls no model: override model_says if it does")

    async def before(self, guards: Chain) -> None:
        """Prepares each case, for a guardrail that learns from traffic."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Generates a test for each side that the kind supports, and each case."""
        if "side" in metafunc.fixturenames:
            metafunc.parametrize("side", [each for each in _SIDES if each in self.config.sides])
        for name in ("found", "passed"):
            if f"{name}_text" in metafunc.fixturenames:
                metafunc.parametrize(f"{name}_text", getattr(self, name), ids=lambda text: repr(text[:24]))

    def test_it_has_both_kinds_of_cases(self) -> None:
        """Texts with findings, and texts without."""
        assert self.found
        assert self.passed

    def test_it_is_built_for_each_side_and_states_what_it_holds_back(self, side: Side) -> None:
        """`holds_back` matches the checks of the kind."""

        async def build(services: FakeServices) -> None:
            guardrail = self._read()
            parts = GuardrailParts(services)
            stream = guardrail.stream_check(NAME, parts)
            sentence = guardrail.sentence_check(NAME, parts)
            answer = guardrail.answer_check(NAME, parts)
            if side == "input":
                assert guardrail.request_check(NAME, parts) is not None
                return
            assert any(each is not None for each in (stream, sentence, answer))
            hold_back = guardrail.holds_back("output")
            assert (hold_back == "the whole answer") == (answer is not None)
            assert (hold_back == "a sentence") == (sentence is not None)

        _with_services(build)

    def test_common_options_reach_every_check(self, side: Side) -> None:
        """`shadow`, `on_error` and `timeout` reach every check."""

        async def build(services: FakeServices) -> None:
            guards = self._chain(side, services, {"shadow": True, "on_error": "open", "timeout": "7s"})
            for each in (*guards.inputs, *guards.outputs, *guards.answers):
                policy = each.policy
                assert (policy.name, policy.shadow, policy.fail_open, policy.timeout_s) == (NAME, True, True, 7.0)

        _with_services(build)

    def test_it_finds(self, side: Side, found_text: str) -> None:
        """A text of `found` has findings; no part of a stopped text passes."""
        outcome = self._run(found_text, side)
        assert outcome.findings
        for each in outcome.findings:
            assert (each.guardrail, each.shadow) == (NAME, False)
            assert each.action not in ("failed", "unread")
        assert not outcome.stopped or not outcome.text

    def test_it_lets_pass(self, side: Side, passed_text: str) -> None:
        """A text of `passed` is not changed."""
        assert self._run(passed_text, side) == Outcome(passed_text, (), False)

    def test_in_shadow_mode_it_only_records(self, side: Side, found_text: str) -> None:
        """With `shadow` a text passes unchanged, and the findings state which action would have been taken."""
        outcome = self._run(found_text, side, {**_PATIENT, "shadow": True})
        assert (outcome.text, outcome.stopped) == (found_text, False)
        assert outcome.findings
        assert all(each.shadow for each in outcome.findings)

    def test_a_finding_quotes_no_text(self, side: Side, found_text: str) -> None:
        """Findings are logged and counted, so they name the rule and never quote the text."""
        findings = repr(self._run(found_text, side).findings)
        assert not found_text.strip() or found_text not in findings

    def test_a_streamed_answer_is_checked_like_a_complete_one(self, found_text: str) -> None:
        """The boundaries of chunks make no difference."""
        if "output" not in self.config.sides:
            return
        complete = self._run(found_text, "output")
        streamed = self._run(found_text, "output", streamed=True)
        assert (streamed.stopped, streamed.rules) == (complete.stopped, complete.rules)
        # How much of a stopped answer passes may differ, but never the text with the finding.
        assert streamed.text == complete.text or (complete.stopped and found_text not in streamed.text)

    @pytest.mark.parametrize("on_error", ["closed", "open"])
    def test_when_models_fail_on_error_applies(self, side: Side, on_error: str) -> None:
        """A guardrail without a model is not affected."""
        text = self.passed[0]

        async def run(services: FakeServices) -> Outcome:
            guards = self._chain(side, services, {**_PATIENT, "on_error": on_error})
            return await self._outcome(guards, text, side, [text], works=False)

        outcome = _with_services(run, FailingServices)
        assert {each.action for each in outcome.findings} <= {"failed"}
        assert outcome.stopped == (on_error == "closed" and bool(outcome.findings))
        assert outcome.text == ("" if outcome.stopped else text)

    def test_concurrent_requests_are_independent(self, side: Side) -> None:
        """One guardrail serves all requests of a pipeline concurrently."""

        async def run_all(services: FakeServices) -> list[Outcome]:
            guards = self._chain(side, services)
            await self.before(guards)
            texts = (self.found[0], self.passed[0]) * 3
            return list(await asyncio.gather(*[self._outcome(guards, text, side, [text]) for text in texts]))

        outcomes = _with_services(run_all)
        assert all(each.findings for each in outcomes[::2])
        assert [each.findings for each in outcomes[1::2]] == [()] * 3

    def _read(self, more: Mapping[str, Any] = _PATIENT) -> Guardrail:
        guardrail: Guardrail = self.read({**self.options, **more})
        return guardrail

    def _chain(self, side: Side, services: FakeServices, more: Mapping[str, Any] = _PATIENT) -> Chain:
        inputs, outputs = ((NAME,), ()) if side == "input" else ((), (NAME,))
        return chain({NAME: self._read(more)}, inputs, outputs, services)

    def _run(self, text: str, side: Side, more: Mapping[str, Any] = _PATIENT, *, streamed: bool = False) -> Outcome:
        async def run(services: FakeServices) -> Outcome:
            guards = self._chain(side, services, more)
            await self.before(guards)
            return await self._outcome(guards, text, side, list(text) if streamed else [text])

        return _with_services(run)

    async def _outcome(
        self, guards: Chain, text: str, side: Side, pieces: Sequence[str], *, works: bool = True
    ) -> Outcome:
        exchange = Exchange("conformance")
        exchange.caller = Caller("conformance")
        request = self.request(text) if side == "input" else self.answered_request()

        async def again(request: ChatRequest, model: str, *, masked: bool = False) -> Reply:
            if not works:
                raise Unavailable("broken")
            return StockReply(self.model_says(text), request)

        parts: list[str] = []
        stopped = False
        try:
            guarded = await guards.open(request, exchange, again)
            stopped = guarded.answer is not None
            if side == "output":
                await _drain(await guarded.check(PiecewiseReply(pieces), again), guarded.filters(), parts)
            elif not stopped:
                parts.append(guarded.request.messages[-1].text)
        except GatehouseError:
            stopped = True
        return Outcome("".join(parts), tuple(exchange.findings), stopped)


def _with_services(act: Callable[[FakeServices], Awaitable[T]], make: Callable[[], FakeServices] = FakeServices) -> T:
    """Runs `act` with services and closes them."""

    async def run() -> T:
        services = make()
        try:
            return await act(services)
        finally:
            await services.close()

    return asyncio.run(run())


async def _drain(reply: Reply, filters: Sequence[OutputFilter], parts: list[str]) -> None:
    """Passes the answer through the filters in order and collects its text."""

    def collect(deltas: list[Delta]) -> None:
        parts.extend(piece.text for delta in deltas for piece in delta.choices)

    while (deltas := await reply.next()) is not None:
        for each in filters:
            deltas = each.feed(deltas)
        collect(deltas)
    left: list[Delta] = []
    for each in filters:
        left = (each.feed(left) if left else []) + each.finish()
    collect(left)
