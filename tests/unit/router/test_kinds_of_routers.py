"""Every kind of router keeps what its seam asks for."""

from __future__ import annotations

from router.conformance import FakeServices, RouterConformance
from router.intents.config import IntentsConfig
from tests.unit.router.test_intents import Directions


class TestRules(RouterConformance):
    config = IntentsConfig
    options = {
        "rules": [
            {"name": "long", "when": {"over": "500 tokens"}, "then": "large"},
            {"name": "german", "when": {"language": ["de"]}, "then": {"say": "Guten Tag"}},
        ],
        "cost": {"simple": "small", "below": 0.3},
    }
    decisions = (
        ("word " * 1000, {"by": "rule", "name": "long", "model": "large"}),
        ("Wie lange ist die Garantie auf den Ofen?", {"name": "german", "say": "Guten Tag"}),
        ("Hello", {"by": "difficulty", "model": "small"}),
    )


class TestIntents(RouterConformance):
    config = IntentsConfig
    options = {
        "intents": {
            "refund": {"examples": [f"1 {each}" for each in range(6)], "then": {"say": "Refunds take a week."}},
            "hours": {"examples": [f"2 {each}" for each in range(6)], "then": {"model": "cheap"}},
            "talk": {"examples": [f"3 {each}" for each in range(6)]},
        },
    }
    decisions = (
        ("1 back please", {"by": "intent", "name": "refund", "say": "Refunds take a week."}),
        ("2 open", {"name": "hours", "model": "cheap"}),
    )

    def lent(self) -> FakeServices:
        return FakeServices(vectors=Directions())
