"""Questions about the asker or the moment are recognised; those with one answer for everybody are not held up."""

from __future__ import annotations

import time

import pytest

from cache.cacheable import uncacheable_question


@pytest.mark.parametrize(
    "question",
    [
        "Where is my order?",
        "What's the balance of my account?",
        "wo bleibt meine Bestellung?",
        "Où est ma commande ?",
        "What's the weather in Oslo?",
        "who won the match yesterday",
        "What is the latest version of the driver?",
        "wie wird das Wetter morgen",
        "my card was declined at the till, why",
        "what time is it in Tokyo",
        "when does my flight leave",
        "remind me to call mum",
        "What did I say before?",
    ],
)
def test_not_kept(question: str) -> None:
    assert uncacheable_question(question)


@pytest.mark.parametrize(
    "question",
    [
        "How many pages a minute does the A300 print?",
        "What is the capital of France?",
        "Explain the difference between TCP and UDP",
        "How do I change the toner cartridge?",
        "Was ist der Unterschied zwischen Miete und Pacht?",
        "Write a function that reverses a list in Python",
        "How long is the warranty on a drum unit?",
        "Which paper does the A300 take?",
        "Summarise the theory of relativity in two sentences",
    ],
)
def test_kept(question: str) -> None:
    assert uncacheable_question(question) == ""


@pytest.mark.parametrize("text", ["", " ", "\x00", "?" * 100_000, "my " * 50_000, "\ud800", "a" * 1_000_000])
def test_odd_texts_take_no_time(text: str) -> None:
    started = time.process_time()
    uncacheable_question(text)
    assert time.process_time() - started < 0.5
