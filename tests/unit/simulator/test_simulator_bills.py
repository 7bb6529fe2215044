"""The simulator's own books: what went out is billed, no more and no less."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from contract.tokens import estimate_tokens
from gateway.simulator.server import Simulator, running
from tests.processes import until
from tests.unit.simulator.raw import call, send

DIALECTS = ("openai", "anthropic", "gemini")
every = pytest.mark.parametrize("dialect", DIALECTS)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
# OpenAI's stream says its usage only where it is asked to.
ASKED = {"stream_options": {"include_usage": True}}
# What "Hello" takes: four for the message, one for the word.
PROMPT = 5


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running() as simulator:
        yield simulator


def billed(simulator: Simulator, dialect: str, behaviour: str, *, stream: bool = False, wait_s: float = 2.0) -> Any:
    simulator.reset()
    call(simulator.url, dialect, behaviour, stream, wait_s, ASKED if stream and dialect == "openai" else None)
    until(lambda: len(simulator.books.bills) == 1)
    (bill,) = send(simulator.url, "/__bills").json()["bills"]
    return bill


def words(count: int) -> int:
    return estimate_tokens(" ".join(f"word{number}" for number in range(count)))


@every
@pytest.mark.parametrize("stream", [False, True])
def test_a_whole_answer_costs_what_its_usage_says(simulator: Simulator, dialect: str, stream: bool) -> None:
    bill = billed(simulator, dialect, "n7-cached3-reason", stream=stream)
    assert (bill["whole"], bill["told"], bill["status"]) == (True, True, 200)
    assert (bill["input"], bill["cached"], bill["output"]) == (3, 3, 13)
    # Anthropic's usage does not say how many of them were thoughts.
    assert bill["reasoning"] == (0 if dialect == "anthropic" else 6)


@every
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_without_usage_is_counted(simulator: Simulator, dialect: str, stream: bool) -> None:
    bill = billed(simulator, dialect, "n7-nousage", stream=stream)
    assert (bill["told"], bill["input"], bill["output"]) == (False, PROMPT, words(7))


@every
@pytest.mark.parametrize("behaviour", ["n20-cut7", "n20-cut7-reset", "n20-cutclean7", "n20-erroreven7-burst"])
def test_a_cut_stream_costs_the_words_that_went_out(simulator: Simulator, dialect: str, behaviour: str) -> None:
    bill = billed(simulator, dialect, behaviour, stream=True)
    # A role or the beginning of a message comes before the words, and is no word.
    said = {"openai": 6, "anthropic": 5, "gemini": 7}[dialect]
    assert (bill["whole"], bill["told"], bill["output"]) == (False, False, words(said))
    # Where the usage of the prompt has been said by then, that counts: a token for four characters, and one.
    assert bill["input"] == (PROMPT if dialect == "openai" else 2)


@every
def test_a_client_that_leaves_pays_for_what_it_got(simulator: Simulator, dialect: str) -> None:
    bill = billed(simulator, dialect, "n20-stall9", stream=True, wait_s=0.2)
    said = {"openai": 8, "anthropic": 7, "gemini": 9}[dialect]
    assert (bill["whole"], bill["output"]) == (False, words(said))


@pytest.mark.parametrize(("dialect", "events"), [("openai", 23), ("anthropic", 24)])
def test_a_stream_that_breaks_off_after_its_last_usage_costs_that_usage(
    simulator: Simulator, dialect: str, events: int
) -> None:
    # So many events are before the vendor's end. Gemini's last usage is its end.
    bill = billed(simulator, dialect, f"n20-cut{events}", stream=True)
    assert not bill["whole"]
    assert (bill["input"], bill["output"]) == (2, 20)


@every
@pytest.mark.parametrize("behaviour", ["n20-cut3", "n20-cutclean", "n20-malformed"])
def test_half_a_body_costs_the_prompt_and_the_words_in_it(simulator: Simulator, dialect: str, behaviour: str) -> None:
    bill = billed(simulator, dialect, behaviour)
    assert (bill["whole"], bill["told"], bill["input"]) == (False, False, PROMPT)
    assert 0 < bill["output"] <= words(20)


@every
@pytest.mark.parametrize("behaviour", ["500", "429-after1", "html", "emptybody", "cut0", "error200"])
def test_what_failed_costs_nothing(simulator: Simulator, dialect: str, behaviour: str) -> None:
    bill = billed(simulator, dialect, behaviour)
    assert (bill["whole"], bill["input"], bill["output"]) == (False, 0, 0) or bill["status"] != 200


def test_the_books_know_the_trace_and_add_up_by_model(simulator: Simulator) -> None:
    simulator.reset()
    body = {"model": "sim-n3", "messages": [{"role": "user", "content": "Hello"}]}
    for _ in range(3):
        send(simulator.url, "/v1/chat/completions", body, {"traceparent": TRACE})
    send(simulator.url, "/v1/embeddings", {"model": "embedder", "input": ["four", "five!"]})
    until(lambda: len(simulator.books.bills) == 4)
    books = send(simulator.url, "/__bills").json()
    assert books["bills"][0]["trace"] == TRACE.split("-")[1]
    assert books["totals"]["sim-n3"] == {"calls": 3, "input": 6, "output": 9, "cached": 0, "reasoning": 0}
    assert books["totals"]["embedder"]["input"] == 4
    send(simulator.url, "/__reset", method="POST")
    assert send(simulator.url, "/__bills").json() == {"totals": {}, "bills": []}
