"""The options of the router by rules, intents and cost.

A separate module from `router.intents.decide`, because the imports of that would slow down `gatehouse check`.
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
        raise wrong("{value} is not a time range", "write it like 08:00-18:00; 22:00-06:00 spans midnight")
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise wrong("{value} is not a time zone on this machine", "write it like Europe/Berlin or UTC") from None
    return value


class WhenConfig(Struct):
    """The condition of a rule; all given keys must match."""

    app: tuple[str, ...] = Field(
        default=(), description="The request comes from one of these apps.", examples=["[bot]"]
    )
    header: dict[str, str] = Field(
        default={}, description="Headers and their values; `*` matches any text.", examples=["{x-tier: gold}"]
    )
    metadata: dict[str, str] = Field(
        default={}, description="Entries of the request's `metadata` and their values; `*` matches any text."
    )
    language: tuple[Literal["en", "de", "fr", "es"], ...] = Field(
        default=(), description="The language of the question."
    )
    hours: Annotated[str, Checked(_hours, r"^[0-2][0-9]:[0-5][0-9]-[0-2][0-9]:[0-5][0-9]$")] | None = Field(
        default=None, description="A range of the time of day.", examples=["08:00-18:00"]
    )
    time_zone: Annotated[str, AfterValidator(_zone)] = Field(default="UTC", description="The time zone of `hours`.")
    over: Tokens | None = Field(
        default=None, description="The prompt has more tokens than this.", examples=["8000 tokens"]
    )
    under: Tokens | None = Field(default=None, description="The prompt has fewer tokens than this.")

    @model_validator(mode="after")
    def _has_a_condition(self) -> WhenConfig:
        if not self.model_fields_set - {"time_zone"}:
            raise wrong("this matches every request", "add app, header, metadata, language, hours, over or under")
        return self


class RuleConfig(Struct):
    """One rule. The first rule that matches decides."""

    name: Name = Field(description="The name of the rule in traces.")
    when: WhenConfig = Field(description="The condition.")
    then: ThenConfig = Field(description="What happens if the condition matches.")

    def rule(self) -> RoutingRule:
        """The rule for the router."""
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
    """A topic or purpose of requests."""

    examples: tuple[str, ...] = Field(
        min_length=5, max_length=200, description="5 to 200 example questions with this intent.", examples=["[...]"]
    )
    then: ThenConfig | None = Field(
        default=None, description="What happens to such requests; unset means that the pipeline's model answers."
    )


class AmbiguousConfig(Struct):
    """A question back to the user when two intents are about equally likely."""

    within: Percentage = Field(default=0.15, description="The largest difference between the two probabilities.")
    ask: str | None = Field(
        default="Do you mean {options}?",
        min_length=1,
        description="The question; `{options}` is replaced by the possible intents.",
    )
    model: ModelRef | None = Field(default=None, description="Or a model that writes the question.")

    @model_validator(mode="after")
    def _one(self) -> AmbiguousConfig:
        if self.model is not None and "ask" in self.model_fields_set:
            raise wrong("ask and model exclude each other", "keep one of them")
        return self


class DifficultyConfig(Struct):
    """Sends simple questions to a cheaper model."""

    by: Literal["difficulty"] = Field(default="difficulty", description="By the estimated difficulty of the question.")
    simple: ModelRef = Field(description="The model for simple questions.", examples=["quick"])
    share: Percentage | None = Field(
        default=None, description="The share of questions to send to `simple`; the limit follows the traffic."
    )
    below: Number | None = Field(
        default=None, ge=0, le=1, description="Or a fixed score limit, as `gatehouse eval router` suggests."
    )

    @model_validator(mode="after")
    def _one(self) -> DifficultyConfig:
        if (self.share is None) == (self.below is None):
            raise wrong("set either share or below", "give one of the two")
        return self


class IntentsConfig(RouterConfig):
    """Decides by rules first, then by intents, then by cost."""

    needs = (("rules",), ("intents",), ("cost",))
    renamed: ClassVar[Mapping[str, str]] = {"unsure_below": "min_confidence"}

    kind: Literal["intents"] = Field(default="intents", description="How the router decides.")
    rules: tuple[RuleConfig, ...] = Field(
        default=(), description="Rules, checked in this order; the first that matches decides."
    )
    intents: dict[Name, IntentConfig] = Field(
        default={}, description="Intents, learned from their examples at startup."
    )
    min_confidence: Percentage = Field(
        default=0.5, description="Below this probability of the best intent, `second_opinion` or `unsure` decides."
    )
    second_opinion: ModelRef | None = Field(
        default=None, description="A model that classifies the question if the best intent is not likely enough."
    )
    unsure: ThenConfig | None = Field(
        default=None,
        description="What happens if no intent is likely enough; unset means that the pipeline's model answers.",
    )
    out_of_scope: ThenConfig | None = Field(
        default=None, description="What happens to questions with none of the intents; unset means no special handling."
    )
    in_scope: Percentage = Field(
        default=0.95, description="The share of in-scope questions to recognise as in scope, measured on the examples."
    )
    ambiguous: AmbiguousConfig | None = Field(
        default=None, description="What happens if two intents are about equally likely."
    )
    cost: DifficultyConfig | None = Field(default=None, description="Sends simple questions to a cheaper model.")

    @model_validator(mode="after")
    def _has_enough_options(self) -> IntentsConfig:
        if len(self.intents) == 1:
            raise wrong("a single intent can't be distinguished from others", "add at least two intents")
        needing = [name for name in ("second_opinion", "unsure", "out_of_scope", "ambiguous") if getattr(self, name)]
        if needing and not self.intents:
            raise wrong(f"{needing[0]} needs intents", "add intents with examples")
        if not self.rules and not self.intents and self.cost is None:
            raise wrong("this router decides nothing", "add rules, intents or cost")
        return self

    @classmethod
    def needed_extras(cls, values: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
        """The embedding model for questions."""
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
        """See `RouterConfig.plan`: the names of rules and intents, and the simple model."""
        plan: dict[str, Any] = {"kind": self.kind, "rules": [each.name for each in self.rules]}
        plan["intents"] = list(self.intents)
        if self.out_of_scope is not None:
            plan["out_of_scope"] = True
        if self.cost is not None:
            plan["simple"] = self.cost.simple
        return plan

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
            message = "without out_of_scope, a question with none of these intents may be routed to the nearest one"
            yield ("intents",), message, 'add out_of_scope: {say: "I can\'t help with that."}, or a model'


def _then(config: ThenConfig | None) -> Decision | None:
    return config.decision("intent") if config is not None else None


def _minutes(hours: str) -> tuple[int, int]:
    begin, end = (60 * int(each[:2]) + int(each[3:]) for each in hours.split("-"))
    return begin, end
