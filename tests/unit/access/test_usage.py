"""What is counted where the provider did not say: who goes away has asked all the same."""

from __future__ import annotations

import pytest

from access.ledger.prices import complete_usage
from access.limits.estimate import size_of
from contract.attempt import Attempt
from contract.deltas import Usage
from contract.messages import ChatRequest, Message, Text
from contract.unsettled import Transcript

ASKED = ChatRequest(dialect="openai", model="m", messages=(Message("user", (Text("How many pages a minute?"),)),))


def counted(attempt: Attempt, *said: str) -> Attempt:
    transcript = Transcript(attempt)
    transcript.request = ASKED
    for words in said:
        transcript.add(words)
    complete_usage([transcript])
    assert transcript.request is None
    assert not attempt.uncounted
    return attempt


@pytest.mark.parametrize("error", ["cancelled", "timeout"])
def test_a_prompt_that_was_sent_costs_though_nobody_waited_for_the_answer(error: str) -> None:
    attempt = counted(Attempt("p/m", "p", "m", error=error, ended=1.0, sent=True))
    assert attempt.usage == Usage(input=size_of(ASKED).prompt)
    assert attempt.estimated


@pytest.mark.parametrize(
    ("error", "sent"),
    [("cancelled", False), ("timeout", False), ("connect", True), ("server_error", True), ("rate_limited", True)],
)
def test_what_failed_or_was_never_sent_costs_nothing(error: str, sent: bool) -> None:
    assert counted(Attempt("p/m", "p", "m", error=error, ended=1.0, sent=sent)).usage is None


def test_words_that_were_heard_are_counted_however_it_ended() -> None:
    attempt = counted(Attempt("p/m", "p", "m", error="interrupted", ended=1.0, sent=True), "Thirty-eight", " pages")
    assert attempt.usage is not None
    assert attempt.usage.input == size_of(ASKED).prompt
    assert attempt.usage.output > 0
