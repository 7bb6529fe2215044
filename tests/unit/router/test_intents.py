"""Intents learned from a few examples, rules from outside, questions by how hard they look."""

from __future__ import annotations

import asyncio
import datetime
import random
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from contract.caller import Caller
from contract.errors import Unavailable
from contract.exchange import Exchange
from contract.messages import ChatRequest, Message, Text
from contract.phases import Decision
from router.intents import classifier
from router.intents.classifier import train
from router.intents.decide import Ambiguity, Intent, Router, RoutingPolicy, options_of
from router.intents.difficulty import ShareLimit, difficulty
from router.intents.rules import RoutingRule, RuleCondition, first

SIZE = 64


def cluster(number: int, count: int, spread: float = 0.5, seed: int = 0) -> NDArray[np.float32]:
    """Points of length 1 around the direction of a number."""
    centre = np.random.default_rng(number).normal(size=SIZE)
    rows = centre + spread * np.random.default_rng((seed, number)).normal(size=(count, SIZE))
    scaled: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return scaled


@pytest.mark.parametrize("limit", [2000, 50])
def test_intents_are_told_apart_and_what_is_none_of_them_is_seen(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(classifier, "KERNEL_LIMIT", limit)
    names = [f"intent{number}" for number in range(12)]
    vectors = np.concatenate([cluster(number, 30) for number in range(12)])
    labels = np.repeat(np.arange(12), 30)
    model = train(vectors, labels, names)
    seen = [(number, model.classify(row)) for number in range(12) for row in cluster(number, 20, seed=1)]
    right = np.mean([ranked[0][0] == names[number] for number, (ranked, _) in seen])
    assert right > 0.97
    assert np.mean([within >= 0 for _, (_, within) in seen]) > 0.85
    strangers = [model.classify(row) for number in range(50, 80) for row in cluster(number, 4)]
    assert np.mean([within < 0 for _, within in strangers]) > 0.9
    for ranked, _ in strangers[:20]:
        likely = [each for _, each in ranked]
        assert likely == sorted(likely, reverse=True)
        assert 0 <= sum(likely) <= 1.0001


def test_probabilities_mean_what_they_say() -> None:
    names = [f"intent{number}" for number in range(6)]
    vectors = np.concatenate([cluster(number, 40, 1.6) for number in range(6)])
    model = train(vectors, np.repeat(np.arange(6), 40), names)
    asked = [(number, model.classify(row)[0]) for number in range(6) for row in cluster(number, 200, 1.6, seed=2)]
    sure = [ranked[0][0] == names[number] for number, ranked in asked if ranked[0][1] > 0.9]
    unsure = [ranked[0][0] == names[number] for number, ranked in asked if ranked[0][1] < 0.6]
    assert np.mean(sure) > 0.85
    assert np.mean(unsure) < np.mean(sure)


def test_two_intents_of_few_equal_examples_can_be_learned() -> None:
    model = train(np.concatenate([cluster(1, 5, 0.0), cluster(2, 5, 0.0)]), np.repeat([0, 1], 5), ["a", "b"])
    assert model.classify(cluster(1, 1, 0.0)[0])[0][0][0] == "a"


NOON = datetime.datetime(2026, 11, 20, 12, 30, tzinfo=datetime.UTC)


def asked(text: str = "What is it?", **more: Any) -> tuple[ChatRequest, Exchange]:
    exchange = Exchange("test")
    exchange.caller = Caller("bot")
    return ChatRequest(dialect="openai", model="m", messages=(Message("user", (Text(text),)),), **more), exchange


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (RuleCondition(apps=("bot",)), True),
        (RuleCondition(apps=("other",)), False),
        (RuleCondition(headers={"x-tier": "g*"}), True),
        (RuleCondition(headers={"x-tier": "silver"}), False),
        (RuleCondition(headers={"x-absent": "*"}), True),
        (RuleCondition(metadata={"kind": "a"}), True),
        (RuleCondition(metadata={"kind": "b"}), False),
        (RuleCondition(languages=("en",)), True),
        (RuleCondition(languages=("de", "fr")), False),
        (RuleCondition(hours=(8 * 60, 18 * 60)), True),
        (RuleCondition(hours=(22 * 60, 6 * 60)), False),
        (RuleCondition(hours=(22 * 60, 6 * 60), time_zone="Asia/Tokyo"), False),
        (RuleCondition(hours=(21 * 60, 6 * 60), time_zone="Asia/Tokyo"), True),
        (RuleCondition(over=1000), False),
        (RuleCondition(under=1000), True),
        (RuleCondition(over=2, under=1000, apps=("bot",)), True),
    ],
)
def test_conditions(condition: RuleCondition, holds: bool) -> None:
    request, exchange = asked(headers={"x-tier": "gold"}, metadata={"kind": "a"})
    assert condition.matches(request, exchange, NOON) == holds


def test_the_first_rule_that_holds_decides() -> None:
    rules = [
        RoutingRule(RuleCondition(apps=("other",)), Decision("rule", "one")),
        RoutingRule(RuleCondition(), Decision("rule", "two")),
        RoutingRule(RuleCondition(), Decision("rule", "three")),
    ]
    found = first(rules, *asked(), NOON)
    assert found is not None
    assert found.name == "two"
    assert first(rules[:1], *asked(), NOON) is None


class Directions:
    """Each text is the direction of the number that it begins with; a mixture for `1+2`."""

    name = "directions"
    dimensions = SIZE
    ready = True

    def status(self) -> str:
        return self.name

    async def wait(self) -> bool:
        return True

    async def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = []
        for place, text in enumerate(texts):
            parts = [int(each) for each in text.split(" ")[0].split("+") if each.isdigit()] or [99]
            row = sum(cluster(number, 1, 0.0)[0] for number in parts) + 0.02 * np.random.default_rng(place).normal(
                size=SIZE
            )
            rows.append(row / np.linalg.norm(row))
        return np.array(rows, dtype=np.float32)


INTENTS = {
    "refund_money": Intent(tuple(f"1 {place}" for place in range(6)), Decision(say="Refunds take a week.")),
    "opening-hours": Intent(tuple(f"2 {place}" for place in range(6)), Decision(model="cheap")),
    "small_talk": Intent(tuple(f"3 {place}" for place in range(6))),
}


def decided(policy: RoutingPolicy, text: str, says: str | Exception = "") -> Decision:
    async def run() -> Decision:
        router = Router("r", policy, Directions())
        await router.start()
        assert "3 intents from 18 examples" in router.status()
        try:
            return await router.decide(*asked(text), ask_model=answering(says))
        finally:
            await router.close()

    return asyncio.run(run())


def answering(says: str | Exception) -> Any:
    class Reply:
        def __init__(self) -> None:
            self.left = [says]

        async def next(self) -> Any:
            from contract.deltas import ChoiceDelta, Delta

            return [Delta((ChoiceDelta(text=str(self.left.pop())),))] if self.left else None

        async def close(self) -> None:
            """Nothing."""

    async def again(request: ChatRequest, model: str, *, masked: bool = False) -> Any:
        if isinstance(says, Exception):
            raise says
        return Reply()

    return again


def test_each_intent_leads_where_it_says() -> None:
    policy = RoutingPolicy(intents=INTENTS)
    found = decided(policy, "1 please")
    assert (found.by, found.name, found.say) == ("intent", "refund_money", "Refunds take a week.")
    assert (decided(policy, "2 please").model, decided(policy, "3 please").by) == ("cheap", "intent")
    assert found.candidates[0][0] == "refund_money"


def test_what_is_none_of_them_is_declined() -> None:
    policy = RoutingPolicy(intents=INTENTS, out_of_scope=Decision(say="I can't help with that."))
    assert decided(policy, "77 please").by == "out of scope"
    assert decided(policy, "77 please").say == "I can't help with that."
    assert decided(RoutingPolicy(intents=INTENTS, min_confidence=0.0), "77 please").by == "intent"


def test_two_that_are_near_each_other_are_asked_back() -> None:
    policy = RoutingPolicy(intents=INTENTS, in_scope=1.0, ambiguity=Ambiguity(1.0, "Do you mean {options}?"))
    found = decided(policy, "1+2 please")
    assert found.by == "ambiguous"
    assert found.say.startswith("Do you mean ")
    assert "refund money" in found.say
    assert "opening hours" in found.say
    assert decided(RoutingPolicy(intents=INTENTS, ambiguity=Ambiguity(0.1, "?")), "1 please").by == "intent"
    written = RoutingPolicy(intents=INTENTS, ambiguity=Ambiguity(1.0, model="quick"))
    assert decided(written, "1+2 please", "Money back, or hours?").say == "Money back, or hours?"
    assert "refund money" in decided(written, "1+2 please", Unavailable("away")).say


def test_a_second_opinion_decides_what_is_unsure() -> None:
    careful = Decision(model="careful")
    policy = RoutingPolicy(intents=INTENTS, min_confidence=1.1, second_opinion="quick", unsure=careful)
    assert decided(policy, "1+2 please", "opening-hours").model == "cheap"
    assert decided(policy, "1+2 please", "'Opening-Hours'.").model == "cheap"
    none = decided(policy, "1+2 please", "NONE")
    assert (none.by, none.name, none.model) == ("second opinion", "", "")
    for nothing in ("I think it is hours", "", Unavailable("away")):
        assert decided(policy, "1+2 please", nothing).model == "careful"


def test_options_in_words() -> None:
    assert options_of([("a_b", 0.5), ("c", 0.45), ("d-e", 0.4), ("f", 0.1)], 0.2) == "a b, c or d e"
    assert options_of([("a", 0.9), ("b", 0.05)], 0.2) == "a"


def test_hard_questions_look_harder() -> None:
    easy = ["hi", "What is the capital of France?", "Thanks a lot", "When do you open?", "How tall is Everest?"]
    hard = [
        "Prove that the sum of two odd numbers is even, and explain why each step holds.",
        "Compare three designs of a rate limiter for 10,000 requests a second and justify which you would implement.",
        "```python\ndef f(x):\n    return x\n```\nRefactor this so that it handles errors, then analyse it.",
        "Solve 3*x + 4 = 2*x - 7 step by step and derive the general formula.",
    ]
    assert max(map(difficulty, easy)) < min(map(difficulty, hard))


@given(st.text(max_size=500))
def test_any_text_has_a_difficulty(text: str) -> None:
    assert 0 <= difficulty(text) <= 1


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
def test_the_share_is_met_whatever_the_traffic(share: float) -> None:
    draw = random.Random(1)
    limit = ShareLimit(share)
    for _ in range(200):
        limit.below(draw.random())
    # The traffic changes: the limit follows.
    for _ in range(2000):
        limit.below(draw.random() ** 3)
    simple = sum(limit.below(draw.random() ** 3) for _ in range(1000))
    assert simple / 1000 == pytest.approx(share, abs=0.05)


def test_a_decision_costs_microseconds() -> None:
    vectors = np.concatenate([cluster(number, 10) for number in range(77)])
    model = train(vectors, np.repeat(np.arange(77), 10), [str(number) for number in range(77)])
    row = cluster(5, 1)[0]
    started = time.process_time()
    for _ in range(500):
        model.classify(row)
    # Thirty on a quiet machine; a test is no benchmark.
    assert (time.process_time() - started) / 500 < 0.001


@pytest.mark.report(
    "routers", "Without out_of_scope, a question that matches no intent is not routed with high confidence"
)
@pytest.mark.parametrize("limit", [2000, 20])
def test_strangers_are_unlikely_without_an_outside(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(classifier, "KERNEL_LIMIT", limit)
    names = ["one", "two", "three"]
    vectors = np.concatenate([cluster(number, 10) for number in range(3)])
    model = train(vectors, np.repeat(np.arange(3), 10), names)

    def likely(rows: NDArray[np.float32]) -> list[float]:
        found = [model.classify(row) for row in rows]
        return [ranked[0][1] * model.in_scope(within) for ranked, within in found]

    strangers = likely(np.concatenate([cluster(number, 3) for number in range(50, 70)]))
    assert max(strangers) < 0.95
    assert np.mean([each < 0.5 for each in strangers]) > 0.9
    known = likely(np.concatenate([cluster(number, 20, seed=1) for number in range(3)]))
    assert np.mean([each >= 0.5 for each in known]) > 0.85


@given(st.lists(st.floats(-2, 2), min_size=5, max_size=50), st.floats(0.5, 0.999), st.floats(-5, 5), st.floats(0, 5))
def test_what_is_more_familiar_is_more_likely_in_scope(
    familiar: list[float], kept: float, one: float, more: float
) -> None:
    scope = classifier.Familiarity.of(np.array(familiar, dtype=np.float32), kept)
    assert 0 <= scope.probability(one) <= scope.probability(one + more) <= 1


def test_a_few_right_examples_prove_no_certainty() -> None:
    vectors = np.concatenate([cluster(1, 5, 0.1), cluster(2, 5, 0.1)])
    model = train(vectors, np.repeat([0, 1], 5), ["a", "b"])
    between = cluster(1, 1, 0.0)[0] + 0.8 * cluster(2, 1, 0.0)[0]
    assert model.classify(between / np.linalg.norm(between))[0][0][1] < 0.95
