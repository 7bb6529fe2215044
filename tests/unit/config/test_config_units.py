from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.units import (
    parse_duration,
    parse_percentage,
    parse_size,
    parse_tokens,
    write_duration,
    write_percentage,
    write_size,
    write_tokens,
)
from tests.configs import refusal

numbers = st.one_of(
    st.integers(0, 10**9).map(str),
    st.builds(lambda a, b: f"{a}.{b}", st.integers(0, 10**6), st.integers(0, 999_999_999)),
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("20s", 20), ("5m", 300), ("1h", 3600), ("1.5m", 90), ("0s", 0), ("0.1ms", 0.0001), ("2 s", 2)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("10MB", 10_000_000), ("64KiB", 65536), ("1.5GB", 1_500_000_000), ("7B", 7), ("2kB", 2000), ("1GiB", 2**30)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "20", "s", "-1s", "1e3s", "1 day", "20 S", "1m30s", "٣s", "20s ", "1" * 19 + "s"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the text is the message
        parse_duration(text)


@pytest.mark.parametrize("text", ["", "10", "10mb", "0.5B", "-1MB", "10 apples", "1TB"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_size(text)


@pytest.mark.parametrize("text", ["101%", "85", "-1%", "%"])
def test_no_percentages(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_percentage(text)


@given(numbers, st.sampled_from(["ms", "s", "m", "h"]))
def test_durations_survive_writing(number: str, unit: str) -> None:
    seconds = parse_duration(number + unit)
    assert parse_duration(write_duration(seconds)) == seconds


@given(st.integers(0, 10**14))
def test_sizes_survive_writing(size: int) -> None:
    assert parse_size(write_size(size)) == size


@given(st.integers(0, 10**7).map(lambda n: f"{n // 10**5}.{n % 10**5:05}%"))
def test_percentages_survive_writing(text: str) -> None:
    ratio = parse_percentage(text)
    assert parse_percentage(write_percentage(ratio)) == ratio


@given(st.integers(0, 10**11))
def test_tokens_survive_writing(count: int) -> None:
    assert parse_tokens(write_tokens(count)) == count


@pytest.mark.report("config", "Durations, sizes, rates and budgets in other words are told with the right ones")
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
