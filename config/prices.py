"""`prices`: what a target's tokens cost, where the list that ships does not know it, or a contract says otherwise."""

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
        raise wrong("{value} is no price", "write US dollars for a million tokens, such as 2.50")
    text = str(value) if not isinstance(value, Substituted) else str.__str__(value)
    try:
        amount = Decimal(text.removesuffix("USD").strip())
    except InvalidOperation:
        raise wrong("{value} is no price", "write US dollars for a million tokens, such as 2.50") from None
    if not amount.is_finite() or amount < 0 or amount > 1_000_000:
        raise wrong("{value} is no price", "write US dollars for a million tokens, such as 2.50")
    return amount


def _day(value: object) -> object:
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return value
    try:
        return datetime.date.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        raise wrong("{value} is no day", "write it like 2027-01-01") from None


def _service_tier(value: str) -> str:
    name = tier_name(value)
    if name == STANDARD:
        raise wrong("{value} is the usual tier", "write its prices beside service_tiers")
    if name != value:
        raise wrong("{value} is another tier's name", f"write {name}")
    return value


Day = Annotated[datetime.date, BeforeValidator(_day), PlainSerializer(str), WithJsonSchema({"type": "string"})]
# As the gateway names them, whatever a vendor calls them; the usual one has the prices beside it.
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
    """What a prompt costs that is longer. What is not said here costs as the prompt or the answer does."""

    above: Tokens = Field(description="Prompts with more tokens than this, whole.", examples=["200000 tokens"])
    input: Dollars = Field(description="Of the prompt.", examples=["5.00"])
    output: Dollars = Field(description="Of the answer, its reasoning included.", examples=["15.00"])
    cache_read: Dollars | None = Field(default=None, description="Of the prompt, what the provider had kept.")
    cache_write: Dollars | None = Field(default=None, description="Of the prompt, what the provider keeps from now on.")


class ServiceTierConfig(Struct):
    """US dollars for a million tokens in a tier of the provider's service."""

    input: Dollars = Field(description="Of the prompt.", examples=["1.25"])
    output: Dollars = Field(description="Of the answer, its reasoning included.", examples=["5.00"])
    cache_read: Dollars | None = Field(default=None, description="Of the prompt, what the provider had kept.")
    cache_write: Dollars | None = Field(default=None, description="Of the prompt, what the provider keeps from now on.")
    reasoning: Dollars | None = Field(default=None, description="Of the answer, what is reasoning.")


FREE = "free"


def _price_name(value: str) -> str:
    provider, _, model = value.partition("/")
    if not provider or not model or re.search(r"\s", value):
        raise wrong("a target is provider/model", "write it like openai/gpt-5.4-mini, or openai/* for all of them")
    if "*" in provider:
        raise wrong("a provider's name has no *", "write one entry for each provider: openai/*")
    return value


PriceName = Annotated[str, Checked(_price_name, r"^[^/*\s]+/\S+$")]
"""A target, or several: `*` stands for any letters of the model's name."""


def _listed_name(value: str) -> str:
    vendor, _, model = value.partition("/")
    if value != FREE and (not vendor or not model or re.search(r"[\s*]", value)):
        raise wrong(
            "{value} is no price",
            "write {input: 2.50, output: 10.00}, free, or an entry of the list that ships, such as openai/gpt-5.5",
        )
    return value


@dataclass(frozen=True)
class ListedPrice:
    """Marks a string that names an entry of the list that ships, or says `free`."""


class PriceConfig(Struct):
    """US dollars for a million tokens. May be written as a string: `free`, or `openai/gpt-5.5` for `prices_as`."""

    shorthand: ClassVar[str] = "prices_as"
    needs = (("prices_as",), ("input", "output"))

    prices_as: Annotated[str, Checked(_listed_name, r"^(free|[^/*\s]+/[^*\s]+)$"), ListedPrice()] | None = Field(
        default=None,
        description="Instead of prices: the entry of the list that ships, `vendor/model`, whose prices hold, for a "
        "renamed model or an Azure deployment; or `free`.",
        examples=["openai/gpt-5.5"],
    )
    since: Day | None = Field(
        default=None, description="The day (UTC) from which it holds, in a list of several.", examples=["2027-01-01"]
    )
    input: Dollars | None = Field(default=None, description="Of the prompt.", examples=["2.50"])
    output: Dollars | None = Field(
        default=None, description="Of the answer, its reasoning included.", examples=["10.00"]
    )
    cache_read: Dollars | None = Field(
        default=None, description="Of the prompt, what the provider had kept; without it as the prompt."
    )
    cache_write: Dollars | None = Field(
        default=None, description="Of the prompt, what the provider keeps from now on; without it as the prompt."
    )
    cache_write_1h: Dollars | None = Field(
        default=None, description="Of that, what it keeps for an hour; without it as `cache_write`."
    )
    audio_input: Dollars | None = Field(default=None, description="Of the prompt, what is sound.")
    audio_output: Dollars | None = Field(default=None, description="Of the answer, what is sound.")
    image_input: Dollars | None = Field(default=None, description="Of the prompt, what is pictures.")
    image_output: Dollars | None = Field(default=None, description="Of the answer, what is pictures.")
    reasoning: Dollars | None = Field(default=None, description="Of the answer, what is reasoning.")
    searches: Dollars | None = Field(default=None, description="Of a thousand searches of the web by the provider.")
    tiers: tuple[TierConfig, ...] = Field(default=(), description="What longer prompts cost, the shortest first.")
    service_tiers: dict[ServiceTier, ServiceTierConfig] = Field(
        default={},
        description="What other tiers of the provider's service cost. An answer in a tier without a price is unpriced.",
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
            raise wrong(
                f"{name}: this is missing", f"add {name}: {example}, or write free or prices_as: openai/gpt-5.5"
            )
        return self

    @model_validator(mode="after")
    def _rising(self) -> PriceConfig:
        if any(one.above >= other.above for one, other in itertools.pairwise(self.tiers)):
            raise wrong("the tiers do not rise", "write the shortest prompts first")
        return self


def _in_turn(prices: tuple[PriceConfig, ...]) -> tuple[PriceConfig, ...]:
    days = itertools.pairwise(each.since for each in prices)
    if not prices or not all(later is not None and (before is None or before < later) for before, later in days):
        raise wrong("it is not clear which of several prices holds", "give each after the first its since: day, rising")
    return prices


Prices = Annotated[tuple[PriceConfig, ...], Coerce(one_or_several, or_one), AfterValidator(_in_turn)]
