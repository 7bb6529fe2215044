"""`prices`: what a target's tokens cost, where the list that ships does not know it, or a contract says otherwise."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer

from config.findings import Substituted, wrong
from config.struct import Struct


def _dollars(value: object) -> object:
    if isinstance(value, Decimal):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise wrong("{value} is no price", "write US dollars for a million tokens, such as 2.50")
    text = str(value) if not isinstance(value, Substituted) else str.__str__(value)
    try:
        amount = Decimal(text.removesuffix("USD").strip())
    except InvalidOperation:
        raise wrong("{value} is no price", "write US dollars for a million tokens, such as 2.50") from None
    if not amount.is_finite() or amount < 0 or amount > 1_000_000:
        raise wrong("{value} is no price", "write US dollars for a million tokens, such as 2.50")
    return amount


Dollars = Annotated[Decimal, BeforeValidator(_dollars), PlainSerializer(str)]


class PriceConfig(Struct):
    """US dollars for a million tokens."""

    input: Dollars = Field(description="Of the prompt.", examples=["2.50"])
    output: Dollars = Field(description="Of the answer, its reasoning included.", examples=["10.00"])
    cache_read: Dollars | None = Field(
        default=None, description="Of the prompt, what the provider had kept; without it as the prompt."
    )
    cache_write: Dollars | None = Field(
        default=None, description="Of the prompt, what the provider keeps from now on; without it as the prompt."
    )
