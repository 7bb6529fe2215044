"""`prices`: what a target's tokens cost if the bundled price list has no entry for it, or a contract differs."""

from __future__ import annotations

import datetime
import itertools
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Annotated, ClassVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from config.findings import Substituted, wrong
from config.struct import Checked, Coerce, Struct, one_or_several, or_one
from config.units import Tokens
from contract.service_tier import STANDARD, tier_name


def _dollars(value: object) -> object:
    if isinstance(value, Decimal):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise wrong("{value} is not a price", "write US dollars per million tokens, such as 2.50")
    text = str(value) if not isinstance(value, Substituted) else str.__str__(value)
    try:
        amount = Decimal(text.removesuffix("USD").strip())
    except InvalidOperation:
        raise wrong("{value} is not a price", "write US dollars per million tokens, such as 2.50") from None
    if not amount.is_finite() or amount < 0 or amount > 1_000_000:
        raise wrong("{value} is not a price", "write US dollars per million tokens, such as 2.50")
    return amount


def _day(value: object) -> object:
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return value
    try:
        return datetime.date.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        raise wrong("{value} is not a date", "write it like 2027-01-01") from None


def _service_tier(value: str) -> str:
    name = tier_name(value)
    if name == STANDARD:
        raise wrong("{value} is the standard tier", "write its prices next to service_tiers")
    if name != value:
        raise wrong("{value} is an alias of a tier", f"write {name}")
    return value


Day = Annotated[datetime.date, BeforeValidator(_day), PlainSerializer(str), WithJsonSchema({"type": "string"})]
# The gateway's names of tiers, which can differ from the vendor's. The standard tier has the prices next to it.
ServiceTier = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$"), AfterValidator(_service_tier)]
Dollars = Annotated[
    Decimal,
    BeforeValidator(_dollars),
    PlainSerializer(str),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": 1_000_000},
                {"type": "string", "pattern": r"^\s*\+?[0-9_.]+([eE][+-]?[0-9]+)?\s*(USD)?\s*$"},
            ]
        }
    ),
]


class TierConfig(Struct):
    """Prices of requests with a longer prompt. A price that is not given here is that of the input or the output."""

    above: Tokens = Field(
        description="Applies to requests whose prompt has more tokens than this, and to all their tokens.",
        examples=["200000 tokens"],
    )
    input: Dollars = Field(description="Price of input tokens.", examples=["5.00"])
    output: Dollars = Field(description="Price of output tokens, including reasoning.", examples=["15.00"])
    cache_read: Dollars | None = Field(default=None, description="Price of input tokens read from the prompt cache.")
    cache_write: Dollars | None = Field(default=None, description="Price of input tokens written to the prompt cache.")


class ServiceTierConfig(Struct):
    """US dollars per million tokens in one service tier of the provider."""

    input: Dollars = Field(description="Price of input tokens.", examples=["1.25"])
    output: Dollars = Field(description="Price of output tokens, including reasoning.", examples=["5.00"])
    cache_read: Dollars | None = Field(default=None, description="Price of input tokens read from the prompt cache.")
    cache_write: Dollars | None = Field(default=None, description="Price of input tokens written to the prompt cache.")
    reasoning: Dollars | None = Field(default=None, description="Price of reasoning tokens.")


FREE = "free"


def _price_name(value: str) -> str:
    provider, _, model = value.partition("/")
    if not provider or not model or re.search(r"\s", value):
        raise wrong("this is not a target", "write it like openai/gpt-5.4-mini, or openai/* for all models")
    if "*" in provider:
        raise wrong("a provider name can't contain *", "write one entry for each provider: openai/*")
    return value


PriceName = Annotated[str, Checked(_price_name, r"^[^/*\s]+/\S+$")]
"""A target, or several: `*` matches any characters of the model name."""


def _listed_name(value: str) -> str:
    vendor, _, model = value.partition("/")
    if value != FREE and (not vendor or not model or re.search(r"[\s*]", value)):
        raise wrong(
            "{value} is not a price",
            "write {input: 2.50, output: 10.00}, free, or an entry of the bundled list, such as openai/gpt-5.5",
        )
    return value


@dataclass(frozen=True)
class ListedPrice:
    """Marks a string that names an entry of the bundled price list, or is `free`."""


class PriceConfig(Struct):
    """US dollars per million tokens. May be written as a string: `free`, or `openai/gpt-5.5` for `prices_as`."""

    shorthand: ClassVar[str] = "prices_as"
    needs = (("prices_as",), ("input", "output"))

    prices_as: Annotated[str, Checked(_listed_name, r"^(free|[^/*\s]+/[^*\s]+)$"), ListedPrice()] | None = Field(
        default=None,
        description="Instead of prices: the entry of the bundled price list, `vendor/model`, whose prices apply, for a "
        "renamed model or an Azure deployment; or `free`.",
        examples=["openai/gpt-5.5"],
    )
    since: Day | None = Field(
        default=None,
        description="The date (UTC) from which the price applies, in a list of several prices.",
        examples=["2027-01-01"],
    )
    input: Dollars | None = Field(default=None, description="Price of input tokens.", examples=["2.50"])
    output: Dollars | None = Field(
        default=None, description="Price of output tokens, including reasoning.", examples=["10.00"]
    )
    cache_read: Dollars | None = Field(
        default=None, description="Price of input tokens read from the prompt cache; by default as `input`."
    )
    cache_write: Dollars | None = Field(
        default=None, description="Price of input tokens written to the prompt cache; by default as `input`."
    )
    cache_write_1h: Dollars | None = Field(
        default=None, description="Price of input tokens cached for an hour; by default as `cache_write`."
    )
    audio_input: Dollars | None = Field(default=None, description="Price of audio input tokens.")
    audio_output: Dollars | None = Field(default=None, description="Price of audio output tokens.")
    image_input: Dollars | None = Field(default=None, description="Price of image input tokens.")
    image_output: Dollars | None = Field(default=None, description="Price of image output tokens.")
    reasoning: Dollars | None = Field(default=None, description="Price of reasoning tokens.")
    searches: Dollars | None = Field(default=None, description="Price of a thousand web searches by the provider.")
    tiers: tuple[TierConfig, ...] = Field(default=(), description="Prices for longer prompts, the shortest first.")
    service_tiers: dict[ServiceTier, ServiceTierConfig] = Field(
        default={},
        description="Prices in other service tiers of the provider. A response in a tier without a price is unpriced.",
        examples=["{flex: {input: 1.25, output: 5}}"],
    )

    @model_validator(mode="after")
    def _one_way(self) -> PriceConfig:
        if self.prices_as is not None:
            extra = sorted(self.model_fields_set - {"prices_as", "since"})
            if extra:
                raise wrong(f"{extra[0]} and prices_as are both given", "keep one of them")
        elif self.input is None or self.output is None:
            name, example = ("input", "2.50") if self.input is None else ("output", "10.00")
            raise wrong(f"{name} is missing", f"add {name}: {example}, or write free or prices_as: openai/gpt-5.5")
        return self

    @model_validator(mode="after")
    def _rising(self) -> PriceConfig:
        if any(one.above >= other.above for one, other in itertools.pairwise(self.tiers)):
            raise wrong("the tiers are not in ascending order", "write the tier with the smallest above first")
        return self


def _in_turn(prices: tuple[PriceConfig, ...]) -> tuple[PriceConfig, ...]:
    days = itertools.pairwise(each.since for each in prices)
    if not prices or not all(later is not None and (before is None or before < later) for before, later in days):
        raise wrong(
            "the dates of the prices are missing or out of order", "give each price after the first a later since"
        )
    return prices


Prices = Annotated[tuple[PriceConfig, ...], Coerce(one_or_several, or_one), AfterValidator(_in_turn)]
