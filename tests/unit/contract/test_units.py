"""Durations, sizes, percentages, tokens, rates and money: what is written is read back as the same."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.units import (
    WINDOWS,
    Rate,
    Spend,
    parse_dollars,
    parse_duration,
    parse_percentage,
    parse_rate,
    parse_size,
    parse_spend,
    parse_tokens,
    write_amount,
    write_dollars,
    write_duration,
    write_percentage,
    write_rate,
    write_size,
    write_spend,
    write_tokens,
)

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


@given(st.integers(1, 10**9 - 1), st.sampled_from(sorted(WINDOWS.values())))
def test_rates_survive_writing(most: int, window_s: int) -> None:
    rate = Rate(most, window_s)
    assert parse_rate(write_rate(rate)) == rate


amounts = st.decimals(Decimal("0.000000001"), 999_999, places=9)


@given(amounts)
def test_money_survives_writing(amount: Decimal) -> None:
    assert parse_dollars(write_dollars(amount)) == amount
    assert "E" not in write_amount(amount)


@given(amounts, st.sampled_from(["day", "week", "month"]), st.integers(1, 9_999))
def test_budgets_survive_writing(amount: Decimal, period: str, hours: int) -> None:
    for spend in (Spend(amount, "EUR", period, 0), Spend(amount, "USD", "", hours)):
        assert parse_spend(write_spend(spend)) == spend


@pytest.mark.parametrize(
    ("amount", "text"),
    [("1E+2", "100"), ("0.500", "0.5"), ("1E-12", "0.000000000001"), ("0", "0"), ("0.00", "0"), ("100", "100"),
     ("1234567890123456789012.345678901234567890", "1234567890123456789012.34567890123456789")],
)  # fmt: skip
def test_amounts_keep_all_their_digits(amount: str, text: str) -> None:
    assert write_amount(Decimal(amount)) == text


@pytest.mark.parametrize("text", ["0 USD", "1 usd", "1USD", "-1 USD", "1e3 USD", "1.0000000001 USD", "1 EUR"])
def test_no_dollars(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_dollars(text)
