"""Routers from their configs: the part of the composition root that knows them, imported only when one is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contract.phases import Decision
from router.intents.decide import Ambiguity, Intent, Router, RoutingPolicy
from router.intents.rules import Condition, Rule

if TYPE_CHECKING:
    from config.routers import RouterConfig, RuleConfig, ThenConfig
    from contract.embedding import Vectors
    from contract.work import WorkPool


def open_router(name: str, config: RouterConfig, embedder: Vectors | None, pool: WorkPool | None = None) -> Router:
    """One router, not yet started. `embedder` is for its intents, which are learned in `pool`."""
    ambiguous, cost = config.ambiguous, config.cost
    policy = RoutingPolicy(
        rules=tuple(_rule(each) for each in config.rules),
        intents={intent: Intent(each.examples, _then(each.then)) for intent, each in config.intents.items()},
        unsure_below=config.unsure_below,
        second_opinion=config.second_opinion or "",
        unsure=_then(config.unsure),
        out_of_scope=_then(config.out_of_scope),
        in_scope=config.in_scope,
        ambiguity=Ambiguity(ambiguous.within, ambiguous.ask or "", ambiguous.model or "") if ambiguous else None,
        simple=cost.simple if cost is not None else "",
        share=cost.share if cost is not None else None,
        below=cost.below if cost is not None else None,
    )
    return Router(name, policy, embedder, pool=pool)


def _rule(config: RuleConfig) -> Rule:
    when = config.when
    condition = Condition(
        apps=when.app,
        headers={name.lower(): value for name, value in when.header.items()},
        metadata=when.metadata,
        languages=when.language,
        hours=_minutes(when.hours) if when.hours is not None else None,
        time_zone=when.time_zone,
        over=when.over,
        under=when.under,
    )
    return Rule(condition, _decided(config.then, "rule", config.name))


def _minutes(hours: str) -> tuple[int, int]:
    begin, end = (60 * int(each[:2]) + int(each[3:]) for each in hours.split("-"))
    return begin, end


def _then(config: ThenConfig | None) -> Decision | None:
    return _decided(config, "intent", "") if config is not None else None


def _decided(config: ThenConfig, by: str, name: str) -> Decision:
    return Decision(
        by,
        name,
        model=config.model or "",
        pipeline=config.pipeline or "",
        say=config.say or config.ask or config.human or "",
        human=config.human is not None,
        tools=config.tools,
    )
