"""The warnings of `gatehouse check`: a valid configuration that probably does not do what its author wants."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from access.ledger.prices import is_priced_by
from access.ledger.pricing import prices_of, unpriced
from config.findings import nearest
from gateway.commands.first_mistakes import first_mistakes

if TYPE_CHECKING:
    from config.document import Path
    from config.loading import SourcePositions
    from config.problems import Problem
    from config.raw import Remark
    from config.root import Config

_NAMED = 5
_SECTIONS = ("providers", "guardrails", "routers", "sources", "tools")


def advise(config: Config, places: SourcePositions) -> list[Problem]:
    """Returns all warnings, in the order of the file."""
    remarks = [
        *(each.remark for each in config.old_names),
        *_without_a_price(config),
        *_prices_of_nothing(config),
        *_of_components(config),
        *first_mistakes(config, places.nodes),
    ]
    problems = {places.problem(path, message, cure) for path, message, cure in remarks}
    return sorted(problems, key=lambda each: (each.line, each.column, each.message))


def _without_a_price(config: Config) -> Iterator[Remark]:
    for each in unpriced(config, prices_of(config)):
        path: Path = ("models", each.model, "targets", each.place)
        whose = "apps" if len(each.apps) > 1 else "app"
        effect = (
            f"every request for {each.model} is rejected with 403, because none of its targets has a price"
            if each.alone
            else "it is skipped for them"
        )
        message = (
            f"no price is known for {each.target}, and a budget of {whose} {_listed(each.apps)} needs one: {effect}"
        )
        yield path, message, cure_of_price(config, each.target)


def cure_of_price(config: Config, target: str) -> str:
    """Returns the YAML that gives a target its price."""
    provider = target.partition("/")[0]
    close = _like(config, target)
    ways = [f'"{target}": {{prices_as: {close}}}'] if close else []
    if getattr(config.providers.get(provider), "trusted", False):
        ways.append(f'"{provider}/*": free')
    ways.append(f'"{target}": {{input: 2.50, output: 10.00}}')
    return f"add prices: {{{ways[0]}}}" + "".join(f", or {{{way}}}" for way in ways[1:])


def _like(config: Config, target: str) -> str:
    """Returns the entry of the built-in price list with the most similar name; empty if there is none."""
    from config.price_list import nearest_model

    provider, _, model = target.partition("/")
    found = config.providers.get(provider)
    vendor = found.models_of if found is not None else ""
    close = nearest_model(model, vendor) if vendor and not getattr(found, "trusted", False) else ""
    return f"{vendor}/{close}" if close else ""


def _prices_of_nothing(config: Config) -> Iterator[Remark]:
    targets = {each.target for model in config.models.values() for each in model.targets}
    for name in config.prices:
        if not any(is_priced_by(name, target) for target in targets):
            close = nearest(name, targets)
            cure = f"did you mean {close}?" if close else "write it like the target, provider/model"
            yield ("prices", name), f"no model has a target {name}: this price is not used", cure


def _of_components(config: Config) -> Iterator[Remark]:
    """Yields the warnings of components about their own options."""
    for section in _SECTIONS:
        for name, component in getattr(config, section).items():
            for path, message, cure in component.remarks():
                yield (section, name, *path), message, cure
    for name, cache in config.caches.items():
        for number, tier in enumerate(cache.tiers):
            for path, message, cure in tier.remarks():
                yield ("caches", name, "tiers", number, *path), message, cure


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
