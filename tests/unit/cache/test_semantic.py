"""What turns a question into another one is seen; what only says it in other words is not taken for that."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.semantic.answers import same_answer
from cache.semantic.learner import LOWEST, START, Learner, lower_bound, upper_bound
from cache.semantic.near_misses import KINDS, near_misses
from cache.semantic.nearest import Nearest, question_of
from cache.semantic.opposites import opposite
from cache.semantic.synonyms import synonymous
from cache.semantic.verifier import likelihood
from cache.semantic.verify import disagreement
from contract.language import language
from contract.messages import ChatRequest, Image, Message, Text, Tool
from contract.tiers import CacheAddress, Purge
from rag import vector_index
from rag.nearest import MemoryIndex

BASE = "How do I increase the speed of the A300 from 20 to 40 pages per minute?"


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        (BASE, BASE.replace("40", "45"), "numbers"),
        (BASE, BASE.replace("20", "40x").replace("40 ", "20 ").replace("40x", "40"), "order"),
        (BASE, BASE.replace("increase", "decrease"), "opposites"),
        (BASE, BASE.replace("A300", "B500"), "numbers"),
        ("Can I return a used drum?", "Can I not return a used drum?", "negation"),
        ("Can I return a drum?", "Can't I return a drum?", "negation"),
        ("How far is it from Oslo to Rome?", "How far is it from Rome to Oslo?", "order"),
        ("Which is larger than Texas, Alaska or Ohio?", "Which is larger than Alaska, Texas or Ohio?", "order"),
        ("Who invented the toner?", "When was the toner invented?", "what is asked for"),
        ("How many pages does it print?", "How much does a page cost to print?", "what is asked for"),
        ("What is the capital of France?", "What is the capital of Spain?", "names"),
        ("what is the capital of france?", "what is the capital of spain?", "a replaced word"),
        ("How long is 5 km?", "How long is 5 miles?", "units"),
        ("Is it open on Monday?", "Is it open on Sunday?", "dates"),
        ("Is toner poisonous?", "Is toner poisonous to cats?", "an added word"),
        ("can you tell me your name", "can you tell me my name", "whose"),
        ("How do I enable dark mode?", "How do I disable dark mode?", "opposites"),
        ("What does git pull do?", "What does git push do?", "opposites"),
        ("What is 2 + 2?", "What is 2 * 2?", "a replaced word"),
        ("What is 8 - 2?", "What is 8 + 2?", "a replaced word"),
        ("Is a < b here?", "Is a > b here?", "a replaced word"),
        ("\U0001f600\U0001f600", "\U0001f622", "no words"),
        ("...!", "?", "no words"),
        ("Use five sheets of paper", "Use six sheets of paper", "numbers"),
        ("Is `load_dataset` slow?", "Is `load_metric` slow?", "names"),
    ],
)
def test_another_question(one: str, other: str, reason: str) -> None:
    assert disagreement(one, other) == reason
    assert disagreement(other, one) == reason


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How do I reset my password?", "How can I reset the password?"),
        ("What colour is the toner of the A700?", "What is the colour of the A700's toner?"),
        ("How many pages a minute does the A300 print?", "How many pages does the A300 print a minute?"),
        ("What is photosynthesis?", "what is photosynthesis"),
        ("How do I buy a licence?", "How can I purchase a licence?"),
        ("What are the steps to install the driver?", "How do I install the driver?"),
        ("Why does the printer stop?", "What is the reason the printer stops?"),
        ("How do I delete a user?", "How do I remove a user?"),
    ],
)
def test_the_same_question(one: str, other: str) -> None:
    assert disagreement(one, other) == ""
    assert likelihood(0.97, one, other) > likelihood(0.7, one, other)


@given(st.text(max_size=300), st.text(max_size=300))
@settings(deadline=None)
def test_any_texts_can_be_compared_either_way(one: str, other: str) -> None:
    assert (disagreement(one, other) == "") == (disagreement(other, one) == "")
    assert disagreement(one, one) == ""
    assert 0 <= likelihood(0.5, one, other) <= 1
    language(one)


QUESTIONS = [
    "How do I load 20 files from the Server into a table?",
    "Does the Printer accept paper before it is warm?",
    "Is the maximum weight of a parcel to Norway 30 kg?",
    "Can the Gateway send mail from Berlin to Paris?",
    "Should the old drum of an A300 be removed with both hands?",
]


def test_near_misses_are_refused() -> None:
    made = near_misses(QUESTIONS * 3, seed=2)
    assert {kind for kind, _, _ in made} == set(KINDS)
    through = [each for each in made if not disagreement(each[1], each[2])]
    assert len(through) <= 0.02 * len(made), through


def test_opposites_and_synonyms() -> None:
    assert opposite("increase", "decreased")
    assert opposite("lock", "unlock")
    assert opposite("careful", "careless")
    assert opposite("possible", "impossible")
    assert not opposite("paper", "papers")
    assert synonymous("buy", "purchased")
    assert synonymous("fast", "quick")
    assert not synonymous("buy", "sell")


class TestLearner:
    def test_it_starts_strict_and_loosens_when_it_would_have_been_right(self) -> None:
        learner = Learner(0.05)
        assert learner.threshold == START
        for _ in range(400):
            learner.observe(0.5, right=True)
        assert LOWEST <= learner.threshold <= 0.5
        # Wrong ones below do not count, those above do.
        for _ in range(60):
            learner.observe(0.5, right=False)
        assert learner.threshold > 0.5

    def test_a_breach_ends_it_and_being_right_again_brings_it_back(self) -> None:
        learner = Learner(0.01)
        for _ in range(40):
            learner.observe(0.99, right=False)
        assert learner.threshold > 1
        assert "disabled: too many false hits" in learner.status()
        for _ in range(1999):
            learner.observe(0.99, right=True)
        assert learner.threshold <= START

    @given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=150))
    @settings(deadline=None, max_examples=50)
    def test_the_bound_holds_for_what_was_seen(self, seen: list[tuple[float, bool]]) -> None:
        learner = Learner(0.1)
        for each, right in seen:
            learner.observe(each, right=right)
        above = [right for each, right in seen if each >= learner.threshold]
        if learner.threshold < START:
            assert sum(not right for right in above) <= 0.2 * len(above)

    def test_bounds(self) -> None:
        assert upper_bound(0, 0) == 1.0
        assert lower_bound(0, 0) == 0.0
        assert upper_bound(0, 300) < 0.01 < upper_bound(0, 200)
        assert lower_bound(5, 10) < 0.5 < upper_bound(5, 10)


def test_what_may_be_compared() -> None:
    def asked(*messages: Message, **more: Any) -> str:
        return question_of(ChatRequest(dialect="openai", model="m", messages=messages, **more))

    user = Message("user", (Text("How do I reset it?"),))
    system = Message("system", (Text("Be brief."),))
    assert asked(user) == asked(system, user) == "How do I reset it?"
    assert asked(user, Message("assistant", (Text("Hm"),)), user) == ""
    assert asked(Message("user", (Text("Look at this"), Image(url="x")))) == ""
    assert asked(user, tools=(Tool("f"),)) == ""
    assert asked(user, n=2) == ""
    assert asked(Message("user", (Text("Hi"),))) == ""
    assert asked(Message("user", (Text("x" * 5000),))) == ""
    assert asked(system) == ""


def test_languages_are_kept_apart() -> None:
    assert language("What is the weight of it?") == "en"
    assert language("Wie ist das Gewicht der Trommel?") == "de"
    assert language("Quel est le poids de la machine ?") == "fr"
    assert language("¿Cuál es el peso de los tambores?") == "es"
    assert language("重さはどれくらいですか") != language("What is it?")


def test_answers_that_say_the_same() -> None:
    near, far = np.eye(2, dtype=np.float32)[[0, 0]], np.eye(2, dtype=np.float32)
    assert same_answer("38 pages.", "38  PAGES.", None)
    assert same_answer("It prints 38 pages.", "38 pages are printed.", near)
    assert not same_answer("It prints 38 pages.", "It prints 48 pages.", near)
    assert not same_answer("It does.", "It does not.", near)
    assert not same_answer("a", "b", far)


def unit(seed: int) -> Any:
    vector = np.random.default_rng(seed).normal(size=16).astype(np.float32)
    return vector / np.linalg.norm(vector)


def test_questions_are_bounded_and_forgotten() -> None:
    nearest = Nearest(lambda: MemoryIndex(16), 3)
    for number in range(5):
        nearest.add(f"What is thing {number}?", unit(number), CacheAddress("a", "m", bytes([number])), "p")
    assert len(nearest) == 3
    assert nearest.find("What is thing 0?", unit(0), "p") is None
    assert nearest.find("What is thing 4?", unit(4), "q") is None
    found = nearest.find("What is thing 4?", unit(4), "p")
    assert found is not None
    assert found.stored.place.key == bytes([4])
    assert nearest.purge(Purge("a", key=bytes([4]))) == [bytes([4])]
    assert nearest.find("What is thing 4?", unit(4), "p") is None
    # The same place again is one question, not two.
    nearest.add("What is thing 9?", unit(9), CacheAddress("a", "m", bytes([3])), "p")
    assert len(nearest) == 2
    assert nearest.purge(Purge("b")) == []
    assert len(nearest.purge(Purge("a"))) == 2


def test_a_large_index_is_built_anew_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_index, "FLAT_LIMIT", 300)
    index = MemoryIndex(16)
    draw = random.Random(0)
    alive: set[int] = set()
    for number in range(1500):
        index.add(number, unit(number))
        alive.add(number)
        if draw.random() < 0.2:
            gone = draw.choice(sorted(alive))
            index.remove(gone)
            alive.discard(gone)
    index.wait()
    asked = draw.sample(sorted(alive), 100)
    assert sum(index.search(unit(number), 1)[0][0] == number for number in asked) >= 98
    for number in set(range(1500)) - alive:
        assert number not in [found for found, _ in index.search(unit(number), 5)]
