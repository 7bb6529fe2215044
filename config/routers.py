"""`routers`: which model, pipeline or answer a request gets, by rules, by what it is about, by how hard it is."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, model_validator

from config.findings import wrong
from config.struct import Checked, Component, Name, Number, Ref, Struct
from config.units import Percentage, Tokens

ModelRef = Annotated[str, Ref("models", "model")]


def _hours(value: str) -> str:
    if re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-4]):[0-5]\d", value) is None:
        raise wrong("{value} are no hours", "write them like 08:00-18:00; 22:00-06:00 goes over midnight")
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise wrong("{value} is no time zone", "write it like Europe/Berlin or UTC") from None
    return value


class ThenConfig(Struct):
    """What happens. May be written as a string: the model that answers."""

    needs = tuple((each,) for each in ("model", "pipeline", "say", "ask", "human", "tools"))

    shorthand: ClassVar[str] = "model"

    model: ModelRef | None = Field(default=None, description="The model that answers.", examples=["quick"])
    pipeline: Annotated[str, Ref("pipelines", "pipeline")] | None = Field(
        default=None, description="The pipeline whose context, tools and model answer."
    )
    say: str | None = Field(default=None, min_length=1, description="An answer without a model.")
    ask: str | None = Field(
        default=None,
        min_length=1,
        description="A question back; `{options}` stands for the intents that may be meant.",
        examples=["Do you mean {options}?"],
    )
    human: str | None = Field(default=None, min_length=1, description="What is said while a person takes over.")
    tools: tuple[Annotated[str, Ref("tools", "tool")], ...] | None = Field(
        default=None, description="The only tools of the pipeline that are offered; without it all."
    )

    @model_validator(mode="after")
    def _one(self) -> ThenConfig:
        given = [name for name in ("model", "pipeline", "say", "ask", "human") if getattr(self, name) is not None]
        if len(given) > 1:
            raise wrong(f"{given[0]} and {given[1]} exclude each other", "keep one of them")
        if not given and self.tools is None:
            raise wrong("this does nothing", "give model, pipeline, say, ask, human or tools")
        return self


class WhenConfig(Struct):
    """What a request has to be like; all that is given must hold."""

    app: tuple[str, ...] = Field(default=(), description="One of these apps.", examples=["[bot]"])
    header: dict[str, str] = Field(
        default={}, description="Headers with their values; `*` stands for anything.", examples=["{x-tier: gold}"]
    )
    metadata: dict[str, str] = Field(default={}, description="The request's `metadata`, likewise.")
    language: tuple[Literal["en", "de", "fr", "es"], ...] = Field(default=(), description="The question's language.")
    hours: Annotated[str, Checked(_hours, r"^[0-2][0-9]:[0-5][0-9]-[0-2][0-9]:[0-5][0-9]$")] | None = Field(
        default=None, description="A time of the day.", examples=["08:00-18:00"]
    )
    time_zone: Annotated[str, AfterValidator(_zone)] = Field(default="UTC", description="Of the hours.")
    over: Tokens | None = Field(default=None, description="More tokens than that.", examples=["8000 tokens"])
    under: Tokens | None = Field(default=None, description="Fewer tokens than that.")

    @model_validator(mode="after")
    def _something(self) -> WhenConfig:
        if not self.model_fields_set - {"time_zone"}:
            raise wrong("this holds always", "give app, header, metadata, language, hours, over or under")
        return self


class RuleConfig(Struct):
    """One rule. The first that holds decides."""

    name: Name = Field(description="Its name in traces.")
    when: WhenConfig = Field(description="What has to hold.")
    then: ThenConfig = Field(description="What happens then.")


class IntentConfig(Struct):
    """Something that requests are about."""

    examples: tuple[str, ...] = Field(
        min_length=5, max_length=200, description="5 to 200 ways in which people say it.", examples=["[...]"]
    )
    then: ThenConfig | None = Field(default=None, description="What happens; without it the pipeline goes on as ever.")


class AmbiguousConfig(Struct):
    """A question back, when two intents are about as likely."""

    within: Percentage = Field(default=0.15, description="How near each other they are.")
    ask: str | None = Field(
        default="Do you mean {options}?", min_length=1, description="The question; `{options}` stands for the intents."
    )
    model: ModelRef | None = Field(default=None, description="Or a model that writes it.")

    @model_validator(mode="after")
    def _one(self) -> AmbiguousConfig:
        if self.model is not None and "ask" in self.model_fields_set:
            raise wrong("ask and model exclude each other", "keep one of them")
        return self


class DifficultyConfig(Struct):
    """Simple questions to a model that costs less."""

    by: Literal["difficulty"] = Field(default="difficulty", description="By how hard the question looks.")
    simple: ModelRef = Field(description="The model for simple questions.", examples=["quick"])
    share: Percentage | None = Field(
        default=None, description="The share of questions that is to go there; the limit follows the traffic."
    )
    below: Number | None = Field(
        default=None, ge=0, le=1, description="Or a fixed limit of the score, as `gatehouse eval router` suggests."
    )

    @model_validator(mode="after")
    def _one(self) -> DifficultyConfig:
        if (self.share is None) == (self.below is None):
            raise wrong("there must be either share or below", "give one of the two")
        return self


class RouterConfig(Component):
    """Rules first, then intents, then cost."""

    needs = (("rules",), ("intents",), ("cost",))

    kind: Literal["intents"] = Field(default="intents", description="How it decides.")
    rules: tuple[RuleConfig, ...] = Field(default=(), description="Looked at in their order.")
    intents: dict[Name, IntentConfig] = Field(default={}, description="Learned from their examples at the start.")
    unsure_below: Percentage = Field(
        default=0.5, description="Less likely intents don't decide: `second_opinion` or `unsure` do."
    )
    second_opinion: ModelRef | None = Field(
        default=None, description="A model that is asked which intent it is, when unsure."
    )
    unsure: ThenConfig | None = Field(default=None, description="What happens when unsure; else the pipeline goes on.")
    out_of_scope: ThenConfig | None = Field(
        default=None, description="What happens with what is none of the intents; without it nothing."
    )
    in_scope: Percentage = Field(
        default=0.95, description="The share of what is in scope that is to be taken for that, by the examples."
    )
    ambiguous: AmbiguousConfig | None = Field(default=None, description="When two intents are about as likely.")
    cost: DifficultyConfig | None = Field(default=None, description="Simple questions to a cheaper model.")

    @model_validator(mode="after")
    def _enough(self) -> RouterConfig:
        if len(self.intents) == 1:
            raise wrong("one intent can't be told from others", "give at least two")
        needing = [name for name in ("second_opinion", "unsure", "out_of_scope", "ambiguous") if getattr(self, name)]
        if needing and not self.intents:
            raise wrong(f"{needing[0]} needs intents", "give some, with examples")
        if not self.rules and not self.intents and self.cost is None:
            raise wrong("this router decides nothing", "give rules, intents or cost")
        return self
