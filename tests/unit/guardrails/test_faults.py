"""Guardrails that break or are too slow do what their configuration says, and never tell what they were reading."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

import pytest

from contract.caller import Caller
from contract.exchange import Exchange
from contract.messages import ChatRequest, Message, Text
from guardrails.chain import Chain
from guardrails.classified import ClassifierGuard
from guardrails.masking.guard import PersonalGuard
from guardrails.personal.search import PersonalSearch
from guardrails.personal.tagger_thread import TaggerThread
from guardrails.span import Span
from guardrails.spans import SpanGuard
from guardrails.verdict import GuardrailBroken, Policy

SECRET = "jane@doe.example"
REQUEST = ChatRequest(dialect="openai", model="m", messages=(Message("user", (Text(f"I am {SECRET}"),)),))


class Raising:
    def find(self, text: str) -> list[Span]:
        raise RuntimeError(text)

    def tag(self, text: str) -> list[Span]:
        raise RuntimeError(text)

    async def rules(self, text: str) -> list[str]:
        raise RuntimeError(text)


class Slow:
    def tag(self, text: str) -> list[Span]:
        time.sleep(0.3)
        return []

    async def rules(self, text: str) -> list[str]:
        await asyncio.sleep(30)
        return []


def _guards(policy: Policy) -> Sequence[PersonalGuard | SpanGuard | ClassifierGuard]:
    users = frozenset({"user"})
    tagged = frozenset({"PERSON"})
    return (
        SpanGuard(Raising(), policy),
        PersonalGuard(PersonalSearch(tagged, thread=TaggerThread(Raising())), policy, b"k", (), hint=True),
        PersonalGuard(PersonalSearch(tagged, thread=TaggerThread(Slow())), policy, b"k", (), hint=True),
        ClassifierGuard(Raising(), policy, users),  # type: ignore[arg-type]
        ClassifierGuard(Slow(), policy, users),  # type: ignore[arg-type]
    )


def _open(guard: PersonalGuard | SpanGuard | ClassifierGuard) -> Exchange:
    exchange = Exchange("s")
    exchange.caller = Caller("app")
    asyncio.run(_opened(guard, exchange))
    return exchange


async def _opened(guard: PersonalGuard | SpanGuard | ClassifierGuard, exchange: Exchange) -> None:
    guarded = await Chain([guard]).open(REQUEST, exchange)
    assert guarded.request == REQUEST


@pytest.mark.parametrize("number", range(5))
def test_closed_refuses_and_says_nothing_of_the_text(number: int, caplog: pytest.LogCaptureFixture) -> None:
    guard = _guards(Policy("g", {"*": "mask"}, timeout_s=0.1))[number]
    with caplog.at_level(logging.DEBUG), pytest.raises(GuardrailBroken) as caught:
        _open(guard)
    assert caught.value.http_status == 503
    assert SECRET not in str(caught.value)
    assert SECRET not in caplog.text


@pytest.mark.parametrize("number", range(5))
def test_open_lets_pass_and_writes_it_down(number: int) -> None:
    exchange = _open(_guards(Policy("g", {"*": "mask"}, fail_open=True, timeout_s=0.1))[number])
    assert [(each.guardrail, each.action) for each in exchange.findings] == [("g", "failed")]
    assert SECRET not in str(exchange.findings)


def test_shadow_only_records() -> None:
    search = PersonalSearch(frozenset({"EMAIL"}))
    exchange = _open(PersonalGuard(search, Policy("g", {"*": "block"}, shadow=True), b"k", (), hint=True))
    assert [(each.rule, each.action, each.shadow) for each in exchange.findings] == [("EMAIL", "block", True)]
