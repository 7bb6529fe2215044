"""What a configuration says of values with other words for their units."""

from pathlib import Path

import pytest

from tests.configs import refusal


@pytest.mark.report("config", "A duration, size, rate or budget in another notation is refused with a suggestion")
@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("models: {m: {targets: [p/x], timeout: 5 sec}}", "5s"),
        ("models: {m: {targets: [p/x], timeout: 2 minutes}}", "2m"),
        ("models: {m: {targets: [p/x], timeout: 1.5 Hours}}", "1.5h"),
        ("models: {m: {targets: [{target: p/x, max_output: 300 tok}]}}", "300 tokens"),
        ("server: {max_body: 10 mb}", "10MB"),
        ("observe: {sample: 5 percent}", "5%"),
        ("models: {m: {targets: [p/x], limits: {requests: 60/min}}}", "60 per minute"),
        ("models: {m: {targets: [p/x], limits: {requests: 1_000 per hours}}}", "1000 per hour"),
        ("apps: {a: {keys: [k], budget: $50/day}}", "50 USD per day"),
        ("apps: {a: {keys: [k], budget: 50 dollars a week}}", "50 USD per week"),
        ("apps: {a: {keys: [k], budget: '1,000.50 usd per month'}}", "1000.50 USD per month"),
        ("apps: {a: {keys: [k], budget: 50 USD daily}}", "50 USD per day"),
        ('apps: {a: {keys: [k], budget: "\u20ac5/month"}}', "5 EUR per month"),
    ],
)
def test_what_was_meant(tmp_path: Path, text: str, meant: str) -> None:
    error = refusal(tmp_path, f"version: 1\nproviders: {{p: {{kind: simulated}}}}\n{text}\n")
    problem = error.problems[0]
    assert problem.suggestion == f"did you mean {meant}?"
    assert problem.line == 3
