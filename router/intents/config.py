"""The options of the router by rules, intents and cost.

They stand apart from `router.intents.decide`, whose imports would be most of what `gatehouse check` takes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, model_validator

from config.document import Path
from config.findings import wrong
from config.raw import Remark
from config.routers import ModelRef, RouterConfig, RouterParts, ThenConfig
from config.struct import Checked, Name, Number, Struct
from config.units import Percentage, Tokens

if TYPE_CHECKING:
    from contract.phases import Decision
    from router.intents.decide import Router
    from router.intents.rules import RoutingRule


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

    def rule(self) -> RoutingRule:
        """As it runs."""
        from router.intents.rules import RoutingRule, RuleCondition

        when = self.when
        condition = RuleCondition(
            apps=when.app,
            headers={name.lower(): value for name, value in when.header.items()},
            metadata=when.metadata,
            languages=when.language,
            hours=_minutes(when.hours) if when.hours is not None else None,
            time_zone=when.time_zone,
            over=when.over,
            under=when.under,
        )
        return RoutingRule(condition, self.then.decision("rule", self.name))


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


class IntentsConfig(RouterConfig):
    """Rules first, then intents, then cost."""

    needs = (("rules",), ("intents",), ("cost",))
    renamed: ClassVar[Mapping[str, str]] = {"unsure_below": "min_confidence"}

    kind: Literal["intents"] = Field(default="intents", description="How it decides.")
    rules: tuple[RuleConfig, ...] = Field(default=(), description="Looked at in their order.")
    intents: dict[Name, IntentConfig] = Field(default={}, description="Learned from their examples at the start.")
    min_confidence: Percentage = Field(
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
    def _enough(self) -> IntentsConfig:
        if len(self.intents) == 1:
            raise wrong("one intent can't be told from others", "give at least two")
        needing = [name for name in ("second_opinion", "unsure", "out_of_scope", "ambiguous") if getattr(self, name)]
        if needing and not self.intents:
            raise wrong(f"{needing[0]} needs intents", "give some, with examples")
        if not self.rules and not self.intents and self.cost is None:
            raise wrong("this router decides nothing", "give rules, intents or cost")
        return self

    @classmethod
    def needed_extras(cls, values: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
        """The model that embeds questions."""
        if values.get("intents"):
            yield ("intents",), "embeddings"

    def open(self, name: str, parts: RouterParts) -> Router:
        """See `RouterConfig.open`."""
        from router.intents.decide import Ambiguity, Intent, Router, RoutingPolicy

        ambiguous, cost = self.ambiguous, self.cost
        policy = RoutingPolicy(
            rules=tuple(each.rule() for each in self.rules),
            intents={intent: Intent(each.examples, _then(each.then)) for intent, each in self.intents.items()},
            min_confidence=self.min_confidence,
            second_opinion=self.second_opinion or "",
            unsure=_then(self.unsure),
            out_of_scope=_then(self.out_of_scope),
            in_scope=self.in_scope,
            ambiguity=Ambiguity(ambiguous.within, ambiguous.ask or "", ambiguous.model or "") if ambiguous else None,
            simple=cost.simple if cost is not None else "",
            share=cost.share if cost is not None else None,
            below=cost.below if cost is not None else None,
        )
        return Router(name, policy, parts.embedder() if self.intents else None, pool=parts.pool)

    def plan(self) -> dict[str, Any]:
        """See `RouterConfig.plan`: the names of what decides."""
        made: dict[str, Any] = {"kind": self.kind, "rules": [each.name for each in self.rules]}
        made["intents"] = list(self.intents)
        if self.out_of_scope is not None:
            made["out_of_scope"] = True
        if self.cost is not None:
            made["simple"] = self.cost.simple
        return made

    @classmethod
    def draw(cls, plan: Mapping[str, Any]) -> str:
        """See `RouterConfig.draw`."""
        rules, intents = plan["rules"], plan["intents"]
        parts = [f"rules {', '.join(rules)}"] if rules else []
        parts += [f"intents {', '.join(intents[:6])}{', ...' if len(intents) > 6 else ''}"] if intents else []
        parts += ["what is out of scope"] if "out_of_scope" in plan else []
        parts += [f"simple questions to {plan['simple']}"] if "simple" in plan else []
        return "; ".join(parts)

    def remarks(self) -> Iterator[Remark]:
        """See `Component.remarks`."""
        if self.intents and self.out_of_scope is None:
            message = "there is no out_of_scope: what is none of these intents is only less likely to be one of them"
            yield ("intents",), message, 'add out_of_scope: {say: "I can\'t help with that."}, or a model'


def _then(config: ThenConfig | None) -> Decision | None:
    return config.decision("intent") if config is not None else None


def _minutes(hours: str) -> tuple[int, int]:
    begin, end = (60 * int(each[:2]) + int(each[3:]) for each in hours.split("-"))
    return begin, end
